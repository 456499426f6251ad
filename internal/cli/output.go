package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sekisho/internal/client"
	"sekisho/internal/config/yamljson"
)

// Output formats of -o.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

var formats = []string{formatTable, formatJSON, formatYAML}

// format is the value of -o.
type format string

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	switch s {
	case formatTable, formatJSON, formatYAML:
		*f = format(s)
		return nil
	}
	return fmt.Errorf("want %s", strings.Join(formats, ", "))
}

// String implements pflag.Value.
func (f *format) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *format) Type() string { return strings.Join(formats, "|") }

// outputFlag adds -o to a command.
func outputFlag(cmd *cobra.Command) *format {
	f := format(formatTable)
	cmd.Flags().VarP(&f, "output", "o", "output format")
	_ = cmd.RegisterFlagCompletionFunc(
		"output",
		cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp),
	) // cannot fail: the flag exists
	return &f
}

// write prints value as JSON or YAML, or calls table.
func (f *format) write(w io.Writer, value any, table func(w io.Writer) error) error {
	if *f == formatTable {
		return table(w)
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(value); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	out := text.Bytes()
	if *f == formatYAML {
		var err error
		if out, err = yamljson.FromJSON(out); err != nil {
			return fmt.Errorf("output: %w", err)
		}
	}
	_, err := w.Write(out)
	return err
}

// nonNil returns an empty list for nil, which JSON would encode as null.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// table prints rows in columns. It escapes the cells, which are untrusted, and measures their width
// as a terminal does: some characters are two columns wide.
func table(w io.Writer, head []string, rows [][]string) error {
	cells := make([][]string, len(rows))
	widths := make([]int, len(head))
	for i, name := range head {
		widths[i] = runewidth.StringWidth(name)
	}
	for r, row := range rows {
		cells[r] = make([]string, len(row))
		for i, cell := range row {
			if cell == "" {
				cell = "-"
			}
			cells[r][i] = client.Printable(cell)
			widths[i] = max(widths[i], runewidth.StringWidth(cells[r][i]))
		}
	}
	line := func(row []string) string {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-runewidth.StringWidth(cell)+2))
			}
		}
		return b.String()
	}
	header := line(head)
	if coloured(w) {
		header = "\x1b[1m" + header + "\x1b[0m"
	}
	var b strings.Builder
	b.WriteString(header + "\n")
	for _, row := range cells {
		b.WriteString(line(row) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// coloured reports whether to use colours: on terminals only, and not with
// NO_COLOR (https://no-color.org) or a terminal without colours.
func coloured(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
