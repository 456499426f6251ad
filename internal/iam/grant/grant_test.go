package grant_test

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"sekisho/internal/iam/grant"
	"sekisho/internal/iam/policy"
)

const (
	region, account = "us-east-1", "123456789012"
	node            = "arn:aws:ssm:us-east-1:123456789012:managed-instance/mi-0123456789abcdef0"
	instance        = "arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0"
	shell           = "arn:aws:ssm:us-east-1:123456789012:document/SSM-SessionManagerRunShell"
	ssh             = "arn:aws:ssm:us-east-1::document/AWS-StartSSHSession"
)

// request is a StartSession request that a grant's policy decides.
type request struct {
	node     string
	tags     map[string]string
	document string // "" = not named
	at       string
	ip       string
	mfa      bool
	mfaAge   string
	strict   bool
}

func decide(t *testing.T, text string, calendars map[string]*policy.Calendar, r request) bool {
	t.Helper()
	d, err := policy.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	ctx := policy.NewContext()
	ctx.Set("aws:CurrentTime", policy.Single(r.at))
	ctx.Set("aws:SourceIp", policy.Single(r.ip))
	ctx.Set("aws:MultiFactorAuthPresent", policy.Bool(r.mfa))
	if r.mfaAge != "" {
		ctx.Set("aws:MultiFactorAuthAge", policy.Single(r.mfaAge))
	}
	withTags := ctx.Clone()
	for k, v := range r.tags {
		withTags.Set("ssm:resourceTag/"+k, policy.Single(v))
	}
	document := r.document
	if document == "" {
		document = shell
	}
	return policy.Compile(policy.Policies{Identity: []*policy.Document{d}, Calendars: calendars}).
		EvaluateStartSession(policy.StartSession{
			Principal: policy.Principal{Type: policy.TypeUser, Account: account},
			Node: policy.SessionResource{
				ARN:     r.node,
				Context: withTags,
			}, Document: policy.SessionResource{ARN: document, Context: ctx},
			Named: r.document != "", Strict: r.strict,
		}).
		Allowed()
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	holidays := map[string]*policy.Calendar{
		"holidays": policy.NewCalendar([]policy.Span{{From: 1776178800, To: 1776265200}}),
	} // 2026-04-15 in Tokyo
	base := request{node: node, at: "2026-04-14T03:00:00Z", ip: "203.0.113.7", mfa: true}
	with := func(change func(r *request)) request {
		r := base
		change(&r)
		return r
	}
	at := func(when string) request { return with(func(r *request) { r.at = when }) }
	for name, tt := range map[string]struct {
		grant           grant.Grant
		allowed, denied []request
	}{
		"one node": {
			grant.Grant{Targets: []string{"mi-0123456789abcdef0"}},
			[]request{base, with(func(r *request) { r.strict = true })},
			[]request{with(func(r *request) { r.node = instance }), with(func(r *request) { r.document = ssh })},
		},
		"an instance": {
			grant.Grant{Targets: []string{"i-0123456789abcdef0"}},
			[]request{with(func(r *request) { r.node = instance })}, []request{base},
		},
		"a tag": {
			grant.Grant{Targets: []string{"tag:Env=prod"}},
			[]request{with(func(r *request) { r.tags = map[string]string{"Env": "prod"} }),
				with(func(r *request) { r.node = instance; r.tags = map[string]string{"Env": "prod"} })},
			[]request{base, with(func(r *request) { r.tags = map[string]string{"Env": "test"} })},
		},
		"a tag or a node": {
			grant.Grant{Targets: []string{"tag:Env=prod", "mi-0123456789abcdef0"}},
			[]request{base, with(func(r *request) { r.node = instance; r.tags = map[string]string{"Env": "prod"} })},
			[]request{with(func(r *request) { r.node = instance })},
		},
		"every node": {grant.Grant{Targets: []string{"*"}}, []request{base, with(func(r *request) { r.node = instance })},
			nil},
		"only one document": {
			grant.Grant{Targets: []string{"*"}, Documents: []string{"AWS-StartSSHSession"}},
			[]request{with(func(r *request) { r.document = ssh })},
			[]request{base, with(func(r *request) { r.document = shell })},
		},
		"office hours": {
			grant.Grant{Targets: []string{"*"}, Weekdays: []string{"mon-fri"}, From: "09:00", To: "18:00", Zone: "Asia/Tokyo"},
			[]request{at("2026-04-14T00:00:00Z"), at("2026-04-17T08:59:59Z")},
			[]request{at("2026-04-13T23:59:59Z"), at("2026-04-14T09:00:00Z"), at("2026-04-18T03:00:00Z")},
		},
		"across midnight, weekends": {
			grant.Grant{Targets: []string{"*"}, Weekdays: []string{"Sat-Sun"}, From: "22:00", To: "06:00", Zone: "UTC"},
			[]request{at("2026-04-18T22:00:00Z"), at("2026-04-19T05:59:59Z"), at("2026-04-19T23:00:00Z"),
				at("2026-04-20T05:59:59Z")},
			[]request{at("2026-04-18T05:00:00Z"), at("2026-04-18T21:59:59Z"), at("2026-04-20T06:00:00Z"),
				at("2026-04-20T22:00:00Z")},
		},
		"days": {
			grant.Grant{Targets: []string{"*"}, FirstDay: "2026-04-15", LastDay: "2026-04-16", Zone: "Asia/Tokyo"},
			[]request{at("2026-04-14T15:00:00Z"), at("2026-04-16T14:59:59Z")},
			[]request{at("2026-04-14T14:59:59Z"), at("2026-04-16T15:00:00Z")},
		},
		"days, across midnight": {
			grant.Grant{
				Targets: []string{"*"}, FirstDay: "2026-04-15", LastDay: "2026-04-15", From: "22:00", To: "06:00", Zone: "UTC",
			},
			[]request{at("2026-04-15T22:00:00Z"), at("2026-04-16T05:59:59Z")},
			[]request{at("2026-04-15T05:00:00Z"), at("2026-04-16T06:00:00Z"), at("2026-04-16T22:00:00Z")},
		},
		"a recent second factor": {
			grant.Grant{Targets: []string{"*"}, MFAWithin: 15 * time.Minute},
			[]request{with(func(r *request) { r.mfaAge = "899" })},
			[]request{base, with(func(r *request) { r.mfaAge = "900" })},
		},
		"up to midnight": {
			grant.Grant{Targets: []string{"*"}, Weekdays: []string{"Fri"}, From: "22:00", To: "00:00", Zone: "UTC"},
			[]request{at("2026-04-17T22:00:00Z"), at("2026-04-17T23:59:59Z")},
			[]request{at("2026-04-17T21:59:59Z"), at("2026-04-18T00:00:00Z"), at("2026-04-18T22:00:00Z")},
		},
		"weekdays over the weekend": {
			grant.Grant{Targets: []string{"*"}, Weekdays: []string{"fri-mon"}, Zone: "UTC"},
			[]request{at("2026-04-17T00:00:00Z"), at("2026-04-20T23:59:59Z")},
			[]request{at("2026-04-21T00:00:00Z"), at("2026-04-16T23:59:59Z")},
		},
		"a period": {
			grant.Grant{Targets: []string{"*"}, NotBefore: time.Date(2026, 4, 14, 3, 0, 0, 0, time.UTC),
				NotAfter: time.Date(2026, 4, 14, 4, 0, 0, 0, time.UTC)},
			[]request{base, at("2026-04-14T03:59:59Z")}, []request{at("2026-04-14T02:59:59Z"), at("2026-04-14T04:00:00Z")},
		},
		"addresses and a second factor": {
			grant.Grant{Targets: []string{"*"}, SourceIPs: []string{"203.0.113.0/24", "2001:db8::1"}, MFA: true},
			[]request{base, with(func(r *request) { r.ip = "2001:db8::1" })},
			[]request{with(func(r *request) { r.ip = "198.51.100.1" }), with(func(r *request) { r.mfa = false })},
		},
		"not on holidays": {
			grant.Grant{Targets: []string{"*"}, Except: []string{"holidays"}}, []request{base, at("2026-04-15T15:00:00Z")},
			[]request{at("2026-04-15T03:00:00Z")},
		},
		"on holidays": {
			grant.Grant{Targets: []string{"*"}, During: []string{"holidays"}}, []request{at("2026-04-15T03:00:00Z")},
			[]request{base},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := tt.grant
			g.Region, g.Account = region, account
			text, err := g.Policy()
			if err != nil {
				t.Fatal(err)
			}
			for want, requests := range map[bool][]request{true: tt.allowed, false: tt.denied} {
				for _, r := range requests {
					if got := decide(t, text, holidays, r); got != want {
						t.Errorf("%+v: %v\n%s", r, got, text)
					}
				}
			}
		})
	}
}

func TestPolicyLetsUsersEndTheirOwnSessions(t *testing.T) {
	t.Parallel()
	g := grant.Grant{Region: region, Account: account, Targets: []string{"*"}, SourceIPs: []string{"203.0.113.7"}}
	text, err := g.Policy()
	if err != nil {
		t.Fatal(err)
	}
	d, err := policy.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	ctx := policy.NewContext()
	ctx.Set("aws:userid", policy.Single("AIDAANN"))
	ctx.Set("aws:username", policy.Single("ann"))
	set := policy.Compile(policy.Policies{Identity: []*policy.Document{d}})
	for session, want := range map[string]bool{"AIDAANN-abc": true, "AIDABOB-abc": false, "ann-b-abc": false} {
		r := &policy.Request{
			Action:    "ssm:TerminateSession",
			Resource:  "arn:aws:ssm:us-east-1:123456789012:session/" + session,
			Context:   ctx,
			Principal: policy.Principal{Account: account},
		}
		if got := set.Evaluate(r).Allowed(); got != want {
			t.Errorf("%s: %v", session, got)
		}
	}
	if ref, covers := d.CoversSessions("ann", "ann-b"); covers {
		t.Errorf("%s covers the sessions of ann-b", ref.Name())
	}
}

func TestPolicyRefuses(t *testing.T) {
	t.Parallel()
	all := []string{"*"}
	for name, g := range map[string]grant.Grant{
		"no target":             {},
		"a name":                {Targets: []string{"web-1"}},
		"a pattern":             {Targets: []string{"mi-*"}},
		"a tag pattern":         {Targets: []string{"tag:Env=*"}},
		"a tag variable":        {Targets: []string{"tag:Env=${aws:username}"}},
		"an empty tag":          {Targets: []string{"tag:Env="}},
		"too many targets":      {Targets: strings.Split(strings.Repeat("*,", 51), ",")},
		"no zone":               {Targets: all, Weekdays: []string{"mon"}},
		"a zone without a time": {Targets: all, Zone: "UTC"},
		"unknown zone":          {Targets: all, From: "09:00", Zone: "Mars"},
		"weekday":               {Targets: all, Weekdays: []string{"monday"}, Zone: "UTC"},
		"one end of a range":    {Targets: all, Weekdays: []string{"mon-"}, Zone: "UTC"},
		"time":                  {Targets: all, From: "9", Zone: "UTC"},
		"empty window":          {Targets: all, From: "09:00", To: "09:00", Zone: "UTC"},
		"address":               {Targets: all, SourceIPs: []string{"10.0.0.0/99"}},
		"calendar":              {Targets: all, During: []string{"a b"}},
		"calendar twice":        {Targets: all, During: []string{"a"}, Except: []string{"a"}},
		"document":              {Targets: all, Documents: []string{"*"}},
		"first day":             {Targets: all, FirstDay: "2026-02-30", Zone: "UTC"},
		"days without a zone":   {Targets: all, FirstDay: "2026-02-03"},
		"days in reverse":       {Targets: all, FirstDay: "2026-04-16", LastDay: "2026-04-15", Zone: "UTC"},
		"age of a factor":       {Targets: all, MFAWithin: time.Second},
		"negative age":          {Targets: all, MFAWithin: -time.Second},
		"ends before it begins": {Targets: all, NotBefore: time.Unix(2, 0), NotAfter: time.Unix(1, 0)},
	} {
		g.Region, g.Account = region, account
		if text, err := g.Policy(); err == nil {
			t.Errorf("%s: accepted as %s", name, text)
		}
	}
}

// A refusal names the closest value that is valid, as the validator of policies does.
func TestRefusalsSuggestValues(t *testing.T) {
	t.Parallel()
	all := []string{"*"}
	for closest, g := range map[string]grant.Grant{
		"Mon":        {Targets: all, Weekdays: []string{"Mondy"}, Zone: "UTC"},
		"24:00":      {Targets: all, From: "25:00", Zone: "UTC"},
		"09:05":      {Targets: all, To: "9:5", Zone: "UTC"},
		"2026-02-28": {Targets: all, LastDay: "2026-02-30", Zone: "UTC"},
		"Asia/Tokyo": {Targets: all, From: "09:00", Zone: "Asia/Tokio"},
	} {
		g.Region, g.Account = region, account
		if _, err := g.Policy(); err == nil || !strings.Contains(err.Error(), closest) {
			t.Errorf("the refusal is %v, want %s in it", err, closest)
		}
	}
}
