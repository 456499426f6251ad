package datachannel

import "time"

// The narrowest window of a paced channel, and its initial window.
const (
	minWindow   = 64 << 10
	firstWindow = 256 << 10
)

// pathMemory is how long the fastest acknowledgement counts as the latency of the path,
// which can change.
const pathMemory = 10 * time.Second

// pace sets the window so that little data is queued in transit: a fast receiver gets a
// wide window, a slow terminal a narrow one.
type pace struct {
	window, most int
	delay        time.Duration // 0: the window is fixed
	path         time.Duration // shortest recent time to an acknowledgement
	next         time.Duration // the same since seen, for messages that were alone on the path
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

// acknowledged records that the acknowledgement of a message of n bytes took this long,
// with flight bytes in flight.
func (p *pace) acknowledged(now time.Time, took time.Duration, n, flight int) {
	if p.delay == 0 {
		return
	}
	switch {
	case p.path == 0 || took < p.path:
		p.path, p.next, p.seen = took, took, now
	case flight <= minWindow: // none of our data is queued: this is the latency of the path
		if p.next = min(p.next, took); now.Sub(p.seen) >= pathMemory {
			p.path, p.next, p.seen = p.next, took, now
		}
	}
	switch {
	case took <= p.path+p.delay:
		if flight >= p.window/2 { // the window is the limit
			p.window = min(p.window+n, p.most)
		}
	case now.Sub(p.narrowed) >= took: // its effect shows only in later messages
		p.window = max(p.window*2/3, min(minWindow, p.most))
		p.narrowed = now
	}
}
