// Package runcommand runs the commands that the server sends to the node: the
// steps of a command document, as the agent's own user.
//
// A command is recorded on disk before it starts, and never starts twice. Its replies are stored
// there until the server has acknowledged them, so that an agent that ends in the middle reports
// the command's outcome after a restart.
package runcommand

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"sekisho"
	"sekisho/internal/agent/sessionlog"
	"sekisho/internal/wire/mgs"
)

// Limits of running and of waiting commands.
const (
	defaultWorkers = 5
	maxWaiting     = 50
)

// Services are the services that a command uses; see [uplink.Client].
type Services interface {
	sessionlog.Services
	GetObject(ctx context.Context, bucket, key string, w io.Writer, limit int64) error
	ListObjects(ctx context.Context, bucket, prefix string, limit int) ([]string, error)
	Host() string
}

// Config is the configuration of a Runner.
type Config struct {
	Dir      string // used only by the Runner
	Node     sekisho.NodeID
	Off      bool // refuse all commands
	Workers  int  // concurrent commands; 0 means 5
	Services Services
	// Web is the transport for downloads from other servers; nil means http.DefaultTransport.
	Web http.RoundTripper
	// Reply sends a reply to the server; see control.Channel.Reply.
	Reply func(job string, reply mgs.UUID, load func() (mgs.CommandReply, error))
	Agent mgs.CommandAgent
	// Environment is added to the agent's environment for scripts.
	Environment map[string]string
	Log         *slog.Logger
}

// Runner runs commands.
type Runner struct {
	cfg    Config
	store  *store
	jobs   map[string]record // unfinished commands of an earlier process
	unsaid []storedReply     // unacknowledged replies of an earlier process
	ctx    context.Context
	stop   context.CancelCauseFunc
	slots  chan struct{}

	wg     sync.WaitGroup
	mu     sync.Mutex
	closed bool
	active map[string]context.CancelCauseFunc // by command
}

// Open returns a Runner. Commands inherit the values of ctx, but not its cancellation: Stop ends
// them.
func Open(ctx context.Context, cfg Config) (*Runner, error) {
	if cfg.Workers <= 0 {
		cfg.Workers = defaultWorkers
	}
	s, jobs, unsaid, err := openStore(cfg.Dir)
	if err != nil {
		return nil, err
	}
	r := &Runner{
		cfg: cfg, store: s, jobs: jobs, unsaid: unsaid,
		slots:  make(chan struct{}, cfg.Workers),
		active: make(map[string]context.CancelCauseFunc),
	}
	r.ctx, r.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	return r, nil
}

// Resume sends the unacknowledged replies of an earlier agent process, and reports its unfinished
// commands as failed.
func (r *Runner) Resume() {
	ended := make(map[string]bool)
	for _, s := range r.unsaid {
		ended[s.Job] = ended[s.Job] || s.Final
		r.cfg.Reply(s.Job, s.ID, r.store.loader(s.Job, s.ID))
	}
	for command, rec := range r.jobs {
		if !ended[rec.Job] {
			r.killLeftover(command, rec)
			r.reportLost(rec)
		}
		r.store.over(rec.Job)
	}
	for _, command := range r.store.leftovers() {
		r.clean(command)
	}
	r.jobs, r.unsaid = nil, nil
}

// Stop ends all commands, and waits until their replies are stored and passed to Reply.
func (r *Runner) Stop() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop(errStopped)
	r.wg.Wait()
}

// Close releases the runner after its last report.
func (r *Runner) Close() { r.store.close() }

// Acknowledged deletes a reply that the server has acknowledged.
func (r *Runner) Acknowledged(job string, reply mgs.UUID) { r.store.forget(job, reply) }

// Job handles a job from the server.
func (r *Runner) Job(job mgs.AgentJob, answer func(code string)) {
	log := r.cfg.Log.With("job", job.JobID)
	command, node, err := mgs.ParseJobID(job.JobID)
	switch {
	case err != nil || node != string(r.cfg.Node):
		log.Warn("refused a job for another node")
		answer(mgs.JobInvalid)
	case job.Cancels():
		cancelled, err := job.Cancelled()
		if err != nil {
			log.Warn("refused a job", "error", err)
			answer(mgs.JobUnreadable)
			return
		}
		answer(mgs.JobAccepted)
		r.cancel(cancelled)
	case job.Sends():
		r.take(command, job, log, answer)
	default:
		log.Warn("refused a job with an unknown topic", "topic", job.Topic)
		answer(mgs.JobUnexpected)
	}
}

func (r *Runner) cancel(command string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cancel := r.active[command]; cancel != nil {
		cancel(errCancelled)
	}
}

// take starts a command, or reports why it does not.
func (r *Runner) take(command string, job mgs.AgentJob, log *slog.Logger, answer func(string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.cfg.Off:
		log.Warn("refused a command: this agent runs none")
		answer(mgs.JobUnsupported)
		return
	case r.closed:
		answer(mgs.JobClosed)
		return
	case r.active[command] != nil:
		answer(mgs.JobDuplicate)
		return
	case len(r.active) >= r.cfg.Workers+maxWaiting:
		log.Warn("refused a command: too many are running or waiting")
		answer(mgs.JobBufferFull)
		return
	}
	run := &run{r: r, command: command, log: log, record: record{Job: job.JobID}}
	var refusal error
	if run.send, refusal = job.Command(); refusal != nil {
		refusal = refuse("The command is malformed: %w.", refusal)
	} else {
		run.plan, refusal = newPlan(run.send)
	}
	if run.plan != nil {
		for _, s := range run.plan.steps {
			run.record.Steps = append(run.record.Steps, stepRecord{Name: s.name, Plugin: s.plugin})
		}
	}
	news, err := r.store.take(command, run.record)
	switch {
	case err != nil:
		log.Error("could not accept a command", "error", err)
		answer(mgs.JobError)
		return
	case !news:
		log.Info("did not run a command again")
		answer(mgs.JobDuplicate)
		return
	}
	answer(mgs.JobAccepted)
	if refusal != nil {
		log.Warn("refused a command", "document", run.send.DocumentName, "error", refusal)
		run.refuse(refusal)
		return
	}
	ctx, cancel := context.WithCancelCause(r.ctx)
	r.active[command] = cancel
	run.tell(mgs.CommandReply{DocumentStatus: mgs.CommandInProgress}, false)
	r.wg.Go(func() {
		defer cancel(nil)
		select {
		case r.slots <- struct{}{}:
			defer func() { <-r.slots }()
		case <-ctx.Done():
		}
		run.run(ctx)
		r.mu.Lock()
		delete(r.active, command)
		r.mu.Unlock()
	})
}

// killLeftover ends the script that an earlier agent process left running. Another process may have
// its group's number by now, so it checks the environment for the command's ID. If the group was
// not recorded in time, it searches for a group leader with that ID.
func (r *Runner) killLeftover(command string, rec record) {
	if !rec.Began {
		return
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return // cannot be determined
	}
	mark := "\x00" + variableCommand + "=" + command + "\x00"
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		group, err := syscall.Getpgid(pid)
		if err != nil || group <= 1 || group != rec.Group && (rec.Group != 0 || group != pid) {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err == nil && strings.Contains("\x00"+string(env), mark) {
			r.cfg.Log.Warn("ended a command's script that outlived the agent", "command", command)
			if err := syscall.Kill(-group, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				r.cfg.Log.Error("could not end the script of a command", "command", command, "error", err)
			}
			return
		}
	}
}

// reportLost reports that a command ended with the agent process that ran it.
func (r *Runner) reportLost(rec record) {
	why := "The agent restarted while the command was running. The command was ended, and its output is lost."
	if !rec.Began {
		why = "The agent restarted before the command began. The command was not run."
	}
	run := &run{r: r, log: r.cfg.Log, record: rec}
	run.trace = append(run.trace, why)
	if rec.Number < len(rec.Steps) {
		now := time.Now()
		run.stepOver(rec.Number, mgs.StepStatus{
			Status: mgs.CommandFailed, Code: 1, Output: why, StandardError: why,
			StartDateTime: mgs.FormatJobTime(now), EndDateTime: mgs.FormatJobTime(now),
		})
	}
	run.final(mgs.CommandFailed)
}

func (r *Runner) clean(command string) {
	if err := r.store.clean(command); err != nil {
		r.cfg.Log.Warn("could not remove the directory of a command", "path", r.store.workPath(command), "error", err)
	}
}

// summary returns the status of a document, and the counts of its steps by status.
func summary(steps []stepRecord) (status string, counts map[string]int) {
	counts = make(map[string]int)
	for _, s := range steps {
		if s.Status != "" {
			counts[s.Status]++
		}
	}
	for _, s := range []string{mgs.CommandFailed, mgs.CommandTimedOut, mgs.CommandCancelled} {
		if counts[s] > 0 {
			return s, counts
		}
	}
	return mgs.CommandSuccess, counts
}

// note returns an outcome for a log line.
func note(s *mgs.StepStatus) string { return fmt.Sprintf("%s (%d)", s.Status, s.Code) }
