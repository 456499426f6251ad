package record

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"time"

	"sekisho/internal/session/recfile"
)

// SessionKind describes a session, as agent and client agreed at its beginning.
type SessionKind struct {
	Type string `json:"type"` // the document's sessionType
	// Host, Port and Socket are the destination of a session of type Port.
	Host   string `json:"host,omitempty"`
	Port   string `json:"port,omitempty"`
	Socket string `json:"socket,omitempty"`
	// Joinable reports that the agent accepts input from people who join the session.
	Joinable bool `json:"joinable,omitempty"`
	// OSUser is the user that the program runs as; "" if the agent does not report it.
	OSUser string `json:"os_user,omitempty"`
}

// TypePort is the SessionKind.Type of sessions that forward connections.
const TypePort = "Port"

func (k *SessionKind) destination() string {
	if k.Socket != "" {
		return k.Socket
	}
	return net.JoinHostPort(cmp.Or(k.Host, "localhost"), k.Port)
}

// Connection is the record of a forwarded connection.
type Connection = recfile.Forwarded

// Values of Connection.Ended.
const (
	EndedByClient      = "client"
	EndedByDestination = "destination"
	EndedBySession     = "session" // it was open when the session ended
)

// maxConnections limits the connections of one session that are counted separately. Further ones
// are counted with stream 0.
const maxConnections = 4096

// forwarding counts the data in a session that forwards connections.
type forwarding struct {
	// keep, if not nil, records the data.
	keep   func(c *Connection, from int, p []byte) error
	last   int64 // number of the newest connection
	kind   SessionKind
	peer   string
	open   map[uint32]*Connection
	closed [2]map[uint32]bool // ended only by this side so far
	parse  [2]muxParser       // of what comes from the destination, and from the client
}

const (
	fromDestination = iota
	fromClient
)

func newForwarding(kind SessionKind, peer string) *forwarding {
	return &forwarding{
		kind: kind, peer: peer, open: make(map[uint32]*Connection),
		closed: [2]map[uint32]bool{make(map[uint32]bool), make(map[uint32]bool)},
	}
}

// pass counts p and returns the connections that p ended.
func (f *forwarding) pass(from int, p []byte, now time.Time) (ended []*Connection, err error) {
	f.parse[from].begun = f.parse[from].begun || f.parse[1-from].begun
	for len(p) > 0 {
		var e muxEvent
		e, p = f.parse[from].next(p)
		switch e.command {
		case muxOpen:
			f.connection(e.stream, now)
		case muxData:
			c := f.connection(e.stream, now)
			if from == fromClient {
				c.BytesIn += int64(len(e.data))
			} else {
				c.BytesOut += int64(len(e.data))
			}
			if f.keep != nil && len(e.data) > 0 {
				if err := f.keep(c, from, e.data); err != nil {
					return nil, err
				}
			}
		case muxClose:
			if c := f.close(from, e.stream, now); c != nil {
				ended = append(ended, c)
			}
		case muxOther:
		}
	}
	return ended, nil
}

func (f *forwarding) connection(stream uint32, now time.Time) *Connection {
	c := f.open[stream]
	if c == nil && len(f.open) >= maxConnections {
		stream = 0
		c = f.open[stream]
	}
	if c == nil {
		f.last++
		c = &Connection{Number: f.last, Peer: f.peer, Destination: f.kind.destination(), Start: now.UTC()}
		f.open[stream] = c
	}
	return c
}

// close ends a connection. The side that closes second only confirms it.
func (f *forwarding) close(from int, stream uint32, now time.Time) *Connection {
	c := f.open[stream]
	if c == nil {
		return nil
	}
	if f.closed[1-from][stream] {
		delete(f.closed[1-from], stream)
		delete(f.open, stream)
		return c
	}
	if !f.closed[from][stream] {
		f.closed[from][stream] = true
		c.End, c.Ended = now.UTC(), EndedByDestination
		if from == fromClient {
			c.Ended = EndedByClient
		}
	}
	return nil
}

// disconnect ends the one connection of a session that does not multiplex.
func (f *forwarding) disconnect(from int, now time.Time) []*Connection {
	c := f.open[0]
	if c == nil {
		return nil
	}
	delete(f.open, 0)
	c.End, c.Ended = now.UTC(), EndedByDestination
	if from == fromClient {
		c.Ended = EndedByClient
	}
	return []*Connection{c}
}

// finish ends the connections that are still open when the session ends.
func (f *forwarding) finish(now time.Time) []*Connection {
	var ended []*Connection
	for _, c := range f.open {
		if c.Ended == "" {
			c.End, c.Ended = now.UTC(), EndedBySession
		}
		ended = append(ended, c)
	}
	clear(f.open)
	slices.SortFunc(ended, func(a, b *Connection) int { return a.Start.Compare(b.Start) })
	return ended
}

type muxCommand byte

const (
	muxOpen muxCommand = iota
	muxClose
	muxData
	muxOther
)

type muxEvent struct {
	command muxCommand
	stream  uint32
	data    []byte
}

// muxParser follows the frames of smux, with which clients and agents multiplex several connections
// in one session. A frame header has a version (1 or 2), a command, a length (16 bits) and a stream
// (32 bits), the latter two in little-endian order. Data that does not begin with such a header
// belongs to one connection after the other, with stream 0.
type muxParser struct {
	head   [8]byte
	n      int // bytes of head
	left   int // bytes of the frame's data that have not arrived yet
	stream uint32
	data   bool // they are data
	begun  bool // there have been frames in either direction
	plain  bool
}

func (m *muxParser) next(p []byte) (muxEvent, []byte) {
	switch {
	case m.plain:
		return muxEvent{muxData, 0, p}, nil
	case m.left > 0:
		n := min(m.left, len(p))
		m.left -= n
		if !m.data {
			return muxEvent{command: muxOther}, p[n:]
		}
		return muxEvent{muxData, m.stream, p[:n]}, p[n:]
	}
	n := copy(m.head[m.n:], p)
	m.n += n
	p = p[n:]
	if m.n < len(m.head) && (m.n < 2 || m.valid()) {
		return muxEvent{command: muxOther}, p
	}
	if !m.valid() {
		m.plain = true
		return muxEvent{muxData, 0, slices.Concat(m.head[:m.n], p)}, nil
	}
	m.n, m.begun = 0, true
	m.stream = binary.LittleEndian.Uint32(m.head[4:])
	m.left = int(binary.LittleEndian.Uint16(m.head[2:]))
	m.data = m.head[1] == 2
	switch m.head[1] {
	case 0:
		return muxEvent{command: muxOpen, stream: m.stream}, p
	case 1:
		return muxEvent{command: muxClose, stream: m.stream}, p
	}
	return muxEvent{command: muxOther}, p
}

// valid reports whether head can be the beginning of a frame. The first frame either opens a stream
// or is a no-op.
func (m *muxParser) valid() bool {
	if m.head[0] != 1 && m.head[0] != 2 || m.head[1] > 4 {
		return false
	}
	return m.begun || m.head[1] == 0 || m.head[1] == 3 || m.head[1] == 4
}

// SetKind records the kind of the session. Sessions of type Port have a record for each connection,
// and the data itself only if the header requires it.
func (rec *Recording) SetKind(k SessionKind) error {
	k.Host, k.Port, k.Socket, k.Type, k.OSUser = text(k.Host), text(k.Port), text(k.Socket), text(k.Type), text(k.OSUser)
	b, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.kind != nil {
		return nil
	}
	if err := rec.appendLocked(recfile.Type, [][]byte{b}); err != nil {
		return err
	}
	rec.setKind(k)
	return nil
}

func (rec *Recording) setKind(k SessionKind) {
	rec.kind = &k
	if k.Type == TypePort {
		rec.forward = newForwarding(k, rec.header.SourceIP)
		rec.forward.last = rec.w.Totals().Records // larger than the numbers before a restart
		if rec.header.RecordForwards {
			rec.forward.keep = rec.keepPayload
		}
	}
}

// maxPayload limits the bytes in one Payload record.
const maxPayload = 32 << 10

// keepPayload records data of a connection.
func (rec *Recording) keepPayload(c *Connection, from int, p []byte) error {
	for len(p) > 0 {
		n := min(len(p), maxPayload)
		data := append(recfile.AppendPayload(nil, c.Number, from == fromClient), p[:n]...)
		if err := rec.appendLocked(recfile.Payload, [][]byte{data}); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// Disconnected records that the client or the destination ended the connection in a session that
// forwards one at a time.
func (rec *Recording) Disconnected(byClient bool) error {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.forward == nil {
		return nil
	}
	from := fromDestination
	if byClient {
		from = fromClient
	}
	return rec.appendConnections(rec.forward.disconnect(from, time.Now()))
}

func (rec *Recording) appendConnections(ended []*Connection) error {
	for _, c := range ended {
		b, err := json.Marshal(c)
		if err != nil {
			return fmt.Errorf("record: %w", err)
		}
		if err := rec.appendLocked(recfile.Connection, [][]byte{b}); err != nil {
			return err
		}
	}
	return nil
}
