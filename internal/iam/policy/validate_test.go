package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sekisho/internal/iam/policy"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	const (
		syntax     = "Syntax errors in policy."
		version    = "Policy document must be version 2012-10-17 or greater."
		legacy     = "The policy failed legacy parsing"
		who        = "Policy document should not specify a principal."
		trustVerbs = "Trust Policy statement actions can only be sts:AssumeRole, sts:AssumeRoleWithSAML,  and " +
			"sts:AssumeRoleWithWebIdentity"
		iamPath = `IAM resource path must either be "*" or start with user/, federated-user/, role/, group/, ` +
			`instance-profile/, mfa/, server-certificate/, policy/, sms-mfa/, saml-provider/, oidc-provider/, report/, ` +
			`access-report/.`
		noPrefix = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
		vendor   = "Resource vendor must be fully qualified and cannot contain regexes."
	)
	doc := func(statements ...string) string {
		return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
	}
	act := func(a string) string { return doc(fmt.Sprintf(`{"Effect":"Allow","Action":%q,"Resource":"*"}`, a)) }
	res := func(r string) string { return doc(fmt.Sprintf(`{"Effect":"Allow","Action":"*","Resource":%q}`, r)) }
	cond := func(c string) string {
		return doc(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":` + c + `}`)
	}
	trust := func(s string) string { return doc(`{"Effect":"Allow",` + s + `}`) }
	for _, tt := range []struct {
		kind policy.Kind
		doc  string
		want string // "" = accepted
	}{
		{policy.KindIdentity, doc(allowAll), ""},
		{policy.KindBoundary, doc(allowAll), ""},
		{policy.KindSession, doc(allowAll), ""},
		{policy.KindSCP, doc(allowAll), ""},
		{policy.KindIdentity, `{"Id":"x","Version":"2012-10-17","Statement":` + allowAll + `}`, ""},
		{policy.KindIdentity, `[]`, syntax},
		{policy.KindIdentity, `{"Version":"2012-10-17"}`, syntax},
		{policy.KindIdentity, `{"Id":1,"Version":"2012-10-17","Statement":` + allowAll + `}`, syntax},
		{policy.KindIdentity, `{"version":"2012-10-17","Statement":` + allowAll + `}`, syntax},
		{policy.KindIdentity, `{"Version":"2012-10-17","Version":"2012-10-17","Statement":` + allowAll + `}`, syntax},
		{policy.KindIdentity, doc(`{"Effect":"Allow","Action":"*","Action":"a:b","Resource":"*"}`), syntax},
		{policy.KindIdentity, doc(`{"Action":"*","Resource":"*"}`), syntax},
		{policy.KindIdentity, doc(`{"Effect":true,"Action":"*","Resource":"*"}`), syntax},
		{policy.KindIdentity, doc(`{"Effect":"Allow","Action":{"a":1},"Resource":"*"}`), syntax},
		{policy.KindIdentity, doc(`{"Effect":"Allow","Action":["a:b",1],"Resource":"*"}`), syntax},
		{policy.KindIdentity, doc(`{"Effect":"Allow","Action":"*","Resource":null}`), syntax},
		{policy.KindIdentity, cond(`{"stringequals":{"a":"b"}}`), syntax},
		{policy.KindIdentity, cond(`{"NullIfExists":{"a":"true"}}`), syntax},
		{policy.KindIdentity, cond(`{"StringEquals":{"a":{"b":"c"}}}`), syntax},
		{policy.KindIdentity, cond(`{"StringEquals":"x"}`), syntax},
		{policy.KindIdentity, cond(`"x"`), syntax},
		{policy.KindIdentity, cond(`{"Nonsense":{}}`), ""},
		{policy.KindIdentity, cond(`{"ForAllValues:NumericLessThanEqualsIfExists":{"a":[1,2.5,"3"]}}`), ""},
		{policy.KindIdentity, `{"Version":"2008-10-17","Statement":` + allowAll + `}`, version},
		{policy.KindTrust, `{"Version":"2008-10-17","Statement":{"Effect":"Allow","Principal":"*",` +
			`"Action":"sts:AssumeRole"}}`, ""},
		{policy.KindTrust, `{"Statement":{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}}`, ""},
		{policy.KindIdentity, `{"Statement":` + allowAll + `}`, version},
		// Values that no request can match.
		{policy.KindIdentity, cond(`{"NumericLessThan":{"aws:MultiFactorAuthAge":"abc"}}`), legacy},
		{policy.KindIdentity, cond(`{"NumericEquals":{"aws:MultiFactorAuthAge":["1",""]}}`), legacy},
		{policy.KindIdentity, cond(`{"ForAnyValue:NumericEqualsIfExists":{"a":"${aws:username}"}}`), legacy},
		{policy.KindIdentity, cond(`{"Bool":{"aws:SecureTransport":"yes"}}`), legacy},
		{policy.KindIdentity, cond(`{"Bool":{"aws:SecureTransport":[true,"FALSE","${aws:PrincipalTag/x}"]}}`), ""},
		{policy.KindIdentity, cond(`{"Null":{"aws:TokenIssueTime":"no"}}`), legacy},
		{policy.KindIdentity, cond(`{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/99"}}`), legacy},
		{policy.KindIdentity, cond(`{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","2001:db8::1"]}}`), ""},
		{policy.KindIdentity, cond(`{"BinaryEquals":{"k":"?"}}`), legacy},
		{policy.KindIdentity, cond(`{"ArnLike":{"aws:PrincipalArn":"*"}}`), legacy},
		{policy.KindIdentity, cond(`{"ArnNotEquals":{"aws:PrincipalArn":"arn:aws:iam::*"}}`), legacy},
		{policy.KindIdentity, cond(`{"ArnLike":{"aws:PrincipalArn":["arn:*:*:*:*:*","${aws:PrincipalTag/arn}"]}}`), ""},
		{policy.KindTrust, `{"Version":"2008-10-17","Statement":{"Effect":"Allow","Principal":"*",` +
			`"Action":"sts:AssumeRole",` +
			`"Condition":{"ArnLike":{"aws:PrincipalArn":"${aws:PrincipalTag/arn}"}}}}`, legacy}, // no variables in 2008-10-17
		// The order of the checks.
		{policy.KindIdentity, `{"Version":"2008-10-17","Statement":{"Effect":"allow","Action":"*","Resource":"*"}}`, version},
		{policy.KindIdentity, doc(`{"Effect":"ALLOW","Resource":"*"}`), legacy},
		{policy.KindIdentity, cond(`{"DateLessThan":{"aws:CurrentTime":"tomorrow"}}`), legacy},
		{policy.KindIdentity, cond(`{"DateLessThanIfExists":{"aws:CurrentTime":["2020-01-01","2020-13-01"]}}`), legacy},
		{policy.KindIdentity, cond(`{"DateLessThan":{"aws:CurrentTime":1586908800}}`), ""},
		{policy.KindIdentity, res("arn:aws:s3::b"), legacy},
		{policy.KindIdentity, res("arn:aws:::b"), legacy},
		{policy.KindIdentity, doc(`{"Sid":"A","Effect":"Allow","Action":"x","Resource":"*"}`,
			`{"Sid":"A","Effect":"Allow","Resource":"*"}`), "Statement IDs (SID) in a single policy must be unique."},
		{policy.KindIdentity, doc(`{"Sid":"A","Effect":"Allow","Action":"*","Resource":"*"}`,
			`{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"}`), ""},
		{policy.KindIdentity, doc(`{"Effect":"Allow","NotAction":[],"Resource":"i-1"}`),
			"Policy statement must contain actions."},
		{policy.KindIdentity, doc(`{"Effect":"Allow","Action":"x","Resource":"i-1"}`),
			`Resource i-1 must be in ARN format or "*".`},
		{policy.KindIdentity, doc(`{"Effect":"Allow","Action":"x"}`), noPrefix},
		{policy.KindIdentity, doc(`{"Effect":"Allow","Action":"a:b","NotResource":[]}`),
			"Policy statement must contain resources."},
		{policy.KindIdentity, doc(`{"Effect":"Allow","Action":"a:b","Principal":"*"}`),
			"Policy statement must contain resources."},
		{policy.KindIdentity, doc(`{"Effect":"Allow","Action":"a:b","Resource":"*","Principal":"*"}`), who},
		{policy.KindSession, doc(`{"Effect":"Allow","Action":"a:b","Resource":"*","NotPrincipal":"*"}`), who},

		{policy.KindIdentity, act("ssm:Start*"), ""},
		{policy.KindIdentity, act("brand-new.service:Whatever"), ""},
		{policy.KindIdentity, act("StartSession"), noPrefix},
		{policy.KindIdentity, act("a:b:c"), "Actions/Condition can contain only one colon."},
		{policy.KindIdentity, act("s*m:Get"), "Vendor s*m is not valid"},
		{policy.KindIdentity, act(":Get"), "Vendor  is not valid"},
		{policy.KindIdentity, act("s_m:Get"), "Vendor s_m is not valid"},

		{policy.KindIdentity, res("arn:aws:ec2:us-east-1:*"), ""},
		{policy.KindIdentity, res("arn:aws:ec2:*"), ""},
		{policy.KindIdentity, res("arn:aws:ec2:*:*:instance/i-1"), ""},
		{policy.KindIdentity, res("arn:aws-cn:s3:::b/*"), ""},
		{policy.KindIdentity, res("arn:aws-us-gov:s3:::b"), ""},
		{policy.KindIdentity, res("arn:*:s3:::b"), ""},
		{policy.KindIdentity, res("arn:aws:ssm:*:*:session/${aws:username}-*"), ""},
		{policy.KindIdentity, res("arn:aws:logs:us-east-1:1:log-group:/a:*"), ""},
		{policy.KindIdentity, res(""), `Resource  must be in ARN format or "*".`},
		{policy.KindIdentity, res("arn:foo"), `Partition "foo" is not valid for resource "arn:foo:*:*:*:*".`},
		{policy.KindIdentity, res("arn:foo:s3:x"), `Partition "foo" is not valid for resource "arn:foo:s3:x:*:*".`},
		{policy.KindIdentity, res("arn:foo:s3:x:1:a:b"), `Partition "foo" is not valid for resource "arn:foo:s3:x:1:a:b".`},
		{policy.KindIdentity, res("xarn:aws:s3:::b"), `Resource xarn:aws:s3:::b must be in ARN format or "*".`},
		{policy.KindIdentity, res("arn:aws:s*:x:1:b"), vendor},
		{policy.KindIdentity, res("arn:aws:ec2:*:instance/i-1"),
			`Resource arn:aws:ec2:*:instance/i-1 must be in ARN format or "*".`},
		{policy.KindIdentity, res("arn:aws:s3:us-east-1::b"),
			"Resource arn:aws:s3:us-east-1::b can not contain region information."},
		{policy.KindIdentity, res("arn:aws:s3:us-east-1:1:accesspoint/a"), ""},
		{policy.KindIdentity, res("arn:aws:iam:us-east-1:1:user/a"),
			"IAM resource arn:aws:iam:us-east-1:1:user/a cannot contain region information."},
		{policy.KindIdentity, res("arn:aws:iam::1:*"), ""},
		{policy.KindIdentity, res("arn:aws:iam::1:role/path/*"), ""},
		{policy.KindIdentity, res("arn:aws:iam::1:root"), iamPath},

		{policy.KindTrust, trust(`"Action":["sts:AssumeRole","sts:TagSession"],"Principal":{"AWS":["111111111111",` +
			`"arn:aws:iam::111111111111:root","arn:aws:iam::111111111111:user/p/a","AIDAALICEALICEALICE"]}`), ""},
		{policy.KindTrust, trust(`"Action":"sts:assumerole","Principal":"*"`), ""},
		{policy.KindTrust, trust(`"Action":"sts:AssumeRoleWithWebIdentity","Principal":{"Federated":"accounts.google.com"}`),
			""},
		{policy.KindTrust, trust(`"Action":"sts:AssumeRole","Principal":"*","Resource":"*"`),
			"Has prohibited field Resource."},
		{policy.KindTrust, trust(`"Action":"sts:*","Principal":"*"`), trustVerbs},
		{policy.KindTrust, trust(`"NotAction":"sts:x","Principal":"*"`), trustVerbs},
		{policy.KindTrust, trust(`"Action":"sts:AssumeRole"`), "Missing required field Principal"},
		{policy.KindTrust, trust(`"Action":"sts:AssumeRole","Principal":{}`), "Missing required field Principal"},
		{policy.KindTrust, trust(`"Action":"sts:AssumeRole","NotPrincipal":"*"`), "Has prohibited field NotPrincipal."},
		{policy.KindTrust, trust(`"Action":"sts:AssumeRole","Principal":{"AWS":"arn:aws:iam::111111111111:user/*"}`),
			`Invalid principal in policy: "AWS":"arn:aws:iam::111111111111:user/*"`},
		{policy.KindTrust, trust(`"Action":"sts:AssumeRole","Principal":{"AWS":"alice"}`),
			`Invalid principal in policy: "AWS":"alice"`},
		{policy.KindTrust, trust(`"Action":"sts:AssumeRole","Principal":{"Service":"*"}`),
			`Invalid principal in policy: "Service":"*"`},

		{policy.KindResource, doc(named("Allow", `"Principal":"*"`)), ""},
		{policy.KindResource, `{"Version":"2008-10-17","Statement":` +
			named("Deny", `"NotPrincipal":{"AWS":"111111111111"}`) + `}`, ""},
		{policy.KindResource, doc(`{"Sid":"any text","Effect":"Allow","Action":"s3:*","Resource":"*","Principal":"*"}`), ""},
		{policy.KindResource, doc(allowAll), "Missing required field Principal"},
		{policy.KindResource, `x`, syntax},
	} {
		err := policy.Validate([]byte(tt.doc), tt.kind)
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.doc, err)
			}
			continue
		}
		ve, ok := errors.AsType[*policy.ValidationError](err)
		if !ok || ve.Message != tt.want {
			t.Errorf("%s:\n%v\nwant\n%s", tt.doc, err, tt.want)
			continue
		}
		code := policy.CodeMalformedDocument
		if tt.kind == policy.KindResource {
			code = policy.CodeMalformedResource
		}
		if ve.Code != code {
			t.Errorf("%s: code %s", tt.doc, ve.Code)
		}
	}
}

func TestCharactersAndLength(t *testing.T) {
	t.Parallel()
	ok := `{"Version":"2012-10-17","Id":"é","Statement":` + "\r\n\t" + allowAll + `}`
	if err := policy.Validate([]byte(ok), policy.KindIdentity); err != nil {
		t.Error(err)
	}
	for _, doc := range []string{
		"", strings.Replace(ok, "é", "世", 1), strings.Replace(ok, "é", "\x01", 1), strings.Replace(ok, "é", "\xff", 1),
		strings.Replace(ok, "é", strings.Repeat("x", 131072), 1),
	} {
		ve, isVE := errors.AsType[*policy.ValidationError](policy.Validate([]byte(doc), policy.KindIdentity))
		if !isVE || ve.Code != policy.CodeValidation {
			t.Errorf("%.60q: %v", doc, ve)
		}
	}
	// To the check of characters an escape is plain text.
	if err := policy.Validate([]byte(strings.Replace(ok, "é", `\u4e16`, 1)), policy.KindIdentity); err != nil {
		t.Error(err)
	}
	if got := policy.Size([]byte("{ \"é b\"\t\r\n: 1}")); got != 8 {
		t.Errorf("Size = %d", got)
	}
}

func FuzzValidate(f *testing.F) {
	for _, s := range []string{allowAll, denyAll, named("Deny", `"NotPrincipal":{"AWS":"111111111111"}`),
		`{"Effect":"Allow","NotAction":["a:*"],"NotResource":"arn:aws:s3:::b"}`} {
		for kind := range 6 {
			f.Add([]byte(`{"Version":"2012-10-17","Statement":`+s+`}`), kind)
		}
	}
	f.Add(
		[]byte(
			`{"Version":"2012-10-17","Statement":[{"Sid":"a","Effect":"Allow","Action":"ssm:*","Resource":"*",`+
				`"Condition":{"DateLessThan":{"a":"2020-01-01"}}}]}`,
		),
		0,
	)
	f.Fuzz(func(t *testing.T, src []byte, kind int) {
		if kind < 0 || kind > int(policy.KindSCP) {
			t.Skip()
		}
		err := policy.Validate(src, policy.Kind(kind))
		if err != nil {
			if ve, ok := errors.AsType[*policy.ValidationError](err); !ok || ve.Code == "" || ve.Message == "" {
				t.Fatalf("%#v", err)
			}
			return
		}
		// Whatever is accepted when saved must be usable when loaded.
		if _, err := policy.Parse(src); err != nil {
			t.Fatalf("valid, but: %v", err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"Statement":`+allowAll+`}`), "a:b", "arn:aws:s3:::b")
	f.Add(
		[]byte(`{"Version":"2012-10-17","Statement":[`+denyAll+`,`+named("Allow", `"Principal":{"AWS":"*"}`)+`]}`),
		"ssm:X",
		"*",
	)
	f.Add(
		[]byte(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${k}*",`+
				`"Condition":{"ForAnyValue:ArnLike":{"k":"${k}:*"},"NumericLessThan":{"n":1e5},"IpAddress":{"i":"::/0"}}}]}`,
		),
		"a:b",
		"arn:aws:s3:::1",
	)
	f.Fuzz(func(t *testing.T, src []byte, action, resource string) {
		d, err := policy.Parse(src)
		if (d == nil) == (err == nil) {
			t.Fatal("neither a document nor an error, or both")
		}
		if err != nil {
			return
		}
		ctx := policy.NewContext()
		for _, k := range d.ContextKeys() {
			ctx.Set(k, policy.Single(resource))
		}
		r := &policy.Request{Action: action, Resource: resource, Context: ctx, Principal: alice}
		for _, p := range []policy.Policies{{Identity: []*policy.Document{d}}, {Resource: d}, {Trust: d}} {
			set := policy.Compile(p)
			got := set.Evaluate(r)
			e := set.Explain(r)
			if e.Decision != got {
				t.Fatalf("Explain %v, Evaluate %v", e.Decision, got)
			}
			// The index and a scan of all statements must agree.
			if (got.Effect == policy.ExplicitDeny) != (len(e.Matched) > 0 && !got.Allowed()) ||
				got.Allowed() && len(e.Matched) == 0 {
				t.Fatalf("%v, but matched %v", got, e.Matched)
			}
			if len(e.Missing) > 0 {
				t.Fatalf("missing %v", e.Missing)
			}
		}
	})
}
