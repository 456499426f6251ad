package cli

import (
	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

func execute(std Streams, dial dialer) *cobra.Command {
	var in client.ExecInput
	cmd := &cobra.Command{
		Use:   "exec TARGET -- PROGRAM [ARGUMENT...]",
		Short: "Run a program on a node, without a terminal",
		Long: `exec runs a program on a node. Standard input, output and error stay separate
and unchanged. The exit code is the program's.

` + targetHelp + `

The program gets the arguments unchanged; no shell interprets them. To use a shell,
name it: sekisho exec web-1 -- sh -c 'ls | wc -l'

On a node with AWS's agent the program gets no standard input.`,
		Args:              cobra.MinimumNArgs(2),
		Annotations:       map[string]string{reportsExitCode: "true"},
		ValidArgsFunction: completeNodes(dial),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, program := args[0], args[1:]
			if program[0] == "--" {
				program = program[1:]
			}
			if len(program) == 0 {
				return usagef(cmd, "missing argument PROGRAM")
			}
			return withTarget(cmd, dial, target, func(c *client.Client, target string) error {
				in.Target, in.Args = target, program
				return c.Exec(cmd.Context(), in, std.In, cmd.OutOrStdout(), cmd.ErrOrStderr(), onStderr(cmd))
			})
		},
	}
	cmd.Flags().SetInterspersed(false) // everything after the target belongs to the program
	reasonFlag(cmd, &in.Reason)
	return cmd
}
