package sekishoapi

import (
	"context"
	"errors"
	"strings"
	"time"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/safetext"
	"sekisho/internal/session/recfile"
	"sekisho/internal/session/record"
	"sekisho/internal/wire/awsproto"
)

const (
	maxSearchText    = 256
	maxSearchResults = 200
	// maxPerRecording bounds the results from one recording.
	maxPerRecording = 100
	// searchTime bounds the work of one call. The next page continues.
	searchTime = 5 * time.Second
	// maxResultText bounds a line in an answer.
	maxResultText = 512
)

type searchRequest struct {
	Text       string
	Owner      string // ARN of the session's owner; empty = any
	Target     string // node; empty = any
	After      string // RFC 3339; only sessions that started at or after this time
	Before     string // RFC 3339
	MaxResults int64
	NextToken  string
}

type searchResult struct {
	SessionID string `json:"SessionId"`
	Owner     string
	Target    string
	StartedAt string
	OffsetMs  int64 // of the line, since the start
	Text      string
}

type searchAnswer struct {
	Results   []searchResult
	NextToken string `json:",omitempty"`
}

func (in *searchRequest) check() (after, before time.Time, err error) {
	var v awsproto.Constraints
	v.Length("text", in.Text, 1, maxSearchText)
	v.Length("owner", in.Owner, 0, 2048)
	v.Length("target", in.Target, 0, 128)
	v.Length("nextToken", in.NextToken, 0, 96)
	if in.MaxResults != 0 {
		v.Range("maxResults", in.MaxResults, 1, maxSearchResults)
	}
	if err := v.Err(); err != nil {
		return after, before, err
	}
	for _, t := range []struct {
		name, text string
		to         *time.Time
	}{{"After", in.After, &after}, {"Before", in.Before, &before}} {
		if t.text == "" {
			continue
		}
		if *t.to, err = time.Parse(time.RFC3339, t.text); err != nil {
			return after, before, root.Errorf(root.CodeInvalid, "%s %.64q is not a time in RFC 3339.", t.name, t.text)
		}
	}
	return after, before, nil
}

// searchSessionRecordings searches the terminal output of the recordings that the caller can read.
// A page contains whole recordings, so it can be longer than requested, or empty.
func (d *door) searchSessionRecordings(ctx context.Context, c *api.Call, in *searchRequest) (*searchAnswer, error) {
	if err := c.Authorize(ctx, "sekisho:SearchSessionRecordings", "*"); err != nil {
		return nil, err
	}
	after, before, err := in.check()
	if err != nil {
		return nil, err
	}
	limit := int(in.MaxResults)
	if limit == 0 {
		limit = maxSearchResults
	}
	out := &searchAnswer{Results: []searchResult{}}
	skip := in.NextToken != ""
	deadline := time.Now().Add(searchTime)
	last := ""
	for sum, err := range d.Recorder.List() {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		id := string(sum.SessionID)
		if skip {
			skip = id != in.NextToken
			continue
		}
		if last != "" && (len(out.Results) >= limit || time.Now().After(deadline)) {
			out.NextToken = last
			break
		}
		last = id
		if err != nil || in.Owner != "" && sum.Owner != in.Owner || in.Target != "" && string(sum.Node) != in.Target ||
			!after.IsZero() && sum.Start.Before(after) || !before.IsZero() && !sum.Start.Before(before) {
			continue
		}
		allowed, err := d.mayRead(ctx, c, id)
		if err != nil {
			return nil, err
		}
		if !allowed {
			continue
		}
		n := 0
		err = d.Recorder.Search(sum.SessionID, in.Text, func(l recfile.Line) bool {
			out.Results = append(out.Results, searchResult{
				SessionID: id, Owner: sum.Owner, Target: string(sum.Node), StartedAt: sum.Start.UTC().Format(time.RFC3339),
				OffsetMs: l.Time.Milliseconds(), Text: safetext.Prefix(l.Text, maxResultText),
			})
			n++
			return n < maxPerRecording
		})
		if _, damaged := errors.AsType[*record.Flaw](err); err != nil && !damaged && !root.IsNotFound(err) {
			return nil, recordingError(id, err)
		}
	}
	return out, nil
}

// mayRead reports whether the caller can read a recording. Unlike [door.authorize] it adds no
// decision to the audit event, because there can be thousands.
func (d *door) mayRead(ctx context.Context, c *api.Call, id string) (bool, error) {
	names, keys, err := d.resources(ctx, id)
	if err != nil {
		return false, err
	}
	facts := c.Facts()
	allowed := false
	for _, name := range names {
		v, err := d.Authorizer.Decide(ctx, &facts, "sekisho:GetSessionRecording", name, keys...)
		if err != nil {
			return false, err
		}
		if v.Explicit && !v.Allowed {
			return false, nil
		}
		allowed = allowed || v.Allowed
	}
	return allowed, nil
}

// resources returns the ARNs of a recording in policies.
func (d *door) resources(ctx context.Context, id string) (names []string, keys []authz.Key, err error) {
	prefix := "arn:aws:ssm:" + d.Region + ":" + d.Account + ":session/"
	names = []string{prefix + id}
	s, err := d.Sessions.Session(ctx, root.SessionID(id))
	if root.IsNotFound(err) {
		return names, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	keys = authz.ResourceTags("ssm", map[string]string{
		"aws:ssmmessages:session-id": s.OwnerUserID,
		"aws:ssmmessages:target-id":  string(s.Target),
	})
	if i := strings.LastIndexByte(id, '-'); i > 0 && s.OwnerUserID != "" {
		names = append(names, prefix+s.OwnerUserID+id[i:])
	}
	return names, keys, nil
}
