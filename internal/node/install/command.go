package install

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"

	"sekisho"
)

// Agents that the installer can set up: Sekisho's own, or AWS's.
const (
	AgentSekisho = "sekisho"
	AgentAmazon  = "amazon"
)

// Order describes how to turn machines into nodes.
type Order struct {
	Host           string // host[:port] of the server, as machines reach it
	ActivationID   string
	ActivationCode string
	Agent          string // AgentSekisho if empty
	Package        string // of AWS's agent, for machines without it: path or https:// URL
	PackageSHA256  string
}

// Command is the command that turns a machine into a node, and the one that undoes it.
type Command struct {
	Line      string // one shell command line; contains the activation code
	UserData  string // the same for cloud-init
	Uninstall string // one shell command line
}

var (
	// plain matches text that needs no quotes anywhere.
	plain = regexp.MustCompile(`^[A-Za-z0-9+/=-]{1,250}$`)
	// packages matches valid paths and URLs of packages.
	packages = regexp.MustCompile(`^(https:/)?/[A-Za-z0-9._~%/:@=+,?&-]{1,1000}$`)
	sha256s  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// Check validates o, except for the activation.
func (o *Order) Check() error {
	switch {
	case !host.MatchString(o.Host):
		return sekisho.Errorf(sekisho.CodeInvalid, "%.100q is not of the form host[:port].", o.Host)
	case o.Agent != "" && o.Agent != AgentSekisho && o.Agent != AgentAmazon:
		return sekisho.Errorf(
			sekisho.CodeInvalid,
			"The agent must be %s or %s, not %.64q.",
			AgentSekisho,
			AgentAmazon,
			o.Agent,
		)
	case o.Agent != AgentAmazon && (o.Package != "" || o.PackageSHA256 != ""):
		return sekisho.Errorf(sekisho.CodeInvalid, "Package applies only to AWS's agent: this server offers its own.")
	case o.Package != "" && !packages.MatchString(o.Package):
		return sekisho.Errorf(
			sekisho.CodeInvalid,
			"The package %.200q is neither an absolute path nor an https:// URL.",
			o.Package,
		)
	case o.PackageSHA256 != "" && (o.Package == "" || !sha256s.MatchString(o.PackageSHA256)):
		return sekisho.Errorf(sekisho.CodeInvalid, "The package's SHA-256 must have 64 digits of 0-9 and a-f.")
	case strings.HasPrefix(o.Package, "https://") && o.PackageSHA256 == "":
		return sekisho.Errorf(sekisho.CodeInvalid, "A package that machines download requires its SHA-256.")
	}
	return nil
}

// Command returns the command for o. Secrets go through a pipe and never appear as a process
// argument, because echo is a shell builtin.
func (h *Handler) Command(o Order) (Command, error) {
	if err := o.Check(); err != nil {
		return Command{}, err
	}
	// They become part of a script that root runs.
	if !plain.MatchString(o.ActivationID) || !plain.MatchString(o.ActivationCode) {
		return Command{}, sekisho.Errorf(
			sekisho.CodeInternal,
			"the activation's ID or code contains invalid characters",
		)
	}
	kind := ""
	if o.Agent == AgentAmazon {
		kind = "echo SEKISHO_AGENT=amazon; "
	}
	given := fmt.Sprintf(
		"echo SEKISHO_ACTIVATION_ID=%s; echo SEKISHO_ACTIVATION_CODE=%s; ",
		o.ActivationID,
		o.ActivationCode,
	) + kind
	if o.Package != "" {
		// Quoted twice: for the shell that runs echo, and for the one that reads the output.
		given += `echo "SEKISHO_AGENT_PACKAGE='` + o.Package + `'"; `
	}
	if o.PackageSHA256 != "" {
		given += "echo SEKISHO_AGENT_SHA256=" + o.PackageSHA256 + "; "
	}
	line := h.piped(o.Host, given, "sudo sh")
	root := h.piped(o.Host, given, "sh")
	return Command{
		Line: line, Uninstall: h.piped(o.Host, kind, "sudo sh -s -- --uninstall"),
		UserData: "#cloud-config\nruncmd:\n  - ['sh', '-c', '" + strings.ReplaceAll(root, "'", "''") + "']\n",
	}, nil
}

// curl downloads only over TLS, including redirects.
const curl = "curl --proto '=https' --tlsv1.2 -fsSL"

// piped returns a command that downloads the script and pipes given and the script to a shell.
func (h *Handler) piped(at, given, shell string) string {
	address := "'https://" + at + Prefix + "agent.sh'"
	if h.cfg.CA == "" {
		return "{ " + given + curl + " " + address + "; } | " + shell
	}
	return "ca=$(mktemp) && echo " + base64.StdEncoding.EncodeToString(
		[]byte(h.cfg.CA),
	) + ` | base64 -d > "$ca" && { ` + given +
		curl + ` --cacert "$ca" ` + address + "; } | " + shell
}
