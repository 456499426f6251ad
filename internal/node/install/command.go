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

// Order says how machines are to become nodes.
type Order struct {
	Host           string // host[:port] of the server, as machines reach it
	ActivationID   string
	ActivationCode string
	Agent          string // AgentSekisho when empty
	Package        string // of AWS's agent, where it is not installed: path or https:// address
	PackageSHA256  string
}

// Command is how a machine becomes a node, and how it is undone.
type Command struct {
	Line      string // one line for a shell; holds the activation code
	UserData  string // the same for cloud-init
	Uninstall string // one line for a shell
}

var (
	// plain is what needs no quotes anywhere.
	plain = regexp.MustCompile(`^[A-Za-z0-9+/=-]{1,250}$`)
	// packages are the paths and addresses that a package may have.
	packages = regexp.MustCompile(`^(https:/)?/[A-Za-z0-9._~%/:@=+,?&-]{1,1000}$`)
	sha256s  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// Check says what is wrong with o, the activation aside.
func (o *Order) Check() error {
	switch {
	case !host.MatchString(o.Host):
		return sekisho.Errorf(sekisho.CodeInvalid, "%.100q is no host[:port].", o.Host)
	case o.Agent != "" && o.Agent != AgentSekisho && o.Agent != AgentAmazon:
		return sekisho.Errorf(
			sekisho.CodeInvalid,
			"The agent is %s or %s, not %.64q.",
			AgentSekisho,
			AgentAmazon,
			o.Agent,
		)
	case o.Agent != AgentAmazon && (o.Package != "" || o.PackageSHA256 != ""):
		return sekisho.Errorf(sekisho.CodeInvalid, "A package is for AWS's agent: this server offers its own.")
	case o.Package != "" && !packages.MatchString(o.Package):
		return sekisho.Errorf(
			sekisho.CodeInvalid,
			"The package %.200q is no absolute path and no https:// address.",
			o.Package,
		)
	case o.PackageSHA256 != "" && (o.Package == "" || !sha256s.MatchString(o.PackageSHA256)):
		return sekisho.Errorf(sekisho.CodeInvalid, "The package's SHA-256 is 64 digits of 0-9 and a-f.")
	case strings.HasPrefix(o.Package, "https://") && o.PackageSHA256 == "":
		return sekisho.Errorf(sekisho.CodeInvalid, "A package that machines fetch needs its SHA-256.")
	}
	return nil
}

// Command words o. What is secret goes through a pipe and is nobody's
// argument: echo is a part of the shell.
func (h *Handler) Command(o Order) (Command, error) {
	if err := o.Check(); err != nil {
		return Command{}, err
	}
	// They become a part of a script that root runs.
	if !plain.MatchString(o.ActivationID) || !plain.MatchString(o.ActivationCode) {
		return Command{}, sekisho.Errorf(
			sekisho.CodeInternal,
			"the activation has characters that activations do not have",
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
		// Twice quoted: for the shell that echoes, and for the one that reads.
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

// curl fetches over TLS only, redirects included.
const curl = "curl --proto '=https' --tlsv1.2 -fsSL"

// piped fetches the script and gives it to a shell, after what is given.
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
