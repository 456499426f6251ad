package runcommand

import (
	"context"
	"errors"
	"time"

	"sekisho"
	"sekisho/internal/safetext"
	"sekisho/internal/wire/mgs"
)

// NodeConnected must be called when a node's control channel has opened. It sends
// the waiting commands of the node at once.
func (e *Engine) NodeConnected(node sekisho.NodeID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.active {
		if p := r.on[node]; p != nil {
			p.pause, p.next = 0, time.Time{}
		}
	}
	e.wakeUp()
}

// EndNode ends the commands of a node that is no longer managed.
func (e *Engine) EndNode(ctx context.Context, node sekisho.NodeID, why string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer e.wakeUp()
	var errs []error
	for _, r := range e.active {
		p := r.on[node]
		if p == nil || p.inv.Status.Over() {
			continue
		}
		s := Undeliverable
		if p.inv.Status == InProgress || p.inv.Status == Cancelling {
			s = Failed
		}
		ed := r.edit()
		ed.end(p, s, why)
		errs = append(errs, e.commit(ctx, ed))
	}
	return errors.Join(errs...)
}

// errForeign is the error of a report about another node's job.
var errForeign = sekisho.Errorf(sekisho.CodeDenied, "the job belongs to another node")

// own returns the command of a job, which must be node's own.
func (e *Engine) own(ctx context.Context, node sekisho.NodeID, job string) (string, error) {
	command, of, err := mgs.ParseJobID(job)
	if err != nil {
		return "", sekisho.Errorf(sekisho.CodeInvalid, "%w", err)
	}
	if of != string(node) {
		e.cfg.Refused(ctx, node, job)
		return "", errForeign
	}
	return command, nil
}

// JobAck handles the answer of node's agent to a job. The error is CodeDenied if the
// job belongs to another node, and CodeInvalid if the answer is malformed.
func (e *Engine) JobAck(ctx context.Context, node sekisho.NodeID, ack mgs.JobAck) error {
	command, err := e.own(ctx, node, ack.JobID)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.active[command]
	if r == nil {
		return nil // a command that is over, or a cancellation
	}
	p := r.on[node]
	if p == nil {
		e.cfg.Refused(ctx, node, ack.JobID)
		return errForeign
	}
	if s := p.inv.Status; s != Pending && s != Delayed {
		return nil
	}
	defer e.wakeUp()
	ed := r.edit()
	switch ack.StatusCode {
	case mgs.JobAccepted, mgs.JobDuplicate:
		ed.of(p).Status = InProgress
	case mgs.JobClosed, mgs.JobBufferFull:
		p.slot, p.sent, p.next = false, false, time.Now().Add(busyPause)
		ed.of(p).Status = Delayed
	case mgs.JobUnsupported:
		ed.end(p, Undeliverable, "The node's agent does not accept commands.")
	default:
		ed.end(
			p,
			Failed,
			"The node's agent refused the command ("+safetext.Prefix(
				ack.StatusCode,
				20,
			)+": "+safetext.Prefix(
				ack.ErrorMessage,
				200,
			)+").",
		)
	}
	if err := e.commit(ctx, ed); err != nil {
		return err
	}
	if p.inv.Status == InProgress {
		p.slot = true
	}
	return nil
}

// JobReply handles a progress report about a job of node, which may be repeated or
// late. The caller acknowledges it only if the error is nil. CodeDenied and
// CodeInvalid mean the same as in [Engine.JobAck].
func (e *Engine) JobReply(ctx context.Context, node sekisho.NodeID, reply mgs.JobReply) error {
	command, err := e.own(ctx, node, reply.JobID)
	if err != nil {
		return err
	}
	said, err := reply.Reply()
	if err != nil {
		return sekisho.Errorf(sekisho.CodeInvalid, "%w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.active[command]
	if r == nil {
		return e.late(ctx, node, command, &said, reply.JobID)
	}
	p := r.on[node]
	if p == nil {
		e.cfg.Refused(ctx, node, reply.JobID)
		return errForeign
	}
	defer e.wakeUp()
	ed := r.edit()
	status := statusOf(said.DocumentStatus)
	over := p.inv.Status.Over()
	ed.steps = stepsOf(r.cmd, node, &said, over)
	switch {
	case over && !status.Over():
		e.stray(node, command, p.inv.Status)
	case over:
	case status.Over():
		ed.end(p, status, said.DocumentTraceOutput)
	case p.inv.Status != Cancelling && p.inv.Status != InProgress:
		ed.of(p).Status = InProgress
	}
	if err := e.commit(ctx, ed); err != nil {
		return err
	}
	if p.inv.Status == InProgress {
		p.slot = true
	}
	return nil
}

// late stores a reply about a command that is over.
func (e *Engine) late(
	ctx context.Context,
	node sekisho.NodeID,
	command string,
	said *mgs.CommandReply,
	job string,
) error {
	c, err := e.cfg.Store.Command(ctx, command)
	if sekisho.IsNotFound(err) {
		return nil // a deleted command, or a cancellation: the agent must not repeat it
	}
	if err != nil {
		return err
	}
	inv, err := e.cfg.Store.Invocation(ctx, command, node)
	if sekisho.IsNotFound(err) {
		e.cfg.Refused(ctx, node, job)
		return errForeign
	}
	if err != nil {
		return err
	}
	if !statusOf(said.DocumentStatus).Over() {
		e.stray(node, command, inv.Status)
	}
	steps := stepsOf(c, node, said, true)
	if len(steps) == 0 {
		return nil
	}
	return e.cfg.Store.SaveCommand(ctx, Change{Command: c, Steps: steps})
}

// stray cancels a command on a node that still runs it after it was ended here.
func (e *Engine) stray(node sekisho.NodeID, command string, s Status) {
	if s == Cancelled || s == DeliveryTimedOut || s == ExecutionTimedOut {
		e.queueStop(node, command)
	}
}

// statusOf translates an agent's status.
func statusOf(s string) Status {
	switch s {
	case mgs.CommandInProgress, mgs.CommandReboot, "PassedAndReboot":
		return InProgress
	case "NotStarted":
		return Pending
	case mgs.CommandSuccess, mgs.CommandSkipped:
		return Success
	case mgs.CommandCancelled:
		return Cancelled
	case mgs.CommandTimedOut:
		return ExecutionTimedOut
	}
	return Failed
}

// stepsOf returns the steps in a reply; only those that have ended if ended is set.
func stepsOf(c *Command, node sekisho.NodeID, said *mgs.CommandReply, ended bool) []StepOf {
	var all []StepOf
	for i, name := range c.Steps {
		s := said.RuntimeStatus[name.Name]
		if s == nil {
			continue
		}
		step := &Step{
			Index: i, Name: name.Name, Plugin: name.Action, Status: statusOf(s.Status), Code: s.Code,
			StartedAt: timeOf(s.StartDateTime), EndedAt: timeOf(s.EndDateTime),
			Output: safetext.Prefix(
				s.Output,
				MaxOutput,
			), Stdout: safetext.Prefix(s.StandardOutput, MaxStdout), Stderr: safetext.Prefix(s.StandardError, MaxStderr),
			Bucket: safetext.Prefix(s.OutputS3BucketName, 63), KeyPrefix: safetext.Prefix(s.OutputS3KeyPrefix, 1024),
			Folder: safetext.Prefix(s.StepName, 200),
		}
		if step.Status.Over() || !ended {
			all = append(all, StepOf{node, step})
		}
	}
	return all
}

// timeOf parses a time. It returns zero if s is not a time, or is the placeholder that
// AWS's agent sends for no time.
func timeOf(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Year() < 2000 || t.Year() > 9999 {
		return time.Time{}
	}
	return t.UTC()
}
