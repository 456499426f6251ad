// Package server wires the engines and doors of sekishod together, serves
// them on one TLS port, and stops them in order.
package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/activity/event"
	"sekisho/internal/activity/refusals"
	"sekisho/internal/activity/usage"
	"sekisho/internal/api"
	"sekisho/internal/api/cloudtrail"
	"sekisho/internal/api/cur"
	"sekisho/internal/api/ec2"
	"sekisho/internal/api/ec2messages"
	"sekisho/internal/api/iam"
	kmsapi "sekisho/internal/api/kms"
	logsapi "sekisho/internal/api/logs"
	"sekisho/internal/api/s3"
	"sekisho/internal/api/sekishoapi"
	"sekisho/internal/api/ssm"
	"sekisho/internal/api/ssmmessages"
	"sekisho/internal/api/sts"
	"sekisho/internal/config/yamljson"
	"sekisho/internal/console"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
	"sekisho/internal/iam/identity/webid"
	"sekisho/internal/node/admission"
	"sekisho/internal/node/control"
	"sekisho/internal/node/fleet"
	"sekisho/internal/node/install"
	"sekisho/internal/node/inventory"
	"sekisho/internal/ratelimit"
	"sekisho/internal/runcommand"
	"sekisho/internal/server/certificate"
	"sekisho/internal/server/datalock"
	"sekisho/internal/session/access"
	"sekisho/internal/session/broker"
	"sekisho/internal/session/participants"
	"sekisho/internal/session/record"
	"sekisho/internal/session/relay"
	"sekisho/internal/session/settings"
	"sekisho/internal/session/share"
	"sekisho/internal/ssmdoc/doclibrary"
	"sekisho/internal/storage/keyring"
	"sekisho/internal/storage/kmskey"
	"sekisho/internal/storage/loggroup"
	"sekisho/internal/storage/objects"
	"sekisho/internal/store/sqlstore"
	"sekisho/internal/wire/httplimit"
	wslink "sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
)

// Config is the configuration of a server.
type Config struct {
	DataDir string // state: keys, recordings and, without Database, the database
	// Database is the PostgreSQL database with the state; nil = SQLite in DataDir.
	Database *sqlstore.Postgres
	Account  string // 12 digits
	Region   string
	Log      *slog.Logger
	// Now is the clock that policies see (aws:CurrentTime); nil = time.Now.
	Now func() time.Time
	// StrictDocuments: see [ssm.Config].
	StrictDocuments bool
	// ResumeWithSessionToken lets clients resume their session with the session's own token after
	// their credentials have expired.
	ResumeWithSessionToken bool
	// RefuseLogRewrites: see [s3.Config].
	RefuseLogRewrites bool
	// TrustedProxies are the networks of proxies trusted to report the source address of a request.
	TrustedProxies []netip.Prefix
	// AgentDir contains the agents that machines can download. CA (PEM) is the authority they must
	// trust to verify the server; empty if they already do.
	AgentDir, CA string
	// KeepSessions keeps sessions open when their owner's credentials are revoked. Their tokens
	// become invalid all the same.
	KeepSessions bool
	// Federation are the identity providers with which users can sign in to the console.
	Federation []webid.ConsoleProvider
	// Webhooks receive events.
	Webhooks []event.Webhook
	// AgentsPerSecond is the rate at which agents can open control channels, and separately the
	// rate at which they can register or renew credentials; 0 = 100, negative = unlimited.
	AgentsPerSecond float64
	// NodeDownAfter is how long a node is disconnected before it is reported as down; 0 = 1 minute.
	NodeDownAfter time.Duration
	// Admin serves metrics, profiles and draining to this machine; may be nil.
	Admin net.Listener
	// ProviderTransport reaches identity providers; nil = the system's
	// certificates.
	ProviderTransport http.RoundTripper
	// Retention says when recordings are removed.
	Retention record.Retention
	// AuditMaxAge is how long the database keeps audit records, which are exported then; 0 = forever.
	AuditMaxAge time.Duration
	// EventMaxAge and EventsKept limit the age and the number of events that are stored for
	// listings; 0 = any age, and 10,000.
	EventMaxAge time.Duration
	EventsKept  int64
	// CommandMaxAge and CommandsKept say how long commands, and how many commands and invocations,
	// are stored; 0 = 30 days, and 200,000.
	CommandMaxAge time.Duration
	CommandsKept  int
	// Recordings keeps recordings outside the data directory.
	Recordings RecordingStore
	// Witnesses keep heads of the audit trail and the ledger.
	Witnesses []Witness
	// Cluster makes the server a member of a cluster; nil for a single server.
	Cluster *ClusterConfig
}

// Server is one member of a cluster, or a whole installation: everything in one process.
type Server struct {
	Directory *identity.Directory
	Fleet     *fleet.Fleet
	Channels  *control.Channels
	Usage     *usage.Reporter

	cfg      Config
	unlock   func() error // releases the data directory
	db       *sqlstore.DB
	claim    *sqlstore.Claim // on the database
	keys     *kmskey.Keys
	ring     *keyring.Ring
	trail    *audit.Trail
	refusals *refusals.Budget
	state    health
	metrics  *metrics
	unsealed unsealed
	// resumed: the sessions of an earlier process that continue are open.
	resumed  atomic.Bool
	recorder *record.Recorder
	// auditHead is the newest head of the trail. integrity is the result of the last check of the
	// data. Both are nil at first.
	auditHead atomic.Pointer[audit.Head]
	integrity atomic.Pointer[Integrity]
	// stored checks what the store of recordings has.
	stored storedCheck
	// recordingBytes is what recordings take on the disk, measured once a minute.
	recordingBytes atomic.Int64
	// participants are the people who watch running sessions or type into them.
	participants *participants.Registry
	// ledgerHead and published belong to watchHeads, and to Close after it.
	ledgerHead string            // the digest that the trail has
	published  map[string]string // by witness: the state that it has
	objects    *objects.Store
	buckets    *s3.Door
	logs       *loggroup.Service
	relay      *relay.Relay
	broker     *broker.Broker
	commands   *runcommand.Engine
	foreign    *ratelimit.Limiter[sekisho.NodeID] // events about replies to other nodes\' commands
	api        *api.Server
	requests   *ssm.PolicyRequests
	access     *access.Service
	settings   *settings.Settings
	names      *fleet.Names
	events     *console.ChangeFeed
	bus        *event.Bus
	member     *member // nil for a single server
	links      nodeLinks
	console    *console.Console
	handler    http.Handler

	started time.Time // when the server was opened
	// startedForAccess and startedForLapses are sent when a session starts.
	startedForAccess, startedForLapses wakeup
	// unsigned is sent when records of the audit trail wait for a signed head.
	unsigned wakeup

	// done ends the channels, which outlive the HTTP requests that opened
	// them.
	done context.Context
	// closing outlives done: Close uses it for its last writes.
	closing context.Context
	stop    context.CancelFunc
	// channels waits until all channels have ended.
	channels func()
}

// New opens the state in cfg.DataDir, creating it if necessary, and resumes the sessions
// and commands that an earlier process left running.
func New(ctx context.Context, cfg Config) (*Server, error) {
	s := &Server{
		cfg: cfg, started: time.Now(), startedForAccess: newWakeup(), startedForLapses: newWakeup(), unsigned: newWakeup(),
	}
	s.metrics = newMetrics(s)
	s.foreign = ratelimit.NewEvery[sekisho.NodeID](time.Minute, 0, nil)
	s.closing = context.WithoutCancel(ctx)
	s.done, s.stop = context.WithCancel(s.closing)
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) error {
	if err := os.MkdirAll(s.cfg.DataDir, 0o700); err != nil {
		return err
	}
	var err error
	if s.unlock, err = datalock.Lock(s.cfg.DataDir, datalock.Server); err != nil {
		return err
	}
	s.unsealed.log = s.cfg.Log
	// Before anything is created: a missing part must not be replaced with a new one.
	if err := checkFiles(ctx, s.where()); err != nil {
		return err
	}
	// The database is opened first: keys without a database mean that the database was lost.
	if s.db, err = s.where().place().Open(ctx); err != nil {
		return err
	}
	if s.claim, err = s.db.Claim(ctx, s.cfg.Cluster != nil); err != nil {
		return err
	}
	if err := checkState(ctx, s.where(), s.db); err != nil {
		return err
	}
	if s.ring, err = keyring.Load(filepath.Join(s.cfg.DataDir, "keys")); err != nil {
		return err
	}
	if err := s.joinCluster(ctx); err != nil {
		return err
	}
	if store := s.recordingStore(); store != nil {
		if err := record.RestoreLedger(ctx, s.cfg.DataDir, store, record.KeysOf(s.ring.PublicKey())); err != nil {
			return err
		}
	}
	lost, err := checkInstallation(ctx, s.where(), s.db, s.ring)
	if err != nil {
		return err
	}
	if s.recorder, err = record.Open(s.cfg.DataDir, s.ring.Signer(),
		record.Options{Sealer: s.ring, Remote: s.remote()}); err != nil {
		return err
	}
	s.settings = settings.New(s.db.Settings, nil)
	s.names = fleet.NewNames(func(ctx context.Context) (string, error) {
		tag, err := s.settings.Get(ctx, settings.NameTag)
		if err != nil {
			return "", err
		}
		return tag.Value, nil
	})
	if err := s.openEvents(ctx); err != nil {
		return err
	}
	s.trail = audit.New(
		s.db.Audit,
		audit.Config{Signer: s.ring.Signer(), Recorded: s.recorded, Witness: s.newHead, Unsigned: s.unsigned.send,
			Stored: func(err error) {
				s.state.trailFailed.Store(err != nil)
				s.metrics.stored(err)
			}},
	)
	s.refusals = refusals.New(refusals.Config{Trail: s.trail, Region: s.cfg.Region, Now: s.cfg.Now, Log: s.cfg.Log})
	if s.Directory, err = identity.New(ctx,
		s.identityConfig()); err != nil {
		return err
	}
	s.keys = kmskey.New(kmskey.Config{Store: s.db.Keys, Sealer: s.ring, Region: s.cfg.Region, Account: s.cfg.Account})
	s.events = &console.ChangeFeed{}
	s.Channels = control.New(s.cfg.Log)
	s.links = s.nodeLinks()
	s.Fleet = fleet.New(fleet.Config{Store: s.db.Fleet, Links: s.links, Changed: func(id sekisho.NodeID) {
		s.events.Publish(console.Event{Kind: "node", ID: string(id)})
		s.bus.NodeChanged(id)
	}, Alarm: s.nodeAlarm, Seen: s.machineSeen, Log: s.cfg.Log,
		RoleChanged: func(id sekisho.NodeID) { s.links.Reopen(id, mgs.ReasonRoleChanged) }})
	s.participants = participants.New(nil)
	observer := &lateObserver{}
	s.relay = relay.New(
		relay.Config{
			Recorder: recordings{s.recorder, &s.unsealed, s.db.Fleet, s.names, s.takenOver}, Observer: observer, Log: s.cfg.Log,
		},
	)
	if s.member != nil {
		s.member.open.Store(true)
	}
	s.broker = broker.New(broker.Config{
		Store: s.db.Sessions, Relay: s.sessionRelay(), Links: s.links, Nodes: s.Fleet, Mine: s.mine(),
		Logs: sessionLogs{s}, Log: s.cfg.Log,
		Changed: func(id sekisho.SessionID) { s.events.Publish(console.Event{Kind: "session", ID: string(id)}) },
		Started: s.sessionStarted, Ended: s.sessionEnded,
	})
	observer.Broker = s.broker
	// Records that a killed process left unsigned are signed before new ones follow.
	if err := errors.Join(s.trail.Sign(ctx), s.trail.Recover(ctx)); err != nil {
		return err
	}
	if err := s.acceptLosses(ctx, lost); err != nil {
		return err
	}
	s.commands = runcommand.New(
		runcommand.Config{
			Store: s.db.Commands, Links: s.links, Log: s.cfg.Log, Refused: s.foreignJob,
			MaxAge: s.cfg.CommandMaxAge, Keep: s.cfg.CommandsKept,
		},
	)
	if s.member == nil { // a cluster has no moment at which nothing is connected
		if err := errors.Join(s.Fleet.Recover(ctx), s.broker.Recover(ctx), s.commands.Recover(ctx)); err != nil {
			return err
		}
	}
	return errors.Join(s.openObjects(ctx), s.routes())
}

// resume opens the sessions that an earlier process left open, and seals the recordings of the
// sessions that do not continue. It reads these recordings to their end, which must not delay the start.
func (s *Server) resume(ctx context.Context) {
	if err := s.broker.ResumeAll(ctx); err != nil {
		if ctx.Err() == nil {
			s.cfg.Log.Error("could not resume all sessions", "error", err)
		}
		return // whether a session continues is not known
	}
	s.resumed.Store(true)
	if err := s.recoverRecordings(ctx); err != nil && ctx.Err() == nil {
		s.cfg.Log.Error("could not report all damaged recordings", "error", err)
	}
}

// recoverRecordings seals recordings that an earlier process left open and that do not continue. It
// reports a recording that was damaged meanwhile, which does not prevent the start.
func (s *Server) recoverRecordings(ctx context.Context) error {
	if !s.resumed.Load() {
		return nil // resume calls it again, when it is known which sessions continue
	}
	sealed, err := s.recorder.Recover(ctx, func(id sekisho.SessionID) bool { return s.gone(ctx, id) })
	if err != nil {
		s.cfg.Log.Error("could not seal all recordings that were left open", "error", err)
	}
	for _, sum := range sealed {
		if sum.Damage == "" {
			continue
		}
		s.cfg.Log.Error(
			"a recording was damaged while the server was stopped",
			"session",
			sum.SessionID,
			"damage",
			sum.Damage,
		)
		if err := s.trail.Record(ctx,
			s.serverEvent("RecordingDamaged",
				map[string]any{"sessionId": string(sum.SessionID), "damage": sum.Damage})); err != nil {
			return err
		}
	}
	return nil
}

// serverEvent returns an audit event of the server itself.
func (s *Server) serverEvent(name string, details map[string]any) audit.Event {
	return audit.Event{EventSource: "sekisho.amazonaws.com", EventName: name, Region: s.cfg.Region, Additional: details}
}

func (s *Server) routes() error {
	authorizer := authz.New(s.Directory.Sets)
	web := webid.New(webid.Config{Directory: s.Directory, Transport: s.cfg.ProviderTransport})
	s.logs = loggroup.New(s.db.Logs, s.ring, nil)
	installs, err := install.New(install.Config{Dir: s.cfg.AgentDir, CA: s.cfg.CA, Region: s.cfg.Region})
	if err != nil {
		return err
	}
	s.access = access.New(access.Config{Store: s.db.Access, Now: s.cfg.Now, Changed: s.accessChanged})
	forSSM := ssm.Config{
		Access: s.access, Tokens: userTokens{s.Directory.Credentials, s.Directory.Groups},
		Fleet: s.Fleet, Broker: s.broker, Documents: doclibrary.New(s.db.Documents, yamljson.Texts{}, sessionLogs{s}, nil),
		Roles: nodeRoles{s.Directory}, Channels: s.links,
		Inventory: inventory.New(s.db.Inventory), Settings: s.settings, Names: s.names, Commands: s.commands,
		Outputs: outputs{s}, OSUser: s.osUser,
		Region: s.cfg.Region, Account: s.cfg.Account, StrictDocuments: s.cfg.StrictDocuments,
		Registrations: s.gate("registrations"), Renewals: s.gate("requests for credentials"),
	}
	s.requests = ssm.NewPolicyRequests(forSSM)
	s.Usage = s.newUsage()
	s.api = api.New(api.Config{
		Doors: []*api.Door{
			ssm.New(forSSM),
			iam.New(s.Directory),
			sts.New(s.Directory, web),
			ec2.New(ec2.Config{Fleet: s.Fleet, Profiles: s.Directory.Profiles, Region: s.cfg.Region, Account: s.cfg.Account}),
			ec2messages.New(ec2messages.Config{Fleet: s.Fleet, Done: s.done}),
			kmsapi.New(kmsapi.Config{Keys: s.keys, Policies: s.Directory.Sets, Account: s.cfg.Account}),
			logsapi.New(logsapi.Config{Logs: s.logs, Account: s.cfg.Account, Region: s.cfg.Region}),
			cloudtrail.New(cloudtrail.Config{Trail: s.trail, Account: s.cfg.Account}),
			cur.New(cur.Config{Reports: s.Usage, AllowPut: s.allowPut, Account: s.cfg.Account, Region: s.cfg.Region}),
			sekishoapi.New(sekishoapi.Config{
				Recorder: s.recorder, Integrity: s.lastCheck, Storage: s.recordingStorage,
				AuditTrail: s.db.Audit, Sessions: s.broker, Fleet: s.Fleet,
				Names: s.names, Account: s.cfg.Account, Region: s.cfg.Region,
				Directory: s.Directory, Authorizer: authorizer, Requests: s.requests, Access: s.access, StartChecks: startChecks{s},
				Health: s.currentHealth, Usage: s.usageRows,
				Events: s.bus, Resumer: s.resumer(),
				Members:   s.clusterMembers(),
				Installer: installer{installs}, Links: share.New(s.db.Links, s.cfg.Now),
				Participants: sessionParticipants{s.participants, s.broker},
			}),
		},
		Credentials: nodeCredentials{
			s.Directory.Credentials,
			s.Fleet,
		}, NodeKeys: s.Fleet, Nodes: s.Fleet, Authorizer: authorizer, Trail: s.trail, Refusals: s.refusals,
		Observe: s.metrics.call,
		Account: s.cfg.Account, Region: s.cfg.Region, Now: s.cfg.Now, Log: s.cfg.Log,
		SourceIP: sourceIP(s.cfg.TrustedProxies),
	})
	var federation console.Federation
	if len(s.cfg.Federation) > 0 {
		federation = webid.NewConsole(web, s.ring, s.cfg.Federation)
	}
	s.buckets = s3.New(s3.Config{
		API: s.api, Log: s.cfg.Log, Objects: s.objects, Policies: s.Directory.Sets, Account: s.cfg.Account,
		Region:      s.cfg.Region,
		SessionLogs: sessionLogs{s}, RefuseLogRewrites: s.cfg.RefuseLogRewrites,
	})
	s.console, err = console.New(console.Config{
		Federation: federation, Buckets: s.buckets,
		Account: s.cfg.Account, Region: s.cfg.Region, Directory: s.Directory.SignIns, Credentials: s.Directory.Credentials,
		Doors: s.api, Authorizer: authorizer, Store: s.db.SignIns,
		SignedOut: s.signedOut, Events: s.events, Audit: consoleAudit{s.trail, s.refusals, s.cfg.Region}, Log: s.cfg.Log,
		SourceIP: sourceIP(s.cfg.TrustedProxies),
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	s.channels = ssmmessages.Register(mux, ssmmessages.Config{
		API: s.api, Admission: s.gate("control channels"), Broker: s.broker, Channels: s.Channels, Relay: s.relay,
		Fleet: s.Fleet, Presence: s.presence(), Commands: s.jobs(),
		Region: s.cfg.Region, Account: s.cfg.Account, Log: s.cfg.Log, Done: s.done,
	})
	mux.HandleFunc("GET /healthz", s.ready)
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /livez", s.live)
	mux.Handle("GET "+install.Prefix, installs)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if console.Wants(r) {
			s.console.ServeHTTP(w, r)
			return
		}
		if s3.Claims(r) {
			s.buckets.RefuseUnsigned(w, r)
			return
		}
		s.api.ServeHTTP(w, r)
	})
	s.handler = mux
	if s.member != nil {
		s.handler = s.member.route(mux)
	}
	return nil
}

// agentsPerSecond is a rate that two processors can handle while they serve users.
const agentsPerSecond = 100

// gate returns the gate that limits the rate of agents' requests.
func (s *Server) gate(what string) *admission.Gate {
	return admission.New(
		admission.Config{Name: what, Rate: max(0, cmp.Or(s.cfg.AgentsPerSecond, agentsPerSecond)), Log: s.cfg.Log},
	)
}

// HTTP timeouts. They do not apply to channels, which leave HTTP when they are upgraded.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
	stopTimeout   = 10 * time.Second
)

// Serve serves on l until ctx ends, then stops in order: requests, then channels, then the engines
// behind them.
func (s *Server) Serve(ctx context.Context, l net.Listener, cert certificate.Source) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	cert.Configure(secure)
	srv := &http.Server{
		Handler: httplimit.Bodies(s.buckets.Front(bucketHosts(cert.Names()), s.handler)),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return wslink.ConnContext(httplimit.ConnContext(ctx, conn), conn)
		},
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		TLSConfig: secure,
		ErrorLog:  slog.NewLogLogger(quietTLS{s.cfg.Log.Handler()}, slog.LevelDebug),
	}
	var wg sync.WaitGroup
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	wg.Go(func() { cert.Run(background) })
	wg.Go(func() {
		s.claim.Keep(background, func(err error) {
			s.databaseTaken(err)
			end(err)
		})
	})
	wg.Go(func() { s.relay.Run(background) })
	wg.Go(func() {
		s.resume(background)
		// Recordings of sessions that continue are not restored by both at once.
		s.recorder.RunStore(background)
	})
	wg.Go(func() {
		if err := s.Fleet.Warm(background); err != nil && background.Err() == nil {
			s.cfg.Log.Error("could not read all nodes", "error", err)
		}
	})
	wg.Go(func() { s.refusals.Run(background) })
	wg.Go(func() { s.bus.Run(background) })
	wg.Go(func() {
		if err := s.Directory.Uses.Run(background); err != nil && background.Err() == nil {
			s.cfg.Log.Error("could not store uses of access keys", "error", err)
		}
	})
	wg.Go(func() { s.sweep(background) })
	wg.Go(func() { s.watchHeads(background) })
	wg.Go(func() { releaseMemory(background) })
	if s.member == nil { // it compares all sessions with the recordings of one server
		wg.Go(func() { s.watchIntegrity(background) })
	}
	wg.Go(func() { s.watchStored(background) })
	wg.Go(func() { s.makeTranscripts(background) })
	wg.Go(func() { s.watchAccess(background) })
	wg.Go(func() { s.watchLapses(background) })
	wg.Go(func() { s.watchParticipants(background) })
	if s.member == nil {
		wg.Go(func() { s.commands.Run(background) })
		wg.Go(func() { s.Usage.Run(background) })
	} else {
		wg.Go(func() {
			if err := s.serveMembers(background, httplimit.Bodies(s.handler)); err != nil {
				s.cfg.Log.Error("the member port does not work", "error", err)
			}
		})
	}
	if s.cfg.Admin != nil {
		wg.Go(func() { s.serveAdmin(background, s.cfg.Admin) })
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		s.relay.Shutdown()
		s.stop()
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if err := srv.Shutdown(limit); err != nil {
			s.cfg.Log.Warn("requests were cut off by the stop", "error", err)
			_ = srv.Close() // best effort
		}
	}()
	err := srv.ServeTLS(wslink.Listen(l), "", "")
	if errors.Is(err, http.ErrServerClosed) {
		<-stopped
		err = nil
		if s.state.taken.Load() {
			err = context.Cause(ctx)
		}
	}
	cancel()
	wg.Wait()
	return err
}

// transcriptsEvery is how often sealed recordings get transcripts.
const transcriptsEvery = time.Minute

// makeTranscripts makes sealed recordings searchable until ctx ends. Long recordings take a while.
func (s *Server) makeTranscripts(ctx context.Context) {
	every(ctx, transcriptsEvery, func() {
		if err := s.recorder.MakeTranscripts(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("could not make transcripts of all recordings", "error", err)
		}
	})
}

// sweep does periodic housekeeping.
func (s *Server) sweep(ctx context.Context) {
	tokens := time.NewTicker(time.Minute)
	defer tokens.Stop()
	checkpoints := time.NewTicker(10 * time.Second)
	defer checkpoints.Stop()
	rare := time.NewTicker(10 * time.Minute)
	defer rare.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-tokens.C:
			err = errors.Join(s.measureRecordings(), s.broker.Sweep(ctx), s.keys.Sweep(ctx))
		case <-checkpoints.C: // signs the recordings of idle sessions
			err = s.recorder.Flush()
			s.unsealed.retry()
			s.broker.RetryEnds(ctx)
		case <-rare.C:
			err = s.expireRecordings(ctx)
			if s.member == nil || s.member.Coordinator() {
				err = errors.Join(err, s.expireAudit(ctx), s.logs.Expire(ctx), s.objects.Expire(ctx), s.expireCommands(ctx),
					s.bus.Expire(ctx))
			}
		}
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("housekeeping failed", "error", err)
		}
	}
}

// Close closes the state. Serve must have returned.
func (s *Server) Close() error {
	s.stop()
	var errs []error
	if s.relay != nil {
		s.relay.Shutdown()
	}
	if s.channels != nil {
		s.channels()
	}
	if s.recorder != nil {
		errs = append(errs, s.recorder.Close())
	}
	if s.refusals != nil {
		s.refusals.Close(s.closing)
	}
	if s.trail != nil {
		if s.recorder != nil {
			errs = append(errs, s.keepLedgerHead(s.closing))
		}
		errs = append(errs, s.trail.Close(s.closing))
		if s.recorder != nil {
			s.publish(s.closing)
		}
	}
	if s.bus != nil {
		errs = append(errs, s.bus.Flush(s.closing))
	}
	s.leaveCluster()
	if s.claim != nil {
		errs = append(errs, s.claim.Release(s.closing))
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.unlock != nil {
		errs = append(errs, s.unlock())
	}
	return errors.Join(errs...)
}

// quietTLS drops TLS handshake errors, which port scanners cause.
type quietTLS struct{ slog.Handler }

// Handle implements slog.Handler.
func (q quietTLS) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "TLS handshake error") {
		return nil
	}
	return q.Handler.Handle(ctx, r)
}
