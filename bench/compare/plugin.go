package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sekisho/bench/sshd"
)

// pluginDownload measures AWS's plugin: the rate of a download through a port that
// it forwards, and its own processor time, which is its limit.
func (b *bench) pluginDownload() []measurement {
	var perMB float64
	return []measurement{
		{
			name: "AWS's plugin, forwarded download", unit: "MB/s",
			ours: func() (rate float64, err error) {
				rate, err = b.forwarded("download", 1, func(local, remote int) *exec.Cmd {
					return b.shell(
						`exec aws ssm start-session --target "$SEKISHO_TARGET" --document-name AWS-StartPortForwardingSession `+
							`--parameters "localPortNumber=$1,portNumber=$2"`, strconv.Itoa(local), strconv.Itoa(remote))
				}, func(cmd *exec.Cmd) {
					perMB = processorOf(cmd.Process.Pid, "session-manager-plugin").Seconds() * 1e3 / (float64(b.size) / 1e6)
				})
				return rate, err
			},
		},
		{
			name: "AWS's plugin, its own processor time", unit: "ms/MB",
			ours: func() (float64, error) {
				if perMB == 0 {
					return 0, fmt.Errorf("the plugin was not found among the processes")
				}
				return perMB, nil
			},
		},
	}
}

// processorOf returns the processor time of the descendants of a process that have
// the given name.
func processorOf(pid int, name string) (total time.Duration) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0
	}
	for _, task := range tasks {
		children, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		for _, child := range strings.Fields(string(children)) {
			n, err := strconv.Atoi(child)
			if err != nil {
				continue
			}
			total += processorOf(n, name)
			stat, err := os.ReadFile("/proc/" + child + "/stat")
			if err != nil {
				continue
			}
			before, after, ok := strings.Cut(string(stat), ") ")
			fields := strings.Fields(after)
			// The kernel keeps 15 bytes of a name.
			if !ok || !strings.HasSuffix(before, "("+name[:min(len(name), 15)]) || len(fields) < 13 {
				continue
			}
			for _, field := range fields[11:13] {
				ticks, _ := strconv.ParseInt(field, 10, 64) // the kernel writes numbers
				total += time.Duration(ticks) * 10 * time.Millisecond
			}
		}
	}
	return total
}

// forwarded transfers bytes through a port that a command forwards. It inspects the command
// and then stops it.
func (b *bench) forwarded(
	direction string,
	streams int,
	start func(local, remote int) *exec.Cmd,
	look func(cmd *exec.Cmd),
) (float64, error) {
	remote, err := b.listen(direction)
	if err != nil {
		return 0, err
	}
	defer remote.Close()
	local, err := sshd.FreePort(b.ctx)
	if err != nil {
		return 0, err
	}
	cmd := start(local, remote.Addr().(*net.TCPAddr).Port)
	var complaint limited
	cmd.Stderr = &complaint
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the aws CLI does not stop its plugin
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		_ = cmd.Wait() // the signal is its exit reason
	}()
	rate, err := b.transfer(local, direction, streams)
	if err == nil && look != nil {
		look(cmd)
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, complaint.text)
	}
	return rate, err
}
