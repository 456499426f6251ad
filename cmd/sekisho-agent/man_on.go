//go:build manpages

package main

import (
	"github.com/spf13/cobra"

	"sekisho/internal/cli/manpages"
)

func addManual(root *cobra.Command) { manpages.Add(root) }
