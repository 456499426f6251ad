package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/iam/policy"
)

func parse(t testing.TB, statements ...string) *policy.Document {
	t.Helper()
	d, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var (
	alice = policy.Principal{
		Type:    policy.TypeUser,
		ARN:     "arn:aws:iam::111111111111:user/alice",
		Account: "111111111111",
		UserID:  "AIDAALICEALICEALICE",
	}
	bob = policy.Principal{
		Type:    policy.TypeUser,
		ARN:     "arn:aws:iam::111111111111:user/bob",
		Account: "111111111111",
		UserID:  "AIDABOBBOBBOBBOBBO",
	}
	foreign = policy.Principal{
		Type:    policy.TypeUser,
		ARN:     "arn:aws:iam::222222222222:user/dana",
		Account: "222222222222",
	}
	root = policy.Principal{
		Type:    policy.TypeRoot,
		ARN:     "arn:aws:iam::111111111111:root",
		Account: "111111111111",
		UserID:  "111111111111",
	}
	session = policy.Principal{
		Type: policy.TypeAssumedRole, ARN: "arn:aws:sts::111111111111:assumed-role/ops/s", Account: "111111111111",
		RoleARN: "arn:aws:iam::111111111111:role/path/ops", UserID: "AROAOPSOPSOPSOPSOPS:s",
	}
	fedUser = policy.Principal{
		Type: policy.TypeFederatedUser, ARN: "arn:aws:sts::111111111111:federated-user/carol", Account: "111111111111",
		UserARN: "arn:aws:iam::111111111111:user/carol",
	}
	service = policy.Principal{Type: policy.TypeService, Service: "ssm.amazonaws.com"}
	oidc    = policy.Principal{Type: policy.TypeFederated, Federated: "arn:aws:iam::111111111111:oidc-provider/idp"}
	nobody  = policy.Principal{Type: policy.TypeAnonymous, UserID: "anonymous"}
)

const (
	allowAll  = `{"Effect":"Allow","Action":"*","Resource":"*"}`
	denyAll   = `{"Effect":"Deny","Action":"*","Resource":"*"}`
	allowElse = `{"Effect":"Allow","Action":"other:*","Resource":"*"}`
)

func named(effect, who string) string {
	return fmt.Sprintf(`{"Effect":%q,%s,"Action":"*","Resource":"*"}`, effect, who)
}

func TestEvaluationLogic(t *testing.T) {
	t.Parallel()
	docs := func(s ...string) []*policy.Document { return []*policy.Document{parse(t, s...)} }
	const owner = "111111111111"
	res := func(who string) *policy.Document { return parse(t, named("Allow", who)) }
	notAlice := parse(
		t,
		named("Deny", `"NotPrincipal":{"AWS":["arn:aws:iam::111111111111:user/alice","111111111111"]}`),
	)
	for _, tt := range []struct {
		name  string
		p     policy.Policies
		who   policy.Principal
		owner string
		want  string
		by    policy.PolicyType
	}{
		{"nothing", policy.Policies{}, alice, "", "implicitDeny", policy.PolicyIdentity},
		{"identity", policy.Policies{Identity: docs(allowAll)}, alice, "", "allowed", ""},
		{"identity denies", policy.Policies{Identity: docs(allowAll, denyAll)}, alice, "", "explicitDeny",
			policy.PolicyIdentity},
		{"boundary lacks", policy.Policies{Identity: docs(allowAll), Boundary: parse(t, allowElse)}, alice, "",
			"implicitDeny", policy.PolicyBoundary},
		{"boundary denies", policy.Policies{Identity: docs(allowAll), Boundary: parse(t, allowAll, denyAll)}, alice, "",
			"explicitDeny", policy.PolicyBoundary},
		{"identity before boundary", policy.Policies{Boundary: parse(t, allowElse)}, alice, "", "implicitDeny",
			policy.PolicyIdentity},
		{"session lacks", policy.Policies{Identity: docs(allowAll), Session: docs(allowElse)}, session, "", "implicitDeny",
			policy.PolicySession},
		{"one session policy is enough",
			policy.Policies{Identity: docs(allowAll), Session: append(docs(allowElse), docs(allowAll)...)}, session, "",
			"allowed", ""},
		{"no session policy in a policied session", policy.Policies{Identity: docs(allowAll), HasSession: true}, session, "",
			"implicitDeny", policy.PolicySession},
		{"federated user without session policy", policy.Policies{Identity: docs(allowAll)}, fedUser, "", "implicitDeny",
			policy.PolicySession},
		{"federated user", policy.Policies{Identity: docs(allowAll), Session: docs(allowAll)}, fedUser, "", "allowed", ""},
		{"federated user, direct grant",
			policy.Policies{Resource: res(`"Principal":{"AWS":"arn:aws:sts::111111111111:federated-user/carol"}`)}, fedUser,
			owner, "allowed", ""},
		{"federated user, grant to the user",
			policy.Policies{Session: docs(allowAll),
				Resource: res(`"Principal":{"AWS":"arn:aws:iam::111111111111:user/carol"}`)}, fedUser, owner, "allowed", ""},

		{"root", policy.Policies{Boundary: parse(t, denyAll)}, root, "", "allowed", ""},
		{"root under SCP", policy.Policies{SCP: [][]*policy.Document{docs(allowElse)}}, root, "", "implicitDeny",
			policy.PolicySCP},
		{"root under resource deny", policy.Policies{Resource: parse(t, named("Deny", `"Principal":"*"`))}, root, owner,
			"explicitDeny", policy.PolicyResource},
		{"root abroad", policy.Policies{}, root, "222222222222", "implicitDeny", policy.PolicyResource},

		{"SCP level without documents",
			policy.Policies{Identity: docs(allowAll), SCP: [][]*policy.Document{docs(allowAll), {}}}, alice, "", "implicitDeny",
			policy.PolicySCP},
		{"explicit order", policy.Policies{
			Identity: docs(denyAll), Boundary: parse(t, denyAll), Session: docs(denyAll),
			SCP: [][]*policy.Document{docs(denyAll)},
		}, alice, "", "explicitDeny", policy.PolicySCP},
		{"resource deny before identity deny",
			policy.Policies{Identity: docs(denyAll), Resource: parse(t, named("Deny", `"Principal":"*"`))}, alice, owner,
			"explicitDeny", policy.PolicyResource},

		{"account grant delegates", policy.Policies{Resource: res(`"Principal":{"AWS":"111111111111"}`)}, alice, owner,
			"implicitDeny", policy.PolicyIdentity},
		{"account grant to root", policy.Policies{Resource: res(`"Principal":{"AWS":"arn:aws:iam::111111111111:root"}`)},
			root, owner, "allowed", ""},
		{"account deny", policy.Policies{Identity: docs(allowAll),
			Resource: parse(t, named("Deny", `"Principal":{"AWS":"111111111111"}`))}, alice, owner, "explicitDeny",
			policy.PolicyResource},
		{"unique ID", policy.Policies{Resource: res(`"Principal":{"AWS":"AIDAALICEALICEALICE"}`)}, alice, owner, "allowed",
			""},
		{"unique ID of another", policy.Policies{Resource: res(`"Principal":{"AWS":"AIDAALICEALICEALICE"}`)}, bob, owner,
			"implicitDeny", policy.PolicyIdentity},
		{"role's unique ID is bounded",
			policy.Policies{Boundary: parse(t, allowElse), Resource: res(`"Principal":{"AWS":"AROAOPSOPSOPSOPSOPS"}`)}, session,
			owner, "implicitDeny", policy.PolicyBoundary},
		{"no wildcards in principals",
			policy.Policies{Resource: res(`"Principal":{"AWS":"arn:aws:iam::111111111111:user/*"}`)}, alice, owner,
			"implicitDeny", policy.PolicyIdentity},
		{"principal case", policy.Policies{Resource: res(`"Principal":{"AWS":"arn:aws:iam::111111111111:user/Alice"}`)},
			alice, owner, "implicitDeny", policy.PolicyIdentity},
		{"empty principal matches no empty field", policy.Policies{Resource: res(`"Principal":{"AWS":""}`)},
			policy.Principal{Type: policy.TypeAssumedRole}, "", "implicitDeny", policy.PolicyIdentity},
		{"resource statement without a principal", policy.Policies{Identity: docs(allowAll), Resource: parse(t, denyAll)},
			alice,
			owner, "allowed", ""},

		{"abroad, both sides", policy.Policies{Identity: docs(allowAll), Resource: res(`"Principal":"*"`)}, foreign, owner,
			"allowed", ""},
		{"abroad, theirs only", policy.Policies{Resource: res(`"Principal":"*"`)}, foreign, owner, "implicitDeny",
			policy.PolicyIdentity},
		{"abroad, ours only", policy.Policies{Identity: docs(allowAll)}, foreign, owner, "implicitDeny",
			policy.PolicyResource},
		{"abroad, session lacks",
			policy.Policies{Identity: docs(allowAll), Session: docs(allowElse), Resource: res(`"Principal":"*"`)}, foreign,
			owner, "implicitDeny", policy.PolicySession},

		{"NotPrincipal spares the listed", policy.Policies{Identity: docs(allowAll), Resource: notAlice}, alice, owner,
			"allowed", ""},
		{"NotPrincipal hits others of the account", policy.Policies{Identity: docs(allowAll), Resource: notAlice}, bob, owner,
			"explicitDeny", policy.PolicyResource},
		{"NotPrincipal spares root", policy.Policies{Resource: notAlice}, root, owner, "allowed", ""},
		{"NotPrincipal hits services", policy.Policies{Resource: notAlice}, service, owner, "explicitDeny",
			policy.PolicyResource},
		{"NotPrincipal hits the bounded",
			policy.Policies{Identity: docs(allowAll), Boundary: parse(t, allowAll), Resource: notAlice}, alice, owner,
			"explicitDeny", policy.PolicyResource},

		{"service", policy.Policies{Resource: res(`"Principal":{"Service":"ssm.amazonaws.com"}`)}, service, owner, "allowed",
			""},
		{"service, other", policy.Policies{Resource: res(`"Principal":{"Service":"ec2.amazonaws.com"}`)}, service, owner,
			"implicitDeny", policy.PolicyResource},
		{"service name as user", policy.Policies{Resource: res(`"Principal":{"AWS":"ssm.amazonaws.com"}`)}, service, owner,
			"implicitDeny", policy.PolicyResource},
		{"anonymous", policy.Policies{Resource: res(`"Principal":"*"`)}, nobody, owner, "allowed", ""},
		{"anonymous, account", policy.Policies{Resource: res(`"Principal":{"AWS":"111111111111"}`)}, nobody, owner,
			"implicitDeny", policy.PolicyResource},
		{"anonymous needs a policy", policy.Policies{Identity: docs(allowAll)}, nobody, "", "implicitDeny",
			policy.PolicyResource},

		{"identity statement with a principal", policy.Policies{Identity: docs(named("Allow", `"Principal":"*"`))}, alice, "",
			"implicitDeny", policy.PolicyIdentity},
		{"identity deny with a principal",
			policy.Policies{Identity: docs(allowAll, named("Deny", `"Principal":{"AWS":"333333333333"}`))}, alice, "",
			"explicitDeny", policy.PolicyIdentity},
		{"identity statement without resources", policy.Policies{Identity: docs(`{"Effect":"Allow","Action":"*"}`)}, alice,
			"", "implicitDeny", policy.PolicyIdentity},
		{"identity deny without resources", policy.Policies{Identity: docs(allowAll, `{"Effect":"Deny","Action":"*"}`)},
			alice, "", "explicitDeny", policy.PolicyIdentity},

		{"broken identity document", policy.Policies{Identity: append(docs(allowAll), policy.Unusable("p", nil))}, alice, "",
			"explicitDeny", policy.PolicyIdentity},
		{"nil identity document", policy.Policies{Identity: append(docs(allowAll), nil)}, alice, "", "explicitDeny",
			policy.PolicyIdentity},
		{"broken boundary", policy.Policies{Identity: docs(allowAll), Boundary: policy.Unusable("p", nil)}, alice, "",
			"explicitDeny", policy.PolicyBoundary},
		{"broken resource policy", policy.Policies{Resource: policy.Unusable("p", nil)}, service, "", "explicitDeny",
			policy.PolicyResource},
	} {
		r := &policy.Request{
			Action:          "ssm:StartSession",
			Resource:        "arn:aws:ssm:us-east-1:111111111111:document/d",
			Principal:       tt.who,
			ResourceAccount: tt.owner,
		}
		set := policy.Compile(tt.p)
		got := set.Evaluate(r)
		if got.Effect.String() != tt.want || got.DeniedBy != tt.by {
			t.Errorf("%s: %s by %q, want %s by %q", tt.name, got.Effect, got.DeniedBy, tt.want, tt.by)
		}
		if e := set.Explain(r); e.Decision != got {
			t.Errorf("%s: Explain disagrees: %v", tt.name, e.Decision)
		}
	}
}

func TestTrust(t *testing.T) {
	t.Parallel()
	trust := func(who string) *policy.Document {
		return parse(t, `{"Effect":"Allow",`+who+`,"Action":["sts:AssumeRole","sts:AssumeRoleWithWebIdentity"]}`)
	}
	identity := []*policy.Document{
		parse(t, `{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"arn:aws:iam::111111111111:role/deploy"}`),
	}
	for _, tt := range []struct {
		name string
		p    policy.Policies
		who  policy.Principal
		want string
		by   policy.PolicyType
	}{
		{"named", policy.Policies{Trust: trust(`"Principal":{"AWS":"arn:aws:iam::111111111111:user/alice"}`)}, alice,
			"allowed", ""},
		{"account alone", policy.Policies{Trust: trust(`"Principal":{"AWS":"111111111111"}`)}, alice, "implicitDeny",
			policy.PolicyIdentity},
		{"account and identity", policy.Policies{Identity: identity, Trust: trust(`"Principal":{"AWS":"111111111111"}`)},
			alice, "allowed", ""},
		{"identity alone", policy.Policies{Identity: identity, Trust: trust(`"Principal":{"AWS":"222222222222"}`)}, alice,
			"implicitDeny", policy.PolicyTrust},
		{"abroad, trust alone", policy.Policies{Trust: trust(`"Principal":"*"`)}, foreign, "implicitDeny",
			policy.PolicyIdentity},
		{"abroad, both", policy.Policies{Identity: identity, Trust: trust(`"Principal":{"AWS":"222222222222"}`)}, foreign,
			"allowed", ""},
		{"role", policy.Policies{Trust: trust(`"Principal":{"AWS":"arn:aws:iam::111111111111:role/path/ops"}`)}, session,
			"allowed", ""},
		{"role under boundary", policy.Policies{Boundary: parse(t, allowElse),
			Trust: trust(`"Principal":{"AWS":"arn:aws:iam::111111111111:role/path/ops"}`)}, session, "implicitDeny",
			policy.PolicyBoundary},
		{"web identity", policy.Policies{
			Trust: trust(`"Principal":{"Federated":"arn:aws:iam::111111111111:oidc-provider/idp"}`)}, oidc, "allowed", ""},
		{"web identity of another provider",
			policy.Policies{Trust: trust(`"Principal":{"Federated":"arn:aws:iam::111111111111:oidc-provider/x"}`)}, oidc,
			"implicitDeny", policy.PolicyTrust},
		{"root does not pass a trust policy that names others",
			policy.Policies{Trust: trust(`"Principal":{"AWS":"222222222222"}`)}, root, "implicitDeny", policy.PolicyTrust},
		{"broken", policy.Policies{Identity: identity, Trust: policy.Unusable("t", nil)}, alice, "explicitDeny",
			policy.PolicyTrust},
	} {
		r := &policy.Request{
			Action:          "sts:AssumeRole",
			Resource:        "arn:aws:iam::111111111111:role/deploy",
			Principal:       tt.who,
			ResourceAccount: "111111111111",
		}
		if got := policy.Compile(tt.p).Evaluate(r); got.Effect.String() != tt.want || got.DeniedBy != tt.by {
			t.Errorf("%s: %s by %q, want %s by %q", tt.name, got.Effect, got.DeniedBy, tt.want, tt.by)
		}
	}
}

// Malformed patterns err towards denying.
func TestMalformedPatterns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		element, value   string
		whenAllow, whenD string
	}{
		{"Action", "ssm*", "implicitDeny", "explicitDeny"},
		{"Action", "s*:StartSession", "implicitDeny", "explicitDeny"},
		{"Action", "ssm:Start Session", "implicitDeny", "allowed"},
		{"Action", "ssm:Start:Session", "implicitDeny", "allowed"},
		{"NotAction", "ssm*", "implicitDeny", "explicitDeny"},
		{"Resource", "arn:aws:ec2:*:instance/i-1", "implicitDeny", "explicitDeny"},
		{"NotResource", "arn:aws:ec2:*:instance/i-1", "implicitDeny", "explicitDeny"},
		{"Resource", "arn:aws:ec2:*", "allowed", "explicitDeny"},
		{"Resource", "arn:aws:ec2:us-east-1:*", "allowed", "explicitDeny"},
	} {
		other := `"Resource":"*"`
		if strings.HasSuffix(tt.element, "Resource") {
			other = `"Action":"*"`
		}
		r := &policy.Request{Action: "ssm:StartSession", Resource: "arn:aws:ec2:us-east-1:111111111111:instance/i-1"}
		statement := func(effect string) string {
			return fmt.Sprintf(`{"Effect":%q,%q:%q,%s}`, effect, tt.element, tt.value, other)
		}
		allow := policy.Compile(policy.Policies{Identity: []*policy.Document{parse(t, statement("Allow"))}})
		deny := policy.Compile(policy.Policies{Identity: []*policy.Document{parse(t, allowAll, statement("Deny"))}})
		if got := allow.Evaluate(r).Effect.String(); got != tt.whenAllow {
			t.Errorf("Allow %s %s: %s", tt.element, tt.value, got)
		}
		if got := deny.Evaluate(r).Effect.String(); got != tt.whenD {
			t.Errorf("Deny %s %s: %s", tt.element, tt.value, got)
		}
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	const head = "User: arn:u is not authorized to perform: ssm:StartSession on resource: arn:r "
	for _, tt := range []struct {
		d    policy.Decision
		want string
	}{
		{policy.Decision{Effect: policy.Allowed}, ""},
		{policy.Decision{}, head + "because no identity-based policy allows the ssm:StartSession action"},
		{policy.Decision{Effect: policy.ImplicitDeny, DeniedBy: policy.PolicyBoundary},
			head + "because no permissions boundary allows the ssm:StartSession action"},
		{policy.Decision{Effect: policy.ImplicitDeny, DeniedBy: policy.PolicyTrust},
			head + "because no role trust policy allows the ssm:StartSession action"},
		{policy.Decision{Effect: policy.ImplicitDeny, DeniedBy: policy.PolicySCP},
			head + "because no service control policy allows the ssm:StartSession action"},
		{policy.Decision{Effect: policy.ExplicitDeny, DeniedBy: policy.PolicyIdentity},
			head + "with an explicit deny in an identity-based policy"},
		{policy.Decision{Effect: policy.ExplicitDeny, DeniedBy: policy.PolicyBoundary},
			head + "with an explicit deny in a permissions boundary"},
		{policy.Decision{Effect: policy.ExplicitDeny, DeniedBy: policy.PolicySession},
			head + "with an explicit deny in a session policy"},
		{policy.Decision{Effect: policy.ExplicitDeny, DeniedBy: policy.PolicyResource},
			head + "with an explicit deny in a resource-based policy"},
		{policy.Decision{Effect: policy.ExplicitDeny, DeniedBy: policy.PolicyTrust},
			head + "with an explicit deny in the role trust policy"},
		{policy.Decision{Effect: policy.ExplicitDeny, DeniedBy: policy.PolicyEndpoint},
			head + "with an explicit deny in a VPC endpoint policy"},
	} {
		if got := tt.d.Message("arn:u", "ssm:StartSession", "arn:r"); got != tt.want {
			t.Errorf("%v:\n%s\nwant\n%s", tt.d, got, tt.want)
		}
	}
	if got := (policy.Decision{}).Message("arn:u", "a:b", ""); strings.Contains(got, "resource:") {
		t.Error(got)
	}
}

func TestStartSessionExplicitDenyIsFinal(t *testing.T) {
	t.Parallel()
	const node, doc = "arn:aws:ec2:us-east-1:1:instance/i-1", "arn:aws:ssm:us-east-1:1:document/D"
	call := policy.StartSession{
		Node:     policy.SessionResource{ARN: node},
		Document: policy.SessionResource{ARN: doc},
		Named:    true,
	}
	for _, tt := range []struct {
		name       string
		statements []string
		want       string
		on         string
	}{
		{"deny on the document outranks an ungranted node",
			[]string{`{"Effect":"Deny","Action":"*","Resource":"` + doc + `"}`}, "explicitDeny", doc},
		{
			"deny in the first pass is not undone by the second",
			[]string{allowAll, `{"Effect":"Deny","Action":"*","Resource":"*",` +
				`"Condition":{"Bool":{"ssm:SessionDocumentAccessCheck":"false"}}}`},
			"explicitDeny", node,
		},
		{
			"allowed in the first pass ends it",
			[]string{allowAll, `{"Effect":"Deny","Action":"*","Resource":"*",` +
				`"Condition":{"Bool":{"ssm:SessionDocumentAccessCheck":"true"}}}`},
			"allowed", node,
		},
		{"first lacking resource is reported", nil, "implicitDeny", node},
	} {
		set := policy.Compile(
			policy.Policies{Identity: []*policy.Document{parse(t, append(tt.statements, allowElse)...)}},
		)
		got := set.EvaluateStartSession(call)
		if got.Effect.String() != tt.want || got.Request.Resource != tt.on {
			t.Errorf("%s: %s on %s", tt.name, got.Effect, got.Request.Resource)
		}
	}
	if call.Node.Context != nil {
		t.Error("the caller's context was touched")
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	src := `{
  "Version": "2012-10-17",
  "Statement": [
    {"Sid": "Window", "Effect": "Allow", "Action": "ssm:StartSession", "Resource": "arn:aws:ec2:us-east-1:1:instance/i-1",
     "Condition": {"DateGreaterThan": {"aws:CurrentTime": "2026-04-15T09:00:00+09:00"},
                   "DateLessThan": {"aws:CurrentTime": "2026-04-15T04:00:00Z"},
                   "IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}
    },
    {"Sid": "Own", "Effect": "Allow", "Action": "ssm:TerminateSession", "Resource": "arn:aws:ssm:*:*:session/${aws:username}-*"},
    {"Sid": "Workdays", "Effect": "Allow", "Action": "ssm:Weekday", "Resource": "*",
     "Condition": {"StringEquals": {"sekisho:Weekday/UTC": ["Mon", "Tue", "Wed", "Thu", "Fri"]}}},
    {"Sid": "No", "Effect": "Deny", "Action": "ssm:Delete*", "Resource": "*"}
  ]
}`
	d, err := policy.Parse([]byte(src))
	if err != nil {
		t.Fatal(err)
	}
	d = d.WithSource("ops", policy.SourceUserManaged)
	set := policy.Compile(
		policy.Policies{Identity: []*policy.Document{parse(t, allowElse).WithSource("else", policy.SourceGroup), d}},
	)
	ask := func(action, resource, now, ip string) policy.Explanation {
		ctx := policy.NewContext()
		ctx.Set("aws:CurrentTime", policy.Single(now))
		if ip != "" {
			ctx.Set("aws:SourceIp", policy.Single(ip))
		}
		return set.Explain(&policy.Request{Action: action, Resource: resource, Context: ctx})
	}
	const node = "arn:aws:ec2:us-east-1:1:instance/i-1"
	for _, tt := range []struct{ action, resource, now, ip, want string }{
		{"ssm:StartSession", node, "2026-04-15T01:00:00Z", "203.0.113.1",
			"allowed by statement Window of ops (identity-based policy)"},
		{"ssm:StartSession", node, "2026-04-15T00:00:00Z", "203.0.113.1",
			"allowed but for aws:CurrentTime: window opens 2026-04-15T00:00:00Z"},
		{"ssm:StartSession", node, "2026-04-15T04:00:00Z", "203.0.113.1",
			"allowed but for aws:CurrentTime: window closed 2026-04-15T04:00:00Z"},
		{"ssm:StartSession", node, "2026-04-15T01:00:00Z", "198.51.100.1",
			"allowed but for aws:SourceIp: is 198.51.100.1, must be 203.0.113.0/24"},
		{"ssm:StartSession", node, "2026-04-15T01:00:00Z", "",
			"allowed but for aws:SourceIp: is not in the request, must be 203.0.113.0/24"},
		{"ssm:StartSession", "arn:aws:ec2:us-east-1:1:instance/i-2", "2026-04-15T01:00:00Z", "203.0.113.1",
			"allowed but for the resource: the statement covers " + node},
		{"ssm:Weekday", node, "2026-04-18T01:00:00Z", "203.0.113.1",
			"allowed but for sekisho:Weekday/UTC: is Sat, must be Mon, Tue, Wed, Thu, Fri"},
		{"ssm:Other", node, "2026-04-15T01:00:00Z", "203.0.113.1", "no identity-based policy allows the action"},
		{"ssm:DeleteDocument", "*", "2026-04-15T01:00:00Z", "203.0.113.1",
			"denied by statement No of ops (identity-based policy)"},
	} {
		if got := ask(tt.action, tt.resource, tt.now, tt.ip); got.Sentence != tt.want {
			t.Errorf("%s %s %s %s:\n%s\nwant\n%s", tt.action, tt.resource, tt.now, tt.ip, got.Sentence, tt.want)
		}
	}

	window := policy.StatementRef{
		SourcePolicyID: "ops", SourcePolicyType: policy.SourceUserManaged, PolicyType: policy.PolicyIdentity,
		Sid: "Window", Index: 0, Start: policy.Position{Line: 4, Column: 5}, End: policy.Position{Line: 8, Column: 6},
	}
	e := ask("ssm:StartSession", node, "2026-04-15T01:00:00Z", "203.0.113.1")
	if diff := cmp.Diff([]policy.StatementRef{window}, e.Matched); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"aws:username"}, e.Missing); diff != "" {
		t.Error(diff)
	}
	e = ask("ssm:StartSession", node, "2026-04-14T00:00:00Z", "203.0.113.1")
	want := policy.Miss{Statement: window, Failed: []policy.Failure{{
		Element: policy.ElementCondition, Operator: "DateGreaterThan", Key: "aws:CurrentTime", Present: true,
		Have: []string{"2026-04-14T00:00:00Z"}, Want: []string{"2026-04-15T09:00:00+09:00"},
		Reason: "aws:CurrentTime: window opens 2026-04-15T00:00:00Z",
	}}}
	if diff := cmp.Diff(want, e.Nearest[0]); diff != "" || len(e.Matched) != 0 {
		t.Error(diff, e.Matched)
	}
}

func TestExplainBoundaryAndSCP(t *testing.T) {
	t.Parallel()
	r := &policy.Request{Action: "a:b", Resource: "*"}
	e := policy.Compile(policy.Policies{
		Identity: []*policy.Document{parse(t, allowAll)},
		Boundary: parse(t, `{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"Bool":{"MFA":"true"}}}`),
		SCP: [][]*policy.Document{
			{parse(t, `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Null":{"scpkey":"true"}}}`)},
		},
	}).Explain(r)
	if e.AllowedByBoundary == nil || *e.AllowedByBoundary || e.AllowedBySCP == nil || !*e.AllowedBySCP {
		t.Error("boundary or SCP detail is wrong")
	}
	if e.Sentence != "allowed but for MFA: is not in the request, must be true" {
		t.Error(e.Sentence)
	}
	if diff := cmp.Diff([]string{"MFA"}, e.Missing); diff != "" {
		t.Error(diff)
	}
	e = policy.Compile(policy.Policies{Identity: []*policy.Document{parse(t, allowAll)}}).Explain(r)
	if e.AllowedByBoundary != nil || e.AllowedBySCP != nil {
		t.Error("details of policies that are not there")
	}
}

func TestUnusableKeepsItsReason(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	if err := policy.Unusable("p", boom).Err(); !errors.Is(err, boom) {
		t.Error(err)
	}
	if err := parse(t, allowAll).Err(); err != nil {
		t.Error(err)
	}
}

// wide is a set of many statements, and a request that uses every kind of
// comparison.
func wide(tb testing.TB, n int) (*policy.Set, *policy.Request) {
	tb.Helper()
	var docs []*policy.Document
	for from := 0; from < n; from += 100 {
		var statements []string
		for i := from; i < min(n, from+100); i++ {
			statements = append(statements, fmt.Sprintf(`{"Effect":"Allow","Action":"ssm:StartSession",
				"Resource":["arn:aws:ec2:us-east-1:111111111111:instance/i-%05d","arn:aws:ssm:*:*:managed-instance/mi-%05d"],
				"Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"},"IpAddress":{"aws:SourceIp":["10.0.0.0/8","2001:db8::/32"]},
				"NumericLessThan":{"aws:MultiFactorAuthAge":"3600"},"Bool":{"aws:MultiFactorAuthPresent":"true"},
				"StringLike":{"ssm:resourceTag/Owner":"${aws:username}*"},"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/*"},
				"ForAnyValue:StringEqualsIgnoreCase":{"aws:TagKeys":["x","team"]},"BinaryEquals":{"blob":"YWI="}}}`, i, i))
		}
		docs = append(docs, parse(tb, statements...))
	}
	docs = append(
		docs,
		parse(
			tb,
			`{"Effect":"Deny","Action":"ssm:*","Resource":"*",`+
				`"Condition":{"StringNotEqualsIfExists":{"aws:RequestedRegion":"us-east-1"}}}`,
			`{"Effect":"Deny","Action":"iam:*","NotResource":"arn:aws:iam::*:user/${aws:username}"}`,
		),
	)
	ctx := policy.NewContext()
	for k, v := range map[string]string{
		"aws:CurrentTime": "2026-04-15T01:00:00Z", "aws:SourceIp": "10.1.2.3", "aws:MultiFactorAuthAge": "10",
		"aws:MultiFactorAuthPresent": "true",
		"ssm:resourceTag/Owner":      "alice-team", "aws:username": "alice",
		"aws:PrincipalArn":    "arn:aws:iam::111111111111:user/a/alice",
		"aws:RequestedRegion": "us-east-1", "blob": "YWI=",
	} {
		ctx.Set(k, policy.Single(v))
	}
	ctx.Set("aws:TagKeys", policy.Multi("Env", "TEAM"))
	return policy.Compile(policy.Policies{Identity: docs, Boundary: parse(tb, allowAll)}), &policy.Request{
		Action: "ssm:startSession", Context: ctx, Principal: alice,
		Resource: fmt.Sprintf("arn:aws:ec2:us-east-1:111111111111:instance/i-%05d", n-1),
	}
}

// Not parallel: it counts allocations.
func TestEvaluateDoesNotAllocate(t *testing.T) {
	set, r := wide(t, 300)
	hybrid := *r
	hybrid.Resource = "arn:aws:ssm:eu-west-1:5:managed-instance/mi-00007"
	denied := *r
	denied.Resource = "arn:aws:ec2:us-east-1:111111111111:instance/i-x"
	for _, tt := range []struct {
		r    *policy.Request
		want policy.Effect
	}{{r, policy.Allowed}, {&hybrid, policy.Allowed}, {&denied, policy.ImplicitDeny}} {
		if got := set.Evaluate(tt.r); got.Effect != tt.want {
			t.Fatalf("%s: %s", tt.r.Resource, got.Effect)
		}
		if n := testing.AllocsPerRun(100, func() { set.Evaluate(tt.r) }); n != 0 {
			t.Errorf("%s: %v allocations", tt.r.Resource, n)
		}
	}
}

func BenchmarkEvaluate(b *testing.B) {
	for _, n := range []int{1, 100, 10000} {
		set, r := wide(b, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				set.Evaluate(r)
			}
		})
	}
}
