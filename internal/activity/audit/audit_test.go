package audit_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/store/storetest"
)

// memory is an [audit.Store] whose records a test can tamper with.
type memory struct {
	mu      sync.Mutex
	records []audit.Record
	heads   []audit.Head
	intents []audit.Intent
	fails   error // returned by AppendAudit
	batches int
}

func (m *memory) AppendAudit(_ context.Context, b audit.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.append(b)
}

func (m *memory) append(b audit.Batch) error {
	if m.fails != nil {
		return m.fails
	}
	records := slices.Clone(m.records)
	for _, r := range b.Records {
		if n := len(records); n > 0 && records[n-1].Seq >= r.Seq {
			return sekisho.Errorf(sekisho.CodeConflict, "taken")
		}
		records = append(records, r)
	}
	m.records = records
	m.batches++
	m.intents = append(m.intents, b.Begun...)
	m.intents = slices.DeleteFunc(m.intents, func(i audit.Intent) bool { return slices.Contains(b.Finished, i.ID) })
	for _, h := range b.Heads {
		i, found := slices.BinarySearchFunc(
			m.heads,
			h.Seq,
			func(h audit.Head, seq int64) int { return int(h.Seq - seq) },
		)
		if !found {
			m.heads = slices.Insert(m.heads, i, h)
		}
	}
	return nil
}

func (m *memory) AppendAuditAfter(_ context.Context, build func(last audit.Record) audit.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.append(build(m.last()))
}

func (m *memory) AuditIntents(_ context.Context, limit int) ([]audit.Intent, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.intents[:min(limit, len(m.intents))]), nil
}

func (m *memory) LastAudit(context.Context) (audit.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last(), nil
}

func (m *memory) last() audit.Record {
	if len(m.records) == 0 {
		return audit.Record{}
	}
	return m.records[len(m.records)-1]
}

func (m *memory) AuditAfter(_ context.Context, seq int64, limit int) ([]audit.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []audit.Record
	for _, r := range m.records {
		if r.Seq > seq && len(out) < limit {
			out = append(out, r)
		}
	}
	return out, nil
}

func (m *memory) LookupAudit(_ context.Context, q audit.Query) ([]audit.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []audit.Record
	is := func(want, got string) bool { return want == "" || want == got }
	for _, r := range slices.Backward(m.records) {
		resource := func(ok func(audit.ResourceIndex) bool) bool { return slices.ContainsFunc(r.Resources, ok) }
		if is(q.EventID, r.EventID) && is(q.EventName, r.EventName) && is(q.EventSource, r.EventSource) &&
			is(q.Username, r.Username) &&
			is(q.AccessKeyID, r.AccessKeyID) && (q.ReadOnly == nil || *q.ReadOnly == r.ReadOnly) &&
			(q.ResourceType == "" || resource(func(x audit.ResourceIndex) bool { return x.Type == q.ResourceType })) &&
			(q.ResourceName == "" ||
				resource(func(x audit.ResourceIndex) bool { return x.Name == q.ResourceName || x.ARN == q.ResourceName })) &&
			(q.Start.IsZero() || !r.Time.Before(q.Start)) &&
			(q.End.IsZero() || !r.Time.After(q.End)) &&
			(q.Before == 0 || r.Seq < q.Before) &&
			len(out) < q.Limit {
			out = append(out, r)
		}
	}
	return out, nil
}

func (m *memory) AuditHeads(context.Context) ([]audit.Head, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.heads), nil
}

func TestMemoryConforms(t *testing.T) {
	t.Parallel()
	storetest.Audit(t, func(*testing.T) audit.Store { return &memory{} })
}

var when = time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)

func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// recorded returns a trail of n events with a head for every fourth and the
// last.
func recorded(t *testing.T, n int) (*memory, *audit.Trail, ed25519.PrivateKey, []audit.Head) {
	t.Helper()
	m, key := &memory{}, newKey(t)
	var witnessed []audit.Head
	trail := audit.New(m, audit.Config{Signer: key, HeadEvery: 4, Witness: func(_ context.Context, h audit.Head) error {
		witnessed = append(witnessed, h)
		return nil
	}})
	for i := range n {
		if err := trail.Record(t.Context(), event(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := trail.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m, trail, key, witnessed
}

func event(i int) audit.Event {
	return audit.Event{
		Time: when, EventSource: "ssm.amazonaws.com", EventName: fmt.Sprint("Event", i),
		UserIdentity: audit.Identity{Type: audit.IdentityUser, UserName: "alice"},
		Resources:    []audit.Resource{{ARN: fmt.Sprintf("arn:aws:ssm:r:1:managed-instance/mi-%d", i)}},
	}
}

func TestVerifyNamesTheFirstBrokenRecord(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tamper func(t *testing.T, m *memory)
		seq    int64 // 0 means intact
		kind   audit.Kind
	}{
		"untouched":    {func(*testing.T, *memory) {}, 0, ""},
		"body flipped": {func(_ *testing.T, m *memory) { m.records[4].Body[20] ^= 1 }, 5, audit.Altered},
		"hash flipped": {func(_ *testing.T, m *memory) { m.records[4].Hash[0] ^= 1 }, 5, audit.Altered},
		"dropped":      {func(_ *testing.T, m *memory) { m.records = slices.Delete(m.records, 4, 5) }, 5, audit.Missing},
		"dropped and renumbered": {func(_ *testing.T, m *memory) {
			m.records = slices.Delete(m.records, 4, 5)
			for i := range m.records {
				m.records[i].Seq = int64(i + 1)
			}
		}, 5, audit.Altered},
		"first record dropped": {func(_ *testing.T, m *memory) { m.records = m.records[1:] }, 1, audit.Missing},
		"swapped": {func(_ *testing.T, m *memory) {
			a, b := &m.records[2], &m.records[6]
			*a, *b = *b, *a
			a.Seq, b.Seq = b.Seq, a.Seq
		}, 3, audit.Altered},
		"inserted": {func(_ *testing.T, m *memory) {
			m.records = slices.Insert(m.records, 5, m.records[5])
			for i := range m.records {
				m.records[i].Seq = int64(i + 1)
			}
		}, 7, audit.Altered},
		"tail cut off":                 {func(_ *testing.T, m *memory) { m.records = m.records[:7] }, 8, audit.RolledBack},
		"all records deleted":          {func(_ *testing.T, m *memory) { m.records = nil }, 1, audit.RolledBack},
		"hidden from look-up":          {func(_ *testing.T, m *memory) { m.records[3].Username = "bob" }, 4, audit.Altered},
		"resource hidden from look-up": {func(_ *testing.T, m *memory) { m.records[3].Resources = nil }, 4, audit.Altered},
		"head forged":                  {func(_ *testing.T, m *memory) { m.heads[1].Signature[0] ^= 1 }, 8, audit.Altered},
		"head for a missing record": {func(_ *testing.T, m *memory) {
			m.heads = append(m.heads, audit.Head{Seq: 99, Hash: m.heads[0].Hash, Signature: m.heads[0].Signature})
		}, 99, audit.Altered},
		"rewritten": {func(t *testing.T, m *memory) {
			fake := &memory{}
			trail := audit.New(fake, audit.Config{Signer: newKey(t)})
			for i := range 10 {
				e := event(i)
				e.EventName = "Harmless"
				if err := trail.Record(t.Context(), e); err != nil {
					t.Fatal(err)
				}
			}
			m.records = fake.records
		}, 4, audit.Altered},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, trail, _, _ := recorded(t, 10)
			c.tamper(t, m)
			err := trail.Verify(t.Context())
			if c.seq == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			b, ok := errors.AsType[*audit.BrokenError](err)
			if !ok || b.Seq != c.seq || b.Kind != c.kind {
				t.Errorf("got %#v", err)
			}
		})
	}
}

func TestHeadsKeptElsewhere(t *testing.T) {
	t.Parallel()
	m, trail, key, witnessed := recorded(t, 10)
	if len(witnessed) != 3 || witnessed[2].Seq != 10 {
		t.Fatalf("witnessed %+v", witnessed)
	}
	// An attacker with the database removes records and heads together.
	m.records, m.heads = m.records[:8], m.heads[:2]
	if err := trail.Verify(t.Context()); err != nil {
		t.Fatalf("the store alone cannot tell: %v", err)
	}
	b, ok := errors.AsType[*audit.BrokenError](trail.Verify(t.Context(), witnessed...))
	if !ok || b.Seq != 9 || b.Kind != audit.RolledBack {
		t.Errorf("got %v", b)
	}
	// Appending after the cut does not repair it.
	trail = audit.New(m, audit.Config{Signer: key})
	for i := range 5 {
		if err := trail.Record(t.Context(), event(i)); err != nil {
			t.Fatal(err)
		}
	}
	b, ok = errors.AsType[*audit.BrokenError](trail.Verify(t.Context(), witnessed...))
	if !ok || b.Seq != 10 || b.Kind != audit.Altered {
		t.Errorf("got %v", b)
	}
}

func TestATrailContinuesWhereItStopped(t *testing.T) {
	t.Parallel()
	m, _, key, _ := recorded(t, 3)
	trail := audit.New(m, audit.Config{Signer: key, HeadEvery: 4})
	for i := range 2 {
		if err := trail.Record(t.Context(), event(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := trail.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := trail.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := trail.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	var seqs []int64
	for _, h := range m.heads {
		seqs = append(seqs, h.Seq)
	}
	if d := cmp.Diff([]int64{3, 5}, seqs); d != "" {
		t.Error(d)
	}
}

func TestVerifyReadsPages(t *testing.T) {
	t.Parallel()
	m, trail, _, _ := recorded(t, 1203)
	if err := trail.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.records[1100].Body[10] ^= 1
	if b, ok := errors.AsType[*audit.BrokenError](trail.Verify(t.Context())); !ok || b.Seq != 1101 {
		t.Errorf("got %v", b)
	}
}

func TestRecordFailsWithItsStore(t *testing.T) {
	t.Parallel()
	gone := errors.New("disk full")
	if err := audit.New(&memory{fails: gone}, audit.Config{Signer: newKey(t)}).Record(t.Context(), event(0)); !errors.Is(
		err,
		gone,
	) {
		t.Errorf("got %v", err)
	}
	conflict := sekisho.Errorf(sekisho.CodeConflict, "taken")
	if err := audit.New(&memory{fails: conflict}, audit.Config{Signer: newKey(t)}).Record(t.Context(),
		event(0)); !errors.Is(
		err,
		conflict,
	) {
		t.Errorf("got %v", err)
	}
}

func TestNothingSecretIsStored(t *testing.T) {
	t.Parallel()
	m := &memory{}
	trail := audit.New(m, audit.Config{Signer: newKey(t)})
	e := event(0)
	type nested struct {
		SecretAccessKey string
		Safe            string
	}
	e.RequestParameters = map[string]any{
		"ActivationCode": "swordfish", "activationId": "visible-1",
		"parameters":            map[string]any{"command": []any{"visible-2"}},
		"loginProfile.Password": "swordfish", "Tags.member.1.Value": "visible-3", "x-amz-security-token": "swordfish",
		"list": []any{map[string]any{"SECRETSTRING": map[string]any{"deep": "swordfish"}}},
	}
	e.ResponseElements = struct {
		TokenValue string `json:"tokenValue"`
		Credential *nested
	}{"swordfish", &nested{"swordfish", "visible-4"}}
	e.Additional = map[string]any{"Password": "swordfish", "MFAUsed": "Yes"}
	if err := trail.Record(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	body := string(m.records[0].Body)
	if strings.Contains(body, "swordfish") {
		t.Errorf("a secret is in %s", body)
	}
	for _, want := range []string{"visible-1", "visible-2", "visible-3", "visible-4", "MFAUsed", audit.Hidden} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in %s", want, body)
		}
	}
	if _, still := e.RequestParameters.(map[string]any)["ActivationCode"].(string); !still ||
		e.RequestParameters.(map[string]any)["ActivationCode"] != "swordfish" {
		t.Error("the caller's own parameters were changed")
	}
}

func TestHostileEventsAreRecorded(t *testing.T) {
	t.Parallel()
	m := &memory{}
	trail := audit.New(m, audit.Config{Signer: newKey(t)})
	e := event(0)
	e.EventName = "a\x00b\xff\xfe\xffc"
	e.UserIdentity.UserName = "\x00\xed\xa0\x80"
	e.UserAgent = "<script>\u2028\xc3"
	e.RequestParameters = map[string]any{"blob": strings.Repeat("x", 1<<20)}
	e.Resources = []audit.Resource{
		{ARN: "*"},
		{ARN: ""},
		{ARN: "not an arn"},
		{ARN: "arn:aws:ssm:r:1:session/\xff"},
		{ARN: "not an arn"},
	}
	if err := trail.Record(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if err := trail.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := m.records[0]
	if strings.Contains(r.EventName, "\x00") || len(r.Resources) != 2 || len(r.Body) > 4096 {
		t.Errorf("%q, %d resources, %d bytes", r.EventName, len(r.Resources), len(r.Body))
	}
}

func TestLookupPages(t *testing.T) {
	t.Parallel()
	_, trail, _, _ := recorded(t, 7)
	var names []string
	q := audit.Query{Limit: 3}
	for pages := 1; ; pages++ {
		events, next, err := trail.Lookup(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			names = append(names, e.EventName)
		}
		if next == 0 {
			if pages != 3 {
				t.Errorf("%d pages", pages)
			}
			break
		}
		q.Before = next
	}
	if d := cmp.Diff([]string{"Event6", "Event5", "Event4", "Event3", "Event2", "Event1", "Event0"}, names); d != "" {
		t.Error(d)
	}
}

func TestCloudTrail(t *testing.T) {
	t.Parallel()
	issued := time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		p    *sekisho.Principal
		want string
		who  string
	}{
		"user": {&sekisho.Principal{Type: sekisho.PrincipalUser, Account: "123456789012",
			ARN: "arn:aws:iam::123456789012:user/alice", UserID: "AIDA1", UserName: "alice", AccessKeyID: "AKIA1"},
			`{"type":"IAMUser","principalId":"AIDA1","arn":"arn:aws:iam::123456789012:user/alice",` +
				`"accountId":"123456789012","accessKeyId":"AKIA1","userName":"alice"}`, "alice"},
		"user with MFA": {&sekisho.Principal{Type: sekisho.PrincipalUser, Account: "1", ARN: "a", UserID: "AIDA1",
			UserName: "alice", AccessKeyID: "ASIA1", TokenIssueTime: issued, MFATime: issued},
			`{"type":"IAMUser","principalId":"AIDA1","arn":"a","accountId":"1","accessKeyId":"ASIA1","userName":"alice",` +
				`"sessionContext":{"attributes":{"creationDate":"2026-11-23T11:00:00Z","mfaAuthenticated":"true"}}}`, "alice"},
		"assumed role": {&sekisho.Principal{Type: sekisho.PrincipalAssumedRole, Account: "1",
			ARN: "arn:aws:sts::1:assumed-role/ops/bob", PolicyARN: "arn:aws:iam::1:role/x/ops", UserID: "AROA1:bob",
			RoleName: "ops", RoleSessionName: "bob", AccessKeyID: "ASIA1", TokenIssueTime: issued},
			`{"type":"AssumedRole","principalId":"AROA1:bob","arn":"arn:aws:sts::1:assumed-role/ops/bob","accountId":"1",` +
				`"accessKeyId":"ASIA1","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROA1",` +
				`"arn":"arn:aws:iam::1:role/x/ops","accountId":"1","userName":"ops"},` +
				`"attributes":{"creationDate":"2026-11-23T11:00:00Z","mfaAuthenticated":"false"}}}`, "bob"},
		"root": {&sekisho.Principal{Type: sekisho.PrincipalRoot, Account: "1", ARN: "arn:aws:iam::1:root", UserID: "1",
			AccessKeyID: "AKIA1"},
			`{"type":"Root","principalId":"1","arn":"arn:aws:iam::1:root","accountId":"1","accessKeyId":"AKIA1"}`, "root"},
		"federated": {&sekisho.Principal{Type: sekisho.PrincipalFederatedUser, Account: "1",
			ARN: "arn:aws:sts::1:federated-user/f", UserID: "1:f", RoleSessionName: "f", AccessKeyID: "ASIA1",
			TokenIssueTime: issued},
			`{"type":"FederatedUser","principalId":"1:f","arn":"arn:aws:sts::1:federated-user/f","accountId":"1",` +
				`"accessKeyId":"ASIA1","sessionContext":{"attributes":{"creationDate":"2026-11-23T11:00:00Z",` +
				`"mfaAuthenticated":"false"}}}`, "f"},
		"nobody": {nil, `{"type":"AWSAccount","accountId":"ANONYMOUS_PRINCIPAL"}`, ""},
		"a node with its key": {&sekisho.Principal{Type: sekisho.PrincipalAnonymous, Account: "1",
			ARN: "arn:aws:ssm:r:1:managed-instance/mi-0", Node: "mi-0"},
			`{"type":"Unknown","principalId":"mi-0","arn":"arn:aws:ssm:r:1:managed-instance/mi-0","accountId":"1"}`, "mi-0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := event(0)
			e.UserIdentity = audit.IdentityOf(c.p)
			if got := e.UserIdentity.Name(); got != c.who {
				t.Errorf("name %q, want %q", got, c.who)
			}
			b, err := e.CloudTrail("123456789012")
			if err != nil {
				t.Fatal(err)
			}
			var got struct{ UserIdentity json.RawMessage }
			if err := json.Unmarshal(b, &got); err != nil {
				t.Fatal(err)
			}
			if string(got.UserIdentity) != c.want {
				t.Errorf("got  %s\nwant %s", got.UserIdentity, c.want)
			}
		})
	}
	t.Run("complete", func(t *testing.T) {
		t.Parallel()
		m := &memory{}
		trail := audit.New(m, audit.Config{Signer: newKey(t)})
		if err := trail.Record(t.Context(), audit.Event{
			ID: "11111111-2222-4333-8444-555555555555", Time: when, EventSource: "ssm.amazonaws.com", EventName: "StartSession",
			Region:   "eu-west-1",
			SourceIP: "192.0.2.1", UserAgent: "aws-cli/2", RequestID: "req-1",
			UserIdentity:      audit.Identity{Type: "IAMUser", UserName: "alice"},
			RequestParameters: map[string]any{"target": "mi-0"},
			ResponseElements:  map[string]any{"sessionId": "alice-0", "tokenValue": "t"},
			Resources:         []audit.Resource{{ARN: "arn:aws:ssm:eu-west-1:1:managed-instance/mi-0"}},
			Reason:            "statement 2 of p",
			SessionID:         "alice-0",
			ErrorCode:         "AccessDenied", ErrorMessage: "no",
		}); err != nil {
			t.Fatal(err)
		}
		events, _, err := trail.Lookup(t.Context(), audit.Query{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		got, err := events[0].CloudTrail("123456789012")
		if err != nil {
			t.Fatal(err)
		}
		const want = `{"eventVersion":"1.08","userIdentity":{"type":"IAMUser","userName":"alice"},` +
			`"eventTime":"2026-11-23T12:00:00Z",` +
			`"eventSource":"ssm.amazonaws.com","eventName":"StartSession","awsRegion":"eu-west-1",` +
			`"sourceIPAddress":"192.0.2.1","userAgent":"aws-cli/2",` +
			`"errorCode":"AccessDenied","errorMessage":"no","requestParameters":{"target":"mi-0"},` +
			`"responseElements":{"sessionId":"alice-0","tokenValue":"Value hidden due to security reasons."},` +
			`"additionalEventData":{"sessionId":"alice-0"},` +
			`"requestID":"req-1","eventID":"11111111-2222-4333-8444-555555555555","readOnly":false,` +
			`"resources":[{"ARN":"arn:aws:ssm:eu-west-1:1:managed-instance/mi-0","accountId":"1",` +
			`"type":"AWS::SSM::ManagedInstance"}],` +
			`"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"123456789012","eventCategory":"Management"}`
		if string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		with, err := events[0].CloudTrailWithReason("123456789012")
		if err != nil || !bytes.Contains(with, []byte("statement 2 of p")) {
			t.Errorf("got %s, %v", with, err)
		}
	})
}

func TestResourceNames(t *testing.T) {
	t.Parallel()
	for arn, want := range map[string]string{
		"arn:aws:ssm:r:1:managed-instance/mi-0": "mi-0",
		"arn:aws:iam::1:user/path/alice":        "alice",
		"arn:aws:s3:::bucket/a/key":             "bucket/a/key",
		"arn:aws:logs:r:1:log-group:name":       "name",
		"odd":                                   "odd",
	} {
		if got := (audit.Resource{ARN: arn}).Name(); got != want {
			t.Errorf("%s: got %q", arn, got)
		}
	}
}

// FuzzRecord records arbitrary strings: nothing may panic, break the chain or
// store a secret.
func FuzzRecord(f *testing.F) {
	f.Add(
		"StartSession",
		"alice",
		"arn:aws:ssm:r:1:session/alice-0",
		`{"a":{"Password":"swordfish"},"b":[1e400,{"tokenValue":["swordfish"]}]}`,
	)
	f.Add("\x00\xff", "\xed\xa0\x80", "arn:::::", `[]`)
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	f.Fuzz(func(t *testing.T, name, user, arn, params string) {
		m := &memory{}
		trail := audit.New(m, audit.Config{Signer: key, HeadEvery: 1})
		e := audit.Event{
			EventName:    name,
			UserIdentity: audit.Identity{Type: audit.IdentityUser, UserName: user},
			Resources:    []audit.Resource{{ARN: arn}},
		}
		if json.Valid([]byte(params)) {
			e.RequestParameters = json.RawMessage(params)
		}
		for range 2 {
			if err := trail.Record(context.Background(), e); err != nil {
				t.Fatal(err)
			}
		}
		if err := trail.Verify(context.Background()); err != nil {
			t.Fatal(err)
		}
		events, _, err := trail.Lookup(context.Background(), audit.Query{Limit: 2})
		if err != nil || len(events) != 2 {
			t.Fatal(events, err)
		}
		if _, err := events[0].CloudTrail("1"); err != nil {
			t.Fatal(err)
		}
	})
}

// TestHeadsAreClose: at most 64 records are without a head, in batches of any
// size, and missing heads are a finding.
func TestHeadsAreClose(t *testing.T) {
	t.Parallel()
	m := &memory{}
	key := newKey(t)
	trail := audit.New(m, audit.Config{Signer: key})
	for i := range 1000 {
		if err := trail.Record(t.Context(), event(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := trail.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	pub := key.Public().(ed25519.PublicKey)
	check := func() []*audit.BrokenError {
		t.Helper()
		problems, err := audit.Check(t.Context(), m, pub, nil)
		if err != nil {
			t.Fatal(err)
		}
		return problems
	}
	if p := check(); len(p) > 0 {
		t.Fatalf("untouched: %v", p)
	}
	heads := slices.Clone(m.heads)
	for i := range heads {
		m.heads = slices.Delete(slices.Clone(heads), i, i+1)
		p := check()
		if i == len(heads)-1 { // fewer than 64 records, and of less than a second
			continue
		}
		if len(p) != 1 || p[0].Kind != audit.Unsigned || i > 0 && p[0].Seq != heads[i-1].Seq+1 {
			t.Errorf("without head %d: %v", i, p)
		}
	}
	m.heads = nil
	if p := check(); len(p) != 1 || p[0].Kind != audit.Unsigned || p[0].Seq != 1 {
		t.Errorf("without heads: %v", p)
	}
}

// TestLongCallsDoNotLookLikeMissingHeads: events have the times at which their calls
// began, so that times of neighbours may be far apart, in any order and over a
// restart, without a signature in between. Only the last ones need one.
func TestLongCallsDoNotLookLikeMissingHeads(t *testing.T) {
	t.Parallel()
	m := &memory{}
	key := newKey(t)
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for range 2 {
		trail := audit.New(m, audit.Config{Signer: key})
		for i, after := range []time.Duration{0, 5 * time.Minute, time.Minute, 6 * time.Minute,
			6*time.Minute + 900*time.Millisecond, 7 * time.Minute} {
			e := event(i)
			e.Time = began.Add(after)
			if err := trail.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		began = began.Add(time.Hour)
	}
	if err := audit.New(m, audit.Config{Signer: key}).Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	problems, err := audit.Check(t.Context(), m, key.Public().(ed25519.PublicKey), nil)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// TestUnsignedEnd: the newest records are unsigned for a moment. Later, that is a finding, because
// somebody who removes the last head could rewrite them.
func TestUnsignedEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		key := newKey(t)
		trail := audit.New(m, audit.Config{Signer: key})
		for i := range 5 {
			e := event(i)
			e.Time = time.Now()
			if err := trail.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			if i == 2 {
				if err := trail.Sign(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		check := func() []*audit.BrokenError {
			problems, err := audit.Check(t.Context(), m, key.Public().(ed25519.PublicKey), nil)
			if err != nil {
				t.Fatal(err)
			}
			return problems
		}
		if problems := check(); len(problems) > 0 {
			t.Errorf("at once: %v", problems)
		}
		<-time.After(3 * time.Second)
		if problems := check(); len(problems) != 1 || problems[0].Kind != audit.Unsigned || problems[0].Seq != 4 {
			t.Errorf("later: %v", problems)
		}
	})
}

// TestEveryProblemIsListed: Check continues after a broken record.
func TestEveryProblemIsListed(t *testing.T) {
	t.Parallel()
	m, _, key, _ := recorded(t, 40)
	m.records[5].Body = append(slices.Clone(m.records[5].Body[:len(m.records[5].Body)-1]), ' ', '}')
	m.records = slices.Delete(m.records, 20, 22)
	problems, err := audit.Check(t.Context(), m, key.Public().(ed25519.PublicKey), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range problems {
		got = append(got, fmt.Sprintf("%s %d", p.Kind, p.Seq))
	}
	if d := cmp.Diff([]string{"altered 6", "missing 21"}, got); d != "" {
		t.Errorf("%s: %v", d, problems)
	}
}
