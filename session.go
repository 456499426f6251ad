package sekisho

import "time"

// SessionID names a session: the owner's name, a hyphen and 26 characters of
// [a-z2-7]; at most 96 bytes, all of them in [A-Za-z0-9._@=,+-].
type SessionID string

// SessionStatus is a session's state as DescribeSessions reports it.
type SessionStatus string

// The session statuses. The first three are active, the others history.
const (
	SessionConnected    SessionStatus = "Connected"    // both legs are attached
	SessionConnecting   SessionStatus = "Connecting"   // a leg has yet to attach for the first time
	SessionDisconnected SessionStatus = "Disconnected" // a leg went away and may come back
	SessionTerminating  SessionStatus = "Terminating"
	SessionTerminated   SessionStatus = "Terminated"
	SessionFailed       SessionStatus = "Failed"
)

// Active reports whether a session in status s still runs.
func (s SessionStatus) Active() bool {
	switch s {
	case SessionConnected, SessionConnecting, SessionDisconnected:
		return true
	case SessionTerminating, SessionTerminated, SessionFailed:
	}
	return false
}

// Session is one interactive access of a principal to a node.
type Session struct {
	ID           SessionID
	Target       NodeID
	Status       SessionStatus
	Owner        string // ARN of the principal that started it
	OwnerUserID  string // that principal's aws:userid
	OwnerUser    string // IAM user name; empty for roles
	AccessKeyID  string // credential it was started with
	Lease        string // what that credential rests on: see Principal
	DocumentName string
	// DocumentVersion is empty for a document that comes with the server.
	DocumentVersion string
	RunAsUser       string // OS user the session was to run as; empty for the agent's default
	Reason          string // as given by the owner
	Details         string // why it ended, for people
	StartedAt       time.Time
	EndedAt         time.Time
	SourceIP        string        // where StartSession came from
	MaxDuration     time.Duration // 0 = none
	IdleTimeout     time.Duration // 0 = none
	// OmitInput keeps what is typed out of the recording.
	OmitInput bool
	Recording SessionRecording
	Logs      SessionLogs
	// Permission is what the permission of a session rests on that ends when
	// the permission lapses; nil for the others.
	Permission *SessionPermission
	// AgentProcess names the process of the agent that runs the session. Empty
	// for AWS's agent, which does not report one.
	AgentProcess string
}

// SessionPermission is what the permission to start a session rests on.
type SessionPermission struct {
	Principal Principal // as it was when the session started
	Document  string    // that the request named; "" for none
	UserAgent string
	// ClientIP is where the client is connected from, or was last.
	ClientIP string
	// AccessRequest is the approved access request that the session was
	// started under; "" if policies allowed it.
	AccessRequest string
}

// Ending is how a session ends.
type Ending struct {
	Status  SessionStatus
	Details string // for people; empty when what ran in the session came to its end
	// Incomplete says that the agent may have had output that did not reach the
	// client. Messages, where it is known, is how many messages the agent has
	// sent: a server that has received as many has recorded everything.
	Incomplete bool
	Messages   int64
}

// SessionLogs is where a session's node writes the session's log, and what
// became of it.
type SessionLogs struct {
	Bucket string `json:"bucket,omitempty"`
	Key    string `json:"key,omitempty"` // in Bucket
	Group  string `json:"group,omitempty"`
	Stream string `json:"stream,omitempty"` // in Group
	// Reported is whether the node has reported if it delivered the log.
	Reported bool `json:"told,omitempty"`
	// Problem is why not all of it was delivered, for people.
	Problem string `json:"problem,omitempty"`
}

// Missing says why the log of s was not delivered; "" when it was, or is none,
// or the session still runs.
func (s *Session) Missing() string {
	switch {
	case s.Logs.Problem != "":
		return s.Logs.Problem
	case s.Logs.Reported || s.Status.Active() || s.Status == SessionTerminating || s.Logs.Bucket == "" && s.Logs.Group == "":
		return ""
	}
	return "the node has not said that it was."
}

// SessionRecording says who can record what passes in a session.
type SessionRecording string

// The ways of recording.
const (
	// RecordingServer: the server records what passes.
	RecordingServer SessionRecording = "Server"
	// RecordingEncrypted: agent and client encrypt what passes from end to
	// end; the server records that there was a session, and no content.
	RecordingEncrypted SessionRecording = "Encrypted"
)
