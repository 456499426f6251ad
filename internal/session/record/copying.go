package record

import (
	"encoding/json"
	"fmt"

	"sekisho/internal/session/recfile"
	"sekisho/internal/session/transfer"
)

// copying follows a copy of files in a session.
type copying struct {
	observer transfer.Observer
	lost     bool // the copy cannot be followed any longer
}

// Markers for copies whose files are not listed.
const (
	copyRestarted = "copied files are not listed from here on: the server was restarted during the copy"
	copyUnknown   = "copied files are not listed from here on: the copy does not follow the protocol"
)

// Copy follows a copy of files. It records each file that p completes, but not the content.
func (rec *Recording) Copy(fromClient bool, p []byte) error {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.sealed != nil || rec.closed || rec.exit != nil {
		return errClosed
	}
	if rec.copying == nil {
		rec.copying = &copying{lost: rec.resumed}
		if rec.resumed {
			return rec.appendLocked(recfile.Marker, [][]byte{[]byte(copyRestarted)})
		}
	}
	if rec.copying.lost {
		return nil
	}
	done, err := rec.copying.observer.Pass(fromClient, p)
	if failed := rec.appendFiles(done); failed != nil {
		return failed
	}
	if err != nil {
		rec.copying.lost = true
		return rec.appendLocked(recfile.Marker, [][]byte{[]byte(copyUnknown)})
	}
	return nil
}

// finishCopy records the files that were begun but not completed.
func (rec *Recording) finishCopy() error {
	if rec.copying == nil || rec.copying.lost {
		return nil
	}
	left := rec.copying.observer.Unfinished()
	rec.copying.lost = true
	return rec.appendFiles(left)
}

func (rec *Recording) appendFiles(files []transfer.Observed) error {
	for _, f := range files {
		c := recfile.Copied{
			Direction: recfile.Download, Path: f.Path, Dir: f.Dir, Mode: fmt.Sprintf("%04o", f.Mode), Size: f.Size,
			Offset: f.Offset, Passed: f.Passed, SHA256: f.SHA256, Complete: f.Complete,
		}
		if f.FromClient {
			c.Direction = recfile.Upload
		}
		b, err := json.Marshal(c)
		if err != nil {
			return fmt.Errorf("record: %w", err)
		}
		if err := rec.appendLocked(recfile.File, [][]byte{b}); err != nil {
			return err
		}
	}
	return nil
}
