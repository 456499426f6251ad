package fleet

import (
	"context"
	"crypto/subtle"
	"fmt"
	"slices"
	"time"

	"sekisho"
	"sekisho/internal/safetext"
	"sekisho/internal/wire/id"
)

// SightingKind is the kind of a [Sighting].
type SightingKind string

// Values of SightingKind: refused registrations and calls, and changes that an administrator should
// know about.
const (
	// Registrations that were refused.
	SeenWrongActivation   SightingKind = "ActivationWrong"
	SeenExpiredActivation SightingKind = "ActivationExpired"
	SeenUsedUpActivation  SightingKind = "ActivationUsedUp"
	SeenThrottled         SightingKind = "RegistrationThrottled"
	SeenBadRegistration   SightingKind = "RegistrationInvalid"

	// Calls of nodes that were refused.
	SeenUnknownNode     SightingKind = "NodeUnknown"        // the ID is not registered, or was deregistered
	SeenClockSkew       SightingKind = "ClockSkewed"        // the signature's time is too far off
	SeenBadCredentials  SightingKind = "CredentialsRefused" // not signed with the node's key or credentials
	SeenFalseClaim      SightingKind = "ClaimsOtherNode"    // valid credentials, but of another node
	SeenNewFingerprint  SightingKind = "IdentityChanged"    // the node's key, another machine's fingerprint
	SeenTwice           SightingKind = "IdentityTwice"      // two agents at once
	SeenElsewhere       SightingKind = "CredentialsElsewhere"
	SeenAddressChanged  SightingKind = "AddressChanged"
	SeenOversizedReport SightingKind = "ReportRefused"
	SeenNoRole          SightingKind = "RoleMissing" // it has no role
)

// Sighting is an observation about a machine, made once or many times.
type Sighting struct {
	Key         string // sightings with the same key are counted as one
	Kind        SightingKind
	Node        sekisho.NodeID // a registered or deregistered node; "" for other machines
	SourceIP    string         // of the last observation
	Other       string         // the other address: that of the first of two agents, or the previous one
	Fingerprint string         // SeenNewFingerprint: the fingerprint that was presented
	Detail      string         // text for administrators
	FirstAt     time.Time
	LastAt      time.Time
	Count       int
}

// SightingStore keeps sightings. It is bounded: each node has one sighting per
// kind, and only the newest sightings without a node are kept.
type SightingStore interface {
	// NoteSighting adds s, or adds it to the count of the sighting with the
	// same key, keeping its FirstAt. It returns when that one was last seen,
	// or the zero time for a new one. Of the sightings without a node, it
	// keeps the newest most.
	NoteSighting(ctx context.Context, s *Sighting, most int) (before time.Time, err error)
	// Sightings returns the sightings of node, newest first.
	Sightings(ctx context.Context, node sekisho.NodeID) ([]*Sighting, error)
	// Strays returns the sightings without a node and those of the kind
	// [SeenUnknownNode], newest first.
	Strays(ctx context.Context) ([]*Sighting, error)
	// SightingsOf returns the sightings of some nodes, newest first.
	SightingsOf(ctx context.Context, nodes []sekisho.NodeID) ([]*Sighting, error)
	// ForgetSightings removes the sightings of a node, or those of one kind
	// unless kind is empty.
	ForgetSightings(ctx context.Context, node sekisho.NodeID, kind SightingKind) error
}

const (
	maxStrays       = 500
	maxDeregistered = 200
	maxDetail       = 300
)

// reportEvery is how often a continuing condition is reported.
const reportEvery = time.Hour

// alarming reports whether a sighting of this kind raises an alarm.
func alarming(k SightingKind) bool {
	return slices.Contains([]SightingKind{SeenTwice, SeenElsewhere, SeenNewFingerprint, SeenFalseClaim}, k)
}

// note stores a sighting and reports it. Errors are logged: a call must not
// fail because its sighting could not be stored.
func (f *Fleet) note(ctx context.Context, s Sighting) {
	ctx = context.WithoutCancel(ctx) // hanging up must not hide a caller
	s.LastAt = f.now()
	s.FirstAt, s.Count = s.LastAt, 1
	s.Detail, s.Fingerprint = safetext.Line(s.Detail, maxDetail), safetext.Line(s.Fingerprint, maxFingerprint)
	// The key of an unregistered machine contains nothing that it chose itself. Otherwise it could
	// fill the list and displace all other machines.
	s.Key = string(s.Kind) + " " + source(s.SourceIP).String()
	if s.Node != "" {
		s.Key = string(s.Kind) + " " + string(s.Node)
	}
	before, err := f.store.NoteSighting(ctx, &s, maxStrays)
	if err != nil {
		f.log.Error("could not store a sighting", "kind", s.Kind, "node", s.Node, "source_ip", s.SourceIP, "error", err)
		return
	}
	if alarming(s.Kind) && s.LastAt.Sub(before) >= reportEvery {
		f.log.Warn(
			"a node's identity is in doubt",
			"kind",
			s.Kind,
			"node",
			s.Node,
			"source_ip",
			s.SourceIP,
			"detail",
			s.Detail,
		)
		f.alarm(ctx, s)
	}
	if f.newsworthy(s, before) {
		f.seen(ctx, s)
	}
	if s.Node != "" {
		f.changed(s.Node)
	}
}

// newsworthy reports whether s should be reported. before is when it was last
// seen. Reports about unregistered machines are bounded by the limiter's table.
func (f *Fleet) newsworthy(s Sighting, before time.Time) bool {
	switch {
	case s.Kind == SeenAddressChanged:
		return f.moves.Allow(string(s.Node) + " " + s.Other + " " + s.SourceIP)
	case s.Kind.Registration():
		return f.refused.Allow(s.Key)
	}
	return alarming(s.Kind) && s.LastAt.Sub(before) >= reportEvery
}

// Registration reports whether k is a refused registration.
func (k SightingKind) Registration() bool {
	return slices.Contains([]SightingKind{
		SeenWrongActivation, SeenExpiredActivation, SeenUsedUpActivation, SeenThrottled, SeenBadRegistration,
	}, k)
}

// noteRegistration records a refused registration.
func (f *Fleet) noteRegistration(ctx context.Context, in Registration, err error) {
	kind := SeenBadRegistration
	switch sekisho.CodeOf(err) {
	case sekisho.CodeUnauthenticated:
		kind = SeenWrongActivation
	case sekisho.CodeExpired:
		kind = SeenExpiredActivation
	case sekisho.CodeLimit:
		kind = SeenUsedUpActivation
	case sekisho.CodeThrottled:
		kind = SeenThrottled
	case sekisho.CodeInvalid:
	default:
		return // an internal error says nothing about the machine
	}
	f.note(ctx, Sighting{Kind: kind, SourceIP: in.SourceIP, Detail: err.Error()})
}

// Refused records that a call in the name of node was refused, and why. The caller might not be the
// node, because its identity was not proved.
func (f *Fleet) Refused(ctx context.Context, node sekisho.NodeID, sourceIP string, kind SightingKind, why string) {
	s := Sighting{Kind: kind, SourceIP: sourceIP, Detail: why}
	if id.ValidNode(string(node)) {
		switch n, err := f.store.Node(ctx, node); {
		case err == nil && n.DeregisteredAt.IsZero():
			s.Node = node
		case err == nil:
			s.Node, s.Kind = node, SeenUnknownNode
			s.Detail = "An agent is still running with the identity of this deregistered node."
		default:
			s.Kind, s.Detail = SeenUnknownNode, fmt.Sprintf("It claims to be %s, which is not registered.", node)
		}
	}
	f.note(ctx, s)
}

// NoRole records that node has no role whose credentials it could get.
func (f *Fleet) NoRole(ctx context.Context, node sekisho.NodeID, sourceIP, why string) {
	f.note(ctx, Sighting{Kind: SeenNoRole, Node: node, SourceIP: sourceIP, Detail: why})
}

// FalseClaim records a refused call that was signed with the credentials of
// node and claimed to be another node.
func (f *Fleet) FalseClaim(ctx context.Context, node, claimed sekisho.NodeID, sourceIP string) {
	f.note(ctx, Sighting{
		Kind: SeenFalseClaim, Node: node, SourceIP: sourceIP,
		Detail: fmt.Sprintf("A caller at %s with the credentials of %s claimed to be %s and was refused. "+
			"Agents never do that: inspect the machine.", sourceIP, node, claimed),
	})
}

// Called checks where a call with the credentials of node came from. If the
// node's agent is connected from another address, the credentials may be
// stolen. The call is reported and not refused, because some networks have
// several outbound addresses.
func (f *Fleet) Called(ctx context.Context, node sekisho.NodeID, sourceIP string) {
	from := f.links.Source(node)
	if from == "" || from == sourceIP || !f.elsewhere.Allow(string(node)+" "+sourceIP) {
		return
	}
	if !f.links.Alive(ctx, node) {
		return // the node moved, and its old channel has not timed out yet
	}
	f.note(ctx, Sighting{
		Kind: SeenElsewhere, Node: node, SourceIP: sourceIP, Other: from,
		Detail: fmt.Sprintf("Credentials of %s were used from %s while its agent was connected from %s. "+
			"If the machine has only one outbound address, they were stolen or the machine was copied: deregister it.",
			node, sourceIP, from),
	})
}

// Oversized records that a report of a node exceeded a limit. detail says
// which.
func (f *Fleet) Oversized(ctx context.Context, node sekisho.NodeID, sourceIP, detail string) {
	f.note(ctx, Sighting{Kind: SeenOversizedReport, Node: node, SourceIP: sourceIP, Detail: detail})
}

// Doubled records that a second agent with the identity of node called from
// the address second and was refused, while the first agent was connected from
// first and answered.
func (f *Fleet) Doubled(ctx context.Context, node sekisho.NodeID, first, second string) {
	f.note(ctx, Sighting{
		Kind: SeenTwice, Node: node, SourceIP: second, Other: first,
		Detail: fmt.Sprintf("Two agents have the identity of %s: one is connected from %s, one from %s was refused. "+
			"One is a copy of the other: register the copy as a separate node.", node, first, second),
	})
}

// CheckFingerprint compares the fingerprint that a machine with the key of n
// presents with the registered one. A different one must be approved: see
// [Fleet.ApproveIdentity].
func (f *Fleet) CheckFingerprint(ctx context.Context, n *sekisho.Node, presented, sourceIP string) error {
	if subtle.ConstantTimeCompare([]byte(n.Fingerprint), []byte(presented)) == 1 {
		return nil
	}
	err := sekisho.Errorf(sekisho.CodeDenied,
		"The machine's fingerprint differs from the registered one of %s: this is another machine, or its hardware changed.",
		n.ID).
		WithHint("An administrator can approve it (sekisho approve-identity), or register this machine again.")
	f.note(ctx, Sighting{
		Kind: SeenNewFingerprint, Node: n.ID, SourceIP: sourceIP, Other: n.LastSourceIP, Fingerprint: presented,
		Detail: fmt.Sprintf("A machine at %s has the key of %s but a different fingerprint: "+
			"its hardware changed, or its disk was copied.", sourceIP, n.ID),
	})
	return err
}

// ApproveIdentity replaces the registered fingerprint of node: the machine that
// presented the new one is the node from then on, and the previous machine is
// refused. The fingerprint must be the one seen last.
func (f *Fleet) ApproveIdentity(ctx context.Context, node sekisho.NodeID, fingerprint string) error {
	seen, err := f.store.Sightings(ctx, node)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(seen, func(s *Sighting) bool { return s.Kind == SeenNewFingerprint })
	if i < 0 {
		return sekisho.Errorf(sekisho.CodeNotFound, "No changed identity of %s is waiting for approval.", node)
	}
	if fingerprint == "" || seen[i].Fingerprint != fingerprint {
		return sekisho.Errorf(sekisho.CodeConflict, "The fingerprint to approve is not the one that %s presented last.",
			node).
			WithHint("Check it again. The last one was presented at %s from %s.", seen[i].LastAt.UTC().Format(time.RFC3339),
				seen[i].SourceIP)
	}
	err = f.update(ctx, node, func(n *sekisho.Node) error {
		n.Fingerprint = fingerprint
		return nil
	})
	if err != nil {
		return err
	}
	return f.store.ForgetSightings(ctx, node, SeenNewFingerprint)
}

// Strays returns the sightings of machines that are not managed, newest first.
func (f *Fleet) Strays(ctx context.Context) ([]*Sighting, error) {
	return f.store.Strays(ctx)
}

// Deregistered returns deregistered nodes, last deregistered first.
func (f *Fleet) Deregistered(ctx context.Context) ([]*sekisho.Node, error) {
	return f.store.DeregisteredNodes(ctx, maxDeregistered)
}
