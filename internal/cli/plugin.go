package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"sekisho/internal/client"
)

// IsPlugin reports whether the program was started under the name of AWS's
// plugin.
func IsPlugin(name string) bool {
	base := strings.TrimSuffix(filepath.Base(name), ".exe")
	return base == "session-manager-plugin"
}

// Plugin does what AWS's session-manager-plugin does for the aws command, with the
// same output, which scripts parse.
func Plugin(ctx context.Context, std Streams, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "--version":
		fmt.Fprintln(std.Out, client.PluginVersion)
		return nil
	case len(args) == 0:
		fmt.Fprintf(
			std.Out,
			"\nThe Session Manager plugin was installed successfully. Use the AWS CLI to start a session.\n\n",
		)
		return nil
	}
	call, err := client.ParsePlugin(args, std.Getenv)
	if err != nil {
		return err
	}
	c := client.New(call.Config)
	defer c.Close()
	terminal, release := client.OpenTerminal(std.In, std.Out, std.Err)
	defer release()
	session := client.Printable(call.Stream.SessionID)
	quiet := false
	on := client.Callbacks{
		Started: func(_ string, stdio bool) {
			quiet = stdio
			if !quiet {
				fmt.Fprintf(std.Out, "\nStarting session with SessionId: %s\n", session)
			}
		},
		Notice: func(text string) { fmt.Fprintf(std.Err, "\r\n%s\r\n", text) },
		Listening: func(address string) {
			if _, port, err := net.SplitHostPort(address); err == nil {
				fmt.Fprintf(std.Out, "Port %s opened for sessionId %s.\n", port, session)
			} else {
				fmt.Fprintf(std.Out, "Unix socket %s opened for sessionId %s.\n", client.Printable(address), session)
			}
			fmt.Fprintf(std.Out, "Waiting for connections...\n")
		},
		Exited: func(code int) { fmt.Fprintf(std.Out, "EXIT_CODE: %d", code) },
		Ended: func(string) {
			if !quiet {
				fmt.Fprintf(std.Out, "\n\nExiting session with sessionId: %s.\n\n", session)
			}
		},
	}
	err = c.Join(ctx, call.Stream, call.Target, terminal, on)
	if ended, ok := errors.AsType[*client.EndedError](err); ok && !quiet {
		fmt.Fprintf(std.Out, "\n\nSessionId: %s : %s\n\n", session, client.Printable(ended.Reason))
		return nil
	}
	return err
}
