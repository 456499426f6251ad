package session

import (
	"encoding/json"
	"os"

	"sekisho/internal/agent/exec"
	"sekisho/internal/agent/runas"
	"sekisho/internal/agent/shell"
	"sekisho/internal/mgs"
)

// The documents for which this agent does more than AWS's. Nobody else's may
// begin like this.
const (
	documentExec = "Sekisho-Exec"
	documentCopy = "Sekisho-Copy"
)

// prepareOwn prepares a command that has input, if the document is one of
// Sekisho's own. The client is told what it is offered.
func (s *Session) prepareOwn(j *job, args []string) bool {
	var data mgs.PayloadType
	switch s.Task.DocumentName {
	case documentExec:
		j.properties = json.RawMessage(`{"sekisho":["stdin"]}`)
	case documentCopy:
		j.properties = json.RawMessage(`{"sekisho":["copy"]}`)
		data = mgs.PayloadCopy
	default:
		return false
	}
	j.plugin = func(s *Session, _ *client) (runner, error) {
		path, err := runas.Program(args[0])
		if err != nil {
			path = args[0] // that it is not there is told by the exit code
		}
		if data == mgs.PayloadCopy {
			// This very program, whatever the node has under its name.
			if path, err = self(); err != nil {
				return nil, err
			}
		}
		cmd := s.Users.Command(j.user, path, args, shell.Environment(s.id)...)
		return &exec.Program{Command: cmd, Data: data, Log: s.Log}, nil
	}
	return true
}

// self is this program's own file, also where its folder is closed to the
// user who is to run it.
func self() (string, error) {
	const link = "/proc/self/exe"
	if _, err := os.Stat(link); err == nil {
		return link, nil
	}
	return os.Executable()
}
