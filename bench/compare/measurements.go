package main

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"

	"sekisho/bench/sshd"
)

// floodLines is how many lines a PTY flood prints; floodBytes their size with
// the terminal's CR LF.
const floodLines = 2_000_000

// smallFiles is the number of files in the folder of small files.
const smallFiles = 10_000

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// inputs writes the files to transfer. Everyone can read them: sessions run as
// another user.
func (b *bench) inputs() error {
	if err := os.Chmod(b.dir, 0o755); err != nil {
		return err
	}
	random, err := os.Create(b.path("random"))
	if err != nil {
		return err
	}
	defer random.Close()
	if _, err := io.CopyN(random, rand.Reader, b.size); err != nil {
		return err
	}
	log, err := os.Create(b.path("text"))
	if err != nil {
		return err
	}
	defer log.Close()
	w := bufio.NewWriterSize(log, 1<<20)
	left := b.size
	for i := 0; left > 0; i++ {
		line := fmt.Sprintf(
			"[%8d] CC src/module_%d/object_%d.c -> build/module_%d.o (%d warnings)\n",
			i,
			i%97,
			i*7919%100003,
			i%97,
			i%3,
		)
		line = line[:min(int64(len(line)), left)]
		left -= int64(len(line))
		if _, err := w.WriteString(line); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	folder := b.path("small")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	for i := range smallFiles {
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("file-%05d", i)),
			[]byte(strings.Repeat(strconv.Itoa(i)+"\n", 100)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) measurements() []measurement {
	var all []measurement
	for _, kind := range []string{"text", "random"} {
		all = append(all, b.download(kind), b.upload(kind))
	}
	all = append(all, b.flood())
	for _, streams := range []int{1, 16} {
		all = append(all, b.forward("download", streams), b.forward("upload", streams))
	}
	if b.server.Plugin != "" {
		all = append(all, b.pluginDownload()...)
	}
	all = append(all, b.copyFile(), b.copyFolder())
	return append(all, b.api()...)
}

func (b *bench) download(kind string) measurement {
	file := b.path(kind)
	return measurement{
		name: "exec download, " + kind, unit: "MB/s", target: "≥ 0.8", peer: "ssh -T",
		ours: func() (float64, error) {
			took, err := timed(b.shell(`exec sekisho exec "$SEKISHO_TARGET" -- cat "$1"`, file), "", b.size)
			return rate(b.size, took, err)
		},
		theirs: func() (float64, error) {
			took, err := timed(b.peer.Client([]string{"-T"}, "cat", file), "", b.size)
			return rate(b.size, took, err)
		},
	}
}

func (b *bench) upload(kind string) measurement {
	file := b.path(kind)
	return measurement{
		name: "exec upload, " + kind, unit: "MB/s", target: "≥ 0.8", peer: "ssh -T",
		ours: func() (float64, error) {
			took, err := timed(
				b.shell(`exec sekisho exec "$SEKISHO_TARGET" -- sh -c 'cat >/dev/null; echo done'`),
				file,
				5,
			)
			return rate(b.size, took, err)
		},
		theirs: func() (float64, error) {
			took, err := timed(b.peer.Client([]string{"-T"}, "cat >/dev/null; echo done"), file, 5)
			return rate(b.size, took, err)
		},
	}
}

// flood prints many lines in a terminal.
func (b *bench) flood() measurement {
	size := int64(0)
	for digits, first := 1, 1; first <= floodLines; digits, first = digits+1, first*10 {
		size += int64(min(first*10-1, floodLines)-first+1) * int64(digits+2)
	}
	command := fmt.Sprintf("seq 1 %d", floodLines)
	sample := func(cmd *exec.Cmd) (float64, error) {
		tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
		if err != nil {
			return 0, err
		}
		defer tty.Close()
		began := time.Now()
		n, err := io.Copy(io.Discard, tty)
		took := time.Since(began)
		if err != nil && !errors.Is(err, syscall.EIO) { // EIO is the end of a terminal
			return 0, err
		}
		if err := cmd.Wait(); err != nil {
			return 0, err
		}
		if n < size {
			return 0, fmt.Errorf("%d bytes were shown, want at least %d", n, size)
		}
		return rate(size, took, nil)
	}
	return measurement{
		name: "PTY flood", unit: "MB/s", target: "≥ 1.0", peer: "ssh -tt",
		ours: func() (float64, error) {
			return sample(
				b.shell(
					`exec sekisho start-session "$SEKISHO_TARGET" --document-name AWS-StartInteractiveCommand --parameters `+
						`"command=$1"`,
					command,
				),
			)
		},
		theirs: func() (float64, error) { return sample(b.peer.Client([]string{"-tt"}, command)) },
	}
}

// forward transfers bytes through a forwarded port.
func (b *bench) forward(direction string, streams int) measurement {
	sample := func(start func(local, remote int) *exec.Cmd) (float64, error) {
		return b.forwarded(direction, streams, start, nil)
	}
	return measurement{
		name: fmt.Sprintf(
			"forward %s, %d stream(s)",
			direction,
			streams,
		), unit: "MB/s", target: "≥ 0.8", peer: "ssh -L",
		ours: func() (float64, error) {
			return sample(func(local, remote int) *exec.Cmd {
				return b.shell(
					`exec sekisho forward "$SEKISHO_TARGET" -L "$1:127.0.0.1:$2"`,
					strconv.Itoa(local),
					strconv.Itoa(remote),
				)
			})
		},
		theirs: func() (float64, error) {
			return sample(func(local, remote int) *exec.Cmd {
				return b.peer.Client([]string{"-N", "-L", fmt.Sprintf("%d:127.0.0.1:%d", local, remote)})
			})
		},
	}
}

// listen serves b.size bytes to each connection that asks for its share, or
// swallows what it is sent and acknowledges the end with one byte.
func (b *bench) listen(direction string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(b.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
				if err != nil {
					return
				}
				if direction == "download" {
					_ = send(conn, n) // the client counts
					return
				}
				if err := swallow(r, n); err == nil {
					_, _ = conn.Write([]byte{'k'}) // the client waits for it
				}
			}()
		}
	}()
	return l, nil
}

// noise is the transferred data. Its bytes vary so that it does not compress trivially.
var noise = func() []byte {
	b := make([]byte, 256<<10)
	for i := range b {
		b[i] = byte(i * 31)
	}
	return b
}()

// send and swallow take as little processor time as possible because it is part of the
// measurement.
func send(w io.Writer, n int64) error {
	for n > 0 {
		m, err := w.Write(noise[:min(n, int64(len(noise)))])
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}

func swallow(r io.Reader, n int64) error {
	buf := make([]byte, 256<<10)
	for n > 0 {
		m, err := r.Read(buf[:min(n, int64(len(buf)))])
		n -= int64(m)
		if err != nil && n > 0 {
			return err
		}
	}
	return nil
}

// transfer waits for the forwarded port and moves b.size bytes over streams.
func (b *bench) transfer(local int, direction string, streams int) (float64, error) {
	address := fmt.Sprintf("127.0.0.1:%d", local)
	share := b.size / int64(streams)
	conns := make([]net.Conn, streams)
	deadline := time.Now().Add(30 * time.Second)
	for i := range conns {
		for {
			conn, err := (&net.Dialer{}).DialContext(b.ctx, "tcp", address)
			if err == nil {
				conns[i] = conn
				break
			}
			if time.Now().After(deadline) {
				return 0, fmt.Errorf("the forwarded port does not accept connections: %w", err)
			}
			<-time.After(20 * time.Millisecond)
		}
		defer conns[i].Close()
	}
	var wg sync.WaitGroup
	failed := make([]error, streams)
	began := time.Now()
	for i, conn := range conns {
		wg.Go(func() {
			if _, failed[i] = fmt.Fprintf(conn, "%d\n", share); failed[i] != nil {
				return
			}
			if direction == "download" {
				failed[i] = swallow(conn, share)
				return
			}
			if failed[i] = send(conn, share); failed[i] == nil {
				_, failed[i] = io.ReadFull(conn, make([]byte, 1))
			}
		})
	}
	wg.Wait()
	return rate(share*int64(streams), time.Since(began), errors.Join(failed...))
}

// destination is an empty folder that sessions on the node can write to.
func (b *bench) destination() (string, error) {
	dir, err := os.MkdirTemp(b.dir, "copy-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o777)
}

// copyInto measures a copy into a new folder.
func (b *bench) copyInto(size int64, command func(to string) *exec.Cmd) func() (float64, error) {
	return func() (float64, error) {
		to, err := b.destination()
		if err != nil {
			return 0, err
		}
		if size >= 0 { // many deleted files would slow ext4 down for minutes
			defer os.RemoveAll(to)
		}
		took, err := timed(command(to), "", -1)
		if err != nil {
			return 0, err
		}
		var copied int64
		err = filepath.WalkDir(to, func(_ string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				copied += info.Size()
			}
			return err
		})
		if err == nil && size >= 0 && copied != size {
			err = fmt.Errorf("%d bytes arrived, want %d", copied, size)
		}
		if size < 0 {
			return smallFiles / took.Seconds(), err
		}
		return rate(size, took, err)
	}
}

func (b *bench) copyFile() measurement {
	return measurement{
		name: "cp, one file", unit: "MB/s", target: "≥ 1.0", peer: "scp",
		ours: b.copyInto(b.size, func(to string) *exec.Cmd {
			return b.shell(`exec sekisho cp -q "$1" "$SEKISHO_TARGET:$2/"`, b.path("random"), to)
		}),
		theirs: b.copyInto(b.size, func(to string) *exec.Cmd {
			return exec.CommandContext(
				b.ctx,
				"scp",
				append(b.peer.Options(), "-q", b.path("random"), sshd.Host+":"+to+"/")...)
		}),
	}
}

func (b *bench) copyFolder() measurement {
	return measurement{
		name: fmt.Sprintf("cp, %d small files", smallFiles), unit: "files/s", target: "≥ 1.0", peer: "rsync over ssh",
		ours: b.copyInto(-1, func(to string) *exec.Cmd {
			return b.shell(`exec sekisho cp -q "$1" "$SEKISHO_TARGET:$2/"`, b.path("small"), to)
		}),
		theirs: b.copyInto(-1, func(to string) *exec.Cmd {
			return exec.CommandContext(
				b.ctx,
				"rsync",
				"-a",
				"-e",
				"ssh "+strings.Join(b.peer.Options(), " "),
				b.path("small"),
				sshd.Host+":"+to+"/",
			)
		}),
	}
}

// encryptedFile writes size bytes encrypted to a file and syncs it: the minimum work for
// storing an object safely.
func (b *bench) encryptedFile(content []byte) (time.Duration, error) {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		return 0, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return 0, err
	}
	path := b.path("encrypted")
	defer os.Remove(path)
	began := time.Now()
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buffer := make([]byte, 0, 64<<10+aead.Overhead())
	nonce := make([]byte, aead.NonceSize())
	for i := 0; len(content) > 0; i++ {
		n := min(64<<10, len(content))
		nonce[0], nonce[1] = byte(i), byte(i>>8)
		if _, err := f.Write(aead.Seal(buffer, nonce, content[:n], nil)); err != nil {
			return 0, err
		}
		content = content[n:]
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}
