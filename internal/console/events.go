package console

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	pingEvery = 5 * time.Second // and how long a sign-in that is over may listen on
	// writeWithin is how long a browser may take to read one event.
	writeWithin = 10 * time.Second
	// subscriberEvents is how far a subscriber may fall behind.
	subscriberEvents = 64
)

// events streams what changed until the browser leaves or the sign-in ends.
func (c *Console) events(w http.ResponseWriter, r *http.Request) {
	// Listening is not activity.
	r.Header.Set(BackgroundHeader, "1")
	who, ok := c.require(w, r)
	if !ok || !c.pastReset(w, r, who, nil) {
		return
	}
	if !c.streams.add(who.principal.UserID) {
		refuse(w, http.StatusTooManyRequests, "Too many open pages of this user.")
		return
	}
	defer c.streams.remove(who.principal.UserID)
	ids := c.mayListNodes(r, who)
	ch, cancel := c.cfg.Events.Subscribe()
	defer cancel()

	rc := http.NewResponseController(w)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	send := func(format string, args ...any) bool {
		// A server without deadlines has none to extend; the write tells.
		rc.SetWriteDeadline(time.Now().Add(writeWithin)) //nolint:errcheck // see above
		if _, err := fmt.Fprintf(w, format, args...); err != nil {
			return false
		}
		return rc.Flush() == nil
	}
	if !send("retry: 2000\n\n") {
		return
	}
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case e, open := <-ch:
			if !open {
				// It fell behind: the page connects again and asks for everything.
				return
			}
			if e.Kind == "session" || !ids {
				// The ID of a session begins with the name of whose it is, and
				// not everybody here may list sessions or nodes. The page lists
				// them anew.
				e.ID = ""
			}
			data, err := json.Marshal(struct {
				ID   string `json:"id"`
				Kind string `json:"kind"`
			}{e.ID, e.Kind})
			if err != nil || !send("event: %s\ndata: %s\n\n", e.Kind, data) {
				return
			}
		case <-ping.C:
			if _, err := c.caller(r); err != nil {
				send("event: signedout\ndata: {}\n\n")
				return
			}
			if !send(": ping\n\n") {
				return
			}
		}
	}
}

// mayListNodes asks the door whether the signed-in user may list nodes.
func (c *Console) mayListNodes(r *http.Request, who *caller) bool {
	in := r.Clone(r.Context())
	in.Method, in.URL, in.RequestURI = http.MethodPost, &url.URL{Path: "/"}, "/"
	in.Body = io.NopCloser(strings.NewReader(`{"MaxResults":5}`))
	in.Header = http.Header{
		"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {"AmazonSSM.DescribeInstanceInformation"},
		"User-Agent": r.Header["User-Agent"],
	}
	w := verdict{header: http.Header{}, status: http.StatusOK}
	c.cfg.Doors.ServeAs(&w, in, who.principal, "ssm")
	return w.status == http.StatusOK
}

// verdict keeps of an answer whether it is one.
type verdict struct {
	header http.Header
	status int
}

func (v *verdict) Header() http.Header         { return v.header }
func (v *verdict) WriteHeader(status int)      { v.status = status }
func (v *verdict) Write(p []byte) (int, error) { return len(p), nil }

// Hub is an Events for one process: what is published reaches every
// subscriber. The zero value is ready to use.
type Hub struct {
	mu   sync.Mutex
	subs map[chan Event]struct{}
}

// Publish tells every subscriber. It never waits: a subscriber that is full
// is dropped, and its channel closed.
func (h *Hub) Publish(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch := range h.subs {
		select {
		case ch <- e:
		default:
			delete(h.subs, ch)
			close(ch)
		}
	}
}

// Subscribe implements Events.
func (h *Hub) Subscribe() (<-chan Event, func()) {
	ch := make(chan Event, subscriberEvents)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs == nil {
		h.subs = make(map[chan Event]struct{})
	}
	h.subs[ch] = struct{}{}
	return ch, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if _, ok := h.subs[ch]; ok {
			delete(h.subs, ch)
			close(ch)
		}
	}
}

// counter bounds how many of something each key has.
type counter struct {
	max int
	mu  sync.Mutex
	n   map[string]int
}

func newCounter(n int) *counter { return &counter{max: n, n: make(map[string]int)} }

func (c *counter) add(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n[key] >= c.max {
		return false
	}
	c.n[key]++
	return true
}

func (c *counter) remove(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n[key]--; c.n[key] <= 0 {
		delete(c.n, key)
	}
}
