package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sekisho"
	"sekisho/internal/activity/event"
	"sekisho/internal/config"
	"sekisho/internal/server/datalock"
	"sekisho/internal/session/record"
	"sekisho/internal/session/record/recstore"
	"sekisho/internal/session/record/recstore/s3store"
	"sekisho/internal/storage/keyring"
)

// RecordingStore is where recordings are kept outside the data directory.
type RecordingStore struct {
	recstore.Store // nil: the data directory keeps them
	CacheBytes     int64
	SpoolBytes     int64
	UploadEvery    time.Duration
	// CheckRate is how many bytes of what the store has are read and verified per second; 0 = none.
	CheckRate int64

	close func() error
}

// Close closes the store.
func (s RecordingStore) Close() error {
	if s.close == nil {
		return nil
	}
	return s.close()
}

// OpenRecordingStore opens the store of a configuration. It does not contact an S3 store.
func OpenRecordingStore(c *config.RecordingStore) (RecordingStore, error) {
	s := RecordingStore{
		CacheBytes: c.CacheBytes, SpoolBytes: c.SpoolBytes, UploadEvery: c.UploadEvery, CheckRate: c.CheckRate,
	}
	switch {
	case c.Folder != "":
		f, err := recstore.OpenFolder(c.Folder)
		if err != nil {
			return s, err
		}
		s.Store, s.close = f, f.Close
	case c.S3 != nil:
		roots, err := c.S3.Roots()
		if err != nil {
			return s, err
		}
		x := s3store.Open(s3store.Config{
			Endpoint: c.S3.Endpoint, Region: c.S3.Region, Bucket: c.S3.Bucket, Prefix: c.S3.Prefix,
			PathStyle:   c.S3.PathStyle,
			Credentials: s3store.Credentials(c.S3.CredentialsFile), Roots: roots, Timeout: c.S3.Timeout,
		})
		s.Store, s.close = x, x.Close
	}
	return s, nil
}

// remote returns how the recorder uses the store; nil without one.
func (s *Server) remote() *record.Remote {
	store := s.recordingStore()
	if store == nil {
		return nil
	}
	return &record.Remote{
		Context: s.done, Store: store,
		CacheBytes: s.cfg.Recordings.CacheBytes, SpoolBytes: s.cfg.Recordings.SpoolBytes,
		Every: s.cfg.Recordings.UploadEvery, Changed: s.storeChanged,
		Restored: func(ctx context.Context) {
			if err := s.recoverRecordings(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Log.Error("could not report all damaged recordings", "error", err)
			}
		},
	}
}

// storeChanged reports that the store of recordings began to fail, or works again.
func (s *Server) storeChanged(x record.StoreState) {
	at := x.Since
	if x.Problem == "" {
		at = time.Now()
		s.cfg.Log.Info(
			"the store of recordings works again",
			"store", x.Store, "failing_for", time.Since(x.Since).Round(time.Second).String(),
		)
	} else {
		s.cfg.Log.Error(
			"the store of recordings fails: recordings wait on this machine",
			"store", x.Store, "problem", x.Problem, "waiting_bytes", x.Waiting,
		)
	}
	s.bus.Publish(s.bus.Origin().RecordingStore(event.RecordingStore{
		At: at, Store: x.Store, Problem: x.Problem, WaitingBytes: x.Waiting, WaitingRecordings: x.Recordings, Full: x.Full,
	}))
}

// storeProblem returns the line of the health page about a store that fails; "" while it works.
func (s *Server) storeProblem() string {
	x := s.recorder.StoreState()
	if x.Problem == "" {
		return ""
	}
	return fmt.Sprintf(
		"the store of recordings has failed for %s, %d bytes wait", time.Since(x.Since).Round(time.Second), x.Waiting,
	)
}

// MoveRecordings moves all sealed recordings of a stopped server from the data directory to the
// store or, with toFolder, back. Each is verified before it is removed where it was. progress is
// called after each.
func MoveRecordings(
	ctx context.Context,
	c *config.Server,
	toFolder bool,
	progress func(sekisho.SessionID),
) (err error) {
	store, err := OpenRecordingStore(&c.Recordings.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if store.Store == nil {
		return sekisho.Errorf(sekisho.CodeInvalid, "The configuration has no recordings.store.").
			WithHint("Set it as for the server: see docs/operate.md.")
	}
	unlock, err := datalock.Lock(c.Data, datalock.Server)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	ring, err := keyring.Load(c.Data + "/keys")
	if err != nil {
		return err
	}
	if err := record.RestoreLedger(ctx, c.Data, store.Store, record.KeysOf(ring.PublicKey())); err != nil {
		return err
	}
	recorder, err := record.Open(c.Data, ring.Signer(), record.Options{Sealer: ring, Remote: &record.Remote{
		Context: ctx, Store: store.Store, CacheBytes: store.CacheBytes,
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, recorder.Close()) }()
	return recorder.Move(ctx, toFolder, progress)
}
