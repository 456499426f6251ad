package e2e_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"sekisho/e2e/harness"
)

// outage is a server whose clients and node reach it over cables.
type outage struct {
	t             *testing.T
	server        *harness.Server
	node          *harness.Agent
	client, agent *harness.Cable
	begun         sync.WaitGroup // programs that must start before the outage
	endpoint      string         // of clients
}

// TestOutage disconnects a running program, which ends meanwhile. After any
// outage, the client has all output and the exit code.
// SEKISHO_E2E_OUTAGES=long adds outages of minutes.
func TestOutage(t *testing.T) {
	t.Parallel()
	away := []time.Duration{time.Second, 5 * time.Second, 9 * time.Second, 12 * time.Second}
	if os.Getenv("SEKISHO_E2E_OUTAGES") == "long" {
		away = append(away, 30*time.Second, 2*time.Minute)
	}
	for name, way := range map[string]struct {
		begin func(o *outage) error
		end   func(o *outage) error
		cut   bool
	}{
		"kill -9": {
			func(o *outage) error { return o.server.Kill() }, func(o *outage) error { return o.server.Run() }, false,
		},
		"SIGTERM": {
			func(o *outage) error { return o.server.Stop() }, func(o *outage) error { return o.server.Run() }, false,
		},
		"client cut off": {
			func(o *outage) error { o.client.Cut(); return nil }, func(o *outage) error { o.client.Restore(); return nil }, true,
		},
		"node cut off": {
			func(o *outage) error { o.agent.Cut(); return nil }, func(o *outage) error { o.agent.Restore(); return nil }, true,
		},
	} {
		for _, d := range away {
			t.Run(fmt.Sprintf("%s for %s", name, d), func(t *testing.T) {
				t.Parallel()
				o := newOutage(t)
				var all sync.WaitGroup
				// AWS's plugin gives up 3 s after it lost its connection.
				runs := []func(){o.exec, o.shell, o.forward, o.copy}
				if way.cut || d <= time.Second {
					runs = append(runs, o.plugin)
				}
				o.begun.Add(len(runs))
				for _, run := range runs {
					all.Go(run)
				}
				o.begun.Wait()
				if err := way.begin(o); err != nil {
					t.Error(err)
				}
				<-time.After(d)
				if err := way.end(o); err != nil {
					t.Error(err)
				}
				all.Wait()
			})
		}
	}
}

func newOutage(t *testing.T) *outage {
	t.Helper()
	s := ownServer(t)
	o := &outage{t: t, server: s}
	u, err := url.Parse(env(t, s)["AWS_ENDPOINT_URL"])
	if err != nil {
		t.Fatal(err)
	}
	o.client, o.agent = harness.NewCable(t, u.Host), harness.NewCable(t, u.Host)
	o.endpoint = "https://" + o.client.Addr
	s.AgentEndpoint = "https://" + o.agent.Addr
	o.node = s.StartAgent(t, "node", -1)
	return o
}

// run runs a client's script to its end, and calls begun when "begin" is in
// its output.
func (o *outage) run(stdin, script string, args ...string) harness.Result {
	cmd := o.server.Shell(
		o.t.Context(),
		nil,
		`AWS_ENDPOINT_URL=$1; shift; `+script,
		append([]string{o.endpoint, o.node.NodeID}, args...)...)
	out := &watched{begun: o.begun.Done}
	var errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &errOut
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	err := cmd.Run()
	out.seen()
	if cmd.ProcessState == nil {
		o.t.Errorf("%s: %v", script, err)
		return harness.Result{Code: -1}
	}
	return harness.Result{Stdout: out.b.String(), Stderr: errOut.String(), Code: cmd.ProcessState.ExitCode()}
}

// watched is output that reports once that a program has begun.
type watched struct {
	b     bytes.Buffer
	begun func()
	once  sync.Once
}

func (w *watched) seen() { w.once.Do(w.begun) }

// Write implements io.Writer.
func (w *watched) Write(p []byte) (int, error) {
	n, err := w.b.Write(p)
	if bytes.Contains(w.b.Bytes(), []byte("begin\n")) || bytes.Contains(w.b.Bytes(), []byte("begin\r\n")) {
		w.seen()
	}
	return n, err
}

const program = `echo begin; sleep 3; echo RESULT; exit 7`

func (o *outage) exec() {
	r := o.run("", `sekisho exec "$1" -- sh -c "$2"`, program)
	if r.Stdout != "begin\nRESULT\n" || r.Code != 7 {
		o.t.Errorf("exec: exit %d, %q, %s", r.Code, r.Stdout, r.Stderr)
	}
}

func (o *outage) shell() {
	r := o.run("stty -echo\n"+strings.ReplaceAll(program, "; ", "\n")+"\n", `sekisho start-session "$1"`)
	if !strings.Contains(r.Stdout, "RESULT\r\n") || r.Code != 7 {
		o.t.Errorf("shell: exit %d, %q, %s", r.Code, r.Stdout, r.Stderr)
	}
}

func (o *outage) plugin() {
	done := sync.OnceFunc(o.begun.Done)
	defer done()
	term := harness.OpenTerminal(o.t, 24, 80, o.server.Shell(o.t.Context(), nil,
		`AWS_ENDPOINT_URL=$1; aws ssm start-session --target "$2"`, o.endpoint, o.node.NodeID))
	term.Expect(awhile, harness.Prompt)
	term.Send("echo be''gin; sleep 3; echo RES''ULT; exit 7\r")
	term.Expect(soon, `(?m)^begin$`)
	done()
	term.Expect(3*time.Minute, `(?m)^RESULT$`)
	term.Expect(awhile, "Exiting session")
}

// forward downloads from a server that pauses, through a forwarded port.
func (o *outage) forward() {
	done := sync.OnceFunc(o.begun.Done)
	defer done()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		o.t.Error(err)
		return
	}
	defer l.Close()
	want := make([]byte, 1<<20)
	_, _ = rand.Read(want)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("begin\n"))
		<-time.After(3 * time.Second)
		_, _ = conn.Write(want)
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	listening := regexp.MustCompile(`on (\S+) for `)
	out := background(o.t, o.server.Shell(
		o.t.Context(),
		nil,
		`AWS_ENDPOINT_URL=$1; exec sekisho forward "$2" -L "0:127.0.0.1:$3"`,
		o.endpoint,
		o.node.NodeID,
		port,
	), listening)
	conn, err := net.Dial("tcp", out[1])
	if err != nil {
		o.t.Error(err)
		return
	}
	defer conn.Close()
	got := make([]byte, 6)
	if _, err := io.ReadFull(conn, got); err != nil {
		o.t.Errorf("forward: %v", err)
	}
	done()
	got, err = io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, want) {
		o.t.Errorf("forward: %d bytes of %d, %v", len(got), len(want), err)
	}
}

// copy fetches a file from the node, which is still being copied when the
// outage begins.
func (o *outage) copy() {
	begun := sync.OnceFunc(o.begun.Done)
	defer begun()
	// The node's user reads it and cannot enter the test's own folder.
	dir, err := os.MkdirTemp("", "sekisho-copy-")
	if err != nil {
		o.t.Error(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	from, to := filepath.Join(dir, "from"), o.t.TempDir()
	want := make([]byte, 256<<20)
	_, _ = rand.Read(want)
	if err := errors.Join(os.WriteFile(from, want, 0o644), os.Chmod(dir, 0o755)); err != nil {
		o.t.Error(err)
		return
	}
	done := make(chan struct{})
	go func() { // as soon as some data has arrived
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			if files, err := os.ReadDir(to); err != nil || len(files) > 0 {
				begun()
				return
			}
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	}()
	r := harness.Do(o.t, o.server.Shell(o.t.Context(), nil,
		`AWS_ENDPOINT_URL=$1; sekisho cp "$2:$3" "$4"`, o.endpoint, o.node.NodeID, from, to))
	close(done)
	got, err := os.ReadFile(filepath.Join(to, "from"))
	if err != nil || !bytes.Equal(got, want) || r.Code != 0 {
		o.t.Errorf("cp: exit %d, %d bytes of %d, %v, %s", r.Code, len(got), len(want), err, r.Stderr)
	}
}
