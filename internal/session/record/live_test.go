package record_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sekisho"
	"sekisho/internal/session/cast"
	"sekisho/internal/session/record"
)

// TestPageFromNow: a user who opens a running session sees the current screen,
// and then all later output exactly once.
func TestPageFromNow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	rec := start(t, r, alice)
	ok(t, rec.Resize(20, 5))
	for i := range 20_000 {
		ok(t, rec.Output(fmt.Appendf(nil, "line %d\r\n", i)))
	}
	ok(t, rec.Resize(30, 4))
	page, next, err := r.PageFrom(t.Context(), alice, record.Now, 1<<20, 0)
	ok(t, err)
	if !page.Live || len(page.Data) > 4<<10 {
		t.Errorf("live %v, %d bytes", page.Live, len(page.Data))
	}
	all := bytes.Clone(page.Data)
	// The first half of a rune, and the rest with the next page.
	for _, out := range []string{"hello \xe9", "\x96\xa2\r\n", "bye"} {
		ok(t, rec.Output([]byte(out)))
		page, next, err = r.PageFrom(t.Context(), alice, next, 1<<20, 0)
		ok(t, err)
		all = append(all, page.Data...)
	}
	ok(t, rec.Flush())
	if page, _, err = r.PageFrom(t.Context(), alice, next, 1<<20, 0); err != nil || len(page.Data) != 0 {
		t.Errorf("there is nothing new: %q, %v", page.Data, err)
	}
	ok(t, rec.Output([]byte("!")))
	ok(t, r.Close())
	r = open(t, dir, record.Options{}) // the position survives a restart of the server
	rec = start(t, r, alice)
	_, err = rec.Seal(record.Exit{})
	ok(t, err)
	page, _, err = r.PageFrom(t.Context(), alice, next, 1<<20, 0)
	ok(t, err)
	if !page.End || page.Seal == nil {
		t.Errorf("end %v, %d bytes of seal", page.End, len(page.Seal))
	}
	all = append(all, page.Data...)
	d, err := cast.NewReader(bytes.NewReader(all))
	ok(t, err)
	if h := d.Header(); h.Cols != 30 || h.Rows != 4 {
		t.Errorf("%+v", h)
	}
	var first, rest strings.Builder
	for n := 0; ; n++ {
		ev, err := d.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		ok(t, err)
		switch {
		case n == 0:
			first.Write(ev.Data)
		case ev.Code == cast.Output:
			rest.Write(ev.Bytes())
		}
	}
	if !strings.Contains(first.String(), "line 19999") || strings.Contains(first.String(), "line 19000") ||
		rest.String() != "hello \u95a2\r\nbye!" {
		t.Errorf("first %q, then %q", first.String(), rest.String())
	}
}

// TestPageFromBadPositions: positions come from callers.
func TestPageFromBadPositions(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir(), record.Options{})
	start(t, r, alice)
	for _, bad := range []string{"", "1", "1.2", "-1.0.0", "0.-1.0", "0.0.-1", "0.0.0.0", "a.b.c",
		strings.Repeat("9", 70)} {
		if _, _, err := r.PageFrom(t.Context(), alice, bad, 1<<20, 0); sekisho.CodeOf(err) != sekisho.CodeInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, beyond := range []string{"99999.0.0", "0.99999.0", "9223372036854775807.9223372036854775807.1"} {
		if page, _, err := r.PageFrom(t.Context(), alice, beyond, 1<<20, 0); err == nil && len(page.Data) > 0 {
			t.Errorf("%q: %q", beyond, page.Data)
		}
	}
}

// TestPageFromWaits: the page is returned as soon as there is output, or at
// the end of the wait.
func TestPageFromWaits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := open(t, dir, record.Options{})
		defer r.Close()
		rec := start(t, r, alice)
		_, next, err := r.PageFrom(t.Context(), alice, record.Now, 1<<20, 0)
		ok(t, err)
		began := time.Now()
		page, next, err := r.PageFrom(t.Context(), alice, next, 1<<20, 5*time.Second)
		if err != nil || len(page.Data) > 0 || time.Since(began) != 5*time.Second {
			t.Errorf("%v, %d bytes after %v", err, len(page.Data), time.Since(began))
		}
		began = time.Now()
		time.AfterFunc(time.Second, func() { ok(t, rec.Output([]byte("x"))) })
		page, _, err = r.PageFrom(t.Context(), alice, next, 1<<20, 5*time.Second)
		if err != nil || len(page.Data) == 0 || time.Since(began) != time.Second {
			t.Errorf("%v, %d bytes after %v", err, len(page.Data), time.Since(began))
		}
	})
}

// TestJoinedInput: the recording says who typed.
func TestJoinedInput(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir(), record.Options{})
	rec := start(t, r, alice)
	ok(t, rec.Input([]byte("a")))
	ok(t, rec.JoinedInput("arn:aws:iam::123456789012:user/bob", []byte("b")))
	ok(t, rec.JoinedInput("arn:aws:iam::123456789012:user/bob", []byte("c")))
	rec.Echo(false)
	ok(t, rec.JoinedInput("arn:aws:iam::123456789012:user/bob", []byte("secret")))
	rec.Echo(true)
	ok(t, rec.Input([]byte("d")))
	s, err := rec.Seal(record.Exit{})
	ok(t, err)
	if s.BytesIn != 10 {
		t.Errorf("%d bytes in", s.BytesIn)
	}
	_, evs := events(t, r, alice)
	want := "i a|m typed by arn:aws:iam::123456789012:user/bob|i b|i c|m hidden input, 6 bytes|m typed by the " +
		"owner|i d|x 0"
	if got := strings.Join(evs, "|"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	rec = start(t, r, "carol-abcdefghijklmnopqrstuvwxyz")
	ok(t, rec.Marker(cast.EncryptedMarker))
	if err := rec.JoinedInput("bob", []byte("x")); sekisho.CodeOf(err) != sekisho.CodeConflict {
		t.Errorf("an encrypted session: %v", err)
	}
}
