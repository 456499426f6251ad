// Package usage writes usage reports: one CSV file per day, in a bucket, with the sessions, minutes
// and bytes of each person, node and document. Reports contain no costs.
//
// # Days
//
// Days begin at midnight UTC. A session counts on the day it started, its
// minutes on the days in which they passed, and its bytes on the day it ended.
package usage

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"sekisho"
)

// MaxReports is the maximum number of reports of an account, as in AWS.
const MaxReports = 10

// Compression is the compression of a report's files.
type Compression string

// Values of Compression, as in a report definition.
const (
	GZIP Compression = "GZIP"
	ZIP  Compression = "ZIP"
)

// Status is the result of the last delivery, with AWS's names.
type Status string

// Values of Status. A report that was never due has none.
const (
	StatusDelivered   Status = "SUCCESS"
	StatusNoBucket    Status = "ERROR_NO_BUCKET"
	StatusUndelivered Status = "ERROR_PERMISSIONS" // AWS's only other failure
)

// Definition is the definition of a report.
type Definition struct {
	Name        string      `json:"name"`
	Bucket      string      `json:"bucket"`
	Prefix      string      `json:"prefix,omitempty"`
	Compression Compression `json:"compression"`
	// Resources means that the definition requested resources. Rows name the node either way.
	Resources bool `json:"resources,omitempty"`
	// KeepVersions writes each delivery under its own key. Otherwise a delivery
	// replaces the earlier file of its day.
	KeepVersions  bool `json:"keepVersions,omitempty"`
	RefreshClosed bool `json:"refreshClosed,omitempty"`

	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy"` // ARN

	// Next is the first day that has not been completely delivered.
	Next        time.Time `json:"next"`
	DeliveredAt time.Time `json:"deliveredAt,omitzero"`
	Status      Status    `json:"status,omitempty"`
}

// Key returns the key of the file of a day that is delivered at a time.
func (d *Definition) Key(day, at time.Time) string {
	parts := []string{d.Name, day.Format("20060102") + "-" + day.AddDate(0, 0, 1).Format("20060102")}
	if d.KeepVersions {
		parts = append(parts, at.UTC().Format("20060102T150405Z"))
	}
	if d.Prefix != "" {
		parts = append([]string{d.Prefix}, parts...)
	}
	ending := ".csv.gz"
	if d.Compression == ZIP {
		ending = ".csv.zip"
	}
	return strings.Join(append(parts, d.Name+"-00001"+ending), "/")
}

// Store stores definitions and lists sessions.
type Store interface {
	// CreateUsageReport returns CodeConflict if the name exists, and CodeLimit if there are already
	// most reports.
	CreateUsageReport(ctx context.Context, d *Definition, most int) error
	// UsageReports returns the reports, sorted by name.
	UsageReports(ctx context.Context) ([]*Definition, error)
	// UpdateUsageReport and DeleteUsageReport return CodeNotFound for a missing report.
	UpdateUsageReport(ctx context.Context, name string, change func(d *Definition)) error
	DeleteUsageReport(ctx context.Context, name string) error
	// EachSessionDuring visits the sessions that started before to and did not end before from.
	EachSessionDuring(ctx context.Context, from, to time.Time, visit func(x *sekisho.Session) error) error
}

// Volume is the data that a session transferred and stored, in bytes.
type Volume struct {
	In, Out   int64 // data of the session
	Recording int64 // the recording's size
	Log       int64 // the log's size in its bucket
}

// Config is the configuration of a Reporter.
type Config struct {
	Store Store
	// Volume measures a session that has ended.
	Volume func(ctx context.Context, x *sekisho.Session) (Volume, error)
	// Put stores a file. It returns CodeNotFound if the bucket does not exist.
	Put func(ctx context.Context, bucket, key, contentType string, content []byte) error
	Now func() time.Time
	Log *slog.Logger
}

// Reporter writes reports. It is safe for concurrent use.
type Reporter struct {
	cfg Config
	// delivering is held while files are written.
	delivering sync.Mutex
}

// New returns a Reporter.
func New(cfg Config) *Reporter { return &Reporter{cfg: cfg} }

// Create defines a report and delivers the current day up to now. A failed delivery is not an error
// of Create; it is in the report's status.
func (r *Reporter) Create(ctx context.Context, d Definition) error {
	now := r.cfg.Now().UTC()
	d.CreatedAt, d.Next = now, dayOf(now)
	if err := r.cfg.Store.CreateUsageReport(ctx, &d, MaxReports); err != nil {
		return err
	}
	r.delivering.Lock()
	defer r.delivering.Unlock()
	return r.deliver(ctx, &d, d.Next, d.Next)
}

// List returns the reports, sorted by name.
func (r *Reporter) List(ctx context.Context) ([]*Definition, error) {
	return r.cfg.Store.UsageReports(ctx)
}

// Delete removes a report, but not its files.
func (r *Reporter) Delete(ctx context.Context, name string) error {
	return r.cfg.Store.DeleteUsageReport(ctx, name)
}

// Delivery of reports.
const (
	checkEvery = time.Minute
	// closing is the time between the end of a day and its report. By then, the recordings of its
	// last sessions are sealed.
	closing = 5 * time.Minute
	// catchUp bounds the days that a report can be behind. Older days are omitted.
	catchUp = 31
)

func dayOf(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// Run delivers reports when they are due, until ctx ends.
func (r *Reporter) Run(ctx context.Context) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := r.Deliver(ctx); err != nil && ctx.Err() == nil {
			r.cfg.Log.Error("could not deliver usage reports", "error", err)
		}
	}
}

// Deliver writes the files of days that have passed.
func (r *Reporter) Deliver(ctx context.Context) error {
	r.delivering.Lock()
	defer r.delivering.Unlock()
	all, err := r.cfg.Store.UsageReports(ctx)
	if err != nil {
		return err
	}
	today := dayOf(r.cfg.Now().Add(-closing))
	for _, d := range all {
		for day := later(d.Next, today.AddDate(0, 0, -catchUp)); day.Before(today) &&
			ctx.Err() == nil; day = day.AddDate(0, 0, 1) {
			if err := r.deliver(ctx, d, day, day.AddDate(0, 0, 1)); err != nil {
				return err
			}
			if d.Status != StatusDelivered {
				break
			}
		}
	}
	return ctx.Err()
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// deliver writes the file of one day, and stores the result. A complete delivery advances the
// report to next.
func (r *Reporter) deliver(ctx context.Context, d *Definition, day, next time.Time) error {
	now := r.cfg.Now().UTC()
	problem := r.write(ctx, d, day, now)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	before := d.Status
	switch {
	case problem == nil:
		d.Status, d.DeliveredAt, d.Next = StatusDelivered, now, next
	case sekisho.IsNotFound(problem):
		d.Status = StatusNoBucket
	default:
		d.Status = StatusUndelivered
	}
	if problem != nil && d.Status != before {
		r.cfg.Log.Error(
			"could not deliver a usage report",
			"report",
			d.Name,
			"bucket",
			d.Bucket,
			"day",
			day.Format(time.DateOnly),
			"error",
			problem,
		)
	}
	err := r.cfg.Store.UpdateUsageReport(ctx, d.Name, func(stored *Definition) {
		stored.Status, stored.DeliveredAt, stored.Next = d.Status, d.DeliveredAt, d.Next
	})
	if sekisho.IsNotFound(err) { // deleted meanwhile
		return nil
	}
	return err
}

func (r *Reporter) write(ctx context.Context, d *Definition, day, now time.Time) error {
	rows, err := r.rows(ctx, day, now)
	if err != nil {
		return err
	}
	content, contentType, err := encode(d, day, rows)
	if err != nil {
		return err
	}
	return r.cfg.Put(ctx, d.Bucket, d.Key(day, now), contentType, content)
}

// subject identifies a row.
type subject struct{ person, node, document string }

// row is the use of one subject on one day.
type row struct {
	subject
	sessions int
	time     time.Duration
	volume   Volume
}

// rows returns the totals of one day, sorted by person, node and document.
func (r *Reporter) rows(ctx context.Context, day, now time.Time) ([]*row, error) {
	next := day.AddDate(0, 0, 1)
	bySubject := map[subject]*row{}
	err := r.cfg.Store.EachSessionDuring(ctx, day, next, func(x *sekisho.Session) error {
		of := subject{x.Owner, string(x.Target), x.DocumentName}
		line := bySubject[of]
		if line == nil {
			line = &row{subject: of}
			bySubject[of] = line
		}
		if !x.StartedAt.Before(day) {
			line.sessions++
		}
		end := x.EndedAt
		if end.IsZero() {
			end = now
		}
		line.time += max(0, earlier(end, next).Sub(later(x.StartedAt, day)))
		if x.EndedAt.IsZero() || !x.EndedAt.Before(next) {
			return nil
		}
		v, err := r.cfg.Volume(ctx, x)
		line.volume.In += v.In
		line.volume.Out += v.Out
		line.volume.Recording += v.Recording
		line.volume.Log += v.Log
		return err
	})
	all := make([]*row, 0, len(bySubject))
	for _, line := range bySubject {
		all = append(all, line)
	}
	slices.SortFunc(all, func(a, b *row) int { return a.compare(b) })
	return all, err
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (r *row) compare(o *row) int {
	return slices.Compare([]string{r.person, r.node, r.document}, []string{o.person, o.node, o.document})
}

// MaxRows bounds the result of Rows.
const MaxRows = 20_000

// Row is the use of one node with one document by one principal on one day.
type Row struct {
	Day                    time.Time // its first moment, UTC
	Person, Node, Document string
	Sessions               int
	Time                   time.Duration
	Volume                 Volume
}

// Rows returns the usage of consecutive days, the first of which contains from. Days in the future
// have none. More than MaxRows rows are CodeLimit.
func (r *Reporter) Rows(ctx context.Context, from time.Time, days int) ([]Row, error) {
	now := r.cfg.Now().UTC()
	var all []Row
	for i := range days {
		day := dayOf(from).AddDate(0, 0, i)
		if day.After(now) {
			break
		}
		rows, err := r.rows(ctx, day, now)
		if err != nil {
			return nil, err
		}
		if len(all)+len(rows) > MaxRows {
			return nil, sekisho.Errorf(sekisho.CodeLimit,
				"The usage of these days has more than %d rows. Ask for fewer days, or define a report.", MaxRows)
		}
		for _, x := range rows {
			all = append(all, Row{day, x.person, x.node, x.document, x.sessions, x.time, x.volume})
		}
	}
	return all, nil
}
