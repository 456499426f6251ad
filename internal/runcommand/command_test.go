package runcommand_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sekisho"
	"sekisho/internal/runcommand"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/wire/mgs"
)

// job is a job as a node received it.
type job struct {
	node    sekisho.NodeID
	id      string
	command string
	cancel  bool
}

// world is an engine and its nodes.
type world struct {
	t      *testing.T
	store  *memStore
	engine *runcommand.Engine
	stop   context.CancelFunc
	sleep  func(time.Duration)

	mu      sync.Mutex
	up      map[sekisho.NodeID]bool
	jobs    []job
	refused []string
}

func (w *world) Connected(n sekisho.NodeID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.up[n]
}

func (w *world) Deliver(_ context.Context, n sekisho.NodeID, frame []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.up[n] {
		return sekisho.Errorf(sekisho.CodeUnreachable, "%s is not connected.", n)
	}
	m, err := mgs.Parse(frame)
	if err != nil {
		w.t.Errorf("%v", err)
		return nil
	}
	j, err := mgs.ParseBody[mgs.AgentJob](m.Payload)
	if err != nil {
		w.t.Errorf("%v", err)
		return nil
	}
	got := job{node: n, id: j.JobID, cancel: j.Cancels()}
	if got.cancel {
		got.command, err = j.Cancelled()
	} else {
		var c mgs.SendCommand
		c, err = j.Command()
		got.command = c.CommandID
	}
	if err != nil {
		w.t.Errorf("%v", err)
	}
	w.jobs = append(w.jobs, got)
	return nil
}

// took returns the jobs since its last call, as "send mi-1" and "cancel mi-1".
func (w *world) took() string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, n := range nodes(9) { // the order has no meaning
		for _, j := range w.jobs {
			if j.node == n.ID {
				all = append(all, map[bool]string{false: "send ", true: "cancel "}[j.cancel]+string(n.ID))
			}
		}
	}
	w.jobs = nil
	return strings.Join(all, ", ")
}

// start runs an engine over the store of w, as a new process would.
func (w *world) start() {
	w.engine = runcommand.New(runcommand.Config{
		Store: w.store, Links: w, Log: slog.New(slog.DiscardHandler), MaxPending: 20,
		Refused: func(_ context.Context, n sekisho.NodeID, job string) {
			w.refused = append(w.refused, string(n)+" "+job)
		},
	})
	if err := w.engine.Recover(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.engine.Run(ctx)
	}()
	w.stop = func() {
		cancel()
		<-done
	}
}

// inWorld runs f with nodes mi-1 and on of which the first up are connected.
func inWorld(t *testing.T, up int, f func(w *world)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, store: newMemStore(), up: map[sekisho.NodeID]bool{}, sleep: time.Sleep}
		for _, n := range nodes(up) {
			w.up[n.ID] = true
		}
		w.start()
		defer func() { w.stop() }()
		f(w)
	})
}

func nodes(n int) []*sekisho.Node {
	var all []*sekisho.Node
	for i := range n {
		all = append(all, &sekisho.Node{ID: sekisho.NodeID(fmt.Sprintf("mi-%d", i+1)), PlatformType: "Linux"})
	}
	return all
}

func shellPlan(t *testing.T) *ssmdoc.CommandPlan {
	t.Helper()
	p, err := ssmdoc.FindBuiltin("AWS-RunShellScript").
		Command(map[string][]string{"commands": {"id"}, "executionTimeout": {"600"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// send sends a command to the first n nodes; change may alter it.
func (w *world) send(n int, change func(*runcommand.Request)) string {
	w.t.Helper()
	in := runcommand.Request{
		Document: "AWS-RunShellScript", Version: "1", Plan: shellPlan(w.t), Platforms: []string{"Linux"}, Nodes: nodes(n),
	}
	if change != nil {
		change(&in)
	}
	c, err := w.engine.Send(w.t.Context(), in)
	if err != nil {
		w.t.Fatal(err)
	}
	return c.ID
}

func (w *world) ack(id string, n int, code string) {
	w.t.Helper()
	node := sekisho.NodeID(fmt.Sprintf("mi-%d", n))
	if err := w.engine.JobAck(w.t.Context(), node,
		mgs.JobAck{JobID: mgs.JobID(id, string(node)), StatusCode: code, ErrorMessage: "Why"}); err != nil {
		w.t.Error(err)
	}
}

// replyOf returns a reply about the step of AWS-RunShellScript.
func replyOf(id string, node sekisho.NodeID, status string, step *mgs.StepStatus) mgs.JobReply {
	r := mgs.CommandReply{DocumentStatus: status}
	if step != nil {
		r.RuntimeStatus = map[string]*mgs.StepStatus{"aws:runShellScript": step, "nil": nil}
	}
	b, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return mgs.JobReply{
		SchemaVersion: 1,
		JobID:         mgs.JobID(id, string(node)),
		Content:       string(b),
		Topic:         mgs.TopicSendCommand,
	}
}

func (w *world) reply(id string, n int, status string) {
	w.t.Helper()
	node := sekisho.NodeID(fmt.Sprintf("mi-%d", n))
	var step *mgs.StepStatus
	if status != mgs.CommandInProgress {
		step = &mgs.StepStatus{Status: status, Name: "aws:runShellScript", StandardOutput: "out " + string(node)}
	}
	if err := w.engine.JobReply(w.t.Context(), node, replyOf(id, node, status, step)); err != nil {
		w.t.Error(err)
	}
}

// connect connects or disconnects node n.
func (w *world) connect(n int, up bool) {
	node := sekisho.NodeID(fmt.Sprintf("mi-%d", n))
	w.mu.Lock()
	w.up[node] = up
	w.mu.Unlock()
	if up {
		w.engine.NodeConnected(node)
	}
}

// want checks the state of a command and its invocations: "Success 1/2 e1 d0:
// Failed Success".
func (w *world) want(id, want string) {
	w.t.Helper()
	synctest.Wait()
	c, err := w.engine.Command(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	got := fmt.Sprintf("%s %d/%d e%d d%d:", c.Status, c.Completed, c.Count, c.Errors, c.TimedOut)
	all, err := w.engine.Invocations(w.t.Context(), runcommand.Query{Command: id})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, inv := range all {
		got += " " + string(inv.Status)
		if inv.Status.Over() == inv.EndedAt.IsZero() {
			w.t.Errorf("%s on %s ended at %s", inv.Status, inv.Node, inv.EndedAt)
		}
	}
	if got != want {
		w.t.Errorf("%s, want %s", got, want)
	}
}

func (w *world) wantJobs(want string) {
	w.t.Helper()
	if got := w.took(); got != want {
		w.t.Errorf("nodes got %q, want %q", got, want)
	}
}

func TestCommand(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		id := w.send(1, nil)
		w.wantJobs("send mi-1")
		w.want(id, "Pending 0/1 e0 d0: Pending")
		w.ack(id, 1, mgs.JobAccepted)
		w.want(id, "InProgress 0/1 e0 d0: InProgress")
		w.reply(id, 1, mgs.CommandInProgress)
		if err := w.engine.JobReply(t.Context(), "mi-1", replyOf(id, "mi-1", mgs.CommandSuccess, &mgs.StepStatus{
			Status: "Success", Name: "aws:runShellScript", Output: strings.Repeat("o", 3000),
			StandardOutput: strings.Repeat("ä", 15000),
			StandardError:  strings.Repeat("e", 9000), StartDateTime: "2026-01-02T03:04:05.678Z",
			EndDateTime:        "0001-01-01T00:00:00.000Z",
			OutputS3BucketName: "b", OutputS3KeyPrefix: "k",
		})); err != nil {
			t.Fatal(err)
		}
		w.want(id, "Success 1/1 e0 d0: Success")
		inv, err := w.engine.Invocation(t.Context(), id, "mi-1")
		if err != nil || len(inv.Steps) != 1 {
			t.Fatalf("%+v, %v", inv, err)
		}
		s := inv.Steps[0]
		if s.Name != "aws:runShellScript" || s.Status != runcommand.Success || len(s.Output) != runcommand.MaxOutput ||
			len(s.Stdout) != runcommand.MaxStdout ||
			len(s.Stderr) != runcommand.MaxStderr || s.StartedAt.Year() != 2026 ||
			!s.EndedAt.IsZero() ||
			s.Bucket != "b" ||
			s.KeyPrefix != "k" {
			t.Errorf("%+v", s)
		}
		// Repeated and late replies are harmless.
		w.reply(id, 1, mgs.CommandFailed)
		w.reply(id, 1, mgs.CommandInProgress)
		w.ack(id, 1, mgs.JobAccepted)
		w.want(id, "Success 1/1 e0 d0: Success")
		w.wantJobs("")
	})
}

func TestSentAgainUntilTaken(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		id := w.send(1, nil)
		w.wantJobs("send mi-1")
		for _, pause := range []time.Duration{5, 10, 20, 40, 60, 60} {
			w.sleep(pause*time.Second - 1)
			w.wantJobs("")
			w.sleep(1)
			w.wantJobs("send mi-1")
		}
		w.ack(id, 1, mgs.JobDuplicate) // it had received it already
		w.want(id, "InProgress 0/1 e0 d0: InProgress")
		w.sleep(10 * time.Minute)
		w.wantJobs("")
	})
}

func TestNodeThatReconnects(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		id := w.send(2, nil)
		w.wantJobs("send mi-1")
		w.want(id, "Pending 0/2 e0 d0: Pending Delayed")
		w.sleep(59 * time.Minute)
		w.took()
		w.connect(2, true)
		w.wantJobs("send mi-2")
		// It disconnects before its response, and reconnects.
		w.connect(2, false)
		w.sleep(time.Second * 10)
		w.want(id, "Pending 0/2 e0 d0: Pending Delayed")
		w.connect(2, true)
		w.took()
		w.ack(id, 2, mgs.JobAccepted)
		w.reply(id, 2, mgs.CommandSuccess)
		w.sleep(time.Minute)
		w.want(id, "DeliveryTimedOut 2/2 e0 d1: DeliveryTimedOut Success")
		// A command that runs although it expired is stopped.
		w.took()
		w.reply(id, 1, mgs.CommandInProgress)
		w.wantJobs("cancel mi-1")
	})
}

func TestDeliveryTimeout(t *testing.T) {
	inWorld(t, 0, func(w *world) {
		id := w.send(1, func(in *runcommand.Request) { in.Timeout = time.Minute })
		w.sleep(time.Minute - 1)
		w.want(id, "Pending 0/1 e0 d0: Delayed")
		w.sleep(1)
		w.want(id, "DeliveryTimedOut 1/1 e0 d1: DeliveryTimedOut")
		w.connect(1, true)
		w.wantJobs("")
	})
}

func TestExecutionTimeout(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		id := w.send(2, func(in *runcommand.Request) { in.Timeout = time.Minute })
		w.ack(id, 1, mgs.JobAccepted)
		w.ack(id, 2, mgs.JobAccepted)
		w.took()
		w.reply(id, 2, mgs.CommandTimedOut) // the agent's own report
		// 1 minute to deliver, 10 to run, 1 to report.
		w.sleep(12*time.Minute - 1)
		w.want(id, "InProgress 1/2 e1 d0: InProgress ExecutionTimedOut")
		w.sleep(1)
		w.want(id, "ExecutionTimedOut 2/2 e2 d0: ExecutionTimedOut ExecutionTimedOut")
		w.wantJobs("cancel mi-1")
		// Output that arrives later is still stored.
		w.reply(id, 1, mgs.CommandSuccess)
		w.want(id, "ExecutionTimedOut 2/2 e2 d0: ExecutionTimedOut ExecutionTimedOut")
		inv, err := w.engine.Invocation(t.Context(), id, "mi-1")
		if err != nil || len(inv.Steps) != 1 || inv.Steps[0].Stdout != "out mi-1" {
			t.Errorf("%+v, %v", inv, err)
		}
	})
}

func TestConcurrencyAndErrors(t *testing.T) {
	inWorld(t, 5, func(w *world) {
		id := w.send(5, func(in *runcommand.Request) { in.Concurrency, in.ErrorLimit = "40%", "1" })
		w.wantJobs("send mi-1, send mi-2")
		w.ack(id, 1, mgs.JobAccepted)
		w.ack(id, 2, mgs.JobAccepted)
		w.wantJobs("")
		w.reply(id, 1, mgs.CommandFailed)
		w.wantJobs("send mi-3") // one error is allowed
		w.ack(id, 3, mgs.JobAccepted)
		w.reply(id, 2, mgs.CommandFailed)
		w.wantJobs("")
		w.want(id, "InProgress 4/5 e2 d0: Failed Failed InProgress Terminated Terminated")
		w.reply(id, 3, mgs.CommandSuccess)
		w.want(id, "Failed 5/5 e2 d0: Failed Failed Success Terminated Terminated")
	})
}

func TestDisconnectedNodesDelayNoOthers(t *testing.T) {
	inWorld(t, 0, func(w *world) {
		w.connect(3, true)
		id := w.send(3, func(in *runcommand.Request) { in.Concurrency = "1" })
		w.wantJobs("send mi-3")
		w.connect(1, true)
		w.wantJobs("")
		w.ack(id, 3, mgs.JobAccepted)
		w.reply(id, 3, mgs.CommandSuccess)
		w.wantJobs("send mi-1")
	})
}

func TestOutcomes(t *testing.T) {
	for want, said := range map[string][]string{
		"Success 3/3 e0 d0: Success Success Success": {"Success", "Success",
			"Success"},
		"Success 3/3 e0 d0: Success Undeliverable Success": {"Success", mgs.JobUnsupported,
			"Success"},
		"Undeliverable 3/3 e0 d0: " + strings.Repeat(" Undeliverable", 3)[1:]: {mgs.JobUnsupported,
			mgs.JobUnsupported, mgs.JobUnsupported},
		"Incomplete 3/3 e1 d0: Success Failed Success": {"Success", mgs.JobUnreadable,
			"Success"},
		"Failed 3/3 e2 d0: Failed Failed Success": {"Failed", "something else",
			"Success"},
		"ExecutionTimedOut 3/3 e3 d0: ExecutionTimedOut ExecutionTimedOut ExecutionTimedOut": {"TimedOut", "TimedOut",
			"TimedOut"},
	} {
		t.Run(want, func(t *testing.T) {
			inWorld(t, 3, func(w *world) {
				id := w.send(3, func(in *runcommand.Request) { in.ErrorLimit = "34%" })
				w.took()
				for i, s := range said {
					if strings.HasPrefix(s, "514") {
						w.ack(id, i+1, s)
					} else {
						w.reply(id, i+1, s)
					}
				}
				w.want(id, want)
			})
		})
	}
}

func TestBusyAgent(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		id := w.send(1, nil)
		w.took()
		w.ack(id, 1, mgs.JobBufferFull)
		w.want(id, "Pending 0/1 e0 d0: Delayed")
		w.sleep(30*time.Second - 1)
		w.wantJobs("")
		w.sleep(1)
		w.wantJobs("send mi-1")
	})
}

func TestCancel(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		id := w.send(4, func(in *runcommand.Request) { in.Concurrency = "2" })
		w.wantJobs("send mi-1, send mi-2")
		w.ack(id, 1, mgs.JobAccepted)
		if err := w.engine.Cancel(t.Context(), id, nil); err != nil {
			t.Fatal(err)
		}
		w.want(id, "Cancelling 3/4 e0 d0: Cancelling Cancelled Cancelled Cancelled")
		w.wantJobs("cancel mi-1, cancel mi-2")
		w.sleep(5 * time.Second)
		w.wantJobs("cancel mi-1") // until it reports that
		w.reply(id, 1, mgs.CommandCancelled)
		w.want(id, "Cancelled 4/4 e0 d0: Cancelled Cancelled Cancelled Cancelled")
		w.sleep(time.Hour)
		w.wantJobs("")
		// The command has ended, so nothing happens.
		if err := w.engine.Cancel(t.Context(), id, nil); err != nil {
			t.Error(err)
		}
		if err := w.engine.Cancel(t.Context(), "nope", nil); !sekisho.IsNotFound(err) {
			t.Error(err)
		}
	})
}

func TestCancelSome(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		id := w.send(2, nil)
		w.took()
		w.ack(id, 1, mgs.JobAccepted)
		w.ack(id, 2, mgs.JobAccepted)
		if err := w.engine.Cancel(t.Context(), id, []sekisho.NodeID{"mi-2", "mi-7"}); err != nil {
			t.Fatal(err)
		}
		w.wantJobs("cancel mi-2")
		w.want(id, "InProgress 0/2 e0 d0: InProgress Cancelling")
		w.reply(id, 2, mgs.CommandSuccess) // it had already finished
		w.reply(id, 1, mgs.CommandSuccess)
		w.want(id, "Success 2/2 e0 d0: Success Success")
	})
}

func TestCancelWhileDisconnected(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		id := w.send(1, nil)
		w.ack(id, 1, mgs.JobAccepted)
		w.took()
		w.connect(1, false)
		if err := w.engine.Cancel(t.Context(), id, nil); err != nil {
			t.Fatal(err)
		}
		w.want(id, "Cancelling 0/1 e0 d0: Cancelling")
		w.connect(1, true)
		w.wantJobs("cancel mi-1")
		w.connect(1, false)
		w.sleep(2 * time.Hour)
		w.want(id, "Cancelled 1/1 e0 d0: Cancelled")
	})
}

func TestDeregisteredNode(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		id, other := w.send(2, nil), w.send(1, nil)
		w.ack(id, 1, mgs.JobAccepted)
		w.ack(other, 1, mgs.JobAccepted)
		w.reply(other, 1, mgs.CommandSuccess)
		for _, n := range []sekisho.NodeID{"mi-1", "mi-2", "mi-9"} {
			if err := w.engine.EndNode(t.Context(), n, "It is gone."); err != nil {
				t.Error(err)
			}
		}
		w.want(id, "Failed 2/2 e1 d0: Failed Undeliverable")
		w.want(other, "Success 1/1 e0 d0: Success")
	})
}

// TestRestart: another process resumes running commands.
func TestRestart(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		id := w.send(3, nil)
		w.ack(id, 1, mgs.JobAccepted)
		w.took()
		w.stop()
		w.start()
		w.wantJobs("send mi-2") // no node has acknowledged it
		w.reply(id, 1, mgs.CommandSuccess)
		w.ack(id, 2, mgs.JobDuplicate)
		w.reply(id, 2, mgs.CommandSuccess)
		w.connect(3, true)
		w.wantJobs("send mi-3")
		w.reply(id, 3, mgs.CommandSuccess)
		w.want(id, "Success 3/3 e0 d0: Success Success Success")
	})
}

func TestFailingStore(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		id := w.send(1, nil)
		w.took()
		w.store.fail = errors.New("disk full")
		if err := w.engine.JobReply(t.Context(), "mi-1", replyOf(id, "mi-1", "Success", nil)); err == nil {
			t.Error("a reply that was not kept was acknowledged")
		}
		w.want(id, "Pending 0/1 e0 d0: Pending")
		w.reply(id, 1, mgs.CommandSuccess)
		w.want(id, "Success 1/1 e0 d0: Success")
		w.store.fail = errors.New("disk full")
		if _, err := w.engine.Send(t.Context(), runcommand.Request{Plan: shellPlan(t), Nodes: nodes(1)}); err == nil {
			t.Error("sent")
		}
		w.wantJobs("")
	})
}

// TestRepliesOfOtherNodes: a node can neither report for another node, nor on a command
// that it did not receive.
func TestRepliesOfOtherNodes(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		id := w.send(1, nil)
		for name, err := range map[string]error{
			"another node's job":     w.engine.JobReply(t.Context(), "mi-2", replyOf(id, "mi-1", "Success", nil)),
			"another node's command": w.engine.JobReply(t.Context(), "mi-2", replyOf(id, "mi-2", "Success", nil)),
			"another node's acknowledgement": w.engine.JobAck(t.Context(), "mi-2",
				mgs.JobAck{JobID: mgs.JobID(id, "mi-1"), StatusCode: "200"}),
			"the acknowledgement of a command": w.engine.JobAck(t.Context(), "mi-2",
				mgs.JobAck{JobID: mgs.JobID(id, "mi-2"), StatusCode: "200"}),
		} {
			if sekisho.CodeOf(err) != sekisho.CodeDenied {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.reply(id, 1, mgs.CommandSuccess)
		if err := w.engine.JobReply(t.Context(), "mi-2", replyOf(id, "mi-2", "Failed", nil)); sekisho.CodeOf(
			err,
		) != sekisho.CodeDenied {
			t.Errorf("a command that is over: %v", err)
		}
		if len(w.refused) != 5 {
			t.Errorf("%q", w.refused)
		}
		w.want(id, "Success 1/1 e0 d0: Success")
		// An unknown job may be one that cancels, so it is no violation.
		if err := w.engine.JobReply(t.Context(), "mi-2", replyOf("0-0", "mi-2", "InProgress", nil)); err != nil {
			t.Error(err)
		}
		if err := w.engine.JobReply(t.Context(), "mi-2",
			mgs.JobReply{JobID: mgs.JobID(id, "mi-2"), Content: "x"}); sekisho.CodeOf(
			err,
		) != sekisho.CodeInvalid {
			t.Error(err)
		}
		if err := w.engine.JobReply(t.Context(), "mi-2", mgs.JobReply{JobID: "x"}); sekisho.CodeOf(
			err,
		) != sekisho.CodeInvalid {
			t.Error(err)
		}
	})
}

func TestBounds(t *testing.T) {
	inWorld(t, 0, func(w *world) {
		if id := w.send(0, nil); true {
			w.want(id, "NoInstancesInTag 0/0 e0 d0:")
		}
		w.send(15, nil)
		id := w.send(6, nil)
		w.want(id, "RateExceeded 0/6 e0 d0:")
		id = w.send(5, func(in *runcommand.Request) {
			in.Nodes[0].PlatformType, in.Nodes[1].PlatformType = "Windows", "" // not reported yet
			in.Nodes = in.Nodes[:2]
		})
		w.want(id, "InProgress 1/2 e0 d0: InvalidPlatform Delayed")
		long, err := ssmdoc.FindBuiltin("AWS-RunShellScript").
			Command(map[string][]string{"commands": {strings.Repeat(`"`, 32<<10), strings.Repeat(`"`, 32<<10)}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.engine.Send(t.Context(), runcommand.Request{Plan: long, Nodes: nodes(1)}); sekisho.CodeOf(
			err,
		) != sekisho.CodeInvalid {
			t.Errorf("a job that no frame holds: %v", err)
		}
	})
}

func TestRetention(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		id := w.send(1, nil)
		w.reply(id, 1, mgs.CommandSuccess)
		w.sleep(29 * 24 * time.Hour)
		if _, err := w.engine.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.want(id, "Success 1/1 e0 d0: Success")
		w.sleep(25 * time.Hour)
		if _, err := w.engine.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.engine.Command(t.Context(), id); !sekisho.IsNotFound(err) {
			t.Error(err)
		}
	})
}
