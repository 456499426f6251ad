package mgs

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// MaxBody bounds every JSON or XML body this package reads.
const MaxBody = 256 << 10

// SchemaVersion10 is the MessageSchemaVersion of every text frame and of the
// requests that create channels.
const SchemaVersion10 = "1.0"

// Acknowledge is the body of [TypeAcknowledge].
type Acknowledge struct {
	Type       string `json:"AcknowledgedMessageType"`
	ID         UUID   `json:"AcknowledgedMessageId"`
	Seq        int64  `json:"AcknowledgedMessageSequenceNumber"`
	Sequential bool   `json:"IsSequentialMessage"`
}

// HandshakeRequest is the body of [PayloadHandshakeRequest].
type HandshakeRequest struct {
	AgentVersion           string
	RequestedClientActions []RequestedAction
	// Abilities lists what Sekisho's agent supports beyond AWS's agent. Only Sekisho's
	// agent sends it.
	Abilities []string `json:"Sekisho,omitempty"`
}

// Values of ActionType.
const (
	ActionSessionType   = "SessionType"
	ActionKMSEncryption = "KMSEncryption"
)

// RequestedAction is something the agent asks the client to do. The shape of
// the parameters depends on the type: [SessionTypeRequest],
// [KMSEncryptionRequest].
type RequestedAction struct {
	ActionType       string
	ActionParameters json.RawMessage
}

// SessionOffer is what Sekisho's agent adds to the properties of a session.
type SessionOffer struct {
	Sekisho []string `json:"sekisho,omitempty"` // abilities
	OSUser  string   `json:"osUser,omitempty"`  // the user that the program runs as
}

// SessionTypeRequest is the parameter of [ActionSessionType].
type SessionTypeRequest struct {
	SessionType string
	Properties  json.RawMessage // null, or the document's properties
}

// KMSEncryptionRequest is the parameter of [ActionKMSEncryption].
type KMSEncryptionRequest struct {
	KMSKeyID  string `json:"KMSKeyId"`
	Challenge string
}

// KMSEncryptionResponse is the result of [ActionKMSEncryption].
type KMSEncryptionResponse struct {
	KMSCipherTextKey  []byte
	KMSCipherTextHash []byte
}

// HandshakeResponse is the body of [PayloadHandshakeResponse].
type HandshakeResponse struct {
	ClientVersion          string
	ProcessedClientActions []ProcessedAction
	Errors                 []string
}

// ActionStatus is the outcome of a requested action. An agent fails the
// session on anything but ActionSuccess.
type ActionStatus int

// Values of ActionStatus.
const (
	ActionSuccess     ActionStatus = 1
	ActionFailed      ActionStatus = 2
	ActionUnsupported ActionStatus = 3
)

// ProcessedAction answers one RequestedAction.
type ProcessedAction struct {
	ActionType   string
	ActionStatus ActionStatus
	ActionResult json.RawMessage // null if there is no result
	Error        string
}

// HandshakeComplete is the body of [PayloadHandshakeComplete].
type HandshakeComplete struct {
	HandshakeTimeToComplete time.Duration // in nanoseconds on the wire
	CustomerMessage         string
}

// EncChallenge is the body of [PayloadEncChallengeRequest] and of
// [PayloadEncChallengeResponse].
type EncChallenge struct {
	Challenge []byte
}

// Size is the body of [PayloadSize].
type Size struct {
	Cols uint16 `json:"cols"`
	Rows uint16 `json:"rows"`
}

// ChannelClosed is the body of [TypeChannelClosed]. Output is the reason a
// client shows its user; it is the only way to show one.
type ChannelClosed struct {
	MessageID     UUID   `json:"MessageId"`
	CreatedDate   string // RFC 3339; peers demand a string here
	DestinationID string `json:"DestinationId"`
	SessionID     string `json:"SessionId"`
	MessageType   string
	SchemaVersion int
	Output        string
}

// SessionNotice is the body of [TypeSessionNotice]: a text to show in the
// terminal of a session.
type SessionNotice struct {
	SchemaVersion int
	SessionID     string `json:"SessionId"`
	Text          string
}

// SessionInput is the body of [TypeSessionInput]: the input of a person who joined a
// session.
type SessionInput struct {
	SchemaVersion int
	SessionID     string `json:"SessionId"`
	Data          []byte
}

// Values of AgentSessionState.SessionState.
const (
	SessionStateConnected   = "Connected"
	SessionStateTerminating = "Terminating"

	// Sekisho's own: whether the terminal echoes input.
	SessionStateEchoOn  = "EchoOn"
	SessionStateEchoOff = "EchoOff"
)

// AgentSessionState is the body of [TypeAgentSessionState].
type AgentSessionState struct {
	SchemaVersion int
	SessionState  string
	SessionID     string `json:"SessionId"`
}

// AgentTask is the body of [TypeInteractiveShell]: an envelope whose Content
// is an [AgentTaskPayload] as JSON text.
type AgentTask struct {
	Content       string
	TaskID        string `json:"TaskId"`
	Topic         string
	SchemaVersion int
}

// AgentTaskPayload describes the session that an agent is to start.
type AgentTaskPayload struct {
	DocumentName    string
	DocumentContent json.RawMessage
	SessionID       string `json:"SessionId"`
	Parameters      map[string]any
	RunAsUser       string
	SessionOwner    string
}

// Payload reads the Content of t.
func (t *AgentTask) Payload() (AgentTaskPayload, error) {
	return ParseBody[AgentTaskPayload]([]byte(t.Content))
}

// The values of TaskComplete.FinalTaskStatus that Sekisho uses.
const (
	TaskSuccess   = "Success"
	TaskFailed    = "Failed"
	TaskCancelled = "Cancelled"
	TaskTimedOut  = "TimedOut"
)

// TaskComplete is the body of [TypeAgentTaskComplete]: a session has ended on its node. If
// it failed, Output is the reason.
type TaskComplete struct {
	SchemaVersion    int
	TaskID           string `json:"TaskId"`
	Topic            string
	FinalTaskStatus  string
	IsRoutingFailure bool
	AwsAccountID     string `json:"AwsAccountId"`
	InstanceID       string `json:"InstanceId"`
	Output           string
	S3Bucket         string
	S3URLSuffix      string `json:"S3UrlSuffix"`
	CwlGroup         string
	CwlStream        string
	RetryNumber      int

	// LogProblem is the reason why the agent could not deliver the session's log. Only
	// Sekisho's agent sends it.
	LogProblem string `json:"SekishoLogProblem,omitempty"`
	// Undelivered reports that the client has not received all of the session's output.
	// Messages is how many messages the agent has sent on the data channel. Only Sekisho's
	// agent sends them.
	Undelivered bool  `json:"SekishoUndelivered,omitempty"`
	Messages    int64 `json:"SekishoMessages,omitempty"`
}

// TaskAcknowledge is the body of [TypeAgentTaskAcknowledge]: the server has recorded a
// TaskComplete.
type TaskAcknowledge struct {
	SchemaVersion int
	MessageID     UUID   `json:"MessageId"`
	TaskID        string `json:"TaskId"`
	Topic         string
}

// OpenControlChannel is the first frame on a control channel, a text frame.
type OpenControlChannel struct {
	Cookie               *string // always present and null
	MessageSchemaVersion string
	RequestID            string `json:"RequestId"`
	TokenValue           string
	AgentVersion         string
	PlatformType         string

	// Process is a random name of the agent's process. It changes when the agent restarts,
	// which ends all its sessions. Only Sekisho's agent sends it.
	Process string `json:"SekishoProcess,omitempty"`
}

// OpenDataChannel is the first frame on either leg of a data channel, a text frame. Agents
// send ClientInstanceID, clients ClientVersion; old clients leave out both ClientID and
// ClientVersion.
type OpenDataChannel struct {
	MessageSchemaVersion string
	RequestID            string `json:"RequestId"`
	TokenValue           string
	ClientInstanceID     string `json:"ClientInstanceId,omitempty"`
	ClientID             string `json:"ClientId"`
	ClientVersion        string `json:"ClientVersion,omitempty"`
}

// CreateControlChannelRequest is the body of POST /v1/control-channel/ID.
type CreateControlChannelRequest struct {
	MessageSchemaVersion string
	RequestID            string `json:"RequestId"`
}

// CreateDataChannelRequest is the body of POST /v1/data-channel/ID.
type CreateDataChannelRequest struct {
	MessageSchemaVersion string
	RequestID            string `json:"RequestId"`
	ClientID             string `json:"ClientId"`
}

// Body is any JSON body of the protocol.
type Body interface {
	Acknowledge | HandshakeRequest | SessionTypeRequest | KMSEncryptionRequest | KMSEncryptionResponse |
		HandshakeResponse | HandshakeComplete | EncChallenge | Size | ChannelClosed | SessionNotice | SessionInput |
		AgentSessionState | AgentTask | AgentTaskPayload | TaskComplete | TaskAcknowledge |
		OpenControlChannel | OpenDataChannel | CreateControlChannelRequest | CreateDataChannelRequest |
		AgentJob | SendCommand | CancelCommand | JobAck | JobReply | CommandReply | JobReplyAck
}

// ParseBody reads a JSON body of at most [MaxBody] bytes. Unknown fields are
// ignored, as every peer does.
func ParseBody[B Body](b []byte) (B, error) {
	var v B
	if len(b) > MaxBody {
		return v, fmt.Errorf("mgs: %T of %d bytes is too large", v, len(b))
	}
	if trimmed := bytes.TrimLeft(b, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return v, fmt.Errorf("mgs: %T is not a JSON object", v) // json accepts null
	}
	if err := json.Unmarshal(b, &v); err != nil {
		var zero B
		return zero, fmt.Errorf("mgs: malformed %T: %w", v, err)
	}
	return v, nil
}

// MarshalBody returns the JSON of v. It fails only if raw JSON or parameters inside v are
// invalid.
func MarshalBody[B Body](v B) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("mgs: %T: %w", v, err)
	}
	return b, nil
}

// mustMarshal is for bodies of plain strings and numbers.
func mustMarshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// ChannelResponse is the XML answer to a request that creates a channel.
type ChannelResponse struct {
	MessageSchemaVersion string
	TokenValue           string
}

// The root elements of a ChannelResponse.
const (
	CreateControlChannelResponse = "CreateControlChannelResponse"
	CreateDataChannelResponse    = "CreateDataChannelResponse"
)

// MarshalChannelResponse returns the XML of r under the given root element.
func MarshalChannelResponse(root string, r ChannelResponse) []byte {
	b, err := xml.Marshal(struct {
		XMLName xml.Name
		ChannelResponse
	}{xml.Name{Local: root}, r})
	if err != nil {
		panic(err) // two strings always marshal
	}
	return b
}

// ParseChannelResponse reads a ChannelResponse under any root element.
func ParseChannelResponse(b []byte) (ChannelResponse, error) {
	if len(b) > MaxBody {
		return ChannelResponse{}, fmt.Errorf("mgs: channel response of %d bytes is too large", len(b))
	}
	var r ChannelResponse
	if err := xml.Unmarshal(b, &r); err != nil {
		return ChannelResponse{}, fmt.Errorf("mgs: malformed channel response: %w", err)
	}
	if r.TokenValue == "" {
		return ChannelResponse{}, errors.New("mgs: channel response has no TokenValue")
	}
	return r, nil
}

// Flag is the body of [PayloadFlag].
type Flag uint32

// Values of Flag.
const (
	FlagDisconnectToPort   Flag = 1 // client → agent: the local connection ended
	FlagTerminateSession   Flag = 2 // client → agent
	FlagConnectToPortError Flag = 3 // agent → client: the destination refused
)

// Bytes is the payload that carries f.
func (f Flag) Bytes() []byte { return binary.BigEndian.AppendUint32(nil, uint32(f)) }

// ParseFlag reads the payload of a PayloadFlag. Unknown values are an error.
func ParseFlag(b []byte) (Flag, error) {
	if len(b) != 4 {
		return 0, fmt.Errorf("mgs: flag of %d bytes", len(b))
	}
	f := Flag(binary.BigEndian.Uint32(b))
	switch f {
	case FlagDisconnectToPort, FlagTerminateSession, FlagConnectToPortError:
		return f, nil
	}
	return 0, fmt.Errorf("mgs: unknown flag %d", f)
}

const exitCodePrefix = "EXIT_CODE: "

// AppendExitCode appends the payload of a PayloadExitCode.
func AppendExitCode(dst []byte, code int) []byte {
	return strconv.AppendInt(append(dst, exitCodePrefix...), int64(code), 10)
}

// ParseExitCode reads the payload of a PayloadExitCode.
func ParseExitCode(b []byte) (int, error) {
	if len(b) < len(exitCodePrefix) || string(b[:len(exitCodePrefix)]) != exitCodePrefix {
		return 0, errors.New("mgs: malformed exit code")
	}
	n, err := strconv.ParseInt(string(b[len(exitCodePrefix):]), 10, 32)
	if err != nil {
		return 0, errors.New("mgs: malformed exit code")
	}
	return int(n), nil
}
