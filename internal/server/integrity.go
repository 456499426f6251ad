package server

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/activity/event"
	"sekisho/internal/api/sekishoapi"
	"sekisho/internal/config"
	"sekisho/internal/session/broker"
	"sekisho/internal/session/record"
	"sekisho/internal/session/record/recstore"
	"sekisho/internal/storage/keyring"
)

// Finding is a place where the data differs from what the server wrote.
type Finding struct {
	Kind    string `json:"kind"`    // missing, altered, swapped, truncated, rolled back, inserted, unsigned
	Where   string `json:"where"`   // recording, ledger, session or audit
	Subject string `json:"subject"` // session ID, or number of the record or line
	Problem string `json:"problem"`
}

// Integrity is the result of a check of the data.
type Integrity struct {
	Started    time.Time     `json:"started"`
	Took       time.Duration `json:"took_ns"`
	Recordings int64         `json:"recordings"`
	Sessions   int64         `json:"sessions"`
	Records    int64         `json:"audit_records"`
	Witnesses  int64         `json:"witnesses"`
	Findings   []Finding     `json:"findings"`
	// StoreUnchecked says why the store of recordings could not be compared.
	StoreUnchecked string `json:"store_unchecked,omitempty"`
	// OnlyStored counts the recordings that the server has yet to fetch from the store, after the
	// folder was lost. They were checked there.
	OnlyStored int64 `json:"only_stored,omitempty"`
}

// maxFindings bounds the listed findings.
const maxFindings = 1000

// sessionLister lists sessions.
type sessionLister interface {
	Sessions(ctx context.Context, q broker.Query) ([]*sekisho.Session, error)
}

// integrityCheck compares recordings, ledger, sessions and audit trail with
// themselves, with each other, and with witnesses.
type integrityCheck struct {
	archive   *record.Archive
	trail     audit.Reader
	lister    sessionLister
	key       ed25519.PublicKey
	witnesses []record.Witness
	// segments is the directory of the exported parts of the audit trail; empty for none.
	segments string
	// foreign are objects in the buckets of witnesses that the server did not sign.
	foreign []Finding
	// background says that a store that fails is not an error.
	background bool
}

// settleTime is the pause after which a check with findings is repeated: a change during the check
// is not a finding.
const settleTime = 2 * time.Second

// run returns the findings that two checks agree on.
func (c *integrityCheck) run(ctx context.Context) (*Integrity, error) {
	first, err := c.pass(ctx)
	if err != nil || len(first.Findings) == 0 {
		return first, err
	}
	t := time.NewTimer(settleTime)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.C:
	}
	second, err := c.pass(ctx)
	if err != nil {
		return nil, err
	}
	type key struct{ kind, where, subject string }
	before := make(map[key]bool)
	for _, f := range first.Findings {
		before[key{f.Kind, f.Where, f.Subject}] = true
	}
	second.Findings = slices.DeleteFunc(
		second.Findings,
		func(f Finding) bool { return !before[key{f.Kind, f.Where, f.Subject}] },
	)
	second.Took += second.Started.Sub(first.Started)
	second.Started = first.Started
	return second, nil
}

func (c *integrityCheck) pass(ctx context.Context) (*Integrity, error) {
	out := &Integrity{Started: time.Now().UTC(), Witnesses: int64(len(c.witnesses)), Findings: []Finding{}}
	add := func(f Finding) {
		if len(out.Findings) < maxFindings {
			out.Findings = append(out.Findings, f)
		}
	}
	for _, f := range c.foreign {
		add(f)
	}
	events := &sessionEvents{started: make(map[sekisho.SessionID]int64), terminated: make(map[sekisho.SessionID]time.Time)}
	heads, err := c.auditTrail(ctx, out, events, add)
	if err != nil {
		return nil, err
	}
	sessions, err := c.sessions(ctx)
	if err != nil {
		return nil, err
	}
	out.Sessions = int64(len(sessions))
	rep, err := record.VerifyLedger(c.archive.FS(), c.archive.Keys(), heads...)
	if err != nil && len(rep.Flaws) == 0 {
		return nil, err
	}
	listed := make(map[string]bool)
	for _, f := range rep.Flaws {
		finding := findingOf(f)
		if finding.Where == "recording" {
			listed[finding.Subject] = true
		}
		add(finding)
	}
	flaws, err := c.archive.CheckStore(ctx)
	if err != nil {
		if !c.background {
			return nil, err
		}
		out.StoreUnchecked = err.Error()
	}
	for _, f := range flaws {
		finding := findingOf(f)
		listed[finding.Subject] = true
		add(finding)
	}
	for id := range c.archive.All() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out.Recordings++
		if listed[string(id)] {
			continue
		}
		err := c.archive.Check(id)
		if flaw, ok := errors.AsType[*record.Flaw](err); ok {
			add(Finding{string(cmp.Or(flaw.Kind, record.Altered)), "recording", string(id), flaw.Error()})
		} else if err != nil {
			return nil, fmt.Errorf("recording of %s: %w", id, err)
		}
	}
	c.compare(sessions, rep.Recordings, add)
	if err := c.compareEvents(ctx, sessions, rep.Recordings, events, out.Started, add); err != nil {
		return nil, err
	}
	out.Took = time.Since(out.Started)
	return out, nil
}

func findingOf(f *record.Flaw) Finding {
	out := Finding{Kind: string(cmp.Or(f.Kind, record.Altered)), Where: "recording", Problem: f.Error()}
	if f.File == record.LedgerFile {
		out.Where, out.Subject = "ledger", "line "+strconv.FormatInt(f.Line, 10)
		return out
	}
	// YYYY/MM/SESSION or YYYY/MM/SESSION/FILE
	out.Subject = filepath.Base(f.File)
	if out.Subject == record.SealFile {
		out.Subject = filepath.Base(filepath.Dir(f.File))
	}
	return out
}

// auditTrail checks the trail. It returns the heads of the ledger that the trail and the witnesses
// have.
func (c *integrityCheck) auditTrail(
	ctx context.Context,
	out *Integrity,
	sessions *sessionEvents,
	add func(Finding),
) ([]record.LedgerHead, error) {
	var heads []record.LedgerHead
	var known []audit.Head
	for _, w := range c.witnesses {
		heads = append(heads, record.LedgerHead{Lines: w.LedgerLines, Digest: w.LedgerDigest})
		if w.AuditSeq > 0 {
			known = append(
				known,
				audit.Head{Seq: w.AuditSeq, Hash: w.AuditHash, Time: w.AuditTime, Signature: w.AuditSignature},
			)
		}
	}
	exports := make(map[string]string)
	visit := func(r audit.Record) {
		out.Records++
		sessions.take(r)
		sessions.since.take(r)
		if e, ok := audit.ExportOf(r); ok {
			exports[e.File] = e.SHA256
		}
		if r.EventName != ledgerHeadEvent {
			return
		}
		var e struct {
			Additional struct {
				Digest string `json:"digest"`
				Lines  int64  `json:"lines"`
			} `json:"additional"`
		}
		if json.Unmarshal(r.Body, &e) == nil {
			heads = append(heads, record.LedgerHead{Lines: e.Additional.Lines, Digest: e.Additional.Digest})
		}
	}
	digests, err := c.exportedSegments(ctx, visit, add)
	if err != nil {
		return nil, err
	}
	problems, err := audit.Check(ctx, c.trail, c.key, visit, known...)
	if err != nil {
		return nil, err
	}
	for name, digest := range digests {
		if want, ok := exports[name]; ok && want != digest {
			add(Finding{"altered", "audit", name, "the file is not the one that was exported"})
		}
	}
	for _, p := range problems {
		add(Finding{string(p.Kind), "audit", "record " + strconv.FormatInt(p.Seq, 10), p.Error()})
		if p.Kind == audit.Altered { // nothing follows from what it says
			maps.DeleteFunc(sessions.started, func(_ sekisho.SessionID, seq int64) bool { return seq == p.Seq })
		}
	}
	return heads, nil
}

// sessions reads the whole table.
func (c *integrityCheck) sessions(ctx context.Context) (map[sekisho.SessionID]*sekisho.Session, error) {
	const page = 500
	all := make(map[sekisho.SessionID]*sekisho.Session)
	for _, active := range []bool{true, false} {
		for after := sekisho.SessionID(""); ; {
			list, err := c.lister.Sessions(ctx, broker.Query{Active: active, After: after, Limit: page})
			if err != nil {
				return nil, fmt.Errorf("read sessions: %w", err)
			}
			for _, s := range list {
				all[s.ID] = s
			}
			if len(list) < page {
				break
			}
			after = list[len(list)-1].ID
		}
	}
	return all, nil
}

// compare compares the sessions table with the recordings.
func (c *integrityCheck) compare(
	sessions map[sekisho.SessionID]*sekisho.Session,
	recordings map[sekisho.SessionID]string,
	add func(Finding),
) {
	for _, s := range sessions {
		_, ok := recordings[s.ID]
		// A session that could not be recorded was refused.
		if !ok && s.Status != sekisho.SessionFailed {
			add(
				Finding{
					"missing",
					"recording",
					string(s.ID),
					"the session has no recording, and the ledger lists none",
				},
			)
		}
	}
	for id := range recordings {
		s := sessions[id]
		if s == nil {
			add(Finding{"missing", "session", string(id), "the session was recorded, but is not in the database"})
			continue
		}
		sum, err := c.archive.Stat(id)
		if err != nil || sum.Owner == "" {
			continue // reported as a recording
		}
		if sum.Owner != s.Owner || sum.Node != s.Target ||
			!sum.Start.Truncate(time.Microsecond).Equal(s.StartedAt.Truncate(time.Microsecond)) {
			add(
				Finding{"altered", "session", string(id), fmt.Sprintf(
					"the database says %s on %s at %s, the recording %s on %s at %s",
					s.Owner,
					s.Target,
					s.StartedAt.UTC().Format(time.RFC3339),
					sum.Owner,
					sum.Node,
					sum.Start.UTC().Format(time.RFC3339),
				)},
			)
		}
	}
}

// sessionEvents are what the audit trail says of sessions.
type sessionEvents struct {
	started    map[sekisho.SessionID]int64 // with the number of the record
	unknown    []time.Time                 // calls of StartSession whose outcome is unknown
	failed     []time.Time                 // calls of StartSession that failed
	terminated map[sekisho.SessionID]time.Time
	since      auditSince
}

const (
	startSessionEvent     = "StartSession"
	terminateSessionEvent = "TerminateSession"
	sessionEventSource    = "ssm.amazonaws.com"
)

func (s *sessionEvents) take(r audit.Record) {
	if r.EventSource != sessionEventSource || r.EventName != startSessionEvent && r.EventName != terminateSessionEvent {
		return
	}
	var e struct {
		ErrorCode         string `json:"errorCode"`
		Request, Response struct {
			SessionID sekisho.SessionID `json:"sessionId"`
		}
	}
	if json.Unmarshal(r.Body, &e) != nil {
		return
	}
	switch {
	case r.EventName == startSessionEvent && e.ErrorCode == audit.OutcomeUnknown:
		s.unknown = append(s.unknown, r.Time)
	case r.EventName == startSessionEvent && e.ErrorCode != "":
		s.failed = append(s.failed, r.Time)
	case e.ErrorCode != "":
	case r.EventName == startSessionEvent && e.Response.SessionID != "":
		s.started[e.Response.SessionID] = r.Seq
	case r.EventName == terminateSessionEvent && e.Request.SessionID != "":
		s.terminated[e.Request.SessionID] = r.Time
	}
}

// startTime is how long a call of StartSession takes at most.
const startTime = time.Minute

// interrupted takes one of the calls that began a session at the given time and whose outcome is
// unknown.
func (s *sessionEvents) interrupted(at time.Time) bool { return takeNear(&s.unknown, at) }

// takeNear takes one of times that is near at, if there is one.
func takeNear(times *[]time.Time, at time.Time) bool {
	i := slices.IndexFunc(*times, func(t time.Time) bool { return t.Sub(at).Abs() < startTime })
	if i < 0 {
		return false
	}
	*times = slices.Delete(*times, i, i+1)
	return true
}

// compareEvents compares the sessions table with what the audit trail says of sessions. An end of
// the trail that was cut off together with its heads shows in sessions whose events are missing.
func (c *integrityCheck) compareEvents(
	ctx context.Context,
	sessions map[sekisho.SessionID]*sekisho.Session,
	recordings map[sekisho.SessionID]string,
	events *sessionEvents,
	now time.Time,
	add func(Finding),
) error {
	if reader, ok := c.trail.(interface {
		AuditIntents(ctx context.Context, limit int) ([]audit.Intent, error)
	}); ok { // of calls that a crash has interrupted, until the server starts again
		intents, err := reader.AuditIntents(ctx, maxFindings)
		if err != nil {
			return fmt.Errorf("read unfinished calls: %w", err)
		}
		for _, i := range intents {
			if e, err := (audit.Record{Body: i.Body}).Event(); err == nil && e.EventName == startSessionEvent {
				events.unknown = append(events.unknown, e.Time)
			}
		}
	}
	for id := range events.started {
		if sessions[id] == nil {
			add(Finding{"missing", "session", string(id), "the audit trail has its start, but it is not in the database"})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(sessions)) {
		s := sessions[id]
		// A call that failed may have left a failed session.
		began := s.Status != sekisho.SessionFailed ||
			recordings[id] != "" && events.started[id] == 0 && !takeNear(&events.failed, s.StartedAt)
		if events.started[id] == 0 && !events.since.misses(s.StartedAt) && began && !events.interrupted(s.StartedAt) {
			add(Finding{"missing", "audit", string(id),
				"the session is in the database, but the audit trail has no StartSession of it"})
		}
		at, terminated := events.terminated[id]
		if terminated && s.Status.Active() && now.Sub(at) > startTime {
			add(Finding{"altered", "session", string(id), "it is active, but the audit trail has its TerminateSession"})
		}
		if !terminated && !events.since.misses(s.EndedAt) && s.Status == sekisho.SessionTerminated &&
			strings.HasPrefix(s.Details, broker.TerminatedBy) {
			add(Finding{"missing", "audit", string(id),
				"the session was terminated by another principal, but the audit trail has no TerminateSession of it"})
		}
	}
	return nil
}

// VerifyData checks a server's state against itself and against files of witnesses. A
// server can be running on it. VerifyData changes nothing. store is the one that keeps recordings; nil
// if there is none. buckets are witnesses too.
func VerifyData(
	ctx context.Context, at State, witnessFiles []string, store recstore.Store, buckets ...*config.WitnessBucket,
) (out *Integrity, err error) {
	dir := at.Dir
	if err := at.exists(ctx); err != nil {
		return nil, err
	}
	for _, name := range []string{filepath.Join("keys", "keyring.json"), "recordings"} {
		if _, err := os.Stat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) && name == "recordings" &&
			store != nil {
			return nil, sekisho.Errorf(sekisho.CodeNotFound, "The folder of recordings in %s is lost.", dir).
				WithHint("Start the server: it fetches the ledger and the seals from %s. Then verify.", store)
		} else if err != nil {
			return nil, sekisho.Errorf(sekisho.CodeNotFound, "There is no server's state in %s: %w.", dir, err)
		}
	}
	ring, err := keyring.Load(filepath.Join(dir, "keys"))
	if err != nil {
		return nil, err
	}
	keys := record.KeysOf(ring.PublicKey())
	c := &integrityCheck{key: ring.PublicKey(), segments: filepath.Join(dir, auditDir)}
	for _, name := range witnessFiles {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("witness: %w", err)
		}
		all, err := record.ParseWitnesses(text, keys)
		if err != nil {
			return nil, sekisho.Errorf(sekisho.CodeInvalid, "witness %s: %w", name, err)
		}
		c.witnesses = append(c.witnesses, all...)
	}
	for _, bucket := range buckets {
		if err := c.useBucket(ctx, bucket, keys); err != nil {
			return nil, err
		}
	}
	db, err := at.place().OpenReader(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	switch id, err := db.Installation(ctx); {
	case err != nil:
		return nil, err
	case id != "" && id != installationID(ring):
		return nil, sekisho.Errorf(sekisho.CodeInvalid,
			"The database %s belongs to another installation than the keys in %s.", at.place(), dir).
			WithHint("Give a directory whose parts were backed up together.")
	}
	c.trail, c.lister = db.Audit, db.Sessions
	if c.archive, err = record.OpenArchive(dir, keys, nil); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.archive.Close()) }()
	if store == nil {
		return c.run(ctx)
	}
	c.archive.UseStore(ctx, store, true)
	n, err := c.archive.UseStored(ctx)
	if err != nil {
		return nil, err
	}
	if out, err = c.run(ctx); err == nil {
		out.OnlyStored = int64(n)
	}
	return out, err
}

// Delay of the first check after the start, and interval of later ones.
const (
	firstCheck = time.Minute
	checkEvery = 6 * time.Hour
)

// watchIntegrity checks the data in the background.
func (s *Server) watchIntegrity(ctx context.Context) {
	t := time.NewTimer(firstCheck)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if s.checkIntegrity(ctx) {
			t.Reset(checkEvery)
		} else {
			t.Reset(firstCheck)
		}
	}
}

// maxReported bounds the findings of one check that get an event each.
const maxReported = 20

// checkIntegrity checks the data once, and reports new findings. It reports whether it could check.
func (s *Server) checkIntegrity(ctx context.Context) bool {
	// What is still to be fetched from the store is not missing.
	if err := s.recorder.FetchMissing(ctx); err != nil {
		if ctx.Err() == nil {
			s.cfg.Log.Warn("cannot check recordings: some are only in the store and could not be fetched",
				"recordings", s.recorder.StoreState().Missing, "error", err)
		}
		return false
	}
	c := &integrityCheck{
		archive: s.recorder.Archive, trail: s.db.Audit, lister: s.db.Sessions, key: s.ring.PublicKey(), background: true,
		segments: filepath.Join(s.cfg.DataDir, auditDir),
	}
	found, err := c.run(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.cfg.Log.Error("could not check recordings and audit trail", "error", err)
		}
		return false
	}
	before := s.integrity.Swap(found)
	var fresh []Finding
	for _, f := range found.Findings {
		if before == nil || !slices.ContainsFunc(before.Findings, f.same) {
			fresh = append(fresh, f)
		}
	}
	for _, f := range fresh[:min(len(fresh), maxReported)] {
		s.report(ctx, f, found.Started.Add(found.Took), len(s.findings()))
	}
	return true
}

// report reports a new finding; problems is the number of all present ones.
func (s *Server) report(ctx context.Context, f Finding, at time.Time, problems int) {
	s.cfg.Log.Error("recordings or audit trail differ from what was written",
		"kind", f.Kind, "where", f.Where, "subject", f.Subject, "problem", f.Problem)
	if err := s.trail.Record(ctx, s.serverEvent("IntegrityProblem", map[string]any{
		"kind": f.Kind, "where": f.Where, "subject": f.Subject, "problem": f.Problem, "problems": problems,
	})); err != nil {
		s.cfg.Log.Error("could not record a finding in the audit trail", "error", err)
	}
	s.bus.Publish(s.bus.Origin().Integrity(event.IntegrityFinding{
		At: at, Kind: f.Kind, Where: f.Where, Subject: f.Subject, Problem: f.Problem, Problems: problems,
	}))
}

// lastCheck returns the result of the last check, for the API.
func (s *Server) lastCheck() *sekishoapi.Integrity {
	found := s.integrity.Load()
	if found == nil {
		return nil
	}
	out := &sekishoapi.Integrity{
		CheckedAt: found.Started, Recordings: found.Recordings, Sessions: found.Sessions, AuditRecords: found.Records,
		Findings: []sekishoapi.IntegrityFinding{},
	}
	for _, f := range s.findings() {
		out.Findings = append(out.Findings, sekishoapi.IntegrityFinding(f))
	}
	return out
}

// measureRecordings notes what recordings take on the disk.
func (s *Server) measureRecordings() error {
	n, err := s.recorder.Bytes()
	if err == nil {
		s.recordingBytes.Store(n)
	}
	return err
}

// expireRecordings removes the recordings whose retention has ended, each with an audit event.
func (s *Server) expireRecordings(ctx context.Context) error {
	removed, err := s.recorder.Expire(ctx, s.cfg.Retention, time.Now())
	for _, r := range removed {
		err = errors.Join(err, s.trail.Record(ctx, s.serverEvent("RecordingRemoved", map[string]any{
			"sessionId": string(r.Session), "reason": r.Reason, "bytes": r.Bytes,
		})))
	}
	return err
}
