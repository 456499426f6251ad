package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sekisho/internal/config"
	"sekisho/internal/session/record/recstore"
)

// checkTimeout bounds a request of a check, which must not wait as long as an upload does.
const checkTimeout = 5 * time.Second

// CheckRecordingStore contacts the store of recordings of a configuration. It writes one object,
// reads it back and removes it. It returns a description of what it found.
func CheckRecordingStore(ctx context.Context, c *config.Server) (string, error) {
	cfg := c.Recordings.Store
	if cfg.Folder == "" && cfg.S3 == nil {
		return "recordings are in " + filepath.Join(c.Data, "recordings"), nil
	}
	if cfg.Folder != "" {
		if _, err := os.Stat(cfg.Folder); errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("recordings: store: folder: %s does not exist: create or mount it", cfg.Folder)
		}
	}
	if cfg.S3 != nil {
		short := *cfg.S3
		short.Timeout = checkTimeout
		cfg.S3 = &short
	}
	store, err := OpenRecordingStore(&cfg)
	if err != nil {
		return "", err
	}
	if err := errors.Join(recstore.Probe(ctx, store), store.Close()); err != nil {
		return "", fmt.Errorf("recordings: store: %w", err)
	}
	return store.String() + " can be written, read and listed", nil
}

// CheckWitnesses checks the witnesses of a configuration: whether files can be written, and whether
// buckets can be reached and lock their objects. It publishes nothing, so it does not find out
// whether receivers of requests answer. It returns a description of what it found.
func CheckWitnesses(ctx context.Context, c *config.Server) (string, error) {
	if len(c.Witnesses) == 0 {
		return "none configured", nil
	}
	var found []string
	var errs []error
	for i := range c.Witnesses {
		w := &c.Witnesses[i]
		var text string
		var err error
		switch {
		case w.S3 != nil:
			text, err = checkWitnessBucket(ctx, w.S3)
		case w.File != "":
			text, err = w.File, checkWitnessFile(w.File)
		default:
			text = w.URL + " (not contacted)"
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("witnesses: %w", err))
			continue
		}
		found = append(found, text)
	}
	return strings.Join(found, "; "), errors.Join(errs...)
}

func checkWitnessFile(name string) error {
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		_, err := os.Stat(filepath.Dir(name))
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func checkWitnessBucket(ctx context.Context, c *config.WitnessBucket) (string, error) {
	short := *c
	short.Timeout = checkTimeout
	w, err := openWitnessBucket(&short)
	if err != nil {
		return "", err
	}
	lock, err := w.store.Lock(ctx)
	if err := errors.Join(err, w.store.Close()); err != nil {
		return "", err
	}
	switch {
	case !lock.Versioning:
		return "", fmt.Errorf("%s: versioning is off: whoever can write to the bucket can replace heads; turn it on", w)
	case !lock.Enabled:
		return "", fmt.Errorf("%s: object lock is off: whoever can write to the bucket can remove heads; "+
			"create a bucket with object lock", w)
	case w.retain == 0 && lock.Default == 0:
		return "", fmt.Errorf("%s: object lock has no default retention, and retain_days is not set: heads are not locked; "+
			"set retain_days", w)
	case w.retain == 0 && lock.Mode != "COMPLIANCE":
		return "", fmt.Errorf("%s: the default retention has the mode %s, which privileged users can bypass; "+
			"set retain_days, which uses COMPLIANCE", w, lock.Mode)
	}
	days := cmp.Or(w.retain, lock.Default) / (24 * time.Hour)
	return fmt.Sprintf("%s locks objects for %d days", w, days), nil
}
