// Package runcommand manages the life cycle of commands. It sends each command to its
// nodes over their control channels, to as many at a time as the command's
// concurrency allows, and again until an agent acknowledges it. It stores what the
// agents report. A command ends when it has ended on all nodes, has failed on too
// many, is cancelled, or times out.
//
// Every change is stored before it takes effect, so a restarted server resumes all
// commands.
package runcommand

import (
	"context"
	"encoding/json"
	"time"

	"sekisho"
)

// Status is the status of a command or of its invocation on one node. AWS calls it
// StatusDetails.
type Status string

// Values of Status. The first group is for unfinished commands and invocations.
const (
	Pending    Status = "Pending"
	InProgress Status = "InProgress"
	Delayed    Status = "Delayed" // the node is not connected; the server retries
	Cancelling Status = "Cancelling"

	Success           Status = "Success"
	Failed            Status = "Failed"
	Cancelled         Status = "Cancelled"
	DeliveryTimedOut  Status = "DeliveryTimedOut"
	ExecutionTimedOut Status = "ExecutionTimedOut"
	Undeliverable     Status = "Undeliverable"   // the agent refuses commands
	Terminated        Status = "Terminated"      // not sent, because too many nodes failed
	InvalidPlatform   Status = "InvalidPlatform" // the document is for other platforms

	// Only for whole commands.
	Incomplete       Status = "Incomplete" // some nodes failed, but no more than its error limit
	RateExceeded     Status = "RateExceeded"
	NoInstancesInTag Status = "NoInstancesInTag" // no node matches the targets
)

// Over reports whether s is the last status.
func (s Status) Over() bool {
	switch s {
	case Pending, InProgress, Delayed, Cancelling:
		return false
	}
	return true
}

// Short returns the coarser value that AWS calls Status.
func (s Status) Short() string {
	switch s {
	case DeliveryTimedOut, ExecutionTimedOut:
		return "TimedOut"
	case Terminated:
		return "Cancelled"
	case Undeliverable, InvalidPlatform, Incomplete, RateExceeded, NoInstancesInTag:
		return "Failed"
	}
	return string(s)
}

// isError reports whether s counts towards the command's error limit.
func (s Status) isError() bool { return s == Failed || s == ExecutionTimedOut }

// Target selects the nodes whose Key has one of the values.
type Target struct {
	Key    string
	Values []string
}

// Output is where agents store the output of a command, besides reporting it.
type Output struct {
	Bucket, KeyPrefix, Region string
	Logs                      bool
	LogGroup                  string // "" = agents derive it from the document's name
}

// StepName is a step of a command's document.
type StepName struct{ Name, Action string }

// Command is a command and its progress.
type Command struct {
	ID  string // UUID
	Seq int64  // newer ones have larger numbers

	Document    string
	Version     string
	Comment     string
	Nodes       []sekisho.NodeID // as the request named them
	Targets     []Target
	Concurrency string // a number or a percentage
	ErrorLimit  string
	Output      Output
	Owner       string // ARN
	RequestedAt time.Time
	// Timeout limits the delivery to a node, RunTimeout the execution there.
	Timeout, RunTimeout time.Duration
	Steps               []StepName

	Job Job

	Status    Status
	Cancel    bool // cancellation was requested
	Count     int  // of nodes
	Completed int
	Errors    int
	TimedOut  int // nodes it was not delivered to in time
}

// Job is the immutable, possibly large part of a command.
type Job struct {
	Parameters map[string][]string // as in the request
	// Content is the document, and Bound the parameters including defaults, as sent to agents.
	Content, Bound json.RawMessage
}

// ExpiresAt is when the command ends even if its nodes do not report an end.
func (c *Command) ExpiresAt() time.Time { return c.RequestedAt.Add(c.Timeout + c.RunTimeout) }

// Invocation is the execution of a command on one node.
type Invocation struct {
	Command     string
	Seq         int64 // of the command
	Node        sekisho.NodeID
	NodeName    string
	Document    string
	RequestedAt time.Time

	Status  Status
	EndedAt time.Time
	// Trace explains the status if no step does.
	Trace string
	Steps []*Step
}

// Step is the result of a document step on one node.
type Step struct {
	Index     int // in the document
	Name      string
	Plugin    string
	Status    Status
	Code      int
	StartedAt time.Time
	EndedAt   time.Time
	Output    string // both streams, or the error
	Stdout    string
	Stderr    string
	// Bucket and KeyPrefix are where the agent stored the whole output, in Folder.
	Bucket, KeyPrefix, Folder string
}

// Limits on the stored output of a step, in bytes. AWS's agent has the same.
const (
	MaxStdout = 24000
	MaxStderr = 8000
	MaxOutput = 2500
	maxTrace  = 2500
)

// Query selects commands and invocations. Zero fields select everything.
type Query struct {
	Command  string
	Node     sekisho.NodeID
	After    time.Time
	Before   time.Time
	Statuses []Status
	Document string
	// Active selects commands that are not over.
	Active bool
	// PastSeq and PastNode are the place where the previous page ended.
	PastSeq  int64
	PastNode sekisho.NodeID
	Limit    int // 0 = none
	// Steps includes the steps of invocations.
	Steps bool
}

// Change is a change that is stored atomically.
type Change struct {
	Command     *Command
	Invocations []*Invocation // without their steps
	Steps       []StepOf
}

// StepOf is a step on one node.
type StepOf struct {
	Node sekisho.NodeID
	Step *Step
}

// Store keeps commands.
type Store interface {
	// CreateCommand stores a new command and its invocations, and sets their
	// Seq.
	CreateCommand(ctx context.Context, c *Command, invocations []*Invocation) error
	// SaveCommand stores a change. Invocations and steps that it does not contain stay
	// unchanged.
	SaveCommand(ctx context.Context, ch Change) error
	Command(ctx context.Context, id string) (*Command, error)
	// Commands returns commands, newest first.
	Commands(ctx context.Context, q Query) ([]*Command, error)
	// Invocation returns an invocation with its steps.
	Invocation(ctx context.Context, command string, node sekisho.NodeID) (*Invocation, error)
	// Invocations returns invocations, those of the newest command first, sorted by node.
	Invocations(ctx context.Context, q Query) ([]*Invocation, error)
	// DropCommands deletes commands that are over: those sent before t, and the oldest
	// if there are more than keep commands and invocations. It returns the number of
	// deleted commands.
	DropCommands(ctx context.Context, t time.Time, keep int) (int64, error)
}
