// Package sekishoapi is the door to what AWS's services have no operations for:
// the recordings of sessions, why policies decide as they do, passkeys. It
// speaks JSON 1.1 as the service "sekisho".
package sekishoapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
	"sekisho/internal/session/record"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/id"
)

// maxPage bounds the bytes of a recording in one answer.
const maxPage = 1 << 20

// Sessions knows who a session belonged to.
type Sessions interface {
	// Session returns a session, or an error of root.CodeNotFound.
	Session(ctx context.Context, id root.SessionID) (*root.Session, error)
}

// Config is what the door needs.
type Config struct {
	Recorder *record.Recorder
	Sessions Sessions
	Fleet    Machines
	// Directory, Authorizer and Requests answer why somebody may or may not
	// do something; the directory keeps passkeys as well.
	Directory  *identity.Directory
	Authorizer *authz.Authorizer
	Requests   PolicyRequests
	// StartChecks reports whether a session could start now.
	StartChecks StartChecks
	Events      Events
	// Resumer is nil where sessions are resumed with credentials only.
	Resumer Resumer
	// Installer words how a machine gets its agent.
	Installer Installer
	Region    string
	Account   string
}

type door struct{ Config }

// New returns the door.
func New(cfg Config) *api.Door {
	d := &door{cfg}
	out := &api.Door{
		Service: "sekisho", Protocol: awsproto.JSON,
		Operations: map[string]api.Operation{
			"GetSessionRecording":    api.Read(d.getSessionRecording),
			"VerifySessionRecording": api.Read(d.verifySessionRecording),

			"ListSeenMachines":    api.Read(d.listSeenMachines),
			"ApproveNodeIdentity": api.Write(d.approveNodeIdentity),

			"ExplainAccess": api.Read(d.explainAccess),

			"BeginPasskeyRegistration": api.Write(d.beginPasskeyRegistration),
			"RegisterPasskey":          api.Write(d.registerPasskey, api.Hide("State")),
			"ListPasskeys":             api.Read(d.listPasskeys),
			"FinishFirstRun": api.Write(d.finishFirstRun,
				api.NoPolicy("only the first administrator can call it, once")),
		},
	}
	maps.Copy(out.Operations, d.resumeOperations())
	maps.Copy(out.Operations, d.eventOperations())
	maps.Copy(out.Operations, d.quickSetupOperations())
	maps.Copy(out.Operations, d.startOperations())
	return out
}

type getRequest struct {
	SessionID   string `json:"SessionId"`
	StartOffset int64
	MaxBytes    int64
}

type getAnswer struct {
	SessionID  string `json:"SessionId"`
	Data       []byte // Base64 on the wire
	NextOffset int64
	TotalBytes int64
	Complete   bool
	Sealed     bool
	Live       bool
	Seal       json.RawMessage `json:",omitempty"`
}

func (d *door) getSessionRecording(ctx context.Context, c *api.Call, in *getRequest) (*getAnswer, error) {
	var v awsproto.Constraints
	v.Require("sessionId", in.SessionID != "")
	v.Length("sessionId", in.SessionID, 0, 96)
	v.Range("startOffset", in.StartOffset, 0, 1<<53)
	if in.MaxBytes != 0 {
		v.Range("maxBytes", in.MaxBytes, 1, maxPage)
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := d.authorize(ctx, c, "sekisho:GetSessionRecording", in.SessionID); err != nil {
		return nil, err
	}
	rec, err := d.Recorder.Open(root.SessionID(in.SessionID))
	if err != nil {
		return nil, err
	}
	defer rec.Close()
	total := rec.Size()
	if in.StartOffset > total {
		return nil, root.Errorf(root.CodeInvalid, "StartOffset %d is beyond the end of the recording, which has %d bytes.", in.StartOffset, total)
	}
	n := in.MaxBytes
	if n == 0 {
		n = maxPage
	}
	data := make([]byte, min(n, total-in.StartOffset))
	if _, err := rec.ReadAt(data, in.StartOffset); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read recording of %s: %w", in.SessionID, err)
	}
	out := &getAnswer{
		SessionID: in.SessionID, Data: data, NextOffset: in.StartOffset + int64(len(data)), TotalBytes: total,
		Sealed: rec.Seal != nil, Live: rec.Live, Seal: sealJSON(rec.Seal),
	}
	out.Complete = out.Sealed && out.NextOffset == total
	return out, nil
}

// sealJSON is a seal as a part of an answer: one that is no JSON any more
// must not make the answer unreadable.
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
		return nil, err
	}
	out.Verified = err == nil
	rec, err := d.Recorder.Open(root.SessionID(in.SessionID))
	if flaw, ok := errors.AsType[*record.Flaw](err); ok {
		// A recording without its cast has been told of above.
		out.Problem = flaw.Error()
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	defer rec.Close()
	out.Sealed, out.Live, out.Seal = rec.Seal != nil, rec.Live, sealJSON(rec.Seal)
	return out, nil
}

// authorize decides on the recording of one session. Like the session itself
// it is known by two names, the ID and the same with the owner's unique ID in
// front, so that policies with ${aws:username} and with ${aws:userid} both
// mean what they say. It is asked before anything is looked up: who may not
// see a recording learns nothing about whether there is one.
func (d *door) authorize(ctx context.Context, c *api.Call, action, name string) error {
	if !id.ValidSession(name) {
		return c.Authorize(ctx, action, "*")
	}
	names := []string{name}
	var keys []authz.Key
	s, err := d.Sessions.Session(ctx, root.SessionID(name))
	switch {
	case err == nil:
		keys = authz.ResourceTags("ssm", map[string]string{
			"aws:ssmmessages:session-id": s.OwnerUserID,
			"aws:ssmmessages:target-id":  string(s.Target),
		})
		if i := strings.LastIndexByte(name, '-'); i > 0 && s.OwnerUserID != "" {
			names = append(names, s.OwnerUserID+name[i:])
		}
	case !root.IsNotFound(err):
		return err
	}
	var refusal error
	allowed := false
	for _, n := range names {
		v, err := c.Decide(ctx, action, "arn:aws:ssm:"+d.Region+":"+d.Account+":session/"+n, keys...)
		if err != nil {
			return err
		}
		if v.Explicit && !v.Allowed {
			return api.Denied(v)
		}
		if !v.Allowed && refusal == nil {
			refusal = api.Denied(v)
		}
		allowed = allowed || v.Allowed
	}
	if !allowed {
		return refusal
	}
	c.Allow()
	return nil
}
