package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

func replay(dial dialer) *cobra.Command {
	var opt client.ReplayOptions
	cmd := &cobra.Command{
		Use:   "replay SESSION-ID",
		Short: "Play the recording of a session",
		Long: `replay plays the recording of a session in this terminal, with its pauses. It
follows a session that is still running, from the present moment on. At the end it lists what the recording
says beside the output: forwarded connections, copied files, restarts.

It leaves out sequences that affect more than the screen: clipboard, window
title, replies that appear as typed input, mouse.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstArgument(completeSessions(dial, true)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := dial()
			if err != nil {
				return err
			}
			defer c.Close()
			err = c.Replay(cmd.Context(), args[0], opt, cmd.OutOrStdout(), cmd.ErrOrStderr())
			if errors.Is(err, context.Canceled) {
				return nil // Ctrl-C is the normal way to stop
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&opt.FromStart, "from-start", false, "play a running session from its beginning")
	cmd.Flags().Float64Var(&opt.Speed, "speed", 1, "playback speed multiplier")
	cmd.Flags().
		DurationVar(&opt.IdleLimit, "idle-limit", 0, "longest pause, such as 2s (default: the recording's own limit)")
	return cmd
}
