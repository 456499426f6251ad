package ssmagent

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mux"
)

// plugin is a session type.
type plugin struct {
	greets bool
	shows  any // to the client, in the handshake
	input  func(m *mgs.Message) error
	run    func(w *worker) result
}

func (w *worker) plugin() (plugin, bool) {
	switch w.doc.SessionType {
	case "Standard_Stream":
		t := &terminal{w: w, prompt: "$ "}
		return plugin{input: t.input, run: func(*worker) result { return t.run(w.doc.Inputs.ShellProfile.Linux) }}, true
	case "InteractiveCommands":
		t := &terminal{w: w}
		return plugin{
			input: t.input,
			run:   func(*worker) result { return t.run(property(w.doc.Properties, "linux", "commands")) },
		}, true
	case "NonInteractiveCommands":
		return plugin{greets: true, input: func(*mgs.Message) error { return nil }, run: runCommand}, true
	case "Port":
		p := &port{w: w}
		return plugin{
			greets: true,
			shows:  w.doc.Properties,
			input:  p.input,
			run:    func(*worker) result { return p.run() },
		}, true
	}
	return plugin{}, false
}

// terminal imitates a shell in a terminal.
type terminal struct {
	w      *worker
	prompt string // none for a command

	mu         sync.Mutex
	ready      bool
	line       []byte
	cols, rows int
	lines      chan string
}

func (t *terminal) input(m *mgs.Message) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ready {
		return errNotReady
	}
	switch m.PayloadType {
	case mgs.PayloadSize:
		size, err := mgs.ParseBody[mgs.Size](m.Payload)
		if err != nil {
			return err
		}
		t.cols, t.rows = int(size.Cols), int(size.Rows)
	case mgs.PayloadOutput:
		for _, b := range m.Payload {
			switch b {
			case '\r':
				t.lines <- string(t.line)
				t.line = nil
			case 3:
				t.line = nil
				t.lines <- "\x03"
			default:
				t.line = append(t.line, b)
			}
		}
	}
	return nil
}

// run executes first, which a shell types to itself, or which is the command.
func (t *terminal) run(first string) result {
	ctx := t.w.cancelled
	out := func(s string) { t.w.ch.output(ctx, mgs.PayloadOutput, []byte(s)) }
	t.mu.Lock()
	t.ready, t.lines = true, make(chan string, 4096)
	t.mu.Unlock()
	done := result{status: mgs.TaskSuccess}
	if !t.w.a.rest(ctx, time.Second) { // it rests before the first read
		return done
	}
	stdout, stderr, _, over := t.eval(first)
	if t.prompt == "" {
		out(crlf(stdout + stderr))
		t.w.ch.drain(ctx)
		t.w.ch.state(t.w.dead, mgs.SessionStateTerminating)
		return done
	}
	out(t.prompt)
	for !over {
		var line string
		select {
		case line = <-t.lines:
		case <-ctx.Done():
			return done // it was cancelled, which counts as success
		}
		if line == "\x03" {
			out("^C\r\n" + t.prompt)
			continue
		}
		stdout, stderr, _, over = t.eval(line)
		text := line + "\r\n" + crlf(stdout+stderr)
		if !over {
			text += t.prompt
		}
		out(text)
	}
	t.w.ch.drain(ctx)
	t.w.ch.state(t.w.dead, mgs.SessionStateTerminating)
	return done
}

func (t *terminal) eval(line string) (stdout, stderr string, code int, exit bool) {
	t.mu.Lock()
	size := fmt.Sprintf("%d %d", t.rows, t.cols)
	t.mu.Unlock()
	return eval(line, size)
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// eval is the shell: echo, complain (echo to standard error), seq, size, exit.
func eval(line, size string) (stdout, stderr string, code int, exit bool) {
	for command := range strings.SplitSeq(line, ";") {
		name, rest, _ := strings.Cut(strings.TrimSpace(command), " ")
		switch name {
		case "":
		case "echo":
			stdout += rest + "\n"
		case "complain":
			stderr += rest + "\n"
		case "size":
			stdout += size + "\n"
		case "seq":
			n, _ := strconv.Atoi(rest)
			var b strings.Builder
			for i := 1; i <= n; i++ {
				b.WriteString(strconv.Itoa(i) + "\n")
			}
			stdout += b.String()
		case "exit":
			code, _ = strconv.Atoi(rest)
			return stdout, stderr, code, true
		default:
			stderr += name + ": not found\n"
			code = 127
		}
	}
	return stdout, stderr, code, false
}

// runCommand runs a command without a terminal. Its output comes at the end,
// or in two streams and with its exit status.
func runCommand(w *worker) result {
	stdout, stderr, code, _ := eval(property(w.doc.Properties, "linux", "commands"), "")
	if property(w.doc.Properties, "linux", "separateOutputStream") != "true" {
		w.ch.output(w.cancelled, mgs.PayloadOutput, []byte(stdout+stderr))
	} else {
		prefix := func(s string) string { return property(w.doc.Properties, "linux", s) }
		if stdout != "" {
			w.ch.output(w.cancelled, mgs.PayloadOutput, []byte(prefix("stdOutSeparatorPrefix")+stdout))
		}
		if stderr != "" {
			w.ch.output(w.cancelled, mgs.PayloadStdErr, []byte(prefix("stdErrSeparatorPrefix")+stderr))
		}
		w.ch.send(w.cancelled, mgs.PayloadExitCode, mgs.AppendExitCode(nil, code))
	}
	w.ch.drain(w.cancelled)
	w.ch.state(w.dead, mgs.SessionStateTerminating)
	return result{status: mgs.TaskSuccess}
}

// port joins the session to a TCP port: with a type it carries many
// connections, otherwise one.
type port struct {
	w *worker

	mu   sync.Mutex
	conn io.ReadWriteCloser // where input goes; nil until connected
}

func (p *port) input(m *mgs.Message) error {
	p.mu.Lock()
	conn := p.conn
	p.mu.Unlock()
	if conn == nil {
		return errNotReady
	}
	switch m.PayloadType {
	case mgs.PayloadOutput:
		_, err := conn.Write(m.Payload)
		return err
	case mgs.PayloadFlag:
		if f, err := mgs.ParseFlag(m.Payload); err == nil && f == mgs.FlagTerminateSession {
			p.w.cancel()
		}
	}
	return nil
}

func (p *port) dial(ctx context.Context) (net.Conn, error) {
	host := property(p.w.doc.Properties, "host")
	if host == "" {
		host = "localhost"
	}
	addr := net.JoinHostPort(host, property(p.w.doc.Properties, "portNumber"))
	if p.w.a.cfg.DialPort != nil {
		return p.w.a.cfg.DialPort(ctx, addr)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

func (p *port) run() result {
	if property(p.w.doc.Properties, "type") == "LocalPortForwarding" {
		return p.many()
	}
	conn, err := p.dial(p.w.cancelled)
	if err != nil {
		p.w.ch.close()
		return result{untold: true} // the original fails on the connection that it does not have
	}
	defer context.AfterFunc(p.w.cancelled, func() { _ = conn.Close() })()
	p.mu.Lock()
	p.conn = conn
	p.mu.Unlock()
	p.copyOut(conn)
	return result{status: mgs.TaskSuccess}
}

// copyOut sends the data of r, one read at a time.
func (p *port) copyOut(r io.Reader) {
	b := make([]byte, payloadSize)
	for {
		n, err := r.Read(b)
		if err != nil {
			return
		}
		p.w.ch.output(p.w.cancelled, mgs.PayloadOutput, b[:n])
	}
}

func (p *port) many() result {
	ours, muxed := net.Pipe()
	session := mux.Server(muxed)
	var streams sync.WaitGroup
	defer streams.Wait()
	defer func() { _ = session.Close() }()
	defer context.AfterFunc(p.w.cancelled, func() { _ = ours.Close() })()
	p.mu.Lock()
	p.conn = ours
	p.mu.Unlock()
	streams.Go(func() {
		for {
			stream, err := session.Accept()
			if err != nil {
				return
			}
			conn, err := p.dial(p.w.cancelled)
			if err != nil {
				p.w.ch.send(p.w.cancelled, mgs.PayloadFlag, mgs.FlagConnectToPortError.Bytes())
				_ = stream.Close()
				continue
			}
			streams.Go(func() { carry(stream, conn) })
		}
	})
	p.copyOut(ours)
	return result{status: mgs.TaskSuccess}
}

// carry joins two connections until both directions have ended.
func carry(a, b io.ReadWriteCloser) {
	var both sync.WaitGroup
	half := func(dst, src io.ReadWriteCloser) {
		_, _ = io.Copy(dst, src) // whatever the error
		_ = dst.Close()
	}
	both.Go(func() { half(a, b) })
	both.Go(func() { half(b, a) })
	both.Wait()
}
