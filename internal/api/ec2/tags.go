package ec2

import (
	"context"
	"maps"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/id"
)

// maxTags bounds the tags of a node.
const maxTags = 50

type describeTagsRequest struct {
	tried
	paging
	Filter []filter
}

type tagDescription struct {
	ResourceID   string `xml:"resourceId"`
	ResourceType string `xml:"resourceType"`
	Key          string `xml:"key"`
	Value        string `xml:"value"`
}

type describeTagsAnswer struct {
	TagSet    set[tagDescription] `xml:"tagSet"`
	NextToken string              `xml:"nextToken,omitempty"`
}

func tagAttribute(t tagDescription, name string) ([]string, bool) {
	switch name {
	case "key":
		return []string{t.Key}, true
	case "value":
		return []string{t.Value}, true
	case "resource-id":
		return []string{t.ResourceID}, true
	case "resource-type":
		return []string{t.ResourceType}, true
	}
	if key, ok := strings.CutPrefix(name, "tag:"); ok && key != "" {
		if key == t.Key {
			return []string{t.Value}, true
		}
		return nil, true
	}
	return nil, false
}

func (d *door) describeTags(ctx context.Context, c *api.Call, in *describeTagsRequest) (*describeTagsAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	passes, err := matcher(in.Filter, tagAttribute)
	if err != nil {
		return nil, err
	}
	most, after, err := in.read()
	if err != nil {
		return nil, err
	}
	nodes, err := d.Fleet.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	node, key, _ := strings.Cut(after, placeSeparator)
	nodes = nodes[sort.Search(len(nodes), func(i int) bool { return string(nodes[i].ID) >= node }):]
	out := &describeTagsAnswer{}
	for _, n := range nodes {
		for _, k := range slices.Sorted(maps.Keys(n.Tags)) {
			t := tagDescription{string(n.ID), "instance", k, n.Tags[k]}
			if t.ResourceID == node && k <= key || !passes(t) {
				continue
			}
			if len(out.TagSet.Item) == most {
				last := out.TagSet.Item[most-1]
				out.NextToken = token(last.ResourceID + placeSeparator + last.Key)
				return out, in.done()
			}
			out.TagSet.Item = append(out.TagSet.Item, t)
		}
	}
	return out, in.done()
}

// placeSeparator separates a node's ID from a tag's key in tokens.
const placeSeparator = "\x00"

type createTagsRequest struct {
	tried
	ResourceID []string `query:"ResourceId"`
	Tag        []struct {
		Key   string
		Value string
	}
}

type done struct {
	Return bool `xml:"return"`
}

// resources checks the IDs of a request to change tags.
func resources(ids []string) error {
	if len(ids) == 0 {
		return awsproto.SenderError("MissingParameter", "The request must contain the parameter resourceIdSet")
	}
	if len(ids) > maxIDs {
		return awsproto.SenderError("InvalidParameterValue", "A request can name at most %d resources.", maxIDs)
	}
	for _, r := range ids {
		if !id.ValidNode(r) {
			return awsproto.SenderError("InvalidID", "The ID '%.64s' is not valid: only instances can have tags.", r)
		}
	}
	return nil
}

// onAll authorizes a call on all nodes that it names, before anything is changed.
func (d *door) onAll(ctx context.Context, c *api.Call, ids []string, keys []authz.Key) ([]sekisho.NodeID, error) {
	var all []sekisho.NodeID
	for _, node := range ids {
		n, err := d.onNode(ctx, c, node, keys...)
		if err != nil {
			return nil, err
		}
		all = append(all, n.ID)
	}
	return all, nil
}

func checkTag(key, value string) error {
	switch {
	case key == "" || utf8.RuneCountInString(key) > 128:
		return awsproto.SenderError("InvalidParameterValue", "Tag key must have 1 to 128 characters")
	case utf8.RuneCountInString(value) > 256:
		return awsproto.SenderError("InvalidParameterValue", "Tag value exceeds the maximum length of 256 characters")
	case strings.HasPrefix(strings.ToLower(key), "aws:"):
		return awsproto.SenderError(
			"InvalidParameterValue",
			"Tag keys starting with 'aws:' are reserved for internal use",
		)
	}
	return nil
}

func (d *door) createTags(ctx context.Context, c *api.Call, in *createTagsRequest) (*done, error) {
	if err := resources(in.ResourceID); err != nil {
		return nil, err
	}
	if len(in.Tag) == 0 {
		return nil, awsproto.SenderError("MissingParameter", "The request must contain the parameter tagSet")
	}
	tags := make(map[string]string, len(in.Tag))
	for _, t := range in.Tag {
		if err := checkTag(t.Key, t.Value); err != nil {
			return nil, err
		}
		if err := clash(tags, t.Key); err != nil {
			return nil, err
		}
		if _, twice := tags[t.Key]; twice {
			return nil, awsproto.SenderError("InvalidParameterValue", "Duplicate tag key '%s' specified.", t.Key)
		}
		tags[t.Key] = t.Value
	}
	nodes, err := d.onAll(ctx, c, in.ResourceID, authz.RequestTags(tags))
	if err != nil {
		return nil, err
	}
	if err := in.done(); err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if err := d.Fleet.SetTags(ctx, n,
			func(have map[string]string) (map[string]string, error) { return joined(have, tags) }); err != nil {
			return nil, err
		}
	}
	return &done{true}, nil
}

// clash refuses a key that differs from an existing one only in letter case, because condition keys
// could not distinguish them.
func clash(tags map[string]string, key string) error {
	for have := range tags {
		if have != key && strings.EqualFold(have, key) {
			return awsproto.SenderError(
				"InvalidParameterValue",
				"A tag %q already exists: tag keys cannot differ only in letter case.",
				have,
			)
		}
	}
	return nil
}

func joined(have, more map[string]string) (map[string]string, error) {
	all := make(map[string]string, len(have)+len(more))
	maps.Copy(all, have)
	for k, v := range more {
		if err := clash(have, k); err != nil {
			return nil, err
		}
		all[k] = v
	}
	if len(all) > maxTags {
		return nil, awsproto.SenderError(
			"TagLimitExceeded",
			"The maximum number of Tags for a resource has been reached: %d.",
			maxTags,
		)
	}
	return all, nil
}

type deleteTagsRequest struct {
	tried
	ResourceID []string `query:"ResourceId"`
	Tag        []struct {
		Key   string
		Value *string // the tag is deleted only if it has this value
	}
}

func (d *door) deleteTags(ctx context.Context, c *api.Call, in *deleteTagsRequest) (*done, error) {
	if err := resources(in.ResourceID); err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(in.Tag))
	for _, t := range in.Tag {
		if err := checkTag(t.Key, ""); err != nil {
			return nil, err
		}
		keys = append(keys, t.Key)
	}
	nodes, err := d.onAll(ctx, c, in.ResourceID, []authz.Key{authz.Many("aws:TagKeys", keys)})
	if err != nil {
		return nil, err
	}
	if err := in.done(); err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if err := d.Fleet.SetTags(ctx, n, func(have map[string]string) (map[string]string, error) {
			if len(in.Tag) == 0 {
				return nil, nil
			}
			left := maps.Clone(have)
			for _, t := range in.Tag {
				if v, ok := left[t.Key]; ok && (t.Value == nil || *t.Value == v) {
					delete(left, t.Key)
				}
			}
			return left, nil
		}); err != nil {
			return nil, err
		}
	}
	return &done{true}, nil
}
