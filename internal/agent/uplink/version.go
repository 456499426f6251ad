package uplink

// Version is the agent's version as it reports it. AWS's plugin compares the
// version in the handshake, part by part, with those of AWS's agent that
// learned multiplexing and to do without its keep-alive; ours has both, so
// its version is above all of them.
const Version = "4.0.0.0"

// Name is the agent's name in UpdateInstanceInformation.
const Name = "sekisho-agent"
