package policy_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"sekisho/internal/iam/policy"
	"sekisho/internal/iam/policy/naive"
)

// The vocabulary of random policies and requests. It is small, so that they
// often match.
var (
	somePatterns = rapid.SampledFrom([]string{
		"*", "ssm:*", "ssm:StartSession", "SSM:startsession", "ssm:Start*", "ssm:*Session", "ssm:?tartSession",
		"s3:GetObject", "*:GetObject", "ssm:*e*s*", "*",
	})
	someActions = rapid.SampledFrom(
		[]string{
			"ssm:StartSession",
			"ssm:TerminateSession",
			"SSM:STARTSESSION",
			"s3:GetObject",
			"ec2:DescribeInstances",
		},
	)
	someResources = rapid.SampledFrom([]string{
		"*", "arn:aws:ec2:us-east-1:1:instance/i-1", "arn:aws:ec2:us-east-1:1:instance/*", "arn:aws:ec2:*:*:instance/i-?",
		"arn:aws:ec2:us-*-1:1:instance/i-1",
		"arn:aws:ec2:*", "arn:aws:s3:::b/*", "arn:aws:s3:::b*/x", "arn:aws:s3:::b/*/x*",
		"arn:aws:ssm:*:*:session/${aws:username}-*", "arn:aws:s3:::b/${absent}*",
		"arn:aws:s3:::b/${Absent, 'x'}", "arn:aws:s3:::b/${*}", "arn:aws:s3:::${tags}",
	})
	someTargets = rapid.SampledFrom([]string{
		"arn:aws:ec2:us-east-1:1:instance/i-1", "arn:aws:ec2:us-east-1:1:instance/i-2",
		"arn:aws:ec2:eu-west-1:2:instance/i-12", "arn:aws:s3:::b/x", "arn:aws:s3:::b/x/x:y",
		"arn:aws:s3:::bb/x", "arn:aws:s3:::b/*", "arn:aws:ssm:us-east-1:1:session/alice-1",
		"arn:aws:ssm:us-east-1:1:session/al*ce-1",
	})
	stringOperators = []string{
		"StringEquals",
		"StringNotEquals",
		"StringEqualsIgnoreCase",
		"StringNotEqualsIgnoreCase",
		"StringLike",
		"StringNotLike",
	}
	numericOperators = []string{
		"NumericEquals",
		"NumericNotEquals",
		"NumericLessThan",
		"NumericLessThanEquals",
		"NumericGreaterThan",
		"NumericGreaterThanEquals",
	}
	dateOperators = []string{
		"DateEquals",
		"DateNotEquals",
		"DateLessThan",
		"DateLessThanEquals",
		"DateGreaterThan",
		"DateGreaterThanEquals",
	}
	families = []struct{ operators, want, have []string }{
		{
			stringOperators,
			[]string{
				"alice",
				"ALICE",
				"a*",
				"*",
				"al?ce",
				"${aws:username}",
				"${tags}",
				"${absent}",
				"${absent, 'alice'}",
				"${*}",
				"é*",
				"*c*e",
				"${aws:username}*",
			},
			[]string{"alice", "Alice", "bob", "*", "a", "élan", "al*ce", "alicealice"},
		},
		{
			numericOperators,
			[]string{"10", "1e1", "-3", "0.5", "+10.00", "1E-1"},
			[]string{"10", "10.0", "9", "-3", "1e1", "abc", "", ".5", "0.10"},
		},
		{
			dateOperators,
			[]string{
				"2026-04-15T00:00:00Z",
				"2026-04-15",
				"1776211200",
				"2026-04-15T09:00:00+09:00",
				"2026-04-15T00:00:00.5Z",
				"2026-04",
			},
			[]string{
				"2026-04-15T00:00:00Z",
				"2026-04-14T23:59:59Z",
				"2026-04-15T00:00:00.500Z",
				"1776211201",
				"tomorrow",
				"2026-04-01",
			},
		},
		{[]string{"Bool"}, []string{"true", "false", "TRUE", "${flag}"}, []string{"true", "false", "True", "yes"}},
		{
			[]string{
				"IpAddress",
				"NotIpAddress",
			}, []string{"10.0.0.0/8", "10.1.2.3", "2001:db8::/32", "10.1.2.3/16", "::1"},
			[]string{"10.1.2.3", "10.2.0.1", "192.0.2.1", "2001:db8::1", "::1", "nowhere"},
		},
		{
			[]string{"ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"},
			[]string{
				"arn:aws:iam::1:user/alice",
				"arn:aws:iam::*:user/*",
				"arn:*:*:*:*:*",
				"arn:aws:iam::1:user/${aws:username}",
				"arn:aws:i?m::1:*",
			},
			[]string{
				"arn:aws:iam::1:user/alice",
				"arn:aws:iam::2:user/bob/x:y",
				"arn:aws:sts::1:assumed-role/r/s",
				"alice",
			},
		},
		{[]string{"BinaryEquals"}, []string{"YWI=", "YQ=="}, []string{"YWI=", "YQ==", "?"}},
		{[]string{"Null"}, []string{"true", "false"}, []string{"x"}},
	}
)

func drawDocument(t *rapid.T, label string) (text string) {
	type object = map[string]any
	draw := func(g *rapid.Generator[string], n int) []string { return rapid.SliceOfN(g, 1, n).Draw(t, label) }
	pick := func(of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
	var statements []object
	for range rapid.IntRange(1, 8).Draw(t, label) {
		s := object{
			"Effect":                              pick("Allow", "Allow", "Deny"),
			pick("Action", "Action", "NotAction"): draw(somePatterns, 3),
		}
		s[pick("Resource", "Resource", "Resource", "NotResource")] = draw(someResources, 6)
		conditions := object{}
		for range rapid.IntRange(0, 2).Draw(t, label) {
			f := rapid.SampledFrom(families).Draw(t, label)
			operator := pick(f.operators...)
			if operator != "Null" {
				operator = pick("", "", "", "ForAllValues:", "ForAnyValue:") + operator + pick("", "", "IfExists")
			}
			conditions[operator] = object{pick("key", "KEY", "other"): draw(rapid.SampledFrom(f.want), 3)}
		}
		s["Condition"] = conditions
		statements = append(statements, s)
	}
	b, err := json.Marshal(
		object{"Version": pick("2012-10-17", "2012-10-17", "2012-10-17", "2008-10-17"), "Statement": statements},
	)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func drawKeys(t *rapid.T) map[string]any {
	keys := map[string]any{}
	for _, name := range []string{"key", "other", "aws:username", "flag", "tags"} {
		values := rapid.SampledFrom(rapid.SampledFrom(families).Draw(t, name).have)
		switch name {
		case "aws:username":
			values = rapid.SampledFrom([]string{"alice", "al*ce", "bob"})
		case "flag":
			values = rapid.SampledFrom([]string{"true", "false"})
		}
		switch rapid.IntRange(0, 5).Draw(t, name) {
		case 0: // missing
		case 1:
			list := rapid.SliceOfN(values.Filter(func(s string) bool { return s != "" }), 1, 3).Draw(t, name)
			keys[name] = list
		default:
			// An empty string is not a value in lists.
			keys[name] = values.Filter(func(s string) bool { return s != "" }).Draw(t, name)
		}
	}
	if rapid.Bool().Draw(t, "no tags") {
		delete(keys, "tags")
	}
	return keys
}

// The compiled engine decides as an evaluator that was written independently,
// from the documentation.
func TestEvaluateAgreesWithNaiveEvaluator(t *testing.T) {
	t.Parallel()
	count := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		var texts []string
		var in policy.Policies
		document := func(label string) (*policy.Document, naive.Document) {
			text := drawDocument(t, label)
			texts = append(texts, label+": "+text)
			d, err := policy.Parse([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			n, err := naive.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			return d, n
		}
		var identity []naive.Document
		for range rapid.IntRange(1, 3).Draw(t, "documents") {
			d, n := document("identity")
			in.Identity, identity = append(in.Identity, d), append(identity, n)
		}
		var limits [][]naive.Document
		if rapid.IntRange(0, 3).Draw(t, "boundary") == 0 {
			d, n := document("boundary")
			in.Boundary, limits = d, append(limits, []naive.Document{n})
		}
		if rapid.IntRange(0, 3).Draw(t, "session") == 0 {
			d, n := document("session")
			in.Session, limits = []*policy.Document{d}, append(limits, []naive.Document{n})
		}
		if rapid.IntRange(0, 3).Draw(t, "scp") == 0 {
			d, n := document("scp")
			in.SCP, limits = [][]*policy.Document{{d}}, append(limits, []naive.Document{n})
		}
		set := policy.Compile(in)
		for range 100 {
			keys := drawKeys(t)
			ctx := policy.NewContext()
			for k, v := range keys {
				if list, ok := v.([]string); ok {
					ctx.Set(k, policy.Multi(list...))
				} else {
					ctx.Set(k, policy.Single(v.(string)))
				}
			}
			action, resource := someActions.Draw(t, "action"), someTargets.Draw(t, "resource")
			want := naive.Decide(identity, limits, naive.Request{Action: action, Resource: resource, Context: keys})
			got := set.Evaluate(&policy.Request{
				Action: action, Resource: resource, Context: ctx,
				Principal: policy.Principal{Type: policy.TypeUser, Account: "1", ARN: "arn:aws:iam::1:user/alice"},
			})
			count[want]++
			if text := map[policy.Effect]string{policy.Allowed: "allow", policy.ImplicitDeny: "implicit deny",
				policy.ExplicitDeny: "explicit deny"}[got.Effect]; text != want {
				t.Fatalf(
					"%s on %s with %v: the engine says %s, the naive evaluator %s\n%s",
					action,
					resource,
					keys,
					text,
					want,
					fmt.Sprint(texts),
				)
			}
		}
	})
	for _, outcome := range []string{"allow", "implicit deny", "explicit deny"} {
		if count[outcome] == 0 {
			t.Errorf("no request ended in %s: %v", outcome, count)
		}
	}
	t.Logf("compared %v", count)
}
