package sekisho

import "time"

// NodeID names a managed node: "mi-" or "i-" and 17 hexadecimal digits.
type NodeID string

// PingStatus is a node's health as SSM reports it.
type PingStatus string

// Values of PingStatus, as in DescribeInstanceInformation.
const (
	PingOnline         PingStatus = "Online"
	PingConnectionLost PingStatus = "ConnectionLost"
	PingInactive       PingStatus = "Inactive"
)

// Node is a machine with a registered agent.
type Node struct {
	ID           NodeID
	Name         string // DefaultInstanceName of the activation; may be empty
	ActivationID string
	IAMRole      string // the role whose credentials the node receives: name or path/name
	RegisteredAt time.Time

	// PublicKey is the DER SubjectPublicKeyInfo of the node's RSA key; the
	// node proves itself with the private half.
	PublicKey   []byte
	Fingerprint string // the agent's own UUID for this hardware

	// Facts of the last UpdateInstanceInformation.
	AgentName       string
	AgentVersion    string
	AgentStatus     string
	PlatformType    string // Linux, Windows or MacOS
	PlatformName    string
	PlatformVersion string
	Architecture    string // x86_64 or arm64; our agent reports it
	ComputerName    string
	IPAddress       string // as the agent reports it

	// Presence, updated when a control channel opens or closes and on health pings.
	LastPingAt       time.Time // last authenticated message from the agent, over any channel
	LastSourceIP     string    // source address of that message
	ConnectedAt      time.Time // when the open control channel was opened; zero if none is open
	DisconnectedAt   time.Time // when the last control channel closed
	DisconnectReason string

	DeregisteredAt time.Time // zero while the node is managed

	Tags map[string]string

	Profile *NodeProfile // the instance profile that supplies the role; nil if none is associated
}

// NodeProfile is the association of an instance profile with a node.
type NodeProfile struct {
	Association string // iip-assoc-…
	ID          string // of the profile
	ARN         string
	Role        string // path/name of the profile's role when it was associated
	RoleBefore  string // the node's role before that
	Since       time.Time
}

// NodeKind says what kind of resource a node is in policies and listings.
type NodeKind string

// Values of NodeKind.
const (
	NodeManaged  NodeKind = ""         // mi-…: arn:aws:ssm:REGION:ACCOUNT:managed-instance/…
	NodeInstance NodeKind = "instance" // i-…: arn:aws:ec2:REGION:ACCOUNT:instance/…
)

// Activation is a permission to register machines.
type Activation struct {
	ID                  string // lower-case UUID
	CodeHash            []byte // SHA-256 of the activation code; the code itself is shown once
	Description         string
	DefaultInstanceName string
	IAMRole             string
	RegistrationLimit   int // 1 to 1000
	RegistrationCount   int
	ExpiresAt           time.Time
	CreatedAt           time.Time
	CreatedBy           string // ARN
	Tags                map[string]string

	NodeKind NodeKind // of the machines that register with it
	NodeID   NodeID   // the ID that the one machine gets; empty for a new ID
}
