// Package ssm is the Systems Manager door: sessions, commands, managed nodes,
// activations, and what agents report.
package ssm

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/node/admission"
	"sekisho/internal/node/fleet"
	"sekisho/internal/node/inventory"
	"sekisho/internal/runcommand"
	"sekisho/internal/session/access"
	"sekisho/internal/session/broker"
	"sekisho/internal/session/settings"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/ssmdoc/doclibrary"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/id"
)

// Roles are the IAM roles for nodes.
type Roles interface {
	// ActivationRole returns the ARN of the role called name (or path/name).
	// It must exist and trust Systems Manager.
	ActivationRole(ctx context.Context, name string) (arn string, err error)
	// IssueNodeCredentials issues temporary credentials of the role for node.
	IssueNodeCredentials(
		ctx context.Context,
		node sekisho.NodeID,
		role string,
		programs bool,
		ttl time.Duration,
	) (Credentials, error)
}

// Credentials are temporary credentials.
type Credentials struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Expiration                                 time.Time
}

// Channels disconnects nodes.
type Channels interface {
	Drop(node sekisho.NodeID, reason string)
}

// Outputs are the destinations of commands' output.
type Outputs interface {
	// HasBucket reports whether a bucket called name exists.
	HasBucket(ctx context.Context, name string) (bool, error)
}

// Config is the configuration of the door.
type Config struct {
	Fleet     *fleet.Fleet
	Broker    *broker.Broker
	Documents *doclibrary.Library
	Roles     Roles
	Channels  Channels
	Inventory *inventory.Registry
	Settings  *settings.Settings
	Names     *fleet.Names // nil names nodes by the default tag
	Commands  *runcommand.Engine
	Outputs   Outputs // nil accepts every bucket
	Access    *access.Service
	// OSUser returns the OS user of a running session, as its agent reports it; "" if that is unknown. Optional.
	OSUser func(sekisho.SessionID) string
	Tokens UserTokens
	// Registrations and Renewals limit the rate of registrations and credential renewals; nil means
	// no limit.
	Registrations, Renewals *admission.Gate
	Region                  string
	Account                 string
	// StrictDocuments requires that policies also grant the default session document, as AWS's
	// newer documentation says. Without it, a grant on the node suffices if a request names no
	// document.
	StrictDocuments bool
}

// shared is what the doors of all kinds of object share: the configuration and
// the forms of ARNs.
type shared struct{ Config }

// The doors of the kinds of object, by the files of their operations. Each
// calls only those above it.
type (
	settingDoor  struct{ *shared }
	documentDoor struct {
		*shared
		settings settingDoor
	}
	nodeDoor      struct{ *shared }
	inventoryDoor struct {
		*shared
		nodes nodeDoor
	}
	agentDoor struct {
		*shared
		nodes    nodeDoor
		settings settingDoor
	}
	stubDoor struct {
		*shared
		nodes nodeDoor
	}
	activationDoor struct{ *shared }
	accessDoor     struct{ *shared }
	commandDoor    struct {
		*shared
		documents documentDoor
	}
	sessionDoor struct {
		*shared
		documents documentDoor
		access    accessDoor
		requests  *PolicyRequests
	}
	tagDoor struct {
		*shared
		documents documentDoor
	}
)

// New returns the door.
func New(cfg Config) *api.Door {
	all := &shared{cfg}
	settings, nodes, access := settingDoor{all}, nodeDoor{all}, accessDoor{all}
	documents := documentDoor{all, settings}
	ops := map[string]api.Operation{}
	for _, part := range []map[string]api.Operation{
		settings.operations(), documents.operations(), nodes.operations(), access.operations(),
		inventoryDoor{all, nodes}.operations(), agentDoor{all, nodes, settings}.operations(),
		stubDoor{all, nodes}.operations(), activationDoor{all}.operations(),
		commandDoor{all, documents}.operations(), tagDoor{all, documents}.operations(),
		sessionDoor{all, documents, access, &PolicyRequests{all, documents}}.operations(),
	} {
		maps.Copy(ops, part)
	}
	return &api.Door{Service: "ssm", Protocol: awsproto.JSON, Operations: ops}
}

// maxFilters bounds the filters of one request.
const maxFilters = 50

// nodeARN returns the ARN of a target in policies.
func (d *shared) nodeARN(target string) string {
	if strings.HasPrefix(target, "i-") {
		return "arn:aws:ec2:" + d.Region + ":" + d.Account + ":instance/" + target
	}
	return "arn:aws:ssm:" + d.Region + ":" + d.Account + ":managed-instance/" + target
}

// documentARN returns the ARN of a document. Built-in documents have an empty account, like AWS's.
func (d *shared) documentARN(name string) string {
	account := d.Account
	if ssmdoc.Reserved(name) {
		account = ""
	}
	return "arn:aws:ssm:" + d.Region + ":" + account + ":document/" + name
}

func (d *shared) sessionARN(name string) string {
	return "arn:aws:ssm:" + d.Region + ":" + d.Account + ":session/" + name
}

// tag is a tag on the wire.
type tag struct{ Key, Value string }

// Limits of a tag set.
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

// tagSet parses the tags of a request.
func tagSet(tags []tag) (map[string]string, error) {
	if len(tags) > maxTags {
		return nil, awsproto.SenderError("TooManyTagsError", "A resource can have at most %d tags.", maxTags)
	}
	set := make(map[string]string, len(tags))
	folded := make(map[string]bool, len(tags))
	for _, t := range tags {
		var c awsproto.Constraints
		c.Length("tags.member.key", t.Key, 1, maxTagKey)
		c.Length("tags.member.value", t.Value, 0, maxTagValue)
		if err := c.Err(); err != nil {
			return nil, err
		}
		if strings.HasPrefix(strings.ToLower(t.Key), "aws:") {
			return nil, awsproto.SenderError("ValidationException", "Tag keys that begin with aws: are reserved.")
		}
		// Condition keys ignore case, so two such tags would be indistinguishable.
		if fold := strings.ToLower(t.Key); folded[fold] {
			return nil, awsproto.SenderError(
				"ValidationException",
				"The tag key %q is given twice, in different letter case.",
				t.Key,
			)
		} else {
			folded[fold] = true
		}
		set[t.Key] = t.Value
	}
	return set, nil
}

// tagList returns a tag set on the wire, sorted by key.
func tagList(set map[string]string) []tag {
	var tags []tag
	for _, k := range slices.Sorted(maps.Keys(set)) {
		tags = append(tags, tag{k, set[k]})
	}
	return tags
}

// page returns one page of a list that is sorted by place, and the next token. The token is the
// place where the previous page ended, so that added and removed items do not affect paging.
func page[T any](
	all []T,
	place func(T) string,
	token string,
	limit, defaultLimit int,
) (items []T, next string, err error) {
	if limit == 0 {
		limit = defaultLimit
	}
	if token != "" {
		after, err := readToken(token)
		if err != nil {
			return nil, "", err
		}
		all = all[sort.Search(len(all), func(i int) bool { return place(all[i]) > after }):]
	}
	if len(all) <= limit {
		return all, "", nil
	}
	return all[:limit], makeToken(place(all[limit-1])), nil
}

// descending returns a sort key that puts larger numbers first.
func descending(n int64) string { return fmt.Sprintf("%019d", math.MaxInt64-n) }

var errToken = awsproto.SenderError("InvalidNextToken",
	"This operation did not return the NextToken. Repeat the request without it.")

func makeToken(after string) string {
	return base64.RawURLEncoding.EncodeToString([]byte("v1:" + after))
}

func readToken(token string) (string, error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	after, ok := strings.CutPrefix(string(b), "v1:")
	if err != nil || !ok || len(after) > 200 {
		return "", errToken
	}
	return after, nil
}

// knownNode reports whether target has the form of a node ID. Nothing else must get into an ARN.
func knownNode(target string) bool { return id.ValidNode(target) }
