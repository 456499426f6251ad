// Package sekishoapi is the door to what AWS's services have no operations for:
// the recordings of sessions, why policies decide as they do, passkeys. It
// speaks JSON 1.1 as the service "sekisho".
package sekishoapi

import (
	"context"
	"maps"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
	"sekisho/internal/session/access"
	"sekisho/internal/session/evidence"
	"sekisho/internal/session/record"
	"sekisho/internal/wire/awsproto"
)

// Sessions knows who a session belonged to.
type Sessions interface {
	// Session returns a session, or an error of root.CodeNotFound.
	Session(ctx context.Context, id root.SessionID) (*root.Session, error)
}

// Config is what the door needs.
type Config struct {
	Recorder *record.Recorder
	// Integrity returns what the last check of recordings, ledger, sessions and
	// audit trail found; nil before the first.
	Integrity func() *Integrity
	// AuditTrail is where evidence bundles take audit records from.
	AuditTrail evidence.Trail
	Sessions   Sessions
	Fleet      Machines
	// Directory, Authorizer and Requests answer why somebody may or may not
	// do something; the directory keeps passkeys as well.
	Directory  *identity.Directory
	Authorizer *authz.Authorizer
	Requests   PolicyRequests
	// StartChecks reports whether a session could start now.
	StartChecks StartChecks
	Events      Events
	// Resumer is nil where sessions are resumed with credentials only.
	Resumer Resumer
	// Access manages just-in-time access.
	Access *access.Service
	// Installer words how a machine gets its agent.
	Installer Installer
	Region    string
	Account   string
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
			"GetIntegrity":            api.Read(d.getIntegrity),
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
	maps.Copy(out.Operations, d.eventOperations())
	maps.Copy(out.Operations, d.quickSetupOperations())
	maps.Copy(out.Operations, d.startOperations())
	maps.Copy(out.Operations, d.calendarOperations())
	maps.Copy(out.Operations, d.grantOperations())
	maps.Copy(out.Operations, d.accessOperations())
	maps.Copy(out.Operations, d.reachOperations())
	maps.Copy(out.Operations, d.stepUpOperations())
	return out
}
