// Package cluster makes several server processes, the members, one service on one database.
//
// A member holds a lease in the database and renews it. Everything that exactly one member may do is a row that names
// the member and its epoch: the owner of a node is the member that has its control channel, the owner of a session is
// the member whose relay carries it. A row whose member has no valid lease is free to be claimed. A member that could
// not renew its lease in time stops everything it owns before the lease ends, measured by its own monotonic clock, so
// that two owners never act at the same time. All other times are the database's.
package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"sekisho"
)

// Protocol is the version of what members say to each other and store about each other. A member refuses to join while
// a member with a later version is running.
const Protocol = 1

// Defaults of Config, and the bounds of a member's clock.
const (
	DefaultLease = 4 * time.Second
	// MaxClockSkew is how far a member's clock may be from the database's. Tokens and signatures are checked against
	// the member's clock.
	MaxClockSkew = 2 * time.Second
)

// Member is a row about a member.
type Member struct {
	Name     string
	Epoch    int64  // counts the processes that have run as this member
	Address  string // host:port of the member port
	Version  string // of the program
	Protocol int64
	// Instance is a random value that tells two processes with the same name apart.
	Instance   string
	StartedAt  time.Time
	RenewedAt  time.Time
	LeaseUntil time.Time
	// Skew is the difference of the member's clock from the database's when it last renewed its lease.
	Skew time.Duration
	// Lag is how long ago the member renewed its lease when the row was read.
	Lag time.Duration
	// Nodes and Sessions are what the member owns. The store counts them.
	Nodes, Sessions int64
	// Live reports whether the lease was valid when the row was read.
	Live bool
	// Coordinator reports whether the member does the work of which there is one in a cluster.
	Coordinator bool
}

// Owner is the owner of a node or a session.
type Owner struct {
	Member  string // "" if there is none
	Address string // of the member port
	Epoch   int64  // of the member
	// Term counts the owners that a session has had.
	Term int64
	// Live reports whether the owner's lease is valid. If it is not, the row is free to be claimed.
	Live bool
}

// NodeRow says which member has a node's control channel.
type NodeRow struct {
	Node    sekisho.NodeID
	Member  string // "" if the channel was closed
	Epoch   int64
	Source  string // peer address of the agent
	Process string // of the agent; empty for AWS's
}

// Store keeps members and owners. Its clock decides which leases are valid. Every claim is atomic.
type Store interface {
	// Authority returns the certificate and the sealed key of the cluster's authority; nil if there is none.
	Authority(ctx context.Context) (certificate, sealedKey []byte, err error)
	// PutAuthority stores them unless there is an authority.
	PutAuthority(ctx context.Context, certificate, sealedKey []byte) error

	// Now returns the database's clock.
	Now(ctx context.Context) (time.Time, error)
	// Join starts a lease for m and returns its epoch: one more than that of the process before. ok is false while
	// another process holds a lease under this name.
	Join(ctx context.Context, m *Member, lease time.Duration) (epoch int64, ok bool, err error)
	// Renew extends the lease of an epoch. ok is false if the lease has ended or another process has joined.
	Renew(ctx context.Context, name string, epoch int64, lease, skew time.Duration) (ok bool, err error)
	// Leave ends the lease of an epoch.
	Leave(ctx context.Context, name string, epoch int64) error
	// Members returns all members, by name. It counts what they own only if count is set.
	Members(ctx context.Context, count bool) ([]*Member, error)
	// Remove removes a member without a valid lease. Of a member with one, the error has CodeInUse.
	Remove(ctx context.Context, name string) error
	// Coordinate makes a member the coordinator if there is none with a valid lease, and reports whether it is.
	Coordinate(ctx context.Context, name string, epoch int64) (bool, error)

	// ClaimNode makes a member the owner of a node, whoever was it before. ok is false if the member's lease is not
	// valid.
	ClaimNode(ctx context.Context, n NodeRow) (ok bool, err error)
	// ReleaseNode ends the ownership of a node and reports whether the member was the owner.
	ReleaseNode(ctx context.Context, node sekisho.NodeID, member string, epoch int64) (bool, error)
	// NodeOwner returns the owner of a node.
	NodeOwner(ctx context.Context, node sekisho.NodeID) (Owner, error)
	// NodesSince returns the nodes whose owner changed at or after a time of the database's clock, and its clock now.
	NodesSince(ctx context.Context, since time.Time) ([]NodeRow, time.Time, error)
	// OrphanNodes returns nodes whose owner has no valid lease.
	OrphanNodes(ctx context.Context, limit int) ([]NodeRow, error)

	// ClaimSession makes a member the owner of a session that has no owner with a valid lease. It returns the owner
	// after the call: the member itself, or the one that holds the session.
	ClaimSession(ctx context.Context, session sekisho.SessionID, member string, epoch int64) (Owner, error)
	// SessionOwner returns the owner of a session.
	SessionOwner(ctx context.Context, session sekisho.SessionID) (Owner, error)
	// OrphanSessions returns active sessions whose owner has had no valid lease for a while.
	OrphanSessions(ctx context.Context, after time.Duration, limit int) ([]sekisho.SessionID, error)
}

// Config is the configuration of a Cluster.
type Config struct {
	Store   Store
	Sealer  Sealer
	Name    string // of this member
	Address string // host:port at which other members reach this one
	Version string // of the program
	// Lease is how long this member may act without having reached the database; 0 = DefaultLease.
	Lease time.Duration
	// Clock is the member's clock; nil = time.Now. Leases do not depend on it.
	Clock func() time.Time
	// Fenced is called when the lease has ended: everything this member owns must stop before it returns. May be nil.
	Fenced func()
	Log    *slog.Logger

	protocol int64 // 0 = Protocol
}

// Cluster is this process as a member. It is safe for concurrent use.
type Cluster struct {
	cfg       Config
	instance  string
	authority *Authority

	mu       sync.Mutex
	epoch    int64
	until    time.Time // by the monotonic clock: the lease is not valid after this
	fenced   bool
	problem  string // why there is no lease
	coord    bool
	members  map[string]*Member         // as of the last renewal
	taken    map[sekisho.SessionID]bool // sessions of this member that another one had before
	nodes    map[sekisho.NodeID]NodeRow
	seenNode time.Time // of the database: node owners are known up to this
	changed  chan struct{}
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckName refuses what is not the name of a member.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("%q is not a member name: 1 to 63 lower-case letters, digits and hyphens, such as member-1", name)
	}
	return nil
}

// Join makes this process a member. It waits for the lease of an earlier process of the same member to end. It refuses
// a wrong clock, a version older than a running member's, and the name of a member that runs elsewhere.
func Join(ctx context.Context, cfg Config) (*Cluster, error) {
	cfg.Lease = cmp.Or(cfg.Lease, DefaultLease)
	cfg.protocol = cmp.Or(cfg.protocol, Protocol)
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Fenced == nil {
		cfg.Fenced = func() {}
	}
	if err := CheckName(cfg.Name); err != nil {
		return nil, err
	}
	c := &Cluster{
		cfg: cfg, instance: newInstance(), members: map[string]*Member{}, taken: map[sekisho.SessionID]bool{},
		nodes: map[sekisho.NodeID]NodeRow{}, changed: make(chan struct{}, 1),
	}
	var err error
	if c.authority, err = openAuthority(ctx, cfg.Store, cfg.Sealer, cfg.Clock); err != nil {
		return nil, err
	}
	// A process that was killed leaves its lease behind. A process that runs renews it.
	deadline := time.Now().Add(cfg.Lease + cfg.Lease/2)
	for {
		err := c.join(ctx)
		if err == nil {
			break
		}
		if sekisho.CodeOf(err) != sekisho.CodeInUse || time.Now().After(deadline) {
			return nil, err
		}
		if err := pause(ctx, cfg.Lease/10); err != nil {
			return nil, err
		}
	}
	return c, c.refreshNodes(ctx)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// skew returns how far this member's clock is from the database's. A slow answer must not look like a wrong clock.
func (c *Cluster) skew(ctx context.Context) (time.Duration, error) {
	before := time.Now()
	local := c.cfg.Clock()
	now, err := c.cfg.Store.Now(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the clock of the database: %w", err)
	}
	took := time.Since(before)
	off := local.Sub(now) // between -took and 0 if both clocks agree
	if off > 0 {
		return off, nil
	}
	return min(0, off+took), nil
}

func clockError(skew time.Duration) error {
	way, by := "ahead of", skew
	if skew < 0 {
		way, by = "behind", -skew
	}
	return sekisho.Errorf(sekisho.CodeConflict, "This machine's clock is %s %s the database's; the limit is %s.",
		by.Round(time.Millisecond), way, MaxClockSkew).WithHint("Synchronize the clocks of all members and the database.")
}

func (c *Cluster) join(ctx context.Context) error {
	skew, err := c.skew(ctx)
	if err != nil {
		return err
	}
	if skew.Abs() > MaxClockSkew {
		return clockError(skew)
	}
	members, err := c.cfg.Store.Members(ctx, false)
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.Live && m.Name != c.cfg.Name && m.Protocol > c.cfg.protocol {
			return sekisho.Errorf(sekisho.CodeConflict,
				"This version (%s) is too old for the cluster: member %s runs %s with cluster protocol %d, and this is %d.",
				c.cfg.Version, m.Name, m.Version, m.Protocol, c.cfg.protocol).
				WithHint("Upgrade this member. Of two versions, the older must be started first.")
		}
	}
	sent := time.Now()
	epoch, ok, err := c.cfg.Store.Join(ctx, &Member{
		Name: c.cfg.Name, Address: c.cfg.Address, Version: c.cfg.Version, Protocol: c.cfg.protocol, Instance: c.instance,
		Skew: skew,
	}, c.cfg.Lease)
	if err != nil {
		return err
	}
	if !ok {
		return c.inUse(members)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch, c.until, c.fenced, c.problem = epoch, c.end(sent), false, ""
	clear(c.taken)
	return nil
}

// inUse is the error while another process is a member under this name.
func (c *Cluster) inUse(members []*Member) error {
	at := "elsewhere"
	for _, m := range members {
		if m.Name == c.cfg.Name {
			at = fmt.Sprintf("at %s (epoch %d, since %s)", m.Address, m.Epoch, m.StartedAt.UTC().Format(time.RFC3339))
		}
	}
	return sekisho.Errorf(sekisho.CodeInUse, "Another process runs as member %q %s.", c.cfg.Name, at).
		WithHint("Give each member its own cluster.name and its own data directory.")
}

// end returns when a lease that was requested at a time must be treated as ended. The lease begins at the database
// later than that; the margin leaves time to stop.
func (c *Cluster) end(sent time.Time) time.Time { return sent.Add(c.cfg.Lease - c.cfg.Lease/4) }

// Name returns the name of this member.
func (c *Cluster) Name() string { return c.cfg.Name }

// Epoch returns the current epoch of this member.
func (c *Cluster) Epoch() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch
}

// Problem describes why this member must not act; "" while it holds its lease.
func (c *Cluster) Problem() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.fenced:
		return cmp.Or(c.problem, "the lease of this member has ended")
	case time.Now().After(c.until):
		return "the lease of this member has ended: the database was not reached in time"
	}
	return ""
}

// Coordinator reports whether this member is the coordinator.
func (c *Cluster) Coordinator() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.coord && !c.fenced
}

// CoordinatorPeer returns the coordinator if it is another member. own reports whether it is this member. Both are
// zero while there is none.
func (c *Cluster) CoordinatorPeer() (peer Owner, own bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.coord && !c.fenced {
		return Owner{}, true
	}
	for _, m := range c.members {
		if m.Coordinator && m.Live && m.Name != c.cfg.Name {
			return Owner{Member: m.Name, Address: m.Address, Epoch: m.Epoch, Live: true}, false
		}
	}
	return Owner{}, false
}

// Changed receives a value when this member has become the coordinator, or has ceased to be it.
func (c *Cluster) Changed() <-chan struct{} { return c.changed }

// refreshes per lease: several attempts can fail before the lease ends.
const refreshes = 6

// Run renews the lease until ctx ends, and then ends it so that other members can take over at once.
func (c *Cluster) Run(ctx context.Context) {
	tick := time.NewTicker(c.cfg.Lease / refreshes)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.Lease)
			defer cancel()
			if err := c.cfg.Store.Leave(limit, c.cfg.Name, c.Epoch()); err != nil {
				c.cfg.Log.Warn("could not end the lease of this member: it ends by itself", "error", err)
			}
			return
		case <-tick.C:
			c.beat(ctx)
		}
	}
}

// beat renews the lease, or fences this member if it has ended, or joins again.
func (c *Cluster) beat(ctx context.Context) {
	c.mu.Lock()
	fenced, until := c.fenced, c.until
	c.mu.Unlock()
	// A database that hangs must not keep this member from noticing the end of its lease.
	limit, cancel := context.WithDeadline(ctx, until)
	if fenced {
		cancel()
		limit, cancel = context.WithTimeout(ctx, c.cfg.Lease/2)
	}
	defer cancel()
	if fenced {
		if err := c.join(limit); err != nil {
			c.note(ctx, err)
			return
		}
		c.cfg.Log.Info("joined the cluster again", "member", c.cfg.Name, "epoch", c.Epoch())
	} else if err := c.renew(limit); err != nil {
		c.note(ctx, err)
		if errors.Is(err, errLost) || time.Now().After(until) {
			c.fence(err)
		}
		return
	}
	if err := errors.Join(c.refreshMembers(limit), c.refreshNodes(limit)); err != nil {
		c.note(ctx, err)
	}
}

func (c *Cluster) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	known := c.problem == err.Error()
	if c.fenced {
		c.problem = err.Error()
	}
	c.mu.Unlock()
	if !known {
		c.cfg.Log.Warn("could not renew the lease of this member", "member", c.cfg.Name, "error", err)
	}
}

var errLost = errors.New("the lease of this member has ended")

func (c *Cluster) renew(ctx context.Context) error {
	skew, err := c.skew(ctx)
	if err != nil {
		return err
	}
	if skew.Abs() > MaxClockSkew {
		return errors.Join(errLost, clockError(skew))
	}
	c.mu.Lock()
	epoch := c.epoch
	c.mu.Unlock()
	sent := time.Now()
	ok, err := c.cfg.Store.Renew(ctx, c.cfg.Name, epoch, c.cfg.Lease, skew)
	if err != nil {
		return err
	}
	if !ok {
		return errLost
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().After(c.until) { // too late: another member may have claimed something meanwhile
		return errLost
	}
	c.until = c.end(sent)
	return nil
}

// fence stops everything that this member owns.
func (c *Cluster) fence(why error) {
	c.mu.Lock()
	if c.fenced {
		c.mu.Unlock()
		return
	}
	c.fenced, c.problem, c.coord = true, why.Error(), false
	clear(c.taken)
	c.mu.Unlock()
	c.notify()
	c.cfg.Log.Error("this member has lost its lease and stops what it owns", "member", c.cfg.Name, "error", why)
	c.cfg.Fenced()
}

func (c *Cluster) notify() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// refreshMembers reads the members, and becomes the coordinator if there is none.
func (c *Cluster) refreshMembers(ctx context.Context) error {
	epoch := c.Epoch()
	coord, err := c.cfg.Store.Coordinate(ctx, c.cfg.Name, epoch)
	if err != nil {
		return err
	}
	all, err := c.cfg.Store.Members(ctx, false)
	if err != nil {
		return err
	}
	c.mu.Lock()
	was := c.coord
	c.coord = coord && !c.fenced
	is := c.coord
	clear(c.members)
	for _, m := range all {
		c.members[m.Name] = m
	}
	c.mu.Unlock()
	if was != is {
		c.notify()
	}
	return nil
}

// Members returns all members, by name, with what they own.
func (c *Cluster) Members(ctx context.Context) ([]*Member, error) {
	return c.cfg.Store.Members(ctx, true)
}

// KnownEpoch returns the last epoch of a member that this member has seen; 0 = none.
func (c *Cluster) KnownEpoch(name string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.members[name]; m != nil {
		return m.Epoch
	}
	return 0
}
