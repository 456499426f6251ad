package ec2

import (
	"context"
	"slices"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/id"
)

type profileName struct{ Arn, Name string }

type associateRequest struct {
	IamInstanceProfile profileName
	InstanceID         string `query:"InstanceId"`
}

type association struct {
	AssociationID      string          `xml:"associationId"`
	InstanceID         string          `xml:"instanceId"`
	IamInstanceProfile profile         `xml:"iamInstanceProfile"`
	State              string          `xml:"state"`
	Timestamp          *awsproto.Epoch `xml:"timestamp,omitempty"`
}

type associationAnswer struct {
	Association association `xml:"iamInstanceProfileAssociation"`
}

func associationOf(node sekisho.NodeID, p *sekisho.NodeProfile, state string) association {
	return association{
		AssociationID:      p.Association,
		InstanceID:         string(node),
		IamInstanceProfile: profile{p.ARN, p.ID},
		State:              state,
	}
}

// profile returns the instance profile that a request names, and its role.
func (d *door) profile(ctx context.Context, in profileName) (p *sekisho.NodeProfile, roleARN string, err error) {
	name, field := in.Name, "iamInstanceProfile.name"
	if in.Arn != "" {
		if in.Name != "" {
			return nil, "", awsproto.SenderError(
				"InvalidParameterCombination",
				"The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'",
			)
		}
		name, field = in.Arn[strings.LastIndexByte(in.Arn, '/')+1:], "iamInstanceProfile.arn"
	}
	if name == "" {
		return nil, "", awsproto.SenderError(
			"MissingParameter",
			"The request must contain the parameter IamInstanceProfile",
		)
	}
	wrong := func(why string) error {
		return awsproto.SenderError(
			"InvalidParameterValue",
			"Value (%.200s) for parameter %s is invalid. %s",
			in.Arn+in.Name,
			field,
			why,
		)
	}
	held, role, err := d.Profiles.Get(ctx, name)
	if sekisho.IsNotFound(err) || err == nil && in.Arn != "" && held.ARN != in.Arn {
		return nil, "", wrong("Invalid IAM Instance Profile name")
	}
	if err != nil {
		return nil, "", err
	}
	if role == nil {
		return nil, "", wrong("The instance profile has no role")
	}
	return &sekisho.NodeProfile{
		Association: id.Association(), ID: held.ID, ARN: held.ARN, Role: strings.TrimPrefix(role.Path, "/") + role.Name,
		Since: time.Now().UTC(),
	}, role.ARN, nil
}

// pass authorizes the caller to pass a role to a node.
func pass(ctx context.Context, c *api.Call, roleARN string) error {
	return c.Authorize(ctx, "iam:PassRole", roleARN, authz.One("iam:PassedToService", "ec2.amazonaws.com"))
}

func (d *door) associateProfile(ctx context.Context, c *api.Call, in *associateRequest) (*associationAnswer, error) {
	if in.InstanceID == "" {
		return nil, awsproto.SenderError("MissingParameter", "The request must contain the parameter InstanceId")
	}
	return d.associate(ctx, c, in.IamInstanceProfile, "", func(keys ...authz.Key) (*sekisho.Node, error) {
		return d.onNode(ctx, c, in.InstanceID, keys...)
	})
}

// associate gives the node that find authorizes a profile, in place of the
// association called instead unless that is empty.
func (d *door) associate(
	ctx context.Context, c *api.Call, name profileName, instead string,
	find func(keys ...authz.Key) (*sekisho.Node, error),
) (*associationAnswer, error) {
	p, role, unknown := d.profile(ctx, name)
	var keys []authz.Key
	if p != nil {
		keys = append(keys, authz.One("ec2:NewInstanceProfile", p.ARN))
	}
	n, err := find(keys...)
	if err != nil {
		return nil, err
	}
	if unknown != nil {
		return nil, unknown
	}
	if err := pass(ctx, c, role); err != nil {
		return nil, err
	}
	if err := d.set(ctx, n.ID, p, instead); err != nil {
		return nil, err
	}
	return &associationAnswer{associationOf(n.ID, p, "associating")}, nil
}

func (d *door) set(ctx context.Context, node sekisho.NodeID, p *sekisho.NodeProfile, instead string) error {
	err := d.Fleet.SetProfile(ctx, node, p, instead)
	if sekisho.CodeOf(err) == sekisho.CodeConflict {
		return awsproto.SenderError("IncorrectState", "%s", err)
	}
	return err
}

type associationRequest struct {
	AssociationID string `query:"AssociationId"`
}

// associated authorizes the call on the node with an association, and returns the node.
func (d *door) associated(
	ctx context.Context,
	c *api.Call,
	association string,
	keys ...authz.Key,
) (*sekisho.Node, error) {
	if association == "" {
		return nil, awsproto.SenderError("MissingParameter", "The request must contain the parameter AssociationId")
	}
	all, err := d.Fleet.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(
		all,
		func(n *sekisho.Node) bool { return n.Profile != nil && n.Profile.Association == association },
	)
	if i < 0 {
		if err := everything(ctx, c); err != nil {
			return nil, err
		}
		return nil, awsproto.SenderError(
			"InvalidAssociationID.NotFound",
			"An invalid association-id of '%.64s' was given",
			association,
		)
	}
	return d.onNode(ctx, c, string(all[i].ID), keys...)
}

func (d *door) disassociateProfile(
	ctx context.Context,
	c *api.Call,
	in *associationRequest,
) (*associationAnswer, error) {
	n, err := d.associated(ctx, c, in.AssociationID)
	if err != nil {
		return nil, err
	}
	if err := d.set(ctx, n.ID, nil, in.AssociationID); err != nil {
		return nil, err
	}
	return &associationAnswer{associationOf(n.ID, n.Profile, "disassociating")}, nil
}

type replaceRequest struct {
	AssociationID      string `query:"AssociationId"`
	IamInstanceProfile profileName
}

func (d *door) replaceAssociation(ctx context.Context, c *api.Call, in *replaceRequest) (*associationAnswer, error) {
	return d.associate(ctx, c, in.IamInstanceProfile, in.AssociationID, func(keys ...authz.Key) (*sekisho.Node, error) {
		return d.associated(ctx, c, in.AssociationID, keys...)
	})
}

type describeAssociationsRequest struct {
	paging
	AssociationID []string `query:"AssociationId"`
	Filter        []filter
}

type describeAssociationsAnswer struct {
	Associations set[association] `xml:"iamInstanceProfileAssociationSet"`
	NextToken    string           `xml:"nextToken,omitempty"`
}

func (d *door) describeAssociations(
	ctx context.Context,
	c *api.Call,
	in *describeAssociationsRequest,
) (*describeAssociationsAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	nodes, err := d.Fleet.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	var all []association
	for _, n := range nodes {
		if n.Profile == nil || len(in.AssociationID) > 0 && !slices.Contains(in.AssociationID, n.Profile.Association) {
			continue
		}
		a, since := associationOf(n.ID, n.Profile, "associated"), awsproto.NewEpoch(n.Profile.Since)
		a.Timestamp = &since
		all = append(all, a)
	}
	for _, asked := range in.AssociationID {
		if !slices.ContainsFunc(all, func(a association) bool { return a.AssociationID == asked }) {
			return nil, awsproto.SenderError(
				"InvalidAssociationID.NotFound",
				"An invalid association-id of '%.64s' was given",
				asked,
			)
		}
	}
	all, err = selected(all, in.Filter, func(a association, name string) ([]string, bool) {
		switch name {
		case "instance-id":
			return []string{a.InstanceID}, true
		case "state":
			return []string{a.State}, true
		}
		return nil, false
	})
	if err != nil {
		return nil, err
	}
	all, next, err := page(all, func(a association) string { return a.InstanceID }, in.paging)
	if err != nil {
		return nil, err
	}
	return &describeAssociationsAnswer{set[association]{all}, next}, nil
}
