package datachannel

import "time"

// The narrowest window of a paced channel, and the one it begins with.
const (
	minWindow   = 64 << 10
	firstWindow = 256 << 10
)

// pathMemory is how long a fast acknowledgement counts as what the path can
// do: paths change.
const pathMemory = 10 * time.Second

// pace sets the window so that little waits on the way: a receiver that takes
// what comes at once gets a wide one, a terminal that draws slowly a narrow
// one.
type pace struct {
	window, most int
	delay        time.Duration // 0: the window is fixed
	path         time.Duration // least time to an acknowledgement, lately
	next         time.Duration // the same since seen, of messages that had the path to themselves
	seen         time.Time
	narrowed     time.Time
}

func newPace(most int, delay time.Duration) pace {
	p := pace{window: most, most: most, delay: delay}
	if delay > 0 {
		p.window = min(firstWindow, most)
	}
	return p
}

// acknowledged takes note that a message of n bytes took so long, while
// flight bytes were on their way.
func (p *pace) acknowledged(now time.Time, took time.Duration, n, flight int) {
	if p.delay == 0 {
		return
	}
	switch {
	case p.path == 0 || took < p.path:
		p.path, p.next, p.seen = took, took, now
	case flight <= minWindow: // nothing of ours stands in the way: the path itself
		if p.next = min(p.next, took); now.Sub(p.seen) >= pathMemory {
			p.path, p.next, p.seen = p.next, took, now
		}
	}
	switch {
	case took <= p.path+p.delay:
		if flight >= p.window/2 { // it is the window that limits
			p.window = min(p.window+n, p.most)
		}
	case now.Sub(p.narrowed) >= took: // its effect shows only in later messages
		p.window = max(p.window*2/3, min(minWindow, p.most))
		p.narrowed = now
	}
}
