// Command idle measures the resources that an idle server and agent use: resident memory,
// wake-ups, processor time and bytes on the network, per day.
//
//	idle [-bin DIR] [-settle DURATION] [-time DURATION] [-page FILE]
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"sekisho/bench/page"
	"sekisho/bench/program"
)

func main() { program.Main("idle", run) }

func run(ctx context.Context, out io.Writer, args []string) error {
	flags := flag.NewFlagSet("idle", flag.ContinueOnError)
	bin := flags.String("bin", "bin", "folder of sekishod and sekisho-agent")
	settle := flags.Duration("settle", 20*time.Second, "time before the measurement begins")
	length := flags.Duration("time", 2*time.Minute, "time of the measurement")
	where := flags.String("page", "", "Markdown page to write the table to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	began := time.Now()
	server, _, stop, err := program.Serve(*bin, "")
	if err != nil {
		return err
	}
	defer func() { _ = stop() }()
	ready := time.Since(began)
	agent, err := childOf(server.Pid(), "sekisho-agent")
	if err != nil {
		return err
	}
	if err := pause(ctx, *settle); err != nil {
		return err
	}
	processes := []struct {
		name string
		pid  int
	}{{"server", server.Pid()}, {"agent", agent}}
	before := make([]usage, len(processes))
	for i, p := range processes {
		if before[i], err = usageOf(ctx, p.pid); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if err := pause(ctx, *length); err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "\tresident MB\twake-ups/min\tprocessor s/day\tnetwork MB/day")
	var table strings.Builder
	table.WriteString("| idle | resident, MB | wake-ups per minute | processor, s per day | network, MB per day " +
		"|\n|---|---|---|---|---|\n")
	day := float64(24*time.Hour) / float64(*length)
	for i, p := range processes {
		now, err := usageOf(ctx, p.pid)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		figures := []any{
			p.name, float64(now.resident) / 1e6, float64(now.switches-before[i].switches) / length.Minutes(),
			(now.processor - before[i].processor).Seconds() * day, float64(carried(before[i].network, now.network)) / 1e6 * day,
		}
		fmt.Fprintf(w, "%s\t%.1f\t%.0f\t%.0f\t%.2f\n", figures...)
		fmt.Fprintf(&table, "| %s | %.1f | %.0f | %.0f | %.2f |\n", figures...)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	start := fmt.Sprintf(
		"Start to ready, with the first administrator and agent: %s. Measured for %s.",
		ready.Round(time.Millisecond),
		*length,
	)
	if _, err := fmt.Fprintln(out, start); err != nil || *where == "" {
		return err
	}
	return page.Replace(*where, "bench/idle", page.Measured("idle", args)+"\n\n"+table.String()+"\n"+start)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// usage is what a process has used since it started, plus its current resident memory.
type usage struct {
	resident  int64
	switches  int64 // voluntary context switches of all threads: each is a wake-up
	processor time.Duration
	network   map[string]int64 // bytes of each open TCP connection, by its two addresses
}

func usageOf(ctx context.Context, pid int) (usage, error) {
	var u usage
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return u, err
	}
	if len(tasks) == 0 {
		return u, errors.New("the process has ended")
	}
	for _, name := range tasks {
		n, err := field(name, "voluntary_ctxt_switches:")
		if errors.Is(err, os.ErrNotExist) {
			continue // the thread has ended
		}
		if err != nil {
			return u, err
		}
		u.switches += n
	}
	kb, err := field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:")
	if err != nil {
		return u, err
	}
	u.resident = kb << 10
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	const user, system, hertz = 11, 12, 100 // counted from the state, which follows the name
	if len(fields) <= system {
		return u, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	for _, at := range []int{user, system} {
		ticks, err := strconv.ParseInt(fields[at], 10, 64)
		if err != nil {
			return u, err
		}
		u.processor += time.Duration(ticks) * time.Second / hertz
	}
	u.network, err = networkOf(ctx, pid)
	return u, err
}

// field returns the number that follows a name in a file of /proc.
func field(path, name string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), name); ok {
			words := strings.Fields(rest)
			if len(words) == 0 {
				break
			}
			return strconv.ParseInt(words[0], 10, 64)
		}
	}
	return 0, errors.Join(lines.Err(), fmt.Errorf("%s has no line %q", path, name))
}

// carried returns the bytes that connections have carried since. A connection that
// was closed in between does not count.
func carried(before, now map[string]int64) int64 {
	var total int64
	for conn, n := range now {
		total += n - before[conn]
	}
	return total
}

// networkOf returns the kernel's byte counts for the open TCP connections of a process.
func networkOf(ctx context.Context, pid int) (map[string]int64, error) {
	text, err := exec.CommandContext(ctx, "ss", "-tnpiOH").Output()
	if err != nil {
		return nil, fmt.Errorf("ss: %w", err)
	}
	total := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, fmt.Sprintf("pid=%d,", pid)) {
			continue
		}
		words := strings.Fields(line)
		const local, peer = 3, 4
		if len(words) <= peer {
			return nil, fmt.Errorf("ss: %q", line)
		}
		for _, word := range words {
			for _, name := range []string{"bytes_sent:", "bytes_received:"} {
				if value, ok := strings.CutPrefix(word, name); ok {
					n, err := strconv.ParseInt(value, 10, 64)
					if err != nil {
						return nil, fmt.Errorf("ss: %q: %w", word, err)
					}
					total[words[local]+" "+words[peer]] += n
				}
			}
		}
	}
	return total, nil
}

// childOf finds a child process by its name.
func childOf(pid int, name string) (int, error) {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	all := strings.Fields(string(children))
	if err != nil {
		return 0, err
	}
	if more, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)); err == nil {
		for _, path := range more {
			if text, err := os.ReadFile(path); err == nil { // a thread that has ended has none
				all = append(all, strings.Fields(string(text))...)
			}
		}
	}
	for _, child := range all {
		command, err := os.ReadFile("/proc/" + child + "/cmdline")
		if err != nil {
			continue // it has ended
		}
		program, _, _ := strings.Cut(string(command), "\x00")
		if filepath.Base(program) == name {
			return strconv.Atoi(child)
		}
	}
	return 0, fmt.Errorf("process %d has no child %s", pid, name)
}
