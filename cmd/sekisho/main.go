// Command sekisho is the user's command: it opens sessions on managed nodes, lists
// them and plays their recordings. Under the name session-manager-plugin it is
// the plugin of the aws command.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // policies name time zones, whether or not the machine has them

	"sekisho/internal/cli"
	"sekisho/internal/client"
)

func main() {
	// In a session Ctrl-C is input; elsewhere it ends the command. SIGTERM and
	// SIGHUP end both, and the terminal is restored first.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	std := cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv}
	var err error
	if cli.IsPlugin(os.Args[0]) {
		err = cli.Plugin(ctx, std, os.Args[1:])
	} else {
		root := cli.New(std)
		addManual(root)
		err = root.ExecuteContext(ctx)
	}
	interrupted := ctx.Err() != nil
	stop()
	exit, isExit := errors.AsType[*client.ExitError](err)
	switch {
	case err == nil:
	case isExit:
		os.Exit(exit.Code)
	case interrupted && errors.Is(err, context.Canceled):
		os.Exit(130) // the exit code of shells after Ctrl-C
	default:
		fmt.Fprintf(os.Stderr, "sekisho: %v\n", err)
		os.Exit(1)
	}
}
