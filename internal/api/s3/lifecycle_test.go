package s3_test

import (
	"strings"
	"testing"
)

func TestLifecycleConfiguration(t *testing.T) {
	t.Parallel()
	r := start(t)
	const rules = `<LifecycleConfiguration><Rule><ID>logs</ID><Filter><And><Prefix>logs/</Prefix><Tag><Key>keep</Key>` +
		`<Value>no</Value></Tag></And></Filter>` +
		`<Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule>` +
		`<Rule><Filter><Prefix></Prefix></Filter><Status>Disabled</Status><NoncurrentVersionExpiration><NoncurrentDays>7` +
		`</NoncurrentDays></NoncurrentVersionExpiration>` +
		`<AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation></AbortIncompleteMultipartUpload>` +
		`</Rule></LifecycleConfiguration>`
	if got := r.do(r.admin, "GET", "/bucket?lifecycle", "", nil); got.code != "NoSuchLifecycleConfiguration" {
		t.Errorf("before: %+v", got)
	}
	if got := r.do(r.admin, "PUT", "/bucket?lifecycle", rules, nil); got.status != 200 {
		t.Fatalf("put: %+v", got)
	}
	got := r.do(r.admin, "GET", "/bucket?lifecycle", "", nil)
	for _, part := range []string{
		"<ID>logs</ID>", "<And><Prefix>logs/</Prefix><Tag><Key>keep</Key><Value>no</Value></Tag></And>", "<Days>30</Days>",
		"<Status>Disabled</Status>",
		"<NoncurrentDays>7</NoncurrentDays>", "<DaysAfterInitiation>2</DaysAfterInitiation>",
	} {
		if !strings.Contains(got.body, part) {
			t.Errorf("%s is missing in %s", part, got.body)
		}
	}
	put := r.do(r.admin, "PUT", "/bucket/logs/a", "x", map[string]string{"X-Amz-Tagging": "keep=no"})
	if got := put.header.Get("X-Amz-Expiration"); !strings.Contains(got, `rule-id="logs"`) {
		t.Errorf("expiration of a matching object: %q", got)
	}
	if got := r.do(r.admin, "PUT", "/bucket/logs/b", "x", nil).header.Get("X-Amz-Expiration"); got != "" {
		t.Errorf("expiration of an object without the tag: %q", got)
	}
	if got := r.do(r.admin, "DELETE", "/bucket?lifecycle", "", nil); got.status != 204 {
		t.Errorf("delete: %+v", got)
	}
	rule := func(inner string) string {
		return "<LifecycleConfiguration><Rule><Filter/><Status>Enabled</Status>" + inner + "</Rule></LifecycleConfiguration>"
	}
	for name, c := range map[string]struct{ body, code string }{
		"no rules":  {"<LifecycleConfiguration/>", "MalformedXML"},
		"no action": {rule(""), "InvalidRequest"},
		"no filter": {"<LifecycleConfiguration><Rule><Status>Enabled</Status><Expiration><Days>1</Days></Expiration>" +
			"</Rule></LifecycleConfiguration>", "MalformedXML"},
		"zero days":     {rule("<Expiration><Days>0</Days></Expiration>"), "InvalidArgument"},
		"days and date": {rule("<Expiration><Days>1</Days><Date>2026-01-01T00:00:00Z</Date></Expiration>"), "MalformedXML"},
		"noon":          {rule("<Expiration><Date>2026-01-01T12:00:00Z</Date></Expiration>"), "InvalidArgument"},
		"transition": {rule("<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>"),
			"NotImplemented"},
		"noncurrent days": {rule("<NoncurrentVersionExpiration/>"), "InvalidArgument"},
		"abort days":      {rule("<AbortIncompleteMultipartUpload/>"), "InvalidArgument"},
		"same ID twice": {"<LifecycleConfiguration>" + strings.Repeat(
			"<Rule><ID>x</ID><Filter/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>", 2) +
			"</LifecycleConfiguration>", "InvalidArgument"},
	} {
		if got := r.do(r.admin, "PUT", "/bucket?lifecycle", c.body, nil); got.code != c.code {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestObjectTags(t *testing.T) {
	t.Parallel()
	r := start(t)
	const set = "<Tagging><TagSet><Tag><Key>team</Key><Value>ops</Value></Tag></TagSet></Tagging>"
	r.do(r.admin, "PUT", "/bucket/k", "x", map[string]string{"X-Amz-Tagging": "a=1&b=2"})
	if got := r.do(r.admin, "HEAD", "/bucket/k", "", nil); got.header.Get("X-Amz-Tagging-Count") != "2" {
		t.Errorf("HEAD: %+v", got)
	}
	if got := r.do(r.admin, "PUT", "/bucket/k?tagging", set, nil); got.status != 200 {
		t.Fatalf("put: %+v", got)
	}
	if got := r.do(r.admin, "GET", "/bucket/k?tagging", "", nil); !strings.Contains(got.body,
		"<TagSet><Tag><Key>team</Key><Value>ops</Value></Tag></TagSet>") {
		t.Errorf("get: %+v", got)
	}
	for directive, want := range map[string]string{"": "<Key>team</Key>", "REPLACE": "<Key>new</Key>"} {
		r.do(r.admin, "PUT", "/bucket/copy", "", map[string]string{"X-Amz-Copy-Source": "/bucket/k",
			"X-Amz-Tagging-Directive": directive, "X-Amz-Tagging": "new=1"})
		if got := r.do(r.admin, "GET", "/bucket/copy?tagging", "", nil); !strings.Contains(got.body, want) {
			t.Errorf("copy with the directive %q: %+v", directive, got)
		}
	}

	// Tags decide who may read.
	reader := r.user(
		"reader",
		`[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*",`+
			`"Condition":{"StringEquals":{"s3:ExistingObjectTag/team":"ops"}}}]`,
	)
	r.do(r.admin, "PUT", "/bucket/other", "x", nil)
	if got := r.do(reader, "GET", "/bucket/k", "", nil); got.status != 200 {
		t.Errorf("read of a tagged object: %+v", got)
	}
	if got := r.do(reader, "GET", "/bucket/other", "", nil); got.code != "AccessDenied" {
		t.Errorf("read of an object without the tag: %+v", got)
	}
	// A writer needs a separate permission to set tags.
	writer := r.user("writer", `[{"Effect":"Allow","Action":"s3:PutObject","Resource":"*"}]`)
	if got := r.do(writer, "PUT", "/bucket/w", "x",
		map[string]string{"X-Amz-Tagging": "team=ops"}); got.code != "AccessDenied" {
		t.Errorf("write with tags: %+v", got)
	}
	if got := r.do(writer, "PUT", "/bucket/w", "x", nil); got.status != 200 {
		t.Errorf("write without tags: %+v", got)
	}
	if got := r.do(r.admin, "DELETE", "/bucket/k?tagging", "", nil); got.status != 204 {
		t.Errorf("delete: %+v", got)
	}
	many := "<Tagging><TagSet>"
	for _, c := range "abcdefghijk" {
		many += "<Tag><Key>" + string(c) + "</Key><Value/></Tag>"
	}
	if got := r.do(r.admin, "PUT", "/bucket/k?tagging", many+"</TagSet></Tagging>", nil); got.code != "BadRequest" {
		t.Errorf("eleven tags: %+v", got)
	}
	if got := r.do(r.admin, "PUT", "/bucket/none?tagging", set, nil); got.code != "NoSuchKey" {
		t.Errorf("tags of a missing object: %+v", got)
	}
}
