package record

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func muxFrame(command byte, stream uint32, data string) []byte {
	b := []byte{1, command}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(data)))
	b = binary.LittleEndian.AppendUint32(b, stream)
	return append(b, data...)
}

// TestForwarding: each connection is counted separately, however the bytes are
// split into frames. Payload without multiplexing is one connection.
func TestForwarding(t *testing.T) {
	t.Parallel()
	client := bytes.Join([][]byte{
		muxFrame(
			0,
			3,
			"",
		), muxFrame(2, 3, "hello"), muxFrame(0, 5, ""), muxFrame(3, 0, ""), muxFrame(2, 5, "abc"), muxFrame(1, 3, ""),
		muxFrame(1, 5, ""),
		muxFrame(0, 7, ""), muxFrame(2, 7, "x"),
	}, nil)
	server := bytes.Join(
		[][]byte{
			muxFrame(2, 3, "hi"),
			muxFrame(2, 5, "0123456789"),
			muxFrame(1, 5, ""),
			muxFrame(4, 3, "12345678"),
			muxFrame(1, 3, ""),
		},
		nil,
	)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	want := []Connection{
		{Destination: "db:5432", BytesIn: 3, BytesOut: 10, Ended: EndedByClient},
		{Destination: "db:5432", BytesIn: 5, BytesOut: 2, Ended: EndedByClient},
		{Destination: "db:5432", BytesIn: 1, Ended: EndedBySession},
	}
	for range 200 {
		f := newForwarding(SessionKind{Type: TypePort, Host: "db", Port: "5432"}, "")
		payload := [2]map[int64]int64{{}, {}}
		f.keep = func(c *Connection, from int, p []byte) error {
			payload[from][c.Number] += int64(len(p))
			return nil
		}
		var got []Connection
		pass := func(from int, p []byte) {
			for len(p) > 0 {
				n := min(len(p), 1+r.IntN(20))
				ended, err := f.pass(from, p[:n], time.Now())
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range ended {
					got = append(got, *c)
				}
				p = p[n:]
			}
		}
		pass(fromClient, client)
		pass(fromDestination, server)
		for _, c := range f.finish(time.Now()) {
			got = append(got, *c)
		}
		if d := cmp.Diff(want, got, cmpopts.IgnoreFields(Connection{}, "Start", "End", "Number")); d != "" {
			t.Fatal(d)
		}
		for _, c := range got {
			if payload[fromClient][c.Number] != c.BytesIn || payload[fromDestination][c.Number] != c.BytesOut {
				t.Fatalf("connection %d: %v passed, recorded %+v", c.Number, payload, c)
			}
		}
	}
}

func TestForwardingWithoutMultiplexing(t *testing.T) {
	t.Parallel()
	f := newForwarding(SessionKind{Type: TypePort, Port: "22"}, "192.0.2.7")
	f.pass(fromDestination, []byte("SSH-2.0-x\r\n"), time.Now())
	f.pass(fromClient, []byte("S"), time.Now())
	f.pass(fromClient, []byte("SH-2.0-y\r\n"), time.Now())
	got := f.disconnect(fromClient, time.Now())
	f.pass(fromClient, []byte("again"), time.Now())
	got = append(got, f.finish(time.Now())...)
	want := []*Connection{
		{Peer: "192.0.2.7", Destination: "localhost:22", BytesIn: 11, BytesOut: 11, Ended: EndedByClient},
		{Peer: "192.0.2.7", Destination: "localhost:22", BytesIn: 5, Ended: EndedBySession},
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(Connection{}, "Start", "End", "Number")); d != "" {
		t.Error(d)
	}
}

func FuzzForwarding(f *testing.F) {
	f.Add(muxFrame(0, 3, ""), muxFrame(2, 3, "hello"))
	f.Fuzz(func(t *testing.T, client, server []byte) {
		fwd := newForwarding(SessionKind{Type: TypePort}, "")
		now := time.Now()
		for _, p := range [][]byte{client, server} {
			fwd.pass(fromClient, p, now)
			fwd.pass(fromDestination, p, now)
		}
		if len(fwd.open) > maxConnections+1 {
			t.Errorf("%d connections are kept", len(fwd.open))
		}
	})
}

func TestSecretPrompts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		output, typed string
		hidden        bool
	}{
		{"[sudo] password for alice: ", "hunter2\r", true},
		{"Password:", "hunter2\r", true},
		{"Enter passphrase for key '/home/alice/.ssh/id_ed25519': ", "x\r", true},
		{"Enter PIN for token: ", "1234\r", true},
		{"Verification code: ", "123456\r", true},
		{"$ ", "ls\r", false},
		{"$ passwd", "\r", false},
		{"password: hunter2\r\n$ ", "ls\r", false},
		{"the password was changed\r\n$ ", "ls\r", false},
	} {
		var f inputFilter
		for _, b := range []byte(tt.output) { // as slowly as possible
			f.shown([]byte{b})
		}
		if got := f.hides([]byte(tt.typed)); got != tt.hidden {
			t.Errorf("after %q: hidden %v", tt.output, got)
		}
		f.shown([]byte("\r\n$ "))
		if f.hides([]byte("ls\r")) {
			t.Errorf("after %q: what follows is hidden as well", tt.output)
		}
		f.reported = true
		f.shown([]byte(tt.output))
		if f.hides([]byte("x")) {
			t.Errorf("after %q: hidden though the agent says that the terminal echoes", tt.output)
		}
	}
	// A secret that is typed byte by byte is hidden up to the end of its line.
	var f inputFilter
	f.shown([]byte("Password: "))
	for _, c := range "hunter2\r" {
		if !f.hides([]byte(string(c))) {
			t.Errorf("%q is kept", c)
		}
	}
}
