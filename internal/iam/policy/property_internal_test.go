package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The vocabulary is small so that statements and requests meet often.
var (
	drawAction = rapid.SampledFrom([]string{
		"*", "*:*", "ssm:*", "ssm:Start*", "ssm:StartSession", "SSM:startsession", "ssm:*Session", "ec2:Describe*",
		"s3:GetObject", "ssm:?tartSession", "ssm", "s*:x",
	})
	drawResource = rapid.SampledFrom([]string{
		"*", "arn:aws:ec2:us-east-1:1:instance/i-1", "arn:aws:ec2:us-east-1:1:instance/i-2", "arn:aws:ec2:*:*:instance/i-1",
		"arn:aws:ec2:*:*:instance/*",
		"arn:aws:ec2:*", "arn:aws:ec2:us-*-1:*:instance/*", "arn:aws:ssm:*:*:session/${aws:username}-*", "arn:aws:s3:::b/*",
		"arn:aws:s3:::b*/x",
		"arn:aws:*:instance/i-1", "arn:aws:s3:::${absent}", "*i-1", "arn:aws:ec2:us-east-1:1:instance/i-?",
	})
	drawCondition = rapid.SampledFrom([]string{
		``, ``, ``, `"StringEquals":{"aws:username":"alice"}`, `"StringNotEquals":{"aws:username":"alice"}`,
		`"Null":{"k":"true"}`,
		`"BoolIfExists":{"k":"true"}`, `"ForAllValues:StringEquals":{"k":["true","x"]}`,
		`"StringLike":{"aws:username":"${k}*"}`,
	})
	drawPrincipal = rapid.SampledFrom([]string{
		`"Principal":"*"`, `"Principal":{"AWS":"111111111111"}`, `"Principal":{"AWS":"arn:aws:iam::111111111111:user/alice"}`,
		`"Principal":{"AWS":"arn:aws:iam::111111111111:role/r"}`, `"Principal":{"Service":"ssm.amazonaws.com"}`,
		`"NotPrincipal":{"AWS":"arn:aws:iam::111111111111:user/alice"}`,
		`"NotPrincipal":{"AWS":"arn:aws:iam::111111111111:root"}`,
	})
)

func drawStatement(t *rapid.T, effect string, named bool) string {
	list := func(g *rapid.Generator[string], label string, n int) string {
		b, _ := json.Marshal(rapid.SliceOfN(g, 1, n).Draw(t, label))
		return string(b)
	}
	not := rapid.SampledFrom([]string{"", "", "", "Not"})
	s := fmt.Sprintf(
		`{"Effect":%q,"%sAction":%s,"%sResource":%s,"Condition":{%s}`,
		effect,
		not.Draw(
			t,
			"notAction",
		),
		list(drawAction, "actions", 3),
		not.Draw(t, "notResource"),
		list(drawResource, "resources", 6),
		drawCondition.Draw(t, "condition"),
	)
	if named {
		s += "," + drawPrincipal.Draw(t, "principal")
	}
	return s + "}"
}

func drawStatements(t *rapid.T, named bool, most int) []string {
	var list []string
	for range rapid.IntRange(0, most).Draw(t, "statements") {
		list = append(
			list,
			drawStatement(t, rapid.SampledFrom([]string{"Allow", "Allow", "Deny"}).Draw(t, "effect"), named),
		)
	}
	return list
}

// world is every kind of policy as lists of statements.
type world struct {
	identity, resource                    []string
	boundary, session, trust              []string
	scp                                   []string
	hasBoundary, hasSession, hasRes, hasT bool
	hasSCP                                bool
}

func drawWorld(t *rapid.T) world {
	has := func(label string) bool { return rapid.IntRange(0, 3).Draw(t, label) == 0 }
	return world{
		identity: drawStatements(t, false, 12), resource: drawStatements(t, true, 4), trust: drawStatements(t, true, 4),
		boundary: drawStatements(t, false, 3), session: drawStatements(t, false, 3), scp: drawStatements(t, false, 3),
		hasBoundary: has(
			"boundary",
		), hasSession: has("session"), hasRes: has("resource"), hasT: has("trust"), hasSCP: has("scp"),
	}
}

func parseAll(t *rapid.T, statements []string) *Document {
	// A statement that never matches takes the place of none: a document needs
	// one.
	all := append([]string{`{"Effect":"Allow","Action":"none:none","Resource":"none"}`}, statements...)
	d, err := Parse([]byte(`{"Version":"2012-10-17","Statement":[` + strings.Join(all, ",") + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (w world) compile(t *rapid.T) *Set {
	p := Policies{Identity: []*Document{parseAll(t, w.identity)}}
	if w.hasBoundary {
		p.Boundary = parseAll(t, w.boundary)
	}
	if w.hasSession {
		p.Session = []*Document{parseAll(t, w.session)}
	}
	if w.hasRes {
		p.Resource = parseAll(t, w.resource)
	}
	if w.hasT {
		p.Trust = parseAll(t, w.trust)
	}
	if w.hasSCP {
		p.SCP = [][]*Document{{parseAll(t, w.scp)}}
	}
	return Compile(p)
}

func drawRequest(t *rapid.T) *Request {
	ctx := NewContext()
	if rapid.Bool().Draw(t, "user") {
		ctx.Set("aws:username", Single(rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "name")))
	}
	switch rapid.IntRange(0, 3).Draw(t, "k") {
	case 0:
		ctx.Set("k", Single("true"))
	case 1:
		ctx.Set("k", Multi("true", "a"))
	}
	return &Request{
		Action: rapid.SampledFrom([]string{"ssm:StartSession", "ssm:STARTSESSION", "ec2:DescribeInstances", "s3:GetObject",
			"iam:x"}).
			Draw(t, "action"),
		Context: ctx,
		Resource: rapid.SampledFrom([]string{
			"*", "arn:aws:ec2:us-east-1:1:instance/i-1", "arn:aws:ec2:us-east-1:1:instance/i-2",
			"arn:aws:ec2:eu-west-1:2:instance/i-1",
			"arn:aws:ssm:us-east-1:1:session/alice-1", "arn:aws:s3:::b/x", "arn:aws:s3:::bb/x",
		}).Draw(t, "resource"),
		Principal: rapid.SampledFrom([]Principal{
			{Type: TypeUser, ARN: "arn:aws:iam::111111111111:user/alice", Account: "111111111111"},
			{Type: TypeUser, ARN: "arn:aws:iam::111111111111:user/bob", Account: "111111111111"},
			{
				Type:    TypeAssumedRole,
				ARN:     "arn:aws:sts::111111111111:assumed-role/r/s",
				RoleARN: "arn:aws:iam::111111111111:role/r",
				Account: "111111111111",
			},
			{Type: TypeRoot, ARN: "arn:aws:iam::111111111111:root", Account: "111111111111"},
			{Type: TypeService, Service: "ssm.amazonaws.com"},
			{Type: TypeFederatedUser, UserARN: "arn:aws:iam::111111111111:user/alice", Account: "111111111111"},
			{},
		}).Draw(t, "principal"),
		ResourceAccount: rapid.SampledFrom([]string{"", "111111111111", "222222222222"}).Draw(t, "owner"),
	}
}

// insert returns list with s at a random position.
func insert(t *rapid.T, list []string, s string) []string {
	return slices.Insert(slices.Clone(list), rapid.IntRange(0, len(list)).Draw(t, "at"), s)
}

// extend adds one statement of the given effect to one of w's policies.
func (w world) extend(t *rapid.T, effect string) world {
	switch rapid.IntRange(0, 5).Draw(t, "where") {
	case 0:
		w.identity = insert(t, w.identity, drawStatement(t, effect, false))
	case 1:
		w.resource = insert(t, w.resource, drawStatement(t, effect, true))
	case 2:
		w.boundary = insert(t, w.boundary, drawStatement(t, effect, false))
	case 3:
		w.session = insert(t, w.session, drawStatement(t, effect, false))
	case 4:
		w.trust = insert(t, w.trust, drawStatement(t, effect, true))
	case 5:
		w.scp = insert(t, w.scp, drawStatement(t, effect, false))
	}
	return w
}

func TestDenyNeverAllowsMore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, r := drawWorld(t), drawRequest(t)
		before, after := w.compile(t).Evaluate(r), w.extend(t, "Deny").compile(t).Evaluate(r)
		if after.Allowed() && !before.Allowed() || before.Effect == ExplicitDeny && after.Effect != ExplicitDeny {
			t.Fatalf("%v became %v", before, after)
		}
	})
}

func TestAllowNeverDeniesMore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, r := drawWorld(t), drawRequest(t)
		before, after := w.compile(t).Evaluate(r), w.extend(t, "Allow").compile(t).Evaluate(r)
		if before.Allowed() && !after.Allowed() || (before.Effect == ExplicitDeny) != (after.Effect == ExplicitDeny) {
			t.Fatalf("%v became %v", before, after)
		}
	})
}

func TestOrderNeverMatters(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, r := drawWorld(t), drawRequest(t)
		before := w.compile(t).Evaluate(r)
		v := w
		v.identity = rapid.Permutation(w.identity).Draw(t, "identity")
		v.resource = rapid.Permutation(w.resource).Draw(t, "resource")
		v.trust = rapid.Permutation(w.trust).Draw(t, "trust")
		v.boundary = rapid.Permutation(w.boundary).Draw(t, "boundary")
		v.session = rapid.Permutation(w.session).Draw(t, "session")
		v.scp = rapid.Permutation(w.scp).Draw(t, "scp")
		if after := v.compile(t).Evaluate(r); after != before {
			t.Fatalf("%v became %v", before, after)
		}
	})
}

// The index may only leave out statements that do not apply.
func TestIndexAgreesWithScan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, r := drawWorld(t), drawRequest(t)
		w.hasBoundary, w.hasSession, w.hasRes, w.hasT, w.hasSCP = true, true, true, true, true
		s := w.compile(t)
		for _, sc := range append(slices.Clone(s.scp), s.identity, s.resource, s.trust, s.boundary, s.session) {
			if got, want := sc.denies(r), len(sc.matched(r, true)) > 0; got != want {
				t.Fatalf("%s denies: %v, a scan says %v", sc.kind, got, want)
			}
			best := grantNone
			for _, st := range sc.docs[0].statements {
				if !st.deny && sc.canMatch(st) && st.matchesAction(r.Action) && sc.matchesResource(st, r) {
					best = max(best, sc.grantOf(st, r))
				}
			}
			if got := sc.allows(r); got != best {
				t.Fatalf("%s grants %d, a scan says %d", sc.kind, got, best)
			}
		}
	})
}

func TestRadix(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringOfN(rapid.SampledFrom([]rune("abé")), 0, 6, -1)
		words := rapid.SliceOfN(word, 0, 12).Draw(t, "words")
		var fwd, rev radix[int]
		for i, w := range words {
			fwd.insert(w, i, false)
			rev.insert(w, i, true)
		}
		text := rapid.StringOfN(rapid.SampledFrom([]rune("abé")), 0, 10, -1).Draw(t, "text")
		var begins, ends, wantBegins, wantEnds []int
		for n, rest := &fwd, text; n != nil; n, rest = n.after(rest) {
			begins = append(begins, n.items...)
		}
		for n, rest := &rev, text; n != nil; n, rest = n.before(rest) {
			ends = append(ends, n.items...)
		}
		for i, w := range words {
			if strings.HasPrefix(text, w) {
				wantBegins = append(wantBegins, i)
			}
			if strings.HasSuffix(text, w) {
				wantEnds = append(wantEnds, i)
			}
		}
		slices.Sort(begins)
		slices.Sort(ends)
		if !slices.Equal(begins, wantBegins) || !slices.Equal(ends, wantEnds) {
			t.Fatalf("%q in %q: %v %v, want %v %v", text, words, begins, ends, wantBegins, wantEnds)
		}
	})
}
