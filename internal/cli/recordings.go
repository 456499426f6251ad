package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sekisho"
	"sekisho/internal/client"
	"sekisho/internal/session/export"
)

func recordings(dial dialer) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "recordings",
		Short: "Export and hold the recordings of sessions, and show what they take",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(exportRecording(dial), holdRecording(dial), releaseRecording(dial), recordingStatus(dial))
	return cmd
}

func holdRecording(dial dialer) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "hold SESSION-ID",
		Short: "Keep a recording from being removed, whatever the retention says",
		Long: `hold keeps the recording of a session until it is released, whatever its age
and however much space recordings take. The signed ledger of recordings has the
hold and its reason.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstArgument(completeSessions(dial, true)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := dial()
			if err != nil {
				return err
			}
			defer c.Close()
			return c.HoldRecording(cmd.Context(), args[0], reason)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the ledger")
	return cmd
}

func releaseRecording(dial dialer) *cobra.Command {
	return &cobra.Command{
		Use:               "release SESSION-ID",
		Short:             "End a hold",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstArgument(completeSessions(dial, true)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := dial()
			if err != nil {
				return err
			}
			defer c.Close()
			return c.ReleaseRecording(cmd.Context(), args[0])
		},
	}
}

func exportRecording(dial dialer) *cobra.Command {
	var format, file string
	var names []string
	for _, f := range export.Formats {
		names = append(names, string(f))
	}
	cmd := &cobra.Command{
		Use:   "export SESSION-ID",
		Short: "Export a recording as an asciicast, as text, or as a web page that plays it",
		Long: `export writes the recording of a session to standard output or to a file:

  asciicast  asciicast v3, which asciinema 3.0 and later plays
  text       the lines shown, each with the time since the start
  html       one page that plays the recording in a browser, offline

All formats leave out sequences that affect more than the screen: clipboard,
window title, queries, graphics, characters that reorder text. For
the exact bytes, and as evidence, use the recording itself: see "sekisho verify".

A session that is still running is exported up to now.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstArgument(completeSessions(dial, true)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(names, format) {
				return usagef(cmd, "unknown format %q: want %s", client.Printable(format), strings.Join(names, ", "))
			}
			c, err := dial()
			if err != nil {
				return err
			}
			defer c.Close()
			return toFile(file, cmd.OutOrStdout(), func(w io.Writer) error {
				return c.ExportRecording(cmd.Context(), args[0], export.Format(format), w, cmd.ErrOrStderr())
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", string(export.Cast), "format: "+strings.Join(names, ", "))
	cmd.Flags().StringVar(&file, "file", "", "file to create (default: standard output)")
	return cmd
}

// toFile creates a file that only the user can read and calls write to fill it. An empty name means
// standard output. If write fails, toFile removes the file.
func toFile(name string, std io.Writer, write func(io.Writer) error) error {
	if name == "" {
		return write(std)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return sekisho.Errorf(
			sekisho.CodeConflict,
			"The file %s already exists. Remove it, or choose another name.",
			client.Printable(name),
		)
	}
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}
