package server

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/activity/refusals"
	"sekisho/internal/api/sekishoapi"
	"sekisho/internal/api/ssm"
	"sekisho/internal/console"
	"sekisho/internal/iam/identity"
	"sekisho/internal/node/fleet"
	"sekisho/internal/node/install"
	"sekisho/internal/safetext"
	"sekisho/internal/session/broker"
	"sekisho/internal/session/record"
	"sekisho/internal/session/relay"
	"sekisho/internal/wire/mgs"
)

// Each type here adapts one engine to an interface that another one declares.

// lateObserver breaks the dependency cycle between relay and broker, which observe each other.
type lateObserver struct{ *broker.Broker }

// recordings adapts the recorder to the relay.
type recordings struct {
	*record.Recorder
	unsealed *unsealed
	nodes    interface {
		Node(ctx context.Context, id sekisho.NodeID) (*sekisho.Node, error)
	}
	names *fleet.Names
	// takenOver reports whether another member of a cluster has recorded a session before.
	takenOver func(sekisho.SessionID) bool
}

func (r recordings) Start(ctx context.Context, s *sekisho.Session) (relay.RecordWriter, error) {
	name := ""
	if n, err := r.nodes.Node(ctx, s.Target); err == nil {
		name = r.names.Of(ctx, n)
	}
	rec, err := r.Recorder.Start(record.Header{
		SessionID: s.ID, Node: s.Target, NodeName: name, Owner: s.Owner, Document: s.DocumentName,
		Reason: s.Reason, SourceIP: s.SourceIP, Start: s.StartedAt, OmitInput: s.OmitInput,
		RecordForwards: s.RecordForwards, RecordingDays: s.RecordingDays, TakenOver: r.takenOver(s.ID),
	})
	if err != nil {
		return nil, err
	}
	return measured(recording{rec, s.ID, r.unsealed}), nil
}

// maxOSUser bounds the name of an OS user that an agent reports, in bytes.
const maxOSUser = 64

type recording struct {
	*record.Recording
	session  sekisho.SessionID
	unsealed *unsealed
}

func (r recording) SetKind(sessionType string, properties []byte) error {
	k := record.SessionKind{Type: sessionType}
	var offered mgs.SessionOffer
	if json.Unmarshal(properties, &offered) == nil {
		k.Joinable = slices.Contains(offered.Sekisho, mgs.AbilityJoin)
		k.OSUser = safetext.Line(offered.OSUser, maxOSUser)
	}
	if sessionType == record.TypePort {
		var p struct {
			Host   string `json:"host"`
			Port   string `json:"portNumber"`
			Socket string `json:"socket"`
		}
		// Malformed properties are ignored: they are the agent's.
		if json.Unmarshal(properties, &p) == nil {
			k.Host, k.Port, k.Socket = p.Host, p.Port, p.Socket
		}
	}
	return r.Recording.SetKind(k)
}

// osUser returns the OS user of a running session, as its agent reports it; "" if that is unknown.
func (s *Server) osUser(session sekisho.SessionID) string {
	rec := s.recorder.Live(session)
	if rec == nil {
		return ""
	}
	if kind := rec.Kind(); kind != nil {
		return kind.OSUser
	}
	return ""
}

func (r recording) Seal(e relay.Exit) error {
	return r.unsealed.seal(r.Recording, r.session, record.Exit{Status: e.Status, Reason: e.Reason})
}

// nodeCredentials are the directory's credentials, except those of machines that have since been
// replaced by another one under the same ID.
type nodeCredentials struct {
	*identity.Credentials
	nodes interface {
		Node(ctx context.Context, id sekisho.NodeID) (*sekisho.Node, error)
	}
}

func (c nodeCredentials) Credential(
	ctx context.Context,
	accessKeyID, token string,
) (string, *sekisho.Principal, error) {
	secret, p, err := c.Credentials.Credential(ctx, accessKeyID, token)
	if err != nil || p.Node == "" {
		return secret, p, err
	}
	n, err := c.nodes.Node(ctx, p.Node)
	if err != nil && !sekisho.IsNotFound(err) {
		return "", nil, err
	}
	// Token issue times have a resolution of one second.
	if n == nil || p.TokenIssueTime.Before(n.RegisteredAt.Truncate(time.Second)) {
		return "", nil, sekisho.Errorf(
			sekisho.CodeUnauthenticated,
			"The node %s of these credentials is no longer registered.",
			p.Node,
		)
	}
	return secret, p, nil
}

// nodeRoles issues nodes the credentials of their roles.
type nodeRoles struct{ dir *identity.Directory }

func (r nodeRoles) ActivationRole(ctx context.Context, name string) (string, error) {
	role, err := r.dir.Roles.Get(ctx, name)
	if err != nil {
		if sekisho.IsNotFound(err) {
			return "", sekisho.Errorf(
				sekisho.CodeInvalid,
				"Nonexistent role or missing ssm service principal in trust policy: %s.",
				name,
			)
		}
		return "", err
	}
	trusts, err := r.dir.Sets.TrustsService(ctx, role, "ssm.amazonaws.com")
	if err != nil {
		return "", err
	}
	if !trusts {
		return "", sekisho.Errorf(sekisho.CodeInvalid,
			"Nonexistent role or missing ssm service principal in trust policy: %s.", name).
			WithHint("Change its trust policy to allow sts:AssumeRole for ssm.amazonaws.com.")
	}
	return role.ARN, nil
}

func (r nodeRoles) IssueNodeCredentials(
	ctx context.Context,
	node sekisho.NodeID,
	role string,
	programs bool,
	ttl time.Duration,
) (ssm.Credentials, error) {
	c, err := r.dir.Credentials.IssueNodeCredentials(ctx, node, role, programs, ttl)
	return ssm.Credentials(c), err
}

// consoleAudit records sign-ins in the audit trail.
type consoleAudit struct {
	trail    *audit.Trail
	refusals *refusals.Budget
	region   string
}

func (a consoleAudit) ConsoleEvent(ctx context.Context, e console.AuditEvent) error {
	mfa := "No"
	if e.MFAUsed {
		mfa = "Yes"
	}
	ev := audit.Event{
		Time: e.Time, EventSource: "signin.amazonaws.com", EventName: e.Name, Region: a.region,
		SourceIP: e.SourceIP.String(), UserAgent: e.UserAgent, UserIdentity: audit.IdentityOf(e.Principal),
		Additional: map[string]any{"MFAUsed": mfa, "user": e.User},
	}
	ev.ResponseElements = map[string]any{e.Name: "Success"}
	if e.Failure != "" {
		ev.ErrorMessage = e.Failure
		ev.ResponseElements = map[string]any{e.Name: "Failure"}
		if e.Principal == nil {
			return a.refusals.Record(ctx, e.SourceIP, ev)
		}
	}
	return a.trail.Record(ctx, ev)
}

// installer builds the commands that install agents.
type installer struct{ *install.Handler }

func orderOf(o sekishoapi.Installation) install.Order {
	return install.Order{
		Host: o.Host, ActivationID: o.ActivationID, ActivationCode: o.ActivationCode,
		Agent: o.Agent, Package: o.Package, PackageSHA256: o.PackageHash,
	}
}

func (i installer) Check(o sekishoapi.Installation) error {
	order := orderOf(o)
	return order.Check()
}

func (i installer) Command(o sekishoapi.Installation) (sekishoapi.InstallCommand, error) {
	c, err := i.Handler.Command(orderOf(o))
	return sekishoapi.InstallCommand(c), err
}
