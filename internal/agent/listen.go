package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listener is the socket of a home's agent.
type Listener struct {
	*net.UnixListener
	lock *os.File
}

// Listen takes the socket of the home in dir. A socket that a crashed agent left
// behind is replaced. It returns ErrRunning, or ErrPeer if other users can reach
// the socket's directory.
func Listen(dir string) (*Listener, error) {
	name, err := socketName(dir)
	if err != nil {
		return nil, err
	}
	if err := makeDir(filepath.Dir(name)); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(name+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	l, err := listen(name, lock)
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	return &Listener{l, lock}, nil
}

func listen(name string, lock *os.File) (*net.UnixListener, error) {
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, ErrRunning
	} else if err != nil {
		return nil, fmt.Errorf("agent: lock %s: %w", lock.Name(), err)
	}
	socket := name + ".sock"
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("agent: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("agent: %w", err)
	}
	return l, nil
}

// Close removes the socket and lets go of its lock. Closing it again does nothing.
func (l *Listener) Close() error {
	err := l.UnixListener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	if closed := l.lock.Close(); !errors.Is(closed, fs.ErrClosed) {
		err = errors.Join(err, closed)
	}
	return err
}

// makeDir makes the directory of the sockets, and refuses one that somebody else
// owns or can reach.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 || !ok || int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: %s must be a directory of yours with mode 0700", ErrPeer, dir)
	}
	return nil
}

// checkPeer refuses another user's process at the other end.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	var uid int
	var failed error
	if err := raw.Control(func(fd uintptr) { uid, failed = peerUser(int(fd)) }); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	if failed != nil {
		return fmt.Errorf("agent: who is at the other end: %w", failed)
	}
	if uid != os.Geteuid() {
		return fmt.Errorf("%w: user %d is at the other end", ErrPeer, uid)
	}
	return nil
}
