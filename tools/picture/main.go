// Picture makes the moving picture of README.md: it starts a server with one
// node, types a few commands in a shell as a person would, and writes what the
// terminal showed as an animated SVG.
//
//	go run ./tools/picture -bin bin -out docs/images/terminal.svg
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// A step is one line that is typed, and how long its result stays before the
// next one.
type step struct {
	line string
	read time.Duration
}

var steps = []step{
	{"sekisho nodes", 2 * time.Second},
	{"aws ssm start-session --target $SEKISHO_TARGET", 700 * time.Millisecond},
	{"id -un", 900 * time.Millisecond},
	{"exit", time.Second},
	{"sekisho exec $SEKISHO_TARGET -- df -h /", 1500 * time.Millisecond},
	{"sekisho why --user bob --target $SEKISHO_TARGET | head -2", 3 * time.Second},
	{"sekisho search 'id -un'", 2500 * time.Millisecond},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	bin := flag.String("bin", "bin", "folder of the built programs")
	out := flag.String("out", "docs/images/terminal.svg", "file to write")
	flag.Parse()

	data, err := os.MkdirTemp("", "sekisho-picture-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(data) }()
	programs, err := filepath.Abs(*bin)
	if err != nil {
		return err
	}
	end, err := startServer(ctx, programs, data)
	if err != nil {
		return err
	}
	defer end()
	addUser := exec.CommandContext(ctx, "sh", "-c", `. "$1/env" && aws iam create-user --user-name bob`, "sh", data)
	if err := addUser.Run(); err != nil {
		return fmt.Errorf("create the user bob: %w", err)
	}

	frames, err := film(ctx, data, steps)
	if err != nil {
		return err
	}
	return os.WriteFile(*out, render(frames), 0o644)
}

// startServer starts "sekishod dev" with its data in the folder data and
// returns when it is ready. The function it returns ends it.
func startServer(ctx context.Context, programs, data string) (end func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "sekishod"), "dev", "--data", data, "--listen", "127.0.0.1:0")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	output, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	end = func() {
		cancel()
		_ = cmd.Wait() // it was interrupted
	}
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "ready:") {
			go io.Copy(io.Discard, output) //nolint:errcheck // ends with the server
			return end, nil
		}
	}
	end()
	return nil, fmt.Errorf("sekishod dev ended before it was ready")
}
