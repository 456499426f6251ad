// Command sekisho is what a person runs: it opens sessions on managed nodes,
// lists them and replays their recordings.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"sekisho/internal/cli"
)

func main() {
	// In a session Ctrl-C is a key; anywhere else it ends the command. SIGTERM
	// and SIGHUP end both, and the terminal is put right on the way.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := cli.New(cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv}).ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "sekisho: %v\n", err)
		os.Exit(1)
	}
}
