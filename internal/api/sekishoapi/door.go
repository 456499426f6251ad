// Package sekishoapi is the door of the service "sekisho", for operations that AWS's services lack:
// recordings of sessions, explanations of policy decisions, passkeys. Its protocol is JSON 1.1.
package sekishoapi

import (
	"context"
	"maps"
	"time"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/cluster"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
	"sekisho/internal/node/fleet"
	"sekisho/internal/session/access"
	"sekisho/internal/session/evidence"
	"sekisho/internal/session/record"
	"sekisho/internal/session/share"
	"sekisho/internal/wire/awsproto"
)

// Sessions finds sessions.
type Sessions interface {
	// Session returns a session, or an error of root.CodeNotFound.
	Session(ctx context.Context, id root.SessionID) (*root.Session, error)
}

// Config is the configuration of the door.
type Config struct {
	Recorder *record.Recorder
	// Integrity returns the result of the last check of recordings, ledger, sessions and audit
	// trail; nil before the first.
	Integrity func() *Integrity
	// Storage returns what recordings take, and where they are.
	Storage func() (*RecordingStorage, error)
	// Health returns the state of the server.
	Health func(ctx context.Context) (*Health, error)
	// Usage returns the usage of consecutive days, the first of which contains from.
	Usage func(ctx context.Context, from time.Time, days int) ([]UsageRow, error)
	// AuditTrail supplies the audit records of evidence bundles.
	AuditTrail evidence.Trail
	Sessions   Sessions
	Fleet      Machines
	Names      *fleet.Names // nil names nodes by the default tag
	// Directory, Authorizer and Requests explain policy decisions. Directory also stores passkeys.
	Directory  *identity.Directory
	Authorizer *authz.Authorizer
	Requests   PolicyRequests
	// StartChecks reports whether a session could start now.
	StartChecks StartChecks
	Events      Events
	// Resumer is nil if sessions can be resumed only with credentials.
	Resumer Resumer
	// Access manages just-in-time access.
	Access *access.Service
	// Installer builds the commands that install agents.
	Installer Installer
	// Participants knows who watches sessions and types into them.
	Participants Participants
	// Links manages links to recordings.
	Links *share.Service
	// Members returns the members of the cluster; nil for a single server.
	Members func(ctx context.Context) ([]*cluster.Member, error)
	Region  string
	Account string
}

type door struct {
	Config
	spools spools
}

// New returns the door.
func New(cfg Config) *api.Door {
	d := &door{Config: cfg}
	out := &api.Door{
		Service: "sekisho", Protocol: awsproto.JSON,
		Operations: map[string]api.Operation{
			"GetSessionRecording":     api.Read(d.getSessionRecording),
			"VerifySessionRecording":  api.Read(d.verifySessionRecording),
			"SearchSessionRecordings": api.Read(d.searchSessionRecordings, api.Hide("Text")),
			"GetIntegrity": api.Read(d.getIntegrity,
				api.Polled("every page of the console shows whether there are findings")),
			"GetRecordingStorage":     api.Read(d.getRecordingStorage),
			"GetSessionEvidence":      api.Read(d.getSessionEvidence),
			"HoldSessionRecording":    api.Write(d.holdSessionRecording),
			"ReleaseSessionRecording": api.Write(d.releaseSessionRecording),

			"ListSeenMachines":    api.Read(d.listSeenMachines),
			"ApproveNodeIdentity": api.Write(d.approveNodeIdentity),

			"ExplainAccess": api.Read(d.explainAccess),

			"BeginPasskeyRegistration": api.Write(d.beginPasskeyRegistration),
			"RegisterPasskey":          api.Write(d.registerPasskey, api.Hide("State")),
			"ListPasskeys":             api.Read(d.listPasskeys),
			"FinishFirstRun": api.Write(d.finishFirstRun,
				api.NoPolicy("only the first administrator can call it, once")),
		},
	}
	maps.Copy(out.Operations, d.resumeOperations())
	maps.Copy(out.Operations, d.joinOperations())
	maps.Copy(out.Operations, d.linkOperations())
	maps.Copy(out.Operations, d.eventOperations())
	maps.Copy(out.Operations, d.quickSetupOperations())
	maps.Copy(out.Operations, d.startOperations())
	maps.Copy(out.Operations, d.calendarOperations())
	maps.Copy(out.Operations, d.grantOperations())
	maps.Copy(out.Operations, d.accessOperations())
	maps.Copy(out.Operations, d.reachOperations())
	maps.Copy(out.Operations, d.stepUpOperations())
	maps.Copy(out.Operations, d.validateOperations())
	maps.Copy(out.Operations, d.healthOperations())
	maps.Copy(out.Operations, d.clusterOperations())
	return out
}
