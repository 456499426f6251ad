package transfer

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"

	"sekisho/internal/safetext"
)

// Observed is a folder or file that was copied.
type Observed struct {
	// FromClient reports that the client sent it, that is, it was uploaded.
	FromClient bool
	// Path has slashes and begins with the name of the source.
	Path string
	Dir  bool
	Mode uint32 // permission bits
	Size int64
	// Offset is the size of the part that the receiver already had.
	Offset int64
	// Passed is how many bytes of the content were transferred.
	Passed int64
	SHA256 string // as the sender declared it and the receiver checked it
	// Complete reports that the receiver accepted the file. A folder is always complete.
	Complete bool
}

// Observer follows the protocol between the two sides, for a server that carries a copy. It does
// not trust the claims of either side alone.
type Observer struct {
	sides   [2]observedFrames
	sender  int // index in sides; valid after the hello
	hello   bool
	name    string
	pending []Observed
	next    int // of pending: the file whose content comes next
	err     error
}

// observedFrames splits one direction into frames.
type observedFrames struct {
	head [5]byte
	n    int // bytes of head
	left int // bytes of the body that have not arrived yet
	body []byte
}

const (
	nodeSide = iota
	personSide
)

// maxObservedPath limits a path, in bytes.
const maxObservedPath = 4 << 10

var errObserved = errors.New("the copy does not follow the protocol")

// Pass processes data from one side and returns the items that it completes. An error means that
// the data is not a copy; all later calls return the same error.
func (o *Observer) Pass(fromClient bool, p []byte) ([]Observed, error) {
	side := nodeSide
	if fromClient {
		side = personSide
	}
	var done []Observed
	for len(p) > 0 && o.err == nil {
		var k kind
		var n int
		var whole bool
		k, n, whole, p = o.sides[side].take(p)
		switch {
		case k == 0:
		case n > maxBody:
			o.err = errObserved
		case k == kindData:
			o.data(side, n)
		case whole:
			done = append(done, o.frame(side, k, o.sides[side].body)...)
		}
	}
	return done, o.err
}

// take consumes the next part of a frame from p. For data, n is the number of bytes in p; for other
// frames, n is the length of the frame, and whole reports whether all of it is in body.
func (f *observedFrames) take(p []byte) (k kind, n int, whole bool, rest []byte) {
	if f.n < len(f.head) {
		taken := copy(f.head[f.n:], p)
		f.n += taken
		if f.n < len(f.head) {
			return 0, 0, false, p[taken:]
		}
		p = p[taken:]
		length := binary.BigEndian.Uint32(f.head[1:])
		if length > maxBody {
			return kind(f.head[0]), maxBody + 1, false, p
		}
		f.left, f.body = int(length), f.body[:0]
	}
	k, n = kind(f.head[0]), min(f.left, len(p))
	if k != kindData {
		f.body = append(f.body, p[:n]...)
	}
	f.left -= n
	if f.left == 0 {
		f.n = 0
		whole = true
	}
	return k, n, whole, p[n:]
}

// Unfinished returns the files that were begun but not accepted.
func (o *Observer) Unfinished() []Observed {
	var left []Observed
	for i, f := range o.pending {
		if i < o.next || f.Passed > 0 || f.Offset > 0 {
			left = append(left, f)
		}
	}
	return left
}

func (o *Observer) data(side, n int) {
	if !o.hello || side != o.sender || o.next >= len(o.pending) {
		o.err = errObserved
		return
	}
	o.pending[o.next].Passed += int64(n)
}

// frame handles a frame and returns the items that it completes.
func (o *Observer) frame(side int, k kind, body []byte) (done []Observed) {
	if k == kindHello {
		var h hello
		if o.hello || json.Unmarshal(body, &h) != nil {
			o.err = errObserved
			return nil
		}
		o.hello, o.sender, o.name = true, side, h.Name
		return nil
	}
	if !o.hello {
		if k != kindError { // the receiver can fail before the hello
			o.err = errObserved
		}
		return nil
	}
	if side != o.sender {
		if k == kindAccepted {
			for _, f := range o.pending[:o.next] {
				f.Complete = true
				done = append(done, f)
			}
			o.pending, o.next = nil, 0
		}
		return done
	}
	switch k {
	case kindEntry:
		var e entry
		if json.Unmarshal(body, &e) != nil {
			o.err = errObserved
			return nil
		}
		if f := o.observed(e); f.Dir {
			f.Complete = true
			return []Observed{f}
		}
		o.pending, o.next = []Observed{o.observed(e)}, 0
	case kindFiles:
		var all []entry
		if json.Unmarshal(body, &all) != nil || len(all) > maxBatch {
			o.err = errObserved
			return nil
		}
		o.pending, o.next = nil, 0
		for _, e := range all {
			o.pending = append(o.pending, o.observed(e))
		}
	case kindBegin:
		var b begin
		if o.next >= len(o.pending) || json.Unmarshal(body, &b) != nil {
			o.err = errObserved
			return nil
		}
		o.pending[o.next].Offset = b.Offset
	case kindEnd:
		var e end
		if o.next >= len(o.pending) || json.Unmarshal(body, &e) != nil {
			o.err = errObserved
			return nil
		}
		if sum, err := hex.DecodeString(e.SHA256); err == nil && len(sum) == 32 {
			o.pending[o.next].SHA256 = e.SHA256
		}
		o.next++
	default: // notes, errors and the end
	}
	return nil
}

func (o *Observer) observed(e entry) Observed {
	path := strings.TrimSuffix(o.name+"/"+e.Path, "/")
	return Observed{
		FromClient: o.sender == personSide, Path: safetext.Clip(path, maxObservedPath), Dir: e.Dir,
		Mode: e.Mode & 0o777, Size: e.Size,
	}
}
