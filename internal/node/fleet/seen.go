package fleet

import (
	"context"
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"sekisho"
	"sekisho/internal/wire/id"
)

// SightingKind says what was seen.
type SightingKind string

// What machines are seen to do that they should not, or that somebody should
// know of.
const (
	// Registrations that were refused.
	SeenWrongActivation   SightingKind = "ActivationWrong"
	SeenExpiredActivation SightingKind = "ActivationExpired"
	SeenUsedUpActivation  SightingKind = "ActivationUsedUp"
	SeenThrottled         SightingKind = "RegistrationThrottled"
	SeenBadRegistration   SightingKind = "RegistrationInvalid"

	// Calls of nodes that were refused.
	SeenUnknownNode     SightingKind = "NodeUnknown"        // of an ID that is not registered, or no longer
	SeenClockSkew       SightingKind = "ClockSkewed"        // signed at another time than now
	SeenBadCredentials  SightingKind = "CredentialsRefused" // not signed with the node's key or credentials
	SeenFalseClaim      SightingKind = "ClaimsOtherNode"    // good credentials, of another node
	SeenNewFingerprint  SightingKind = "IdentityChanged"    // the node's key on another machine
	SeenTwice           SightingKind = "IdentityTwice"      // two agents at once
	SeenElsewhere       SightingKind = "CredentialsElsewhere"
	SeenAddressChanged  SightingKind = "AddressChanged"
	SeenOversizedReport SightingKind = "ReportRefused"
)

// Sighting is something that was seen of a machine, once or many times.
type Sighting struct {
	Key         string // what makes two sightings one
	Kind        SightingKind
	Node        sekisho.NodeID // registered here, or was; empty when it never was
	SourceIP    string         // where it came from the last time
	Other       string         // the other address: of the first of two, of before a change
	Fingerprint string         // SeenNewFingerprint: the one that was shown
	Detail      string         // in words
	FirstAt     time.Time
	LastAt      time.Time
	Count       int
}

// SightingStore keeps what was seen. It is bounded: of sightings without a
// node the newest are kept, and each node has one of a kind.
type SightingStore interface {
	// NoteSighting adds s, or counts it to the one of the same key, whose
	// FirstAt stays. It returns when that one was last seen, and the zero
	// time for a new one. Of those without a node the most newest stay.
	NoteSighting(ctx context.Context, s *Sighting, most int) (before time.Time, err error)
	// Sightings returns all, the newest first; those of one node if node is
	// not empty.
	Sightings(ctx context.Context, node sekisho.NodeID) ([]*Sighting, error)
	// ForgetSightings removes those of a node; of one kind if kind is not
	// empty.
	ForgetSightings(ctx context.Context, node sekisho.NodeID, kind SightingKind) error
	// DeregisteredNodes returns the nodes deregistered last, at most so many.
	DeregisteredNodes(ctx context.Context, most int) ([]*sekisho.Node, error)
}

// Bounds of what is kept.
const (
	maxStrays       = 500
	maxDeregistered = 200
	maxDetail       = 300
)

// alarmEvery is how often one thing that goes on is reported anew.
const alarmEvery = time.Hour

// alarming are the sightings that somebody should be told of.
func alarming(k SightingKind) bool {
	return slices.Contains([]SightingKind{SeenTwice, SeenElsewhere, SeenNewFingerprint, SeenFalseClaim}, k)
}

// note keeps a sighting. What is seen is never a reason for a call to fail in
// another way than it does: an error goes to the log.
func (f *Fleet) note(ctx context.Context, s Sighting) {
	// Whoever hangs up is seen all the same.
	ctx = context.WithoutCancel(ctx)
	s.LastAt = f.now()
	s.FirstAt, s.Count = s.LastAt, 1
	s.Detail, s.Fingerprint = clip(printable(s.Detail), maxDetail), clip(printable(s.Fingerprint), maxFingerprint)
	// What a stranger says of itself must not make keys, or it could push
	// everybody else out of the list.
	s.Key = string(s.Kind) + " " + source(s.SourceIP).String()
	if s.Node != "" {
		s.Key = string(s.Kind) + " " + string(s.Node)
	}
	before, err := f.store.NoteSighting(ctx, &s, maxStrays)
	if err != nil {
		f.log.Error("a sighting was not kept", "kind", s.Kind, "node", s.Node, "source_ip", s.SourceIP, "error", err)
		return
	}
	if alarming(s.Kind) && s.LastAt.Sub(before) >= alarmEvery {
		f.log.Warn("a node's identity is in doubt", "kind", s.Kind, "node", s.Node, "source_ip", s.SourceIP, "detail", s.Detail)
		f.alarm(ctx, s)
	}
	if f.newsworthy(s, before) {
		f.seen(ctx, s)
	}
	if s.Node != "" {
		f.changed(s.Node)
	}
}

// newsworthy reports whether somebody should hear of s, which was seen before
// at a time. Strangers cannot make more news than is remembered of them.
func (f *Fleet) newsworthy(s Sighting, before time.Time) bool {
	switch {
	case s.Kind == SeenAddressChanged:
		return f.moves.first(string(s.Node)+" "+s.Other+" "+s.SourceIP, s.LastAt)
	case s.Kind.Registration():
		return f.strangers.first(s.Key, s.LastAt)
	}
	return alarming(s.Kind) && s.LastAt.Sub(before) >= alarmEvery
}

// Registration reports whether k is a registration that was refused.
func (k SightingKind) Registration() bool {
	return slices.Contains([]SightingKind{SeenWrongActivation, SeenExpiredActivation, SeenUsedUpActivation, SeenThrottled, SeenBadRegistration}, k)
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	s = s[:most]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}

// noteRegistration keeps a registration that was refused.
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
		return // the server's own trouble
	}
	f.note(ctx, Sighting{Kind: kind, SourceIP: in.SourceIP, Detail: err.Error()})
}

// Refused keeps that a call which claimed to be node's was refused before
// anything was done: why is what it was told. Whether the claim was true is
// not known.
func (f *Fleet) Refused(ctx context.Context, node sekisho.NodeID, sourceIP string, kind SightingKind, why string) {
	s := Sighting{Kind: kind, SourceIP: sourceIP, Detail: why}
	if id.ValidNode(string(node)) {
		switch n, err := f.store.Node(ctx, node); {
		case err == nil && n.DeregisteredAt.IsZero():
			s.Node = node
		case err == nil:
			s.Node, s.Kind, s.Detail = node, SeenUnknownNode, "The agent still runs, with the identity of a node that was deregistered."
		default:
			s.Kind, s.Detail = SeenUnknownNode, fmt.Sprintf("It says it is %s, which is not registered here.", node)
		}
	}
	f.note(ctx, s)
}

// FalseClaim keeps that somebody with the credentials of node said to be
// another. It was refused.
func (f *Fleet) FalseClaim(ctx context.Context, node, claimed sekisho.NodeID, sourceIP string) {
	f.note(ctx, Sighting{
		Kind: SeenFalseClaim, Node: node, SourceIP: sourceIP,
		Detail: fmt.Sprintf("With the credentials of %s somebody at %s said to be %s, and was refused. No agent does that by itself: look at the machine.", node, sourceIP, claimed),
	})
}

// Called looks at where a call with node's credentials came from. While the
// node's agent is connected from one address and its credentials are used from
// another, they may have been stolen: that is reported, and not refused, for
// there are networks with several ways out.
func (f *Fleet) Called(ctx context.Context, node sekisho.NodeID, sourceIP string) {
	from := f.links.Source(node)
	if from == "" || from == sourceIP || !f.elsewhere.first(string(node)+" "+sourceIP, f.now()) {
		return
	}
	if !f.links.Alive(ctx, node) {
		return // it has moved; the old channel is not yet known to be dead
	}
	f.note(ctx, Sighting{
		Kind: SeenElsewhere, Node: node, SourceIP: sourceIP, Other: from,
		Detail: fmt.Sprintf("Credentials of %s were used from %s while its agent was connected from %s. If the machine has no second way out, they were stolen or the machine was copied: deregister it.", node, sourceIP, from),
	})
}

// Oversized keeps that a node reported more than is taken: detail says of
// what.
func (f *Fleet) Oversized(ctx context.Context, node sekisho.NodeID, sourceIP, detail string) {
	f.note(ctx, Sighting{Kind: SeenOversizedReport, Node: node, SourceIP: sourceIP, Detail: detail})
}

// Doubled keeps that a second agent with node's identity came from second
// while the first, from first, was connected and answered. The second was
// refused.
func (f *Fleet) Doubled(ctx context.Context, node sekisho.NodeID, first, second string) {
	f.note(ctx, Sighting{
		Kind: SeenTwice, Node: node, SourceIP: second, Other: first,
		Detail: fmt.Sprintf("Two agents have the identity of %s: one connected from %s, and one from %s that was refused. One was copied from the other: register that machine anew.", node, first, second),
	})
}

// CheckFingerprint compares the fingerprint that a machine shows, which has
// node's key, with the one that registered. Another one waits to be approved.
func (f *Fleet) CheckFingerprint(ctx context.Context, n *sekisho.Node, shown, sourceIP string) error {
	if subtle.ConstantTimeCompare([]byte(n.Fingerprint), []byte(shown)) == 1 {
		return nil
	}
	err := sekisho.Errorf(sekisho.CodeDenied, "The machine's fingerprint is not the one that registered as %s: this is another machine, or its hardware changed.", n.ID).
		WithHint("An administrator may approve it (sekisho approve-identity), or register this machine anew.")
	f.note(ctx, Sighting{
		Kind: SeenNewFingerprint, Node: n.ID, SourceIP: sourceIP, Other: n.LastSourceIP, Fingerprint: shown,
		Detail: fmt.Sprintf("A machine at %s has the key of %s but another fingerprint than the one that registered: its hardware changed, or its disk was copied.", sourceIP, n.ID),
	})
	return err
}

// ApproveIdentity makes a changed fingerprint the node's own: the machine that
// shows it is the node from now on, and the one before is not. The fingerprint
// must be the one that was seen last.
func (f *Fleet) ApproveIdentity(ctx context.Context, node sekisho.NodeID, fingerprint string) error {
	seen, err := f.store.Sightings(ctx, node)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(seen, func(s *Sighting) bool { return s.Kind == SeenNewFingerprint })
	if i < 0 {
		return sekisho.Errorf(sekisho.CodeNotFound, "No changed identity of %s waits to be approved.", node)
	}
	if fingerprint == "" || seen[i].Fingerprint != fingerprint {
		return sekisho.Errorf(sekisho.CodeConflict, "The fingerprint that %s shows now is not the one to approve.", node).
			WithHint("Look at it again: it was last seen at %s from %s.", seen[i].LastAt.UTC().Format(time.RFC3339), seen[i].SourceIP)
	}
	if err := f.update(ctx, node, func(n *sekisho.Node) error { n.Fingerprint = fingerprint; return nil }); err != nil {
		return err
	}
	return f.store.ForgetSightings(ctx, node, SeenNewFingerprint)
}

// Strays returns what was seen of machines that are not managed, the newest
// first.
func (f *Fleet) Strays(ctx context.Context) ([]*Sighting, error) {
	all, err := f.store.Sightings(ctx, "")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(s *Sighting) bool { return s.Node != "" && s.Kind != SeenUnknownNode }), nil
}

// Deregistered returns the nodes that were deregistered last.
func (f *Fleet) Deregistered(ctx context.Context) ([]*sekisho.Node, error) {
	return f.store.DeregisteredNodes(ctx, maxDeregistered)
}

// State is how a node stands, in a word.
type State string

// The states of a node.
const (
	StateConnected       State = "Connected"
	StateChannelDown     State = "ChannelDown" // its agent is up, without a message channel
	StateNeverConnected  State = "NeverConnected"
	StateLost            State = "Lost"
	StateClockSkewed     State = "ClockSkewed"
	StateRefused         State = "CredentialsRefused"
	StateIdentityChanged State = "IdentityChanged"
	StateDeregistered    State = "Deregistered"
)

// Standing is how a node stands.
type Standing struct {
	State State
	Why   string      // why no session can be started on it; empty while it is connected
	Notes []*Sighting // what else is known, the newest first
}

// Standings returns a function that tells how each node stands now.
func (f *Fleet) Standings(ctx context.Context) (func(n *sekisho.Node) Standing, error) {
	all, err := f.store.Sightings(ctx, "")
	if err != nil {
		return nil, err
	}
	by := map[sekisho.NodeID][]*Sighting{}
	for _, s := range all {
		by[s.Node] = append(by[s.Node], s)
	}
	return func(n *sekisho.Node) Standing { return f.standing(n, by[n.ID]) }, nil
}

// standing is how n stands when this was seen of it.
func (f *Fleet) standing(n *sekisho.Node, seen []*Sighting) Standing {
	st := Standing{State: f.state(n), Why: f.WhyNot(n), Notes: seen}
	if st.State == StateConnected || st.State == StateDeregistered {
		return st
	}
	for _, s := range seen {
		state, ok := map[SightingKind]State{
			SeenClockSkew: StateClockSkewed, SeenBadCredentials: StateRefused, SeenNewFingerprint: StateIdentityChanged,
		}[s.Kind]
		// What it was refused for before it was heard again is over.
		if !ok || !s.LastAt.After(n.LastPingAt) {
			continue
		}
		st.State = state
		st.Why = strings.TrimSpace(fmt.Sprintf("%s (last at %s from %s) %s", s.Detail, s.LastAt.UTC().Format(time.RFC3339), s.SourceIP, advice[state]))
		break
	}
	return st
}

// advice is what can be done about a state.
var advice = map[State]string{
	StateClockSkewed:     "Set the machine's clock.",
	StateRefused:         "If this is the node, register it anew; if it is not, somebody tries to be it.",
	StateIdentityChanged: "Approve the change if you know of it, or register the machine anew.",
}

func (f *Fleet) state(n *sekisho.Node) State {
	switch {
	case !n.DeregisteredAt.IsZero():
		return StateDeregistered
	case f.links.Connected(n.ID):
		return StateConnected
	case n.ConnectedAt.IsZero() && n.DisconnectedAt.IsZero():
		return StateNeverConnected
	case n.LastPingAt.After(n.DisconnectedAt) && f.now().Sub(n.LastPingAt) <= lostAfter:
		return StateChannelDown
	}
	return StateLost
}
