// Command sekisho is the user's command: it opens sessions on managed nodes, lists
// them and plays their recordings. Under the name session-manager-plugin it is
// the plugin of the aws command.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // grants and calendars name time zones, which the machine may lack

	"sekisho/internal/cli"
)

func main() {
	// In a session Ctrl-C is input; elsewhere it ends the command. SIGTERM and
	// SIGHUP end both, and the terminal is restored first.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	std := cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv}
	code := cli.Main(ctx, std, os.Args, addManual)
	stop()
	os.Exit(code)
}
