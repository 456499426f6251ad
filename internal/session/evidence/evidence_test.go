package evidence_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/session/cast"
	"sekisho/internal/session/evidence"
	"sekisho/internal/session/record"
	"sekisho/internal/session/record/recordtest"
)

const (
	alice = sekisho.SessionID("alice-abcdefghijklmnopqrstuvwxyz")
	bob   = sekisho.SessionID("bob-bcdefghijklmnopqrstuvwxyza")
)

// store keeps an audit trail in memory.
type store struct {
	records []audit.Record
	heads   []audit.Head
}

func (s *store) AppendAudit(_ context.Context, b audit.Batch) error {
	s.records = append(s.records, b.Records...)
	s.heads = append(s.heads, b.Heads...)
	return nil
}

func (s *store) AppendAuditAfter(ctx context.Context, build func(last audit.Record) audit.Batch) error {
	last, err := s.LastAudit(ctx)
	if err != nil {
		return err
	}
	return s.AppendAudit(ctx, build(last))
}

func (s *store) AuditIntents(context.Context, int) ([]audit.Intent, error) { return nil, nil }

func (s *store) LastAudit(context.Context) (audit.Record, error) {
	if len(s.records) == 0 {
		return audit.Record{}, nil
	}
	return s.records[len(s.records)-1], nil
}

func (s *store) AuditAfter(_ context.Context, seq int64, limit int) ([]audit.Record, error) {
	return s.records[seq:min(int(seq)+limit, len(s.records))], nil
}

func (s *store) LookupAudit(_ context.Context, q audit.Query) ([]audit.Record, error) {
	for _, r := range slices.Backward(s.records) {
		if !r.Index.Time.After(q.End) {
			return []audit.Record{r}, nil
		}
	}
	return nil, nil
}

func (s *store) AuditHeads(context.Context) ([]audit.Head, error) { return slices.Clone(s.heads), nil }

// fixture is a server's state after a session of alice's.
type fixture struct {
	keys    record.Keys
	rec     *record.Recorder
	trail   *audit.Trail
	store   *store
	key     ed25519.PrivateKey
	witness []record.Witness
}

func newFixture(t *testing.T, output string) *fixture {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{keys: record.KeysOf(pub), key: key, store: &store{}}
	f.trail = audit.New(f.store, audit.Config{Signer: key, HeadEvery: 4})
	if f.rec, err = record.Open(t.TempDir(), key, record.Options{Sealer: recordtest.Sealer{}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.rec.Close() })
	old := time.Now().Add(-time.Hour)
	for i := range 6 {
		f.event(t, audit.Event{Time: old, EventName: fmt.Sprint("Earlier", i)})
	}
	if err := f.trail.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.event(
		t,
		audit.Event{EventName: "StartSession", ResponseElements: map[string]any{"sessionId": bob}, Reason: "another"},
	)
	f.event(t, audit.Event{
		EventName: "StartSession", ResponseElements: map[string]any{"sessionId": alice},
		Reason:       `allowed by statement "Ops" of policy team`,
		UserIdentity: audit.Identity{Type: audit.IdentityUser, UserName: "alice", ARN: "arn:aws:iam::1:user/alice"},
	})
	for _, id := range []sekisho.SessionID{bob, alice} {
		rec, err := f.rec.Start(record.Header{SessionID: id, Node: "mi-0123456789abcdef0", Start: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if err := rec.Marker(output); err != nil {
			t.Fatal(err)
		}
		if err := rec.Output([]byte("shown to " + string(id) + "\r\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := rec.Seal(record.Exit{Reason: "done"}); err != nil {
			t.Fatal(err)
		}
	}
	f.event(t, audit.Event{EventName: "TerminateSession", RequestParameters: map[string]any{"sessionId": alice}})
	if err := f.trail.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.witness = []record.Witness{f.heads(t)}
	return f
}

func (f *fixture) event(t *testing.T, e audit.Event) {
	t.Helper()
	e.EventSource = "ssm.amazonaws.com"
	if err := f.trail.Record(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

// heads are the heads that a witness receives.
func (f *fixture) heads(t *testing.T) record.Witness {
	t.Helper()
	w := record.Witness{Time: time.Now()}
	w.LedgerDigest, w.LedgerLines = f.rec.Head()
	h := f.store.heads[len(f.store.heads)-1]
	w.AuditSeq, w.AuditHash, w.AuditTime, w.AuditSignature = h.Seq, h.Hash, h.Time, h.Signature
	return w
}

func (f *fixture) bundle(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := evidence.Write(t.Context(), &b, f.rec, f.store, alice); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func verify(t *testing.T, b []byte, keys record.Keys, witnesses ...record.Witness) *evidence.Report {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return &evidence.Report{Problems: []string{err.Error()}}
	}
	return evidence.Verify(z, keys, witnesses)
}

func TestBundle(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "begin")
	b := f.bundle(t)
	rep := verify(t, b, f.keys)
	if len(rep.Problems) > 0 || rep.Session != alice || rep.Witnessed || rep.Encrypted {
		t.Fatalf("%+v", rep)
	}
	if d := rep.Decision; d == nil || !strings.Contains(d.Reason, `"Ops"`) ||
		d.Principal != "arn:aws:iam::1:user/alice" {
		t.Errorf("decision %+v", rep.Decision)
	}
	if len(rep.Events) != 2 || rep.Events[0].EventName != "StartSession" ||
		rep.Events[1].EventName != "TerminateSession" {
		t.Errorf("events %+v", rep.Events)
	}
	parts := unzip(t, b)
	if text := string(content(parts, evidence.TranscriptFile)); !strings.Contains(text, "shown to "+string(alice)) {
		t.Errorf("transcript %q", text)
	}
	if bytes.Contains(content(parts, evidence.AuditFile), []byte("Earlier")) {
		t.Error("the bundle has events from long before the session")
	}
	if rep := verify(t, b, f.keys, f.witness...); len(rep.Problems) > 0 || !rep.Witnessed {
		t.Errorf("with a witness: %+v", rep)
	}
}

func TestBundleOfEncryptedSession(t *testing.T) {
	t.Parallel()
	f := newFixture(t, cast.EncryptedMarker)
	if rep := verify(t, f.bundle(t), f.keys); len(rep.Problems) > 0 || !rep.Encrypted {
		t.Errorf("%+v", rep)
	}
}

// TestWitnessDisagrees: a server that rewrote its past signs a bundle that is
// consistent in itself. A witness reveals it.
func TestWitnessDisagrees(t *testing.T) {
	t.Parallel()
	f, other := newFixture(t, "x"), newFixture(t, "y")
	stale := f.witness[0]
	stale.LedgerDigest = other.witness[0].LedgerDigest
	if rep := verify(t, f.bundle(t), f.keys, stale); len(rep.Problems) != 1 || rep.Witnessed ||
		!strings.HasPrefix(rep.Problems[0], evidence.LedgerFile) {
		t.Errorf("ledger: %+v", rep.Problems)
	}
	stale = f.witness[0]
	stale.AuditHash = slices.Clone(stale.AuditHash)
	stale.AuditHash[0] ^= 1
	if rep := verify(t, f.bundle(t), f.keys, stale); len(rep.Problems) != 1 || rep.Witnessed ||
		!strings.HasPrefix(rep.Problems[0], evidence.AuditFile) {
		t.Errorf("audit trail: %+v", rep.Problems)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "x")
	if err := evidence.Write(t.Context(), io.Discard, f.rec, f.store,
		"carol-abcdefghijklmnopqrstuvwxyz"); !sekisho.IsNotFound(
		err,
	) {
		t.Errorf("no such session: %v", err)
	}
	if _, err := f.rec.Start(record.Header{SessionID: "dave-abcdefghijklmnopqrstuvwxyz", Node: "mi-0"}); err != nil {
		t.Fatal(err)
	}
	if err := evidence.Write(t.Context(), io.Discard, f.rec, f.store, "dave-abcdefghijklmnopqrstuvwxyz"); sekisho.CodeOf(
		err,
	) != sekisho.CodeConflict {
		t.Errorf("a running session: %v", err)
	}
}

type part struct {
	name string
	data []byte
}

func unzip(t *testing.T, b []byte) []part {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var parts []part
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part{f.Name, data})
	}
	return parts
}

func content(parts []part, name string) []byte {
	for _, p := range parts {
		if p.name == name {
			return p.data
		}
	}
	return nil
}

func zipped(t *testing.T, parts []part) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, p := range parts {
		w, err := z.Create(p.name)
		if err == nil {
			_, err = w.Write(p.data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestManipulations changes bundles at random. Every change is reported with
// the part that was changed.
func TestManipulations(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEKISHO_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	f, other := newFixture(t, "x"), newFixture(t, "y")
	parts, foreign := unzip(t, f.bundle(t)), unzip(t, other.bundle(t))
	if rep := verify(t, zipped(t, parts), f.keys); len(rep.Problems) > 0 {
		t.Fatalf("untouched: %v", rep.Problems)
	}
	for n := range 2000 {
		changed := slices.Clone(parts)
		i := rnd.IntN(len(parts))
		p := &changed[i]
		p.data = slices.Clone(p.data)
		what := ""
		switch kind := rnd.IntN(7); {
		case kind == 0 && len(p.data) > 0:
			at := rnd.IntN(len(p.data))
			what, p.data[at] = fmt.Sprint("flip at ", at), p.data[at]^byte(1<<rnd.IntN(8))
		case kind == 1 && len(p.data) > 0:
			at := rnd.IntN(len(p.data))
			what, p.data = fmt.Sprint("cut at ", at), p.data[:at]
		case kind == 2:
			what, p.data = "extended", append(p.data, byte(rnd.IntN(256)))
		case kind == 3:
			what, changed = "removed", slices.Delete(changed, i, i+1)
		case kind == 4 && !bytes.Equal(p.data, content(foreign, p.name)):
			what, p.data = "from another server", content(foreign, p.name)
		case kind == 5:
			what, changed = "twice", append(changed, *p)
		case kind == 6:
			name := p.name + ".more"
			what, changed = "added", append(changed, part{name, p.data})
		default:
			continue
		}
		rep := verify(t, zipped(t, changed), f.keys)
		if len(rep.Problems) == 0 {
			t.Fatalf("%d: %s %s is not noticed", n, parts[i].name, what)
		}
		if !slices.ContainsFunc(rep.Problems, func(s string) bool { return strings.HasPrefix(s, parts[i].name) }) {
			t.Fatalf("%d: %s %s is reported as %q", n, parts[i].name, what, rep.Problems)
		}
	}
	if rep := verify(t, zipped(t, parts), other.keys); len(rep.Problems) == 0 {
		t.Error("the bundle passes with another server's key")
	}
}

// TestSignedLies: even if the manifest is signed, its parts are checked
// against each other.
func TestSignedLies(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "x")
	good := unzip(t, f.bundle(t))
	lines := bytes.SplitAfter(content(good, evidence.AuditFile), []byte("\n"))
	ledger := bytes.SplitAfter(content(good, evidence.LedgerFile), []byte("\n"))
	for name, c := range map[string]struct{ file, data, problem string }{
		"transcript":  {evidence.TranscriptFile, "harmless\n", evidence.TranscriptFile},
		"key":         {evidence.KeyFile, strings.Repeat("k", 32), "recording"},
		"decision":    {evidence.DecisionFile, `{"reason":"allowed by me"}`, evidence.DecisionFile},
		"no decision": {evidence.DecisionFile, "null", evidence.DecisionFile},
		"event removed": {evidence.AuditFile, string(bytes.Join(append(lines[:1:1], lines[2:]...), nil)),
			evidence.AuditFile},
		"end of trail cut":    {evidence.AuditFile, string(lines[0]), evidence.AuditFile},
		"no heads":            {evidence.HeadsFile, "{}", evidence.AuditFile},
		"ledger line removed": {evidence.LedgerFile, string(ledger[0]), "ledger"},
		"recording of bob":    {record.SealFile, "{}\n", "recording"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parts := slices.Clone(good)
			for i := range parts {
				if parts[i].name == c.file {
					parts[i].data = []byte(c.data)
				}
			}
			rep := verify(t, zipped(t, resign(t, f, parts)), f.keys)
			if !slices.ContainsFunc(rep.Problems, func(s string) bool { return strings.HasPrefix(s, c.problem) }) {
				t.Errorf("reported as %q", rep.Problems)
			}
		})
	}
}

// resign creates a new manifest for parts.
func resign(t *testing.T, f *fixture, parts []part) []part {
	t.Helper()
	m := record.Manifest{Format: evidence.Format, Session: alice, Made: time.Now().UTC()}
	out := slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return p.name == evidence.ManifestFile })
	for _, p := range out {
		sum := sha256.Sum256(p.data)
		m.Files = append(
			m.Files,
			record.ManifestFile{Name: p.name, Size: int64(len(p.data)), SHA256: hex.EncodeToString(sum[:])},
		)
	}
	line, err := f.rec.SignManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	return append(out, part{evidence.ManifestFile, line})
}
