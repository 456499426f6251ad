package sessionlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/agent/uplink"
)

// Limits of log events, as in AWS's agent.
const (
	streamEvery   = time.Second
	streamRecord  = 33_000  // bytes of the lines in a record
	wholeEvent    = 200_000 // bytes of an event of a log delivered at the end
	streamPending = 4 << 20 // bytes buffered while the server does not answer
)

// group delivers a session log to a log group.
type group struct {
	cfg       Config
	streaming bool
	lost      error // why part of it was not streamed

	mu     sync.Mutex
	open   []byte   // an incomplete line
	lines  []string // complete, not sent yet
	size   int      // of lines
	missed bool     // lines were dropped

	stop chan struct{}
	done sync.WaitGroup
}

type logGroup struct {
	Name  string `json:"logGroupName"`
	KeyID string `json:"kmsKeyId"`
}

type streamName struct {
	Group  string `json:"logGroupName"`
	Stream string `json:"logStreamName"`
}

type logEvent struct {
	Time    int64  `json:"timestamp"`
	Message string `json:"message"`
}

type putEvents struct {
	streamName
	Events []logEvent `json:"logEvents"`
}

func openGroup(ctx context.Context, cfg Config) (*group, error) {
	g := &group{cfg: cfg, stop: make(chan struct{})}
	if cfg.Places.GroupEncrypted {
		if err := g.check(ctx); err != nil {
			return nil, err
		}
	}
	if !cfg.Places.Streaming {
		return g, nil
	}
	if err := g.stream().create(ctx); err != nil {
		// The whole log is sent at the end instead.
		cfg.Log.Warn("could not stream the session log", "error", err)
		return g, nil
	}
	g.streaming = true
	g.done.Go(func() { g.run(context.WithoutCancel(ctx)) })
	return g, nil
}

// check returns an error unless the group is encrypted with a KMS key.
func (g *group) check(ctx context.Context) error {
	name := g.cfg.Places.Group
	var out struct {
		Groups []logGroup `json:"logGroups"`
	}
	err := g.cfg.Services.Logs(ctx, "DescribeLogGroups", map[string]string{"logGroupNamePrefix": name}, &out)
	if err != nil {
		return sekisho.Errorf(
			sekisho.CodeInvalid,
			"The session's log must be encrypted, but the node cannot determine whether the log group %q is. Allow the "+
				"node's role logs:DescribeLogGroups, or turn off cloudWatchEncryptionEnabled in the session preferences. (%w)",
			name,
			err,
		)
	}
	for _, have := range out.Groups {
		if have.Name == name && have.KeyID != "" {
			return nil
		}
	}
	return sekisho.Errorf(sekisho.CodeInvalid,
		"The session's log must be encrypted, but the log group %q is not encrypted.", name).
		WithHint(
			"Associate a KMS key with the log group, or turn off cloudWatchEncryptionEnabled in the session preferences.")
}

func (g *group) stream() logStream {
	return logStream{g.cfg.Services, streamName{g.cfg.Places.Group, string(g.cfg.Session)}}
}

// logStream is a stream of a log group.
type logStream struct {
	services Services
	name     streamName
}

func (s logStream) create(ctx context.Context) error {
	return unlessThere(s.services.Logs(ctx, "CreateLogStream", s.name, &struct{}{}))
}

func unlessThere(err error) error {
	if e, ok := errors.AsType[*uplink.APIError](err); ok && e.Code == "ResourceAlreadyExistsException" {
		return nil
	}
	return err
}

func (s logStream) put(ctx context.Context, messages ...string) error {
	in := putEvents{streamName: s.name}
	for _, m := range messages {
		in.Events = append(in.Events, logEvent{time.Now().UnixMilli(), m})
	}
	return again(ctx, func() error { return s.services.Logs(ctx, "PutLogEvents", in, &struct{}{}) })
}

// PutLog writes a text to a stream of a log group. It creates both if they are
// missing.
func PutLog(ctx context.Context, services Services, group, stream string, text io.Reader) error {
	made := again(ctx, func() error {
		return unlessThere(services.Logs(ctx, "CreateLogGroup", map[string]string{"logGroupName": group}, &struct{}{}))
	})
	// A role without logs:CreateLogGroup can still write to an existing group.
	err := logStream{services, streamName{group, stream}}.all(ctx, text)
	if err != nil && made != nil {
		return made
	}
	return err
}

// write adds output of the session, if the log is streamed.
func (g *group) write(b []byte) {
	if !g.streaming {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		part := b
		if i >= 0 {
			part = b[:i]
		}
		room := min(len(part), streamRecord-len(g.open))
		g.open = append(g.open, part[:room]...)
		switch {
		case room < len(part): // a line too long for one record
			g.endLine()
			b = b[room:]
		case i >= 0:
			g.endLine()
			b = b[i+1:]
		default:
			return
		}
	}
}

func (g *group) endLine() {
	line := plain(g.open)
	g.open = g.open[:0]
	if g.size+len(line) > streamPending {
		g.missed = true
		return
	}
	g.lines = append(g.lines, line)
	g.size += len(line) + 1
}

// run streams until the session ends.
func (g *group) run(ctx context.Context) {
	tick := time.NewTicker(streamEvery)
	defer tick.Stop()
	for {
		select {
		case <-g.stop:
			return
		case <-tick.C:
		}
		if err := g.flush(ctx); err != nil {
			g.cfg.Log.Warn("stopped streaming the session's log", "error", err)
			g.lost = err
			return
		}
	}
}

// flush sends all complete lines.
func (g *group) flush(ctx context.Context) error {
	for {
		g.mu.Lock()
		n, size := 0, 0
		for n < len(g.lines) && (n == 0 || size+len(g.lines[n]) <= streamRecord) {
			size += len(g.lines[n]) + 1
			n++
		}
		lines := g.lines[:n:n]
		g.lines = g.lines[n:]
		g.size -= size
		g.mu.Unlock()
		if n == 0 {
			return nil
		}
		if err := g.stream().put(ctx, g.record(lines)); err != nil {
			return err
		}
	}
}

// record returns the log event in the format of AWS's agent.
func (g *group) record(lines []string) string {
	var r struct {
		Version string `json:"eventVersion"`
		Time    string `json:"eventTime"`
		Region  string `json:"awsRegion"`
		Target  struct {
			ID string `json:"id"`
		} `json:"target"`
		Identity struct {
			ARN string `json:"arn"`
		} `json:"userIdentity"`
		RunAs   string   `json:"runAsUser"`
		Session string   `json:"sessionId"`
		Data    []string `json:"sessionData"`
	}
	r.Version, r.Time, r.Region = "1.0", time.Now().UTC().Format(time.RFC3339), g.cfg.Services.Region()
	r.Target.ID, r.Identity.ARN, r.RunAs, r.Session = string(g.cfg.Node), g.cfg.Owner, g.cfg.User, string(g.cfg.Session)
	r.Data = lines
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // cannot fail: only strings
	}
	return string(b)
}

// deliver sends the rest of the log: the last lines of a streamed log, or all of
// kept.
func (g *group) deliver(ctx context.Context, kept io.Reader) error {
	if g.streaming {
		close(g.stop)
		g.done.Wait()
		g.mu.Lock()
		if len(g.open) > 0 {
			g.endLine()
		}
		g.mu.Unlock()
		if g.lost == nil {
			g.lost = g.flush(ctx)
		}
		if g.lost == nil && g.missed {
			g.lost = fmt.Errorf("the session produced output faster than it could be streamed")
		}
		return g.lost
	}
	return g.stream().all(ctx, kept)
}

// all creates the stream and writes a whole text to it.
func (s logStream) all(ctx context.Context, kept io.Reader) error {
	if err := again(ctx, func() error { return s.create(ctx) }); err != nil {
		return err
	}
	buf := make([]byte, wholeEvent)
	held := 0
	for {
		n, err := io.ReadFull(kept, buf[held:])
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return err
		}
		text := buf[:held+n]
		if len(text) == 0 {
			return nil
		}
		cut := len(text)
		if i := bytes.LastIndexByte(text, '\n'); !end && i > 0 {
			cut = i + 1
		}
		if err := s.put(ctx, strings.ToValidUTF8(string(text[:cut]), "\ufffd")); err != nil {
			return err
		}
		held = copy(buf, text[cut:])
		if end {
			return nil
		}
	}
}

// sequences matches terminal control sequences.
var sequences = regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(\x07|\x1b\\)?|[ -/]+[0-~]|[0-~])`)

// plain returns a line without terminal control sequences.
func plain(line []byte) string {
	s := sequences.ReplaceAllString(strings.ToValidUTF8(string(line), "\ufffd"), "")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ' || r == 0x7f:
			return -1
		}
		return r
	}, s)
}
