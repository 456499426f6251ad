package event

import (
	"encoding/json"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/safetext"
	"sekisho/internal/wire/id"
)

// Type is an event's detail-type.
type Type string

// Values of Type. AWS has only APICall: EventBridge sees the API calls of a session, but
// not its end on the node.
const (
	SessionStarted Type = "Session Started"
	SessionEnded   Type = "Session Ended"
	SessionFailed  Type = "Session Failed"
	SessionDenied  Type = "Session Denied" // by policy
	// SessionLogRewritten: a node overwrote an existing session log, or tried to.
	SessionLogRewritten Type = "Session Log Rewritten"

	NodeUp              Type = "Node Up"
	NodeDown            Type = "Node Down" // and not reconnected within Config.DownAfter
	NodeAddressChanged  Type = "Node Address Changed"
	NodeIdentityChanged Type = "Node Identity Changed" // the node's key is used on another machine
	NodeIdentityInDoubt Type = "Node Identity In Doubt"
	RegistrationRefused Type = "Registration Refused"

	AccessRequestChanged Type = "Access Request Changed" // created, approved, rejected or revoked
	BreakGlassUsed       Type = "Break Glass Used"       // access without approval

	IntegrityProblem Type = "Integrity Problem" // recordings or audit trail differ from what was written

	RecordingStoreChanged Type = "Recording Store Changed" // it started to fail, or recovered

	// APICall is a call that starts, resumes or ends a session, in AWS's format. Only
	// webhooks whose pattern names types or sources receive it, because the other
	// events contain the same information and more.
	APICall Type = "AWS API Call via CloudTrail"
)

// Values of the field source.
const (
	sourceSession = "sekisho.session"
	sourceNode    = "sekisho.node"
	sourceServer  = "sekisho.server"
)

// Types returns all types, in the order of the documentation.
func Types() []Type {
	return []Type{
		SessionStarted, SessionEnded, SessionFailed, SessionDenied,
		NodeUp, NodeDown, NodeAddressChanged, NodeIdentityChanged, NodeIdentityInDoubt, RegistrationRefused,
		APICall, SessionLogRewritten, AccessRequestChanged, BreakGlassUsed, IntegrityProblem,
		RecordingStoreChanged,
	}
}

// Event is a notification about a session or a node.
type Event struct {
	ID   string // UUID; the same at every delivery
	Type Type
	Time time.Time
	// Subject is a session or node. Events with the same subject are delivered in
	// order. It may be empty.
	Subject   string
	Resources []string // ARNs
	Detail    any

	source  string
	origin  Origin
	optIn   bool     // only for webhooks whose pattern names types or sources
	machine *Machine // the part of Detail to fill in; nil if the event concerns no node
}

// Machine is the node that an event concerns.
type Machine struct {
	InstanceID string            `json:"instance-id,omitempty"`
	Name       string            `json:"instance-name,omitempty"`
	Tags       map[string]string `json:"instance-tags,omitempty"`
}

// SessionDetail is the detail of events of sessions.
type SessionDetail struct {
	SessionID string `json:"session-id"`
	Machine
	Owner           string `json:"owner"` // ARN
	SourceIP        string `json:"source-ip,omitempty"`
	DocumentName    string `json:"document-name,omitempty"`
	DocumentVersion string `json:"document-version,omitempty"`
	RunAsUser       string `json:"run-as-user,omitempty"`
	Reason          string `json:"reason,omitempty"` // as the owner gave it
	// AccessRequestID is the access request that the session was started under.
	AccessRequestID string `json:"access-request-id,omitempty"`
	Recording       string `json:"recording,omitempty"`
	StartedAt       string `json:"started-at"`
	EndedAt         string `json:"ended-at,omitempty"`
	Seconds         *int64 `json:"duration-seconds,omitempty"`
	Cause           string `json:"cause,omitempty"` // of the end
}

// Denial is a session that policy refused.
type Denial struct {
	At        time.Time
	Operation string // StartSession or ResumeSession
	Principal string // ARN
	Target    string // as in the request
	SessionID string // as in the request; of ResumeSession
	Document  string
	Reason    string
	SourceIP  string
	UserAgent string
	RequestID string
	Code      string // of the error that the caller received
	Message   string
}

// DenialDetail is the detail of [SessionDenied].
type DenialDetail struct {
	Operation string `json:"operation"`
	Principal string `json:"principal"` // ARN
	SessionID string `json:"session-id,omitempty"`
	Machine
	DocumentName string `json:"document-name,omitempty"`
	Reason       string `json:"reason,omitempty"`
	SourceIP     string `json:"source-ip,omitempty"`
	UserAgent    string `json:"user-agent,omitempty"`
	RequestID    string `json:"request-id,omitempty"` // as in the audit trail
	ErrorCode    string `json:"error-code"`
	ErrorMessage string `json:"error-message,omitempty"`
}

// NodeDetail is the detail of [NodeUp] and [NodeDown].
type NodeDetail struct {
	Machine
	State          string `json:"state"` // up or down
	SourceIP       string `json:"source-ip,omitempty"`
	ComputerName   string `json:"computer-name,omitempty"`
	AgentVersion   string `json:"agent-version,omitempty"`
	ConnectedAt    string `json:"connected-at,omitempty"`
	DisconnectedAt string `json:"disconnected-at,omitempty"`
	LastHeardAt    string `json:"last-heard-at,omitempty"`
	Cause          string `json:"cause,omitempty"`
}

// Sight is an observation about a machine.
type Sight struct {
	Type        Type
	At          time.Time
	Node        sekisho.NodeID // empty for a machine that is not a node
	Kind        string
	SourceIP    string
	Other       string // the previous address, or that of the other machine
	Fingerprint string
	Message     string
}

// SightDetail is the detail of the other events of nodes.
type SightDetail struct {
	Kind string `json:"kind"`
	Machine
	SourceIP    string `json:"source-ip,omitempty"`
	Other       string `json:"other-source-ip,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Message     string `json:"message,omitempty"`
}

// Origin is the account and region that events come from.
type Origin struct {
	Account string
	Region  string
}

// Started is the event of a session that was granted.
func (o Origin) Started(s *sekisho.Session) *Event { return o.session(SessionStarted, s, s.StartedAt) }

// Ended is the event of a session that has ended or failed.
func (o Origin) Ended(s *sekisho.Session) *Event {
	t := SessionEnded
	if s.Status == sekisho.SessionFailed {
		t = SessionFailed
	}
	return o.session(t, s, s.EndedAt)
}

func (o Origin) session(t Type, s *sekisho.Session, at time.Time) *Event {
	d := &SessionDetail{
		SessionID: string(
			s.ID,
		), Machine: Machine{InstanceID: string(s.Target)}, Owner: clip(s.Owner), SourceIP: s.SourceIP,
		DocumentName: s.DocumentName, DocumentVersion: s.DocumentVersion, RunAsUser: clip(s.RunAsUser),
		Reason:    clip(s.Reason),
		Recording: string(s.Recording), StartedAt: stamp(s.StartedAt),
	}
	if s.Permission != nil {
		d.AccessRequestID = s.Permission.AccessRequest
	}
	if !s.EndedAt.IsZero() {
		seconds := int64(s.EndedAt.Sub(s.StartedAt) / time.Second)
		d.EndedAt, d.Seconds, d.Cause = stamp(s.EndedAt), &seconds, clip(s.Details)
	}
	return o.event(t, sourceSession, at, string(s.ID), d, &d.Machine, o.sessionARN(string(s.ID)))
}

// Denied is the event of a session that policy refused.
func (o Origin) Denied(in Denial) *Event {
	d := &DenialDetail{
		Operation: in.Operation, Principal: clip(in.Principal), SessionID: clip(in.SessionID),
		Machine:      Machine{InstanceID: clip(in.Target)},
		DocumentName: clip(in.Document), Reason: clip(in.Reason), SourceIP: in.SourceIP, UserAgent: clip(in.UserAgent),
		RequestID: in.RequestID, ErrorCode: in.Code, ErrorMessage: clip(in.Message),
	}
	var resources []string
	if id.ValidSession(in.SessionID) {
		resources = append(resources, o.sessionARN(in.SessionID))
	}
	return o.event(SessionDenied, sourceSession, in.At, "", d, &d.Machine, resources...)
}

// Up is the event of a node whose agent has connected.
func (o Origin) Up(n *sekisho.Node) *Event {
	d := nodeDetail(n)
	d.State, d.ConnectedAt = "up", stamp(n.ConnectedAt)
	return o.event(NodeUp, sourceNode, n.ConnectedAt, string(n.ID), d, &d.Machine)
}

// Down is the event of a node whose agent has disconnected and not reconnected. at is when the
// bus decided that.
func (o Origin) Down(n *sekisho.Node, at time.Time) *Event {
	d := nodeDetail(n)
	d.State, d.DisconnectedAt, d.LastHeardAt, d.Cause = "down", stamp(
		n.DisconnectedAt,
	), stamp(
		n.LastPingAt,
	), clip(
		n.DisconnectReason,
	)
	if !n.DeregisteredAt.IsZero() {
		d.Cause = "the node was deregistered"
	}
	return o.event(NodeDown, sourceNode, at, string(n.ID), d, &d.Machine)
}

func nodeDetail(n *sekisho.Node) *NodeDetail {
	return &NodeDetail{
		Machine: Machine{
			InstanceID: string(n.ID),
		}, SourceIP: n.LastSourceIP, ComputerName: clip(n.ComputerName), AgentVersion: clip(n.AgentVersion),
	}
}

// Seen is the event of an observation about a machine.
func (o Origin) Seen(in Sight) *Event {
	d := &SightDetail{
		Kind: in.Kind, Machine: Machine{InstanceID: string(in.Node)}, SourceIP: in.SourceIP, Other: in.Other,
		Fingerprint: clip(in.Fingerprint),
		Message:     clip(in.Message),
	}
	return o.event(in.Type, sourceNode, in.At, string(in.Node), d, &d.Machine)
}

// Call is the event of an API call to an AWS service such as "ssm". record is its
// CloudTrail record.
func (o Origin) Call(service string, at time.Time, record json.RawMessage) *Event {
	return &Event{
		ID:     id.UUID(),
		Type:   APICall,
		Time:   at,
		Detail: record,
		source: "aws." + service,
		origin: o,
		optIn:  true,
	}
}

func (o Origin) event(
	t Type,
	source string,
	at time.Time,
	subject string,
	detail any,
	m *Machine,
	resources ...string,
) *Event {
	if id.ValidNode(m.InstanceID) {
		resources = append(resources, o.nodeARN(m.InstanceID))
	} else {
		m = nil
	}
	return &Event{
		ID:        id.UUID(),
		Type:      t,
		Time:      at,
		Subject:   subject,
		Resources: resources,
		Detail:    detail,
		source:    source,
		origin:    o,
		machine:   m,
	}
}

func (o Origin) sessionARN(session string) string {
	return "arn:aws:ssm:" + o.Region + ":" + o.Account + ":session/" + session
}

func (o Origin) nodeARN(node string) string {
	if strings.HasPrefix(node, "i-") {
		return "arn:aws:ec2:" + o.Region + ":" + o.Account + ":instance/" + node
	}
	return "arn:aws:ssm:" + o.Region + ":" + o.Account + ":managed-instance/" + node
}

// node returns the node that e concerns; empty if there is none.
func (e *Event) node() sekisho.NodeID {
	if e.machine == nil {
		return ""
	}
	return sekisho.NodeID(e.machine.InstanceID)
}

// describe adds the name and tags of the node to e.
func (e *Event) describe(n *sekisho.Node, name string) {
	e.machine.Name, e.machine.Tags = name, n.Tags
}

// maxBody bounds an event's JSON.
const maxBody = 64 << 10

// MarshalJSON encodes the event in EventBridge's format.
func (e *Event) MarshalJSON() ([]byte, error) {
	resources := e.Resources
	if resources == nil {
		resources = []string{}
	}
	form := struct {
		Version   string   `json:"version"`
		ID        string   `json:"id"`
		Type      Type     `json:"detail-type"`
		Source    string   `json:"source"`
		Account   string   `json:"account"`
		Time      string   `json:"time"`
		Region    string   `json:"region"`
		Resources []string `json:"resources"`
		Detail    any      `json:"detail"`
	}{"0", e.ID, e.Type, e.source, e.origin.Account, e.Time.UTC().Format(time.RFC3339), e.origin.Region, resources,
		e.Detail}
	b, err := json.Marshal(form)
	if err != nil || len(b) <= maxBody || e.machine == nil {
		return b, err
	}
	e.machine.Tags = nil // everything else is bounded at its origin
	return json.Marshal(form)
}

// stamp formats a time; empty for the zero time.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// maxText bounds a text from a caller or an agent, in bytes.
const maxText = 1024

// clip bounds a text from a caller or an agent. JSON escapes control characters.
func clip(s string) string { return safetext.Clip(strings.ToValidUTF8(s, "\uFFFD"), maxText) }
