package policy

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// slowMatch defines wildcard matching, character by character, with only a
// memory of failures as an optimization.
func slowMatch(pat string, text string, mode patternMode) bool {
	type atom struct {
		c       rune
		wild    bool
		noColon bool
	}
	var atoms []atom
	colons := 0
	rs := []rune(pat)
	for i, c := range rs {
		a := atom{c: c, wild: c == '*' || c == '?'}
		if mode == modeResource && colons < 5 {
			atEnd := i+1 == len(rs) || rs[i+1] == ':'
			a.noColon = c == '?' || !atEnd
		}
		if c == ':' {
			colons++
		}
		atoms = append(atoms, a)
	}
	ts := []rune(text)
	failed := map[[2]int]bool{}
	var match func(i, j int) bool
	match = func(i, j int) bool {
		if i == len(atoms) {
			return j == len(ts)
		}
		if failed[[2]int{i, j}] {
			return false
		}
		a := atoms[i]
		ok := false
		switch {
		case a.wild && a.c == '*':
			ok = match(i+1, j) || j < len(ts) && !(a.noColon && ts[j] == ':') && match(i, j+1)
		case a.wild:
			ok = j < len(ts) && !(a.noColon && ts[j] == ':') && match(i+1, j+1)
		default:
			ok = j < len(ts) && ts[j] == a.c && match(i+1, j+1)
		}
		if !ok {
			failed[[2]int{i, j}] = true
		}
		return ok
	}
	return match(0, 0)
}

// slowARN defines ArnLike as documented: six parts, compared separately.
func slowARN(pat, text string) bool {
	ps, ts := strings.SplitN(pat, ":", 6), strings.SplitN(text, ":", 6)
	if len(ps) < 6 || len(ts) < 6 {
		return false
	}
	for i := range ps {
		if !slowMatch(ps[i], ts[i], modeLike) {
			return false
		}
	}
	return true
}

func TestPatternsAgainstReference(t *testing.T) {
	t.Parallel()
	patterns := []string{
		"", "*", "**", "?", "a*b*c", "*a*", "*ab", "?*?", "a?c", "*?a?*b", "arn:aws:ec2:*:instance/i-1",
		"arn:aws:ec2:us-*-1:*:instance/*",
		"arn:aws:ec2:*", "arn:aws:ec2:*:*:instance/i-1", "arn:aws:s*-x:*:1:r/*a*b", "a:b:*:d*e:f:g", "a:*:c*:d?:*x*:*:z",
		"*:*:*:*:*:*",
		"a*:b*c:d", "é?*", "*é", "a:b:c:d:e:?*?:x", "*a:*b*c:", "*:x*y:*:*z*:a",
	}
	texts := []string{
		"", "a", "abc", "aXbYc", "arn:aws:ec2:us-east-1:123:instance/i-1", "arn:aws:ec2:us-a:b-1:1:instance/x",
		"a:b:c:d:e:f:g",
		"a:b:c:dxe:f:g", "a:b:c:d:xe:f:g", "a:q:cz:dd:axa:qq:z", "é", "éa", "aé", "世界", "a:b:c:d:e:fg:x", ":::::", "xa:yb1c:",
		"arn:aws:sss-x:q:1:r/zazb",
		"a:xzy:q:zz:a", "p:q:a:xzy:q:zz:a",
	}
	for _, p := range patterns {
		like, res, arn := compilePattern(
			p,
			modeLike,
			false,
		), compilePattern(
			p,
			modeResource,
			false,
		), compilePattern(
			p,
			modeARN,
			false,
		)
		for _, x := range texts {
			if got, want := like.match(x, nil), slowMatch(p, x, modeLike); got != want {
				t.Errorf("like %q %q: %v, want %v", p, x, got, want)
			}
			if got, want := res.match(x, nil), slowMatch(p, x, modeResource); got != want {
				t.Errorf("resource %q %q: %v, want %v", p, x, got, want)
			}
			if got, want := arn.match(x, nil), slowARN(p, x); got != want {
				t.Errorf("arn %q %q: %v, want %v", p, x, got, want)
			}
		}
	}
}

func FuzzWildcards(f *testing.F) {
	f.Add("a*b*c", "aXbYc")
	f.Add("arn:aws:ec2:*:instance/i-1", "arn:aws:ec2:us-east-1:123456789012:instance/i-1")
	f.Add("a:*:c*d:*x?:*:?*é", "a:b:ccd:xx:y:zé")
	f.Add("*a*a*a*a*b", "aaaaaaaaaaaaaaaa")
	f.Fuzz(func(t *testing.T, pat, text string) {
		if len(pat) > 200 || len(text) > 200 || !utf8.ValidString(pat) || !utf8.ValidString(text) {
			t.Skip()
		}
		for _, mode := range []patternMode{modeLike, modeResource} {
			p := compilePattern(pat, mode, false)
			want := slowMatch(pat, text, mode)
			if got := p.match(text, nil); got != want {
				t.Fatalf("mode %d %q %q: %v, want %v", mode, pat, text, got, want)
			}
			// The two matchers must agree wherever both apply.
			if got := p.matchSets(text, nil); got != want {
				t.Fatalf("sets, mode %d %q %q: %v, want %v", mode, pat, text, got, want)
			}
		}
		arn := compilePattern(pat, modeARN, false)
		if got, want := arn.match(text, nil), slowARN(pat, text); got != want {
			t.Fatalf("arn %q %q: %v, want %v", pat, text, got, want)
		}
		// In a variable the text is literal, whatever it contains.
		ctx := NewContext()
		ctx.Set("k", Single(text))
		v := compilePattern("${k}", modeLike, true)
		if !v.match(text, ctx) {
			t.Fatalf("variable %q does not match itself", text)
		}
		if p := compilePattern("${k}", modeARN, true); p.match(text, ctx) != (strings.Count(text, ":") >= 5) {
			t.Fatalf("ARN variable %q", text)
		}
		a, lowPat, lowText := actionPattern{glob: lowerASCII(pat)}, lowerASCII(pat), lowerASCII(text)
		if got, want := a.matches(text), slowMatch(lowPat, lowText, modeLike); got != want {
			t.Fatalf("action %q %q: %v, want %v", pat, text, got, want)
		}
	})
}

// With backtracking these would exceed the time limit of tests many times
// over. A bounded matcher needs milliseconds.
func TestPathologicalWildcards(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("a", 2000)
	for _, pat := range []string{
		strings.Repeat("*a", 1000) + "*b",
		strings.Repeat("a*", 1000) + "b",
		strings.Repeat("*?a", 700) + "*b",
		"*" + strings.Repeat("?", 1500) + "b",
		"arn:*" + strings.Repeat("*a", 1000) + ":*:b",
		strings.Repeat("*a*:", 4) + strings.Repeat("*a", 800) + "b",
	} {
		for _, mode := range []patternMode{modeLike, modeResource, modeARN} {
			p := compilePattern(pat, mode, false)
			start := time.Now()
			if p.match(text, nil) || p.match("arn:aws:ec2:us:1:"+text, nil) {
				t.Errorf("%.20s… matches", pat)
			}
			if d := time.Since(start); d > 2*time.Second {
				t.Errorf("%.20s… took %v", pat, d)
			}
		}
		if globFold(pat, text) {
			t.Errorf("action %.20s… matches", pat)
		}
	}
}

func TestVariables(t *testing.T) {
	t.Parallel()
	ctx := NewContext()
	ctx.Set("aws:UserName", Single("al*ce"))
	ctx.Set("empty", Single(""))
	ctx.Set("none", Multi())
	ctx.Set("many", Multi("x"))
	ctx.Set("arn", Single("arn:aws:iam::1:role/x"))
	for _, tt := range []struct {
		mode      patternMode
		pat, text string
		want      bool
	}{
		{modeLike, "${aws:username}", "al*ce", true},
		{modeLike, "${AWS:USERNAME}-*", "al*ce-7", true},
		{modeLike, "${aws:username}", "alice", false},
		{modeLike, "a${*}b", "a*b", true},
		{modeLike, "a${*}b", "axb", false},
		{modeLike, "a${?}b", "a?b", true},
		{modeLike, "${$}{aws:username}", "${aws:username}", true},
		{modeLike, "${absent}", "", false},
		{modeLike, "${absent, 'd'}", "d", true},
		{modeLike, "${absent, ''}", "", true},
		{modeLike, "${absent, '*'}", "x", false},
		{modeLike, "${absent, d}", "d", false},
		{modeLike, "${aws:username, 'd'}", "d", false},
		{modeLike, "${empty, 'd'}", "", true},
		{modeLike, "${empty, 'd'}", "d", false},
		{modeLike, "${none, 'd'}", "d", true},
		{modeLike, "${many}", "x", false},
		{modeLike, "${many, 'd'}", "d", false},
		{modeLike, "a${aws:username", "a${aws:username", true},
		{modeLike, "x${}y", "xy", false},
		{modePlain, "*${aws:username}?", "*al*ce?", true},
		{modeResource, "arn:aws:s3:::b/${aws:username}/*", "arn:aws:s3:::b/al*ce/x", true},
		{modeResource, "arn:aws:s3:${empty}::b", "arn:aws:s3:::b", false},
		{modeResource, "arn:aws:s3:${empty}::b", "arn:aws:s3:${empty}::b", true},
		{modeARN, "${arn}", "arn:aws:iam::1:role/x", true},
		{modeARN, "arn:aws:iam::*:role/${empty}x", "arn:aws:iam::1:role/x", true},
		{modeARN, "arn:*:${aws:username}:*:*:*", "arn:aws:al*ce:a:b:c:d", true},
		{modeARN, "arn:*:${aws:username}:*", "arn:aws:al*ce:a:b:c", false},
	} {
		p := compilePattern(tt.pat, tt.mode, true)
		if got := p.match(tt.text, ctx); got != tt.want {
			t.Errorf("mode %d %q against %q: %v", tt.mode, tt.pat, tt.text, got)
		}
		old := compilePattern(tt.pat, tt.mode, false)
		if strings.Contains(tt.pat, "${aws:username}") && old.match("al*ce", ctx) {
			t.Errorf("%q: version 2008 substitutes", tt.pat)
		}
	}
}

func TestDecimals(t *testing.T) {
	t.Parallel()
	order := []string{
		"-1e3",
		"-10.5",
		"-10",
		"-0.001",
		"0",
		"0.0000001",
		"0.3",
		"0.30000000000000000001",
		"1",
		"9",
		"10",
		"9007199254740993",
		"9007199254740994",
		"1e400",
	}
	for i, a := range order {
		for j, b := range order {
			x, ok1 := parseDecimal(a)
			y, ok2 := parseDecimal(b)
			if !ok1 || !ok2 {
				t.Fatalf("%s or %s refused", a, b)
			}
			if got, want := x.compare(&y), cmpInt(i, j); got != want {
				t.Errorf("%s <=> %s: %d, want %d", a, b, got, want)
			}
		}
	}
	for _, same := range [][2]string{
		{"1", "1.0"}, {"1", "+1"}, {"0", "-0"}, {"0", "-0.000"}, {"100", "1e2"}, {"0.01", "1E-2"}, {"010", "10"},
		{".5", "0.50"}, {"5.", "5"},
		{"1200", "0.0012e6"}, {"0e99999", "0"},
	} {
		x, _ := parseDecimal(same[0])
		y, ok := parseDecimal(same[1])
		if !ok || x.compare(&y) != 0 {
			t.Errorf("%s and %s differ", same[0], same[1])
		}
	}
	for _, bad := range []string{"", "+", "-", ".", "1.2.3", "0x10", "1_000", "NaN", "Infinity", " 1", "1 ", "1e", "e5",
		"1e99999999999", "--1", "١"} {
		if _, ok := parseDecimal(bad); ok {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestInstants(t *testing.T) {
	t.Parallel()
	const noon = "2020-04-15T12:00:00Z"
	for _, same := range []string{
		noon, "2020-04-15T12:00Z", "2020-04-15T12:00:00+00:00", "2020-04-15T21:00:00+09:00", "2020-04-15T07:30-04:30",
		"2020-04-15t12:00:00z",
		"2020-04-15T12:00:00", "2020-04-15T12:00:00.000Z", "1586952000",
	} {
		a, _ := parseInstant(noon)
		if b, ok := parseInstant(same); !ok || a.compare(b) != 0 {
			t.Errorf("%s is not %s", same, noon)
		}
	}
	order := []string{
		"-1",
		"0",
		"2020",
		"2020-04",
		"2020-04-01T00:00:00.0001Z",
		"2020-04-01T00:00:00.00011Z",
		"2020-04-01T00:00:00.1Z",
		"2020-04-02",
		"2024-02-29",
	}
	for i := range order[1:] {
		a, ok1 := parseInstant(order[i])
		b, ok2 := parseInstant(order[i+1])
		if !ok1 || !ok2 || a.compare(b) >= 0 || b.compare(a) <= 0 {
			t.Errorf("%s is not before %s", order[i], order[i+1])
		}
	}
	for _, bad := range []string{
		"", "-", "x", "2020-", "2020-13", "2020-00", "2020-02-30", "2023-02-29", "2020-04-15T", "2020-04-15T12",
		"2020-04-15T24:00Z", "2020-04-15T12:60Z",
		"2020-04-15 12:00:00Z", "2020-04-15T12:00:00.Z", "2020-04-15T12:00:00+0900", "2020-04-15T12:00:00+09",
		"2020-04-15T12:00:00ZZ", "2020-4-15",
		"99999999999999999999", "1.5", "2020-04-15T12:00:00+24:00", "+5",
	} {
		if _, ok := parseInstant(bad); ok {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestNets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		net, addr string
		want      bool
	}{
		{"203.0.113.77/24", "203.0.113.5", true},
		{"203.0.113.5", "203.0.113.5", true},
		{"0.0.0.0/0", "203.0.113.5", true},
		{"0.0.0.0/0", "2001:db8::1", false},
		{"::/0", "203.0.113.5", false},
		{"203.0.113.0/24", "::ffff:203.0.113.5", true},
		{"::ffff:203.0.113.0/120", "203.0.113.5", true},
		{"::ffff:203.0.113.5", "203.0.113.5", true},
		{"fe80::/10", "fe80::1%eth0", true},
		{"2001:DB8::1", "2001:0db8:0:0:0:0:0:1", true},
		{"203.0.113.0/25", "203.0.113.128", false},
	} {
		n, ok := parseNet(tt.net)
		a, ok2 := parseAddr(tt.addr)
		if !ok || !ok2 || n.Contains(a) != tt.want {
			t.Errorf("%s in %s: want %v", tt.addr, tt.net, tt.want)
		}
	}
	for _, bad := range []string{"", "x", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/024", "1.2.3.256", "::/129",
		"01.2.3.4"} {
		if _, ok := parseNet(bad); ok {
			t.Errorf("%q accepted", bad)
		}
	}
}
