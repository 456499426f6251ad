package link

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// direct is a TCP connection whose reads and writes bypass Go's entry to system calls,
// which wakes the runtime's monitor in case the call blocks. These calls cannot block
// because the socket is non-blocking. For a keystroke, the monitor's wake-ups cost more
// than the calls. One goroutine may read while another writes.
type direct struct {
	net.Conn
	raw         syscall.RawConn
	read, write transfer
}

// transfer is a read or write in progress.
type transfer struct {
	call uintptr
	p    []byte
	n    int
	err  syscall.Errno
	do   func(fd uintptr) bool
}

func newTransfer(t *transfer, call uintptr) {
	t.call = call
	t.do = func(fd uintptr) bool {
		for {
			n, _, err := syscall.RawSyscall(t.call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(t.p))), uintptr(len(t.p)))
			switch err {
			case syscall.EINTR:
				continue
			case syscall.EAGAIN:
				return false // wait until the socket is ready
			}
			t.n, t.err = int(n), err
			return true
		}
	}
}

// newDirect wraps conn in a direct if it is a TCP connection, and returns it unchanged
// otherwise.
func newDirect(conn net.Conn) net.Conn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return conn
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return conn
	}
	d := &direct{Conn: conn, raw: raw}
	newTransfer(&d.read, syscall.SYS_READ)
	newTransfer(&d.write, syscall.SYS_WRITE)
	return d
}

// NetConn returns the underlying connection.
func (d *direct) NetConn() net.Conn { return d.Conn }

// Read implements [net.Conn].
func (d *direct) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	d.read.p = p
	err := d.raw.Read(d.read.do)
	d.read.p = nil
	switch {
	case err != nil:
		return 0, named("read", err)
	case d.read.err != 0:
		return 0, d.failed("read", d.read.err)
	case d.read.n == 0:
		return 0, io.EOF
	}
	return d.read.n, nil
}

// Write implements [net.Conn].
func (d *direct) Write(p []byte) (n int, err error) {
	for n < len(p) {
		d.write.p = p[n:]
		err := d.raw.Write(d.write.do)
		d.write.p = nil
		if err != nil {
			return n, named("write", err)
		}
		if d.write.err != 0 {
			return n, d.failed("write", d.write.err)
		}
		n += d.write.n
	}
	return n, nil
}

// named wraps an error of the connection as callers expect it.
func named(op string, err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		same := *e
		same.Op = op
		return &same
	}
	return err
}

func (d *direct) failed(op string, err syscall.Errno) error {
	return &net.OpError{
		Op: op, Net: "tcp", Source: d.LocalAddr(), Addr: d.RemoteAddr(), Err: os.NewSyscallError(op, err),
	}
}
