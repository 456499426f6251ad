package ssmagent

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"sekisho/internal/wire/mgs"
)

// jobs are the commands that the agent received.
type jobs struct {
	mu      sync.Mutex
	cancels map[string]context.CancelFunc // by job; all jobs ever received
	acks    map[mgs.UUID]chan struct{}    // replies that wait for their acknowledgement
}

// The original waits a second for the acknowledgement of each reply, keeps
// replies that were not acknowledged, and resends them every five minutes.
const (
	replyWait  = time.Second
	replyAgain = 5 * time.Minute
)

type commandDocument struct {
	Parameters map[string]struct {
		Default any `json:"default"`
	} `json:"parameters"`
	MainSteps []struct {
		Action string         `json:"action"`
		Name   string         `json:"name"`
		Inputs map[string]any `json:"inputs"`
	} `json:"mainSteps"`
}

// job handles an agent_job, which it always acknowledges.
func (a *Agent) job(ctx context.Context, m *mgs.Message) {
	job, err := mgs.ParseBody[mgs.AgentJob](m.Payload)
	ack := func(code string) {
		ack := mgs.NewJobAck(m, job.JobID, code)
		a.say(ctx, ack)
	}
	if err != nil {
		ack(mgs.JobUnreadable)
		return
	}
	if job.Cancels() {
		command, err := job.Cancelled()
		if err != nil {
			ack(mgs.JobUnreadable)
			return
		}
		ack(mgs.JobAccepted)
		a.jobs.mu.Lock()
		cancel := a.jobs.cancels[mgs.JobID(command, a.cfg.ID)]
		a.jobs.mu.Unlock()
		if cancel != nil {
			cancel()
		}
		return
	}
	command, err := job.Command()
	var doc commandDocument
	if err == nil {
		err = json.Unmarshal(command.DocumentContent, &doc)
	}
	if err != nil {
		ack(mgs.JobUnreadable)
		return
	}
	a.jobs.mu.Lock()
	if a.jobs.cancels[job.JobID] != nil {
		a.jobs.mu.Unlock()
		ack(mgs.JobDuplicate)
		return
	}
	running, cancel := context.WithCancel(ctx)
	a.jobs.cancels[job.JobID] = cancel
	a.jobs.mu.Unlock()
	ack(mgs.JobAccepted)
	a.workers.Go(func() { a.command(ctx, running, job.JobID, command, &doc) })
}

// command runs a command and reports its progress: when it begins, with each
// step if there are several, and at the end.
func (a *Agent) command(ctx, running context.Context, job string, c mgs.SendCommand, doc *commandDocument) {
	reply := func(status string, steps map[string]*mgs.StepStatus) {
		counts := map[string]int{}
		for _, s := range steps {
			counts[s.Status]++
		}
		m, err := mgs.NewJobReply(job, mgs.CommandReply{
			AdditionalInfo: mgs.CommandInfo{
				Agent: mgs.CommandAgent{
					Lang:      "en-US",
					Name:      "amazon-ssm-agent",
					OS:        "linux",
					OSVersion: "1",
					Version:   Version,
				}, DateTime: mgs.FormatJobTime(time.Now()),
				RuntimeStatusCounts: counts,
			},
			DocumentStatus: status, RuntimeStatus: steps,
		})
		if err == nil {
			a.reply(ctx, m)
		}
	}
	reply(mgs.CommandInProgress, map[string]*mgs.StepStatus{})
	values := map[string]any{}
	for name, p := range doc.Parameters {
		values[name] = p.Default
	}
	for name, v := range c.Parameters {
		values[name] = v
	}
	status, steps := mgs.CommandSuccess, map[string]*mgs.StepStatus{}
	for _, step := range doc.MainSteps {
		began := time.Now()
		lines, _ := fill(step.Inputs["runCommand"], values).([]any)
		done := &mgs.StepStatus{
			Status:        mgs.CommandSuccess,
			Name:          step.Action,
			StepName:      step.Name,
			StartDateTime: mgs.FormatJobTime(began),
		}
		for _, line := range lines {
			text := fmt.Sprint(line)
			if strings.TrimSpace(text) == "wait" { // until it is cancelled
				<-running.Done()
			}
			if running.Err() != nil {
				done.Status = mgs.CommandCancelled
				break
			}
			stdout, stderr, code, over := eval(text, "")
			done.StandardOutput += stdout
			done.StandardError += stderr
			if done.Code = code; over {
				break
			}
		}
		if done.Status == mgs.CommandSuccess && done.Code != 0 {
			done.Status = mgs.CommandFailed
		}
		done.EndDateTime = mgs.FormatJobTime(time.Now())
		done.Output = done.StandardOutput
		if done.StandardError != "" {
			done.Output += "\n----------ERROR-------\n" + done.StandardError
		}
		steps[step.Name] = done
		if status == mgs.CommandSuccess {
			status = done.Status
		}
		if len(doc.MainSteps) > 1 {
			reply(mgs.CommandInProgress, map[string]*mgs.StepStatus{step.Name: done})
		}
		if status != mgs.CommandSuccess {
			break
		}
	}
	reply(status, steps)
}

// reply sends a reply until it is acknowledged. A reply that is not
// acknowledged soon is left for later, and does not delay the next one.
func (a *Agent) reply(ctx context.Context, m mgs.Message) {
	acked := make(chan struct{})
	a.jobs.mu.Lock()
	a.jobs.acks[m.ID] = acked
	a.jobs.mu.Unlock()
	try := func() bool {
		a.say(ctx, m)
		t := time.NewTimer(replyWait)
		defer t.Stop()
		select {
		case <-acked:
			return true
		case <-t.C:
		case <-ctx.Done():
		}
		return false
	}
	if try() {
		return
	}
	a.workers.Go(func() {
		for a.rest(ctx, replyAgain) {
			if try() {
				return
			}
		}
	})
}

func (a *Agent) replied(m *mgs.Message) {
	ack, err := mgs.ParseBody[mgs.JobReplyAck](m.Payload)
	if err != nil {
		return
	}
	a.jobs.mu.Lock()
	defer a.jobs.mu.Unlock()
	if acked := a.jobs.acks[ack.MessageID]; acked != nil {
		close(acked)
		delete(a.jobs.acks, ack.MessageID)
	}
}

// say sends a message on the control channel, if there is one.
func (a *Agent) say(ctx context.Context, m mgs.Message) {
	a.mu.Lock()
	conn := a.control
	a.mu.Unlock()
	if conn == nil {
		return
	}
	if err := conn.Write(ctx, false, m.AppendTo(nil)); err != nil {
		a.log.Warn("not said", "type", m.Type, "error", err)
	}
}
