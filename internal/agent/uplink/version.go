package uplink

// Version is the version that the agent reports. AWS's plugin compares the version in the handshake
// with the versions of AWS's agent that introduced multiplexing and dropped its keep-alive. Our
// agent does both, so its version is higher.
const Version = "4.0.0.0"

// Name is the agent's name in UpdateInstanceInformation.
const Name = "sekisho-agent"
