package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"sekisho/internal/iam/authz"
	"sekisho/internal/storage/objects"
)

const maxObjectTags = 10

// tagsHeader parses x-amz-tagging: tags in the form of a query.
func (q *request) tagsHeader() (map[string]string, error) {
	text := q.header("X-Amz-Tagging")
	if text == "" {
		return nil, nil
	}
	form, err := url.ParseQuery(text)
	if err != nil {
		return nil, fault(
			"InvalidArgument",
			"The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name "+
				"duplicates.",
		)
	}
	var tags []tag
	for _, key := range slices.Sorted(maps.Keys(form)) {
		for _, value := range form[key] {
			tags = append(tags, tag{key, value})
		}
	}
	return objectTags(tags)
}

func objectTags(tags []tag) (map[string]string, error) {
	if len(tags) > maxObjectTags {
		return nil, fault("BadRequest", "Object tags cannot be greater than %d", maxObjectTags)
	}
	return tagMap(tags)
}

// tagKeys returns the condition keys of tags; prefix ends in a slash.
func tagKeys(prefix string, tags map[string]string) []authz.Key {
	var keys []authz.Key
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		keys = append(keys, authz.One(prefix+key, tags[key]))
	}
	return keys
}

// requestTags returns the condition keys of the tags that a request sets.
func requestTags(tags map[string]string) []authz.Key {
	if len(tags) == 0 {
		return nil
	}
	return append(tagKeys("s3:RequestObjectTag/", tags), authz.Many("s3:RequestObjectTagKeys",
		slices.Sorted(maps.Keys(tags))))
}

// existingTags returns the condition keys of a version's tags.
func (q *request) existingTags(ctx context.Context, b *objects.Bucket, key, version string) ([]authz.Key, error) {
	if b == nil {
		return nil, nil
	}
	v, err := q.Objects.Head(ctx, b.Name, key, version)
	switch {
	case err == nil:
		return tagKeys("s3:ExistingObjectTag/", v.Facts.Tags), nil
	case errors.Is(err, objects.ErrNoKey),
		errors.Is(err, objects.ErrNoVersion),
		errors.Is(err, objects.ErrDeleteMarker):
		return nil, nil
	}
	return nil, err
}

// allowPut authorizes the caller to write the object and set its tags.
func (q *request) allowPut(ctx context.Context) error {
	tags, tagErr := q.tagsHeader()
	keys := requestTags(tags)
	if err := q.allow(ctx, "s3:PutObject", q.arn(), keys...); err != nil {
		return err
	}
	if tagErr != nil || len(tags) == 0 {
		return tagErr
	}
	return q.allow(ctx, "s3:PutObjectTagging", q.arn(), keys...)
}

// tagAction returns the action on the tags of an object or, if the request names one, of a version.
func (q *request) tagAction(verb string) string {
	if q.query.Has("versionId") {
		return "s3:" + verb + "ObjectVersionTagging"
	}
	return "s3:" + verb + "ObjectTagging"
}

func getObjectTagging(ctx context.Context, q *request) (answer, error) {
	version := q.query.Get("versionId")
	keys, err := q.existingTags(ctx, q.config, q.key, version)
	if err != nil {
		return answer{}, err
	}
	if err := q.allow(ctx, q.tagAction("Get"), q.arn(), keys...); err != nil {
		return answer{}, err
	}
	v, err := q.Objects.Head(ctx, q.bucket, q.key, version)
	if err != nil {
		return answer{}, q.hide(ctx, q.config, err)
	}
	q.versionHeader(v.ID)
	return answer{xml: tagging{Xmlns: xmlns, Tags: tagList(v.Facts.Tags)}}, nil
}

func putObjectTagging(ctx context.Context, q *request) (answer, error) {
	keys, err := q.existingTags(ctx, q.config, q.key, q.query.Get("versionId"))
	if err != nil {
		return answer{}, err
	}
	var in struct {
		XMLName xml.Name `xml:"Tagging"`
		Set     *struct {
			Tags []tag `xml:"Tag"`
		} `xml:"TagSet"`
	}
	bodyErr := q.readXML(&in)
	var tags map[string]string
	if bodyErr == nil && in.Set == nil {
		bodyErr = errMalformedXML
	}
	if bodyErr == nil {
		tags, bodyErr = objectTags(in.Set.Tags)
	}
	if err := q.allow(ctx, q.tagAction("Put"), q.arn(), append(keys, requestTags(tags)...)...); err != nil {
		return answer{}, err
	}
	if bodyErr != nil {
		return answer{}, bodyErr
	}
	return q.setObjectTags(ctx, tags, http.StatusOK)
}

func deleteObjectTagging(ctx context.Context, q *request) (answer, error) {
	keys, err := q.existingTags(ctx, q.config, q.key, q.query.Get("versionId"))
	if err != nil {
		return answer{}, err
	}
	if err := q.allow(ctx, q.tagAction("Delete"), q.arn(), keys...); err != nil {
		return answer{}, err
	}
	return q.setObjectTags(ctx, nil, http.StatusNoContent)
}

func (q *request) setObjectTags(ctx context.Context, tags map[string]string, status int) (answer, error) {
	v, err := q.Objects.SetTags(ctx, q.bucket, q.key, q.query.Get("versionId"), tags)
	if err != nil {
		return answer{}, q.hide(ctx, q.config, err)
	}
	q.versionHeader(v.ID)
	return answer{status: status}, nil
}
