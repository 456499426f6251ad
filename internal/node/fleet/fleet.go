// Package fleet knows the managed nodes: the activations that let machines
// in, their registration, the facts they report, and whether and why each of
// them can or cannot be reached. A node once registered is never forgotten
// until somebody deregisters it.
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
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sekisho"
	"sekisho/internal/wire/id"
)

// Store keeps nodes and activations.
type Store interface {
	CreateActivation(ctx context.Context, a *sekisho.Activation) error
	Activation(ctx context.Context, id string) (*sekisho.Activation, error)
	// Activations returns all of them, newest first.
	Activations(ctx context.Context) ([]*sekisho.Activation, error)
	DeleteActivation(ctx context.Context, id string) error

	// RegisterNode stores n and counts it against its activation, both or
	// neither. A full activation is CodeLimit, one that is gone CodeNotFound.
	RegisterNode(ctx context.Context, n *sekisho.Node) error
	Node(ctx context.Context, id sekisho.NodeID) (*sekisho.Node, error)
	// Nodes returns every node that is not deregistered, by ID.
	Nodes(ctx context.Context) ([]*sekisho.Node, error)
	// UpdateNode reads the node, lets change alter it, and stores it, as one
	// step. An error of change is returned and nothing is stored.
	UpdateNode(ctx context.Context, id sekisho.NodeID, change func(n *sekisho.Node) error) error
	// CloseConnections marks every node that was connected as disconnected.
	CloseConnections(ctx context.Context, at time.Time, reason string) error

	SightingStore
}

// Links tells whether a node's control channel is open, anywhere in the
// cluster.
type Links interface {
	Connected(node sekisho.NodeID) bool
	// Source is the address that node's channel comes from, empty when it is
	// not open.
	Source(node sekisho.NodeID) string
	// Alive asks the node's agent for a sign of life, and waits a moment for
	// it.
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
	guesses guesses

	elsewhere once // whose credentials were looked at, and from where
	moves     once // of whom it was told that it moved, and from where to where
	strangers once // of whose registrations it was told that they were refused
}

// Config is what a Fleet needs.
type Config struct {
	Store   Store
	Links   Links
	Now     func() time.Time        // nil = time.Now
	Changed func(id sekisho.NodeID) // called after a node's state changed; may be nil
	// Alarm is told when the identity of a node is in doubt; may be nil.
	Alarm func(ctx context.Context, s Sighting)
	// Seen is told of registrations that were refused, of addresses that
	// changed, and of all that Alarm is told of, of what goes on once an hour.
	// It must not wait; may be nil.
	Seen func(ctx context.Context, s Sighting)
	// RoleChanged is told when a node was given another role; may be nil.
	RoleChanged func(id sekisho.NodeID)
	Log         *slog.Logger // nil = none
}

// New returns a Fleet.
func New(cfg Config) *Fleet {
	f := &Fleet{store: cfg.Store, links: cfg.Links, now: cfg.Now, changed: cfg.Changed, alarm: cfg.Alarm, seen: cfg.Seen, role: cfg.RoleChanged, log: cfg.Log}
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
	return f
}

// lostAfter is how long a node may be silent before its ping status becomes
// ConnectionLost: agents speak every 5 minutes, and miss one at most.
const lostAfter = 11 * time.Minute

// The bounds of an activation, as AWS has them.
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

// CreateActivation makes a permission to register machines and returns it
// with its code, which is not kept and cannot be shown again.
func (f *Fleet) CreateActivation(ctx context.Context, in NewActivation) (*sekisho.Activation, string, error) {
	now := f.now()
	if in.RegistrationLimit == 0 {
		in.RegistrationLimit = 1
	}
	if in.RegistrationLimit < 1 || in.RegistrationLimit > maxRegistrations {
		return nil, "", sekisho.Errorf(sekisho.CodeInvalid, "RegistrationLimit must be between 1 and %d.", maxRegistrations)
	}
	if in.ExpiresAt.IsZero() {
		in.ExpiresAt = now.Add(defaultActivation)
	}
	if !in.ExpiresAt.After(now) || in.ExpiresAt.After(now.Add(maxActivation)) {
		return nil, "", sekisho.Errorf(sekisho.CodeInvalid, "ExpirationDate must lie in the next 30 days.")
	}
	for field, v := range map[string]string{"Description": in.Description, "DefaultInstanceName": in.DefaultInstanceName} {
		if utf8.RuneCountInString(v) > maxDescription {
			return nil, "", sekisho.Errorf(sekisho.CodeInvalid, "%s must have at most %d characters.", field, maxDescription)
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

// Activations returns all activations, newest first.
func (f *Fleet) Activations(ctx context.Context) ([]*sekisho.Activation, error) {
	return f.store.Activations(ctx)
}

// DeleteActivation ends a permission to register. Machines that registered
// with it stay.
func (f *Fleet) DeleteActivation(ctx context.Context, id string) error {
	return f.store.DeleteActivation(ctx, id)
}

// Registration is what a new agent sends.
type Registration struct {
	ActivationID, ActivationCode string
	PublicKey                    string // base64 of the DER SubjectPublicKeyInfo
	PublicKeyType                string // Rsa
	Fingerprint                  string
	SourceIP                     string
}

// Register admits a machine: the activation must exist, its code match, and
// both its time and its number of registrations be left. Whoever guesses
// learns nothing about which activations exist. A machine that is refused is
// kept among the strays.
func (f *Fleet) Register(ctx context.Context, in Registration) (*sekisho.Node, error) {
	n, err := f.register(ctx, in)
	if err != nil {
		f.noteRegistration(ctx, in, err)
	}
	return n, err
}

func (f *Fleet) register(ctx context.Context, in Registration) (*sekisho.Node, error) {
	from := source(in.SourceIP)
	if !f.guesses.take(from, f.now()) {
		return nil, sekisho.Errorf(sekisho.CodeThrottled, "Too many attempts to register came from %s.", in.SourceIP).
			WithHint("Wait a minute, and check the activation ID and code.")
	}
	wrong := sekisho.Errorf(sekisho.CodeUnauthenticated, "The activation ID and code do not match an activation.").
		WithHint("Check both, or make a new activation.")
	a, err := f.store.Activation(ctx, in.ActivationID)
	if err != nil && !sekisho.IsNotFound(err) {
		return nil, err
	}
	var want []byte
	if a != nil {
		want = a.CodeHash
	} else {
		want = hash("") // as much work as for an activation that exists
	}
	if subtle.ConstantTimeCompare(want, hash(in.ActivationCode)) != 1 || a == nil {
		return nil, wrong
	}
	f.guesses.forgive(from)
	now := f.now()
	if !now.Before(a.ExpiresAt) {
		return nil, sekisho.Errorf(sekisho.CodeExpired, "The activation expired at %s.", a.ExpiresAt.UTC().Format(time.RFC3339)).
			WithHint("Make a new activation.")
	}
	key, err := parsePublicKey(in.PublicKey, in.PublicKeyType)
	if err != nil {
		return nil, err
	}
	if n := len(in.Fingerprint); n == 0 || n > maxFingerprint {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "Fingerprint must have 1 to %d bytes.", maxFingerprint)
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
		return sekisho.Errorf(sekisho.CodeInvalid, "The node's public key was not accepted: %s.", why)
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
func (f *Fleet) Node(ctx context.Context, id sekisho.NodeID) (*sekisho.Node, error) {
	n, err := f.store.Node(ctx, id)
	if err != nil {
		return nil, err
	}
	if !n.DeregisteredAt.IsZero() {
		return nil, sekisho.Errorf(sekisho.CodeNotFound, "node %s was deregistered at %s", id, n.DeregisteredAt.Format(time.RFC3339))
	}
	return n, nil
}

// NodePublicKey returns the key that proves node's identity.
func (f *Fleet) NodePublicKey(ctx context.Context, node sekisho.NodeID) (*rsa.PublicKey, error) {
	n, err := f.Node(ctx, node)
	if err != nil {
		if sekisho.IsNotFound(err) {
			return nil, sekisho.Errorf(sekisho.CodeUnauthenticated, "The node %s is not registered here.", node)
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

// SetPublicKey replaces the key that proves node's identity. The old one is
// worth nothing from then on.
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

// Nodes returns every managed node, by ID.
func (f *Fleet) Nodes(ctx context.Context) ([]*sekisho.Node, error) { return f.store.Nodes(ctx) }

// Deregister removes a node: its key and its credentials are refused from now
// on. Its record stays for the history.
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

// SetRole gives a node another role. Its agent takes it over without a
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

// DefaultRoleChanged tells the nodes without a role of their own that the one
// they have in its place is another.
func (f *Fleet) DefaultRoleChanged(ctx context.Context) error {
	nodes, err := f.store.Nodes(ctx)
	for _, n := range nodes {
		if n.IAMRole == "" {
			f.role(n.ID)
		}
	}
	return err
}

// SetTags changes a node's tags: change is given them and returns the new
// ones.
func (f *Fleet) SetTags(ctx context.Context, node sekisho.NodeID, change func(tags map[string]string) (map[string]string, error)) error {
	return f.update(ctx, node, func(n *sekisho.Node) (err error) {
		n.Tags, err = change(n.Tags)
		return err
	})
}

// Facts is what an agent reports about its machine. Empty fields change
// nothing: the short form of the report lacks most of them.
type Facts struct {
	AgentName, AgentVersion, AgentStatus        string
	PlatformType, PlatformName, PlatformVersion string
	ComputerName, IPAddress                     string
	SourceIP                                    string // TCP peer; a fact of the server's
}

// maxFact bounds every field an agent reports.
const maxFact = 256

// Report stores what an agent says about its machine.
func (f *Fleet) Report(ctx context.Context, node sekisho.NodeID, in Facts) error {
	moved := ""
	err := f.update(ctx, node, func(n *sekisho.Node) error {
		for _, x := range []struct {
			field *string
			value string
		}{
			{&n.AgentName, in.AgentName}, {&n.AgentVersion, in.AgentVersion}, {&n.AgentStatus, in.AgentStatus},
			{&n.PlatformType, in.PlatformType}, {&n.PlatformName, in.PlatformName}, {&n.PlatformVersion, in.PlatformVersion},
			{&n.ComputerName, in.ComputerName}, {&n.IPAddress, in.IPAddress},
		} {
			if len(x.value) > maxFact {
				return sekisho.Errorf(sekisho.CodeInvalid, "A reported fact is longer than %d bytes.", maxFact)
			}
			if v := printable(x.value); v != "" {
				*x.field = v
			}
		}
		moved = f.heard(n, in.SourceIP)
		return nil
	})
	f.noteMove(ctx, node, moved, in.SourceIP, err)
	if sekisho.CodeOf(err) == sekisho.CodeInvalid {
		f.Oversized(ctx, node, in.SourceIP, err.Error())
	}
	return err
}

// printable is s without what a terminal would obey: texts of nodes are shown
// to administrators.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != utf8.RuneError {
			return r
		}
		return -1
	}, s)
}

// heard notes a sign of life, and returns the address of the one before if
// that was another.
func (f *Fleet) heard(n *sekisho.Node, sourceIP string) (moved string) {
	if n.LastSourceIP != sourceIP {
		moved = n.LastSourceIP
	}
	n.LastPingAt = f.now()
	n.LastSourceIP = sourceIP
	return moved
}

// noteMove keeps that a node has another address than before.
func (f *Fleet) noteMove(ctx context.Context, node sekisho.NodeID, from, to string, err error) {
	if err == nil && from != "" && to != "" {
		f.note(ctx, Sighting{Kind: SeenAddressChanged, Node: node, SourceIP: to, Other: from, Detail: fmt.Sprintf("Its address changed from %s to %s.", from, to)})
	}
}

// Connected notes that a node's control channel opened.
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

// Disconnected notes that a node's control channel closed, and why.
func (f *Fleet) Disconnected(ctx context.Context, node sekisho.NodeID, reason string) error {
	return f.update(ctx, node, func(n *sekisho.Node) error {
		n.DisconnectedAt, n.DisconnectReason = f.now(), printable(reason)
		n.ConnectedAt = time.Time{}
		return nil
	})
}

// Recover marks what an earlier server process left connected.
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

// IsConnected reports whether a session could be started on node now.
func (f *Fleet) IsConnected(node sekisho.NodeID) bool { return f.links.Connected(node) }

// PingStatus is n's health as DescribeInstanceInformation shows it.
func (f *Fleet) PingStatus(n *sekisho.Node) sekisho.PingStatus {
	switch {
	case f.links.Connected(n.ID):
		return sekisho.PingOnline
	case n.LastPingAt.IsZero():
		return sekisho.PingInactive
	case f.now().Sub(n.LastPingAt) > lostAfter:
		return sekisho.PingConnectionLost
	}
	return sekisho.PingOnline
}

// WhyNotConnected says in one or two sentences why target cannot be reached:
// it never registered, was last heard from at some time, or is alive without
// a message channel. It is empty for a node that is connected.
func (f *Fleet) WhyNotConnected(ctx context.Context, target string) (string, error) {
	if !id.ValidNode(target) {
		return "It is not a node ID (mi- or i- and 17 hexadecimal digits).", nil
	}
	n, err := f.store.Node(ctx, sekisho.NodeID(target))
	if sekisho.IsNotFound(err) {
		return "No node of this ID ever registered with this server. Make an activation and register the machine, or check the ID.", nil
	}
	if err != nil {
		return "", err
	}
	seen, err := f.store.Sightings(ctx, n.ID)
	if err != nil {
		return "", err
	}
	return f.standing(n, seen).Why, nil
}

// WhyNot is [Fleet.WhyNotConnected] by what the node's record says alone.
func (f *Fleet) WhyNot(n *sekisho.Node) string {
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	reason := n.DisconnectReason
	if reason == "" {
		reason = "the channel was closed"
	}
	switch {
	case f.links.Connected(n.ID):
		return ""
	case !n.DeregisteredAt.IsZero():
		return fmt.Sprintf("The node was deregistered at %s. Register the machine again to use it.", stamp(n.DeregisteredAt))
	case n.ConnectedAt.IsZero() && n.DisconnectedAt.IsZero():
		return fmt.Sprintf("The node registered at %s from %s but its agent never opened its message channel. Check on the machine that the agent runs (sekisho-agent doctor).",
			stamp(n.RegisteredAt), n.LastSourceIP)
	case n.LastPingAt.After(n.DisconnectedAt) && f.now().Sub(n.LastPingAt) <= lostAfter:
		return fmt.Sprintf("Its agent is up (last heard %s from %s) but its message channel is down since %s: %s. It reconnects by itself; if it does not, look for a proxy that blocks WebSockets.",
			stamp(n.LastPingAt), n.LastSourceIP, stamp(n.DisconnectedAt), reason)
	}
	return fmt.Sprintf("The node is registered but was last heard at %s from %s: %s. Check that the machine is running, that its agent runs, and that it can reach this server.",
		stamp(n.LastPingAt), n.LastSourceIP, reason)
}
