package session

import (
	"encoding/json"
	"os"
	"strconv"

	"sekisho"
	"sekisho/internal/agent/exec"
	"sekisho/internal/agent/reverse"
	"sekisho/internal/agent/runas"
	"sekisho/internal/agent/shell"
	"sekisho/internal/wire/mgs"
)

// Documents for which this agent has features beyond AWS's. The prefix is reserved.
const (
	documentExec = "Sekisho-Exec"
	documentCopy = "Sekisho-Copy"

	documentReverse = "Sekisho-StartReversePortForwardingSession"
)

// withOffer adds what the agent offers to the properties of a session.
func withOffer(properties json.RawMessage, offer string) json.RawMessage {
	var p map[string]json.RawMessage
	if json.Unmarshal(properties, &p) != nil || p == nil {
		return properties
	}
	p["sekisho"] = json.RawMessage(`["` + offer + `"]`)
	b, err := json.Marshal(p)
	if err != nil { // what was parsed can be written
		return properties
	}
	return b
}

// offers returns the properties of a session whose program runs as u: what the agent offers in it,
// and the OS user, which the server records and clients show.
func offers(u runas.User, abilities ...string) json.RawMessage {
	b, err := json.Marshal(mgs.SessionOffer{Sekisho: abilities, OSUser: u.Name})
	if err != nil {
		panic(err) // strings always marshal
	}
	return b
}

// prepareOwn prepares a command with input if the document is one of Sekisho's own. The handshake
// lists the features for the client.
func (s *Runner) prepareOwn(j *job, args []string) bool {
	var data mgs.PayloadType
	switch s.Task.DocumentName {
	case documentExec:
		j.properties = offers(j.user, mgs.AbilityStdin)
	case documentCopy:
		j.properties = offers(j.user, mgs.AbilityCopy)
		data = mgs.PayloadCopy
	default:
		return false
	}
	j.plugin = func(s *Runner, _ *client) (runner, error) {
		path, err := runas.Program(args[0])
		if err != nil {
			path = args[0] // the exit code will report that it is missing
		}
		if data == mgs.PayloadCopy {
			// This program itself, not another one with the same name.
			if path, err = self(); err != nil {
				return nil, err
			}
		}
		cmd := s.Users.Command(j.user, path, args, shell.Environment(s.id)...)
		return &exec.Program{Command: cmd, Data: data, Log: s.Log}, nil
	}
	return true
}

// prepareReverse prepares a listener on the node, if the document is the one for that.
func (s *Runner) prepareReverse(j *job, host, port string) (bool, error) {
	if s.Task.DocumentName != documentReverse {
		return false, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return true, sekisho.Errorf(sekisho.CodeInvalid, "%.40q is not a port number.", port)
	}
	listener := &reverse.Reverse{Host: host, Port: uint16(n), Log: s.Log}
	j.properties = json.RawMessage(`{"type":"LocalPortForwarding","sekisho":["reverse","` + mgs.AbilityReset + `"]}`)
	j.plugin = func(_ *Runner, c *client) (runner, error) {
		listener.SendResets = c.can(mgs.AbilityReset)
		return listener, nil
	}
	return true, listener.Check()
}

// self returns a path of this program that works even if its folder is inaccessible to the user who
// runs it.
func self() (string, error) {
	const link = "/proc/self/exe"
	if _, err := os.Stat(link); err == nil {
		return link, nil
	}
	return os.Executable()
}
