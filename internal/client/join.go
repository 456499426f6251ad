package client

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Participant is a person who watches a session or types into it, beside its
// owner.
type Participant struct {
	Principal string // ARN
	Keyboard  bool   // may type
	Since     string // RFC 3339
	LastTyped string `json:",omitempty"` // RFC 3339
}

// Participants lists who watches a session and who types into it.
func (c *Client) Participants(ctx context.Context, sessionID string) ([]Participant, error) {
	var out struct{ Participants []Participant }
	err := c.call(ctx, "sekisho", "Sekisho.ListSessionParticipants", sessionInput{sessionID}, &out)
	return out.Participants, err
}

// JoinSession connects the terminal to a running session of somebody else, who sees
// that. What is typed is recorded with the name of the caller.
func (c *Client) JoinSession(ctx context.Context, sessionID string, t *Terminal) error {
	var out struct{}
	if err := c.call(ctx, "sekisho", "Sekisho.JoinSession", sessionInput{sessionID}, &out); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	leave := func() error {
		return c.call(context.WithoutCancel(ctx), "sekisho", "Sekisho.LeaveSession", sessionInput{sessionID}, &out)
	}
	restore, err := t.Raw()
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	defer restore()
	t.notice("You joined " + Printable(sessionID) + ". Its owner can see that. To leave, type Enter, then ~.")
	go func() { cancel(c.typeInto(ctx, sessionID, t)) }() // cannot be waited for: a Read of t.In may never return
	pages := &pages{ctx: ctx, client: c, sessionID: sessionID, position: PositionNow}
	err = Play(ctx, pages, ReplayOptions{live: true}, t.Out)
	if pages.err != nil {
		err = pages.err
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if errors.Is(err, errLeft) {
		err = leave()
	}
	return err
}

// errLeft says that the user has left a session that was joined.
var errLeft = errors.New("you left the session")

// typeInto sends what is typed until the user leaves.
func (c *Client) typeInto(ctx context.Context, sessionID string, t *Terminal) error {
	var esc escape
	in, kept := make([]byte, maxJoinedInput), make([]byte, 0, maxJoinedInput+1)
	for {
		n, err := t.In.Read(in)
		p, left := in[:n], false
		if t.Interactive {
			p, left = esc.filter(kept[:0], p)
		}
		if len(p) > 0 && !left {
			body := struct {
				SessionID string `json:"SessionId"`
				Data      []byte
			}{sessionID, p}
			var out struct{}
			if err := c.call(ctx, "sekisho", "Sekisho.SendSessionInput", body, &out); err != nil {
				return err
			}
		}
		if left || errors.Is(err, io.EOF) {
			return errLeft
		}
		if err != nil {
			return fmt.Errorf("input: %w", err)
		}
	}
}

// maxJoinedInput bounds what is typed with one call.
const maxJoinedInput = 8 << 10
