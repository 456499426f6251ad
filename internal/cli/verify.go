package cli

import (
	"errors"
	"fmt"
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
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var v client.Verification
			_, statErr := os.Stat(args[0])
			if keyFile != "" || statErr == nil {
				if keyFile == "" {
					return errors.New("verify: a bundle needs public keys: name their file with --key")
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
			session := client.Printable(v.SessionID)
			switch {
			case v.Live:
				return fmt.Errorf("verify: session %s is still going on: its recording is sealed when it ends", session)
			case !v.Verified:
				return fmt.Errorf("verify: the recording of session %s is NOT proved: %s", session, client.Printable(v.Problem))
			}
			fmt.Fprintf(cmd.OutOrStdout(), "The recording of session %s is whole and unchanged.\n", session)
			if v.KeyFingerprint != "" {
				fmt.Fprintf(cmd.OutOrStdout(), "Signed with key %s.\n", client.Printable(v.KeyFingerprint))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "file with the recording server's public keys (PEM)")
	return cmd
}
