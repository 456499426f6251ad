package sekishoapi

import (
	"context"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/id"
)

// Resumer resumes sessions with the sessions' own tokens.
type Resumer interface {
	ResumeToken(ctx context.Context, session root.SessionID) (string, error)
	ResumeByToken(ctx context.Context, session root.SessionID, token string) (string, error)
}

func (d *door) resumeOperations() map[string]api.Operation {
	return map[string]api.Operation{
		"GetResumeToken": api.Write(d.getResumeToken),
		"ResumeSessionByToken": api.Write(d.resumeSessionByToken, api.By(api.Anonymous),
			api.NoPolicy("the session's own token is the permission, if the server's settings allow it")),
	}
}

type resumeTokenRequest struct {
	SessionID string `json:"SessionId"`
}

type resumeTokenAnswer struct {
	SessionID   string `json:"SessionId"`
	ResumeToken string // empty if the setting is off or the session has ended
}

// getResumeToken returns the token to callers who are allowed to resume the session anyway.
func (d *door) getResumeToken(ctx context.Context, c *api.Call, in *resumeTokenRequest) (*resumeTokenAnswer, error) {
	var v awsproto.Constraints
	v.Require("sessionId", in.SessionID != "")
	v.Length("sessionId", in.SessionID, 0, 96)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := d.authorize(ctx, c, "ssm:ResumeSession", in.SessionID); err != nil {
		return nil, err
	}
	out := &resumeTokenAnswer{SessionID: in.SessionID}
	if d.Resumer == nil {
		return out, nil
	}
	var err error
	out.ResumeToken, err = d.Resumer.ResumeToken(ctx, root.SessionID(in.SessionID))
	return out, err
}

type resumeByTokenRequest struct {
	SessionID   string `json:"SessionId"`
	ResumeToken string
}

type resumeByTokenAnswer struct {
	SessionID  string `json:"SessionId"`
	TokenValue string
	StreamURL  string `json:"StreamUrl"`
}

// resumeSessionByToken is ResumeSession of ssm without a signature.
func (d *door) resumeSessionByToken(
	ctx context.Context,
	c *api.Call,
	in *resumeByTokenRequest,
) (*resumeByTokenAnswer, error) {
	var v awsproto.Constraints
	v.Require("sessionId", in.SessionID != "")
	v.Length("sessionId", in.SessionID, 0, 96)
	v.Length("resumeToken", in.ResumeToken, 0, 300)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if d.Resumer == nil || !id.ValidSession(in.SessionID) {
		return nil, root.Errorf(root.CodeDenied, "The token does not resume this session.")
	}
	token, err := d.Resumer.ResumeByToken(ctx, root.SessionID(in.SessionID), in.ResumeToken)
	if err != nil {
		return nil, err
	}
	c.Allow()
	return &resumeByTokenAnswer{
		SessionID: in.SessionID, TokenValue: token,
		StreamURL: "wss://" + c.Host + "/v1/data-channel/" + in.SessionID + "?role=publish_subscribe",
	}, nil
}
