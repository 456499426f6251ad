// Package agent is the program on each managed node. It keeps a control channel to the server, and
// at the server's request runs a session as an OS user of the node, or a command as its own user.
// It does not listen, except for the instance metadata service, which is optional. It may run as
// root, so it links neither the database nor any door of the server.
package agent

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/agent/control"
	"sekisho/internal/agent/enroll"
	"sekisho/internal/agent/hostinfo"
	"sekisho/internal/agent/inventory"
	"sekisho/internal/agent/port"
	"sekisho/internal/agent/runcommand"
	"sekisho/internal/agent/session"
	"sekisho/internal/agent/uplink"
	"sekisho/internal/wire/id"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
)

// DefaultStateDir is where a system-wide agent keeps its state.
const DefaultStateDir = "/var/lib/sekisho-agent"

// DefaultMaxSessions is the default limit of concurrent sessions on a node.
const DefaultMaxSessions = 1000

// How long a stopping agent waits for sessions to end, and for the server to acknowledge their end.
const (
	stopTimeout   = 8 * time.Second
	reportTimeout = 2 * time.Second
)

// Config is the configuration of an agent.
type Config struct {
	StateDir string
	Endpoint string // overrides the endpoint of the registration, if not empty
	Users    session.Users
	Log      *slog.Logger

	Forwarding  port.Rules    // for connections to other hosts
	MaxSessions int           // 0 means DefaultMaxSessions
	Patience    time.Duration // how long a session outlives its connection; 0 means session.DefaultPatience
	Reports     Intervals     // zero fields mean the defaults
	Inventory   time.Duration // interval of inventory reports; 0 means never
	Metadata    Metadata
	NoCommands  bool // refuse every command
	MaxCommands int  // concurrent commands; 0 means 5

	// RetryNow makes the agent stop waiting before the next attempt to get
	// credentials or to connect; may be nil.
	RetryNow <-chan os.Signal
}

// Intervals are the intervals at which the agent reports and checks the node's facts.
type Intervals struct {
	Full    time.Duration // between two full reports; 0 means 5 minutes
	Address time.Duration // between two checks of the node's address; 0 means 30 seconds
}

// Agent is a running agent.
type Agent struct {
	cfg      Config
	ident    enroll.Identity
	region   string
	started  time.Time
	client   *uplink.Client
	role     *enroll.Role
	programs *enroll.ProgramRole // credentials for the metadata service
	control  *control.Channel
	command  *runcommand.Runner
	// metadata serves the metadata service; nil if that is off.
	metadata func(ctx context.Context)
	ctx      context.Context // that sessions run in

	wg       sync.WaitGroup // sessions
	mu       sync.Mutex
	stopping bool
	sessions map[string]running
	ended    recent
}

// Run runs the agent whose state is in cfg.StateDir until ctx ends. It returns
// an error only when it cannot start.
func Run(ctx context.Context, cfg Config) error {
	if cfg.MaxSessions <= 0 {
		cfg.MaxSessions = DefaultMaxSessions
	}
	if cfg.Patience <= 0 {
		cfg.Patience = session.DefaultPatience
	}
	vault, err := enroll.OpenVault(cfg.StateDir, false)
	if err != nil {
		return err
	}
	defer vault.Close()
	server, err := vault.Server()
	if err != nil {
		return err
	}
	if cfg.Endpoint != "" {
		server.Endpoint = cfg.Endpoint
	}
	ident, err := vault.Identity()
	if err != nil {
		return err
	}
	if err := vault.Lock(); err != nil {
		return err
	}
	cfg.Log = cfg.Log.With("node", ident.Node)
	a := &Agent{cfg: cfg, ident: ident, region: server.Region, started: time.Now(), sessions: make(map[string]running)}
	roleClient, err := uplink.New(server, nil)
	if err != nil {
		return err
	}
	defer roleClient.Close()
	a.role = enroll.NewRole(ident, roleClient, cfg.Log)
	a.programs = enroll.NewProgramRole(ident, roleClient)
	if a.client, err = uplink.New(server, a.role.Credentials); err != nil {
		return err
	}
	defer a.client.Close()
	if a.command, err = a.openCommands(ctx); err != nil {
		return err
	}
	defer a.command.Close()
	a.control = control.New(control.Config{
		Open: func(ctx context.Context) (*link.Conn, error) {
			conn, err := a.client.OpenControl(ctx, ident.Node)
			return conn, a.renewOn(err)
		},
		Sessions: a,
		Jobs:     a.command,
		RoleChanged: func() {
			a.role.Renew()
			a.programs.Forget()
		},
		Log: cfg.Log,
	})
	if a.metadata, err = a.listenMetadata(); err != nil {
		return err
	}
	if m := cfg.Metadata.Listen; m.IsValid() {
		// Users who can only forward ports must not reach the metadata service.
		a.cfg.Forwarding.Responder = m
	}
	cfg.Log.Info("agent starts", "version", uplink.Version, "endpoint", server.Endpoint, "region", server.Region)
	a.run(ctx)
	cfg.Log.Info("agent stopped")
	return nil
}

// run supervises until ctx ends. It then stops everything in an order that lets
// the agent report how each session ended.
func (a *Agent) run(ctx context.Context) {
	links, stopLinks := context.WithCancel(context.WithoutCancel(ctx))
	sessions, stopSessions := context.WithCancelCause(context.WithoutCancel(ctx))
	a.ctx = sessions
	a.command.Resume()
	var wg sync.WaitGroup
	wg.Go(func() { a.role.Run(links) })
	wg.Go(func() { a.control.Run(links) })
	wg.Go(func() { a.report(links) })
	if a.cfg.Inventory > 0 {
		keeper := inventory.Keeper{
			Node:  a.ident.Node,
			Every: a.cfg.Inventory,
			Log:   a.cfg.Log,
			Call: func(ctx context.Context, operation string, in, out any) error {
				return a.renewOn(a.client.SSM(ctx, operation, in, out))
			},
		}
		wg.Go(func() { keeper.Run(links) })
	}
	if a.metadata != nil {
		wg.Go(func() { a.metadata(links) })
	}
	wg.Go(func() { a.retryNow(links) })

	<-ctx.Done()
	a.mu.Lock()
	a.stopping = true
	a.mu.Unlock()
	stopSessions(session.ErrStopped)
	a.wg.Go(a.command.Stop)
	ended := make(chan struct{})
	wg.Go(func() {
		a.wg.Wait()
		close(ended)
	})
	waitFor(ended, stopTimeout)
	a.awaitReports(links)
	stopLinks()
	wg.Wait()
}

func waitFor(done <-chan struct{}, most time.Duration) {
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}

// awaitReports waits briefly for the server to acknowledge the ends of sessions.
func (a *Agent) awaitReports(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for a.control.Pending() > 0 {
		if server, _ := a.control.Connected(); server == "" {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// renewOn returns err. If the server did not accept the credentials, renewOn requests new ones.
func (a *Agent) renewOn(err error) error {
	e, ok := errors.AsType[*uplink.APIError](err)
	if !ok {
		return err
	}
	for _, about := range []string{"Token", "Credential", "UnrecognizedClient", "Signature", "AccessDenied"} {
		if e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden || strings.Contains(e.Code, about) {
			a.role.Renew()
			break
		}
	}
	return err
}

// Start starts a session, unless it is already running or has ended recently.
func (a *Agent) Start(task mgs.AgentTaskPayload) {
	log := a.cfg.Log.With("session", task.SessionID)
	if !id.ValidSession(task.SessionID) {
		log.Warn("refused a session with a malformed ID")
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.stopping || a.isRunning(task.SessionID) || a.ended.has(task.SessionID):
		log.Debug("not started again")
		return
	case len(a.sessions) >= a.cfg.MaxSessions:
		a.control.Complete(mgs.TaskComplete{
			TaskID:          task.SessionID,
			InstanceID:      string(a.ident.Node),
			FinalTaskStatus: mgs.TaskFailed,
			Output:          "The node is running its maximum number of sessions. End one and retry.",
		})
		return
	}
	ctx, cancel := context.WithCancelCause(a.ctx)
	s := &session.Runner{
		Open: func(ctx context.Context) (*link.Conn, error) {
			conn, err := a.client.OpenData(ctx, a.ident.Node, sekisho.SessionID(task.SessionID))
			return conn, a.renewOn(err)
		},
		Decrypt:  a.client.Decrypt,
		Users:    a.cfg.Users,
		Rules:    a.cfg.Forwarding,
		Node:     a.ident.Node,
		Task:     task,
		Logs:     a.client,
		LogDir:   a.cfg.StateDir,
		Report:   a.control.Complete,
		Log:      log,
		Patience: a.cfg.Patience,
		Notices:  make(chan string, session.MaxNotices),
		Typed:    make(chan []byte, session.MaxTyped),
	}
	a.sessions[task.SessionID] = running{cancel, s}
	a.wg.Go(func() {
		defer a.forget(task.SessionID)
		defer cancel(nil)
		s.Run(ctx)
	})
}

func (a *Agent) forget(session string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.sessions, session)
	a.ended.add(session)
}

// running is a session that runs.
type running struct {
	cancel  context.CancelCauseFunc
	session *session.Runner
}

// isRunning reports whether a session runs. The mutex is held.
func (a *Agent) isRunning(sessionID string) bool {
	_, ok := a.sessions[sessionID]
	return ok
}

// Notify shows a text in the terminal of a session.
func (a *Agent) Notify(sessionID, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s, ok := a.sessions[sessionID]; ok {
		s.session.Notify(text)
	}
}

// Type types into the terminal of a session for somebody who joined it.
func (a *Agent) Type(sessionID string, data []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s, ok := a.sessions[sessionID]; ok {
		s.session.Type(data)
	}
}

// Cancel ends a session.
func (a *Agent) Cancel(sessionID string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s, ok := a.sessions[sessionID]; ok {
		s.cancel(session.ErrCancelled)
	} else if id.ValidSession(sessionID) {
		// Its start may not have arrived yet.
		a.ended.add(sessionID)
	}
}

// recent stores the most recent session IDs.
type recent struct {
	ids  map[string]struct{}
	ring []string
	next int
}

// maxRecent bounds recent.
const maxRecent = 4096

func (r *recent) has(sessionID string) bool {
	_, ok := r.ids[sessionID]
	return ok
}

func (r *recent) add(sessionID string) {
	if r.has(sessionID) {
		return
	}
	if r.ids == nil {
		r.ids = make(map[string]struct{})
	}
	if len(r.ring) < maxRecent {
		r.ring = append(r.ring, sessionID)
	} else {
		delete(r.ids, r.ring[r.next])
		r.ring[r.next] = sessionID
		r.next = (r.next + 1) % maxRecent
	}
	r.ids[sessionID] = struct{}{}
}

// information is the body of UpdateInstanceInformation. The short form is
// its first four fields.
type information struct {
	AgentName    string
	AgentVersion string
	InstanceID   sekisho.NodeID `json:"InstanceId"`
	PlatformType string

	AgentStatus          string `json:",omitempty"`
	ComputerName         string `json:",omitempty"`
	Architecture         string `json:",omitempty"` // AWS's agent does not report it
	IPAddress            string `json:",omitempty"`
	PlatformName         string `json:",omitempty"`
	PlatformVersion      string `json:",omitempty"`
	SSMConnectionChannel string `json:",omitempty"`
}

// ShortInformation is the smallest report. It proves that the credentials work.
func ShortInformation(node sekisho.NodeID) any {
	return information{AgentName: uplink.Name, AgentVersion: uplink.Version, InstanceID: node, PlatformType: "Linux"}
}

// retryNow ends waits between attempts on request until ctx ends.
func (a *Agent) retryNow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.cfg.RetryNow:
			a.cfg.Log.Info("retrying now, on request")
			a.role.RetryNow()
			a.control.RetryNow()
		}
	}
}

// report reports the node's facts to the server: the short form at once, then the full form every
// few minutes and whenever the node's address or channel changes.
func (a *Agent) report(ctx context.Context) {
	every, look := a.cfg.Reports.Full, a.cfg.Reports.Address
	if every <= 0 {
		every = 5 * time.Minute
	}
	if look <= 0 {
		look = 30 * time.Second
	}
	a.tell(ctx, ShortInformation(a.ident.Node))
	tick := time.NewTicker(look)
	defer tick.Stop()
	var last information
	var due time.Time
	for ctx.Err() == nil {
		server, changed := a.control.Connected()
		now := a.information(ctx, server)
		if now != last || !time.Now().Before(due) {
			if a.tell(ctx, now) {
				last, due = now, time.Now().Add(every)
			}
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-tick.C:
		}
	}
}

// information returns the full form. server is the address of the control channel's peer.
func (a *Agent) information(ctx context.Context, server string) information {
	host := hostinfo.Read(ctx, cmp.Or(server, a.client.HostPort()))
	info := information{
		AgentName:       uplink.Name,
		AgentVersion:    uplink.Version,
		InstanceID:      a.ident.Node,
		PlatformType:    host.PlatformType,
		AgentStatus:     "Active",
		ComputerName:    host.ComputerName,
		Architecture:    host.Architecture,
		IPAddress:       host.IPAddress,
		PlatformName:    host.PlatformName,
		PlatformVersion: host.PlatformVersion,
	}
	if server != "" {
		info.SSMConnectionChannel = "ssmmessages"
	}
	return info
}

func (a *Agent) tell(ctx context.Context, info any) bool {
	err := a.renewOn(a.client.SSM(ctx, "UpdateInstanceInformation", info, &struct{}{}))
	if err != nil && ctx.Err() == nil {
		a.cfg.Log.Warn("could not report to the server", "error", err)
	}
	return err == nil
}
