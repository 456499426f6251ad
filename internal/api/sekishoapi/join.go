package sekishoapi

import (
	"context"
	"time"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/session/participants"
	"sekisho/internal/session/record"
	"sekisho/internal/wire/awsproto"
)

// Participants knows who watches sessions and types into them, and shows it to
// their owners.
type Participants interface {
	// Watch notes that a principal watches a session.
	Watch(ctx context.Context, s *root.Session, principal string) error
	// Join notes that a principal has a keyboard in a session.
	Join(ctx context.Context, s *root.Session, principal string, typed bool) error
	Leave(ctx context.Context, s *root.Session, principal string) error
	List(session root.SessionID) []participants.Participant
	// Type types into the terminal of a session.
	Type(ctx context.Context, s *root.Session, data []byte) error
}

const actionJoin = "sekisho:JoinSession"

// maxInput bounds what is typed with one call.
const maxInput = 16 << 10

func (d *door) joinOperations() map[string]api.Operation {
	return map[string]api.Operation{
		"JoinSession":             api.Write(d.joinSession),
		"SendSessionInput":        api.Write(d.sendSessionInput, api.Hide("Data")),
		"LeaveSession":            api.Write(d.leaveSession),
		"ListSessionParticipants": api.Read(d.listSessionParticipants),
	}
}

type joinRequest struct {
	SessionID string `json:"SessionId"`
}

type joinAnswer struct {
	SessionID string `json:"SessionId"`
}

func checkSessionID(session string) error {
	var v awsproto.Constraints
	v.Require("sessionId", session != "")
	v.Length("sessionId", session, 0, 96)
	return v.Err()
}

// joinSession lets a second person type into a running session.
func (d *door) joinSession(ctx context.Context, c *api.Call, in *joinRequest) (*joinAnswer, error) {
	if err := checkSessionID(in.SessionID); err != nil {
		return nil, err
	}
	s, _, err := d.joinable(ctx, c, in.SessionID)
	if err != nil {
		return nil, err
	}
	if err := d.Participants.Join(ctx, s, c.Principal.ARN, false); err != nil {
		return nil, err
	}
	return &joinAnswer{SessionID: in.SessionID}, nil
}

// joinable returns a session that the caller may join, and its recording.
func (d *door) joinable(ctx context.Context, c *api.Call, session string) (*root.Session, *record.Recording, error) {
	if err := d.authorize(ctx, c, actionJoin, session); err != nil {
		return nil, nil, err
	}
	s, err := d.Sessions.Session(ctx, root.SessionID(session))
	if err != nil {
		return nil, nil, err
	}
	refused := func(why string) error {
		return root.Errorf(root.CodeConflict, "Nobody can join session %s: %s.", session, why)
	}
	rec := d.Recorder.Live(s.ID)
	if !s.Status.Active() || rec == nil {
		return nil, nil, refused("it has ended")
	}
	if s.Recording == root.RecordingEncrypted || rec.Encrypted() {
		return nil, nil, refused("it is encrypted end to end, and the server does not have its key")
	}
	switch kind := rec.Kind(); {
	case kind == nil:
		return nil, nil, refused("its agent has not connected yet")
	case !kind.Joinable:
		return nil, nil, refused("it has no terminal, or its agent is AWS's or an older one of Sekisho's")
	}
	return s, rec, nil
}

type inputRequest struct {
	SessionID string `json:"SessionId"`
	Data      []byte // Base64 on the wire
}

type inputAnswer struct{}

// sendSessionInput types into a session for somebody who joined it. What is
// typed is recorded, with the name of the caller, before it reaches the node.
func (d *door) sendSessionInput(ctx context.Context, c *api.Call, in *inputRequest) (*inputAnswer, error) {
	if err := checkSessionID(in.SessionID); err != nil {
		return nil, err
	}
	var v awsproto.Constraints
	v.Range("data", int64(len(in.Data)), 1, maxInput)
	if err := v.Err(); err != nil {
		return nil, err
	}
	s, rec, err := d.joinable(ctx, c, in.SessionID)
	if err != nil {
		return nil, err
	}
	if err := d.Participants.Join(ctx, s, c.Principal.ARN, true); err != nil {
		return nil, err
	}
	if err := rec.JoinedInput(c.Principal.ARN, in.Data); err != nil {
		return nil, err
	}
	return &inputAnswer{}, d.Participants.Type(ctx, s, in.Data)
}

// leaveSession says that the caller no longer watches a session or types into
// it.
func (d *door) leaveSession(ctx context.Context, c *api.Call, in *joinRequest) (*joinAnswer, error) {
	if err := checkSessionID(in.SessionID); err != nil {
		return nil, err
	}
	if err := d.authorize(ctx, c, actionJoin, in.SessionID); err != nil {
		return nil, err
	}
	s, err := d.Sessions.Session(ctx, root.SessionID(in.SessionID))
	if err != nil {
		return nil, err
	}
	return &joinAnswer{SessionID: in.SessionID}, d.Participants.Leave(ctx, s, c.Principal.ARN)
}

type participantsAnswer struct {
	Participants []participantAnswer
}

type participantAnswer struct {
	Principal string
	Keyboard  bool
	Since     string
	LastTyped string `json:",omitempty"`
}

// listSessionParticipants says who watches a session and who types into it. The
// session's owner needs no permission for that.
func (d *door) listSessionParticipants(
	ctx context.Context, c *api.Call, in *joinRequest,
) (*participantsAnswer, error) {
	if err := checkSessionID(in.SessionID); err != nil {
		return nil, err
	}
	s, err := d.Sessions.Session(ctx, root.SessionID(in.SessionID))
	if err != nil && !root.IsNotFound(err) {
		return nil, err
	}
	if s != nil && c.Principal != nil && s.Owner == c.Principal.ARN {
		c.Allow()
	} else if err := d.authorize(ctx, c, "sekisho:ListSessionParticipants", in.SessionID); err != nil {
		return nil, err
	}
	out := &participantsAnswer{Participants: []participantAnswer{}}
	for _, p := range d.Participants.List(root.SessionID(in.SessionID)) {
		a := participantAnswer{Principal: p.Principal, Keyboard: p.Keyboard, Since: p.Since.UTC().Format(time.RFC3339)}
		if !p.LastTyped.IsZero() {
			a.LastTyped = p.LastTyped.UTC().Format(time.RFC3339)
		}
		out.Participants = append(out.Participants, a)
	}
	return out, nil
}

// watched notes that the caller watches a session that is running.
func (d *door) watched(ctx context.Context, c *api.Call, session string) error {
	if c.Principal == nil || d.Participants == nil {
		return nil
	}
	s, err := d.Sessions.Session(ctx, root.SessionID(session))
	if err != nil || s.Owner == c.Principal.ARN {
		return err
	}
	return d.Participants.Watch(ctx, s, c.Principal.ARN)
}
