package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"sekisho/internal/session/cast"
	"sekisho/internal/session/export"
	"sekisho/internal/session/termsafe"
)

// PositionNow is the end of a recording that is being written.
const PositionNow = "now"

// liveWait is how long the server waits for something new to be recorded.
const liveWait = 10 * time.Second

// livePoll is the interval at which the recording of a running session is polled.
const livePoll = time.Second

// afterReplay resets what a recording may leave behind: colours, a hidden cursor,
// the alternate screen, margins, a character set.
const afterReplay = "\x1b[!p\x1b[?1049l\x1b[?25h\x1b[?7h\x1b[0m\x1b(B\x0f\r\n"

// maxNotes bounds the markers that are listed after a replay.
const maxNotes = 10_000

// ReplayOptions says how to play.
type ReplayOptions struct {
	Speed     float64       // playback speed multiplier; 0 means 1
	IdleLimit time.Duration // longest pause; 0 means the recording's own limit
	// FromStart plays a running session from its beginning, and not from the
	// present moment.
	FromStart bool
	// Marker is called for what the recording says beside the output, such as
	// copied files. The label may contain anything.
	Marker func(at time.Duration, label string)

	live bool // what arrives is shown at once
}

// Replay plays the recording of a session on a terminal. It follows a running
// session to its end, from the present moment on unless opt says otherwise.
func (c *Client) Replay(ctx context.Context, sessionID string, opt ReplayOptions, out, errOut io.Writer) (err error) {
	pages := &pages{ctx: ctx, client: c, sessionID: sessionID}
	var notes []string
	opt.Marker = func(at time.Duration, label string) {
		if label == cast.EncryptedMarker {
			fmt.Fprintln(errOut, export.EncryptedNotice)
			return
		}
		notes = append(notes, fmt.Sprintf("%s  %s", at.Truncate(time.Second), Printable(label)))
		notes = notes[max(0, len(notes)-maxNotes):]
	}
	if !opt.FromStart {
		if pages.position, err = c.liveAt(ctx, sessionID); err != nil {
			return err
		}
		opt.live = pages.position != ""
	}
	err = Play(ctx, pages, opt, out)
	if pages.err != nil {
		err = pages.err // the cast reader would wrap it
	}
	for _, n := range notes { // only now: the screen belongs to the recording
		fmt.Fprintln(errOut, n)
	}
	if pages.unproved {
		fmt.Fprintln(errOut, "The recording is not sealed: the server stopped during the session.")
	}
	return err
}

// Play plays a cast on a terminal.
func Play(ctx context.Context, r io.Reader, opt ReplayOptions, out io.Writer) error {
	reader, err := cast.NewReader(r)
	if err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	if opt.Speed <= 0 {
		opt.Speed = 1
	}
	if opt.IdleLimit <= 0 {
		opt.IdleLimit = time.Duration(reader.Header().IdleTimeLimit * float64(time.Second))
	}
	screen := &termsafe.Writer{W: out}
	played := false
	defer func() {
		if played {
			_, _ = io.WriteString(out, afterReplay) // best effort
		}
	}()
	began := time.Now()
	var last, due time.Duration // in the recording, in the playback
	for {
		ev, err := reader.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("recording: %w", err)
		}
		step := ev.Time - last
		last = ev.Time
		if opt.IdleLimit > 0 {
			step = min(step, opt.IdleLimit)
		}
		due += time.Duration(float64(step) / opt.Speed)
		if !opt.live {
			if err := wait(ctx, due-time.Since(began)); err != nil {
				return err
			}
		}
		if ev.Code == cast.Marker && opt.Marker != nil {
			opt.Marker(ev.Time, string(ev.Data))
		}
		if ev.Code != cast.Output {
			continue
		}
		played = true
		if _, err := screen.Write(ev.Data); err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pages reads a recording page by page, and waits while it is still growing.
type pages struct {
	ctx       context.Context
	client    *Client
	sessionID string
	rest      []byte
	offset    int64
	position  string // in place of offset, of a running session
	snapshot  bool   // of a running session's content so far
	over      bool
	unproved  bool // it ended without a seal
	err       error
}

// Read implements io.Reader.
func (p *pages) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.over {
			return 0, io.EOF
		}
		if p.err = p.next(); p.err != nil {
			return 0, p.err
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// liveAt returns the present position of a session that is running; "" of any
// other, and where the server is too old to have positions.
func (c *Client) liveAt(ctx context.Context, sessionID string) (string, error) {
	page, err := c.RecordingPage(ctx, sessionID, 0)
	if err != nil || !page.Live {
		return "", err
	}
	return PositionNow, nil
}

// following gets the next page of a running session.
func (p *pages) following() error {
	page, err := p.client.RecordingFrom(p.ctx, p.sessionID, p.position)
	if err != nil {
		return err
	}
	if page.NextPosition == "" { // the server is too old and has answered with the beginning
		p.position = ""
		return p.next()
	}
	p.rest, p.position = page.Data, page.NextPosition
	if len(page.Data) == 0 && !page.Live {
		p.over, p.unproved = true, !page.Sealed
	}
	return p.ctx.Err()
}

// next gets a page, or waits if there is none yet.
func (p *pages) next() error {
	if p.position != "" {
		return p.following()
	}
	page, err := p.client.RecordingPage(p.ctx, p.sessionID, p.offset)
	if err != nil {
		return err
	}
	if page.NextOffset != p.offset+int64(len(page.Data)) {
		return errors.New("the server's pages of the recording are not consecutive")
	}
	p.rest, p.offset = page.Data, page.NextOffset
	caughtUp := page.NextOffset >= page.TotalBytes
	switch {
	case page.Complete, caughtUp && !page.Live:
		p.over, p.unproved = true, !page.Sealed
	case p.snapshot && (caughtUp || len(page.Data) == 0):
		p.over, p.unproved = true, true
	case len(page.Data) > 0:
	case caughtUp:
		return wait(p.ctx, livePoll)
	default:
		return errors.New("the server sent an empty page before the end of the recording")
	}
	return nil
}
