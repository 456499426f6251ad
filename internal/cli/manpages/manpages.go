//go:build manpages

// Package manpages writes the manual pages of a program. It is compiled only
// with the build tag manpages, so that the programs people run do not contain
// it; scripts/packages uses it.
package manpages

import (
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"sekisho/internal/version"
)

// Add gives root a command that writes its manual pages, one per command, to a directory. Their
// date is SOURCE_DATE_EPOCH, so that builds are reproducible.
func Add(root *cobra.Command) {
	root.AddCommand(&cobra.Command{
		Use:    "man DIRECTORY",
		Short:  "Write the manual pages",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
			if err != nil {
				return err
			}
			date := time.Unix(seconds, 0).UTC()
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, &doc.GenManHeader{
				Section: "1", Source: "Sekisho " + version.String(), Manual: "Sekisho", Date: &date,
			}, args[0])
		},
	})
}
