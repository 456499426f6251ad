package mgs

// ReasonRoleChanged is the reason a server gives when it closes a control channel because
// the node's role has changed. Sekisho's agent then fetches new credentials. AWS's agent
// only reconnects, and fetches new credentials after half the lifetime of the old ones.
//
// It is part of the protocol: agents in the field compare it, so it must not change.
const ReasonRoleChanged = "the node was given another role"

// SessionTerminated is the message of the error that answers an agent's request for a
// channel of a session that has ended. AWS's agent stops retrying only when it reads
// exactly this text.
const SessionTerminated = "Session is already terminated"
