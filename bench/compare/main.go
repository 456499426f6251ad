// Command compare measures common operations through Sekisho side by side with ssh, scp,
// rsync and plain files, on one machine over loopback, with TLS and recording on. The
// contenders alternate, so that other load on the machine affects them equally. It prints
// medians, spread and ratios, and writes them to a Markdown page.
//
//	compare [-bin DIR] [-plugin FILE] [-pairs N] [-size MiB] [-only REGEXP] [-page FILE] [-json FILE]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"time"

	"sekisho/bench/program"
	"sekisho/bench/sshd"
	"sekisho/e2e/harness"
)

func main() { program.Main("compare", run) }

// bench holds the environment of the measurements.
type bench struct {
	ctx    context.Context
	dir    string
	size   int64 // bytes of a bulk transfer
	server *harness.Server
	env    map[string]string
	target string // the node
	peer   *sshd.Server
	log    io.Writer
}

// measurement is one row: two ways to do the same thing.
type measurement struct {
	name   string
	unit   string // such as "MB/s"
	target string // the ratio aimed at, such as "≥ 0.8"; empty for none
	// ours and theirs return one sample in the unit. Theirs may be nil.
	ours, theirs func() (float64, error)
	peer         string // the name of the peer
}

func run(ctx context.Context, out io.Writer, args []string) error {
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	bin := flags.String("bin", "bin", "folder of sekishod, sekisho-agent and sekisho")
	plugin := flags.String("plugin", "", "AWS's plugin, to measure it too")
	pairs := flags.Int("pairs", 5, "samples of each contender")
	size := flags.Int64("size", 200, "MiB of a bulk transfer")
	only := flags.String("only", ".", "regular expression of the measurements to run")
	page := flags.String("page", "", "Markdown page to write the table to")
	dump := flags.String("json", "", "file to write all samples to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	b, stop, err := prepare(ctx, *bin, *plugin, *size<<20)
	if err != nil {
		return err
	}
	defer stop()
	var results []result
	if wanted.MatchString("echo") {
		rows, err := b.echo(*pairs)
		if err != nil {
			return fmt.Errorf("echo: %w", err)
		}
		results = append(results, rows...)
	}
	for _, m := range b.measurements() {
		if !wanted.MatchString(m.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s ", m.name)
		r, err := measure(m, *pairs)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		results = append(results, r)
		fmt.Fprintln(os.Stderr)
	}
	if len(results) == 0 {
		return fmt.Errorf("no measurement matches %q", *only)
	}
	if err := table(out, results); err != nil {
		return err
	}
	if *dump != "" {
		text, err := json.MarshalIndent(results, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(*dump, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	if *page != "" {
		return writePage(*page, results, args)
	}
	return nil
}

// prepare starts a server with an agent, and an sshd.
func prepare(ctx context.Context, bin, plugin string, size int64) (*bench, func(), error) {
	server, dir, stopServer, err := program.Serve(bin, plugin)
	if err != nil {
		return nil, nil, err
	}
	undo := []func(){func() { _ = stopServer() }}
	stop := func() {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
	}
	fail := func(err error) (*bench, func(), error) {
		stop()
		return nil, nil, err
	}
	b := &bench{ctx: ctx, dir: dir, size: size, log: os.Stderr, server: server}
	if b.env, err = b.server.Env(); err != nil {
		return fail(err)
	}
	b.target = b.env["SEKISHO_TARGET"]
	if b.peer, err = sshd.Start(ctx, dir, false); err != nil {
		return fail(fmt.Errorf("sshd: %w", err))
	}
	undo = append(undo, b.peer.Stop)
	if err := b.inputs(); err != nil {
		return fail(err)
	}
	return b, stop, nil
}

// measure takes samples alternately, after one of each to warm caches.
func measure(m measurement, pairs int) (result, error) {
	r := result{Name: m.name, Unit: m.unit, Target: m.target, Peer: m.peer}
	for i := range pairs + 1 {
		ours, err := m.ours()
		if err != nil {
			return r, fmt.Errorf("sekisho: %w", err)
		}
		var theirs float64
		if m.theirs != nil {
			if theirs, err = m.theirs(); err != nil {
				return r, fmt.Errorf("%s: %w", m.peer, err)
			}
		}
		if i == 0 {
			continue
		}
		fmt.Fprint(os.Stderr, ".")
		r.Ours = append(r.Ours, ours)
		if m.theirs != nil {
			r.Theirs = append(r.Theirs, theirs)
		}
	}
	return r, nil
}

// shell returns a command line for the client's side.
func (b *bench) shell(script string, args ...string) *exec.Cmd {
	return b.server.Shell(b.ctx, nil, script, args...)
}

// timed runs a command to its end, with input from a file if there is one, and
// discards its output. It fails unless the output has the given size; -1 accepts
// any.
func timed(cmd *exec.Cmd, input string, output int64) (time.Duration, error) {
	var count counter
	var complaint limited
	cmd.Stdout, cmd.Stderr = &count, &complaint
	if input != "" {
		f, err := os.Open(input)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		cmd.Stdin = f
	}
	began := time.Now()
	err := cmd.Run()
	took := time.Since(began)
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, complaint.text)
	}
	if output >= 0 && int64(count) != output {
		return 0, fmt.Errorf("%d bytes of output, want %d: %s", count, output, complaint.text)
	}
	return took, nil
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// limited keeps the first bytes written to it.
type limited struct{ text []byte }

func (l *limited) Write(b []byte) (int, error) {
	l.text = append(l.text, b[:min(len(b), max(0, 500-len(l.text)))]...)
	return len(b), nil
}

// rate is size in MB/s.
func rate(size int64, took time.Duration, err error) (float64, error) {
	if err == nil && took <= 0 {
		err = errors.New("it took no time")
	}
	return float64(size) / 1e6 / took.Seconds(), err
}
