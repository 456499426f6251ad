package policy_test

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"sekisho/internal/iam/policy"
)

func setOf(t *testing.T, statements ...string) *policy.Set {
	t.Helper()
	d, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	return policy.Compile(policy.Policies{Identity: []*policy.Document{d}})
}

func when(effect, conditions string) string {
	return `{"Effect":"` + effect + `","Action":"*","Resource":"*","Condition":{` + conditions + `}}`
}

func TestTimes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		statements []string
		want       string // seconds of 2026-04-15 UTC
		exact      bool
	}{
		"no time": {[]string{when("Allow", `"StringEquals":{"aws:username":"x"}`)}, "", true},
		"a window": {[]string{when("Allow", `"DateGreaterThan":{"aws:CurrentTime":"2026-04-15T00:00:10Z"},`+
			`"DateLessThan":{"AWS:currenttime":"2026-04-15T00:00:20Z"}`)}, "10 11 20 21", true},
		"a window in another zone": {[]string{when("Deny", `"DateLessThan":{"aws:CurrentTime":"2026-04-15T09:00:10+09:00"}`)},
			"10 11",
			true},
		"one of several conditions": {[]string{when("Allow", `"DateLessThan":{"aws:CurrentTime":"2026-04-15T00:00:10.5Z"}`)},
			"10 11",
			true},
		"a number":           {[]string{when("Allow", `"NumericLessThan":{"aws:EpochTime":"1776211210"}`)}, "10 11", true},
		"a broken number":    {[]string{when("Allow", `"NumericLessThan":{"aws:EpochTime":"1776211210.25"}`)}, "10 11", true},
		"a date as a number": {[]string{when("Allow", `"DateLessThan":{"aws:EpochTime":"1776211210"}`)}, "10 11", true},
		"the issue time of the token": {
			[]string{when("Deny", `"DateLessThan":{"aws:TokenIssueTime":"2026-04-15T00:00:30Z"}`)}, "30 31",
			true},
		"once": {[]string{when("Allow", `"DateEquals":{"aws:CurrentTime":["2026-04-15T00:00:10Z",`+
			`"2026-04-15T00:00:11Z"]}`)}, "10 11 12", true},
		"an unrelated time": {[]string{when("Allow", `"DateLessThan":{"aws:PrincipalTag/until":"2026-04-15T00:00:10Z"}`)}, "",
			true},
		"a null condition": {[]string{when("Allow", `"Null":{"aws:TokenIssueTime":"false"}`)}, "", true},
		"a text":           {[]string{when("Allow", `"StringLike":{"aws:CurrentTime":"2026-04-15T0*"}`)}, "", false},
		"a variable": {[]string{`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:CurrentTime}"}`}, "",
			false},
		"in a condition": {[]string{when("Allow", `"StringEquals":{"aws:PrincipalTag/now":"${aws:EpochTime}"}`)}, "", false},
	} {
		at, exact := setOf(t, tc.statements...).Times(time.Unix(0, 0), time.Unix(1<<40, 0))
		var got []string
		for _, a := range at {
			got = append(got, strconv.FormatInt(a.Unix()-time.Date(2026, 4, 15, 0, 0, 0, 0, time.UTC).Unix(), 10))
		}
		if text := strings.Join(got, " "); text != tc.want || exact != tc.exact {
			t.Errorf("%s: %s, %v; want %s, %v", name, text, exact, tc.want, tc.exact)
		}
	}
}

// Between the times that Times returns, no decision changes.
func TestDecisionsDoNotChangeBetweenTimes(t *testing.T) {
	t.Parallel()
	base := time.Date(2026, 4, 15, 0, 0, 0, 0, time.UTC)
	dice := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[dice.IntN(len(of))] }
	for range 300 {
		var statements []string
		for range 1 + dice.IntN(4) {
			at := base.Add(time.Duration(dice.IntN(600)) * 100 * time.Millisecond)
			key, operator, value := pick(
				"aws:CurrentTime",
				"aws:EpochTime",
			), "Date"+pick(
				"LessThan",
				"GreaterThan",
				"LessThanEquals",
				"GreaterThanEquals",
				"Equals",
				"NotEquals",
			), at.Format(
				"2006-01-02T15:04:05.0Z",
			)
			if key == "aws:EpochTime" && dice.IntN(2) == 0 {
				operator, value = strings.Replace(
					operator,
					"Date",
					"Numeric",
					1,
				), strconv.FormatFloat(
					float64(at.UnixMilli())/1000,
					'f',
					1,
					64,
				)
			}
			statements = append(
				statements,
				when(pick("Allow", "Allow", "Deny"), `"`+operator+`":{"`+key+`":"`+value+`"}`),
			)
		}
		set := setOf(t, statements...)
		changes, exact := set.Times(time.Unix(0, 0), time.Unix(1<<40, 0))
		if !exact {
			t.Fatalf("not exact: %s", statements)
		}
		named := map[int64]bool{}
		for _, c := range changes {
			named[c.Unix()] = true
		}
		var before policy.Effect
		for sec := range 65 {
			now := base.Add(time.Duration(sec) * time.Second)
			c := policy.NewContext()
			c.Set("aws:CurrentTime", policy.Single(now.Format(time.RFC3339)))
			c.Set("aws:EpochTime", policy.Single(strconv.FormatInt(now.Unix(), 10)))
			effect := set.Evaluate(
				&policy.Request{Action: "a:B", Resource: "*", Context: c, Principal: policy.Principal{Account: "1"}},
			).Effect
			if sec > 0 && effect != before && !named[now.Unix()] {
				t.Fatalf("it changes at %d: %s", sec, statements)
			}
			before = effect
		}
	}
}
