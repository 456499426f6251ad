package mgs_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mgs/mgstest"
)

func frameOf(t testing.TB, name string) []byte {
	t.Helper()
	b, err := hex.DecodeString(captured[name])
	if err != nil || len(b) == 0 {
		t.Fatalf("vector %q: %v", name, err)
	}
	return b
}

func uuid(t testing.TB, s string) mgs.UUID {
	t.Helper()
	var u mgs.UUID
	if err := u.UnmarshalText([]byte(s)); err != nil {
		t.Fatal(err)
	}
	return u
}

func TestCapturedFrames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]mgs.Message{
		"output": {
			Type: mgs.TypeOutputStreamData, SchemaVersion: 1, CreatedMillis: 1795433853506, Seq: 0, Flags: mgs.FlagSYN,
			ID: uuid(t, "1308e652-2ecc-44b4-9207-d6e1096ab492"), PayloadType: mgs.PayloadOutput, Payload: []byte("$ "),
		},
		"input": {
			Type: mgs.TypeInputStreamData, SchemaVersion: 1, CreatedMillis: 1795433855268,
			ID: uuid(t, "97e78e03-0875-4b2c-8bf3-d03b503facc1"), PayloadType: mgs.PayloadOutput,
			Payload: []byte("echo shell-ok; id -un\n"),
		},
		"state": {
			Type: mgs.TypeAgentSessionState, SchemaVersion: 1, CreatedMillis: 1795433852490, Flags: mgs.FlagSYN | mgs.FlagFIN,
			ID:      uuid(t, "79064a95-4fa6-448b-852d-13d2e1c59c7a"),
			Payload: []byte(`{"SchemaVersion":1,"SessionState":"Connected","SessionId":"dummy-7d0a9226-06d4-438"}`),
		},
		"closed112": {
			Type: mgs.TypeChannelClosed, SchemaVersion: 1, CreatedMillis: 1795433855268, Seq: 7,
			ID: uuid(t, "54ec849f-90d2-44a6-a803-82fcbc0a9fe6"), Payload: []byte(`{"SchemaVersion":1,"Output":"bye"}`),
		},
	} {
		frame := frameOf(t, name)
		got, err := mgs.Parse(frame)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if name == "closed112" {
			continue
		}
		if back := got.AppendTo(nil); !bytes.Equal(back, frame) {
			t.Errorf("%s: encoded again it is\n%x, want\n%x", name, back, frame)
		}
		if got.Size() != len(frame) {
			t.Errorf("%s: Size %d, want %d", name, got.Size(), len(frame))
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	put32 := func(at int, v uint32) func([]byte) []byte {
		return func(f []byte) []byte { binary.BigEndian.PutUint32(f[at:], v); return f }
	}
	put64 := func(at int, v uint64) func([]byte) []byte {
		return func(f []byte) []byte { binary.BigEndian.PutUint64(f[at:], v); return f }
	}
	put := func(at int, s string) func([]byte) []byte {
		return func(f []byte) []byte { copy(f[at:], s); return f }
	}
	for name, tc := range map[string]struct {
		change func([]byte) []byte
		want   string
	}{
		"empty":               {func([]byte) []byte { return nil }, "shorter than a header"},
		"115 bytes":           {func(f []byte) []byte { return f[:115] }, "shorter than a header"},
		"116 bytes":           {func(f []byte) []byte { return f[:116] }, "shorter than its header"},
		"header length 0":     {put32(0, 0), "header length 0"},
		"header length lies":  {put32(0, 0xfffffffc), "header length 4294967292"},
		"header length 117":   {put32(0, 117), "header length 117"},
		"header length 112":   {put32(0, 112), "payload length"},
		"payload too long":    {func(f []byte) []byte { return append(f, 'x') }, "payload length says 2, frame holds 3"},
		"payload too short":   {func(f []byte) []byte { return f[:len(f)-1] }, "payload length says 2, frame holds 1"},
		"payload length huge": {put32(116, 0xffffffff), "payload length says 4294967295"},
		"no type":             {put(4, strings.Repeat(" ", 32)), "type is empty"},
		"NUL type":            {put(4, strings.Repeat("\x00", 32)), "type is empty"},
		"type with NUL":       {put(4, "out\x00put"), "type holds byte 0x00"},
		"type with escape":    {put(4, "\x1b]0;"), "type holds byte 0x1b"},
		"type with space":     {put(4, " "), "type holds byte 0x20"},
		"no date":             {put64(40, 0), "created date is zero"},
		"negative number":     {put64(48, 1<<63), "negative"},
		"digest":              {put(80, "\x00\x00"), "digest"},
		"payload":             {put(120, "# "), "digest"},
	} {
		frame := tc.change(frameOf(t, "output"))
		m, err := mgs.Parse(frame)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one that says %q", name, err, tc.want)
		}
		if err != nil && !cmp.Equal(m, mgs.Message{}) {
			t.Errorf("%s: a message came with the error: %+v", name, m)
		}
		if _, err := mgs.Peek(frame); (err == nil) != (tc.want == "digest") {
			t.Errorf("%s: Peek: %v", name, err)
		}
	}
}

// TestChecksums: a checksum is accepted in place of the digest, and the digest can replace
// it.
func TestChecksums(t *testing.T) {
	t.Parallel()
	m := mgstest.StreamData(mgs.TypeOutputStreamData, 3, mgs.PayloadOutput, []byte("payload"))
	frame := m.AppendChecksummed(nil)
	for name, parse := range map[string]func([]byte) (mgs.Message, error){"Parse": mgs.Parse,
		"ParseClient": mgs.ParseClient} {
		if got, err := parse(frame); err != nil || !cmp.Equal(m, got) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		for _, at := range []int{111, len(frame) - 1} {
			bad := bytes.Clone(frame)
			bad[at] ^= 1
			if _, err := parse(bad); err == nil {
				t.Errorf("%s accepts a frame whose byte %d has changed", name, at)
			}
		}
	}
	mgs.Redigest(frame)
	if want := m.AppendTo(nil); !bytes.Equal(frame, want) {
		t.Errorf("Redigest: got\n%x, want\n%x", frame, want)
	}
	mgs.Redigest(frame)
	if want := m.AppendTo(nil); !bytes.Equal(frame, want) {
		t.Error("Redigest changes a frame with a digest")
	}
	mgs.Redigest([]byte("short"))
}

func TestEmptyPayload(t *testing.T) {
	t.Parallel()
	m := mgs.New(mgs.TypeStartPublication, nil)
	frame := m.AppendTo(nil)
	clear(frame[80:112]) // a writer that has nothing to digest
	if _, err := mgs.Parse(frame); err != nil {
		t.Error(err)
	}
	if len(frame) != mgs.Overhead {
		t.Errorf("%d bytes, want %d", len(frame), mgs.Overhead)
	}
}

func TestAppendToCutsLongType(t *testing.T) {
	t.Parallel()
	m := mgs.New(strings.Repeat("x", 40), []byte("p"))
	got, err := mgs.Parse(m.AppendTo(nil))
	if err != nil || got.Type != strings.Repeat("x", 32) || string(got.Payload) != "p" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParseAliasesFrame(t *testing.T) {
	t.Parallel()
	frame := frameOf(t, "output")
	m, err := mgs.Parse(frame)
	if err != nil {
		t.Fatal(err)
	}
	if &m.Payload[0] != &frame[mgs.Overhead] {
		t.Error("the payload was copied")
	}
	if cap(m.Payload) != len(m.Payload) {
		t.Error("appending to the payload would write behind the frame")
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	before := time.Now().Truncate(time.Millisecond)
	m := mgstest.StreamData(mgs.TypeOutputStreamData, 0, mgs.PayloadStdErr, []byte("x"))
	if m.Created().Before(before) || m.Created().After(time.Now()) {
		t.Errorf("created %v", m.Created())
	}
	if m.Flags != mgs.FlagSYN || m.PayloadType != mgs.PayloadStdErr || !m.IsStreamData() {
		t.Errorf("%+v", m)
	}
	second := mgstest.StreamData(mgs.TypeOutputStreamData, 1, mgs.PayloadOutput, nil)
	if second.Flags != 0 || second.Seq != 1 || second.ID == m.ID {
		t.Errorf("%+v", second)
	}
	if in := mgstest.StreamData(mgs.TypeInputStreamData, 0, mgs.PayloadOutput, nil); in.Flags != 0 {
		t.Errorf("a client's first message has flags %d", in.Flags)
	}
}

func TestUUIDText(t *testing.T) {
	t.Parallel()
	const text = "1308e652-2ecc-44b4-9207-d6e1096ab492"
	if got := uuid(t, strings.ToUpper(text)).String(); got != text {
		t.Errorf("got %s", got)
	}
	for _, bad := range []string{
		"", "1308e6522ecc44b49207d6e1096ab492", text + "0", strings.Replace(text, "-", "0", 1),
		strings.Replace(text, "3", "g", 1), "{" + text + "}", strings.Replace(text, "e652", "e6-2", 1),
	} {
		var u mgs.UUID
		if u.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q was read", bad)
		}
	}
	u := mgs.NewUUID().String()
	if u[14] != '4' || !strings.ContainsRune("89ab", rune(u[19])) {
		t.Errorf("%s is not a version 4 UUID", u)
	}
}

func FuzzParse(f *testing.F) {
	for name := range captured {
		f.Add(frameOf(f, name))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, err := mgs.Parse(frame)
		if err != nil {
			return
		}
		back := m.AppendTo(nil)
		again, err := mgs.Parse(back)
		if err != nil {
			t.Fatalf("what AppendTo wrote is refused: %v", err)
		}
		if d := cmp.Diff(m, again); d != "" {
			t.Fatalf("the message changed:\n%s", d)
		}
		digest := sha256.Sum256(m.Payload)
		canonical := binary.BigEndian.Uint32(frame) == mgs.HeaderLength &&
			!bytes.Contains(frame[4:36], []byte{0}) && bytes.Equal(frame[80:112], digest[:])
		if canonical && !bytes.Equal(back, frame) {
			t.Fatalf("canonical frame\n%x came back as\n%x", frame, back)
		}
	})
}

func TestNoAllocations(t *testing.T) {
	frame := frameOf(t, "output")
	m, err := mgs.Parse(frame)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0, 4096)
	ack := mgs.AppendAck(nil, mgs.Acknowledge{Type: m.Type, ID: m.ID, Seq: 12345, Sequential: true})
	for name, f := range map[string]func(){
		"AppendTo":  func() { m.AppendTo(buf) },
		"Parse":     func() { _, _ = mgs.Parse(frame) },
		"Peek":      func() { _, _ = mgs.Peek(frame) },
		"AppendAck": func() { mgs.AppendAck(buf, mgs.Acknowledge{Type: m.Type, ID: m.ID}) },
		"ParseAck":  func() { _, _ = mgs.ParseAck(ack) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func BenchmarkAppendTo(b *testing.B) {
	m := mgstest.StreamData(mgs.TypeOutputStreamData, 1, mgs.PayloadOutput, make([]byte, 1024))
	buf := make([]byte, 0, m.Size())
	b.SetBytes(1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = m.AppendTo(buf[:0])
	}
}

func BenchmarkParse(b *testing.B) {
	m := mgstest.StreamData(mgs.TypeOutputStreamData, 1, mgs.PayloadOutput, make([]byte, 1024))
	frame := m.AppendTo(nil)
	b.SetBytes(1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := mgs.Parse(frame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPeek(b *testing.B) {
	m := mgstest.StreamData(mgs.TypeOutputStreamData, 1, mgs.PayloadOutput, make([]byte, 1024))
	frame := m.AppendTo(nil)
	b.SetBytes(1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := mgs.Peek(frame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseAck(b *testing.B) {
	body := mgs.AppendAck(
		nil,
		mgs.Acknowledge{Type: mgs.TypeOutputStreamData, ID: mgs.NewUUID(), Seq: 123456, Sequential: true},
	)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := mgs.ParseAck(body); err != nil {
			b.Fatal(err)
		}
	}
}

// TestFramesOfLooseClients: a client's frame that AWS's agent accepts is accepted, provided
// that its integrity can be verified.
func TestFramesOfLooseClients(t *testing.T) {
	t.Parallel()
	m := mgstest.StreamData(mgs.TypeInputStreamData, 3, mgs.PayloadOutput, []byte("ls\r"))
	plain := m.AppendTo(nil)
	loose := bytes.Clone(plain)
	typ := mgs.TypeInputStreamData
	copy(loose[4:36], append(make([]byte, 32-len(typ)), typ...))
	sum := sha256.Sum256(m.Payload)
	copy(loose[80:112], hex.EncodeToString(sum[:16]))
	got, err := mgs.ParseClient(loose)
	if err != nil || got.Type != typ || got.Seq != 3 || string(got.Payload) != "ls\r" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := mgs.ParseClient(plain); err != nil {
		t.Errorf("a frame as AWS's client sends it: %v", err)
	}
	if _, err := mgs.Parse(loose); err == nil {
		t.Error("half a digest passes towards AWS's plugin, which refuses it")
	}
	for name, spoil := range map[string]func(b []byte){
		"payload":  func(b []byte) { b[len(b)-1] ^= 1 },
		"digest":   func(b []byte) { b[111] ^= 1 },
		"nothing":  func(b []byte) { clear(b[80:112]) },
		"type":     func(b []byte) { b[10] = 'x' },
		"only NUL": func(b []byte) { clear(b[4:36]) },
	} {
		bad := bytes.Clone(loose)
		spoil(bad)
		if m, err := mgs.ParseClient(bad); err == nil {
			t.Errorf("%s: accepted as %+v", name, m)
		}
	}
}
