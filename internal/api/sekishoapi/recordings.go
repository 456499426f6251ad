package sekishoapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"time"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/session/record"
	"sekisho/internal/session/record/recstore"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/id"
)

// maxPage bounds the bytes of a recording in one answer.
const maxPage = 1 << 20

// recordingPage selects a part of a recording.
type recordingPage struct {
	StartOffset int64
	MaxBytes    int64
	// Position, in place of StartOffset, is "now" or the NextPosition of an
	// earlier answer.
	Position string
	// WaitMilliseconds is how long the answer may wait for something new at a
	// Position.
	WaitMilliseconds int64
}

func (p *recordingPage) check(v *awsproto.Constraints) {
	v.Range("startOffset", p.StartOffset, 0, 1<<53)
	if p.MaxBytes != 0 {
		v.Range("maxBytes", p.MaxBytes, 1, maxPage)
	}
	v.Length("position", p.Position, 0, 64)
	v.Range("waitMilliseconds", p.WaitMilliseconds, 0, record.MaxWait.Milliseconds())
}

type getRequest struct {
	SessionID string `json:"SessionId"`
	recordingPage
}

type getAnswer struct {
	SessionID  string `json:"SessionId"`
	Data       []byte // Base64 on the wire
	NextOffset int64
	// NextPosition is where the next call continues that has a Position.
	NextPosition string `json:",omitempty"`
	TotalBytes   int64  // an estimate until Complete
	Complete     bool
	Sealed       bool
	Live         bool
	Seal         json.RawMessage `json:",omitempty"`
}

func (d *door) getSessionRecording(ctx context.Context, c *api.Call, in *getRequest) (*getAnswer, error) {
	var v awsproto.Constraints
	v.Require("sessionId", in.SessionID != "")
	v.Length("sessionId", in.SessionID, 0, 96)
	in.check(&v)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := d.authorize(ctx, c, actionGetRecording, in.SessionID); err != nil {
		return nil, err
	}
	return d.readRecording(ctx, c, in.SessionID, &in.recordingPage)
}

// readRecording answers with a part of a recording that the caller may view.
func (d *door) readRecording(
	ctx context.Context, c *api.Call, session string, in *recordingPage,
) (*getAnswer, error) {
	if in.Position != "" && in.StartOffset != 0 {
		return nil, root.Errorf(root.CodeInvalid, "StartOffset and Position exclude each other.")
	}
	if d.Recorder.Live(root.SessionID(session)) != nil {
		if err := d.watched(ctx, c, session); err != nil {
			return nil, err
		}
	}
	n := cmp.Or(in.MaxBytes, maxPage)
	var page record.Page
	var next string
	var err error
	if in.Position == "" {
		page, err = d.Recorder.CastPage(root.SessionID(session), in.StartOffset, int(n))
	} else {
		wait := time.Duration(in.WaitMilliseconds) * time.Millisecond
		page, next, err = d.Recorder.PageFrom(ctx, root.SessionID(session), in.Position, int(n), wait)
	}
	if err != nil {
		return nil, recordingError(session, err)
	}
	out := &getAnswer{
		SessionID: session, Data: page.Data, NextOffset: page.Next, NextPosition: next, TotalBytes: page.Total,
		Sealed: page.Seal != nil, Live: page.Live, Seal: sealJSON(page.Seal),
	}
	out.Complete = out.Sealed && page.End
	return out, nil
}

// recordingError explains why a recording cannot be read.
func recordingError(session string, err error) error {
	if flaw, ok := errors.AsType[*record.Flaw](err); ok {
		return root.Errorf(root.CodeConflict, "The recording of session %s is damaged: %w.", session, flaw)
	}
	if _, ok := errors.AsType[*recstore.Error](err); ok {
		return root.Errorf(root.CodeConflict,
			"The recording of session %s cannot be read now: the store of recordings fails.", session).
			WithHint("Retry later. The server's log and health page say what is wrong.")
	}
	return err
}

// sealJSON returns a seal for an answer. A damaged seal must not make the answer invalid JSON.
func sealJSON(seal []byte) json.RawMessage {
	if !json.Valid(seal) {
		return nil
	}
	return seal
}

type verifyRequest struct {
	SessionID string `json:"SessionId"`
}

type verifyAnswer struct {
	SessionID      string `json:"SessionId"`
	Verified       bool
	Problem        string
	Sealed         bool
	Live           bool
	Encrypted      bool            // end to end: the server saw no content
	Seal           json.RawMessage `json:",omitempty"`
	KeyFingerprint string
}

func (d *door) verifySessionRecording(ctx context.Context, c *api.Call, in *verifyRequest) (*verifyAnswer, error) {
	var v awsproto.Constraints
	v.Require("sessionId", in.SessionID != "")
	v.Length("sessionId", in.SessionID, 0, 96)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := d.authorize(ctx, c, "sekisho:VerifySessionRecording", in.SessionID); err != nil {
		return nil, err
	}
	out := &verifyAnswer{SessionID: in.SessionID, KeyFingerprint: d.Recorder.Key()}
	_, err := d.Recorder.Verify(root.SessionID(in.SessionID))
	if flaw, ok := errors.AsType[*record.Flaw](err); ok {
		out.Problem = flaw.Error()
	} else if err != nil {
		return nil, recordingError(in.SessionID, err)
	}
	out.Verified = err == nil
	rec, err := d.Recorder.Open(root.SessionID(in.SessionID))
	if flaw, ok := errors.AsType[*record.Flaw](err); ok {
		// The file is missing, or too damaged to open.
		out.Problem = cmp.Or(out.Problem, flaw.Error())
		out.Sealed = d.Recorder.Sealed(root.SessionID(in.SessionID))
		return out, nil
	}
	if err != nil {
		return nil, recordingError(in.SessionID, err)
	}
	defer rec.Close()
	out.Sealed, out.Live, out.Seal = rec.Seal != nil, rec.Live, sealJSON(rec.Seal)
	if out.Encrypted, err = rec.Encrypted(); err != nil {
		if _, ok := errors.AsType[*record.Flaw](err); !ok {
			return nil, recordingError(in.SessionID, err)
		}
		out.Problem = cmp.Or(out.Problem, err.Error())
	}
	return out, nil
}

// authorize decides on the recording of one session. Like the session itself, it has two names, the
// ID and the ID prefixed with the owner's unique ID, so that policies with ${aws:username} and with
// ${aws:userid} both work. It authorizes before it reads anything, so that callers without
// permission do not learn whether a recording exists.
func (d *door) authorize(ctx context.Context, c *api.Call, action, name string) error {
	if !id.ValidSession(name) {
		return c.Authorize(ctx, action, "*")
	}
	names, keys, err := d.resources(ctx, name)
	if err != nil {
		return err
	}
	return c.AuthorizeAny(ctx, action, names, keys...)
}

// Integrity is the result of a check of the server's data.
type Integrity struct {
	CheckedAt    time.Time
	Recordings   int64
	Sessions     int64
	AuditRecords int64
	Findings     []IntegrityFinding
}

// IntegrityFinding is a place where the data differs from what the server wrote.
type IntegrityFinding struct {
	Kind    string // missing, altered, swapped, truncated, rolled back, inserted, unsigned
	Where   string // recording, ledger, session or audit
	Subject string
	Problem string
}

type integrityRequest struct{}

type integrityAnswer struct {
	RecordingBytes int64 // disk space of the recordings
	Checked        bool  // false before the first check
	CheckedAt      string
	*Integrity
}

// getIntegrity covers the whole server, so it has no resource.
func (d *door) getIntegrity(ctx context.Context, c *api.Call, _ *integrityRequest) (*integrityAnswer, error) {
	if err := c.Authorize(ctx, "sekisho:GetIntegrity", "*"); err != nil {
		return nil, err
	}
	size, err := d.Recorder.Bytes()
	if err != nil {
		return nil, err
	}
	out := &integrityAnswer{RecordingBytes: size, Integrity: &Integrity{Findings: []IntegrityFinding{}}}
	if d.Integrity == nil {
		return out, nil
	}
	if found := d.Config.Integrity(); found != nil {
		out.Checked, out.CheckedAt, out.Integrity = true, found.CheckedAt.UTC().Format(time.RFC3339), found
	}
	return out, nil
}

type holdRequest struct {
	SessionID string `json:"SessionId"`
	Reason    string
}

type holdAnswer struct {
	SessionID string `json:"SessionId"`
	Held      bool
}

const maxHoldReason = 256

// holdSessionRecording exempts a recording from removal.
func (d *door) holdSessionRecording(ctx context.Context, c *api.Call, in *holdRequest) (*holdAnswer, error) {
	var v awsproto.Constraints
	v.Require("sessionId", in.SessionID != "")
	v.Length("sessionId", in.SessionID, 0, 96)
	v.Length("reason", in.Reason, 0, maxHoldReason)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := d.authorize(ctx, c, "sekisho:HoldSessionRecording", in.SessionID); err != nil {
		return nil, err
	}
	if err := d.Recorder.Hold(root.SessionID(in.SessionID), in.Reason); err != nil {
		return nil, err
	}
	return &holdAnswer{SessionID: in.SessionID, Held: true}, nil
}

// releaseSessionRecording ends a hold.
func (d *door) releaseSessionRecording(ctx context.Context, c *api.Call, in *verifyRequest) (*holdAnswer, error) {
	var v awsproto.Constraints
	v.Require("sessionId", in.SessionID != "")
	v.Length("sessionId", in.SessionID, 0, 96)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := d.authorize(ctx, c, "sekisho:ReleaseSessionRecording", in.SessionID); err != nil {
		return nil, err
	}
	if err := d.Recorder.Release(root.SessionID(in.SessionID)); err != nil {
		return nil, err
	}
	return &holdAnswer{SessionID: in.SessionID}, nil
}
