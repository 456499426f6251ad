package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"sekisho"
	"sekisho/internal/client"
)

// Exit codes. They are documented in docs/client.md and do not change.
const (
	exitOK          = 0
	exitFailure     = 1   // anything that has no code of its own
	exitUsage       = 2   // wrong arguments or flags
	exitNo          = 3   // the answer is no: why found a denial, or verify found no proof
	exitDenied      = 4   // no credentials, expired ones, or a policy denies
	exitNotFound    = 5   // no such node or session, or several match
	exitUnreachable = 6   // no connection to the server, or to the node
	exitInterrupted = 130 // Ctrl-C, as in shells
	// exitNoResult is for commands that return the exit code of a program, as
	// with ssh: the program did not run, or its exit code is unknown.
	exitNoResult = 255
)

// exitCodeHelp is part of the help of sekisho.
const exitCodeHelp = `Exit codes: 0 success, 1 failure, 2 wrong usage, 3 the answer is no (why,
verify), 4 access denied, 5 not found or ambiguous, 6 no connection to the
server or node, 130 interrupted. exec and start-session return the exit code of
the program, or 255 if there is none.`

// errInterrupted means that the user ended a prompt.
var errInterrupted = errors.New("interrupted")

// usageError is an error in the arguments of a command.
type usageError struct {
	cmd *cobra.Command
	err error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usagef returns an error in the arguments of cmd.
func usagef(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{cmd, fmt.Errorf(format, args...)}
}

// reportsExitCode marks commands that return the exit code of a program.
const reportsExitCode = "sekisho-reports-exit-code"

// usageErrors makes the argument and flag errors of cmd and its subcommands
// usage errors.
func usageErrors(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return &usageError{cmd, err} })
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			if err == nil {
				return nil
			}
			if missing := missingArgument(cmd, args); missing != "" {
				err = fmt.Errorf("missing argument %s", missing)
			} else if !cmd.HasSubCommands() {
				err = fmt.Errorf("unexpected argument %q", args[acceptedArguments(cmd, check, args)])
			}
			return &usageError{cmd, err}
		}
	}
	for _, sub := range cmd.Commands() {
		usageErrors(sub)
	}
}

// acceptedArguments returns how many of args the command takes. There is at least one more.
func acceptedArguments(cmd *cobra.Command, check cobra.PositionalArgs, args []string) int {
	for n := len(args) - 1; n > 0; n-- {
		if check(cmd, args[:n]) == nil {
			return n
		}
	}
	return 0
}

// missingArgument returns the first required argument that args lack, named as in the usage line.
func missingArgument(cmd *cobra.Command, args []string) string {
	var required []string
	for _, word := range strings.Fields(cmd.Use)[1:] {
		if strings.HasPrefix(word, "[") || strings.HasPrefix(word, "-") {
			if word == "--" {
				continue
			}
			break
		}
		required = append(required, word)
	}
	if len(args) < len(required) {
		return required[len(args)]
	}
	return ""
}

// report prints err, unless it is only an exit code, and returns the exit code of the program.
func report(ctx context.Context, w io.Writer, cmd *cobra.Command, err error) int {
	if err == nil {
		return exitOK
	}
	if exit, ok := errors.AsType[*client.ExitError](err); ok {
		return exit.Code
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) || errors.Is(err, errInterrupted) {
		return exitInterrupted
	}
	fmt.Fprintf(w, "sekisho: %v\n", err)
	if usage, ok := errors.AsType[*usageError](err); ok {
		fmt.Fprintf(w, "\nUsage:\n  %s\n\nHelp: %s --help\n", usage.cmd.UseLine(), usage.cmd.CommandPath())
		return exitUsage
	}
	if cmd != nil && cmd.Annotations[reportsExitCode] != "" {
		return exitNoResult
	}
	return exitCodeOf(err)
}

func exitCodeOf(err error) int {
	if api, ok := errors.AsType[*client.APIError](err); ok {
		switch {
		case api.Code == "TargetNotConnected":
			return exitUnreachable
		case api.AccessDenied():
			return exitDenied
		case api.NotFound():
			return exitNotFound
		}
		return exitFailure
	}
	switch sekisho.CodeOf(err) {
	case sekisho.CodeDenied, sekisho.CodeUnauthenticated, sekisho.CodeExpired:
		return exitDenied
	case sekisho.CodeNotFound, sekisho.CodeConflict:
		return exitNotFound
	case sekisho.CodeUnreachable:
		return exitUnreachable
	}
	if strings.HasPrefix(err.Error(), "unknown command ") {
		return exitUsage // cobra has no error type for it
	}
	return exitFailure
}
