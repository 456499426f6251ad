package autoapproval_test

import (
	"strings"
	"testing"

	"sekisho"
	"sekisho/internal/session/autoapproval"
)

const when = `action == AWS::SSM::Action::"getTokenForInstanceAccess", resource) when `

func TestApproves(t *testing.T) {
	t.Parallel()
	prod := &sekisho.Node{ID: "mi-0123456789abcdef0", Tags: map[string]string{"Env": "prod", "CostCenter": "7"}}
	dev := &sekisho.Node{ID: "i-0123456789abcdef0", Tags: map[string]string{"Env": "dev"}}
	ann := autoapproval.Requester{
		ID: "AIDAANN", Tags: map[string]string{"costCenter": "7", "employeeNumber": "E-17"},
		Groups: []string{"AGPAOPS", "ops"},
	}
	for name, tt := range map[string]struct {
		policy    string
		prod, dev bool
	}{
		"by a group":        {`permit(principal in AWS::IdentityStore::Group::"AGPAOPS",` + when + `{ true };`, true, true},
		"by a group's name": {`permit(principal in AWS::IdentityStore::Group::"ops",` + when + `{ true };`, true, true},
		"another group":     {`permit(principal in AWS::IdentityStore::Group::"db",` + when + `{ true };`, false, false},
		"by user":           {`permit(principal == AWS::IdentityStore::User::"AIDAANN", action, resource);`, true, true},
		"by a tag of the node": {
			`permit(principal,` + when + `{ resource.hasTag("Env") && resource.getTag("Env") == "dev" };`, false, true,
		},
		"by equal tags": {
			`permit(principal,` + when + `{ principal has costCenter && resource.hasTag("CostCenter") &&
				principal.costCenter == resource.getTag("CostCenter") };`, true, false,
		},
		"by a pattern":    {`permit(principal,` + when + `{ principal.employeeNumber like "E-1*" };`, true, true},
		"by kind of node": {`permit(principal, action, resource is AWS::EC2::Instance);`, false, true},
		"another action":  {`permit(principal, action == AWS::SSM::Action::"startSession", resource);`, false, false},
		"forbidden": {`permit(principal, action, resource); forbid(principal,` + when +
			`{ resource.getTag("Env") == "prod" };`, false, true},
		"a missing tag": {`permit(principal,` + when + `{ resource.getTag("Owner") == "ann" };`, false, false},
		"a failing forbid": {`permit(principal, action, resource); forbid(principal,` + when +
			`{ resource.getTag("Owner") == "eve" };`, false, false},
		"a missing context": {`permit(principal,` + when + `{ context.iam.principalTags.getTag("x") == "y" };`, false,
			false},
		"comments first": {"// engineers\npermit(principal, action, resource);", true, true},
	} {
		p, err := autoapproval.Parse(tt.policy)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := p.Approves(ann, []*sekisho.Node{prod}); got != tt.prod {
			t.Errorf("%s: the managed instance: %v", name, got)
		}
		if got := p.Approves(ann, []*sekisho.Node{dev}); got != tt.dev {
			t.Errorf("%s: the instance: %v", name, got)
		}
		if got := p.Approves(ann, []*sekisho.Node{prod, dev}); got != (tt.prod && tt.dev) {
			t.Errorf("%s: both: %v", name, got)
		}
		if p.Approves(ann, nil) {
			t.Errorf("%s: access to nothing is approved", name)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing":      "",
		"a comment":    "// nothing",
		"JSON":         `{"schemaVersion":"1.0"}`,
		"not finished": "permit(principal, action, resource) when {",
		"large":        strings.Repeat(" ", 64<<10) + "permit(principal, action, resource);",
		"deeply nested": "permit(principal, action, resource) when { " + strings.Repeat("(", 300) + "true" +
			strings.Repeat(")", 300) + " };",
		"many negations": "permit(principal, action, resource) when { " + strings.Repeat("!", 300) + "true };",
	} {
		if _, err := autoapproval.Parse(text); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`permit(principal in AWS::IdentityStore::Group::"a",` + when + `{ principal has x && resource.hasTag("T") };`)
	f.Add(`forbid(principal, action, resource) unless { principal.a like "x*" };`)
	f.Fuzz(func(_ *testing.T, text string) {
		p, err := autoapproval.Parse(text)
		if err == nil {
			p.Approves(autoapproval.Requester{ID: "a"}, []*sekisho.Node{{ID: "mi-0123456789abcdef0"}})
		}
	})
}
