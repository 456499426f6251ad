package mgs

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Prefixes of AgentJob.Topic; compare with [AgentJob.Sends] and [AgentJob.Cancels].
const (
	TopicSendCommand   = "aws.ssm.sendCommand"
	TopicCancelCommand = "aws.ssm.cancelCommand"
)

// MaxJobReply bounds the Content of a JobReply. An agent drops a longer one.
const MaxJobReply = 120_000

// JobTime is the layout of the times in job messages, which are in UTC.
const JobTime = "2006-01-02T15:04:05.000Z"

// AgentJob is the body of [TypeAgentJob]: an envelope whose Content is, by
// its topic, a [SendCommand] or a [CancelCommand] as JSON text.
type AgentJob struct {
	Content       string
	JobID         string `json:"JobId"` // see JobID
	Topic         string
	SchemaVersion int
}

// Sends reports whether j runs a command.
func (j *AgentJob) Sends() bool { return strings.HasPrefix(j.Topic, TopicSendCommand) }

// Cancels reports whether j cancels a command.
func (j *AgentJob) Cancels() bool { return strings.HasPrefix(j.Topic, TopicCancelCommand) }

// Command reads the Content of a job that sends a command.
func (j *AgentJob) Command() (SendCommand, error) {
	return ParseBody[SendCommand]([]byte(j.Content))
}

// Cancelled reads the Content of a job that cancels a command, and returns
// the ID of that command.
func (j *AgentJob) Cancelled() (command string, err error) {
	c, err := ParseBody[CancelCommand]([]byte(j.Content))
	if err != nil {
		return "", err
	}
	command, _, err = ParseJobID(c.CancelMessageID)
	return command, err
}

// SendCommand is the content of a job that runs a Command document.
type SendCommand struct {
	Parameters              map[string]any // strings, lists of strings, maps
	DocumentContent         json.RawMessage
	CommandID               string `json:"CommandId"`
	DocumentName            string
	OutputS3KeyPrefix       string
	OutputS3BucketName      string
	CloudWatchLogGroupName  string
	CloudWatchOutputEnabled string // "true", "false" or nothing
}

// CancelCommand is the content of a job that cancels a command.
type CancelCommand struct {
	CancelMessageID string `json:"CancelMessageId"` // the JobID it was sent with
}

// JobID identifies a command on a node in all messages about it.
func JobID(command, node string) string { return "aws.ssm." + command + "." + node }

// ParseJobID parses a job ID.
func ParseJobID(s string) (command, node string, err error) {
	rest, ok := strings.CutPrefix(s, "aws.ssm.")
	if ok {
		command, node, ok = strings.Cut(rest, ".")
	}
	if !ok || !jobIDPart(command) || !jobIDPart(node) {
		return "", "", fmt.Errorf("mgs: %.100q is not a job ID", s)
	}
	return command, node, nil
}

// jobIDPart reports whether s can be a part of a job ID. Agents use it in file names.
func jobIDPart(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// NewSendCommand returns the job that runs a command on a node.
func NewSendCommand(node string, c SendCommand) (Message, error) {
	return newJob(TopicSendCommand, JobID(c.CommandID, node), c)
}

// NewCancelCommand returns the job that cancels a command on a node. The job has its
// own ID, because agents ignore an ID that they have seen.
func NewCancelCommand(node, command string) Message {
	m, err := newJob(
		TopicCancelCommand,
		JobID(NewUUID().String(), node),
		CancelCommand{CancelMessageID: JobID(command, node)},
	)
	if err != nil {
		panic(err) // cannot fail: one string always marshals
	}
	return m
}

func newJob[B SendCommand | CancelCommand](topic, id string, content B) (Message, error) {
	b, err := json.Marshal(content)
	if err != nil {
		return Message{}, fmt.Errorf("mgs: %T: %w", content, err)
	}
	payload := mustMarshal(AgentJob{Content: string(b), JobID: id, Topic: topic, SchemaVersion: 1})
	if len(payload) > MaxBody {
		return Message{}, fmt.Errorf("mgs: a job of %d bytes is too large", len(payload))
	}
	return New(TypeAgentJob, payload), nil
}

// Values of JobAck.StatusCode. The agent has accepted the job only with JobAccepted.
// Of the others, only JobUnreadable is followed by a reply.
const (
	JobAccepted     = "200"
	JobClosed       = "51401" // the agent is stopping
	JobBufferFull   = "51402"
	JobUnexpected   = "51403" // an unknown kind of job
	JobUntranslated = "51404"
	JobDuplicate    = "51405" // the agent already has the job
	JobInvalid      = "51406"
	JobUnsupported  = "51407" // the agent runs in a container, or is configured to refuse commands
	JobUnreadable   = "51408"
	JobError        = "51499"
)

// JobAck is the body of [TypeAgentJobAck]: whether an agent has accepted an AgentJob.
type JobAck struct {
	JobID        string `json:"jobId"`
	MessageID    UUID   `json:"acknowledgedMessageId"`
	CreatedDate  string `json:"createdDate"` // of the acknowledged message; JobTime
	StatusCode   string `json:"statusCode"`
	ErrorMessage string `json:"errorMessage"` // the name of the code, such as Successful
}

// jobAckWord is the ErrorMessage of a code.
func jobAckWord(code string) string {
	switch code {
	case JobAccepted:
		return "Successful"
	case JobClosed:
		return "ClosedProcessor"
	case JobBufferFull:
		return "ProcessorBufferFull"
	case JobUnexpected:
		return "UnexpectedDocumentType"
	case JobUntranslated:
		return "ProcessorErrorCodeTranslationFailed"
	case JobDuplicate:
		return "DuplicateCommand"
	case JobInvalid:
		return "InvalidDocument"
	case JobUnsupported:
		return "ContainerNotSupported"
	case JobUnreadable:
		return "AgentJobMessageParseError"
	}
	return "UnexpectedError"
}

// NewJobAck acknowledges m, which carried the given job.
func NewJobAck(m *Message, job, code string) Message {
	return New(TypeAgentJobAck, mustMarshal(JobAck{
		JobID: job, MessageID: m.ID, CreatedDate: m.Created().UTC().Format(JobTime), StatusCode: code,
		ErrorMessage: jobAckWord(code),
	}))
}

// JobReply is the body of [TypeAgentJobReply]: an envelope whose Content is a
// [CommandReply] as JSON text.
type JobReply struct {
	SchemaVersion int    `json:"schemaVersion"`
	JobID         string `json:"jobId"`
	Content       string `json:"content"`
	Topic         string `json:"topic"`
}

// Reply reads the Content of r.
func (r *JobReply) Reply() (CommandReply, error) {
	return ParseBody[CommandReply]([]byte(r.Content))
}

// Values of CommandReply.DocumentStatus and of StepStatus.Status.
const (
	CommandInProgress = "InProgress"
	CommandSuccess    = "Success"
	CommandReboot     = "SuccessAndReboot" // not over yet: the node restarts, then the command continues
	CommandFailed     = "Failed"
	CommandCancelled  = "Cancelled"
	CommandTimedOut   = "TimedOut"
	CommandSkipped    = "Skipped" // of steps only; counts as success
)

// CommandReply reports the progress of a command.
//
// An agent sends one with DocumentStatus InProgress and no step when it accepts the
// job; one with InProgress and one step when each step ends; and one with the
// command's final status at the end, which has a step only if the document has one
// step. The output of several steps is therefore in the intermediate replies.
type CommandReply struct {
	AdditionalInfo      CommandInfo            `json:"additionalInfo"`
	DocumentStatus      string                 `json:"documentStatus"`
	DocumentTraceOutput string                 `json:"documentTraceOutput"`
	RuntimeStatus       map[string]*StepStatus `json:"runtimeStatus"` // by the step's name; may hold nil
}

// CommandInfo identifies the agent and the time of a reply.
type CommandInfo struct {
	Agent               CommandAgent   `json:"agent"`
	DateTime            string         `json:"dateTime"`
	RunID               string         `json:"runId"`
	RuntimeStatusCounts map[string]int `json:"runtimeStatusCounts"` // steps by status
}

// CommandAgent is the agent that replies.
type CommandAgent struct {
	Lang      string `json:"lang"`
	Name      string `json:"name"`
	OS        string `json:"os"`
	OSVersion string `json:"osver"`
	Version   string `json:"ver"`
}

// StepStatus is the result of a step.
type StepStatus struct {
	Status             string `json:"status"`
	Code               int    `json:"code"`
	Name               string `json:"name"`   // of the plugin, such as aws:runShellScript
	Output             string `json:"output"` // both streams, or the error
	StartDateTime      string `json:"startDateTime"`
	EndDateTime        string `json:"endDateTime"`
	OutputS3BucketName string `json:"outputS3BucketName"`
	OutputS3KeyPrefix  string `json:"outputS3KeyPrefix"`
	StepName           string `json:"stepName"`
	StandardOutput     string `json:"standardOutput"`
	StandardError      string `json:"standardError"`
}

// NewJobReply reports the progress of a job's command to the server.
func NewJobReply(job string, r CommandReply) (Message, error) {
	content := mustMarshal(r)
	if len(content) > MaxJobReply {
		return Message{}, fmt.Errorf("mgs: a reply of %d bytes is too large", len(content))
	}
	return New(
		TypeAgentJobReply,
		mustMarshal(JobReply{SchemaVersion: 1, JobID: job, Content: string(content), Topic: TopicSendCommand}),
	), nil
}

// FormatJobTime formats t for job messages.
func FormatJobTime(t time.Time) string { return t.UTC().Format(JobTime) }

// JobReplyAck is the body of [TypeAgentJobReplyAck]: the server has stored a JobReply.
type JobReplyAck struct {
	JobID     string `json:"jobId"`
	MessageID UUID   `json:"acknowledgedMessageId"`
}

// NewJobReplyAck acknowledges m, a JobReply about the given job.
func NewJobReplyAck(m *Message, job string) Message {
	return New(TypeAgentJobReplyAck, mustMarshal(JobReplyAck{JobID: job, MessageID: m.ID}))
}
