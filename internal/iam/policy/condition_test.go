package policy_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"sekisho/internal/iam/policy"
)

// verdict evaluates one Allow statement with a condition.
func verdict(t *testing.T, version, op, key string, values any, ctx *policy.Context) bool {
	t.Helper()
	doc, err := json.Marshal(map[string]any{
		"Version": version,
		"Statement": map[string]any{
			"Effect": "Allow", "Action": "*", "Resource": "*",
			"Condition": map[string]any{op: map[string]any{key: values}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	d, err := policy.Parse(doc)
	if err != nil {
		t.Fatal(err)
	}
	set := policy.Compile(policy.Policies{Identity: []*policy.Document{d}})
	return set.Evaluate(&policy.Request{Action: "a:b", Resource: "*", Context: ctx}).Allowed()
}

// TestConditionLogic tries every operator with every prefix and suffix against
// every shape of request value. Expectations are the decision table of the
// language, computed from whether a value equals a policy value.
func TestConditionLogic(t *testing.T) {
	t.Parallel()
	operators := []struct {
		name    string
		negated bool
		want    string // the policy value
		eq, ne  string // a request value that the comparison accepts, and one that it does not
	}{
		{"StringEquals", false, "a*", "a*", "ab"},
		{"StringNotEquals", true, "a*", "a*", "ab"},
		{"StringEqualsIgnoreCase", false, "Ab", "aB", "b"},
		{"StringNotEqualsIgnoreCase", true, "Ab", "aB", "b"},
		{"StringLike", false, "a*", "ab", "Ab"},
		{"StringNotLike", true, "a*", "ab", "Ab"},
		{"NumericEquals", false, "10", "10.0", "11"},
		{"NumericNotEquals", true, "10", "10.0", "11"},
		{"NumericLessThan", false, "10", "9", "10"},
		{"NumericLessThanEquals", false, "10", "10", "11"},
		{"NumericGreaterThan", false, "10", "11", "10"},
		{"NumericGreaterThanEquals", false, "10", "10", "9"},
		{"DateEquals", false, "2020-01-01", "1577836800", "1577836801"},
		{"DateNotEquals", true, "2020-01-01", "1577836800", "1577836801"},
		{"DateLessThan", false, "2020-01-01", "2019-12-31", "2020-01-01"},
		{"DateLessThanEquals", false, "2020-01-01", "2020-01-01", "2020-01-02"},
		{"DateGreaterThan", false, "2020-01-01", "2020-01-02", "2020-01-01"},
		{"DateGreaterThanEquals", false, "2020-01-01", "2020-01-01", "2019-12-31"},
		{"Bool", false, "True", "tRUE", "false"},
		{"BinaryEquals", false, "YWI=", "YWI=", "YWM="},
		{"IpAddress", false, "10.0.0.0/8", "10.1.2.3", "11.1.2.3"},
		{"NotIpAddress", true, "10.0.0.0/8", "10.1.2.3", "11.1.2.3"},
		{"ArnEquals", false, "arn:aws:s3:::a*", "arn:aws:s3:::ab", "arn:aws:s3:::b"},
		{"ArnLike", false, "arn:aws:s3:::a*", "arn:aws:s3:::ab", "arn:aws:s3:::b"},
		{"ArnNotEquals", true, "arn:aws:s3:::a*", "arn:aws:s3:::ab", "arn:aws:s3:::b"},
		{"ArnNotLike", true, "arn:aws:s3:::a*", "arn:aws:s3:::ab", "arn:aws:s3:::b"},
	}
	for _, op := range operators {
		// test is the expected result of one request value.
		test := func(r string) bool { return (r == op.eq) != op.negated }
		shapes := []struct {
			name    string
			value   *policy.Value
			multi   bool
			members []string
		}{
			{"absent", nil, false, nil},
			{"empty list", ptr(policy.Multi()), true, nil},
			{"equal", ptr(policy.Single(op.eq)), false, []string{op.eq}},
			{"unequal", ptr(policy.Single(op.ne)), false, []string{op.ne}},
			{"empty", ptr(policy.Single("")), false, []string{""}},
			{"list equal", ptr(policy.Multi(op.eq)), true, []string{op.eq}},
			{"list both", ptr(policy.Multi(op.eq, op.ne)), true, []string{op.eq, op.ne}},
			{"list unequal", ptr(policy.Multi(op.ne, op.ne)), true, []string{op.ne, op.ne}},
			{"list with empty", ptr(policy.Multi("", op.eq)), true, []string{"", op.eq}},
			{"list of empty", ptr(policy.Multi("")), true, []string{""}},
		}
		for _, prefix := range []string{"", "ForAllValues:", "ForAnyValue:"} {
			for _, suffix := range []string{"", "IfExists"} {
				for _, version := range []string{"2008-10-17", "2012-10-17"} {
					for _, sh := range shapes {
						want, all, some := false, true, false
						for _, m := range sh.members {
							if m != "" {
								all, some = all && test(m), some || test(m)
							}
						}
						switch {
						case prefix == "ForAllValues:":
							want = all
						case prefix == "ForAnyValue:":
							want = some
						case len(sh.members) == 0:
							want = suffix != "" || op.negated
						case sh.multi:
							want = false
						default:
							want = test(sh.members[0])
						}
						ctx := policy.NewContext()
						if sh.value != nil {
							ctx.Set("Test:Key", *sh.value)
						}
						full := prefix + op.name + suffix
						if got := verdict(t, version, full, "test:KEY", op.want, ctx); got != want {
							t.Errorf("%s %s, %s: %v, want %v", version, full, sh.name, got, want)
						}
						// Any value may match; for negated operators none may.
						if got := verdict(t, version, full, "test:KEY", []string{op.want, op.want}, ctx); got != want {
							t.Errorf("%s %s, %s, value twice: %v, want %v", version, full, sh.name, got, want)
						}
					}
				}
			}
		}
	}
}

func ptr[T any](v T) *T { return &v }

func TestConditionDetails(t *testing.T) {
	t.Parallel()
	ctx := policy.NewContext()
	ctx.Set("s", policy.Single("x"))
	ctx.Set("n", policy.Single("50"))
	ctx.Set("junk", policy.Single("abc"))
	ctx.Set("b", policy.Single("TRUE"))
	ctx.Set("team", policy.Single("red"))
	ctx.Set("ip", policy.Single("203.0.113.9"))
	ctx.Set("bin", policy.Single("YWI="))
	ctx.Set("fold", policy.Single("al\u212Ace-red"))
	many := []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "x"}
	for _, tt := range []struct {
		op, key string
		values  any
		want    bool
	}{
		{"StringEquals", "s", []string{}, false},
		{"StringNotEquals", "s", []string{}, true},
		{"StringEquals", "s", many, true},
		{"StringNotEquals", "s", many, false},
		{"StringEquals", "n", many, false},
		{"StringEquals", "n", 50, true},
		{"StringEquals", "n", 50.0, true},
		{"StringNotEquals", "team", "${absent}", true},
		{"StringEquals", "team", "${absent}", false},
		{"StringNotEquals", "team", []string{"${absent}", "red"}, false},
		{"StringEquals", "team", []string{"${absent}", "red"}, true},
		{"StringNotLike", "team", "${absent}*", true},
		{"ArnNotLike", "team", "${absent}", true},
		{"StringEquals", "team", "${absent, 'red'}", true},
		{"StringEqualsIgnoreCase", "team", "${absent, 'RED'}", true},
		{"StringEqualsIgnoreCase", "fold", "ALkCE-${team}", true},
		{"StringEqualsIgnoreCase", "fold", "ALkCE-${team}x", false},
		{"StringEqualsIgnoreCase", "fold", "ALkCE-", false},
		{"StringNotEqualsIgnoreCase", "team", "${absent}", true},
		{"Bool", "b", true, true},
		{"Bool", "b", "${b}", true},
		{"Bool", "s", "x", false},
		{"Bool", "b", "t*", false},
		{"BoolIfExists", "absent", "true", true},
		{"NumericLessThan", "n", []string{"1", "100"}, true},
		{"NumericEquals", "n", 5e1, true},
		{"NumericEquals", "n", "${n}", false},
		{"NumericNotEquals", "n", "${n}", true},
		{"NumericNotEquals", "junk", "1", true},
		{"NumericEquals", "junk", "abc", false},
		{"DateNotEquals", "junk", "2020-01-01", true},
		{"DateLessThan", "n", "abc", false},
		{"IpAddress", "ip", "${ip}", false},
		{"IpAddress", "junk", "0.0.0.0/0", false},
		{"NotIpAddress", "junk", "0.0.0.0/0", true},
		{"BinaryEquals", "bin", "YWI=", true},
		{"BinaryEquals", "bin", "YW\nI=", true},
		{"BinaryEquals", "bin", "?", false},
		{"Null", "s", "false", true},
		{"Null", "s", "FALSE", true},
		{"Null", "s", true, false},
		{"Null", "absent", "True", true},
		{"Null", "absent", []string{"true", "false"}, true},
		{"Null", "s", []string{"true", "false"}, true},
		{"Null", "s", "x", false},
		{"Null", "absent", "${b}", false},
		{"stringequals", "s", "x", true},
		{"FORANYVALUE:stringlikeIFEXISTS", "s", "x*", true},
	} {
		if got := verdict(t, "2012-10-17", tt.op, tt.key, tt.values, ctx); got != tt.want {
			t.Errorf("%s %s %v: %v", tt.op, tt.key, tt.values, got)
		}
	}
}

// The same key in two spellings is two conditions, both of which must hold.
func TestConditionKeySpellings(t *testing.T) {
	t.Parallel()
	d, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*",
		"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8","AWS:sourceip":"10.1.0.0/16"}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	set := policy.Compile(policy.Policies{Identity: []*policy.Document{d}})
	for addr, want := range map[string]bool{"10.1.0.1": true, "10.2.0.1": false, "11.1.0.1": false} {
		ctx := policy.NewContext()
		ctx.Set("aws:sourceIP", policy.Single(addr))
		if got := set.Evaluate(&policy.Request{Action: "a:b", Resource: "*", Context: ctx}).Allowed(); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	statement := `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"%s}}`
	for _, doc := range []string{
		``, `null`, `[]`, `{}`, `{"Statement":[]}`, `{"Statement":{}}`, `{"Statement":null}`, `{"Statement":[1]}`,
		`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}} x`,
		`{"Version":"2012-10-17","Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}`,
		`{"statement":{"Effect":"Deny","Action":"*","Resource":"*"}}`,
		`{"Version":"2013-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}`,
		`{"Statement":{"Effect":"deny","Action":"*","Resource":"*"}}`,
		`{"Statement":{"Action":"*","Resource":"*"}}`,
		fmt.Sprintf(statement, `,"Effect":"Allow"`),
		fmt.Sprintf(statement, `,"\u0045ffect":"Allow"`),
		fmt.Sprintf(statement, `,"Foo":1`),
		fmt.Sprintf(statement, `,"NotAction":"x:y"`),
		fmt.Sprintf(statement, `,"NotResource":"*"`),
		fmt.Sprintf(statement, `,"Condition":[]`),
		fmt.Sprintf(statement, `,"Condition":{"StringEquals":"x"}`),
		fmt.Sprintf(statement, `,"Condition":{"StringEqual":{"a":"b"}}`),
		fmt.Sprintf(statement, `,"Condition":{"NullIfExists":{"a":"true"}}`),
		fmt.Sprintf(statement, `,"Condition":{"ForSomeValues:StringEquals":{"a":"b"}}`),
		fmt.Sprintf(statement, `,"Condition":{"StringEquals":{"a":null}}`),
		fmt.Sprintf(statement, `,"Condition":{"StringEquals":{"a":{}}}`),
		fmt.Sprintf(statement, `,"Condition":{"StringEquals":{"a":[["b"]]}}`),
		fmt.Sprintf(statement, `,"Condition":{"StringEquals":{"a":"b","a":"c"}}`),
		fmt.Sprintf(statement, `,"Condition":{"StringEquals":{"a":"b"},"StringEquals":{"c":"d"}}`),
		fmt.Sprintf(statement, `,"Principal":"me"`),
		fmt.Sprintf(statement, `,"Principal":{"Foo":"*"}`),
		fmt.Sprintf(statement, `,"Principal":"*","NotPrincipal":"*"`),
		fmt.Sprintf(statement, `,"Sid":"\ud800"`),
		fmt.Sprintf(statement, ",\"Sid\":\"\xff\""),
		fmt.Sprintf(statement, `,"Sid":"`+"\n"+`"`),
		fmt.Sprintf(statement, `,}`),
		`{"Statement":` + string(make([]byte, 300)) + `}`,
	} {
		if _, err := policy.Parse([]byte(doc)); err == nil {
			t.Errorf("accepted: %s", doc)
		}
	}
	for _, extra := range []string{``, `,"Sid":"\u00e9\ud83d\ude00\n"`, `,"Condition":{}`, `,"Condition":{"Nonsense":{}}`,
		`,"Condition":{"StringEquals":{"a":[]}}`} {
		if _, err := policy.Parse(fmt.Appendf(nil, statement, extra)); err != nil {
			t.Errorf("%s: %v", extra, err)
		}
	}
}
