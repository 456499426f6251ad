package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sekisho/e2e/harness"
)

// delivery is a request that a webhook received.
type delivery struct {
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`

	event struct {
		Type   string `json:"detail-type"`
		Detail struct {
			Session string `json:"session-id"`
			Owner   string
			Reason  string
		}
	}
}

// hook is a receiver of webhooks that keeps its port while it is "down".
type hook struct {
	url string

	mu      sync.Mutex
	down    bool
	turned  int // it was down
	all     []delivery
	trouble error
}

func openHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	h.url = srv.URL + "/hook"
	return h
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down {
		h.turned++
		panic(http.ErrAbortHandler) // the connection breaks without a response
	}
	d := delivery{Headers: map[string]string{}, Body: string(body)}
	for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
		d.Headers[name] = r.Header.Get(name)
	}
	h.trouble = errors.Join(h.trouble, err, json.Unmarshal(body, &d.event))
	h.all = append(h.all, d)
	w.WriteHeader(http.StatusNoContent)
}

func (h *hook) setDown(down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = down
}

func (h *hook) refused() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.turned
}

// of returns the deliveries about a session, without duplicates.
func (h *hook) of(t *testing.T, session string) []delivery {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.trouble != nil {
		t.Fatal(h.trouble)
	}
	seen := map[string]bool{}
	var out []delivery
	for _, d := range h.all {
		if id := d.Headers["webhook-id"]; d.event.Detail.Session == session && !seen[id] {
			seen[id] = true
			out = append(out, d)
		}
	}
	return out
}

// await waits for the events of a session's start and end.
func (h *hook) await(t *testing.T, session string) []delivery {
	t.Helper()
	// A receiver that was down is retried within a minute.
	harness.Eventually(t, 2*awhile, func() error {
		var types []string
		for _, d := range h.of(t, session) {
			types = append(types, d.event.Type)
		}
		if !slices.Equal(types, []string{"Session Started", "Session Ended"}) {
			return fmt.Errorf("of %s came %q", session, types)
		}
		return nil
	})
	return h.of(t, session)
}

// shortSession opens a shell and leaves it.
func shortSession(t *testing.T, s *harness.Server) string {
	t.Helper()
	term, id := startSession(t, s, nil, 24, 80, env(t, s)["SEKISHO_TARGET"])
	term.Send("exit\r")
	term.Expect(soon, "Exiting session")
	return id
}

// TestWebhook: a receiver gets signed events of real sessions as documented. Events that it
// missed while it was down arrive later, even after server restarts.
func TestWebhook(t *testing.T) {
	t.Parallel()
	h := openHook(t)
	s := startServer(t, shared.Programs, t.TempDir(), "--webhook", h.url)
	id := shortSession(t, s)
	got := h.await(t, id)
	if owner := got[0].event.Detail.Owner; !strings.HasSuffix(owner, ":user/admin") {
		t.Errorf("started by %s", owner)
	}
	verifyAsDocumented(t, s, got)

	h.setDown(true)
	before := h.refused()
	away := shortSession(t, s)
	harness.Eventually(t, awhile, func() error {
		if h.refused() == before {
			return errors.New("it has not been tried")
		}
		return nil
	})
	h.setDown(false)
	h.await(t, away)

	for _, how := range []struct {
		name string
		end  func() error
	}{{"stop", s.Stop}, {"kill", s.Kill}} {
		h.setDown(true)
		before := h.refused()
		id := shortSession(t, s)
		// Once the end is listed, it is stored.
		harness.Eventually(t, awhile, func() error {
			r := harness.Do(t, s.Shell(t.Context(), nil, `sekisho events --json --of "$1"`, id))
			if r.Code != 0 || !strings.Contains(r.Stdout, `"Session Ended"`) || h.refused() == before {
				return fmt.Errorf("exit %d, tried %d times\n%s%s", r.Code, h.refused()-before, r.Stdout, r.Stderr)
			}
			return nil
		})
		if err := how.end(); err != nil {
			t.Fatalf("%s: %v", how.name, err)
		}
		h.setDown(false)
		if err := s.Run(); err != nil {
			t.Fatalf("start after %s: %v", how.name, err)
		}
		h.await(t, id)
	}
	harness.Eventually(t, awhile, func() error {
		r := harness.Do(t, s.Shell(t.Context(), nil, `sekisho events --webhooks`))
		if f := strings.Fields(r.Stdout); r.Code != 0 || !strings.Contains(r.Stdout, " Working ") ||
			!slices.Contains(f, "dev") {
			return fmt.Errorf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
		return nil
	})
}

// verifyAsDocumented runs the receiver of the documentation on deliveries: it accepts them,
// and rejects altered or old ones.
func verifyAsDocumented(t *testing.T, s *harness.Server, got []delivery) {
	t.Helper()
	doc, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, ok := strings.Cut(string(doc), "<!-- receiver -->\n```python test=TestWebhook\n")
	code, _, ok2 := strings.Cut(code, "\n```\n")
	if !ok || !ok2 {
		t.Fatal("docs/events.md has no receiver")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "receiver.py"), []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	var cases []delivery
	var want []bool
	add := func(d delivery, genuine bool) { cases, want = append(cases, d), append(want, genuine) }
	for _, d := range got {
		add(d, true)
		altered := d
		altered.Body = strings.Replace(d.Body, "admin", "nobody", 1)
		add(altered, false)
		for name, value := range map[string]string{
			"webhook-id": "another", "webhook-signature": "v1,AAAA",
			"webhook-timestamp": older(t, d.Headers["webhook-timestamp"]),
		} {
			forged := delivery{Headers: map[string]string{}, Body: d.Body}
			for k, v := range d.Headers {
				forged.Headers[k] = v
			}
			forged.Headers[name] = value
			add(forged, false)
		}
	}
	text, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	const script = `cd "$1" && WEBHOOK_SECRETS="whsec_b3RoZXIgc2VjcmV0IG9mIDI0IGJ5dGVzIQ== $SEKISHO_WEBHOOK_SECRET" ` +
		`python3 -c '
import json, sys, receiver
print(json.dumps([receiver.genuine(d["headers"], d["body"].encode()) for d in json.loads(sys.argv[1])]))' "$2"`
	r := harness.Do(t, s.Shell(t.Context(), nil, script, dir, string(text)))
	var have []bool
	if err := json.Unmarshal([]byte(r.Stdout), &have); err != nil || !slices.Equal(have, want) {
		t.Errorf("exit %d, %v\n%s%s\nwant %v", r.Code, err, r.Stdout, r.Stderr, want)
	}
}

// older is a time one hour earlier.
func older(t *testing.T, seconds string) string {
	t.Helper()
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.FormatInt(n-3600, 10)
}
