package main

import (
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/creack/pty"

	"sekisho/bench/sshd"
	"sekisho/bench/terminal"
)

// keysPerSample is how many keys are typed for one sample of their percentiles.
const keysPerSample = 200

// busySessions is how many other sessions show output during the measurement.
const busySessions = 100

// busyLoop shows ten lines a second and starts no programs.
const busyLoop = `exec 3<> <(:); while :; do echo "$SECONDS a line of a log that somebody follows"; read -t 0.1 ` +
	`-u 3; done`

func (b *bench) ours() terminal.Contender {
	return terminal.Contender{Name: "sekisho", Command: func() *exec.Cmd {
		return b.shell(`exec sekisho start-session "$SEKISHO_TARGET"`)
	}}
}

// echo measures the time from a key to its echo by the far end's kernel.
func (b *bench) echo(pairs int) ([]result, error) {
	dir := b.path("shells")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	shells, err := sshd.Start(b.ctx, dir, true)
	if err != nil {
		return nil, err
	}
	defer shells.Stop()
	theirs := terminal.Contender{Name: "ssh", Command: shells.Shell}

	alone := echoRows("echo")
	sessions, err := b.openSilent(b.ours(), theirs)
	if err != nil {
		return nil, err
	}
	defer sessions[0].Kill()
	defer sessions[1].Kill()
	for i := range pairs + 1 {
		var took [2][]time.Duration
		for k := range keysPerSample {
			for c, s := range sessions {
				d, err := s.Key(b.ctx, "abcdefghijklmnopqrstuvwxyz"[k%26])
				if err != nil {
					return nil, err
				}
				took[c] = append(took[c], d)
			}
		}
		if i > 0 { // the first warms caches
			alone.add(0, took[0])
			alone.add(1, took[1])
		}
	}

	busy := echoRows(fmt.Sprintf("echo next to %d busy sessions", busySessions))
	for range 2 {
		for c, start := range []func() *exec.Cmd{
			func() *exec.Cmd {
				return b.shell(
					`exec sekisho start-session "$SEKISHO_TARGET" --document-name AWS-StartInteractiveCommand --parameters `+
						`"command=$1"`,
					"bash -c '"+busyLoop+"'",
				)
			},
			func() *exec.Cmd { return b.peer.Client([]string{"-tt"}, "bash -c '"+busyLoop+"'") },
		} {
			took, err := b.nextToBusy(sessions[c], start)
			if err != nil {
				return nil, err
			}
			busy.add(c, took)
		}
	}
	return append(alone[:], busy[:]...), nil
}

// percentiles are the rows p50 and p99.
type percentiles [2]result

func echoRows(name string) percentiles {
	return percentiles{
		{Name: name + ", p50", Unit: "µs", Target: "≤ 1.5", Peer: "ssh -tt"},
		{Name: name + ", p99", Unit: "µs", Target: "≤ 2", Peer: "ssh -tt"},
	}
}

func (p *percentiles) add(contender int, took []time.Duration) {
	for i, percent := range []int{50, 99} {
		v := float64(terminal.Percentile(took, percent).Nanoseconds()) / 1e3
		if contender == 0 {
			p[i].Ours = append(p[i].Ours, v)
		} else {
			p[i].Theirs = append(p[i].Theirs, v)
		}
	}
}

func (b *bench) openSilent(contenders ...terminal.Contender) (sessions []*terminal.Shell, err error) {
	for _, c := range contenders {
		s, _, err := terminal.Open(b.ctx, c)
		if err == nil {
			sessions = append(sessions, s)
			err = s.Silence(b.ctx)
		}
		if err != nil {
			for _, s := range sessions {
				s.Kill()
			}
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return sessions, nil
}

// nextToBusy types keys while many sessions of the same kind show output.
func (b *bench) nextToBusy(s *terminal.Shell, start func() *exec.Cmd) (took []time.Duration, err error) {
	var all []*exec.Cmd
	defer func() {
		for _, cmd := range all {
			_ = cmd.Process.Kill()
		}
		for _, cmd := range all {
			_ = cmd.Wait() // it was killed
		}
	}()
	for range busySessions {
		cmd := start()
		tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
		if err != nil {
			return nil, err
		}
		all = append(all, cmd)
		shown := make(chan error, 1)
		go func() {
			defer tty.Close()
			buf := make([]byte, 4096)
			_, err := tty.Read(buf)
			shown <- err
			for err == nil {
				_, err = tty.Read(buf)
			}
		}()
		select {
		case err := <-shown:
			if err != nil {
				return nil, fmt.Errorf("busy session: %w", err)
			}
		case <-time.After(time.Minute):
			return nil, fmt.Errorf("busy session %d shows nothing", len(all))
		}
	}
	for k := range 3 * keysPerSample {
		d, err := s.Key(b.ctx, "abcdefghijklmnopqrstuvwxyz"[k%26])
		if err != nil {
			return nil, err
		}
		took = append(took, d)
	}
	return took, nil
}
