package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"sekisho/internal/activity/audit"
	"sekisho/internal/config"
	"sekisho/internal/session/record"
)

// ledgerHeadEvent is the audit event that contains the head of the recordings' ledger, so that
// truncating either is detectable from the other.
const ledgerHeadEvent = "RecordingLedgerHead"

const (
	// witnessEvery is the interval at which new heads are published.
	witnessEvery = 10 * time.Second
	// witnessTimeout bounds one publication.
	witnessTimeout = 10 * time.Second
	// ledgerHeadEvery is the interval at which the ledger's head is recorded in the audit trail.
	ledgerHeadEvery = time.Minute
)

// Witness is a place that keeps heads where root on this server cannot change
// them.
type Witness interface {
	// Publish stores a signed line permanently.
	Publish(ctx context.Context, line []byte) error
	String() string
}

// witnessesOf returns the witnesses of a configuration.
func witnessesOf(all []config.Witness) ([]Witness, error) {
	var out []Witness
	for _, w := range all {
		switch {
		case w.File != "":
			out = append(out, witnessFile(w.File))
		case w.S3 != nil:
			bucket, err := openWitnessBucket(w.S3)
			if err != nil {
				return nil, err
			}
			out = append(out, bucket)
		default:
			out = append(out, witnessURL(w.URL))
		}
	}
	return out, nil
}

// witnessFile appends to a file, which should be on another machine's file system.
type witnessFile string

func (w witnessFile) String() string { return string(w) }

// Publish implements Witness.
func (w witnessFile) Publish(_ context.Context, line []byte) error {
	f, err := os.OpenFile(string(w), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// witnessURL posts to a receiver, which must answer with a 2xx status.
type witnessURL string

func (w witnessURL) String() string { return string(w) }

// maxWitnessAnswer bounds a receiver's answer, in bytes.
const maxWitnessAnswer = 4 << 10

// Publish implements Witness.
func (w witnessURL) Publish(ctx context.Context, line []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, string(w), bytes.NewReader(line))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxWitnessAnswer))
	err = errors.Join(err, resp.Body.Close())
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("it answered %s", resp.Status)
	}
	return err
}

// newHead stores the newest head of the audit trail.
func (s *Server) newHead(_ context.Context, h audit.Head) error {
	s.auditHead.Store(&h)
	return nil
}

// watchHeads signs the audit trail, records the ledger's head in it, and publishes both to the
// witnesses, until ctx ends.
func (s *Server) watchHeads(ctx context.Context) {
	sign := time.NewTimer(0)
	defer sign.Stop()
	unsigned := wakeup(nil) // nil while the timer runs
	ledger := time.NewTicker(ledgerHeadEvery)
	defer ledger.Stop()
	publish := time.NewTicker(witnessEvery)
	defer publish.Stop()
	if len(s.cfg.Witnesses) == 0 {
		publish.Stop()
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-unsigned:
			sign.Reset(audit.SignEvery)
			unsigned = nil
		case <-sign.C:
			unsigned = s.unsigned
			if err = s.trail.Sign(ctx); err != nil {
				s.unsigned.send()
			}
		case <-ledger.C:
			err = s.keepLedgerHead(ctx)
		case <-publish.C:
			s.publish(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("could not sign the audit trail", "error", err)
		}
	}
}

func (s *Server) keepLedgerHead(ctx context.Context) error {
	digest, lines := s.recorder.Head()
	if digest == s.ledgerHead {
		return nil
	}
	if err := s.trail.Record(ctx,
		s.serverEvent(ledgerHeadEvent, map[string]any{"digest": digest, "lines": lines})); err != nil {
		return err
	}
	s.ledgerHead = digest
	return nil
}

// publish sends the newest heads to every witness that does not have them.
func (s *Server) publish(ctx context.Context) {
	if len(s.cfg.Witnesses) == 0 {
		return
	}
	w := record.Witness{Time: time.Now().UTC()}
	w.LedgerDigest, w.LedgerLines = s.recorder.Head()
	if h := s.auditHead.Load(); h != nil {
		w.AuditSeq, w.AuditHash, w.AuditTime, w.AuditSignature = h.Seq, h.Hash, h.Time, h.Signature
	}
	if s.published == nil {
		s.published = make(map[string]string)
	}
	state := fmt.Sprintf("%s %d", w.LedgerDigest, w.AuditSeq)
	var line []byte
	for _, to := range s.cfg.Witnesses {
		if s.published[to.String()] == state {
			continue
		}
		if line == nil {
			var err error
			if line, err = w.Sign(s.ring.Signer()); err != nil {
				s.cfg.Log.Error("could not sign heads for the witnesses", "error", err)
				return
			}
		}
		limit, cancel := context.WithTimeout(ctx, witnessTimeout)
		err := to.Publish(limit, line)
		cancel()
		if err != nil {
			s.cfg.Log.Error("could not publish heads to a witness", "witness", to.String(), "error", err)
			continue
		}
		s.published[to.String()] = state
	}
}
