package postgres

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"github.com/jackc/pgx/v5/pgconn"
)

// socket reads and writes without telling Go's scheduler. Neither ever blocks, but
// where PostgreSQL is on the same machine a write often gives it the processor at once.
// To the scheduler it then looks as if the write took long: it hands what else there is
// to do to another thread, and looks every 20 microseconds for more such calls, which
// took a tenth of a reveal's time.
type socket struct {
	net.Conn
	raw syscall.RawConn
}

// dialer opens sockets like dial.
func dialer(dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if direct, ok := conn.(syscall.Conn); ok {
			raw, err := direct.SyscallConn()
			if err != nil {
				_ = conn.Close()
				return nil, err
			}
			conn = &socket{conn, raw}
		}
		return conn, nil
	}
}

// Read implements [net.Conn].
func (s *socket) Read(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	var failed syscall.Errno
	if err := s.raw.Read(func(fd uintptr) bool {
		n, failed = call(syscall.SYS_READ, fd, b)
		return failed != syscall.EAGAIN
	}); err != nil {
		return 0, err
	}
	if failed != 0 {
		return 0, s.failed("read", failed)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Write implements [net.Conn].
func (s *socket) Write(b []byte) (n int, err error) {
	for n < len(b) {
		var failed syscall.Errno
		if err := s.raw.Write(func(fd uintptr) bool {
			var wrote int
			wrote, failed = call(syscall.SYS_WRITE, fd, b[n:])
			n += wrote
			return failed != syscall.EAGAIN
		}); err != nil {
			return n, err
		}
		if failed != 0 {
			return n, s.failed("write", failed)
		}
	}
	return n, nil
}

// failed is the error of package net for a call that failed.
func (s *socket) failed(name string, failed syscall.Errno) error {
	return &net.OpError{Op: name, Net: s.LocalAddr().Network(), Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: os.NewSyscallError(name, failed)}
}

// call makes a system call about bytes, of which there is at least one. The descriptor
// does not block.
func call(number, fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		n, _, failed := syscall.RawSyscall(number, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch failed {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, failed
		}
	}
}
