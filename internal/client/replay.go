package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"sekisho/internal/session/cast"
)

// livePoll is how often a recording that is being made is asked for more.
const livePoll = time.Second

// afterReplay puts right what a recording may leave behind: colours, a hidden
// cursor, the other screen, margins, a character set.
const afterReplay = "\x1b[!p\x1b[?1049l\x1b[?25h\x1b[?7h\x1b[0m\x1b(B\x0f\r\n"

// ReplayOptions says how to play.
type ReplayOptions struct {
	Speed     float64       // 2 is twice as fast; 0 means 1
	IdleLimit time.Duration // pauses are cut at this; 0 means what the recording says
}

// Replay plays the recording of a session on a terminal. A session that is
// still going on is followed to its end.
func (c *Client) Replay(ctx context.Context, session string, opt ReplayOptions, out, errOut io.Writer) error {
	pages := &pages{ctx: ctx, client: c, session: session}
	err := Play(ctx, pages, opt, out)
	if pages.err != nil {
		err = pages.err // without what the reader of casts makes of it
	}
	if pages.unproved {
		fmt.Fprintln(errOut, "The recording is not sealed: the server stopped while it was made.")
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
	screen := &Sanitizer{W: out}
	played := false
	defer func() {
		if played {
			_, _ = io.WriteString(out, afterReplay) // nothing better can be done
		}
	}()
	began := time.Now()
	var last, due time.Duration // of the recording, of the playing
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
		if err := wait(ctx, due-time.Since(began)); err != nil {
			return err
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

// pages reads a recording page by page, and waits where it is still growing.
type pages struct {
	ctx      context.Context
	client   *Client
	session  string
	rest     []byte
	offset   int64
	over     bool
	unproved bool // the end came without a seal
	err      error
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

// next gets a page, or waits a moment where there is none yet.
func (p *pages) next() error {
	page, err := p.client.RecordingPage(p.ctx, p.session, p.offset)
	if err != nil {
		return err
	}
	if page.NextOffset != p.offset+int64(len(page.Data)) {
		return errors.New("the server's pages do not follow one another")
	}
	p.rest, p.offset = page.Data, page.NextOffset
	caughtUp := page.NextOffset >= page.TotalBytes
	switch {
	case page.Complete, caughtUp && !page.Live:
		p.over, p.unproved = true, !page.Sealed
	case len(page.Data) > 0:
	case caughtUp:
		return wait(p.ctx, livePoll)
	default:
		return errors.New("the server sent an empty page of a recording that goes on")
	}
	return nil
}
