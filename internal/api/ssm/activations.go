package ssm

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/node/fleet"
	"sekisho/internal/wire/awsproto"
)

func (d activationDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"CreateActivation":    api.Write(d.createActivation),
		"DescribeActivations": api.Read(d.describeActivations),
		"DeleteActivation":    api.Write(d.deleteActivation),
	}
}

type createActivationRequest struct {
	IamRole             string
	Description         string
	DefaultInstanceName string
	RegistrationLimit   *int64
	ExpirationDate      awsproto.Epoch
	Tags                []tag
	// RegistrationMetadata determines the IDs of the machines; see nodeKind.
	RegistrationMetadata []metadata
}

type metadata struct{ Key, Value string }

// Keys of RegistrationMetadata. AWS reserves the member for its own use.
const (
	metadataKind = "sekisho:NodeIdType"
	metadataID   = "sekisho:InstanceId"
)

// nodeKind parses the metadata of an activation. It refuses unknown keys and values instead of
// ignoring them.
func nodeKind(all []metadata) (kind sekisho.NodeKind, node sekisho.NodeID, err error) {
	seen := map[string]bool{}
	for _, m := range all {
		if seen[m.Key] {
			return "", "", awsproto.SenderError(
				"ValidationException",
				"RegistrationMetadata has the key %q twice.",
				m.Key,
			)
		}
		seen[m.Key] = true
		switch m.Key {
		case metadataKind:
			switch m.Value {
			case "managed-instance":
			case "instance":
				kind = sekisho.NodeInstance
			default:
				return "", "", awsproto.SenderError(
					"ValidationException",
					"%s must be managed-instance or instance, not %q.",
					m.Key,
					m.Value,
				)
			}
		case metadataID:
			node = sekisho.NodeID(m.Value)
		default:
			return "", "", awsproto.SenderError(
				"ValidationException",
				"RegistrationMetadata can have only the keys %s and %s, not %q.",
				metadataKind,
				metadataID,
				m.Key,
			)
		}
	}
	if node != "" && seen[metadataKind] && kind != sekisho.NodeInstance {
		return "", "", awsproto.SenderError(
			"ValidationException",
			"%s is the ID of an instance: %s must be instance or omitted.",
			metadataID,
			metadataKind,
		)
	}
	if node == "" && seen[metadataID] {
		return "", "", awsproto.SenderError("ValidationException", "%s is empty.", metadataID)
	}
	return kind, node, nil
}

// describeKind returns the metadata that nodeKind parses.
func describeKind(a *sekisho.Activation) []metadata {
	var all []metadata
	if a.NodeKind == sekisho.NodeInstance {
		all = append(all, metadata{metadataKind, "instance"})
	}
	if a.NodeID != "" {
		all = append(all, metadata{metadataID, string(a.NodeID)})
	}
	return all
}

type createActivationAnswer struct {
	ActivationID   string `json:"ActivationId"`
	ActivationCode string
}

func (d activationDoor) createActivation(
	ctx context.Context,
	c *api.Call,
	in *createActivationRequest,
) (*createActivationAnswer, error) {
	var v awsproto.Constraints
	v.Length("iamRole", in.IamRole, 0, 64)
	limit := int64(1)
	if in.RegistrationLimit != nil {
		limit = *in.RegistrationLimit
		v.Range("registrationLimit", limit, 1, 1000)
	}
	v.Pattern("defaultInstanceName", in.DefaultInstanceName, linePattern)
	if err := roleName("IamRole", in.IamRole); err != nil {
		return nil, err
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	tags, err := tagSet(in.Tags)
	if err != nil {
		return nil, err
	}
	kind, node, err := nodeKind(in.RegistrationMetadata)
	if err != nil {
		return nil, err
	}
	// An instance can have no role of its own, as in EC2.
	if v.Require("iamRole", in.IamRole != "" || node != "" || kind == sekisho.NodeInstance); v.Err() != nil {
		return nil, v.Err()
	}
	if err := c.Authorize(ctx, "ssm:CreateActivation", "*", authz.RequestTags(tags)...); err != nil {
		return nil, err
	}
	if in.IamRole != "" {
		role, err := d.Roles.ActivationRole(ctx, in.IamRole)
		if err != nil {
			return nil, err
		}
		if err := c.Authorize(ctx, "iam:PassRole", role, authz.One("iam:PassedToService", "ssm.amazonaws.com")); err != nil {
			return nil, err
		}
	}
	a, code, err := d.Fleet.CreateActivation(ctx, fleet.NewActivation{
		IAMRole: in.IamRole, Description: in.Description, DefaultInstanceName: in.DefaultInstanceName,
		RegistrationLimit: int(limit), ExpiresAt: in.ExpirationDate.Time, CreatedBy: c.Principal.ARN, Tags: tags,
		NodeKind: kind, NodeID: node,
	})
	if err != nil {
		return nil, err
	}
	c.Annotate(map[string]any{"activationId": a.ID})
	return &createActivationAnswer{a.ID, code}, nil
}

// maxActivationPage and maxActivationValues bound DescribeActivations.
const (
	maxActivationPage   = 50
	maxActivationValues = 100
)

type describeActivationsRequest struct {
	Filters []struct {
		FilterKey    string
		FilterValues []string
	}
	MaxResults *int64
	NextToken  string
}

type activation struct {
	ActivationID        string         `json:"ActivationId"`
	Description         string         `json:"Description,omitempty"`
	DefaultInstanceName string         `json:"DefaultInstanceName,omitempty"`
	IamRole             string         `json:"IamRole"`
	RegistrationLimit   int            `json:"RegistrationLimit"`
	RegistrationsCount  int            `json:"RegistrationsCount"`
	ExpirationDate      awsproto.Epoch `json:"ExpirationDate"`
	Expired             bool           `json:"Expired"`
	CreatedDate         awsproto.Epoch `json:"CreatedDate"`
	Tags                []tag          `json:"Tags,omitempty"`

	// Beyond AWS's shape.
	RegistrationMetadata []metadata `json:"RegistrationMetadata,omitempty"`
}

type describeActivationsAnswer struct {
	ActivationList []activation
	NextToken      string `json:"NextToken,omitempty"`
}

func (d activationDoor) describeActivations(
	ctx context.Context,
	c *api.Call,
	in *describeActivationsRequest,
) (*describeActivationsAnswer, error) {
	var v awsproto.Constraints
	limit := 0
	if in.MaxResults != nil {
		v.Range("maxResults", *in.MaxResults, 1, maxActivationPage)
		limit = int(*in.MaxResults)
	}
	v.Count("filters", len(in.Filters), 0, maxFilters)
	for _, f := range in.Filters {
		v.Enum("filters.member.filterKey", f.FilterKey, "ActivationIds", "DefaultInstanceName", "IamRole")
		v.Count("filters.member.filterValues", len(f.FilterValues), 0, maxActivationValues)
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "ssm:DescribeActivations", "*"); err != nil {
		return nil, err
	}
	q := fleet.ActivationQuery{Limit: cmp.Or(limit, maxActivationPage) + 1}
	for _, f := range in.Filters {
		into := map[string]*[]string{
			"ActivationIds": &q.IDs, "DefaultInstanceName": &q.Names, "IamRole": &q.Roles,
		}[f.FilterKey]
		*into = both(*into, f.FilterValues)
	}
	var err error
	if q.After, err = activationPlace(in.NextToken); err != nil {
		return nil, err
	}
	all, err := d.Fleet.Activations(ctx, q)
	if err != nil {
		return nil, err
	}
	next := ""
	if len(all) == q.Limit {
		all = all[:q.Limit-1]
		next = activationToken(all[len(all)-1])
	}
	out := &describeActivationsAnswer{ActivationList: []activation{}, NextToken: next}
	for _, a := range all {
		out.ActivationList = append(out.ActivationList, activation{
			ActivationID: a.ID, Description: a.Description, DefaultInstanceName: a.DefaultInstanceName, IamRole: a.IAMRole,
			RegistrationLimit: a.RegistrationLimit, RegistrationsCount: a.RegistrationCount,
			ExpirationDate: awsproto.NewEpoch(a.ExpiresAt), Expired: !time.Now().Before(a.ExpiresAt),
			CreatedDate: awsproto.NewEpoch(a.CreatedAt), Tags: tagList(a.Tags),
			RegistrationMetadata: describeKind(a),
		})
	}
	return out, nil
}

// activationToken is the token of the page after a.
func activationToken(a *sekisho.Activation) string {
	return makeToken(fmt.Sprintf("%d %s", a.CreatedAt.UnixMicro(), a.ID))
}

func activationPlace(token string) (fleet.ActivationPlace, error) {
	if token == "" {
		return fleet.ActivationPlace{}, nil
	}
	text, err := readToken(token)
	if err != nil {
		return fleet.ActivationPlace{}, err
	}
	created, activationID, _ := strings.Cut(text, " ")
	us, err := strconv.ParseInt(created, 10, 64)
	if err != nil || activationID == "" {
		return fleet.ActivationPlace{}, errToken
	}
	return fleet.ActivationPlace{CreatedAt: time.UnixMicro(us), ID: activationID}, nil
}

// both returns the values that two filters of the same key have in common. A nil
// slice stands for all values.
func both(a, b []string) []string {
	common := []string{}
	for _, v := range b {
		if a == nil || slices.Contains(a, v) {
			common = append(common, v)
		}
	}
	return common
}

type deleteActivationRequest struct {
	ActivationID string `json:"ActivationId"`
}

func (d activationDoor) deleteActivation(
	ctx context.Context, c *api.Call, in *deleteActivationRequest,
) (*struct{}, error) {
	var v awsproto.Constraints
	v.Require("activationId", in.ActivationID != "")
	v.Length("activationId", in.ActivationID, 0, 64)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "ssm:DeleteActivation", "*"); err != nil {
		return nil, err
	}
	err := d.Fleet.DeleteActivation(ctx, in.ActivationID)
	if sekisho.IsNotFound(err) {
		return nil, awsproto.SenderError("InvalidActivation", "There is no activation %s.", in.ActivationID)
	}
	return &struct{}{}, err
}
