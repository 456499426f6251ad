// Package runcommand leads commands through their lives: each is sent to its
// nodes over their control channels, as many at a time as it allows, again
// until an agent has taken it; what the agents report is kept; and it ends
// with its last node, with too many errors, when it is cancelled or when its
// time is over.
//
// What it knows is in the store before anybody is told: a server that is
// started again goes on where it was.
package runcommand

import (
	"context"
	"encoding/json"
	"time"

	"sekisho"
)

// Status is how a command, or its part on one node, stands. It is what AWS
// calls StatusDetails.
type Status string

// The statuses.
const (
	Pending    Status = "Pending"
	InProgress Status = "InProgress"
	Delayed    Status = "Delayed" // the node could not be reached; it is tried again
	Cancelling Status = "Cancelling"

	Success           Status = "Success"
	Failed            Status = "Failed"
	Cancelled         Status = "Cancelled"
	DeliveryTimedOut  Status = "DeliveryTimedOut"
	ExecutionTimedOut Status = "ExecutionTimedOut"
	Undeliverable     Status = "Undeliverable"   // the agent takes no commands
	Terminated        Status = "Terminated"      // not sent, as too many others failed
	InvalidPlatform   Status = "InvalidPlatform" // the document is for other systems

	// Of whole commands only.
	Incomplete       Status = "Incomplete" // some did not succeed, fewer than it allows
	RateExceeded     Status = "RateExceeded"
	NoInstancesInTag Status = "NoInstancesInTag" // the targets are none
)

// Over reports whether s is the last status.
func (s Status) Over() bool {
	switch s {
	case Pending, InProgress, Delayed, Cancelling:
		return false
	}
	return true
}

// Short is what AWS calls Status: fewer words for the same.
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

// isError reports whether s counts against what a command allows.
func (s Status) isError() bool { return s == Failed || s == ExecutionTimedOut }

// Target says which nodes a command is for: those whose Key has one of the
// values.
type Target struct {
	Key    string
	Values []string
}

// Output is where agents put what a command writes, besides their reports.
type Output struct {
	Bucket, KeyPrefix, Region string
	Logs                      bool
	LogGroup                  string // "" lets agents choose one by the document's name
}

// StepName is a step of a command's document.
type StepName struct{ Name, Action string }

// Command is a command that was sent.
type Command struct {
	ID  string // UUID
	Seq int64  // newer ones have larger numbers

	Document    string
	Version     string
	Comment     string
	Nodes       []sekisho.NodeID // as the request named them
	Targets     []Target
	Concurrency string // a number, or a share in percent
	ErrorLimit  string
	Output      Output
	Owner       string // ARN
	RequestedAt time.Time
	// Timeout is how long it may take to reach a node, RunTimeout how long it
	// may run there.
	Timeout, RunTimeout time.Duration
	Steps               []StepName

	Job Job

	Status    Status
	Cancel    bool // it was asked to end
	Count     int  // of nodes
	Completed int
	Errors    int
	TimedOut  int // was not delivered in time
}

// Job is what of a command never changes and may be long.
type Job struct {
	Parameters map[string][]string // as the request gave them
	// For agents: the document, and the parameters with those left out.
	Content, Bound json.RawMessage
}

// ExpiresAt is when the command is over whatever its nodes say.
func (c *Command) ExpiresAt() time.Time { return c.RequestedAt.Add(c.Timeout + c.RunTimeout) }

// Invocation is a command's part on one node.
type Invocation struct {
	Command     string
	Seq         int64 // of the command
	Node        sekisho.NodeID
	NodeName    string
	Document    string
	RequestedAt time.Time

	Status  Status
	EndedAt time.Time
	// Trace says why, where it is not for a step to say.
	Trace string
	Steps []*Step
}

// Step is what a step did on one node.
type Step struct {
	Index     int // in the document
	Name      string
	Plugin    string
	Status    Status
	Code      int
	StartedAt time.Time
	EndedAt   time.Time
	Output    string // both streams, or what went wrong
	Stdout    string
	Stderr    string
	// Where the agent has put it, in whole: in Folder under KeyPrefix.
	Bucket, KeyPrefix, Folder string
}

// What is kept of the output of a step, in bytes. AWS's agent sends no more.
const (
	MaxStdout = 24000
	MaxStderr = 8000
	MaxOutput = 2500
	maxTrace  = 2500
)

// Query selects commands and invocations. Zero fields select everything.
type Query struct {
	Command string
	Node    sekisho.NodeID
	After   time.Time
	Before  time.Time
	// Statuses are those that may be.
	Statuses []Status
	Document string
	// Active selects commands that are not over.
	Active bool
	// PastSeq and PastNode are where the previous page ended.
	PastSeq  int64
	PastNode sekisho.NodeID
	Limit    int // 0 = none
	// Steps asks for those of invocations too.
	Steps bool
}

// Change is what is stored as one step.
type Change struct {
	Command     *Command
	Invocations []*Invocation // without their steps
	Steps       []StepOf
}

// StepOf is a step of one node.
type StepOf struct {
	Node sekisho.NodeID
	Step *Step
}

// Store keeps commands.
type Store interface {
	// CreateCommand stores a new command and its invocations, and sets their
	// Seq.
	CreateCommand(ctx context.Context, c *Command, invocations []*Invocation) error
	// SaveCommand stores what has changed: invocations and steps that are
	// not in it stay what they are.
	SaveCommand(ctx context.Context, ch Change) error
	Command(ctx context.Context, id string) (*Command, error)
	// Commands returns the newest first.
	Commands(ctx context.Context, q Query) ([]*Command, error)
	// Invocation returns one with its steps.
	Invocation(ctx context.Context, command string, node sekisho.NodeID) (*Invocation, error)
	// Invocations returns those of the newest command first, by node.
	Invocations(ctx context.Context, q Query) ([]*Invocation, error)
	// DropCommands forgets commands that are over: those that were sent
	// before t, and the oldest where commands and their invocations are
	// more than keep.
	DropCommands(ctx context.Context, t time.Time, keep int) error
}
