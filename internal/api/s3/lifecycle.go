package s3

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"sekisho/internal/storage/objects"
)

// maxRules is S3's limit for the lifecycle rules of a bucket.
const maxRules = 1000

type lifecycle struct {
	XMLName xml.Name        `xml:"LifecycleConfiguration"`
	Xmlns   string          `xml:"xmlns,attr"`
	Rules   []lifecycleRule `xml:"Rule"`
}

type lifecycleRule struct {
	Expiration           *expiration `xml:",omitempty"`
	ID                   string      `xml:",omitempty"`
	Prefix               *string     `xml:",omitempty"` // deprecated predecessor of Filter
	Filter               *filter     `xml:",omitempty"`
	Status               string
	Transition           []struct{} `xml:"Transition"`
	NoncurrentTransition []struct{} `xml:"NoncurrentVersionTransition"`
	Noncurrent           *struct {
		NoncurrentDays          int
		NewerNoncurrentVersions int `xml:",omitempty"`
	} `xml:"NoncurrentVersionExpiration"`
	Abort *struct {
		DaysAfterInitiation int
	} `xml:"AbortIncompleteMultipartUpload"`
}

type expiration struct {
	Date                      *isoTime `xml:",omitempty"`
	Days                      *int     `xml:",omitempty"`
	ExpiredObjectDeleteMarker bool     `xml:",omitempty"`
}

type filter struct {
	Prefix  *string `xml:",omitempty"`
	Tag     *tag    `xml:",omitempty"`
	Larger  *int64  `xml:"ObjectSizeGreaterThan"`
	Smaller *int64  `xml:"ObjectSizeLessThan"`
	And     *struct {
		Prefix  string `xml:",omitempty"`
		Tags    []tag  `xml:"Tag"`
		Larger  *int64 `xml:"ObjectSizeGreaterThan"`
		Smaller *int64 `xml:"ObjectSizeLessThan"`
	}
}

// set returns the number of criteria in the filter.
func (f *filter) set() (n int) {
	for _, given := range []bool{f.Prefix != nil, f.Tag != nil, f.Larger != nil, f.Smaller != nil, f.And != nil} {
		if given {
			n++
		}
	}
	return n
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (t *isoTime) UnmarshalText(b []byte) (err error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t.Time, err = time.Parse(layout, string(b)); err == nil {
			return nil
		}
	}
	return err
}

// rule checks a rule and converts it to its stored form.
func (r *lifecycleRule) rule() (objects.LifecycleRule, error) {
	out := objects.LifecycleRule{ID: r.ID, Enabled: r.Status == "Enabled"}
	switch {
	case r.Status != "Enabled" && r.Status != "Disabled", r.Prefix == nil && r.Filter == nil, r.Prefix != nil &&
		r.Filter != nil:
		return out, errMalformedXML
	case len(r.ID) > 255:
		return out, fault("InvalidArgument", "ID length should not exceed allowed limit of 255")
	case len(r.Transition) > 0 || len(r.NoncurrentTransition) > 0:
		return out, notImplemented("lifecycle transitions")
	case r.Expiration == nil && r.Noncurrent == nil && r.Abort == nil:
		return out, fault("InvalidRequest", "At least one action needs to be specified in a rule")
	}
	if r.Prefix != nil {
		out.Prefix = *r.Prefix
	} else if err := r.Filter.apply(&out); err != nil {
		return out, err
	}
	if len(out.Prefix) > objects.MaxKey {
		return out, fault("InvalidRequest", "The maximum size of a prefix is %d.", objects.MaxKey)
	}
	if err := r.actions(&out); err != nil {
		return out, err
	}
	if len(out.Tags) > 0 && (out.LoneDeleteMarkers || out.AbortDays > 0) {
		return out, fault("InvalidRequest",
			"ExpiredObjectDeleteMarker and AbortIncompleteMultipartUpload cannot be specified with Tags.")
	}
	return out, nil
}

// apply copies the criteria of a filter, which can have only one outside And.
func (f *filter) apply(to *objects.LifecycleRule) error {
	if f.set() > 1 {
		return errMalformedXML
	}
	var tags []tag
	switch {
	case f.And != nil:
		to.Prefix, to.Larger, to.Smaller, tags = f.And.Prefix, f.And.Larger, f.And.Smaller, f.And.Tags
	case f.Tag != nil:
		tags = []tag{*f.Tag}
	case f.Prefix != nil:
		to.Prefix = *f.Prefix
	default:
		to.Larger, to.Smaller = f.Larger, f.Smaller
	}
	if to.Larger != nil && *to.Larger < 0 || to.Smaller != nil && *to.Smaller < 1 || to.Larger != nil &&
		to.Smaller != nil && *to.Larger >= *to.Smaller {
		return fault(
			"InvalidRequest",
			"ObjectSizeGreaterThan must be less than ObjectSizeLessThan, and neither can be negative.",
		)
	}
	var err error
	to.Tags, err = tagMap(tags)
	return err
}

// actions copies a rule's actions.
func (r *lifecycleRule) actions(to *objects.LifecycleRule) error {
	positive := func(name string, days int) error {
		if days < 1 {
			return fault("InvalidArgument", "'%s' for lifecycle actions must be a positive integer", name)
		}
		return nil
	}
	if e := r.Expiration; e != nil {
		given := 0
		if e.Days != nil {
			if given++; *e.Days < 1 {
				return positive("Days", *e.Days)
			}
			to.Days = *e.Days
		}
		if e.Date != nil {
			given++
			if to.Date = e.Date.UTC(); to.Date.Truncate(24*time.Hour) != to.Date {
				return fault("InvalidArgument", "'Date' must be at midnight GMT")
			}
		}
		if e.ExpiredObjectDeleteMarker {
			given++
			to.LoneDeleteMarkers = true
		}
		if given != 1 {
			return errMalformedXML
		}
	}
	if n := r.Noncurrent; n != nil {
		if err := positive("NoncurrentDays", n.NoncurrentDays); err != nil {
			return err
		}
		if n.NewerNoncurrentVersions < 0 || n.NewerNoncurrentVersions > 100 {
			return fault("InvalidArgument", "'NewerNoncurrentVersions' must be between 1 and 100")
		}
		to.NoncurrentDays, to.KeepNoncurrent = n.NoncurrentDays, n.NewerNoncurrentVersions
	}
	if r.Abort != nil {
		to.AbortDays = r.Abort.DaysAfterInitiation
		return positive("DaysAfterInitiation", to.AbortDays)
	}
	return nil
}

// ruleElement returns a stored rule in the form of requests and answers.
func ruleElement(r objects.LifecycleRule) lifecycleRule {
	out := lifecycleRule{ID: r.ID, Status: "Disabled", Filter: &filter{}}
	if r.Enabled {
		out.Status = "Enabled"
	}
	criteria := len(r.Tags)
	for _, given := range []bool{r.Prefix != "", r.Larger != nil, r.Smaller != nil} {
		if given {
			criteria++
		}
	}
	tags := tagList(r.Tags)
	switch {
	case criteria > 1:
		out.Filter.And = &struct {
			Prefix  string `xml:",omitempty"`
			Tags    []tag  `xml:"Tag"`
			Larger  *int64 `xml:"ObjectSizeGreaterThan"`
			Smaller *int64 `xml:"ObjectSizeLessThan"`
		}{r.Prefix, tags, r.Larger, r.Smaller}
	case len(tags) == 1:
		out.Filter.Tag = &tags[0]
	case r.Larger != nil || r.Smaller != nil:
		out.Filter.Larger, out.Filter.Smaller = r.Larger, r.Smaller
	default:
		out.Filter.Prefix = &r.Prefix
	}
	switch {
	case r.Days > 0:
		out.Expiration = &expiration{Days: &r.Days}
	case !r.Date.IsZero():
		out.Expiration = &expiration{Date: &isoTime{r.Date}}
	case r.LoneDeleteMarkers:
		out.Expiration = &expiration{ExpiredObjectDeleteMarker: true}
	}
	if r.NoncurrentDays > 0 {
		out.Noncurrent = &struct {
			NoncurrentDays          int
			NewerNoncurrentVersions int `xml:",omitempty"`
		}{r.NoncurrentDays, r.KeepNoncurrent}
	}
	if r.AbortDays > 0 {
		out.Abort = &struct{ DaysAfterInitiation int }{r.AbortDays}
	}
	return out
}

// transitionSize is the header with the minimum size of objects that move to another storage class.
// Sekisho has only one class.
const transitionSize = "X-Amz-Transition-Default-Minimum-Object-Size"

func getLifecycle(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:GetLifecycleConfiguration", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	if len(q.config.Settings.Lifecycle) == 0 {
		return answer{}, missing("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist")
	}
	out := lifecycle{Xmlns: xmlns}
	for _, r := range q.config.Settings.Lifecycle {
		out.Rules = append(out.Rules, ruleElement(r))
	}
	q.w.Header().Set(transitionSize, "all_storage_classes_128K")
	return answer{xml: out}, nil
}

func putLifecycle(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:PutLifecycleConfiguration", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	var in lifecycle
	if err := q.readXML(&in); err != nil {
		return answer{}, err
	}
	if len(in.Rules) == 0 || len(in.Rules) > maxRules {
		return answer{}, errMalformedXML
	}
	rules := make([]objects.LifecycleRule, 0, len(in.Rules))
	for i := range in.Rules {
		r, err := in.Rules[i].rule()
		if err != nil {
			return answer{}, err
		}
		if r.ID == "" {
			r.ID = fmt.Sprintf("rule-%d", i+1)
		}
		if slices.ContainsFunc(rules, func(have objects.LifecycleRule) bool { return have.ID == r.ID }) {
			return answer{}, fault("InvalidArgument", "Rule ID must be unique. Found same ID for more than one rule")
		}
		rules = append(rules, r)
	}
	q.w.Header().Set(transitionSize, "all_storage_classes_128K")
	return answer{}, q.setLifecycle(ctx, rules)
}

func deleteLifecycle(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:PutLifecycleConfiguration", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, q.setLifecycle(ctx, nil)
}

func (q *request) setLifecycle(ctx context.Context, rules []objects.LifecycleRule) error {
	return q.Objects.UpdateBucket(ctx, q.bucket, func(b *objects.Bucket) error {
		b.Settings.Lifecycle = rules
		return nil
	})
}

// expirationHeader sets the header that says when a current version expires.
func (q *request) expirationHeader(v *objects.Version) {
	if q.config == nil || !v.Latest {
		return
	}
	if at, rule, ok := q.config.Expiration(v); ok {
		q.w.Header().Set("X-Amz-Expiration", fmt.Sprintf(`expiry-date="%s", rule-id="%s"`, at.Format(http.TimeFormat),
			strings.ReplaceAll(rule, `"`, "%22")))
	}
}
