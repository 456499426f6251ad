// Package program holds the shared parts of the programs of bench: their entry point and
// the server that they measure.
package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"sekisho/e2e/harness"
)

// Main runs the program called name until it ends or is interrupted.
func Main(name string, run func(ctx context.Context, out io.Writer, args []string) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Programs returns the programs in the folder bin. Plugin is the file of AWS's
// plugin; empty for none.
func Programs(bin, plugin string) (p harness.Programs, err error) {
	if p.Bin, err = filepath.Abs(bin); err != nil || plugin == "" {
		return p, err
	}
	p.Plugin, err = filepath.Abs(filepath.Dir(plugin))
	return p, err
}

// Serve starts the server of the folder bin, with all its files in the new folder
// dir. stop ends it and removes the folder.
func Serve(bin, plugin string) (server *harness.Server, dir string, stop func() error, err error) {
	programs, err := Programs(bin, plugin)
	if err != nil {
		return nil, "", nil, err
	}
	if dir, err = os.MkdirTemp("", "sekisho-bench-"); err != nil {
		return nil, "", nil, err
	}
	if server, err = harness.Start(programs, dir); err != nil {
		return nil, "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return server, dir, func() error { return errors.Join(server.Stop(), os.RemoveAll(dir)) }, nil
}
