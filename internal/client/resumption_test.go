package client_test

import (
	"net/http"
	"sync"
	"testing"

	"sekisho/internal/client"
)

// TestTLSSessionsAreResumed: the connection of the stream resumes the TLS
// session of the API call before it.
func TestTLSSessionsAreResumed(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var mu sync.Mutex
	resumed := map[string]bool{}
	next := s.http.Config.Handler
	s.http.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		resumed[r.URL.Path] = resumed[r.URL.Path] || r.TLS.DidResume
		mu.Unlock()
		next.ServeHTTP(w, r)
	})
	s.http.TLS.SessionTicketsDisabled = false
	p := newPerson(t, true)
	c := client.New(s.config())
	t.Cleanup(c.Close)
	done := make(chan error, 1)
	go func() { done <- c.Shell(t.Context(), client.StartInput{Target: "mi-0"}, p.Terminal) }()
	s.send(1, "hello")
	s.end("")
	if err := <-done; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !resumed["/stream"] || resumed["/"] {
		t.Errorf("resumed: %v", resumed)
	}
}
