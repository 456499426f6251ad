package main

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

// sshd is an OpenSSH server of this run alone: its own port on loopback, its
// own host key, one key that may enter. It is as quick as sshd can be, without
// PAM, and its shell starts in an empty home, so that what a person has in a
// profile does not count against it.
type sshd struct {
	ctx  context.Context
	cmd  *exec.Cmd
	dir  string
	port int
	user string
}

func startSSHD(ctx context.Context, dir string) (*sshd, error) {
	program, err := exec.LookPath("sshd")
	if err != nil {
		// Not on the PATH of ordinary users.
		if program, err = exec.LookPath("/usr/sbin/sshd"); err != nil {
			return nil, err
		}
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"host", "client"} {
		keygen := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name))
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
ForceCommand exec env -i HOME=%s TERM="$TERM" PATH="$PATH" bash -l
`, port, filepath.Join(dir, "host"), filepath.Join(dir, "client.pub"), home)
	path := filepath.Join(dir, "sshd_config")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "sshd.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s := &sshd{ctx: ctx, dir: dir, port: port, user: me.Username}
	s.cmd = exec.CommandContext(ctx, program, "-D", "-e", "-f", path)
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if err := s.ready(); err != nil {
		s.stop()
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	return s, nil
}

// ready waits until the port answers.
func (s *sshd) ready() error {
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
			return errors.Join(errors.New("it does not answer"), err)
		}
	}
}

// client is ssh with nothing of the person's own configuration.
func (s *sshd) client() *exec.Cmd {
	cmd := exec.CommandContext(s.ctx, "ssh", "-F", "/dev/null", "-tt", "-p", fmt.Sprint(s.port), "-l", s.user,
		"-i", filepath.Join(s.dir, "client"), "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
		"-o", "UserKnownHostsFile="+filepath.Join(s.dir, "known_hosts"), "-o", "StrictHostKeyChecking=accept-new",
		"-o", "LogLevel=ERROR", "127.0.0.1")
	cmd.Env = append(os.Environ(), "TERM=xterm-256color")
	return cmd
}

func (s *sshd) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func freePort(ctx context.Context) (int, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
