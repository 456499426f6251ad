package event

import "time"

// IntegrityFinding is a place where recordings, ledger, sessions or audit trail differ from what
// the server wrote.
type IntegrityFinding struct {
	At       time.Time
	Kind     string // missing, altered, swapped, truncated, rolled back, inserted, unsigned
	Where    string // recording, ledger, session or audit
	Subject  string // a session, or the number of a record or line
	Problem  string
	Problems int // of the whole check
}

// IntegrityDetail is the detail of [IntegrityProblem].
type IntegrityDetail struct {
	Kind     string `json:"kind"`
	Where    string `json:"where"`
	Subject  string `json:"subject"`
	Problem  string `json:"problem"`
	Problems int    `json:"problems"`
}

// Integrity is the event of a finding of a data check.
func (o Origin) Integrity(in IntegrityFinding) *Event {
	d := &IntegrityDetail{
		Kind:     in.Kind,
		Where:    in.Where,
		Subject:  clip(in.Subject),
		Problem:  clip(in.Problem),
		Problems: in.Problems,
	}
	return o.event(IntegrityProblem, sourceServer, in.At, "", d, &Machine{})
}
