package client

import (
	"context"
	"fmt"
	"io"

	"sekisho/internal/session/export"
)

// ExportRecording writes the recording of a session to w. For a running session, it writes the
// recording so far.
func (c *Client) ExportRecording(ctx context.Context, sessionID string, f export.Format, w, errOut io.Writer) error {
	pages := &pages{ctx: ctx, client: c, sessionID: sessionID, snapshot: true}
	err := export.Write(w, pages, f)
	if pages.err != nil {
		return pages.err // the cast reader would wrap it
	}
	if err == nil && pages.unproved {
		fmt.Fprintln(errOut, "The recording is not sealed: the session is running, or the server stopped during it.")
	}
	return err
}
