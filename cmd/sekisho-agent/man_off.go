//go:build !manpages

package main

import "github.com/spf13/cobra"

// addManual adds the command that writes manual pages in builds with the tag
// manpages, and nothing in the programs people run.
func addManual(*cobra.Command) {}
