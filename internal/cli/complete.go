package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

// completionTimeout bounds the calls of a completion: the user waits for it.
const completionTimeout = 3 * time.Second

// maxCompletions bounds a list of completions.
const maxCompletions = 200

type completion = func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective)

// complete returns a completion that lists values by calls to the server.
// Without a server or permission there are no completions, and no error: the
// user is in the middle of a command line.
func complete(
	dial dialer,
	list func(ctx context.Context, c *client.Client, prefix string) ([]string, error),
) completion {
	return func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		c, err := dial()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		all, err := list(ctx, c, prefix)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var found []string
		for _, value := range all {
			// The shell would split or interpret anything else.
			word, _, _ := strings.Cut(value, "\t")
			if strings.HasPrefix(word, prefix) && word != "" &&
				client.Printable(value) == strings.ReplaceAll(value, "\t", `\x09`) &&
				!strings.ContainsAny(word, " '\"$`\\;&|<>()*?[]{}~#!") &&
				len(found) < maxCompletions {
				found = append(found, value)
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

func nodeNames(ctx context.Context, c *client.Client, _ string) ([]string, error) {
	nodes, err := c.Nodes(ctx)
	var all []string
	for _, n := range nodes {
		all = append(all, n.InstanceID+"\t"+n.DisplayName())
		for _, name := range n.GivenNames() {
			all = append(all, name+"\t"+n.InstanceID)
		}
	}
	return all, err
}

// firstArgument completes only the first argument.
func firstArgument(f completion) completion {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return f(cmd, args, prefix)
	}
}

func completeNodes(dial dialer) completion { return firstArgument(complete(dial, nodeNames)) }

func completeSessions(dial dialer, history bool) completion {
	return complete(dial, func(ctx context.Context, c *client.Client, _ string) ([]string, error) {
		list, err := c.Sessions(ctx, client.SessionQuery{History: history, Limit: maxCompletions})
		var all []string
		for _, s := range list {
			all = append(all, s.SessionID+"\t"+s.Target)
		}
		return all, err
	})
}

func completeTarget(cmd *cobra.Command, dial dialer) {
	_ = cmd.RegisterFlagCompletionFunc("target", complete(dial, nodeNames)) // cannot fail: the flag exists
}

func completeDocument(cmd *cobra.Command, dial dialer) {
	_ = cmd.RegisterFlagCompletionFunc(
		"document-name",
		complete(dial, func(ctx context.Context, c *client.Client, _ string) ([]string, error) {
			return c.SessionDocuments(ctx)
		}),
	) // cannot fail: the flag exists
}

// completeCopy completes the node of a copy.
func completeCopy(dial dialer) completion {
	nodes := complete(dial, nodeNames)
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 1 || strings.ContainsAny(prefix, "/:.") || prefix == "" {
			return nil, cobra.ShellCompDirectiveDefault // local files
		}
		found, _ := nodes(cmd, args, prefix)
		for i, value := range found {
			word, note, _ := strings.Cut(value, "\t")
			found[i] = word + ":\t" + note
		}
		if len(found) == 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return found, cobra.ShellCompDirectiveNoSpace
	}
}
