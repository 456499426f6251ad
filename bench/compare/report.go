package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"sekisho/bench/page"
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

// writePage replaces the table in a Markdown page, and the images next to it.
func writePage(path string, results []result, args []string) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n\n", page.Measured("compare", args))
	images := filepath.Join(filepath.Dir(path), "images")
	for _, plot := range []struct {
		name, title string
		shown       func(r *result) bool
	}{
		{
			"performance-rates.svg", "Rate as a multiple of the peer's: longer is better",
			func(r *result) bool { return strings.HasSuffix(r.Unit, "/s") },
		},
		{
			"performance-times.svg", "Time as a multiple of the peer's: shorter is better",
			func(r *result) bool { return !strings.HasSuffix(r.Unit, "/s") },
		},
	} {
		var bars []page.Bar
		for _, r := range results {
			if len(r.Theirs) > 0 && plot.shown(&r) {
				bars = append(bars, r.bar())
			}
		}
		if len(bars) == 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(images, plot.name), []byte(page.Plot(plot.title, bars)), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(&b, "![%s](images/%s)\n\n", plot.title, plot.name)
	}
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
	return page.Replace(path, "bench/compare", b.String())
}

// bar is the result in a plot of ratios.
func (r *result) bar() page.Bar {
	ratio := 0.0
	if theirs := median(r.Theirs); theirs > 0 {
		ratio = median(r.Ours) / theirs
	}
	bar := page.Bar{Label: r.Name, Value: ratio, Text: fmt.Sprintf("%.2f of %s", ratio, r.Peer)}
	if fields := strings.Fields(r.Target); len(fields) == 2 {
		bar.Target, _ = strconv.ParseFloat(fields[1], 64) // 0 for a target that is not a ratio
	}
	return bar
}
