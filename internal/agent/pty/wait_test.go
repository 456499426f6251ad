package pty_test

import (
	"os"
	"os/exec"
	"sync"
	"testing"

	"sekisho/internal/agent/pty"
)

// TestWaitHoldsNoThread: waiting for programs does not occupy a thread each.
func TestWaitHoldsNoThread(t *testing.T) {
	threads := func() int {
		t.Helper()
		all, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Skip(err)
		}
		return len(all)
	}
	const programs = 150
	before := threads()
	var all sync.WaitGroup
	var running []*exec.Cmd
	for range programs {
		cmd := exec.Command("sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running = append(running, cmd)
		all.Go(func() {
			if err := pty.Wait(cmd); err == nil {
				t.Error("Wait returned no error for a killed program")
			}
		})
	}
	if n := threads() - before; n > programs/3 {
		t.Errorf("%d threads for %d programs", n, programs)
	}
	for _, cmd := range running {
		_ = cmd.Process.Kill()
	}
	all.Wait()
	if n := threads() - before; n > programs/3 {
		t.Errorf("%d threads remain after %d programs", n, programs)
	}
}
