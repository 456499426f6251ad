package sekishoapi

import (
	"context"
	"time"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/session/share"
	"sekisho/internal/wire/awsproto"
)

// Actions of links to recordings.
const (
	actionGetRecording   = "sekisho:GetSessionRecording"
	actionShareRecording = "sekisho:ShareSessionRecording"
)

func (d *door) linkOperations() map[string]api.Operation {
	return map[string]api.Operation{
		"ShareSessionRecording": api.Write(d.shareSessionRecording),
		"ListRecordingLinks":    api.Read(d.listRecordingLinks),
		"RevokeRecordingLink":   api.Write(d.revokeRecordingLink),
		"GetSharedRecording":    api.Read(d.getSharedRecording, api.Hide("Token")),
	}
}

type shareRequest struct {
	SessionID       string `json:"SessionId"`
	DurationSeconds int64
}

type linkShape struct {
	LinkID    string `json:"LinkId"`
	SessionID string `json:"SessionId"`
	CreatedBy string
	CreatedAt awsproto.Epoch
	ExpiresAt awsproto.Epoch
}

type shareAnswer struct {
	linkShape
	// Token opens the link. It is not stored and not shown again.
	Token string
	// Path is the address in the console. The token is in its fragment, which browsers do not send.
	Path string
}

func shapeOfLink(l *share.Link) linkShape {
	return linkShape{
		LinkID: l.ID, SessionID: string(l.Session), CreatedBy: l.CreatedBy,
		CreatedAt: awsproto.NewEpoch(l.CreatedAt), ExpiresAt: awsproto.NewEpoch(l.ExpiresAt),
	}
}

// shareSessionRecording makes a link to a recording that the caller can view.
func (d *door) shareSessionRecording(ctx context.Context, c *api.Call, in *shareRequest) (*shareAnswer, error) {
	if err := checkSessionID(in.SessionID); err != nil {
		return nil, err
	}
	lasts := time.Duration(min(max(in.DurationSeconds, 0), 1<<31)) * time.Second
	if in.DurationSeconds == 0 {
		lasts = share.DefaultDuration
	}
	for _, action := range []string{actionShareRecording, actionGetRecording} {
		if err := d.authorize(ctx, c, action, in.SessionID); err != nil {
			return nil, err
		}
	}
	if _, err := d.Sessions.Session(ctx, root.SessionID(in.SessionID)); err != nil {
		return nil, err
	}
	l, token, err := d.Links.Create(ctx, root.SessionID(in.SessionID), c.Principal.ARN, lasts)
	if err != nil {
		return nil, err
	}
	c.Annotate(map[string]any{"linkId": l.ID, "expiresAt": l.ExpiresAt.Format(time.RFC3339)})
	return &shareAnswer{linkShape: shapeOfLink(l), Token: token, Path: "/console/shared/" + l.ID + "#" + token}, nil
}

type linksAnswer struct{ Links []linkShape }

// listRecordingLinks lists the usable links to a recording, without their tokens.
func (d *door) listRecordingLinks(ctx context.Context, c *api.Call, in *joinRequest) (*linksAnswer, error) {
	if err := checkSessionID(in.SessionID); err != nil {
		return nil, err
	}
	if err := d.authorize(ctx, c, "sekisho:ListRecordingLinks", in.SessionID); err != nil {
		return nil, err
	}
	all, err := d.Links.Links(ctx, root.SessionID(in.SessionID))
	if err != nil {
		return nil, err
	}
	out := &linksAnswer{Links: []linkShape{}}
	for _, l := range all {
		out.Links = append(out.Links, shapeOfLink(l))
	}
	return out, nil
}

type linkRequest struct {
	LinkID string `json:"LinkId"`
}

func checkLinkID(link string) error {
	var v awsproto.Constraints
	v.Require("linkId", link != "")
	v.Length("linkId", link, 0, 32)
	return v.Err()
}

// revokeRecordingLink ends a link. The resource is the session, so that a policy that lets a user
// share a recording can let the same user revoke its links.
func (d *door) revokeRecordingLink(ctx context.Context, c *api.Call, in *linkRequest) (*linkRequest, error) {
	if err := checkLinkID(in.LinkID); err != nil {
		return nil, err
	}
	l, err := d.Links.Link(ctx, in.LinkID)
	if err != nil && !root.IsNotFound(err) {
		return nil, err
	}
	session := ""
	if l != nil {
		session = string(l.Session)
	}
	if err := d.authorize(ctx, c, "sekisho:RevokeRecordingLink", session); err != nil {
		return nil, err
	}
	if err := d.Links.Revoke(ctx, in.LinkID, c.Principal.ARN); err != nil {
		return nil, err
	}
	return &linkRequest{LinkID: in.LinkID}, nil
}

type sharedRequest struct {
	LinkID string `json:"LinkId"`
	Token  string
	recordingPage
}

// getSharedRecording reads a recording through a link. The link replaces a missing Allow of
// sekisho:GetSessionRecording, but does not override a Deny.
func (d *door) getSharedRecording(ctx context.Context, c *api.Call, in *sharedRequest) (*getAnswer, error) {
	if err := checkLinkID(in.LinkID); err != nil {
		return nil, err
	}
	var v awsproto.Constraints
	v.Require("token", in.Token != "")
	v.Length("token", in.Token, 0, 64)
	in.check(&v)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if c.Principal.Node != "" { // links are for people
		return nil, c.Authorize(ctx, actionGetRecording, "*")
	}
	l, err := d.Links.Open(ctx, in.LinkID, in.Token)
	if err != nil {
		c.Allow() // that a link is unknown or over is all that callers without a token learn
		return nil, err
	}
	names, keys, err := d.resources(ctx, string(l.Session))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		verdict, err := c.Decide(ctx, actionGetRecording, name, keys...)
		if err != nil {
			return nil, err
		}
		if verdict.Explicit && !verdict.Allowed {
			return nil, api.Denied(ctx, verdict)
		}
	}
	c.Allow()
	c.Annotate(map[string]any{"sessionId": string(l.Session)})
	return d.readRecording(ctx, c, string(l.Session), &in.recordingPage)
}
