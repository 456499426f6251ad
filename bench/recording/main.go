// Command recording measures the cost of recording: the same transfers, alternately through
// a server that records and one that does not; and the size of recordings, their
// verification, search, and the first frame of a long one.
//
//	recording [-bin DIR] [-without DIR] [-pairs N] [-size MiB] [-page FILE]
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sekisho/bench/page"
	"sekisho/bench/program"
	"sekisho/bench/terminal"
	"sekisho/e2e/harness"
)

func main() { program.Main("recording", run) }

// side is a server with its node.
type side struct {
	server *harness.Server
	target string
}

func (s *side) shell(ctx context.Context, script string, args ...string) *exec.Cmd {
	return s.server.Shell(ctx, nil, script, args...)
}

// row is one line of the table.
type row struct{ what, on, off, cost, target string }

func run(ctx context.Context, out io.Writer, args []string) error {
	flags := flag.NewFlagSet("recording", flag.ContinueOnError)
	bin := flags.String("bin", "bin", "folder of sekishod, sekisho-agent and sekisho")
	without := flags.String("without", "bin/norecording", "folder of the same, built with the tag norecording")
	pairs := flags.Int("pairs", 5, "samples of each server")
	size := flags.Int("size", 200, "MiB of a transfer")
	where := flags.String("page", "", "Markdown page to write the tables to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sekisho-recording-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	rows, err := compare(ctx, dir, [2]string{*bin, *without}, *pairs, *size<<20)
	if err != nil {
		return err
	}
	files, err := measureFiles(dir)
	if err != nil {
		return err
	}
	var text strings.Builder
	text.WriteString("| | recorded | not recorded | cost | target |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&text, "| %s | %s | %s | %s | %s |\n", r.what, r.on, r.off, r.cost, r.target)
	}
	text.WriteString("\n| | measured | target |\n|---|---|---|\n")
	for _, r := range files {
		fmt.Fprintf(&text, "| %s | %s | %s |\n", r.what, r.on, r.target)
	}
	if _, err := io.WriteString(out, text.String()); err != nil || *where == "" {
		return err
	}
	return page.Replace(*where, "bench/recording", page.Measured("recording", args)+"\n\n"+text.String())
}

// compare measures through a server that records, [0], and one that does not.
func compare(ctx context.Context, dir string, bins [2]string, pairs, size int) ([]row, error) {
	var sides [2]side
	for i, bin := range bins {
		programs, err := program.Programs(bin, "")
		if err != nil {
			return nil, err
		}
		at := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(at, 0o755); err != nil {
			return nil, err
		}
		server, err := harness.Start(programs, at)
		if err != nil {
			return nil, err
		}
		defer func() { _ = server.Stop() }()
		env, err := server.Env()
		if err != nil {
			return nil, err
		}
		sides[i] = side{server, env["SEKISHO_TARGET"]}
	}
	random, text := filepath.Join(dir, "random"), filepath.Join(dir, "text")
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{random: randomBytes(size), text: buildLog(size)} {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return nil, err
		}
	}
	mb := float64(size) / 1e6
	var rows []row
	for _, m := range []struct{ what, script, file string }{
		{"exec, random bytes", `sekisho exec "$SEKISHO_TARGET" cat "$1" > /dev/null`, random},
		{"exec, text", `sekisho exec "$SEKISHO_TARGET" cat "$1" > /dev/null`, text},
		{"terminal flooded with text", `printf 'cat %s\nexit\n' "$1" | sekisho start-session "$SEKISHO_TARGET" > /dev/null`,
			text},
	} {
		var samples [2][]float64
		for i := range pairs + 1 {
			for j := range sides {
				began := time.Now()
				if err := quiet(sides[j].shell(ctx, m.script, m.file)); err != nil {
					return nil, fmt.Errorf("%s: %w", m.what, err)
				}
				if i > 0 { // the first warms caches
					samples[j] = append(samples[j], mb/time.Since(began).Seconds())
				}
			}
		}
		on, off := median(samples[0]), median(samples[1])
		rows = append(rows, row{
			m.what, fmt.Sprintf("%.0f MB/s", on), fmt.Sprintf("%.0f MB/s", off), fmt.Sprintf("%+.1f %%", 100*(off-on)/off),
			"≤ 5 %",
		})
	}
	echo, err := echo(ctx, sides[:], pairs)
	return append(rows, echo), err
}

// quiet runs a command and returns its errors with its output.
func quiet(cmd *exec.Cmd) error {
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, said.String())
	}
	return nil
}

const keysPerRound = 200

// echo types keys alternately into a session of each server.
func echo(ctx context.Context, sides []side, rounds int) (row, error) {
	var sessions []*terminal.Shell
	for i := range sides {
		s, _, err := terminal.Open(ctx, terminal.Contender{Name: fmt.Sprint(i), Command: func() *exec.Cmd {
			return sides[i].shell(ctx, `exec sekisho start-session "$SEKISHO_TARGET"`)
		}})
		if err != nil {
			return row{}, err
		}
		defer s.Kill()
		if err := s.Silence(ctx); err != nil {
			return row{}, err
		}
		sessions = append(sessions, s)
	}
	var took [2][]time.Duration
	for i := range (rounds + 1) * keysPerRound {
		for j, s := range sessions {
			d, err := s.Key(ctx, "abcdefghijklmnopqrstuvwxyz"[i%26])
			if err != nil {
				return row{}, err
			}
			if i >= keysPerRound {
				took[j] = append(took[j], d)
			}
		}
	}
	on, off := terminal.Percentile(took[0], 50), terminal.Percentile(took[1], 50)
	return row{
		"echo of a key, median", on.Round(time.Microsecond).String(), off.Round(time.Microsecond).String(),
		fmt.Sprintf("%+.1f %%", 100*float64(on-off)/float64(off)), "≤ 10 %",
	}, nil
}

func median(samples []float64) float64 {
	slices.Sort(samples)
	n := len(samples)
	return (samples[(n-1)/2] + samples[n/2]) / 2
}
