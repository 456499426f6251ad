package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// result holds the samples of one measurement.
type result struct {
	Name, Unit, Target, Peer string
	Ours, Theirs             []float64
}

// median of samples; 0 of none.
func median(samples []float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

// ratio of the medians, or "" without a peer.
func (r *result) ratio() string {
	if len(r.Theirs) == 0 || median(r.Theirs) == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", median(r.Ours)/median(r.Theirs))
}

// text is the median and the spread of samples.
func text(samples []float64) string {
	if len(samples) == 0 {
		return ""
	}
	return fmt.Sprintf("%.4g (%.4g–%.4g)", median(samples), slices.Min(samples), slices.Max(samples))
}

func table(w io.Writer, results []result) error {
	tab := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tab, "operation\tunit\tSekisho\tpeer\tratio\ttarget")
	for _, r := range results {
		fmt.Fprintf(
			tab,
			"%s\t%s\t%s\t%s %s\t%s\t%s\n",
			r.Name,
			r.Unit,
			text(r.Ours),
			r.Peer,
			text(r.Theirs),
			r.ratio(),
			r.Target,
		)
	}
	return tab.Flush()
}

// Marks in the page between which the table is.
const (
	begin = "<!-- bench/compare: begin -->"
	end   = "<!-- bench/compare: end -->"
)

// writePage replaces the table in a Markdown page.
func writePage(path string, results []result, args []string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(old), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return fmt.Errorf("%s lacks the lines %s and %s", path, begin, end)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%s\n\nMeasured on %s with `compare %s` on %s.\n\n", before, begin,
		time.Now().UTC().Format("2006-01-02"), strings.Join(args, " "), machine())
	b.WriteString(
		"| operation | unit | Sekisho: median (range) | peer: median (range) | ratio | target |\n|---|---|---|---|---|---|\n",
	)
	for _, r := range results {
		fmt.Fprintf(
			&b,
			"| %s | %s | %s | %s | %s | %s |\n",
			r.Name,
			r.Unit,
			text(r.Ours),
			strings.TrimSpace(r.Peer+" "+text(r.Theirs)),
			r.ratio(),
			r.Target,
		)
	}
	fmt.Fprintf(&b, "\n%s%s", end, after)
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// machine describes where the measurement ran.
func machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, _ := exec.Command("uname", "-r").Output()
	load := ""
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		load = ", load average at the end " + strings.Fields(string(text))[0]
	}
	return fmt.Sprintf(
		"%s, %d cores, Linux %s, %s%s",
		model,
		runtime.NumCPU(),
		strings.TrimSpace(string(kernel)),
		runtime.Version(),
		load,
	)
}
