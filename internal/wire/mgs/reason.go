package mgs

// ReasonRoleChanged is the reason a server gives when it closes a control
// channel because the node was given another role. Sekisho's agent fetches new
// credentials then; AWS's agent just connects again, and fetches them when
// half the life of the old ones is over.
const ReasonRoleChanged = "the node was given another role"
