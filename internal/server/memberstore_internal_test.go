package server

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"sekisho/internal/session/record"
	"sekisho/internal/session/record/recstore"
	"sekisho/internal/storage/keyring"
)

// A recording continues on another member and comes back: each continues what the store has, and drops what only its
// own folder had when another one took over.
func TestRecordingMovesBetweenMembers(t *testing.T) {
	t.Parallel()
	ring, err := keyring.Load(t.TempDir())
	must(t, err)
	folder, err := recstore.OpenFolder(t.TempDir())
	must(t, err)
	defer folder.Close()
	open := func(name string) *record.Recorder {
		r, err := record.Open(t.TempDir(), ring.Signer(), record.Options{Sealer: ring, Remote: &record.Remote{
			Context: t.Context(), Store: memberStore{folder, "members/" + name + "/"},
		}})
		must(t, err)
		t.Cleanup(func() { must(t, r.Close()) })
		return r
	}
	m1, m2 := open("m1"), open("m2")
	h := record.Header{SessionID: "alice-1", Start: time.Now()}
	say := func(rec *record.Recording, text string) {
		t.Helper()
		must(t, rec.Output([]byte(text+"\r\n")))
	}
	rec, err := m1.Start(h)
	must(t, err)
	say(rec, "on m1")
	must(t, m1.Upload(t.Context()))
	say(rec, "never uploaded")
	must(t, m1.CloseLive()) // its lease has ended

	h.TakenOver = true
	rec, err = m2.Start(h)
	must(t, err)
	say(rec, "on m2")
	must(t, m2.Upload(t.Context()))
	must(t, m2.CloseLive())

	rec, err = m1.Start(h)
	must(t, err)
	say(rec, "on m1 again")
	_, err = rec.Seal(record.Exit{Reason: "the shell ended"})
	must(t, err)
	must(t, m1.Check(h.SessionID))
	var b bytes.Buffer
	must(t, m1.WriteCast(&b, h.SessionID))
	text := b.String()
	for _, want := range []string{"on m1", "on m2", "on m1 again"} {
		if !strings.Contains(text, want) {
			t.Errorf("the recording lacks %q", want)
		}
	}
	if strings.Contains(text, "never uploaded") {
		t.Error("the recording contains data that the other member did not receive")
	}
}
