package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/creack/pty"

	"sekisho/internal/session/screen"
)

const (
	columns = 108
	rows    = 24
	prompt  = "$ "
)

// A frame is what the screen shows from a moment on.
type frame struct {
	at    time.Duration
	lines [][]screen.Cell
	x, y  int // cursor
}

// film types the steps in a shell and returns what its terminal showed, with
// the time counted from the first frame. Waiting for a command does not count
// for more than a second.
func film(ctx context.Context, data string, steps []step) ([]frame, error) {
	shell := exec.CommandContext(ctx, "bash", "--norc", "--noprofile")
	shell.Env = append(os.Environ(), "PS1="+prompt, "TERM=xterm-256color", "HISTFILE=/dev/null")
	tty, err := pty.StartWithSize(shell, &pty.Winsize{Rows: rows, Cols: columns})
	if err != nil {
		return nil, err
	}
	defer tty.Close()

	c := &camera{tty: tty, screen: screen.New(columns, rows), output: make(chan []byte)}
	go c.read()
	if err := c.until(prompt); err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(tty, " . %s/env; PS1='%s'; clear\n", data, prompt); err != nil {
		return nil, err
	}
	if err := c.until("\x1b[2J"); err != nil {
		return nil, err
	}
	c.pause(500 * time.Millisecond)
	c.frames = c.frames[len(c.frames)-1:]
	c.frames[0].at = c.now
	for _, s := range steps {
		if err := c.typeLine(s.line); err != nil {
			return nil, err
		}
		if err := c.until(prompt); err != nil {
			return nil, fmt.Errorf("%s: %w", s.line, err)
		}
		c.pause(s.read)
	}
	start := c.frames[0].at
	for i := range c.frames {
		c.frames[i].at -= start
	}
	c.frames = append(c.frames, frame{at: c.now - start})
	return c.frames, nil
}

// camera keeps what a terminal shows. Its clock counts the time on film.
type camera struct {
	tty interface {
		Read([]byte) (int, error)
		Write([]byte) (int, error)
	}
	screen *screen.Screen
	output chan []byte
	seen   string // the end of what was written
	now    time.Duration
	frames []frame
}

func (c *camera) read() {
	defer close(c.output)
	for {
		buf := make([]byte, 16<<10)
		n, err := c.tty.Read(buf)
		if n > 0 {
			c.output <- buf[:n]
		}
		if err != nil {
			return
		}
	}
}

// write shows output on the screen and adds a frame.
func (c *camera) write(p []byte) {
	c.screen.Write(p) //nolint:errcheck // a screen takes everything
	c.seen += string(p)
	f := frame{at: c.now}
	for y := range rows {
		f.lines = append(f.lines, slices.Clone(c.screen.Row(y)))
	}
	f.x, f.y, _ = c.screen.Cursor()
	c.frames = append(c.frames, f)
}

// until waits until the output ends with a text.
func (c *camera) until(text string) error {
	const longest = time.Second
	began, filmed := time.Now(), c.now
	limit := time.After(time.Minute)
	for !strings.Contains(lastLine(c.seen), text) {
		select {
		case p, open := <-c.output:
			if !open {
				return fmt.Errorf("the shell ended; its last output: %q", lastLine(c.seen))
			}
			c.now = filmed + min(time.Since(began), longest)
			c.write(p)
		case <-limit:
			return fmt.Errorf("no %q within a minute; the last output: %q", text, lastLine(c.seen))
		}
	}
	return nil
}

// pause shows output for so long.
func (c *camera) pause(d time.Duration) {
	began, filmed := time.Now(), c.now
	end := time.After(d)
	for {
		select {
		case p, open := <-c.output:
			if !open {
				return
			}
			c.now = filmed + time.Since(began)
			c.write(p)
		case <-end:
			c.now = filmed + d
			return
		}
	}
}

// typeLine types a line at the pace of a person.
func (c *camera) typeLine(line string) error {
	for _, r := range line {
		if _, err := c.tty.Write([]byte(string(r))); err != nil {
			return err
		}
		c.pause(45 * time.Millisecond)
	}
	c.pause(250 * time.Millisecond)
	c.seen = ""
	_, err := c.tty.Write([]byte("\r"))
	return err
}

func lastLine(s string) string {
	return s[strings.LastIndexByte(s, '\n')+1:]
}
