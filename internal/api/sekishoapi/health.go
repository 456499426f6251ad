package sekishoapi

import (
	"context"
	"time"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/wire/awsproto"
)

// HealthStatus says how well a server works.
type HealthStatus string

// Values of HealthStatus.
const (
	Healthy  HealthStatus = "Healthy"
	Degraded HealthStatus = "Degraded" // it works, but somebody must do something
	Failing  HealthStatus = "Failing"  // it refuses calls or loses data
)

// HealthProblem is a reason why a server is not healthy.
type HealthProblem struct {
	Code   string
	Text   string
	Status HealthStatus // that the problem causes
}

// Health is the state of a server.
type Health struct {
	Status                 HealthStatus
	Problems               []HealthProblem
	Version                string
	StartedAt, CheckedAt   time.Time
	NodesConnected         int
	SessionsActive         int
	DiskBytes              int64
	DiskFreeBytes          int64
	RecordingBytes         int64
	RecordingsUnsealed     int
	Store                  string // of recordings; empty for the data directory
	StoreWaitingBytes      int64  // that the store does not have yet
	StoreWaitingRecordings int
}

// UsageRow is the use of one node with one document by one principal on one day.
type UsageRow struct {
	Date              string
	PrincipalARN      string `json:"PrincipalArn"`
	NodeID            string `json:"NodeId"`
	NodeName          string `json:",omitempty"`
	DocumentName      string
	Sessions          int
	Minutes           float64
	BytesIn, BytesOut int64
	RecordingBytes    int64
	LogBytes          int64
}

func (d *door) healthOperations() map[string]api.Operation {
	return map[string]api.Operation{
		"GetHealth": api.Read(d.getHealth, api.Polled("the console's start page shows whether the server works")),
		"GetUsage":  api.Read(d.getUsage),
	}
}

type healthAnswer struct {
	Status                 HealthStatus
	Problems               []HealthProblem
	Version                string
	StartedAt, CheckedAt   awsproto.Epoch
	NodesConnected         int
	SessionsActive         int
	DiskBytes              int64
	DiskFreeBytes          int64
	RecordingBytes         int64
	RecordingsUnsealed     int
	Store                  string `json:",omitempty"`
	StoreWaitingBytes      int64
	StoreWaitingRecordings int
}

// getHealth covers the whole server, so it has no resource.
func (d *door) getHealth(ctx context.Context, c *api.Call, _ *struct{}) (*healthAnswer, error) {
	if err := c.Authorize(ctx, "sekisho:GetHealth", "*"); err != nil {
		return nil, err
	}
	h, err := d.Health(ctx)
	if err != nil {
		return nil, err
	}
	return &healthAnswer{
		Status: h.Status, Problems: h.Problems, Version: h.Version,
		StartedAt: awsproto.NewEpoch(h.StartedAt), CheckedAt: awsproto.NewEpoch(h.CheckedAt),
		NodesConnected: h.NodesConnected, SessionsActive: h.SessionsActive,
		DiskBytes: h.DiskBytes, DiskFreeBytes: h.DiskFreeBytes,
		RecordingBytes: h.RecordingBytes, RecordingsUnsealed: h.RecordingsUnsealed,
		Store: h.Store, StoreWaitingBytes: h.StoreWaitingBytes, StoreWaitingRecordings: h.StoreWaitingRecordings,
	}, nil
}

// maxUsageDays bounds the days of a GetUsage request.
const maxUsageDays = 31

type usageRequest struct {
	From string // the first day, such as 2026-04-15, UTC; by default 6 days ago
	Days int64  // 7 if absent
}

type usageAnswer struct {
	From, To string // the first and the last day
	Usage    []UsageRow
}

// getUsage returns who used which node with which document, per day.
func (d *door) getUsage(ctx context.Context, c *api.Call, in *usageRequest) (*usageAnswer, error) {
	var v awsproto.Constraints
	v.Range("days", in.Days, 0, maxUsageDays)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if in.Days == 0 {
		in.Days = 7
	}
	from := c.Time.UTC().AddDate(0, 0, 1-int(in.Days))
	if in.From != "" {
		var err error
		if from, err = time.Parse(time.DateOnly, in.From); err != nil {
			return nil, root.Errorf(root.CodeInvalid, "From %.20q is not a day such as 2026-04-15.", in.From)
		}
	}
	if err := c.Authorize(ctx, "sekisho:GetUsage", "*"); err != nil {
		return nil, err
	}
	rows, err := d.Usage(ctx, from, int(in.Days))
	if err != nil {
		return nil, err
	}
	if err := d.nameRows(ctx, rows); err != nil {
		return nil, err
	}
	last := from.AddDate(0, 0, int(in.Days)-1)
	return &usageAnswer{From: from.Format(time.DateOnly), To: last.Format(time.DateOnly), Usage: rows}, nil
}

// nameRows sets the names of the nodes that are still managed.
func (d *door) nameRows(ctx context.Context, rows []UsageRow) error {
	rule, err := d.Names.Naming(ctx)
	if err != nil {
		return err
	}
	nodes, err := d.Fleet.Nodes(ctx)
	if err != nil {
		return err
	}
	names := make(map[string]string, len(nodes))
	for _, n := range nodes {
		names[string(n.ID)] = rule.Display(n)
	}
	for i := range rows {
		rows[i].NodeName = names[rows[i].NodeID]
	}
	return nil
}
