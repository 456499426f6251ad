package api

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"sekisho/internal/node/admission"
	"sekisho/internal/ratelimit"
	"sekisho/internal/wire/awsproto"
)

const (
	// maxBody bounds a request whose operation does not say otherwise. The largest legitimate
	// requests carry a document of 64 KiB.
	maxBody = 1 << 20
	// maxRefusedBody bounds the part of a body that is read if the headers suffice to refuse the
	// request. It is read at all because a form names its operation in the body.
	maxRefusedBody = 8 << 10
	firstRead      = 2 << 10
)

// Memory limits for bodies in flight. Callers with a valid access key have a separate budget, which
// others cannot exhaust.
const (
	anonymousMemory  = 16 << 20
	anonymousEach    = 2 << 20 // for each source
	identifiedMemory = 128 << 20
	identifiedEach   = 64 << 20
)

// memory bounds the bytes of bodies in flight, per source and in total.
type memory struct {
	total, each int

	mu     sync.Mutex
	used   int
	source map[netip.Prefix]int
}

func newMemory(total, each int) *memory {
	return &memory{total: total, each: each, source: map[netip.Prefix]int{}}
}

func (m *memory) take(from netip.Prefix, n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.used+n > m.total || m.source[from]+n > m.each {
		return false
	}
	m.used += n
	m.source[from] += n
	return true
}

func (m *memory) give(from netip.Prefix, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= n
	if m.source[from] -= n; m.source[from] <= 0 {
		delete(m.source, from)
	}
}

// readBody reads the body of r into c. Memory grows with what has arrived, not
// with what the request announces. The caller must call c.release.
func (s *Server) readBody(c *Call, r *http.Request, limit int, m *memory) error {
	tooLarge := &awsproto.Error{
		Code: "RequestEntityTooLarge", Message: fmt.Sprintf("The request is larger than %d KiB.", limit>>10),
		Status: http.StatusRequestEntityTooLarge,
	}
	if r.ContentLength > int64(limit) {
		return tooLarge
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	c.memory, c.source = m, ratelimit.Source(c.SourceIP)
	for {
		if len(c.body) == cap(c.body) {
			size := min(max(firstRead, 2*cap(c.body)), limit+1)
			if !m.take(c.source, size-cap(c.body)) {
				return &admission.Busy{Name: "large requests", After: time.Second}
			}
			c.held += size - cap(c.body)
			c.body = append(make([]byte, 0, size), c.body...)
		}
		n, err := r.Body.Read(c.body[len(c.body):cap(c.body)])
		c.body = c.body[:len(c.body)+n]
		switch {
		case len(c.body) > limit:
			return tooLarge
		case err == io.EOF:
			return nil
		case err != nil:
			return &awsproto.Error{
				Code:    "IncompleteBody",
				Message: "The request body is shorter than announced.",
				Status:  http.StatusBadRequest,
			}
		}
	}
}

// release returns the memory of the body to its budget.
func (c *Call) release() {
	if c.held > 0 {
		c.memory.give(c.source, c.held)
		c.held = 0
	}
}
