package sekishoapi

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/wire/awsproto"
)

// Installer builds the commands that install agents.
type Installer interface {
	// Offered returns the SHA-256 of the server's agents, by architecture.
	Offered(ctx context.Context) (map[string]string, error)
	// Check refuses an invalid installation.
	Check(o Installation) error
	// Command returns the command for an installation.
	Command(o Installation) (InstallCommand, error)
}

// Installation describes how to turn machines into nodes.
type Installation struct {
	Host                 string // host[:port] of the server, as the machines reach it
	ActivationID         string
	ActivationCode       string
	Agent                string // "sekisho" or "amazon"
	Package, PackageHash string // of AWS's agent, for machines without it
}

// InstallCommand is the command that turns a machine into a node, and the one that undoes it.
type InstallCommand struct {
	Line, UserData, Uninstall string
}

type installCommandRequest struct {
	IamRole             string // the role of Quick Setup if empty
	DefaultInstanceName string
	RegistrationLimit   *int64
	ExpirationDate      awsproto.Epoch
	Tags                []chosenTag
	NodeIDType          string `json:"NodeIdType"` // managed-instance or instance
	Agent               string
	Architecture        string // of the machines; may be empty
	PackageURL          string `json:"PackageUrl"` // or path
	PackageSha256       string
	Host                string // address at which machines reach the server; the one that the caller used if empty
}

type offeredAgent struct {
	Architecture string
	Sha256       string `json:",omitempty"`
	Available    bool
}

type installCommandAnswer struct {
	ActivationID      string `json:"ActivationId"`
	ExpirationDate    awsproto.Epoch
	RegistrationLimit int64
	Command           string // contains the activation code, a secret
	UserData          string // contains the activation code too
	UninstallCommand  string
	Agents            []offeredAgent
	// Warnings are reasons why the command may not work, with their remedies.
	Warnings []string `json:",omitempty"`
}

// installArchitectures are the architectures of the agents that a server can offer.
var installArchitectures = []string{"amd64", "arm64"}

// activationLife is the default lifetime of an activation.
const activationLife = 24 * time.Hour

// createInstallCommand creates an activation, and returns the command that turns a machine into a
// node with it.
func (d *door) createInstallCommand(
	ctx context.Context,
	c *api.Call,
	in *installCommandRequest,
) (*installCommandAnswer, error) {
	tags := map[string]string{}
	for _, t := range in.Tags {
		tags[t.Key] = t.Value
	}
	// A caller who cannot create activations learns nothing else either.
	if err := c.Authorize(ctx, "ssm:CreateActivation", "*", authz.RequestTags(tags)...); err != nil {
		return nil, err
	}
	if d.Installer == nil {
		return nil, root.Errorf(root.CodeNotImplemented, "This server offers no agents for download.")
	}
	order, agents, err := d.order(ctx, c, in)
	if err != nil {
		return nil, err
	}
	type metadata struct{ Key, Value string }
	request := struct {
		IamRole              string
		Description          string
		DefaultInstanceName  string `json:",omitempty"`
		RegistrationLimit    int64
		ExpirationDate       awsproto.Epoch
		Tags                 []chosenTag `json:",omitempty"`
		RegistrationMetadata []metadata  `json:",omitempty"`
	}{
		IamRole: in.IamRole, Description: "Created by Quick Setup", DefaultInstanceName: in.DefaultInstanceName,
		RegistrationLimit: 1, ExpirationDate: in.ExpirationDate, Tags: in.Tags,
	}
	if request.IamRole == "" {
		request.IamRole = instanceRole
	}
	if in.RegistrationLimit != nil {
		request.RegistrationLimit = *in.RegistrationLimit
	}
	if request.ExpirationDate.IsZero() {
		request.ExpirationDate = awsproto.NewEpoch(time.Now().Add(activationLife))
	}
	if in.NodeIDType == "instance" {
		request.RegistrationMetadata = []metadata{{"sekisho:NodeIdType", "instance"}}
	}
	var made struct {
		ActivationID   string `json:"ActivationId"`
		ActivationCode string
	}
	if err := c.Do(ctx, "ssm", "CreateActivation", request, &made); err != nil {
		return nil, err
	}
	order.ActivationID, order.ActivationCode = made.ActivationID, made.ActivationCode
	command, err := d.Installer.Command(order)
	if err != nil {
		return nil, err
	}
	c.Annotate(map[string]any{"activationId": made.ActivationID})
	return &installCommandAnswer{
		ActivationID: made.ActivationID, ExpirationDate: request.ExpirationDate, RegistrationLimit: request.RegistrationLimit,
		Command: command.Line, UserData: command.UserData, UninstallCommand: command.Uninstall, Agents: agents,
		Warnings: addressWarnings(order.Host),
	}, nil
}

// addressWarnings warns of an address at which other machines cannot reach this server.
func addressWarnings(hostport string) []string {
	name := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		name = h
	}
	name = strings.ToLower(strings.Trim(name, "[]"))
	ip, err := netip.ParseAddr(name)
	if name != "localhost" && !strings.HasSuffix(name, ".localhost") &&
		(err != nil || !ip.Unmap().IsLoopback() && !ip.IsUnspecified()) {
		return nil
	}
	return []string{
		hostport + " is a loopback address: a machine that runs the command would look for the server on itself. " +
			"Unless it is this machine, repeat the request with the server's name in your network (--host NAME, or the " +
			"member Host). The server's " +
			"certificate must have that name.",
	}
}

// order checks the parts of a request that do not depend on the activation, before anything is
// created.
func (d *door) order(
	ctx context.Context,
	c *api.Call,
	in *installCommandRequest,
) (o Installation, agents []offeredAgent, err error) {
	if in.Agent == "" {
		in.Agent = "sekisho"
	}
	var v awsproto.Constraints
	v.Enum("agent", in.Agent, "sekisho", "amazon")
	if in.NodeIDType != "" {
		v.Enum("nodeIdType", in.NodeIDType, "managed-instance", "instance")
	}
	if in.Architecture != "" {
		v.Enum("architecture", in.Architecture, installArchitectures...)
	}
	if err := v.Err(); err != nil {
		return o, nil, err
	}
	o = Installation{Host: in.Host, Agent: in.Agent, Package: in.PackageURL, PackageHash: in.PackageSha256}
	if o.Host == "" {
		o.Host = c.Host
	}
	if err := d.Installer.Check(o); err != nil {
		return o, nil, err
	}
	if agents, err = d.offered(ctx); err != nil || in.Agent != "sekisho" {
		return o, agents, err
	}
	var missing []string
	for _, a := range agents {
		if !a.Available && (in.Architecture == "" || in.Architecture == a.Architecture) {
			missing = append(missing, "sekisho-agent-linux-"+a.Architecture)
		}
	}
	if len(missing) > 0 && (in.Architecture != "" || len(missing) == len(agents)) {
		return o, nil, root.Errorf(
			root.CodeInvalid,
			"This server does not offer %s: put it in the directory agents_dir, by default the directory of sekishod.",
			strings.Join(missing, " and "),
		)
	}
	return o, agents, nil
}

func (d *door) offered(ctx context.Context) ([]offeredAgent, error) {
	sums, err := d.Installer.Offered(ctx)
	if err != nil {
		return nil, err
	}
	var agents []offeredAgent
	for _, arch := range installArchitectures {
		agents = append(agents, offeredAgent{arch, sums[arch], sums[arch] != ""})
	}
	return agents, nil
}
