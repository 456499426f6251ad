package session

import (
	"context"
	"encoding/json"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"sekisho"
	"sekisho/internal/agent/noninteractive"
	"sekisho/internal/agent/plugin"
	"sekisho/internal/agent/port"
	"sekisho/internal/agent/runas"
	"sekisho/internal/agent/sessionlog"
	"sekisho/internal/agent/shell"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/wire/mgs"
)

// job describes what a session runs. It is determined before anything is opened.
type job struct {
	doc  content
	user runas.User // of types that run something or connect to a socket
	// properties are the document's properties that the client receives.
	properties json.RawMessage
	plugin     func(s *Runner, c *client) (runner, error)
	log        *sessionlog.Log // nil = none
	refused    error           // why the session cannot start
}

func refusal(err error) *job { return &job{refused: err} }

// runner is a plugin that is ready to run.
type runner interface {
	Run(ctx context.Context, stream plugin.Stream) error
}

// prepare determines the program to run and its user.
func (s *Runner) prepare(ctx context.Context) (*job, error) {
	doc, err := parseDocument(s.Task.DocumentContent, s.Task.Parameters)
	if err != nil {
		return nil, err
	}
	j := &job{doc: doc}
	switch doc.SessionType {
	case ssmdoc.StandardStream:
		err = s.prepareShell(ctx, j)
	case ssmdoc.InteractiveCommands, ssmdoc.NonInteractiveCommands:
		err = s.prepareCommand(ctx, j)
	case ssmdoc.Port:
		err = s.preparePort(ctx, j)
	}
	if err != nil {
		return nil, err
	}
	return j, nil
}

// asUser determines the run-as user of the session.
func (s *Runner) asUser(ctx context.Context, j *job) error {
	wanted, err := j.doc.runAs(s.Task.RunAsUser)
	if err != nil {
		return err
	}
	j.user, err = s.Users.Resolve(ctx, wanted)
	return err
}

func (s *Runner) prepareShell(ctx context.Context, j *job) error {
	if err := s.asUser(ctx, j); err != nil {
		return err
	}
	j.properties = offers(j.user, mgs.AbilityExitCode, mgs.AbilityJoin)
	in := &j.doc.Inputs
	j.plugin = func(s *Runner, c *client) (runner, error) {
		startup := shell.Startup{
			Login: in.Sekisho.LoginShell == nil || *in.Sekisho.LoginShell,
			Name:  in.Sekisho.Prompt, Fallback: string(s.Node),
			Profile: in.ShellProfile.Linux,
		}
		cmd, typed, err := startup.Shell(s.Users, j.user, shell.Environment(s.id)...)
		if err != nil {
			return nil, err
		}
		return &shell.Shell{
			Command:    cmd,
			User:       j.user.Name,
			Size:       c.size,
			Type:       typed,
			ReportExit: c.can(mgs.AbilityExitCode),
			Echo:       c.echo,
			Typed:      s.Typed,
			Log:        s.Log,
		}, nil
	}
	return nil
}

func (s *Runner) prepareCommand(ctx context.Context, j *job) error {
	var p commands
	if err := j.doc.properties(&p); err != nil {
		return err
	}
	if p.Linux == nil || strings.TrimSpace(p.Linux.Commands) == "" {
		return sekisho.Errorf(sekisho.CodeInvalid, "The session document has no command for Linux.")
	}
	if strings.ContainsRune(p.Linux.Commands, 0) {
		return sekisho.Errorf(sekisho.CodeInvalid, "The session document's command contains a NUL.")
	}
	var err error
	if p.Linux.RunAsElevated {
		j.user, err = s.Users.Elevated()
	} else {
		err = s.asUser(ctx, j)
	}
	if err != nil {
		return err
	}
	args := []string{"sh", "-c", p.Linux.Commands}
	if j.doc.SessionType == ssmdoc.NonInteractiveCommands {
		if args, err = noninteractive.Split(p.Linux.Commands); err != nil {
			return err
		}
	}
	if s.prepareOwn(j, args) {
		return nil
	}
	path, err := runas.Program(args[0])
	if err != nil {
		return err
	}
	j.properties = offers(j.user, mgs.AbilityExitCode)
	if j.doc.SessionType == ssmdoc.InteractiveCommands {
		j.properties = offers(j.user, mgs.AbilityExitCode, mgs.AbilityJoin)
	}
	j.plugin = func(s *Runner, c *client) (runner, error) {
		cmd := s.Users.Command(j.user, path, args, shell.Environment(s.id)...)
		if j.doc.SessionType == ssmdoc.InteractiveCommands {
			return &shell.Shell{
				Command:    cmd,
				User:       j.user.Name,
				Size:       c.size,
				ReportExit: c.can(mgs.AbilityExitCode),
				Echo:       c.echo,
				Typed:      s.Typed,
				Log:        s.Log,
			}, nil
		}
		return &noninteractive.Command{
			Exec: cmd, Separate: bool(p.Linux.SeparateOutputStream), ReportExit: c.can(mgs.AbilityExitCode),
			OutPrefix: p.Linux.StdOutSeparatorPrefix, ErrPrefix: p.Linux.StdErrSeparatorPrefix, Log: s.Log,
		}, nil
	}
	return nil
}

func (s *Runner) preparePort(ctx context.Context, j *job) error {
	var p portProperties
	if err := j.doc.properties(&p); err != nil {
		return err
	}
	if own, err := s.prepareReverse(j, string(p.Host), string(p.PortNumber)); own {
		return err
	}
	to := port.Destination{Host: string(p.Host), Socket: p.Socket, Rules: s.Rules}
	if p.Socket != "" {
		if !filepath.IsAbs(p.Socket) || strings.ContainsRune(p.Socket, 0) || p.PortNumber != "" || p.Host != "" {
			return sekisho.Errorf(
				sekisho.CodeInvalid,
				"The session document's socket must be an absolute path, without a port or host beside it.",
			)
		}
		if err := s.asUser(ctx, j); err != nil {
			return err
		}
		to.DialSocket = func(ctx context.Context, path string) (net.Conn,
			error) {
			return s.Users.DialSocket(ctx, j.user, path)
		}
	} else {
		n, err := strconv.ParseUint(string(p.PortNumber), 10, 16)
		if err != nil || n == 0 {
			return sekisho.Errorf(sekisho.CodeInvalid, "%.40q is not a port number from 1 to 65535.", string(p.PortNumber))
		}
		to.Port = uint16(n)
	}
	if err := to.Check(ctx); err != nil {
		return err
	}
	j.properties = withOffer(j.doc.Properties, mgs.AbilityReset)
	j.doc.Inputs.KMSKeyID = "" // as with AWS's agent, Port sessions are never encrypted
	j.plugin = func(s *Runner, c *client) (runner, error) {
		out := &port.Port{To: to, HalfClose: c.can(mgs.AbilityHalfClose), SendResets: c.can(mgs.AbilityReset), Log: s.Log}
		if string(p.Type) == ssmdoc.LocalPortForwarding {
			out.Mode = port.Serial
			if c.multiplexes() {
				out.Mode = port.Many
			}
		}
		return out, nil
	}
	return nil
}
