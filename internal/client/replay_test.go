package client_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sekisho/internal/client"
)

const recording = `{"version":3,"term":{"cols":80,"rows":24},"idle_time_limit":60}
[1.0,"o","one "]
[0.5,"i","not shown"]
[30.0,"o","two\u001b]52;c;eA==\u0007 "]
[0.5,"r","100x30"]
[0.5,"o","three"]
`

// watch records when each piece is shown.
type watch struct {
	began time.Time
	shown []string
}

func (w *watch) Write(p []byte) (int, error) {
	w.shown = append(w.shown, fmt.Sprintf("%v %q", time.Since(w.began), p))
	return len(p), nil
}

func TestPlayTiming(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opt  client.ReplayOptions
		want []string
	}{
		"original speed": {client.ReplayOptions{}, []string{`1s "one "`, `31.5s "two "`, `32.5s "three"`}},
		"twice":          {client.ReplayOptions{Speed: 2}, []string{`500ms "one "`, `15.75s "two "`, `16.25s "three"`}},
		"idle limit": {client.ReplayOptions{IdleLimit: 2 * time.Second},
			[]string{`1s "one "`, `3.5s "two "`, `4.5s "three"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &watch{began: time.Now()}
				if err := client.Play(t.Context(), strings.NewReader(recording), tc.opt, w); err != nil {
					t.Fatal(err)
				}
				if len(w.shown) != 4 {
					t.Fatalf("shown: %q", w.shown)
				}
				for i, want := range tc.want {
					if w.shown[i] != want {
						t.Errorf("shown %s, want %s", w.shown[i], want)
					}
				}
				if last := w.shown[3]; !strings.Contains(last, `\x1b[?25h`) || !strings.Contains(last, `\x1b[0m`) {
					t.Errorf("the terminal is left as it is: %s", last)
				}
			})
		})
	}
}

// TestPlayMarkers: markers are reported, and never written to the terminal.
func TestPlayMarkers(t *testing.T) {
	t.Parallel()
	const marked = `{"version":3,"term":{"cols":80,"rows":24}}
[0,"m","uploaded a"]
[0,"o","x"]
`
	var got []string
	var out bytes.Buffer
	opt := client.ReplayOptions{Marker: func(_ time.Duration, label string) { got = append(got, label) }}
	if err := client.Play(t.Context(), strings.NewReader(marked), opt, &out); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0] != "uploaded a" || strings.Contains(out.String(), "uploaded") {
		t.Errorf("markers %q, output %q", got, out.String())
	}
}

func TestPlayStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		w := &watch{began: time.Now()}
		err := client.Play(ctx, strings.NewReader(recording), client.ReplayOptions{}, w)
		if !errors.Is(err, context.DeadlineExceeded) || len(w.shown) != 2 || time.Since(w.began) != 5*time.Second {
			t.Errorf("%v, shown %q", err, w.shown)
		}
	})
	for _, bad := range []string{"", "{}", "{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}\n[x"} {
		if err := client.Play(t.Context(), strings.NewReader(bad), client.ReplayOptions{}, &bytes.Buffer{}); err == nil {
			t.Errorf("the malformed recording %q was played", bad)
		}
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	cast := strings.NewReplacer("1.0", "0.001", "30.0", "0.001", "0.5", "0.001").Replace(recording)
	for name, tc := range map[string]struct {
		sealed, live bool // live: it is sealed after the last page was requested once
		want         string
	}{
		"sealed":   {sealed: true},
		"unsealed": {want: "not sealed"},
		"live":     {live: true, sealed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			polls := 0
			s.override("GetSessionRecording", func(in map[string]any) any {
				if in["SessionId"] != "alice-abc" {
					t.Errorf("asked for %v", in)
				}
				from := int(in["StartOffset"].(float64))
				to := min(from+50, len(cast)) // pages cut lines
				if from == len(cast) {
					polls++
				}
				over := to == len(cast) && (!tc.live || polls > 0)
				return map[string]any{
					"Data": base64.StdEncoding.EncodeToString(
						[]byte(cast[from:to]),
					), "NextOffset": to, "TotalBytes": len(cast),
					"Complete": over && tc.sealed, "Sealed": over && tc.sealed, "Live": tc.live && !over,
				}
			})
			c := client.New(s.config())
			defer c.Close()
			var out, errOut bytes.Buffer
			if err := c.Replay(t.Context(), "alice-abc", client.ReplayOptions{FromStart: true}, &out, &errOut); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(out.String(), "one two three") || (polls > 0) != tc.live {
				t.Errorf("shown %q after %d polls", out.String(), polls)
			}
			if got := errOut.String(); (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("stderr %q", got)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		s.override("GetSessionRecording", func(map[string]any) any {
			return refusal{400, "ResourceNotFoundException", "No recording."}
		})
		c := client.New(s.config())
		defer c.Close()
		err := c.Replay(t.Context(), "alice-abc", client.ReplayOptions{}, &bytes.Buffer{}, &bytes.Buffer{})
		e, ok := errors.AsType[*client.APIError](err)
		if !ok || e.Code != "ResourceNotFoundException" || e.Message != "No recording." {
			t.Errorf("got %v", err)
		}
	})
	t.Run("pages that never end", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		s.override("GetSessionRecording", func(map[string]any) any {
			return map[string]any{"Data": "", "NextOffset": 0, "TotalBytes": 10, "Live": true}
		})
		c := client.New(s.config())
		defer c.Close()
		if err := c.Replay(t.Context(), "alice-abc", client.ReplayOptions{}, &bytes.Buffer{}, &bytes.Buffer{}); err == nil {
			t.Error("Replay returned no error for an empty page of a live session")
		}
	})
}
