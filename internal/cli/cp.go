package cli

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sekisho/internal/client"
	"sekisho/internal/session/transfer"
)

func cp(std Streams, dial dialer) *cobra.Command {
	var in client.CopyInput
	var quiet bool
	cmd := &cobra.Command{
		Use:   "cp SOURCE DESTINATION",
		Short: "Copy files and folders to or from a node",
		Long: `cp copies a file or a folder. One of SOURCE and DESTINATION is TARGET:PATH.

` + targetHelp + `

A relative path on the node starts at the home of the session's OS user. If
DESTINATION is an existing folder, SOURCE is copied into it.

cp keeps modes and times and compares each copy by its SHA-256. Run the same
command again after an interruption: it resumes, and does not send files that
were already copied. It skips symbolic links and everything else that is not a
regular file, and says so.

The session's recording lists what was copied.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.From, in.To = client.ParsePlace(args[0]), client.ParsePlace(args[1])
			remote := &in.From
			if in.To.Target != "" {
				remote = &in.To
			}
			if (in.From.Target == "") == (in.To.Target == "") {
				return errors.New("cp: exactly one of SOURCE and DESTINATION must be on a node (TARGET:PATH)")
			}
			return withTarget(cmd, dial, remote.Target, func(c *client.Client, target string) error {
				remote.Target = target
				o := transfer.Options{Note: func(text string) {
					fmt.Fprintf(cmd.ErrOrStderr(), "sekisho: %s\n", client.Printable(text))
				}}
				if !quiet && term.IsTerminal(int(std.Err.Fd())) {
					bar := &progress{w: cmd.ErrOrStderr(), width: func() int {
						cols, _, err := term.GetSize(int(std.Err.Fd()))
						if err != nil {
							return 80
						}
						return cols
					}}
					o.Progress, o.Copied = bar.progress, bar.copied
				}
				return c.Copy(cmd.Context(), in, o, onStderr(cmd))
			})
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress bar")
	reasonFlag(cmd, &in.Reason)
	return cmd
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
	name := []rune(client.Printable(path))
	room := max(p.width()-len(tail)-1, 8)
	if len(name) > room {
		name = append([]rune("…"), name[len(name)-room+1:]...)
	}
	fmt.Fprintf(p.w, "\r%-*s%s", room, string(name), tail)
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
