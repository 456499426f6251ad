// Package fleet manages nodes: the activations that machines register with,
// the facts they report, and whether each node can be reached, and why not. A
// registered node is kept until somebody deregisters it.
package fleet

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/netip"
	"time"
	"unicode/utf8"

	"sekisho"
	"sekisho/internal/ratelimit"
	"sekisho/internal/safetext"
	"sekisho/internal/wire/id"
)

// Store is the storage of a Fleet.
type Store interface {
	ActivationStore
	NodeStore
	SightingStore
}

// ActivationStore keeps activations.
type ActivationStore interface {
	CreateActivation(ctx context.Context, a *sekisho.Activation) error
	Activation(ctx context.Context, activationID string) (*sekisho.Activation, error)
	// Activations returns the activations that q selects, newest first.
	Activations(ctx context.Context, q ActivationQuery) ([]*sekisho.Activation, error)
	DeleteActivation(ctx context.Context, activationID string) error
}

// ActivationQuery selects activations. Each filter that is not nil must match one
// of its values.
type ActivationQuery struct {
	IDs, NodeIDs, Names, Roles []string
	After                      ActivationPlace // where the previous page ended
	Limit                      int             // 0 = none
}

// ActivationPlace is the place of an activation in lists. The zero value precedes all.
type ActivationPlace struct {
	CreatedAt time.Time
	ID        string
}

// NodeStore keeps nodes.
type NodeStore interface {
	// RegisterNode stores n and counts it against its activation, both or
	// neither. A used-up activation is CodeLimit, a deleted one CodeNotFound.
	RegisterNode(ctx context.Context, n *sekisho.Node) error
	Node(ctx context.Context, nodeID sekisho.NodeID) (*sekisho.Node, error)
	// Nodes returns every node that is not deregistered, by ID.
	Nodes(ctx context.Context) ([]*sekisho.Node, error)
	// NodeChanges returns the nodes that changed after a revision, without
	// their public keys, and the revision to continue from. It includes
	// deregistered nodes. Revision 0 precedes all changes.
	NodeChanges(ctx context.Context, after int64) (nodes []*sekisho.Node, revision int64, err error)
	// UpdateNode reads the node, calls change, and stores the result, in one
	// transaction. If change fails, nothing is stored.
	UpdateNode(ctx context.Context, nodeID sekisho.NodeID, change func(n *sekisho.Node) error) error
	// CloseConnections marks every node that was connected as disconnected.
	CloseConnections(ctx context.Context, at time.Time, reason string) error
	// DeregisteredNodes returns at most most nodes, last deregistered first.
	DeregisteredNodes(ctx context.Context, most int) ([]*sekisho.Node, error)
}

// Links reports whether a node's control channel is open, anywhere in the
// cluster.
type Links interface {
	Connected(node sekisho.NodeID) bool
	// Source returns the peer address of the node's channel, or "" if it is
	// not open.
	Source(node sekisho.NodeID) string
	// Alive pings the node's agent and waits briefly for the answer.
	Alive(ctx context.Context, node sekisho.NodeID) bool
}

// Fleet is the registry of nodes. It is safe for concurrent use.
type Fleet struct {
	store   Store
	links   Links
	now     func() time.Time
	changed func(sekisho.NodeID)
	alarm   func(context.Context, Sighting)
	seen    func(context.Context, Sighting)
	role    func(sekisho.NodeID)
	log     *slog.Logger
	index   nodeIndex

	registrations *ratelimit.Limiter[netip.Prefix] // attempts per source
	failures      *ratelimit.Limiter[netip.Prefix] // failed attempts per source
	// These limit reports to one an hour.
	elsewhere *ratelimit.Limiter[string] // credentials used from another address, by node and address
	moves     *ratelimit.Limiter[string] // changed addresses, by node and addresses
	refused   *ratelimit.Limiter[string] // refused registrations, by kind and source
}

// Config is the configuration of a Fleet.
type Config struct {
	Store   Store
	Links   Links
	Now     func() time.Time            // nil = time.Now
	Changed func(nodeID sekisho.NodeID) // called after a node's state changed; may be nil
	// Alarm is called when the identity of a node is in doubt; may be nil.
	Alarm func(ctx context.Context, s Sighting)
	// Seen is called for refused registrations, changed addresses and
	// everything that Alarm is called for; for a continuing condition, once an
	// hour. It must not block; may be nil.
	Seen func(ctx context.Context, s Sighting)
	// RoleChanged is called after a node's role changed; may be nil.
	RoleChanged func(nodeID sekisho.NodeID)
	Log         *slog.Logger // nil = none
}

// New returns a Fleet.
func New(cfg Config) *Fleet {
	f := &Fleet{
		store: cfg.Store, links: cfg.Links, now: cfg.Now, changed: cfg.Changed, alarm: cfg.Alarm, seen: cfg.Seen,
		role: cfg.RoleChanged, log: cfg.Log,
	}
	if f.now == nil {
		f.now = time.Now
	}
	if f.changed == nil {
		f.changed = func(sekisho.NodeID) {}
	}
	if f.alarm == nil {
		f.alarm = func(context.Context, Sighting) {}
	}
	if f.seen == nil {
		f.seen = func(context.Context, Sighting) {}
	}
	if f.role == nil {
		f.role = func(sekisho.NodeID) {}
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.registrations = ratelimit.New[netip.Prefix](ratelimit.Config{
		Rate: 1 / registrationEvery.Seconds(), Burst: registrationBurst, Now: f.now,
	})
	f.failures = ratelimit.New[netip.Prefix](ratelimit.Config{
		Rate: 1 / registrationEvery.Seconds(), Burst: 5 * registrationBurst, Now: f.now,
	})
	f.elsewhere = ratelimit.NewEvery[string](reportEvery, 0, f.now)
	f.moves = ratelimit.NewEvery[string](reportEvery, 0, f.now)
	f.refused = ratelimit.NewEvery[string](reportEvery, 0, f.now)
	return f
}

// Limits of wrong activations from one source: a burst, then one per period. A correct one restores
// the burst, so that many machines behind one address can register at once.
const (
	registrationBurst = 20
	registrationEvery = 6 * time.Second
)

// source returns the network for counting attempts from ip.
func source(ip string) netip.Prefix {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.Prefix{}
	}
	return ratelimit.Source(a)
}

// lostAfter is how long a node can be silent before it counts as lost. Agents report every 5
// minutes, and one report may get lost.
const lostAfter = 11 * time.Minute

// AWS's limits of an activation.
const (
	maxRegistrations  = 1000
	defaultActivation = 24 * time.Hour
	maxActivation     = 30 * 24 * time.Hour
	maxDescription    = 256
	maxFingerprint    = 128
)

// NewActivation is the request of [Fleet.CreateActivation].
type NewActivation struct {
	IAMRole             string
	Description         string
	DefaultInstanceName string
	RegistrationLimit   int       // 0 = 1
	ExpiresAt           time.Time // zero = 24 hours from now
	CreatedBy           string    // ARN
	Tags                map[string]string
	NodeKind            sekisho.NodeKind
	NodeID              sekisho.NodeID // see [sekisho.Activation]
}

// CreateActivation creates an activation and returns it with its code. Only a
// hash of the code is stored, so it cannot be shown again.
func (f *Fleet) CreateActivation(ctx context.Context, in NewActivation) (*sekisho.Activation, string, error) {
	now := f.now()
	if in.RegistrationLimit == 0 {
		in.RegistrationLimit = 1
	}
	if in.RegistrationLimit < 1 || in.RegistrationLimit > maxRegistrations {
		return nil, "", sekisho.Errorf(sekisho.CodeInvalid, "RegistrationLimit is %d; it must be between 1 and %d.",
			in.RegistrationLimit, maxRegistrations)
	}
	if in.ExpiresAt.IsZero() {
		in.ExpiresAt = now.Add(defaultActivation)
	}
	if !in.ExpiresAt.After(now) || in.ExpiresAt.After(now.Add(maxActivation)) {
		return nil, "", sekisho.Errorf(
			sekisho.CodeInvalid,
			"ExpirationDate is %s; it must be within the next 30 days.",
			in.ExpiresAt.UTC().Format(time.RFC3339),
		)
	}
	for field, v := range map[string]string{"Description": in.Description, "DefaultInstanceName": in.DefaultInstanceName} {
		if utf8.RuneCountInString(v) > maxDescription {
			return nil, "", sekisho.Errorf(
				sekisho.CodeInvalid,
				"%s must have at most %d characters.",
				field,
				maxDescription,
			)
		}
	}
	if err := f.checkNodeID(ctx, &in); err != nil {
		return nil, "", err
	}
	code := id.ActivationCode()
	a := &sekisho.Activation{
		ID: id.UUID(), CodeHash: hash(code), Description: in.Description, DefaultInstanceName: in.DefaultInstanceName,
		IAMRole: in.IAMRole, RegistrationLimit: in.RegistrationLimit, ExpiresAt: in.ExpiresAt, CreatedAt: now,
		CreatedBy: in.CreatedBy, Tags: in.Tags, NodeKind: in.NodeKind, NodeID: in.NodeID,
	}
	if err := f.store.CreateActivation(ctx, a); err != nil {
		return nil, "", err
	}
	return a, code, nil
}

func hash(code string) []byte {
	h := sha256.Sum256([]byte(code))
	return h[:]
}

// Activations returns the activations that q selects, newest first.
func (f *Fleet) Activations(ctx context.Context, q ActivationQuery) ([]*sekisho.Activation, error) {
	return f.store.Activations(ctx, q)
}

// DeleteActivation deletes an activation. Machines that registered with it
// stay registered.
func (f *Fleet) DeleteActivation(ctx context.Context, activationID string) error {
	return f.store.DeleteActivation(ctx, activationID)
}

// Registration is what a new agent sends.
type Registration struct {
	ActivationID, ActivationCode string
	PublicKey                    string // base64 of the DER SubjectPublicKeyInfo
	PublicKeyType                string // Rsa
	Fingerprint                  string
	SourceIP                     string
}

// CheckRegistration refuses a source with many failed registrations and no correct one since. It costs
// nothing, so that such a source need not queue and delays nobody. It tolerates more failures than
// [Fleet.Register]: of many machines behind one address that register at once, a few may be refused.
func (f *Fleet) CheckRegistration(ctx context.Context, in Registration) error {
	if !f.failures.Exhausted(source(in.SourceIP)) {
		return nil
	}
	err := tooManyRegistrations(in.SourceIP)
	f.noteRegistration(ctx, in, err)
	return err
}

func tooManyRegistrations(from string) error {
	return sekisho.Errorf(sekisho.CodeThrottled, "Too many registration attempts from %s.", from).
		WithHint("Check the activation ID and code, and retry in a minute.")
}

// Register registers a machine. The activation must exist, its code must
// match, and it must be neither expired nor used up. The error does not reveal
// which activations exist. Refused machines are listed by [Fleet.Strays].
func (f *Fleet) Register(ctx context.Context, in Registration) (*sekisho.Node, error) {
	n, err := f.register(ctx, in)
	if err != nil {
		f.noteRegistration(ctx, in, err)
	}
	switch sekisho.CodeOf(err) {
	case "":
		f.failures.Forget(source(in.SourceIP))
	case sekisho.CodeUnauthenticated, sekisho.CodeThrottled:
		f.failures.Allow(source(in.SourceIP))
	}
	return n, err
}

func (f *Fleet) register(ctx context.Context, in Registration) (*sekisho.Node, error) {
	from := source(in.SourceIP)
	if !f.registrations.Allow(from) {
		return nil, tooManyRegistrations(in.SourceIP)
	}
	wrong := sekisho.Errorf(sekisho.CodeUnauthenticated, "The activation ID and code do not match an activation.").
		WithHint("Check both, or create a new activation.")
	a, err := f.store.Activation(ctx, in.ActivationID)
	if err != nil && !sekisho.IsNotFound(err) {
		return nil, err
	}
	var want []byte
	if a != nil {
		want = a.CodeHash
	} else {
		want = hash("") // as much work as for an existing activation
	}
	if subtle.ConstantTimeCompare(want, hash(in.ActivationCode)) != 1 || a == nil {
		return nil, wrong
	}
	f.registrations.Forget(from)
	now := f.now()
	if !now.Before(a.ExpiresAt) {
		return nil, sekisho.Errorf(sekisho.CodeExpired, "The activation expired at %s.",
			a.ExpiresAt.UTC().Format(time.RFC3339)).
			WithHint("Create a new activation.")
	}
	key, err := parsePublicKey(in.PublicKey, in.PublicKeyType)
	if err != nil {
		return nil, err
	}
	if n := len(in.Fingerprint); n == 0 || n > maxFingerprint {
		return nil, sekisho.Errorf(
			sekisho.CodeInvalid,
			"Fingerprint has %d bytes; it must have 1 to %d.",
			n,
			maxFingerprint,
		)
	}
	n := &sekisho.Node{
		ID: newNodeID(a), Name: a.DefaultInstanceName, ActivationID: a.ID, IAMRole: a.IAMRole, RegisteredAt: now,
		PublicKey: key, Fingerprint: in.Fingerprint, LastPingAt: now, LastSourceIP: in.SourceIP, Tags: a.Tags,
	}
	if err := f.store.RegisterNode(ctx, n); err != nil {
		if sekisho.IsNotFound(err) {
			return nil, wrong // deleted just now
		}
		return nil, err
	}
	f.changed(n.ID)
	return n, nil
}

func parsePublicKey(text, typ string) ([]byte, error) {
	bad := func(why string) error {
		return sekisho.Errorf(sekisho.CodeInvalid, "The node's public key is not valid: %s.", why)
	}
	if typ != "Rsa" {
		return nil, bad("its type must be Rsa")
	}
	if len(text) > 4096 {
		return nil, bad("it is too long")
	}
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, bad("it is not base64")
	}
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, bad("it is not a DER SubjectPublicKeyInfo")
	}
	rsaKey, ok := pub.(*rsa.PublicKey)
	if !ok || rsaKey.N.BitLen() < 2048 || rsaKey.N.BitLen() > 8192 {
		return nil, bad("it must be an RSA key of 2048 to 8192 bits")
	}
	return der, nil
}

// Node returns a managed node.
func (f *Fleet) Node(ctx context.Context, node sekisho.NodeID) (*sekisho.Node, error) {
	n, err := f.store.Node(ctx, node)
	if err != nil {
		return nil, err
	}
	if !n.DeregisteredAt.IsZero() {
		return nil, sekisho.Errorf(sekisho.CodeNotFound, "node %s was deregistered at %s", node,
			n.DeregisteredAt.Format(time.RFC3339))
	}
	return n, nil
}

// NodePublicKey returns the key that proves node's identity.
func (f *Fleet) NodePublicKey(ctx context.Context, node sekisho.NodeID) (*rsa.PublicKey, error) {
	n, err := f.Node(ctx, node)
	if err != nil {
		if sekisho.IsNotFound(err) {
			return nil, sekisho.Errorf(sekisho.CodeUnauthenticated, "The node %s is not registered.", node)
		}
		return nil, err
	}
	pub, err := x509.ParsePKIXPublicKey(n.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("stored key of %s: %w", node, err)
	}
	key, ok := pub.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("stored key of %s is not RSA", node)
	}
	return key, nil
}

// SetPublicKey replaces the key that proves the node's identity. The old key
// is refused from then on.
func (f *Fleet) SetPublicKey(ctx context.Context, node sekisho.NodeID, text, typ string) error {
	key, err := parsePublicKey(text, typ)
	if err != nil {
		return err
	}
	return f.update(ctx, node, func(n *sekisho.Node) error {
		n.PublicKey = key
		return nil
	})
}

// Deregister removes a node: its key and its credentials are refused from then
// on. Its record is kept for the history.
func (f *Fleet) Deregister(ctx context.Context, node sekisho.NodeID) error {
	err := f.update(ctx, node, func(n *sekisho.Node) error {
		n.DeregisteredAt = f.now()
		return nil
	})
	if err != nil {
		return err
	}
	return f.store.ForgetSightings(ctx, node, "")
}

// SetRole changes a node's role. Its agent switches to the new role without a
// restart.
func (f *Fleet) SetRole(ctx context.Context, node sekisho.NodeID, role string) error {
	changed := false
	err := f.update(ctx, node, func(n *sekisho.Node) error {
		changed = n.IAMRole != role
		n.IAMRole = role
		return nil
	})
	if err == nil && changed {
		f.role(node)
	}
	return err
}

// DefaultRoleChanged makes nodes without their own role fetch credentials of the new default role.
func (f *Fleet) DefaultRoleChanged(ctx context.Context) error {
	nodes, err := f.Nodes(ctx)
	for _, n := range nodes {
		if n.IAMRole == "" {
			f.role(n.ID)
		}
	}
	return err
}

// SetTags replaces a node's tags with the result of change.
func (f *Fleet) SetTags(
	ctx context.Context, node sekisho.NodeID, change func(tags map[string]string) (map[string]string, error),
) error {
	return f.update(ctx, node, func(n *sekisho.Node) (err error) {
		n.Tags, err = change(n.Tags)
		return err
	})
}

// Facts are what an agent reports about its machine. Empty fields change
// nothing, because the short form of the report lacks most of them.
type Facts struct {
	AgentName, AgentVersion, AgentStatus        string
	PlatformType, PlatformName, PlatformVersion string
	ComputerName, IPAddress, Architecture       string
	SourceIP                                    string // peer address, seen by the server
}

// maxFact bounds every field an agent reports.
const maxFact = 256

// Report stores what an agent reports about its machine.
func (f *Fleet) Report(ctx context.Context, node sekisho.NodeID, in Facts) error {
	// A report from another address than the open channel's may be from a copy of the node, so its
	// address does not change the node's.
	from := f.links.Source(node)
	if from == "" {
		from = in.SourceIP
	}
	moved := ""
	err := f.update(ctx, node, func(n *sekisho.Node) error {
		for _, x := range []struct {
			field *string
			value string
		}{
			{&n.AgentName, in.AgentName}, {&n.AgentVersion, in.AgentVersion}, {&n.AgentStatus, in.AgentStatus},
			{&n.PlatformType, in.PlatformType}, {&n.PlatformName, in.PlatformName}, {&n.PlatformVersion, in.PlatformVersion},
			{&n.ComputerName, in.ComputerName}, {&n.IPAddress, in.IPAddress}, {&n.Architecture, in.Architecture},
		} {
			if len(x.value) > maxFact {
				return sekisho.Errorf(
					sekisho.CodeInvalid,
					"A reported fact has %d bytes; the limit is %d.",
					len(x.value),
					maxFact,
				)
			}
			if v := safetext.Line(x.value, maxFact); v != "" {
				*x.field = v
			}
		}
		if in.ComputerName != "" {
			n.ComputerName = hostName(in.ComputerName)
		}
		moved = f.heard(n, from)
		return nil
	})
	f.noteMove(ctx, node, moved, from, err)
	if sekisho.CodeOf(err) == sekisho.CodeInvalid {
		f.Oversized(ctx, node, in.SourceIP, err.Error())
	}
	return err
}

// heard records a sign of life. It returns the previous address if that was
// another one.
func (f *Fleet) heard(n *sekisho.Node, sourceIP string) (moved string) {
	if n.LastSourceIP != sourceIP {
		moved = n.LastSourceIP
	}
	n.LastPingAt = f.now()
	n.LastSourceIP = sourceIP
	return moved
}

// noteMove records that a node's address changed.
func (f *Fleet) noteMove(ctx context.Context, node sekisho.NodeID, from, to string, err error) {
	if err == nil && from != "" && to != "" {
		f.note(ctx, Sighting{
			Kind: SeenAddressChanged, Node: node, SourceIP: to, Other: from,
			Detail: fmt.Sprintf("Its address changed from %s to %s.", from, to),
		})
	}
}

// Connected records that a node's control channel opened.
func (f *Fleet) Connected(ctx context.Context, node sekisho.NodeID, sourceIP string) error {
	moved := ""
	err := f.update(ctx, node, func(n *sekisho.Node) error {
		moved = f.heard(n, sourceIP)
		n.ConnectedAt, n.DisconnectReason = n.LastPingAt, ""
		return nil
	})
	f.noteMove(ctx, node, moved, sourceIP, err)
	return err
}

// Disconnected records that a node's control channel closed, and why.
func (f *Fleet) Disconnected(ctx context.Context, node sekisho.NodeID, reason string) error {
	return f.update(ctx, node, func(n *sekisho.Node) error {
		n.DisconnectedAt, n.DisconnectReason = f.now(), safetext.Line(reason, maxFact)
		n.ConnectedAt = time.Time{}
		return nil
	})
}

// Recover marks nodes that an earlier server process left connected as
// disconnected.
func (f *Fleet) Recover(ctx context.Context) error {
	return f.store.CloseConnections(ctx, f.now(), "the server stopped")
}

func (f *Fleet) update(ctx context.Context, node sekisho.NodeID, change func(n *sekisho.Node) error) error {
	err := f.store.UpdateNode(ctx, node, func(n *sekisho.Node) error {
		if !n.DeregisteredAt.IsZero() {
			return sekisho.Errorf(sekisho.CodeNotFound, "node %s was deregistered", node)
		}
		return change(n)
	})
	if err == nil {
		f.changed(node)
	}
	return err
}
