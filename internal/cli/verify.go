package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
	"sekisho/internal/session/export"
)

func verify(dial dialer) *cobra.Command {
	var keyFile string
	var witnesses []string
	cmd := &cobra.Command{
		Use:   "verify BUNDLE-OR-ID",
		Short: "Verify that a recording is complete and unchanged",
		Long: `verify checks a recording from its first byte to its seal.

With a session ID, the server checks its recording. With a bundle (an evidence
bundle, a ZIP archive of a recording, or its directory), sekisho checks it
locally, without a server. For an evidence bundle, it lists every problem.
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
			if v, err = client.VerifyBundle(args[0], keyFile, witnesses...); err != nil {
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
	cmd.Flags().
		StringSliceVar(&witnesses, "witness", nil, "file that a witness kept, to compare an evidence bundle with; repeatable")
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
	if v.Encrypted {
		text += export.EncryptedNotice + "\n"
	}
	if v.Evidence != nil {
		text += evidenceText(v.Evidence)
	}
	if v.KeyFingerprint != "" {
		text += fmt.Sprintf("Signed with key %s.\n", client.Printable(v.KeyFingerprint))
	}
	_, err := io.WriteString(w, text)
	return err
}

func evidenceText(e *client.Evidence) string {
	var b strings.Builder
	for _, p := range e.Problems {
		fmt.Fprintf(&b, "Problem: %s\n", client.Printable(p))
	}
	if e.Made != "" {
		fmt.Fprintf(&b, "Bundle created at %s.\n", client.Printable(e.Made))
	}
	if e.Decision != "" {
		fmt.Fprintf(&b, "Started by %s: %s\n", client.Printable(e.Principal), client.Printable(e.Decision))
	}
	for _, line := range e.Events {
		fmt.Fprintf(&b, "  %s\n", client.Printable(line))
	}
	if e.Witnessed {
		b.WriteString("A witness has the seal and the last of these events.\n")
	} else {
		b.WriteString("No witness confirms it: the proof depends on the server's key alone.\n")
	}
	return b.String()
}

func evidenceOf(dial dialer) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "evidence SESSION-ID",
		Short: "Write one file that proves what happened in a session",
		Long: `evidence writes an evidence bundle: the recording and the key to read it, its
transcript, the audit events about the session, the decision that allowed it,
and the parts of the ledger and the audit trail that prove them. "sekisho
verify FILE --key KEYS" checks it without a server.

Anyone with the file can read the session and the audit trail of that period.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstArgument(completeSessions(dial, true)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := dial()
			if err != nil {
				return err
			}
			defer c.Close()
			return toFile(
				file,
				cmd.OutOrStdout(),
				func(w io.Writer) error { return c.SaveEvidence(cmd.Context(), args[0], w) },
			)
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "file to create (default: standard output)")
	return cmd
}
