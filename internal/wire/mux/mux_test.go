package mux_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"github.com/xtaci/smux"
	"go.uber.org/goleak"

	"sekisho/internal/wire/mux"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func pair(t *testing.T) (client, server *mux.Conn) {
	a, b := net.Pipe()
	client, server = mux.Client(a), mux.Server(b)
	t.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	return client, server
}

// TestHalfClose: one direction ends, the other continues.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	client, server := pair(t)
	for _, way := range []struct{ from, to *mux.Conn }{{client, server}, {server, client}} {
		st, err := way.from.Open()
		if err != nil {
			t.Fatal(err)
		}
		question := noise(1, 300000)
		go func() {
			_, _ = st.Write(question)
			_ = st.CloseWrite()
		}()
		far, err := way.to.Accept()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(far)
		if err != nil || !bytes.Equal(got, question) {
			t.Fatalf("%d bytes arrived, %v", len(got), err)
		}
		go func() {
			_, _ = far.Write([]byte("answer"))
			_ = far.Close()
		}()
		if got, err := io.ReadAll(st); err != nil || string(got) != "answer" {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := st.Write([]byte("x")); !errors.Is(err, mux.ErrClosed) {
			t.Errorf("written after the end: %v", err)
		}
	}
}

// TestStalled: one of 64 streams is not read; the others arrive complete, and so does that
// one when it is finally read.
func TestStalled(t *testing.T) {
	t.Parallel()
	client, server := pair(t)
	const size = 3 << 19 // together far more than any window
	go func() {
		for {
			st, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				var seed [1]byte
				_, _ = io.ReadFull(st, seed[:])
				_, _ = st.Write(noise(seed[0], size))
				_ = st.Close()
			}()
		}
	}()
	read := func(seed byte, before func()) {
		st, err := client.Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = st.Close() }()
		_, _ = st.Write([]byte{seed})
		before()
		got, err := io.ReadAll(st)
		if err != nil || sha256.Sum256(got) != sha256.Sum256(noise(seed, size)) {
			t.Errorf("stream %d: %d bytes, %v", seed, len(got), err)
		}
	}
	var others, stalled sync.WaitGroup
	release := make(chan struct{})
	stalled.Go(func() { read(0, func() { <-release }) })
	for i := 1; i < 64; i++ {
		others.Go(func() { read(byte(i), func() {}) })
	}
	others.Wait()
	close(release)
	stalled.Wait()
}

// TestWithSmux exchanges data with the library that AWS's programs use.
func TestWithSmux(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	config := smux.DefaultConfig()
	config.KeepAliveDisabled = true
	their, err := smux.Server(b, config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = their.Close() }()
	ours := mux.Client(a)
	defer func() { _ = ours.Close() }()
	go func() {
		for {
			st, err := their.AcceptStream()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(st, st)
				_ = st.Close()
			}()
		}
	}()
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			st, err := ours.Open()
			if err != nil {
				t.Error(err)
				return
			}
			want := noise(byte(i), 200000)
			go func() { _, _ = st.Write(want) }()
			got := make([]byte, len(want))
			if _, err := io.ReadFull(st, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("stream %d: %v", i, err)
			}
			if err := st.CloseWrite(); err != nil {
				t.Error(err)
			}
			if _, err := st.Read(got); !errors.Is(err, io.EOF) {
				t.Errorf("stream %d ended with %v", i, err)
			}
		})
	}
	all.Wait()
}

// TestHostile: a malformed frame ends the session, and every reader gets an error.
func TestHostile(t *testing.T) {
	t.Parallel()
	for name, frame := range map[string]string{
		"version": "\x02\x00\x00\x00\x02\x00\x00\x00",
		"command": "\x01\x09\x00\x00\x02\x00\x00\x00",
		"twice":   "\x01\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00",
		"ours":    "\x01\x00\x00\x00\x03\x00\x00\x00",
		"cut":     "\x01\x02\xff\xff\x01\x00\x00\x00abc",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := net.Pipe()
			s := mux.Client(a)
			defer func() { _ = s.Close() }()
			opened := make(chan *mux.Stream)
			go func() {
				st, err := s.Open()
				if err != nil {
					t.Error(err)
				}
				opened <- st
			}()
			if _, err := io.ReadFull(b, make([]byte, 8)); err != nil {
				t.Fatal(err)
			}
			st := <-opened
			go func() {
				_, _ = b.Write([]byte(frame))
				_ = b.Close()
			}()
			if _, err := st.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("read: %v", err)
			}
			<-s.Done()
			if _, err := s.Open(); err == nil {
				t.Error("a stream was opened after the end")
			}
		})
	}
}

func FuzzConn(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x02\x00\x00\x00\x01\x02\x03\x00\x02\x00\x00\x00abc\x01\x01\x00\x00\x02\x00\x00\x00"))
	f.Add([]byte("\x01\x03\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := mux.Client(struct {
			io.Reader
			io.Writer
			io.Closer
		}{bytes.NewReader(b), io.Discard, io.NopCloser(nil)})
		<-s.Done() // at the end of b at the latest
		_ = s.Close()
	})
}
