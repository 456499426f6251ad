package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/iam/authz"
)

const (
	pingEvery = 5 * time.Second // also the longest time that an ended sign-in keeps receiving events
	// writeWithin bounds the time in which a browser reads one event.
	writeWithin = 10 * time.Second
	// subscriberEvents is the number of events by which a subscriber can fall behind.
	subscriberEvents = 64
)

// events streams changes until the browser disconnects or the sign-in ends.
func (c *Console) events(w http.ResponseWriter, r *http.Request) {
	// Listening is not activity.
	r.Header.Set(BackgroundHeader, "1")
	who, ok := c.require(w, r)
	if !ok || !c.pastReset(w, r, who, nil) {
		return
	}
	if !c.streams.add(who.principal.UserID) {
		refuse(w, http.StatusTooManyRequests, "This user has too many open pages.")
		return
	}
	defer c.streams.remove(who.principal.UserID)
	ids, err := c.mayListNodes(r, who.principal)
	if err != nil {
		c.fail(w, r, "read the permissions of a user", err)
		return
	}
	ch, cancel := c.cfg.Events.Subscribe()
	defer cancel()

	rc := http.NewResponseController(w)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	send := func(format string, args ...any) bool {
		// Ignore the error: if the server has no deadlines, there is none to extend, and if the
		// connection is gone, the write fails.
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
				// It fell behind: the page reconnects and refetches everything.
				return
			}
			if e.Kind == "session" || !ids {
				// A session's ID begins with its owner's name, and not every user can list sessions
				// or nodes. The page lists them again.
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

// mayListNodes reports whether policy lets the signed-in user list nodes. It evaluates the policies
// without making a call, so nothing is added to the audit trail.
func (c *Console) mayListNodes(r *http.Request, p *sekisho.Principal) (bool, error) {
	facts := &authz.Facts{
		Principal: p, Time: time.Now(), SourceIP: c.cfg.SourceIP(r), Secure: true, UserAgent: r.UserAgent(),
		Region: c.cfg.Region,
	}
	for _, action := range []string{"ssm:DescribeInstanceProperties", "ssm:DescribeInstanceInformation"} {
		v, err := c.cfg.Authorizer.Decide(r.Context(), facts, action, "*")
		if err != nil {
			return false, err
		}
		if v.Allowed {
			return true, nil
		}
	}
	return false, nil
}

// ChangeFeed implements Events within one process. The zero value is ready to use.
type ChangeFeed struct {
	mu   sync.Mutex
	subs map[chan Event]struct{}
}

// Publish sends an event to every subscriber. It never blocks: it drops a subscriber whose buffer
// is full and closes its channel.
func (f *ChangeFeed) Publish(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch := range f.subs {
		select {
		case ch <- e:
		default:
			delete(f.subs, ch)
			close(ch)
		}
	}
}

// Subscribe implements Events.
func (f *ChangeFeed) Subscribe() (<-chan Event, func()) {
	ch := make(chan Event, subscriberEvents)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subs == nil {
		f.subs = make(map[chan Event]struct{})
	}
	f.subs[ch] = struct{}{}
	return ch, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if _, ok := f.subs[ch]; ok {
			delete(f.subs, ch)
			close(ch)
		}
	}
}

// counter bounds a count per key.
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
