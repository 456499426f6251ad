package client_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"
	"sync"
	"testing"

	"sekisho/internal/client"
)

// liveRecording acts as a session that runs until stop is closed. Its
// recording started long ago.
func liveRecording(t *testing.T, stop <-chan struct{}) func(map[string]any) any {
	return func(in map[string]any) any {
		page := map[string]any{"NextOffset": 0, "TotalBytes": 1, "Live": true}
		text := ""
		switch in["Position"] {
		case nil:
		case "now":
			text, page["NextPosition"] = "{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}\n[86400.0,\"o\",\"the screen \"]\n",
				"1.1.1"
		case "1.1.1":
			text, page["NextPosition"] = "[3600.0,\"o\",\"and more\"]\n", "2.2.2"
		default:
			if in["Position"] != "2.2.2" {
				t.Errorf("asked for %v", in)
			}
			<-stop
			page["NextPosition"], page["Live"], page["Sealed"] = "2.2.2", false, true
		}
		page["Data"] = base64.StdEncoding.EncodeToString([]byte(text))
		return page
	}
}

// TestReplayOfRunningSession: a running session is shown from the current
// moment, without delay.
func TestReplayOfRunningSession(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	stop := make(chan struct{})
	close(stop)
	s.override("GetSessionRecording", liveRecording(t, stop))
	var out, errOut bytes.Buffer
	if err := s.client().Replay(t.Context(), "alice-abc", client.ReplayOptions{}, &out, &errOut); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "the screen and more") || errOut.Len() > 0 {
		t.Errorf("%q %q", out.String(), errOut.String())
	}
}

// TestJoinSession: input reaches the server, and "~." leaves the session.
func TestJoinSession(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	stop := make(chan struct{})
	defer close(stop)
	s.override("GetSessionRecording", liveRecording(t, stop))
	var mu sync.Mutex
	var typed string
	var calls []string
	for _, op := range []string{"JoinSession", "LeaveSession", "SendSessionInput"} {
		s.override(op, func(in map[string]any) any {
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, op)
			if data, ok := in["Data"].(string); ok {
				b, _ := base64.StdEncoding.DecodeString(data)
				typed += string(b)
			}
			return map[string]any{}
		})
	}
	keys, keyboard := io.Pipe()
	go func() {
		for _, key := range []string{"ls\r", "exit", "\r", "~", "."} {
			_, _ = keyboard.Write([]byte(key))
		}
	}()
	var out, errOut syncBuffer
	restored := make(chan struct{})
	terminal := &client.Terminal{
		In: keys, Out: &out, Err: &errOut, Interactive: true,
		Raw: func() (func(), error) { return func() { close(restored) }, nil },
	}
	if err := s.client().JoinSession(t.Context(), "alice-abc", terminal); err != nil {
		t.Fatal(err)
	}
	<-restored
	mu.Lock()
	defer mu.Unlock()
	if typed != "ls\rexit\r" || calls[0] != "JoinSession" || calls[len(calls)-1] != "LeaveSession" {
		t.Errorf("typed %q, calls %q", typed, calls)
	}
}

// TestJoinSessionRefused: a user without permission sees nothing.
func TestJoinSessionRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.override("JoinSession", func(map[string]any) any {
		return refusal{400, "AccessDeniedException", "no"}
	})
	terminal := &client.Terminal{In: strings.NewReader("x"), Out: io.Discard, Err: io.Discard}
	if err := s.client().JoinSession(t.Context(), "alice-abc", terminal); err == nil {
		t.Errorf("got %v", err)
	}
}
