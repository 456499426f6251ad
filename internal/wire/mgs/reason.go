package mgs

// ReasonRoleChanged is the reason a server gives when it closes a control
// channel because the node was given another role. Sekisho's agent fetches new
// credentials then; AWS's agent just connects again, and fetches them when
// half the life of the old ones is over.
//
// It is part of the protocol: agents in the field compare it, so it must not change.
const ReasonRoleChanged = "the node was given another role"

// SessionTerminated is the message of the error that answers an agent's
// request for a channel of a session that has ended. AWS's agent stops trying
// when it reads exactly these words.
const SessionTerminated = "Session is already terminated"
