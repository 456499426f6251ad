package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

// maxCalendarFile bounds an iCalendar file; the server refuses larger ones.
const maxCalendarFile = 512 << 10

func calendars(dial dialer) *cobra.Command {
	c := &cobra.Command{
		Use:   "calendars",
		Short: "Manage the calendars that policies refer to",
		Long: `Manage the calendars that policies refer to with sekisho:Calendar/NAME:
holidays, maintenance windows, on-call rotas.`,
		Args: cobra.NoArgs,
	}
	c.AddCommand(listCalendars(dial), showCalendar(dial), putCalendar(dial), deleteCalendar(dial))
	return c
}

func listCalendars(dial dialer) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List calendars", Args: cobra.NoArgs}
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return with(dial, func(c *client.Client) error {
			all, err := c.ListCalendars(cmd.Context())
			if err != nil {
				return err
			}
			rows := make([][]string, len(all))
			for i, k := range all {
				rows[i] = []string{k.Name, k.Zone, strconv.Itoa(k.Spans), coversUntil(k), k.Description}
			}
			head := []string{"NAME", "ZONE", "SPANS", "EXPANDED UNTIL", "DESCRIPTION"}
			return format.write(cmd.OutOrStdout(), nonNil(all), func(w io.Writer) error { return table(w, head, rows) })
		})
	}
	return cmd
}

func coversUntil(k client.Calendar) string {
	if k.CoversUntil == nil {
		return ""
	}
	return k.CoversUntil.UTC().Format(time.DateOnly)
}

func showCalendar(dial dialer) *cobra.Command {
	cmd := &cobra.Command{Use: "show NAME", Short: "Show a calendar and its next periods", Args: cobra.ExactArgs(1)}
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return with(dial, func(c *client.Client) error {
			k, err := c.GetCalendar(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return format.write(cmd.OutOrStdout(), k, func(w io.Writer) error { return printCalendar(w, k) })
		})
	}
	return cmd
}

func printCalendar(w io.Writer, k client.Calendar) error {
	_, err := fmt.Fprintf(w, "%s (%s), %d spans in total; the next ones:\n",
		client.Printable(k.Name), client.Printable(k.Zone), k.Spans)
	if err != nil {
		return err
	}
	return table(w, []string{"FROM", "UNTIL"}, windowRows(k.Upcoming))
}

func windowRows(windows []client.Window) [][]string {
	rows := make([][]string, len(windows))
	for i, s := range windows {
		rows[i] = []string{s.From.UTC().Format(time.RFC3339), s.To.UTC().Format(time.RFC3339)}
	}
	return rows
}

func putCalendar(dial dialer) *cobra.Command {
	var in client.CalendarInput
	var file string
	c := &cobra.Command{
		Use:   "put NAME",
		Short: "Create or replace a calendar",
		Example: `  sekisho calendars put holidays --zone Asia/Tokyo --on 2026-01-01 --on 2026-12-29/2027-01-03
  sekisho calendars put on-call-alice --zone Europe/Berlin --icalendar rota.ics`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			if file != "" {
				text, err := readBounded(file, maxCalendarFile)
				if err != nil {
					return err
				}
				in.ICalendar = string(text)
			}
			return with(dial, func(c *client.Client) error {
				k, err := c.PutCalendar(cmd.Context(), in)
				if err != nil {
					return err
				}
				return printCalendar(cmd.OutOrStdout(), k)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&in.Description, "description", "", "what the calendar is for")
	f.StringVar(&in.Zone, "zone", "UTC", "time zone of dates, and of times without one")
	f.StringArrayVar(&in.Entries, "on", nil,
		"a date, a range of dates (FROM/TO) or a range of times (FROM/TO); repeatable")
	f.StringVar(&file, "icalendar", "", "iCalendar file, instead of --on")
	c.MarkFlagsMutuallyExclusive("on", "icalendar")
	c.MarkFlagsOneRequired("on", "icalendar")
	return c
}

func deleteCalendar(dial dialer) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete a calendar that no policy uses", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return with(dial, func(c *client.Client) error { return c.DeleteCalendar(cmd.Context(), args[0]) })
		},
	}
}

// with runs f with a client.
func with(dial dialer, f func(c *client.Client) error) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}

// readBounded reads a file of at most limit bytes.
func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s is larger than %d KiB", name, limit>>10)
	}
	return text, nil
}
