package event

import "time"

// AccessChange is a change of a request for just-in-time access.
type AccessChange struct {
	At           time.Time
	ID           string
	Status       string
	Requester    string // ARN
	Nodes        []string
	Reason       string
	Rule         string
	DecidedBy    string // ARN, of the last decision
	DecisionNote string
	ExpiresAt    time.Time
}

// AccessDetail is the detail of [AccessRequestChanged] and [BreakGlassUsed].
type AccessDetail struct {
	ID             string   `json:"access-request-id"`
	Status         string   `json:"status"`
	Principal      string   `json:"principal"` // ARN of the requester
	Machine                 // the first of the nodes
	Nodes          []string `json:"instance-ids"`
	Reason         string   `json:"reason"`
	Rule           string   `json:"rule,omitempty"`
	DecidedBy      string   `json:"decided-by,omitempty"`
	DecisionReason string   `json:"decision-reason,omitempty"`
	ExpiresAt      string   `json:"expires-at"`
}

// Access is the event of a changed access request.
func (o Origin) Access(in AccessChange) *Event { return o.access(AccessRequestChanged, in) }

// BreakGlass is the event of access without approval.
func (o Origin) BreakGlass(in AccessChange) *Event { return o.access(BreakGlassUsed, in) }

func (o Origin) access(t Type, in AccessChange) *Event {
	d := &AccessDetail{
		ID: in.ID, Status: in.Status, Principal: clip(in.Requester), Nodes: in.Nodes, Reason: clip(in.Reason), Rule: in.Rule,
		DecidedBy: clip(in.DecidedBy), DecisionReason: clip(in.DecisionNote), ExpiresAt: stamp(in.ExpiresAt),
	}
	if len(in.Nodes) > 0 {
		d.InstanceID = in.Nodes[0]
	}
	return o.event(t, sourceSession, in.At, in.ID, d, &d.Machine)
}
