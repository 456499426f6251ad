package sekisho

import "time"

// SessionID names a session: the owner's name, a hyphen and 26 characters of
// [a-z2-7]; at most 96 bytes, all of them in [A-Za-z0-9._@=,+-].
type SessionID string

// SessionStatus is a session's state as DescribeSessions reports it.
type SessionStatus string

// Values of SessionStatus. The first three are active, the others history.
const (
	SessionConnected    SessionStatus = "Connected"    // both legs are attached
	SessionConnecting   SessionStatus = "Connecting"   // a leg has yet to attach for the first time
	SessionDisconnected SessionStatus = "Disconnected" // a leg disconnected and can reconnect
	SessionTerminating  SessionStatus = "Terminating"
	SessionTerminated   SessionStatus = "Terminated"
	SessionFailed       SessionStatus = "Failed"
)

// Active reports whether a session in status s is still running.
func (s SessionStatus) Active() bool {
	switch s {
	case SessionConnected, SessionConnecting, SessionDisconnected:
		return true
	case SessionTerminating, SessionTerminated, SessionFailed:
	}
	return false
}

// Session is one use of a document by one principal on one node.
type Session struct {
	ID           SessionID
	Target       NodeID
	Status       SessionStatus
	Owner        string // ARN of the principal that started it
	OwnerUserID  string // that principal's aws:userid
	OwnerUser    string // IAM user name; empty for roles
	AccessKeyID  string // credential it was started with
	Lease        string // what that credential depends on: see Principal
	DocumentName string
	// DocumentVersion is empty for a built-in document.
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
	// RecordForwards keeps the bytes of forwarded connections in the recording.
	RecordForwards bool
	// DisableCopy and DisablePaste keep the console's terminal from copying output and from pasting.
	DisableCopy, DisablePaste bool
	// RecordingDays is how many days the recording is kept after the end of the
	// session; 0 = as long as the server keeps recordings.
	RecordingDays int
	Recording     SessionRecording
	Logs          SessionLogs
	// Permission is the basis of the session's permission, for a session that ends when its
	// permission lapses; otherwise nil.
	Permission *SessionPermission
	// AgentProcess names the process of the agent that runs the session. Empty
	// for AWS's agent, which does not report one.
	AgentProcess string
}

// SessionPermission is the basis of the permission to start a session.
type SessionPermission struct {
	Principal Principal // as it was when the session started
	Document  string    // named in the request; "" if none was
	UserAgent string
	// ClientIP is the current or last address of the client.
	ClientIP string
	// AccessRequest is the approved access request that the session was
	// started under; "" if policies allowed it.
	AccessRequest string
}

// Ending describes how a session ended.
type Ending struct {
	Status  SessionStatus
	Details string // for people; empty if the program in the session exited normally
	// Incomplete means that the agent may have had output that did not reach the client. Messages
	// is the number of messages that the agent sent, if known: a server that has received that many
	// has recorded everything.
	Incomplete bool
	Messages   int64
}

// SessionLogs is where a node writes the log of a session, and whether it arrived.
type SessionLogs struct {
	Bucket string `json:"bucket,omitempty"`
	Key    string `json:"key,omitempty"` // in Bucket
	Group  string `json:"group,omitempty"`
	Stream string `json:"stream,omitempty"` // in Group
	// Reported means that the node has reported whether it delivered the log.
	Reported bool `json:"told,omitempty"`
	// Problem is why the log is incomplete or missing, for people.
	Problem string `json:"problem,omitempty"`
}

// Missing returns the reason why the log of s was not delivered; "" if it was, if
// there is none, or if the session still runs.
func (s *Session) Missing() string {
	switch {
	case s.Logs.Problem != "":
		return s.Logs.Problem
	case s.Logs.Reported || s.Status.Active() || s.Status == SessionTerminating || s.Logs.Bucket == "" &&
		s.Logs.Group == "":
		return ""
	}
	return "the node has not reported its delivery."
}

// SessionRecording says who can record the content of a session.
type SessionRecording string

// Values of SessionRecording.
const (
	// RecordingServer means that the server records the content.
	RecordingServer SessionRecording = "Server"
	// RecordingEncrypted means that agent and client encrypt the content end to end;
	// the server records the session without its content.
	RecordingEncrypted SessionRecording = "Encrypted"
)
