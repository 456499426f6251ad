package ssm

import (
	"testing"
	"time"

	"sekisho"
)

func TestNodeFilters(t *testing.T) {
	t.Parallel()
	d := nodeDoor{&shared{Config{Region: "eu-central-1", Account: "123456789012"}}}
	n := &sekisho.Node{
		ID: "mi-0123456789abcdef0", AgentVersion: "3.10.0", PlatformType: "Linux", IAMRole: "role",
		Tags: map[string]string{"Env": "prod", "Empty": ""},
	}
	for _, tt := range []struct {
		f    nodeFilter
		want bool
	}{
		{nodeFilter{key: "InstanceIds", values: []string{"mi-1", "mi-0123456789abcdef0"}}, true},
		{nodeFilter{key: "SourceTypes", values: []string{"AWS::SSM::ManagedInstance"}}, true},
		{nodeFilter{key: "AgentVersion", values: []string{"3.9.0"}, operator: "GreaterThan"}, true},
		{nodeFilter{key: "AgentVersion", values: []string{"3.9.0"}, operator: "LessThan"}, false},
		{nodeFilter{key: "AgentVersion", values: []string{"3.1"}, operator: "BeginWith"}, true},
		{nodeFilter{key: "tag:Env", values: []string{"prod"}}, true},
		{nodeFilter{key: "tag:Env", values: []string{""}}, false},
		{nodeFilter{key: "tag:Empty", values: []string{""}}, true},
		{nodeFilter{key: "tag:None", values: []string{""}}, false},
		{nodeFilter{key: "tag:None", values: []string{"x"}, operator: operatorNotEqual}, true},
		{nodeFilter{key: "tag:Env", values: []string{"prod"}, operator: operatorNotEqual}, false},
		{nodeFilter{key: tagKey, values: []string{"Empty"}}, true},
		{nodeFilter{key: tagKey, values: []string{"None"}}, false},
		{nodeFilter{key: tagKey, values: []string{"None"}, operator: operatorNotEqual}, true},
		{nodeFilter{key: "AssociationStatus", values: []string{""}}, false},
	} {
		if got := d.passes(n, &tt.f); got != tt.want {
			t.Errorf("%+v: %t", tt.f, got)
		}
	}
	for _, key := range []string{"", "tag:", "Nonsense"} {
		if _, err := d.nodeMatcher([]nodeFilter{{key: key, values: []string{"x"}}}); err == nil {
			t.Errorf("the key %q was accepted", key)
		}
	}
	if _, err := d.nodeMatcher([]nodeFilter{{key: "IamRole"}}); err == nil {
		t.Error("a filter without values was accepted")
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	if got, err := readToken(makeToken("mi-1 \x00")); err != nil || got != "mi-1 \x00" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"x", "djI6eA", makeToken(string(make([]byte, 300)))} {
		if _, err := readToken(bad); err == nil {
			t.Errorf("the token %q was accepted", bad)
		}
	}
}

func TestISODuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "PT0S", -time.Second: "PT0S", 62500 * time.Millisecond: "PT1M2.5S", time.Hour: "PT1H",
		25*time.Hour + time.Second: "PT25H1S",
	} {
		if got := isoDuration(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

func TestNodeKindOfActivations(t *testing.T) {
	t.Parallel()
	for _, in := range [][]metadata{
		{{metadataKind, "machine"}}, {{metadataID, ""}}, {{"other", "x"}},
		{{metadataKind, "instance"}, {metadataKind, "instance"}},
		{{metadataKind, "managed-instance"}, {metadataID, "i-0123456789abcdef0"}},
	} {
		if _, _, err := nodeKind(in); err == nil {
			t.Errorf("%v was accepted", in)
		}
	}
	kind, node, err := nodeKind([]metadata{{metadataKind, "instance"}, {metadataID, "i-0123456789abcdef0"}})
	if err != nil || kind != sekisho.NodeInstance || node != "i-0123456789abcdef0" {
		t.Errorf("%q %q %v", kind, node, err)
	}
}
