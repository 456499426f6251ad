package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

func recordingStatus(dial dialer) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the disk use of recordings, its limit, and the state of their store",
		Long: `status shows how much space recordings take and the limit of it, whether anything can
be recorded, and, if the server keeps recordings in a store, whether the store works and
how much waits for it. The exit code is 1 unless the state is "working".`,
		Args: cobra.NoArgs,
	}
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := dial()
		if err != nil {
			return err
		}
		defer c.Close()
		s, err := c.RecordingStorage(cmd.Context())
		if err != nil {
			return err
		}
		if err := format.write(cmd.OutOrStdout(), s, func(w io.Writer) error {
			return table(w, []string{"PROPERTY", "VALUE"}, storageRows(s))
		}); err != nil {
			return err
		}
		if s.State != client.StorageWorking {
			return &client.ExitError{Code: 1}
		}
		return nil
	}
	return cmd
}

func storageRows(s client.RecordingStorage) [][]string {
	limit := "none"
	if s.LimitBytes > 0 {
		limit = fmt.Sprintf("%s (%d%% used)", bytesText(s.LimitBytes), s.TotalBytes*100/s.LimitBytes)
	}
	age := "none"
	if s.LimitDays > 0 {
		age = fmt.Sprintf("%d days", s.LimitDays)
	}
	rows := [][]string{{"State", s.State}}
	for _, p := range s.Problems {
		rows = append(rows, []string{"Problem", p})
	}
	rows = append(rows,
		[]string{"Recordings", fmt.Sprintf("%d, %d of them under a hold", s.Recordings, s.HeldRecordings)},
		[]string{"Total size", bytesText(s.TotalBytes)},
		[]string{"Limit of the size", limit},
		[]string{"Limit of the age", age},
		[]string{"On the server's disk", bytesText(s.DiskBytes)},
	)
	x := s.Store
	if x == nil {
		return rows
	}
	waits := fmt.Sprintf("%s, %d sealed recordings", bytesText(x.WaitingBytes), x.WaitingRecordings)
	if x.WaitingLimitBytes > 0 {
		waits += ", limit " + bytesText(x.WaitingLimitBytes)
	}
	rows = append(rows,
		[]string{"Store", x.Location},
		[]string{"In the store", bytesText(x.StoredBytes)},
		[]string{"Waiting for the store", waits},
	)
	if x.FailingSince != "" {
		rows = append(rows, []string{"Failing since", x.FailingSince})
	}
	if x.FetchingRecordings > 0 {
		rows = append(rows, []string{"To be fetched", fmt.Sprintf("%d recordings", x.FetchingRecordings)})
	}
	if x.CheckBytesPerSecond > 0 {
		rows = append(rows, []string{
			"Checked in this round", fmt.Sprintf("%d recordings, %s", x.CheckedRecordings, bytesText(x.CheckedBytes)),
		}, []string{"Last complete check", x.CheckedAt})
	}
	return rows
}
