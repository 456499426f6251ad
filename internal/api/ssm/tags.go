package ssm

import (
	"context"
	"errors"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/ssmdoc/doclibrary"
	"sekisho/internal/wire/awsproto"
)

func (d tagDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"AddTagsToResource":      api.Write(d.addTagsToResource),
		"RemoveTagsFromResource": api.Write(d.removeTagsFromResource),
		"ListTagsForResource":    api.Read(d.listTagsForResource),
	}
}

// tagged is a resource whose tags can be read and changed.
type tagged struct {
	arn  string
	tags map[string]string
	// missing is the error for a missing resource; it is returned after the policy decision.
	missing error
	retag   func(ctx context.Context, set map[string]string, remove []string) error
}

// taggedResource returns the resource of a request by its type and ID.
func (d tagDoor) taggedResource(ctx context.Context, kind, id string) (*tagged, error) {
	var v awsproto.Constraints
	v.Require("resourceType", kind != "")
	v.Require("resourceId", id != "")
	if err := v.Err(); err != nil {
		return nil, err
	}
	switch kind {
	case "Document":
		name, err := d.documents.documentName(id)
		if err != nil {
			return nil, awsproto.SenderError("InvalidResourceId", "Document %q does not exist.", id)
		}
		t := &tagged{
			arn: d.documentARN(name),
			retag: func(ctx context.Context, set map[string]string, remove []string) error {
				return d.Documents.Tag(ctx, name, set, remove)
			},
		}
		doc, err := d.Documents.Document(ctx, name)
		switch {
		case err == nil:
			t.tags = doc.Tags
		case !sekisho.IsNotFound(err):
			return nil, err
		case ssmdoc.FindBuiltin(name) == nil:
			t.missing = awsproto.SenderError("InvalidResourceId", "Document %s does not exist.", name)
		}
		return t, nil
	case "ManagedInstance":
		if !knownNode(id) {
			return nil, awsproto.SenderError("InvalidResourceId", "%q is not the ID of a managed node.", id)
		}
		node := sekisho.NodeID(id)
		t := &tagged{
			arn: d.nodeARN(id),
			retag: func(ctx context.Context, set map[string]string, remove []string) error {
				return d.Fleet.SetTags(ctx, node, func(tags map[string]string) (map[string]string, error) {
					return doclibrary.Retag(tags, set, remove)
				})
			},
		}
		n, err := d.Fleet.Node(ctx, node)
		switch {
		case err == nil:
			t.tags = n.Tags
		case !sekisho.IsNotFound(err):
			return nil, err
		default:
			t.missing = awsproto.SenderError("InvalidResourceId", "%s is not registered.", id)
		}
		return t, nil
	case "MaintenanceWindow", "Parameter", "PatchBaseline", "OpsItem", "OpsMetadata", "Automation", "Association":
		return nil, awsproto.SenderError(
			"InvalidResourceType",
			"The resource type %s is not supported. Use Document or ManagedInstance.",
			kind,
		)
	}
	v.Enum("resourceType", kind, "Document", "ManagedInstance")
	return nil, v.Err()
}

// tagError translates the errors of changing tags into AWS's.
func tagError(err error) error {
	if errors.Is(err, doclibrary.ErrOperation) || sekisho.IsNotFound(err) {
		return awsproto.SenderError("InvalidResourceId", "%s", err)
	}
	return documentError(err)
}

type addTagsRequest struct {
	ResourceType string
	ResourceID   string `json:"ResourceId"`
	Tags         []tag
}

func (d tagDoor) addTagsToResource(ctx context.Context, c *api.Call, in *addTagsRequest) (*struct{}, error) {
	var v awsproto.Constraints
	v.Require("tags", in.Tags != nil)
	if err := v.Err(); err != nil {
		return nil, err
	}
	set, err := tagSet(in.Tags)
	if err != nil {
		return nil, err
	}
	t, err := d.taggedResource(ctx, in.ResourceType, in.ResourceID)
	if err != nil {
		return nil, err
	}
	keys := append(authz.ResourceTags("ssm", t.tags), authz.RequestTags(set)...)
	if err := c.Authorize(ctx, "ssm:AddTagsToResource", t.arn, keys...); err != nil {
		return nil, err
	}
	if t.missing != nil {
		return nil, t.missing
	}
	return &struct{}{}, tagError(t.retag(ctx, set, nil))
}

type removeTagsRequest struct {
	ResourceType string
	ResourceID   string `json:"ResourceId"`
	TagKeys      []string
}

func (d tagDoor) removeTagsFromResource(ctx context.Context, c *api.Call, in *removeTagsRequest) (*struct{}, error) {
	var v awsproto.Constraints
	v.Require("tagKeys", in.TagKeys != nil)
	v.Count("tagKeys", len(in.TagKeys), 0, 1000)
	if err := v.Err(); err != nil {
		return nil, err
	}
	t, err := d.taggedResource(ctx, in.ResourceType, in.ResourceID)
	if err != nil {
		return nil, err
	}
	keys := append(authz.ResourceTags("ssm", t.tags), authz.Many("aws:TagKeys", in.TagKeys))
	if err := c.Authorize(ctx, "ssm:RemoveTagsFromResource", t.arn, keys...); err != nil {
		return nil, err
	}
	if t.missing != nil {
		return nil, t.missing
	}
	return &struct{}{}, tagError(t.retag(ctx, nil, in.TagKeys))
}

type resourceRequest struct {
	ResourceType string
	ResourceID   string `json:"ResourceId"`
}

type tagListAnswer struct{ TagList []tag }

func (d tagDoor) listTagsForResource(ctx context.Context, c *api.Call, in *resourceRequest) (*tagListAnswer, error) {
	t, err := d.taggedResource(ctx, in.ResourceType, in.ResourceID)
	if err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "ssm:ListTagsForResource", t.arn, authz.ResourceTags("ssm", t.tags)...); err != nil {
		return nil, err
	}
	if t.missing != nil {
		return nil, t.missing
	}
	return &tagListAnswer{append([]tag{}, tagList(t.tags)...)}, nil
}
