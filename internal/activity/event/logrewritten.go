package event

import (
	"time"

	"sekisho"
)

// Rewrite is a node's second write to the log of a session.
type Rewrite struct {
	At        time.Time
	Session   *sekisho.Session
	Node      sekisho.NodeID // whose credentials were used
	Principal string         // ARN
	SourceIP  string
	RequestID string
	Operation string // of S3
	Bucket    string
	Key       string
	Version   string
	Former    string
	Outcome   string // NewVersion, DeleteMarker or Refused
}

// RewriteDetail is the detail of [SessionLogRewritten].
type RewriteDetail struct {
	SessionID string `json:"session-id"`
	Owner     string `json:"owner"` // ARN
	Machine
	Outcome       string `json:"outcome"`
	Operation     string `json:"operation"`
	Bucket        string `json:"bucket"`
	Key           string `json:"key"`
	Version       string `json:"version,omitempty"`
	FormerVersion string `json:"former-version,omitempty"`
	Principal     string `json:"principal"` // ARN
	SourceIP      string `json:"source-ip,omitempty"`
	RequestID     string `json:"request-id,omitempty"` // as in the audit trail
}

// Rewritten is the event of a rewritten log. Its machine is the node that rewrote it.
func (o Origin) Rewritten(in Rewrite) *Event {
	d := &RewriteDetail{
		SessionID: string(
			in.Session.ID,
		), Owner: clip(in.Session.Owner), Machine: Machine{InstanceID: string(in.Node)}, Outcome: in.Outcome,
		Operation: in.Operation, Bucket: in.Bucket, Key: clip(in.Key), Version: in.Version, FormerVersion: in.Former,
		Principal: clip(in.Principal),
		SourceIP:  in.SourceIP, RequestID: in.RequestID,
	}
	return o.event(
		SessionLogRewritten,
		sourceSession,
		in.At,
		string(in.Session.ID),
		d,
		&d.Machine,
		o.sessionARN(string(in.Session.ID)),
	)
}
