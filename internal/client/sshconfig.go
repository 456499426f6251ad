package client

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"sekisho"
	"sekisho/internal/shellquote"
)

// documentSSH is the session document for connections to a node's SSH server.
const documentSSH = "AWS-StartSSHSession"

// SSHInput returns the input that starts the session of an SSH connection.
func SSHInput(target, port, reason string) (StartInput, error) {
	if !validPort(port, false) {
		return StartInput{}, sekisho.Errorf(sekisho.CodeInvalid, "%q is not a port number.", Printable(port))
	}
	return StartInput{
		Target:       target,
		Reason:       reason,
		DocumentName: documentSSH,
		Parameters:   map[string][]string{"portNumber": {port}},
	}, nil
}

// hostName matches names that ssh takes literally: no patterns, blanks or
// options.
var hostName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// SSHConfig writes an SSH configuration with a block for each node.
type SSHConfig struct {
	Program string // path of sekisho
	Profile string // in ~/.aws; may be empty
	Prefix  string // of each name; may be empty
	User    string // may be empty
}

// SkippedName is a name that the configuration does not contain, and why. Its
// node has a block under its ID, unless the ID itself is invalid.
type SkippedName struct{ NodeID, Name, Reason string }

// Reasons for skipping names.
const (
	notHostName  = "it is not a host name"
	likeID       = "it looks like a node ID"
	notUnique    = "another node has the same name"
	selfReported = "the machine itself reports it, and could impersonate another host: use --prefix, or name the node"
	invalidID    = "its ID is invalid"
)

// Write writes the configuration. ssh then reaches each node by its ID, and by
// the name that administrators gave it. A name that the machine reports is only
// used with a prefix, because otherwise a machine could take the place of any
// host, such as github.com. It returns the names that it skipped.
func (s SSHConfig) Write(w io.Writer, nodes []Node) ([]SkippedName, error) {
	command, err := s.proxyCommand()
	if err != nil {
		return nil, err
	}
	given, reported := make(map[string]int), make(map[string]int)
	for _, n := range nodes {
		for _, name := range distinct(n.GivenNames()) {
			given[name]++
		}
		reported[strings.ToLower(n.ComputerName)]++
	}
	var skipped []SkippedName
	for _, n := range nodes {
		if !nodeID.MatchString(n.InstanceID) {
			skipped = append(skipped, SkippedName{n.InstanceID, n.DisplayName(), invalidID})
			continue
		}
		name, isGiven := n.DisplayName(), len(n.GivenNames()) > 0
		lower := strings.ToLower(name) // ssh compares host names without case
		reason := ""
		switch {
		case name == "":
		case !hostName.MatchString(s.Prefix + name):
			reason = notHostName
		case idPrefix.MatchString(s.Prefix + name):
			reason = likeID
		case isGiven && given[lower] > 1, !isGiven && given[lower]+reported[lower] > 1:
			reason = notUnique
		case !isGiven && s.Prefix == "":
			reason = selfReported
		}
		hosts := n.InstanceID
		if reason != "" {
			skipped = append(skipped, SkippedName{n.InstanceID, name, reason})
		} else if name != "" {
			hosts = s.Prefix + name + " " + hosts
		}
		// Host keys are stored under the ID, so that renaming a node does not affect them.
		block := fmt.Sprintf(
			"Host %s\n    HostName %s\n    HostKeyAlias %s\n    CheckHostIP no\n",
			hosts,
			n.InstanceID,
			n.InstanceID,
		)
		if s.User != "" {
			block += "    User " + s.User + "\n"
		}
		if _, err := fmt.Fprintf(w, "%s    ProxyCommand %s\n\n", block, command); err != nil {
			return skipped, fmt.Errorf("write: %w", err)
		}
	}
	return skipped, nil
}

// distinct returns names in lower case, without duplicates.
func distinct(names []string) []string {
	var all []string
	for _, name := range names {
		if name = strings.ToLower(name); !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// proxyCommand checks the options and returns the value of ProxyCommand.
func (s *SSHConfig) proxyCommand() (string, error) {
	for _, value := range []string{s.Program, s.Profile, s.Prefix, s.User} {
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f || r == '"' }) {
			return "", sekisho.Errorf(
				sekisho.CodeInvalid,
				"%s contains characters that an SSH configuration cannot contain.",
				quoted(value),
			)
		}
	}
	if s.Prefix != "" && !hostName.MatchString(s.Prefix+"x") {
		return "", sekisho.Errorf(sekisho.CodeInvalid, "%s cannot be the beginning of a host name.", quoted(s.Prefix))
	}
	if s.User != "" && !hostName.MatchString(strings.TrimPrefix(s.User, "_")) {
		return "", sekisho.Errorf(sekisho.CodeInvalid, "%s is not a valid user name.", quoted(s.User))
	}
	words := []string{s.Program}
	if s.Profile != "" {
		words = append(words, "--profile", s.Profile)
	}
	// ssh replaces %h and %p. Any other % must be doubled.
	return strings.ReplaceAll(shellquote.Join(words), "%", "%%") + " ssh-proxy %h %p", nil
}
