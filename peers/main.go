// Command peers runs third-party S3 test suites on a fresh server and compares
// their results with the lists in expected/. Run it with `make peers`.
//
//	peers [-bin DIR] [-update] [SUITE...]
//
// A list has one line for each test:
//
//	pass NAME
//	fail NAME: reason
//
// Every test that does not pass needs a reason. A result that is not the expected
// one, a test without a line and a line without a test are errors; -update writes
// the list again from the results of the suite, and keeps the reasons.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"sekisho/e2e/harness"
)

// deadline ends a suite that hangs.
const deadline = 30 * time.Minute

// suite is a program that tests the server.
type suite struct {
	name string
	// environment is what the program needs besides the server's environment.
	environment func(server map[string]string) (map[string]string, error)
	// result reads a line of the program's output: a test and whether it passed.
	result func(line string) (test string, passed, ok bool)
}

var suites = []suite{
	{"versitygw", func(map[string]string) (map[string]string, error) { return nil, nil }, versityResult},
	{"minio-go", minioEnvironment, minioResult},
}

var (
	colors      = regexp.MustCompile("\x1b\\[[0-9;]*m")
	versityLine = regexp.MustCompile(`^(PASS|FAIL|SKIP) +([A-Za-z0-9_-]+)`)
)

func versityResult(line string) (test string, passed, ok bool) {
	m := versityLine.FindStringSubmatch(colors.ReplaceAllString(line, ""))
	if m == nil {
		return "", false, false
	}
	return m[2], m[1] == "PASS", true
}

func minioEnvironment(server map[string]string) (map[string]string, error) {
	u, err := url.Parse(server["AWS_ENDPOINT_URL"])
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"SERVER_ENDPOINT": u.Host, "ACCESS_KEY": server["AWS_ACCESS_KEY_ID"], "SECRET_KEY": server["AWS_SECRET_ACCESS_KEY"],
		"ENABLE_HTTPS": "1", "RUN_ON_FAIL": "1", "MINT_MODE": "full",
	}, nil
}

func minioResult(line string) (test string, passed, ok bool) {
	var r struct{ Name, Status string }
	if json.Unmarshal([]byte(line), &r) != nil || r.Status == "" {
		return "", false, false
	}
	return strings.TrimPrefix(r.Name, "minio-go: "), r.Status == "PASS", true
}

func main() {
	bin := flag.String("bin", "../bin", "folder of sekishod, and of the suites' programs in peers/")
	update := flag.Bool("update", false, "rewrite the lists of expected results")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, *update, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin string, update bool, names []string) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.ContainsFunc(suites, func(s suite) bool { return s.name == name }) {
			return fmt.Errorf("unknown suite %q", name)
		}
	}
	var errs []error
	for _, s := range suites {
		if len(names) == 0 || slices.Contains(names, s.name) {
			if err := s.run(ctx, bin, update); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// run runs a suite on its own server.
func (s suite) run(ctx context.Context, bin string, update bool) (err error) {
	dir, err := os.MkdirTemp("", "sekisho-peers")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	server, err := harness.Start(harness.Programs{Bin: bin}, dir, "--nodes", "0", "--region", "us-east-1")
	if err != nil {
		return err
	}
	got, err := s.results(ctx, bin, dir, server)
	if err = errors.Join(err, server.Stop()); err != nil {
		return err
	}
	file := filepath.Join("expected", s.name+".txt")
	want, err := readList(file)
	if err != nil && (!update || !errors.Is(err, os.ErrNotExist)) {
		return err
	}
	if update {
		return writeList(file, want, got)
	}
	return compare(s.name, want, got)
}

func (s suite) results(ctx context.Context, bin, dir string, server *harness.Server) (map[string]bool, error) {
	env, err := server.Env()
	if err != nil {
		return nil, err
	}
	more, err := s.environment(env)
	if err != nil {
		return nil, err
	}
	maps.Copy(env, more)
	delete(env, "AWS_CA_BUNDLE") // SSL_CERT_FILE says it, and one suite brings a client that cannot have both
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "peers", s.name))
	cmd.Dir = dir // some tests leave files behind
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	results := map[string]bool{}
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		fmt.Println(lines.Text())
		if test, passed, ok := s.result(lines.Text()); ok {
			before, twice := results[test]
			results[test] = passed && (!twice || before)
		}
	}
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil && len(results) == 0 {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return results, nil
}

// expectation is a line of a list.
type expectation struct {
	pass   bool
	reason string // why a test does not pass
}

func readList(file string) (map[string]expectation, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	list := map[string]expectation{}
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		outcome, rest, _ := strings.Cut(line, " ")
		test, reason, explained := strings.Cut(rest, ": ")
		_, twice := list[test]
		switch {
		case test == "" || outcome != "pass" && outcome != "fail" || twice:
			return nil, fmt.Errorf("%s:%d: want one line pass NAME or fail NAME: reason for each test", file, i+1)
		case outcome == "fail" && (!explained || strings.TrimSpace(reason) == ""):
			return nil, fmt.Errorf("%s:%d: %s has no reason", file, i+1, test)
		}
		list[test] = expectation{outcome == "pass", reason}
	}
	return list, nil
}

func writeList(file string, old map[string]expectation, got map[string]bool) error {
	var b bytes.Buffer
	for _, test := range slices.Sorted(maps.Keys(got)) {
		if got[test] {
			fmt.Fprintf(&b, "pass %s\n", test)
		} else {
			fmt.Fprintf(&b, "fail %s: %s\n", test, old[test].reason)
		}
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}

func compare(name string, want map[string]expectation, got map[string]bool) error {
	var wrong []string
	passed := 0
	for _, test := range slices.Sorted(maps.Keys(want)) {
		now, ran := got[test]
		switch {
		case !ran:
			wrong = append(wrong, test+" did not run")
		case want[test].pass && !now:
			wrong = append(wrong, test+" fails, and should pass")
		case !want[test].pass && now:
			wrong = append(wrong, test+" passes, and should fail: "+want[test].reason)
		case now:
			passed++
		}
	}
	for _, test := range slices.Sorted(maps.Keys(got)) {
		if _, known := want[test]; !known {
			wrong = append(wrong, fmt.Sprintf("%s (passes: %v) is not in the list", test, got[test]))
		}
	}
	fmt.Printf("%s: %d of %d tests pass\n", name, passed, len(got))
	if len(wrong) > 0 {
		return fmt.Errorf("unexpected results:\n  %s", strings.Join(wrong, "\n  "))
	}
	return nil
}
