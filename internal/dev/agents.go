package dev

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"sekisho"
	"sekisho/internal/iam/identity"
	"sekisho/internal/node/fleet"
)

// agent is one sekisho-agent that dev keeps running.
type agent struct {
	name     string
	state    string // its state directory
	binary   string
	endpoint string
	caFile   string
	region   string
	stderr   io.Writer
	log      *slog.Logger
}

// Pauses before restarts of an agent that exits.
const (
	firstPause = 500 * time.Millisecond
	mostPause  = 10 * time.Second
)

// register registers the agent, unless known, the node that it registered as before, is still
// managed. It returns the node.
func (a *agent) register(
	ctx context.Context,
	f *fleet.Fleet,
	known sekisho.NodeID,
	createdBy string,
) (sekisho.NodeID, error) {
	if known != "" {
		_, err := f.Node(ctx, known)
		if err == nil || !sekisho.IsNotFound(err) {
			return known, err
		}
	}
	act, code, err := f.CreateActivation(ctx, fleet.NewActivation{
		IAMRole: "service-role/" + identity.NodeRole, DefaultInstanceName: a.name,
		Description: "created by sekishod dev for " + a.name,
		CreatedBy:   createdBy, Tags: map[string]string{"Hostname": a.name},
	})
	if err != nil {
		return "", err
	}
	// --force, because the identity in the directory is from a server that no longer exists.
	cmd := exec.CommandContext(
		ctx,
		a.binary,
		"register",
		"--force",
		"--endpoint",
		a.endpoint,
		"--activation-id",
		act.ID,
		"--activation-code",
		"-",
		"--ca",
		a.caFile,
		"--region",
		a.region,
		"--state",
		a.state,
	)
	cmd.Env = agentEnv()
	cmd.Stdin = strings.NewReader(code + "\n")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("register %s: %w: %s", a.name, err, strings.TrimSpace(said.String()))
	}
	return sekisho.NodeID(strings.TrimSpace(string(out))), nil
}

// agentEnv is an agent's environment. It must not inherit the server's variables, least of all an
// administrator's credentials.
func agentEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LANG=" + os.Getenv("LANG")}
}

// run keeps the agent running until ctx ends.
func (a *agent) run(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		started := time.Now()
		err := a.once(ctx)
		if ctx.Err() != nil {
			return
		}
		a.log.Warn("agent ended; starting it again", "agent", a.name, "error", err)
		if time.Since(started) > mostPause {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, mostPause)
	}
}

// once runs the agent until it exits.
func (a *agent) once(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, a.binary, "run", "--state", a.state, "--endpoint", a.endpoint)
	cmd.Env = agentEnv()
	cmd.Stdout, cmd.Stderr = a.stderr, a.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 15 * time.Second
	return cmd.Run()
}
