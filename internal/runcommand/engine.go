package runcommand

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/safetext"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/wire/id"
	"sekisho/internal/wire/mgs"
)

// Links reaches agents.
type Links interface {
	Connected(node sekisho.NodeID) bool
	Deliver(ctx context.Context, node sekisho.NodeID, frame []byte) error
}

// Config is the configuration of an Engine.
type Config struct {
	Store Store
	Links Links
	Log   *slog.Logger
	// Refused is called when a node reports about another node's command.
	Refused func(ctx context.Context, node sekisho.NodeID, job string)
	// MaxPending bounds the invocations of all commands that are not over; 0 = 50,000.
	MaxPending int
	// Keep bounds the stored commands and invocations; 0 = 200,000.
	Keep int
	// MaxAge is how long commands and their output are stored; 0 = [DefaultMaxAge].
	MaxAge time.Duration
}

// AWS's defaults for commands.
const (
	DefaultTimeout     = time.Hour
	DefaultConcurrency = "50"
	DefaultErrorLimit  = "0"
)

// DefaultMaxAge is how long commands and their output are stored by default.
const DefaultMaxAge = 30 * 24 * time.Hour

const (
	// A frame that no agent has acknowledged is sent again after firstPause. The
	// pause doubles each time, up to lastPause.
	firstPause = 5 * time.Second
	lastPause  = time.Minute
	busyPause  = 30 * time.Second // if the agent was busy
	// grace is how long to wait, after the timeout, for an agent to report it.
	grace = time.Minute
	// retryPause is the pause after the store has failed.
	retryPause = 5 * time.Second
	maxSends   = 64 // concurrent
	maxFrame   = 256 << 10
)

// Engine is safe for concurrent use.
type Engine struct {
	cfg   Config
	wake  chan struct{}
	sends chan struct{} // holds one element for each frame being sent

	mu      sync.Mutex
	active  map[string]*running // by command
	pending int                 // invocations of active commands that are not over
	stops   map[stop]bool       // cancellations to be sent
}

// stop is a cancellation for one node.
type stop struct {
	node    sekisho.NodeID
	command string
}

// running is a command that is not over.
type running struct {
	cmd   *Command
	parts []*part
	on    map[sekisho.NodeID]*part
}

// part is an invocation and its state in this process.
type part struct {
	inv     *Invocation
	sent    bool // its agent may have received it
	slot    bool // it counts towards the concurrency
	sending bool // a frame is being sent
	pause   time.Duration
	next    time.Time // when it may be sent again
}

// New returns an Engine. It does nothing before [Engine.Recover] and
// [Engine.Run].
func New(cfg Config) *Engine {
	if cfg.MaxPending == 0 {
		cfg.MaxPending = 50000
	}
	if cfg.Keep == 0 {
		cfg.Keep = 200000
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = DefaultMaxAge
	}
	if cfg.Refused == nil {
		cfg.Refused = func(context.Context, sekisho.NodeID, string) {}
	}
	return &Engine{
		cfg: cfg, wake: make(chan struct{}, 1), sends: make(chan struct{}, maxSends),
		active: map[string]*running{}, stops: map[stop]bool{},
	}
}

// Recover resumes the commands that an earlier process left running. They replace the commands that the engine knows.
func (e *Engine) Recover(ctx context.Context) error {
	all, err := e.cfg.Store.Commands(ctx, Query{Active: true})
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.active)
	clear(e.stops)
	e.pending = 0
	for _, c := range all {
		invocations, err := e.cfg.Store.Invocations(ctx, Query{Command: c.ID})
		if err != nil {
			return err
		}
		e.track(c, invocations)
	}
	return nil
}

func (e *Engine) track(c *Command, invocations []*Invocation) {
	r := &running{cmd: c, on: map[sekisho.NodeID]*part{}}
	for _, inv := range invocations {
		p := &part{inv: inv, slot: inv.Status == InProgress || inv.Status == Cancelling}
		r.parts = append(r.parts, p)
		r.on[inv.Node] = p
		if !inv.Status.Over() {
			e.pending++
		}
	}
	e.active[c.ID] = r
}

// Request is a request to send a command. The caller has been authorized.
type Request struct {
	Document, Version string
	Plan              *ssmdoc.CommandPlan
	Platforms         []string // that the document is for
	Parameters        map[string][]string
	Comment           string
	Named             []sekisho.NodeID
	Targets           []Target
	Nodes             []*sekisho.Node              // all of them
	NodeName          func(n *sekisho.Node) string // nil for the name in the activation
	Timeout           time.Duration                // 0 = DefaultTimeout
	Concurrency       string                       // "" = DefaultConcurrency
	ErrorLimit        string                       // "" = DefaultErrorLimit
	Output            Output
	Owner             string
}

func (in *Request) nodeName(n *sekisho.Node) string {
	if in.NodeName == nil {
		return n.Name
	}
	return in.NodeName(n)
}

// Send starts a command.
func (e *Engine) Send(ctx context.Context, in Request) (*Command, error) {
	bound, err := json.Marshal(in.Plan.Parameters)
	if err != nil {
		return nil, fmt.Errorf("parameters of a command: %w", err)
	}
	c := &Command{
		ID: id.UUID(), Document: in.Document, Version: in.Version, Comment: in.Comment, Nodes: in.Named, Targets: in.Targets,
		Concurrency: in.Concurrency, ErrorLimit: in.ErrorLimit, Output: in.Output, Owner: in.Owner,
		RequestedAt: time.Now().
			UTC(),
		Timeout: in.Timeout, RunTimeout: in.Plan.Timeout, Job: Job{in.Parameters, in.Plan.Content, bound},
		Status: Pending, Count: len(in.Nodes),
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Concurrency == "" {
		c.Concurrency = DefaultConcurrency
	}
	if c.ErrorLimit == "" {
		c.ErrorLimit = DefaultErrorLimit
	}
	for _, s := range in.Plan.Steps {
		c.Steps = append(c.Steps, StepName{s.Name, s.Action})
	}
	if _, err := c.frame(id.Node()); err != nil {
		return nil, sekisho.Errorf(
			sekisho.CodeInvalid,
			"The document and its parameters together are too large to send to a node (at most %d bytes). Shorten the "+
				"parameters or the document.",
			maxFrame,
		)
	}
	var invocations []*Invocation
	for _, n := range in.Nodes {
		inv := &Invocation{
			Command:     c.ID,
			Node:        n.ID,
			NodeName:    in.nodeName(n),
			Document:    c.Document,
			RequestedAt: c.RequestedAt,
			Status:      Pending,
		}
		if !runsOn(in.Platforms, n.PlatformType) {
			inv.Status, inv.EndedAt = InvalidPlatform, c.RequestedAt
			inv.Trace = fmt.Sprintf(
				"The document is for %s, but the node is %s.",
				strings.Join(in.Platforms, ", "),
				n.PlatformType,
			)
		}
		invocations = append(invocations, inv)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(invocations) > 0 && e.pending+len(invocations) > e.cfg.MaxPending {
		c.Status, invocations = RateExceeded, nil
	} else {
		c.count(invocations)
	}
	if err := e.cfg.Store.CreateCommand(ctx, c, invocations); err != nil {
		return nil, err
	}
	if !c.Status.Over() {
		e.track(c, invocations)
		e.wakeUp()
	}
	out := *c
	return &out, nil
}

// runsOn reports whether a document for platforms runs on a node's platform. A node
// that has not reported its platform is assumed to match.
func runsOn(platforms []string, node string) bool {
	for _, p := range platforms {
		if p == node {
			return true
		}
	}
	return node == ""
}

func (e *Engine) wakeUp() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// share returns the number s, or the percentage s of n.
func share(s string, n int) int {
	digits, percent := strings.CutSuffix(s, "%")
	v, err := strconv.Atoi(digits)
	if err != nil {
		return 0 // cannot fail: the door validates it
	}
	if percent {
		return n * v / 100
	}
	return v
}

func (c *Command) concurrency() int { return max(1, share(c.Concurrency, c.Count)) }

// stopped reports whether too many nodes have failed.
func (c *Command) stopped() bool { return c.Errors > share(c.ErrorLimit, c.Count) }

// count sets the counts and the status that follow from the invocations.
func (c *Command) count(invocations []*Invocation) {
	c.Completed, c.Errors, c.TimedOut = 0, 0, 0
	of := map[Status]int{}
	for _, inv := range invocations {
		of[inv.Status]++
		if inv.Status.Over() {
			c.Completed++
		}
		if inv.Status.isError() {
			c.Errors++
		}
	}
	c.TimedOut = of[DeliveryTimedOut]
	n := len(invocations)
	switch {
	case n == 0:
		c.Status = NoInstancesInTag
	case c.Completed < n && c.Cancel:
		c.Status = Cancelling
	case c.Completed < n && of[Pending]+of[Delayed] == n:
		c.Status = Pending
	case c.Completed < n:
		c.Status = InProgress
	case c.Cancel && of[Cancelled] > 0:
		c.Status = Cancelled
	case c.stopped() && of[Failed] == 0:
		c.Status = ExecutionTimedOut
	case c.stopped():
		c.Status = Failed
	case of[Undeliverable]+of[InvalidPlatform] == n && of[InvalidPlatform] == 0:
		c.Status = Undeliverable
	case of[InvalidPlatform] == n:
		c.Status = InvalidPlatform
	case c.TimedOut > share(c.ErrorLimit, c.Count):
		c.Status = DeliveryTimedOut
	case of[Success]+of[Undeliverable] == n:
		c.Status = Success
	case of[Cancelled] == n:
		c.Status = Cancelled // on each node separately
	default:
		c.Status = Incomplete
	}
}

// frame is the message that sends the command to a node.
func (c *Command) frame(node sekisho.NodeID) ([]byte, error) {
	send := mgs.SendCommand{
		DocumentContent: c.Job.Content, CommandID: c.ID, DocumentName: c.Document,
		OutputS3BucketName: c.Output.Bucket, OutputS3KeyPrefix: c.Output.KeyPrefix,
		CloudWatchLogGroupName: c.Output.LogGroup, CloudWatchOutputEnabled: strconv.FormatBool(c.Output.Logs),
	}
	if err := json.Unmarshal(c.Job.Bound, &send.Parameters); err != nil {
		return nil, fmt.Errorf("parameters of command %s: %w", c.ID, err)
	}
	m, err := mgs.NewSendCommand(string(node), send)
	if err != nil {
		return nil, err
	}
	if m.Size() > maxFrame {
		return nil, fmt.Errorf("a job of %d bytes is too large: agents accept at most %d", m.Size(), maxFrame)
	}
	return m.AppendTo(nil), nil
}

// edit collects a change to one command.
type edit struct {
	r       *running
	cancel  bool
	changed map[*part]*Invocation
	steps   []StepOf
}

func (r *running) edit() *edit { return &edit{r: r, changed: map[*part]*Invocation{}} }

// of returns a copy of p's invocation to change.
func (ed *edit) of(p *part) *Invocation {
	inv := ed.changed[p]
	if inv == nil {
		c := *p.inv
		inv = &c
		ed.changed[p] = inv
	}
	return inv
}

// end ends p's invocation.
func (ed *edit) end(p *part, s Status, trace string) {
	inv := ed.of(p)
	inv.Status, inv.EndedAt, inv.Trace = s, time.Now().UTC(), safetext.Prefix(trace, maxTrace)
}

// commit stores ed and then applies it.
func (e *Engine) commit(ctx context.Context, ed *edit) error {
	if len(ed.changed) == 0 && len(ed.steps) == 0 && !ed.cancel {
		return nil
	}
	c := *ed.r.cmd
	c.Cancel = c.Cancel || ed.cancel
	all := make([]*Invocation, len(ed.r.parts))
	ch := Change{Command: &c, Steps: ed.steps}
	for i, p := range ed.r.parts {
		all[i] = p.inv
		if inv := ed.changed[p]; inv != nil {
			all[i] = inv
			ch.Invocations = append(ch.Invocations, inv)
		}
	}
	c.count(all)
	if err := e.cfg.Store.SaveCommand(ctx, ch); err != nil {
		return err
	}
	ed.r.cmd = &c
	for p, inv := range ed.changed {
		if inv.Status.Over() && !p.inv.Status.Over() {
			e.pending--
			p.slot = false
		}
		p.inv = inv
	}
	if c.Status.Over() {
		delete(e.active, c.ID)
	}
	return nil
}

// Cancel asks a command to end on some of its nodes, or on all when nodes is
// empty.
func (e *Engine) Cancel(ctx context.Context, command string, nodes []sekisho.NodeID) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer e.wakeUp()
	r := e.active[command]
	if r == nil {
		_, err := e.cfg.Store.Command(ctx, command)
		return err // a command that is over stays unchanged
	}
	ed := r.edit()
	ed.cancel = len(nodes) == 0
	parts := r.parts
	if len(nodes) > 0 {
		parts = nil
		for _, n := range nodes {
			if p := r.on[n]; p != nil {
				parts = append(parts, p)
			}
		}
	}
	var notify []sekisho.NodeID
	for _, p := range parts {
		switch p.inv.Status {
		case Pending, Delayed:
			ed.end(p, Cancelled, "")
			if p.sent { // its agent may be about to start it
				notify = append(notify, p.inv.Node)
			}
		case InProgress:
			ed.of(p).Status = Cancelling
			p.pause, p.next = 0, time.Time{}
		}
	}
	if err := e.commit(ctx, ed); err != nil {
		return err
	}
	for _, n := range notify {
		e.queueStop(n, command)
	}
	return nil
}

// queueStop makes [Engine.Run] send a cancellation to a node, if it is connected.
func (e *Engine) queueStop(node sekisho.NodeID, command string) {
	e.stops[stop{node, command}] = true
	e.wakeUp()
}

// Expire deletes the commands whose retention has ended. It returns how many.
func (e *Engine) Expire(ctx context.Context) (int64, error) {
	return e.cfg.Store.DropCommands(ctx, time.Now().Add(-e.cfg.MaxAge), e.cfg.Keep)
}

// Command returns a command.
func (e *Engine) Command(ctx context.Context, command string) (*Command, error) {
	return e.cfg.Store.Command(ctx, command)
}

// Commands returns commands, newest first.
func (e *Engine) Commands(ctx context.Context, q Query) ([]*Command, error) {
	return e.cfg.Store.Commands(ctx, q)
}

// Invocation returns the invocation of a command on one node, with its steps.
func (e *Engine) Invocation(ctx context.Context, command string, node sekisho.NodeID) (*Invocation, error) {
	return e.cfg.Store.Invocation(ctx, command, node)
}

// Invocations returns invocations, those of the newest command first.
func (e *Engine) Invocations(ctx context.Context, q Query) ([]*Invocation, error) {
	return e.cfg.Store.Invocations(ctx, q)
}
