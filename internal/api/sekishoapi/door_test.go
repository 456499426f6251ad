package sekishoapi_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	root "sekisho"
	"sekisho/internal/activity/audit/audittest"
	"sekisho/internal/api"
	"sekisho/internal/api/sekishoapi"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
	"sekisho/internal/session/participants"
	"sekisho/internal/session/record"
	"sekisho/internal/session/record/recordtest"
	"sekisho/internal/session/share"
	"sekisho/internal/store/sqlstore"
	"sekisho/internal/wire/sigv4"
)

const (
	account = "123456789012"
	region  = "eu-west-1"
	alice   = root.SessionID("alice-abcdefghijklmnopqrstuvwxyz")
	bob     = root.SessionID("bob-abcdefghijklmnopqrstuvwxyz")
	session = "arn:aws:ssm:eu-west-1:123456789012:session/"
)

// callers gives each access key the policy statements of its name.
type callers map[string]string

func (c callers) Credential(_ context.Context, key, _ string) (string, *root.Principal, error) {
	return "secret", &root.Principal{
		Type: root.PrincipalUser, Account: account, UserName: key, UserID: "AIDA" + strings.ToUpper(key),
		ARN: "arn:aws:iam::" + account + ":user/" + key,
	}, nil
}

func (callers) TouchKey(string, string, string, time.Time) {}

func (c callers) Policies(_ context.Context, p *root.Principal) (*policy.Set, error) {
	doc, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[` + c[p.UserName] + `]}`))
	if err != nil {
		return nil, err
	}
	return policy.Compile(policy.Policies{Identity: []*policy.Document{doc}}), nil
}

func allow(action, resource string) string {
	return fmt.Sprintf(`{"Effect":"Allow","Action":%q,"Resource":%q}`, action, resource)
}

type sessions map[root.SessionID]*root.Session

func (s sessions) Session(_ context.Context, id root.SessionID) (*root.Session, error) {
	if s[id] == nil {
		return nil, root.Errorf(root.CodeNotFound, "no session %s", id)
	}
	return s[id], nil
}

type trail = audittest.Trail

// fixture is a door over a store with a sealed recording of alice's session.
type fixture struct {
	dir   string
	rec   *record.Recorder
	keys  callers
	trail trail
	srv   *api.Server

	present *present
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{dir: t.TempDir(), present: &present{Registry: participants.New(nil)}, keys: callers{
		"admin":   allow("*", "*"),
		"alice":   allow("sekisho:*", session+"${aws:username}-*"),
		"byid":    allow("sekisho:*", session+"${aws:userid}-*"),
		"reader":  allow("sekisho:GetSessionRecording", "*"),
		"nobody":  allow("ssm:*", "*"),
		"refused": allow("*", "*") + `,{"Effect":"Deny","Action":"*","Resource":"` + session + `AIDABYID-*"}`,
	}}
	var err error
	f.rec, err = record.Open(
		f.dir,
		ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)),
		record.Options{Sealer: recordtest.Sealer{}},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.rec.Close() })
	rec := f.start(t, alice)
	for range 50 {
		if err := rec.Output([]byte("hello \xff\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := rec.Seal(record.Exit{Reason: "done"}); err != nil {
		t.Fatal(err)
	}
	f.srv = api.New(api.Config{
		Doors: []*api.Door{sekishoapi.New(sekishoapi.Config{
			Recorder: f.rec, AuditTrail: noTrail{},
			Storage: func() (*sekishoapi.RecordingStorage, error) {
				return &sekishoapi.RecordingStorage{State: sekishoapi.StorageWorking, Recordings: 7}, nil
			},
			Authorizer: authz.New(f.keys), Region: region, Account: account,
			Sessions: sessions{
				alice: {ID: alice, OwnerUserID: "AIDAALICE", Target: "mi-0123456789abcdef0"},
				bob: {
					ID: bob, OwnerUserID: "AIDABYID", Target: "mi-0123456789abcdef0", Status: root.SessionConnected,
					Recording: root.RecordingServer,
				},
			},
			Participants: f.present,
			Links:        share.New(linkStore(t), nil),
		})},
		Credentials: f.keys, Authorizer: authz.New(f.keys), Trail: &f.trail,
		Account: account, Region: region, Log: slog.New(slog.DiscardHandler),
	})
	return f
}

// linkStore returns an empty store of links.
func linkStore(t *testing.T) share.Store {
	t.Helper()
	db, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db.Links
}

func (f *fixture) start(t *testing.T, id root.SessionID) *record.Recording {
	t.Helper()
	rec, err := f.rec.Start(record.Header{SessionID: id, Node: "mi-0123456789abcdef0", Start: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// call makes a signed call and decodes the response into out.
func (f *fixture) call(t *testing.T, key, operation, body string, out any) (status int, code string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "https://h.example/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "Sekisho."+operation)
	sigv4.Sign(
		r,
		sigv4.Credentials{AccessKeyID: key, SecretAccessKey: "secret"},
		region,
		"sekisho",
		time.Now(),
		sigv4.HashBody([]byte(body)),
	)
	w := httptest.NewRecorder()
	f.srv.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		return w.Code, w.Header().Get("X-Amzn-Errortype")
	}
	if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
		t.Fatal(err)
	}
	return w.Code, ""
}

type page struct {
	SessionID              string `json:"SessionId"`
	Data                   []byte
	NextOffset, TotalBytes int64
	Complete, Sealed, Live bool
	Seal                   json.RawMessage
}

func TestPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var got []byte
	var pages int
	var last page
	for !last.Complete {
		var p page
		body := fmt.Sprintf(`{"SessionId":%q,"StartOffset":%d,"MaxBytes":100}`, alice, last.NextOffset)
		if status, code := f.call(t, "reader", "GetSessionRecording", body, &p); status != http.StatusOK {
			t.Fatal(status, code)
		}
		if len(p.Data) == 0 || len(p.Data) > 100 || !p.Sealed || p.Live ||
			p.NextOffset != last.NextOffset+int64(len(p.Data)) {
			t.Fatalf("page %d: %+v", pages, p)
		}
		got = append(got, p.Data...)
		last = p
		pages++
	}
	want, err := filepath.Glob(f.dir + "/recordings/*/*/" + string(alice))
	if err != nil || len(want) != 1 {
		t.Fatal(want, err)
	}
	var whole bytes.Buffer
	if err := f.rec.WriteCast(&whole, alice); err != nil {
		t.Fatal(err)
	}
	castBytes := whole.Bytes()
	if !bytes.Equal(got, castBytes) || pages < 10 || last.TotalBytes != int64(len(castBytes)) {
		t.Errorf("%d pages with %d bytes of %d", pages, len(got), len(castBytes))
	}
	seal, err := os.ReadFile(want[0] + "/" + record.SealFile)
	if err != nil {
		t.Fatal(err)
	}
	// The signature covers the bytes of the seal, so they must be unchanged.
	if string(last.Seal)+"\n" != string(seal) {
		t.Errorf("seal %s, want %s", last.Seal, seal)
	}
	var all page
	if f.call(t, "reader", "GetSessionRecording", fmt.Sprintf(`{"SessionId":%q}`, alice), &all); !all.Complete ||
		!bytes.Equal(all.Data, castBytes) {
		t.Error("the default page is not everything")
	}
	if e := f.trail.Events()[0]; e.EventName != "GetSessionRecording" || !e.ReadOnly ||
		e.Resources[0].ARN != session+string(alice) {
		t.Errorf("audit event %+v", e)
	}
}

func TestLivePages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	rec := f.start(t, bob)
	var first, second, third page
	f.call(t, "admin", "GetSessionRecording", fmt.Sprintf(`{"SessionId":%q}`, bob), &first)
	if !first.Live || first.Complete || first.Sealed || first.Seal != nil || first.NextOffset != first.TotalBytes {
		t.Errorf("%+v", first)
	}
	from := fmt.Sprintf(`{"SessionId":%q,"StartOffset":%d}`, bob, first.NextOffset)
	f.call(t, "admin", "GetSessionRecording", from, &second)
	if len(second.Data) != 0 || second.NextOffset != first.NextOffset {
		t.Errorf("caught up: %+v", second)
	}
	if err := rec.Output([]byte("news")); err != nil {
		t.Fatal(err)
	}
	f.call(t, "admin", "GetSessionRecording", from, &third)
	if !strings.HasSuffix(string(third.Data), "\"news\"]\n") {
		t.Errorf("got %q", third.Data)
	}
	var v struct {
		Verified, Sealed, Live bool
		Problem                string
	}
	f.call(t, "admin", "VerifySessionRecording", fmt.Sprintf(`{"SessionId":%q}`, bob), &v)
	if v.Verified || v.Sealed || !v.Live || !strings.Contains(v.Problem, "not sealed yet") {
		t.Errorf("%+v", v)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	type answer struct {
		Verified, Sealed, Live  bool
		Problem, KeyFingerprint string
		Seal                    record.Seal
	}
	var good, bad answer
	body := fmt.Sprintf(`{"SessionId":%q}`, alice)
	if status, code := f.call(t, "alice", "VerifySessionRecording", body, &good); status != http.StatusOK {
		t.Fatal(status, code)
	}
	if !good.Verified || !good.Sealed || good.Problem != "" || good.KeyFingerprint != f.rec.Key() {
		t.Errorf("%+v", good)
	}
	names, err := filepath.Glob(f.dir + "/recordings/*/*/" + string(alice) + "/" + record.MainFile)
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(names[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	f.call(t, "alice", "VerifySessionRecording", body, &bad)
	if bad.Verified || !bad.Sealed || !strings.HasPrefix(bad.Problem, "session.rec: bytes ") {
		t.Errorf("%+v", bad)
	}
	if err := os.Remove(names[0]); err != nil {
		t.Fatal(err)
	}
	var gone answer
	f.call(t, "alice", "VerifySessionRecording", body, &gone)
	if gone.Verified || gone.Problem != "session.rec: it is missing" {
		t.Errorf("%+v", gone)
	}
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if _, err := f.start(t, bob).Seal(record.Exit{}); err != nil {
		t.Fatal(err)
	}
	const get, verify = "GetSessionRecording", "VerifySessionRecording"
	const denied = "AccessDeniedException"
	for _, c := range []struct{ key, operation, id, code string }{
		{"admin", get, string(alice), ""},
		{"admin", get, "alice-nosuchsession", "ResourceNotFoundException"},
		{"admin", verify, "alice-nosuchsession", "ResourceNotFoundException"},
		{"admin", get, "", "ValidationException"},
		{"admin", verify, strings.Repeat("a", 97), "ValidationException"},
		{"admin", get, "../../ledger.ndjson", "ValidationException"},
		{"admin", verify, "..", "ValidationException"},
		{"reader", get, string(bob), ""},
		{"reader", verify, string(bob), denied},
		{"nobody", get, string(alice), denied},
		{"nobody", get, "alice-nosuchsession", denied},
		{"nobody", get, "../../ledger.ndjson", denied},
		{"alice", get, string(alice), ""},
		{"alice", verify, string(alice), ""},
		{"alice", get, string(bob), denied},
		{"byid", get, string(bob), ""},
		{"byid", get, string(alice), denied},
		{"refused", get, string(alice), ""},
		{"refused", get, string(bob), denied},
		{"refused", verify, string(bob), denied},
	} {
		var out struct{ Verified bool }
		body := fmt.Sprintf(`{"SessionId":%q}`, c.id)
		if status, code := f.call(t, c.key, c.operation, body, &out); code != c.code ||
			(code == "") != (status == http.StatusOK) {
			t.Errorf("%s %s %q: %d %q, want %q", c.key, c.operation, c.id, status, code, c.code)
		}
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, in := range []string{`"StartOffset":-1`, `"StartOffset":1000000`, `"StartOffset":9007199254740993`,
		`"MaxBytes":-1`, `"MaxBytes":1048577`} {
		var p page
		if _, code := f.call(t, "admin", "GetSessionRecording", fmt.Sprintf(`{"SessionId":%q,%s}`, alice, in),
			&p); code != "ValidationException" {
			t.Errorf("%s: %q", in, code)
		}
	}
}

func TestGetIntegrity(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var out struct {
		Checked  bool
		Findings []struct{ Kind string }
	}
	if status, code := f.call(t, "admin", "GetIntegrity", "{}", &out); status != http.StatusOK || out.Checked ||
		out.Findings == nil {
		t.Errorf("%d %s %+v", status, code, out)
	}
	if _, code := f.call(t, "reader", "GetIntegrity", "{}", &out); code != "AccessDeniedException" {
		t.Errorf("got %q", code)
	}
}

func TestGetRecordingStorage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var out struct {
		State      string
		Recordings int64
	}
	if status, code := f.call(t, "admin", "GetRecordingStorage", "{}", &out); status != http.StatusOK ||
		out.State != sekishoapi.StorageWorking || out.Recordings != 7 {
		t.Errorf("%d %s %+v", status, code, out)
	}
	if _, code := f.call(t, "reader", "GetRecordingStorage", "{}", &out); code != "AccessDeniedException" {
		t.Errorf("got %q", code)
	}
}

func TestHoldAndRelease(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var out struct{ Held bool }
	body := fmt.Sprintf(`{"SessionId":%q,"Reason":"case 7"}`, alice)
	if _, code := f.call(t, "reader", "HoldSessionRecording", body, &out); code != "AccessDeniedException" {
		t.Errorf("got %q", code)
	}
	if _, code := f.call(t, "admin", "HoldSessionRecording", fmt.Sprintf(`{"SessionId":%q}`, bob),
		&out); code != "ResourceNotFoundException" {
		t.Errorf("no such recording: %q", code)
	}
	if status, code := f.call(t, "alice", "HoldSessionRecording", body, &out); status != http.StatusOK || !out.Held ||
		!f.rec.Held(alice) {
		t.Errorf("%d %s %+v", status, code, out)
	}
	if status, code := f.call(t, "alice", "ReleaseSessionRecording", fmt.Sprintf(`{"SessionId":%q}`, alice),
		&out); status != http.StatusOK ||
		f.rec.Held(alice) {
		t.Errorf("%d %s", status, code)
	}
}

// TestSearch: a search finds visible text, in recordings that the caller may
// read and in no others.
func TestSearch(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys["searcher"] = allow("sekisho:SearchSessionRecordings", "*")
	f.keys["alice"] += "," + allow("sekisho:SearchSessionRecordings", "*")
	rec := f.start(t, bob)
	if err := rec.Output([]byte("Hello from bob\r\nsecond line")); err != nil {
		t.Fatal(err)
	}
	type answer struct {
		Results []struct {
			SessionID string `json:"SessionId"`
			Text      string
		}
		NextToken string
	}
	for _, c := range []struct {
		key, body string
		sessions  map[string]int
	}{
		{"admin", `{"Text":"hello"}`, map[string]int{string(alice): 50, string(bob): 1}},
		{"alice", `{"Text":"hello"}`, map[string]int{string(alice): 50}},
		{"searcher", `{"Text":"hello"}`, map[string]int{}},
		{"admin", `{"Text":"second LINE"}`, map[string]int{string(bob): 1}},
		{"admin", `{"Text":"hello","Target":"mi-other"}`, map[string]int{}},
		{"admin", `{"Text":"hello","Before":"2020-01-01T00:00:00Z"}`, map[string]int{}},
	} {
		got := map[string]int{}
		token := ""
		for pages := 0; ; pages++ {
			var out answer
			body := strings.TrimSuffix(c.body, "}") + fmt.Sprintf(`,"MaxResults":1,"NextToken":%q}`, token)
			if status, code := f.call(t, c.key, "SearchSessionRecordings", body, &out); status != http.StatusOK ||
				pages > 10 {
				t.Fatalf("%s %s: %d %s", c.key, body, status, code)
			}
			for _, r := range out.Results {
				got[r.SessionID]++
			}
			if token = out.NextToken; token == "" {
				break
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(c.sessions) {
			t.Errorf("%s %s: %v, want %v", c.key, c.body, got, c.sessions)
		}
	}
	var out answer
	for _, body := range []string{`{"Text":""}`, `{"Text":"x","After":"yesterday"}`, `{"Text":"x","MaxResults":9999}`} {
		if _, code := f.call(t, "admin", "SearchSessionRecordings", body, &out); code != "ValidationException" {
			t.Errorf("%s: %q", body, code)
		}
	}
	if _, code := f.call(t, "reader", "SearchSessionRecordings", `{"Text":"x"}`, &out); code != "AccessDeniedException" {
		t.Errorf("got %q", code)
	}
}
