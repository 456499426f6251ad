package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"sekisho"
	"sekisho/internal/session/transfer"
	"sekisho/internal/wire/mgs"
)

// documentCopy is the session document for copies.
const documentCopy = "Sekisho-Copy"

// Place is one side of a copy: a local path, or a path on a node.
type Place struct {
	Target string // empty for a local path
	Path   string
}

// ParsePlace parses TARGET:PATH or PATH. A local path with a colon in its first
// component must begin with "./".
func ParsePlace(s string) Place {
	head, path, ok := strings.Cut(s, ":")
	if tag, isTag := strings.CutPrefix(s, "tag:"); isTag {
		if head, path, ok = strings.Cut(tag, ":"); !ok {
			return Place{Path: s}
		}
		head = "tag:" + head
	}
	if !ok || head == "" || strings.ContainsAny(head, `/\`) {
		return Place{Path: s}
	}
	return Place{Target: head, Path: path}
}

// CopyInput says what to copy. Exactly one of From and To is on a node.
type CopyInput struct {
	From, To Place
	Reason   string
}

// Copy copies a file or a folder to or from a node. The node's side runs as the
// session's OS user.
func (c *Client) Copy(ctx context.Context, in CopyInput, o transfer.Options, on Callbacks) (err error) {
	direction, local, remote := "upload", in.From.Path, in.To
	if in.From.Target != "" {
		direction, local, remote = "download", in.To.Path, in.From
	}
	if direction == "download" {
		if o.Name, local, err = downloadName(remote.Path, local); err != nil {
			return err
		}
	}
	l, err := c.start(ctx, StartInput{
		Target: remote.Target, Reason: in.Reason, DocumentName: documentCopy,
		Parameters: map[string][]string{"direction": {direction}, "path": {first(remote.Path, ".")}},
	}, on.notice)
	if err != nil {
		return err
	}
	l.attach(ctx)
	if err = l.greet(ctx); err == nil && !l.hello.offers(offerCopy) {
		err = sekisho.Errorf(sekisho.CodeInvalid, "The node's agent cannot copy files: sekisho cp needs Sekisho's agent.").
			WithHint("Use scp with the configuration that sekisho ssh-config writes.")
	}
	if err != nil {
		return cmp.Or(l.end(ctx, err), err)
	}
	on.started(l.stream.SessionID, false)
	r, w := io.Pipe()
	type ending struct {
		exit *ExitError
		err  error
	}
	ended := make(chan ending, 1)
	go func() {
		exit, err := l.collect(ctx, w)
		_ = w.CloseWithError(io.ErrUnexpectedEOF) // never fails
		ended <- ending{exit, err}
	}()
	conn := struct {
		io.Reader
		io.Writer
	}{r, &outputWriter{ctx: ctx, l: l, pt: mgs.PayloadCopy}}
	if direction == "upload" {
		err = transfer.Send(conn, local, o)
	} else {
		err = transfer.Receive(conn, local, o)
	}
	_ = l.send(ctx, mgs.PayloadFlag, mgs.FlagDisconnectToPort.Bytes()) // the node may be gone
	if err != nil {
		_ = r.Close() // discards the rest of the data
		if peer, ok := errors.AsType[*transfer.PeerError](err); ok {
			err = fmt.Errorf("on the node: %s", Printable(peer.Text))
		}
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return cmp.Or(l.end(ctx, err), err)
	}
	how := <-ended
	switch {
	case how.exit != nil && how.exit.Code == 0:
		l.detach()
		return nil
	case how.exit != nil:
		l.detach()
		return fmt.Errorf("the node's side of the copy failed with exit code %d", how.exit.Code)
	}
	return cmp.Or(l.end(ctx, how.err), errors.New("the node's side of the copy ended early"))
}

// downloadName returns the name under which a download is stored in an existing
// folder: the last component of the requested path. The node does not choose it.
// A path without a name of its own, such as ".", needs a destination that does
// not exist yet.
func downloadName(remote, local string) (name, where string, err error) {
	name = path.Base(strings.TrimRight(remote, "/"))
	if remote != "" && name != "~" && transfer.ValidName(name) {
		return name, local, nil
	}
	where = filepath.Clean(local)
	name = filepath.Base(where)
	if _, err := os.Lstat(where); err == nil || !transfer.ValidName(name) {
		return "", "", sekisho.Errorf(sekisho.CodeInvalid, "The source path %s has no name for the copy.", quoted(remote)).
			WithHint("Name the copy in DESTINATION: %s.", Printable(filepath.Join(local, "NAME")))
	}
	return name, where, nil
}

// collect writes the node's side of the copy protocol to w until the session ends.
func (l *leg) collect(ctx context.Context, w *io.PipeWriter) (*ExitError, error) {
	var exit *ExitError
	for {
		pt, b, err := l.receive(ctx)
		if err != nil {
			return exit, err
		}
		switch pt {
		case mgs.PayloadCopy:
			if _, err := w.Write(b); err != nil {
				continue // our side has ended; the node's exit code is still to come
			}
		case mgs.PayloadExitCode:
			code, err := mgs.ParseExitCode(b)
			if err != nil {
				return nil, err
			}
			exit = &ExitError{code}
		}
	}
}
