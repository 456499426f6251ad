package harness

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// Cable carries TCP connections to an address and can be cut: then nothing passes
// in either direction, and no end sees a close. Open connections continue when
// the cable is restored, as on a real one.
type Cable struct {
	Addr string // where it accepts connections

	to    string
	gate  sync.RWMutex // held for writing while the cable is cut
	all   sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]bool
	cut   bool
}

// NewCable returns a cable to an address. It is removed when the test ends.
func NewCable(t testing.TB, to string) *Cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &Cable{Addr: l.Addr().String(), to: to, conns: make(map[net.Conn]bool)}
	c.all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			c.all.Go(func() { c.carry(near) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		c.Restore()
		c.mu.Lock()
		for conn := range c.conns {
			_ = conn.Close()
		}
		c.conns = nil
		c.mu.Unlock()
		c.all.Wait()
	})
	return c
}

// Cut stops all traffic. It can be called repeatedly.
func (c *Cable) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.cut {
		c.cut = true
		c.gate.Lock()
	}
}

// Restore undoes Cut.
func (c *Cable) Restore() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		c.cut = false
		c.gate.Unlock()
	}
}

func (c *Cable) carry(near net.Conn) {
	defer near.Close()
	c.pass()
	far, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer far.Close()
	c.mu.Lock()
	if c.conns == nil {
		c.mu.Unlock()
		return
	}
	c.conns[near], c.conns[far] = true, true
	c.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range []struct{ from, to net.Conn }{{near, far}, {far, near}} {
		both.Go(func() {
			if err := c.copy(way.to, way.from); err != nil {
				_ = near.Close()
				_ = far.Close()
			}
		})
	}
	both.Wait()
	c.mu.Lock()
	delete(c.conns, near)
	delete(c.conns, far)
	c.mu.Unlock()
}

// pass waits while the cable is cut.
func (c *Cable) pass() {
	c.gate.RLock()
	defer c.gate.RUnlock()
}

func (c *Cable) copy(to, from net.Conn) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		c.pass()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			if half, ok := to.(*net.TCPConn); ok {
				return half.CloseWrite()
			}
		}
		if err != nil {
			return err
		}
	}
}
