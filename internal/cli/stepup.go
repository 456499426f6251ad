package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"golang.org/x/term"

	"sekisho/internal/client"
)

// askSecondFactor makes c prompt for the code of an authenticator app when a policy requires a
// second factor. Without a terminal it does nothing, because standard input may carry data.
func askSecondFactor(std Streams, cfg client.Config, c *client.Client) {
	if !term.IsTerminal(int(std.In.Fd())) || !term.IsTerminal(int(std.Err.Fd())) {
		return
	}
	base := cfg.AccessKey()
	prompt := &prompter{in: std.In, out: std.Err, lines: bufio.NewReader(std.In)}
	c.SetSecondFactor(client.SecondFactor{
		Code: func(_ context.Context, failed error) (string, error) {
			if failed != nil {
				fmt.Fprintf(std.Err, "sekisho: %v\n", failed)
			} else {
				fmt.Fprintln(std.Err, "A policy requires a second factor.")
			}
			code, err := prompt.ask("Code of your authenticator app: ", true)
			return strings.TrimSpace(code), err
		},
		Keep: func(t client.TemporaryCredentials) error {
			err := client.KeepSecondFactor(base, std.Getenv, t)
			if base.Credentials.SessionToken != "" {
				base.Credentials = t.Credentials // the context's current credentials
			}
			return err
		},
	})
}
