// Package sshd runs an OpenSSH server on a loopback port for benchmarks: its own host key,
// one key that can log in, and no PAM, so that it is as fast as sshd can be. Its shell
// starts in an empty home directory, so that a user's profile does not slow it down.
package sshd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"time"
)

// Server is a running server.
type Server struct {
	ctx  context.Context
	cmd  *exec.Cmd
	dir  string
	port int
	user string
}

// Start starts a server whose files are in dir. With a forced shell, every login
// gets an interactive shell; without, clients can run commands and forward ports.
func Start(ctx context.Context, dir string, forceShell bool) (*Server, error) {
	program, err := exec.LookPath("sshd")
	if err != nil {
		// It is not on the PATH of ordinary users.
		if program, err = exec.LookPath("/usr/sbin/sshd"); err != nil {
			return nil, err
		}
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	port, err := FreePort(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"host", "client"} {
		keygen := exec.CommandContext(
			ctx,
			"ssh-keygen",
			"-q",
			"-t",
			"ed25519",
			"-N",
			"",
			"-f",
			filepath.Join(dir, name),
		)
		if out, err := keygen.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("ssh-keygen: %w: %s", err, out)
		}
	}
	if os.Geteuid() == 0 {
		// sshd insists on it when it runs as root.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, err
		}
	}
	home := filepath.Join(dir, "shell-home")
	if err := os.Mkdir(home, 0o755); err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`ListenAddress 127.0.0.1
Port %d
HostKey %s
AuthorizedKeysFile %s
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
PrintLastLog no
UseDNS no
Subsystem sftp internal-sftp
MaxSessions 100
`, port, filepath.Join(dir, "host"), filepath.Join(dir, "client.pub"))
	if forceShell {
		config += fmt.Sprintf("ForceCommand exec env -i HOME=%s TERM=\"$TERM\" PATH=\"$PATH\" bash -l\n", home)
	}
	path := filepath.Join(dir, "sshd_config")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "sshd.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s := &Server{ctx: ctx, dir: dir, port: port, user: me.Username}
	s.cmd = exec.CommandContext(ctx, program, "-D", "-e", "-f", path)
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if err := s.ready(); err != nil {
		s.Stop()
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	return s, nil
}

// ready waits until the port accepts connections.
func (s *Server) ready() error {
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(errors.New("sshd does not accept connections"), err)
		}
	}
}

// Options returns the options of ssh, scp and sftp that connect to the server, without the
// user's own configuration.
func (s *Server) Options() []string {
	return []string{
		"-F", "/dev/null", "-i", filepath.Join(s.dir, "client"), "-o", "Port=" + fmt.Sprint(s.port), "-o", "User=" + s.user,
		"-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o",
		"UserKnownHostsFile=" + filepath.Join(s.dir, "known_hosts"),
		"-o", "StrictHostKeyChecking=accept-new", "-o", "LogLevel=ERROR",
	}
}

// Host is the name to log in to.
const Host = "127.0.0.1"

// Client returns ssh with these arguments after the options and the host.
func (s *Server) Client(flags []string, args ...string) *exec.Cmd {
	all := append(append(s.Options(), flags...), Host)
	cmd := exec.CommandContext(s.ctx, "ssh", append(all, args...)...)
	cmd.Env = append(os.Environ(), "TERM=xterm-256color")
	return cmd
}

// Shell returns ssh with a terminal.
func (s *Server) Shell() *exec.Cmd { return s.Client([]string{"-tt"}) }

// PID is the process ID of the server.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop ends the server.
func (s *Server) Stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// FreePort returns a loopback port that is free at the time of the call.
func FreePort(ctx context.Context) (int, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
