package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

func verify(dial dialer) *cobra.Command {
	var keyFile string
	cmd := &cobra.Command{
		Use:   "verify BUNDLE-OR-ID",
		Short: "Verify that a recording is complete and unchanged",
		Long: `verify checks a recording from its first byte to its seal.

With a session ID, the server checks its recording. With a bundle (a ZIP archive
or the directory of a recording), sekisho checks it locally, without a server.
--key names a file with the recorder's public keys, which you must have obtained
separately from the bundle.

The exit code is 0 only if the recording is verified.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstArgument(completeSessions(dial, true)),
	}
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var v client.Verification
		_, statErr := os.Stat(args[0])
		if keyFile != "" || statErr == nil {
			if keyFile == "" {
				return usagef(cmd, "a bundle needs public keys: name their file with --key")
			}
			var err error
			if v, err = client.VerifyBundle(args[0], keyFile); err != nil {
				return err
			}
		} else {
			c, err := dial()
			if err != nil {
				return err
			}
			defer c.Close()
			if v, err = c.VerifySession(cmd.Context(), args[0]); err != nil {
				return err
			}
		}
		if err := format.write(cmd.OutOrStdout(), v, func(w io.Writer) error { return printVerification(w, v) }); err != nil {
			return err
		}
		if !v.Verified || v.Live {
			return &client.ExitError{Code: exitNo}
		}
		return nil
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "file with the recording server's public keys (PEM)")
	return cmd
}

func printVerification(w io.Writer, v client.Verification) error {
	session := client.Printable(v.SessionID)
	var text string
	switch {
	case v.Live:
		text = fmt.Sprintf("Session %s is still running: its recording is sealed when it ends.\n", session)
	case !v.Verified:
		text = fmt.Sprintf("The recording of session %s is NOT verified: %s\n", session, client.Printable(v.Problem))
	default:
		text = fmt.Sprintf("The recording of session %s is complete and unchanged.\n", session)
	}
	if v.KeyFingerprint != "" {
		text += fmt.Sprintf("Signed with key %s.\n", client.Printable(v.KeyFingerprint))
	}
	_, err := io.WriteString(w, text)
	return err
}
