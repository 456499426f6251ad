package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sekisho/internal/client"
	"sekisho/internal/session/transfer"
)

func cp(std Streams, dial dialer) *cobra.Command {
	var in client.CopyInput
	var quiet, sync bool
	cmd := &cobra.Command{
		Use:   "cp SOURCE DESTINATION",
		Short: "Copy files and folders to or from a node",
		Long: `cp copies a file or a folder. One of SOURCE and DESTINATION is TARGET:PATH.

` + targetHelp + `

A relative path on the node is relative to the home directory of the session's OS user. If
DESTINATION is an existing folder, SOURCE is copied into it.

cp keeps modes and times and verifies the SHA-256 of each copy. Run the same
command again after an interruption: it resumes, and does not send files that
were already copied. It skips symbolic links and everything else that is not a
regular file, and says so.

As with scp, the system writes the copied files to the disk in its own time. With
--fsync, they are on the disk when cp has ended.

The session's recording lists what was copied.`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeCopy(dial),
	}
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in.From, in.To = client.ParsePlace(args[0]), client.ParsePlace(args[1])
		remote := &in.From
		if in.To.Target != "" {
			remote = &in.To
		}
		if (in.From.Target == "") == (in.To.Target == "") {
			return usagef(cmd, "exactly one of SOURCE and DESTINATION must be on a node (TARGET:PATH)")
		}
		return withTarget(cmd, dial, remote.Target, func(c *client.Client, target string) error {
			remote.Target = target
			result := copyResult{Copied: []copiedFile{}, Skipped: []string{}}
			o := transfer.Options{
				Sync: sync,
				Note: func(text string) {
					result.Skipped = append(result.Skipped, text)
					fmt.Fprintf(cmd.ErrOrStderr(), "sekisho: %s\n", client.Printable(text))
				},
				Copied: func(i transfer.Item) { result.add(i) },
			}
			if !quiet && term.IsTerminal(int(std.Err.Fd())) {
				bar := &progress{w: cmd.ErrOrStderr(), width: func() int {
					cols, _, err := term.GetSize(int(std.Err.Fd()))
					if err != nil || cols <= 0 {
						return 80
					}
					return cols
				}}
				o.Progress = bar.progress
				o.Copied = func(i transfer.Item) { bar.copied(i); result.add(i) }
			}
			if err := c.Copy(cmd.Context(), in, o, onStderr(cmd)); err != nil {
				return err
			}
			return format.write(cmd.OutOrStdout(), result, func(io.Writer) error { return nil })
		})
	}
	cmd.Flags().BoolVar(&sync, "fsync", false, "write the files to the disk before the copy succeeds")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "hide the progress bar")
	reasonFlag(cmd, &in.Reason)
	return cmd
}

// copyResult is the output of cp -o json. The table format prints nothing, as cp
// and scp do.
type copyResult struct {
	Copied  []copiedFile
	Skipped []string
}

type copiedFile struct {
	Path         string
	Size         int64
	SHA256       string
	ResumedBytes int64 // size of the part that already existed
}

func (r *copyResult) add(i transfer.Item) {
	r.Copied = append(r.Copied, copiedFile{i.Path, i.Size, i.SHA256, i.Resumed})
}

// progress draws one line per file.
type progress struct {
	w     io.Writer
	width func() int

	path  string
	began time.Time
	from  int64
	drawn time.Time
}

// drawEvery limits how often the line is drawn.
const drawEvery = 100 * time.Millisecond

func (p *progress) progress(path string, done, size int64) {
	now := time.Now()
	if path != p.path {
		p.path, p.began, p.from, p.drawn = path, now, done, time.Time{}
	}
	if now.Sub(p.drawn) < drawEvery && done < size {
		return
	}
	p.drawn = now
	percent := int64(100)
	if size > 0 {
		percent = done * 100 / size
	}
	rate := ""
	if seconds := now.Sub(p.began).Seconds(); seconds > 0.2 {
		rate = bytesText(int64(float64(done-p.from)/seconds)) + "/s"
	}
	tail := fmt.Sprintf(" %3d%% %9s %11s", percent, bytesText(done), rate)
	name := client.Printable(path)
	room := max(p.width()-len(tail)-1, 8)
	if over := runewidth.StringWidth(name) - room; over > 0 {
		name = runewidth.TruncateLeft(name, over+1, "…")
	}
	fmt.Fprintf(p.w, "\r%s%s", runewidth.FillRight(name, room), tail)
}

func (p *progress) copied(i transfer.Item) {
	p.progress(i.Path, i.Size, i.Size)
	fmt.Fprintln(p.w)
	p.path = ""
}

// bytesText formats a number of bytes for people.
func bytesText(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), -1
	for f >= 1024 && unit < len(units)-1 {
		f /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", f, units[unit])
}
