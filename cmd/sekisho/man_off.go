//go:build !manpages

package main

import "github.com/spf13/cobra"

// addManual does nothing. In builds with the tag manpages it adds the command that writes manual
// pages.
func addManual(*cobra.Command) {}
