package client

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	"sekisho"
	"sekisho/internal/shellquote"
)

// documentSSH is the session document for connections to a node's SSH server.
const documentSSH = "AWS-StartSSHSession"

// SSHInput returns what starts the session of an SSH connection.
func SSHInput(target, port, reason string) (StartInput, error) {
	if !validPort(port, false) {
		return StartInput{}, sekisho.Errorf(sekisho.CodeInvalid, "%q is not a port number.", Printable(port))
	}
	return StartInput{Target: target, Reason: reason, DocumentName: documentSSH, Parameters: map[string][]string{"portNumber": {port}}}, nil
}

// hostName is what may stand in an SSH configuration without meaning anything
// else there: no pattern, no blank, no option.
var hostName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// SSHConfig describes a block of an SSH configuration for each node.
type SSHConfig struct {
	Program string // path of sekisho
	Profile string // of ~/.aws; may be empty
	Prefix  string // before each name
	User    string // may be empty
}

// Write writes the configuration of nodes. It returns those it leaves out,
// whose names would mean something else to ssh or to the shell.
func (s SSHConfig) Write(w io.Writer, nodes []Node) (refused []Node, err error) {
	proxy := []string{shellquote.Quote(s.Program)}
	for _, value := range []string{s.Program, s.Profile, s.Prefix, s.User} {
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f || r == '"' }) {
			return nil, sekisho.Errorf(sekisho.CodeInvalid, "%s cannot stand in an SSH configuration.", quoted(value))
		}
	}
	if s.Prefix != "" && !hostName.MatchString(s.Prefix+"x") {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "The prefix %s is none of a host name.", quoted(s.Prefix))
	}
	if s.User != "" && !hostName.MatchString(strings.TrimPrefix(s.User, "_")) {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "%s is no user name.", quoted(s.User))
	}
	if s.Profile != "" {
		proxy = append(proxy, "--profile", shellquote.Quote(s.Profile))
	}
	// ssh replaces %h and %p, and would replace every other % as well.
	command := strings.ReplaceAll(strings.Join(proxy, " "), "%", "%%") + " ssh-proxy %h %p"
	seen := make(map[string]int)
	for _, n := range nodes {
		seen[sshName(n)]++
	}
	for _, n := range nodes {
		name := sshName(n)
		if !nodeID.MatchString(n.InstanceID) || name != "" && !hostName.MatchString(s.Prefix+name) {
			refused = append(refused, n)
			continue
		}
		names := n.InstanceID
		if name != "" && seen[name] == 1 {
			names = s.Prefix + name + " " + names
		}
		fmt.Fprintf(w, "Host %s\n    HostName %s\n    HostKeyAlias %s\n", names, n.InstanceID, n.InstanceID)
		if s.User != "" {
			fmt.Fprintf(w, "    User %s\n", s.User)
		}
		if _, err := fmt.Fprintf(w, "    ProxyCommand %s\n\n", command); err != nil {
			return refused, fmt.Errorf("write: %w", err)
		}
	}
	return refused, nil
}

func sshName(n Node) string { return first(n.Name, n.ComputerName) }
