package ssm

import (
	"context"
	"time"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/node/fleet"
	"sekisho/internal/wire/awsproto"
)

func (d agentDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"RegisterManagedInstance": api.Write(d.registerManagedInstance, api.By(api.Anonymous),
			api.NoPolicy("the activation code is the permission"),
			api.BusyCode("TooManyUpdates")), // the only error after which AWS's agent retries
		"RequestManagedInstanceRoleToken": api.Issue(d.requestManagedInstanceRoleToken, api.By(api.NodeKey),
			api.NoPolicy("the node's key is the permission; its role was fixed by the activation")),
		"UpdateManagedInstancePublicKey": api.Write(d.updateManagedInstancePublicKey, api.By(api.NodeKey),
			api.NoPolicy("the node's key is the permission to replace it")),
		"UpdateInstanceInformation": api.Write(d.updateInstanceInformation),
	}
}

type registerRequest struct {
	ActivationCode string
	ActivationID   string `json:"ActivationId"`
	Fingerprint    string
	PublicKey      string
	PublicKeyType  string
}

type registerAnswer struct {
	InstanceID string `json:"InstanceId"`
}

func (d agentDoor) registerManagedInstance(
	ctx context.Context, c *api.Call, in *registerRequest,
) (*registerAnswer, error) {
	var v awsproto.Constraints
	v.Hide("activationCode")
	v.Length("activationCode", in.ActivationCode, 20, 250)
	v.Length("activationId", in.ActivationID, 36, 36)
	if err := v.Err(); err != nil {
		return nil, err
	}
	registration := fleet.Registration{
		ActivationID: in.ActivationID, ActivationCode: in.ActivationCode, PublicKey: in.PublicKey,
		PublicKeyType: in.PublicKeyType, Fingerprint: in.Fingerprint, SourceIP: c.SourceIP.String(),
	}
	// Before the queue: one source that guesses must not take the places of machines that register.
	if err := d.Fleet.CheckRegistration(ctx, registration); err != nil {
		return nil, err
	}
	if err := d.Registrations.Enter(ctx); err != nil {
		return nil, err
	}
	n, err := d.Fleet.Register(ctx, registration)
	switch sekisho.CodeOf(err) {
	case "":
	case sekisho.CodeUnauthenticated:
		return nil, awsproto.SenderError("InvalidActivation", "%s", err)
	case sekisho.CodeExpired, sekisho.CodeLimit:
		return nil, awsproto.SenderError("ActivationExpired", "%s", err)
	default:
		return nil, err
	}
	c.Annotate(map[string]any{"instanceId": string(n.ID)})
	return &registerAnswer{string(n.ID)}, nil
}

type roleTokenRequest struct {
	Fingerprint string
	// ForPrograms requests credentials that the agent can give to programs on its node: they cannot
	// be used as the agent. AWS's shape lacks it.
	ForPrograms bool
}

// roleTokenAnswer has no optional fields: AWS's agent reads all of them.
type roleTokenAnswer struct {
	AccessKeyID         string `json:"AccessKeyId"`
	SecretAccessKey     string
	SessionToken        string
	TokenExpirationDate awsproto.Epoch
	UpdateKeyPair       bool
	ForPrograms         bool `json:",omitempty"` // repeats the request's value
}

// roleTokenTTL is the lifetime of a node's credentials; agents renew them after half of it.
const roleTokenTTL = time.Hour

func (d agentDoor) requestManagedInstanceRoleToken(
	ctx context.Context,
	c *api.Call,
	in *roleTokenRequest,
) (*roleTokenAnswer, error) {
	if err := d.Renewals.Enter(ctx); err != nil {
		return nil, err
	}
	n, err := d.Fleet.Node(ctx, c.Principal.Node)
	if err != nil {
		return nil, err
	}
	if err := d.Fleet.CheckFingerprint(ctx, n, in.Fingerprint, c.SourceIP.String()); err != nil {
		return nil, awsproto.SenderError("MachineFingerprintDoesNotMatch", "%s", err)
	}
	role, err := d.settings.roleOf(ctx, n, c.SourceIP.String())
	if err != nil {
		return nil, err
	}
	creds, err := d.Roles.IssueNodeCredentials(ctx, n.ID, role, in.ForPrograms, roleTokenTTL)
	if sekisho.IsNotFound(err) {
		d.Fleet.NoRole(ctx, n.ID, c.SourceIP.String(), "The node's role "+role+" does not exist.")
	}
	if err != nil {
		return nil, err
	}
	return &roleTokenAnswer{
		AccessKeyID: creds.AccessKeyID, SecretAccessKey: creds.SecretAccessKey, SessionToken: creds.SessionToken,
		TokenExpirationDate: awsproto.NewEpoch(creds.Expiration), ForPrograms: in.ForPrograms,
	}, nil
}

type updateInstanceInformationRequest struct {
	InstanceID      string `json:"InstanceId"`
	AgentName       string
	AgentVersion    string
	AgentStatus     string
	PlatformType    string
	PlatformName    string
	PlatformVersion string
	ComputerName    string
	IPAddress       string
	Architecture    string // from Sekisho's agent; AWS's does not report it
}

func (d agentDoor) updateInstanceInformation(
	ctx context.Context,
	c *api.Call,
	in *updateInstanceInformationRequest,
) (*struct{}, error) {
	if err := d.nodes.asNode(ctx, c, in.InstanceID); err != nil {
		return nil, err
	}
	err := d.Fleet.Report(ctx, c.Principal.Node, fleet.Facts{
		AgentName: in.AgentName, AgentVersion: in.AgentVersion, AgentStatus: in.AgentStatus, PlatformType: in.PlatformType,
		PlatformName: in.PlatformName, PlatformVersion: in.PlatformVersion, ComputerName: in.ComputerName,
		IPAddress: in.IPAddress, Architecture: in.Architecture, SourceIP: c.SourceIP.String(),
	})
	return &struct{}{}, err
}

// updateManagedInstancePublicKey changes the key that a node proves itself
// with. The request is signed with the old one.
func (d agentDoor) updateManagedInstancePublicKey(
	ctx context.Context,
	c *api.Call,
	in *publicKeyRequest,
) (*struct{}, error) {
	return &struct{}{}, d.Fleet.SetPublicKey(ctx, c.Principal.Node, in.NewPublicKey, in.NewPublicKeyType)
}
