package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sekisho"
	"sekisho/internal/api/sekishoapi"
	"sekisho/internal/cluster"
	"sekisho/internal/cluster/peer"
	"sekisho/internal/config"
	"sekisho/internal/iam/identity"
	"sekisho/internal/node/control"
	"sekisho/internal/node/fleet"
	"sekisho/internal/ratelimit"
	"sekisho/internal/runcommand"
	"sekisho/internal/session/broker"
	"sekisho/internal/session/record/recstore"
	"sekisho/internal/session/relay"
	"sekisho/internal/store/sqlstore"
	"sekisho/internal/version"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/mgs"
)

// ClusterConfig makes a server a member of a cluster.
type ClusterConfig struct {
	Name string
	// Address is host:port at which the other members reach Listener.
	Address  string
	Listener net.Listener
	// Shared is a directory that all members have mounted. It has the content of objects.
	Shared string
	// Lease is how long the member may act without having reached the database; 0 = the default.
	Lease time.Duration
}

// listenMembers opens the member port of a configuration; nil without a cluster.
func listenMembers(c *config.Cluster) (*ClusterConfig, error) {
	if c == nil {
		return nil, nil
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("cluster: listen: %w", err)
	}
	return &ClusterConfig{Name: c.Name, Address: c.Address, Listener: l, Shared: c.Shared}, nil
}

// close closes the member port, if there is one.
func (c *ClusterConfig) close() {
	if c != nil {
		_ = c.Listener.Close() // serving it closes it too
	}
}

// clusterStore opens the database of a member that need not be running.
func clusterStore(ctx context.Context, c *config.Server) (*sqlstore.DB, error) {
	if c.Cluster == nil {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "The configuration has no cluster.")
	}
	at, err := StateOf(c)
	if err != nil {
		return nil, err
	}
	return at.place().Open(ctx)
}

// ClusterMembers returns the members of the cluster of a configuration.
func ClusterMembers(ctx context.Context, c *config.Server) (all []sekishoapi.ClusterMember, err error) {
	db, err := clusterStore(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	members, err := db.Cluster.Members(ctx, true)
	return sekishoapi.ClusterMembers(members), err
}

// RemoveClusterMember removes a stopped member from the cluster of a configuration.
func RemoveClusterMember(ctx context.Context, c *config.Server, name string) (err error) {
	db, err := clusterStore(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.Cluster.Remove(ctx, name)
}

// How stale the identities and policies of a member may be.
const (
	memberRefresh = 500 * time.Millisecond
	memberStale   = 2 * time.Second
)

// member is this server as a member of a cluster.
type member struct {
	*cluster.Cluster
	s     *Server
	peers *peer.Client
	// stop ends the lease, and left waits until it has ended.
	stop context.CancelFunc
	left sync.WaitGroup
	// open reports whether the engines that fenced stops exist.
	open atomic.Bool
	// unreached limits how often it is logged that a member cannot be reached.
	unreached *ratelimit.Limiter[string]
	// commands reports whether this member has read the commands of the cluster.
	commands atomic.Bool
}

// joinCluster makes the server a member.
func (s *Server) joinCluster(ctx context.Context) error {
	cfg := s.cfg.Cluster
	if cfg == nil {
		return nil
	}
	m := &member{s: s, unreached: ratelimit.NewEvery[string](10*time.Second, 0, nil)}
	var err error
	m.Cluster, err = cluster.Join(ctx, cluster.Config{
		Store: s.db.Cluster, Sealer: s.ring, Name: cfg.Name, Address: cfg.Address, Version: version.Long(),
		Lease: cfg.Lease, Fenced: m.fenced, Log: s.cfg.Log,
	})
	if err != nil {
		return err
	}
	m.peers = peer.NewClient(s.done, m.Cluster)
	s.db.SetMember(cfg.Name, m.Epoch)
	life, stop := context.WithCancel(s.closing)
	m.stop = stop
	m.left.Go(func() { m.Run(life) })
	s.member = m
	s.cfg.Log.Info("joined the cluster", "member", cfg.Name, "epoch", m.Epoch())
	return nil
}

// leaveCluster ends the lease, after everything that the member owns has stopped.
func (s *Server) leaveCluster() {
	if s.member == nil {
		return
	}
	s.member.peers.Close()
	s.member.stop()
	s.member.left.Wait()
}

// fenced stops everything that this member owns. Its nodes and clients connect to other members.
func (m *member) fenced() {
	if !m.open.Load() {
		return
	}
	m.s.relay.Shutdown()
	if err := m.s.recorder.CloseLive(); err != nil {
		m.s.cfg.Log.Error("could not close all recordings", "error", err)
	}
	m.s.Channels.DropAll("this member of the cluster has lost its lease")
}

// objectsDir is the directory with the content of objects.
func (s *Server) objectsDir() string {
	if s.cfg.Cluster != nil {
		return filepath.Join(s.cfg.Cluster.Shared, "objects")
	}
	return filepath.Join(s.cfg.DataDir, "objects")
}

// serveMembers serves the member port, and does the work of the coordinator while this member is it, until ctx ends.
func (s *Server) serveMembers(ctx context.Context, handler http.Handler) error {
	var wg sync.WaitGroup
	wg.Go(func() { s.member.coordinate(ctx) })
	err := peer.NewServer(peer.Config{
		Identity: s.member.Cluster, Requests: handler, Messages: s.member.answer, Log: s.cfg.Log,
		HeaderTimeout: headerTimeout, MaxHeader: maxHeader,
	}).Serve(ctx, s.cfg.Cluster.Listener)
	wg.Wait()
	return err
}

// nodeLinks reaches nodes.
type nodeLinks interface {
	fleet.Links
	broker.Links
	Drop(node sekisho.NodeID, reason string)
	Reopen(node sekisho.NodeID, reason string)
}

// The functions below return how this server reaches nodes and sessions: on its own, or as a member.

func (s *Server) identityConfig() identity.Config {
	cfg := identity.Config{Store: s.db.Identities, Keyring: s.ring, Account: s.cfg.Account}
	if s.member != nil {
		cfg.Refresh, cfg.StaleLimit = memberRefresh, memberStale
	}
	return cfg
}

func (s *Server) recordingStore() recstore.Store {
	if s.member == nil || s.cfg.Recordings.Store == nil {
		return s.cfg.Recordings.Store
	}
	return memberStore{s.cfg.Recordings.Store, "members/" + s.member.Name() + "/"}
}

func (s *Server) nodeLinks() nodeLinks {
	if s.member == nil {
		return s.Channels
	}
	return memberLinks{s.Channels, s.member}
}

func (s *Server) sessionRelay() broker.Relay {
	if s.member == nil {
		return s.relay
	}
	return memberRelay{s.relay, s.member}
}

func (s *Server) presence() control.Presence {
	if s.member == nil {
		return s.Fleet
	}
	return memberPresence{s.Fleet, s.member}
}

func (s *Server) jobs() control.Jobs {
	if s.member == nil {
		return s.commands
	}
	return s.member.jobs()
}

func (s *Server) clusterMembers() func(context.Context) ([]*cluster.Member, error) {
	if s.member == nil {
		return nil
	}
	return s.member.Members
}

func (s *Server) mine() func(context.Context, sekisho.SessionID) (bool, error) {
	if s.member == nil {
		return nil
	}
	return s.member.mine
}

// takenOver reports whether another member has recorded a session before.
func (s *Server) takenOver(session sekisho.SessionID) bool {
	return s.member != nil && s.member.TakenOver(session)
}

// gone reports whether a recording is of a session that does not continue.
func (s *Server) gone(ctx context.Context, session sekisho.SessionID) bool {
	if s.relay.Live(session) {
		return false
	}
	if s.member == nil {
		return true
	}
	o, _, err := s.member.SessionOwner(ctx, session)
	return err == nil && (o.Member == "" || o.Member == s.member.Name())
}

// adoptEvery is how often the coordinator looks for what lost members have left.
const adoptEvery = time.Second

// coordinate does the work of the coordinator while this member is it.
func (m *member) coordinate(ctx context.Context) {
	for {
		if m.Coordinator() {
			m.coordinateOnce(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-m.Changed():
		}
	}
}

func (m *member) coordinateOnce(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer m.commands.Store(false)
	wg.Go(func() { m.s.Usage.Run(ctx) })
	log := m.s.cfg.Log
	log.Info("this member is the coordinator", "member", m.Name())
	tick := time.NewTicker(adoptEvery)
	defer tick.Stop()
	for m.Coordinator() {
		if !m.commands.Load() {
			if err := m.s.commands.Recover(ctx); err != nil {
				log.Error("could not read the commands of the cluster", "error", err)
			} else {
				m.commands.Store(true)
				wg.Go(func() { m.s.commands.Run(ctx) })
			}
		}
		if err := m.adopt(ctx); err != nil && ctx.Err() == nil {
			log.Error("could not take over from a lost member", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// adopt records that the nodes of lost members are disconnected, and takes over sessions that no other member has
// taken over.
func (m *member) adopt(ctx context.Context) error {
	nodes, err := m.OrphanNodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		released, err := m.ReleaseOrphan(ctx, n)
		if err == nil && released {
			err = m.s.Fleet.Disconnected(ctx, n.Node, "member "+n.Member+" of the cluster stopped")
		}
		if err != nil && !sekisho.IsNotFound(err) {
			return err
		}
	}
	sessions, err := m.OrphanSessions(ctx)
	if err != nil {
		return err
	}
	for _, id := range sessions {
		if err := m.s.broker.Adopt(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// mine reports whether a session of an earlier process is this member's to resume.
func (m *member) mine(ctx context.Context, session sekisho.SessionID) (bool, error) {
	o, _, err := m.SessionOwner(ctx, session)
	return o.Member == "" || o.Member == m.Name() || !o.Live, err
}

func peerOf(o cluster.Owner) peer.Member { return peer.Member{Name: o.Member, Address: o.Address} }

// answer handles a message of another member.
func (m *member) answer(ctx context.Context, in *peer.Message) (out peer.Reply, err error) {
	switch in.Kind {
	case peer.Deliver:
		err = m.s.Channels.Deliver(ctx, in.Node, in.Frame)
	case peer.Alive:
		out.Alive = m.s.Channels.Alive(ctx, in.Node)
	case peer.Drop:
		m.s.Channels.Drop(in.Node, in.Reason)
	case peer.Reopen:
		m.s.Channels.Reopen(in.Node, in.Reason)
	case peer.EndSession, peer.FinishSession:
		if in.Ending == nil {
			return out, sekisho.Errorf(sekisho.CodeInvalid, "the message has no ending")
		}
		// The session must end although the other member does not wait.
		end := m.s.relay.End
		if in.Kind == peer.FinishSession {
			end = m.s.relay.Finish
		}
		end(context.WithoutCancel(ctx), in.Session, *in.Ending)
	case peer.NodeConnected:
		m.s.commands.NodeConnected(in.Node)
	case peer.JobAck:
		var ack mgs.JobAck
		if err = json.Unmarshal(in.Body, &ack); err == nil {
			err = m.jobs().JobAck(ctx, in.Node, ack)
		}
	case peer.JobReply:
		var reply mgs.JobReply
		if err = json.Unmarshal(in.Body, &reply); err == nil {
			err = m.jobs().JobReply(ctx, in.Node, reply)
		}
	default:
		err = sekisho.Errorf(sekisho.CodeInvalid, "unknown message %q", in.Kind)
	}
	return out, err
}

// memberLinks reaches nodes through whichever member has their control channel.
type memberLinks struct {
	*control.Channels
	m *member
}

func (l memberLinks) Connected(node sekisho.NodeID) bool {
	if l.Channels.Connected(node) {
		return true
	}
	_, _, ok := l.m.Remote(node)
	return ok
}

func (l memberLinks) Source(node sekisho.NodeID) string {
	if l.Channels.Connected(node) {
		return l.Channels.Source(node)
	}
	n, _, _ := l.m.Remote(node)
	return n.Source
}

func (l memberLinks) Process(node sekisho.NodeID) string {
	if l.Channels.Connected(node) {
		return l.Channels.Process(node)
	}
	n, _, _ := l.m.Remote(node)
	return n.Process
}

// remote returns the member that has a node's channel, if this one does not.
func (l memberLinks) remote(node sekisho.NodeID) (cluster.Owner, bool) {
	if l.Channels.Connected(node) {
		return cluster.Owner{}, false
	}
	_, o, ok := l.m.Remote(node)
	return o, ok
}

func (l memberLinks) Alive(ctx context.Context, node sekisho.NodeID) bool {
	o, ok := l.remote(node)
	if !ok {
		return l.Channels.Alive(ctx, node)
	}
	reply, err := l.m.peers.Call(ctx, peerOf(o), &peer.Message{Kind: peer.Alive, Node: node})
	return err == nil && reply.Alive
}

func (l memberLinks) Deliver(ctx context.Context, node sekisho.NodeID, frame []byte) error {
	o, ok := l.remote(node)
	if !ok {
		return l.Channels.Deliver(ctx, node, frame)
	}
	_, err := l.m.peers.Call(ctx, peerOf(o), &peer.Message{Kind: peer.Deliver, Node: node, Frame: frame})
	return err
}

func (l memberLinks) Drop(node sekisho.NodeID, reason string) {
	if o, ok := l.remote(node); ok {
		l.tell(o, &peer.Message{Kind: peer.Drop, Node: node, Reason: reason})
		return
	}
	l.Channels.Drop(node, reason)
}

func (l memberLinks) Reopen(node sekisho.NodeID, reason string) {
	if o, ok := l.remote(node); ok {
		l.tell(o, &peer.Message{Kind: peer.Reopen, Node: node, Reason: reason})
		return
	}
	l.Channels.Reopen(node, reason)
}

func (l memberLinks) tell(o cluster.Owner, msg *peer.Message) {
	if _, err := l.m.peers.Call(l.m.s.done, peerOf(o), msg); err != nil {
		l.m.s.cfg.Log.Warn("could not reach a node through another member", "member", o.Member, "node", msg.Node,
			"message", msg.Kind, "error", err)
	}
}

// memberPresence makes this member the owner of the nodes that connect to it.
type memberPresence struct {
	*fleet.Fleet
	m *member
}

// Connected implements [control.Presence]. If the node's agent answers on a channel to another member, two agents have
// the same identity, and this one is refused, as it is on a single server.
func (p memberPresence) Connected(ctx context.Context, node sekisho.NodeID, source string) error {
	o, own, err := p.m.NodeOwner(ctx, node)
	if err != nil {
		return err
	}
	if o.Live && !own {
		reply, err := p.m.peers.Call(ctx, peerOf(o), &peer.Message{Kind: peer.Alive, Node: node})
		if err == nil && reply.Alive {
			first := "another member of the cluster"
			if n, _, ok := p.m.Remote(node); ok {
				first = n.Source
			}
			p.Doubled(ctx, node, first, source)
			return sekisho.Errorf(sekisho.CodeInUse, "another machine with this identity is connected from %s", first)
		}
	}
	if err := p.m.ClaimNode(ctx, node, source, p.m.s.Channels.Process(node)); err != nil {
		return err
	}
	if o.Live && !own { // its channel is dead
		memberLinks{p.m.s.Channels, p.m}.tell(o,
			&peer.Message{Kind: peer.Drop, Node: node, Reason: "replaced by a newer control channel of the same node"})
	}
	return p.Fleet.Connected(ctx, node, source)
}

// Disconnected implements [control.Presence].
func (p memberPresence) Disconnected(ctx context.Context, node sekisho.NodeID, reason string) error {
	released, err := p.m.ReleaseNode(ctx, node)
	if err != nil || !released {
		return err // the node is connected to another member by now
	}
	return p.Fleet.Disconnected(ctx, node, reason)
}

// memberRelay carries the sessions that this member owns, and ends those of others through their owners.
type memberRelay struct {
	*relay.Relay
	m *member
}

// Open implements [broker.Relay]. It makes this member the session's owner.
func (r memberRelay) Open(ctx context.Context, s *sekisho.Session) error {
	if r.Relay.Live(s.ID) {
		return nil
	}
	if err := r.m.ClaimSession(ctx, s.ID); err != nil {
		return err
	}
	if err := r.Relay.Open(ctx, s); err != nil {
		return err
	}
	// The checks of permissions sleep while no session is active. This one can have been started at another member.
	r.m.s.startedForAccess.send()
	r.m.s.startedForLapses.send()
	return nil
}

// Live implements [broker.Relay].
func (r memberRelay) Live(session sekisho.SessionID) bool {
	if r.Relay.Live(session) {
		return true
	}
	_, ok := r.elsewhere(r.m.s.done, session)
	return ok
}

// elsewhere returns the other member that owns a session.
func (r memberRelay) elsewhere(ctx context.Context, session sekisho.SessionID) (cluster.Owner, bool) {
	o, own, err := r.m.SessionOwner(ctx, session)
	if err != nil {
		r.m.s.cfg.Log.Error("could not find the owner of a session", "session", session, "error", err)
	}
	return o, err == nil && o.Live && !own
}

// End implements [broker.Relay].
func (r memberRelay) End(ctx context.Context, session sekisho.SessionID, e sekisho.Ending) {
	r.end(ctx, session, e, peer.EndSession, r.Relay.End)
}

// Finish implements [broker.Relay].
func (r memberRelay) Finish(ctx context.Context, session sekisho.SessionID, e sekisho.Ending) {
	r.end(ctx, session, e, peer.FinishSession, r.Relay.Finish)
}

func (r memberRelay) end(
	ctx context.Context, session sekisho.SessionID, e sekisho.Ending, kind string,
	here func(context.Context, sekisho.SessionID, sekisho.Ending),
) {
	if r.Relay.Live(session) {
		here(ctx, session, e)
		return
	}
	o, ok := r.elsewhere(ctx, session)
	if !ok {
		return
	}
	if _, err := r.m.peers.Call(ctx, peerOf(o),
		&peer.Message{Kind: kind, Session: session, Ending: &e}); err != nil {
		r.m.s.cfg.Log.Error("could not end a session on another member", "session", session, "member", o.Member,
			"error", err)
	}
}

// memberJobs passes agents' reports about commands to the coordinator.
type memberJobs struct {
	*runcommand.Engine
	m *member
}

func (m *member) jobs() memberJobs { return memberJobs{m.s.commands, m} }

var errNoCoordinator = sekisho.Errorf(sekisho.CodeUnavailable, "The cluster has no coordinator at the moment.").
	WithHint("Retry in a few seconds.")

// NodeConnected implements [control.Jobs].
func (j memberJobs) NodeConnected(node sekisho.NodeID) {
	if err := j.pass(j.m.s.done, peer.NodeConnected, node, nil, func() error {
		j.Engine.NodeConnected(node)
		return nil
	}); err != nil { // the coordinator retries by itself
		j.m.s.cfg.Log.Debug("could not tell the coordinator that a node connected", "node", node, "error", err)
	}
}

// JobAck implements [control.Jobs].
func (j memberJobs) JobAck(ctx context.Context, node sekisho.NodeID, ack mgs.JobAck) error {
	return j.pass(ctx, peer.JobAck, node, ack, func() error { return j.Engine.JobAck(ctx, node, ack) })
}

// JobReply implements [control.Jobs].
func (j memberJobs) JobReply(ctx context.Context, node sekisho.NodeID, reply mgs.JobReply) error {
	return j.pass(ctx, peer.JobReply, node, reply, func() error { return j.Engine.JobReply(ctx, node, reply) })
}

// pass calls here if this member is the coordinator, and otherwise sends a message to the member that is.
func (j memberJobs) pass(
	ctx context.Context, kind string, node sekisho.NodeID, body any, here func() error,
) error {
	o, own := j.m.CoordinatorPeer()
	switch {
	case own && j.m.commands.Load():
		return here()
	case own || o.Member == "":
		return errNoCoordinator
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = j.m.peers.Call(ctx, peerOf(o), &peer.Message{Kind: kind, Node: node, Body: text})
	return err
}

// coordinated are the operations that only the coordinator carries out.
var coordinated = map[string]bool{
	"ssm SendCommand": true, "ssm CancelCommand": true, "ssm DeregisterManagedInstance": true,
}

const (
	dataChannelPrefix = "/v1/data-channel/"
	// maxPeek bounds the part of a request in which a member looks for a session.
	maxPeek = 64 << 10
)

// route passes a request that another member must serve to that member.
func (m *member) route(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz", "/readyz", "/livez":
			next.ServeHTTP(w, r)
			return
		}
		if m.Problem() != "" { // which can name the database: it is not for strangers
			unavailable(w, "This member of the cluster has no lease at the moment. Retry in a few seconds.")
			return
		}
		if peer.IsForwarded(r.Context()) {
			next.ServeHTTP(w, r)
			return
		}
		to, err := m.destination(r)
		if err == nil && to.Member != "" {
			if err = m.peers.Forward(w, r, peerOf(to)); err == nil {
				return
			}
		}
		if err != nil {
			if m.unreached.Allow(to.Member) {
				m.s.cfg.Log.Warn("could not pass a request to another member", "member", to.Member, "error", err)
			}
			unavailable(w, "The member of the cluster that serves this request cannot be reached. Retry in a few seconds.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// unavailable answers in the form of AWS's JSON protocols, which all programs at least show.
func unavailable(w http.ResponseWriter, message string) {
	text, _ := json.Marshal(map[string]string{"__type": "ServiceUnavailable", "message": message}) // cannot fail: strings
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("Retry-After", "2")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write(text) // the caller may be gone
}

// destination returns the other member that must serve a request; none if this member serves it.
func (m *member) destination(r *http.Request) (cluster.Owner, error) {
	if session, ok := strings.CutPrefix(r.URL.Path, dataChannelPrefix); ok && r.Method == http.MethodGet {
		return m.ownerElsewhere(r.Context(), session)
	}
	service, op, ok := awsproto.Target(r)
	if !ok || r.Method != http.MethodPost {
		return cluster.Owner{}, nil
	}
	if coordinated[service+" "+op] {
		o, own := m.CoordinatorPeer()
		if own && m.commands.Load() {
			return cluster.Owner{}, nil
		}
		if own || o.Member == "" {
			return cluster.Owner{}, errNoCoordinator
		}
		if r.ContentLength < 0 {
			_, err := peek(r)
			return o, err
		}
		return o, nil
	}
	if service != "sekisho" {
		return cluster.Owner{}, nil
	}
	// Recordings, and sessions that somebody watches, are where the session is.
	body, err := peek(r)
	var about struct {
		SessionID string `json:"SessionId"`
	}
	if err != nil || json.Unmarshal(body, &about) != nil || about.SessionID == "" {
		return cluster.Owner{}, err
	}
	return m.ownerElsewhere(r.Context(), about.SessionID)
}

// peek reads the beginning of a request's body, which can then be read again. If that is the whole body, its length is
// known afterwards.
func peek(r *http.Request) ([]byte, error) {
	whole := r.Body
	body, err := io.ReadAll(io.LimitReader(whole, maxPeek))
	if err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	r.Body = rejoined{io.MultiReader(bytes.NewReader(body), whole), whole}
	if r.ContentLength < 0 && len(body) < maxPeek {
		r.ContentLength = int64(len(body))
	}
	return body, nil
}

// rejoined is a body of which a part was read.
type rejoined struct {
	io.Reader
	io.Closer
}

func (m *member) ownerElsewhere(ctx context.Context, session string) (cluster.Owner, error) {
	o, own, err := m.SessionOwner(ctx, sekisho.SessionID(session))
	if err != nil || own || !o.Live {
		return cluster.Owner{}, err
	}
	return o, nil
}

var (
	_ control.Presence = memberPresence{}
	_ control.Jobs     = memberJobs{}
	_ broker.Relay     = memberRelay{}
	_ broker.Links     = memberLinks{}
)
