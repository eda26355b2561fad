// Package agent keeps one home unlocked in a process of its own, so that its
// passphrase is typed once and not for every command.
//
// [New] and [Agent.Serve] are that process; [Dial] connects to it and returns a
// [Client], which is the home's KeyHolder. The agent never gives the device
// secret or a private key away: it signs, it opens and seals, and it locks. It
// has neither the confirm key nor the home's lock, so that a stolen socket is no
// second factor and commands work beside it.
//
// # Memory
//
// At rest the agent holds the device secret alone, in a page that is locked into
// memory and left out of dumps. Each operation reads the sealed file "keys" of
// the home, uses a key and erases it; soon after, the garbage is overwritten.
//
// # Socket
//
// The socket is NAME.sock in a directory for the user alone, "zeropass" in
// XDG_RUNTIME_DIR or else in the state directory of the XDG Base Directory
// Specification; NAME is the first 16 bytes of the SHA-256 of the home's path, in
// hexadecimal. Beside it NAME.lock is locked while the agent lives. Both ends
// refuse a peer of another user.
//
// # Protocol
//
// A frame is its length (4 bytes big-endian) and that many bytes: one byte of
// version, 1; one byte of operation, or of result in an answer; and parts, each its
// length (4 bytes big-endian) and its bytes. There is one answer to each
// request. A lock request is understood in every version.
//
//	1 keys       -                      sign key, seal key (33 bytes each), account (32 or 0), device (8)
//	2 sign       context                signature (64)
//	3 open       info, sealed           plaintext
//	4 seal file  path, plaintext        sealed
//	5 open file  path, sealed           plaintext
//	6 seal keys  account (32), device (8)  the file "keys"
//	7 lock       -                      -
//	8 status     -                      locks at (ms, 8), idle time (ms, 8), process id (8), memory is locked (1), the notifier's process id (8, or 0)
//	9 background  process id (8, or 0)   -
//
// What follows on a connection after background does not put off the end. With a
// process id the connection is the notifier's, for as long as it is open, and there
// is one notifier at a time.
//
// Results: 0 done; 1 refused; 2 does not open; 3 the home is another one than the
// agent was unlocked for; 4 another version; 5 there is a notifier already. An answer that is not 0 has one
// part, a text.
package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/memory"
)

// SecretSize is the size of the device secret, in bytes.
const SecretSize = 32

// DefaultIdle is after how much time without an operation an agent locks.
const DefaultIdle = 15 * time.Minute

var (
	// ErrNotRunning: no agent runs for the home.
	ErrNotRunning = errors.New("agent: none is running for this directory")
	// ErrRunning: an agent runs for the home already.
	ErrRunning = errors.New("agent: one is running for this directory already")
	// ErrOtherHome: the directory has another home than the agent was unlocked for.
	ErrOtherHome = errors.New("agent: it was unlocked for another account that was in this directory")
	// ErrVersion: the agent is of another version of the program.
	ErrVersion = errors.New("agent: it is of another version of zeropass")
	// ErrPeer: another user's process is at the other end, or could be.
	ErrPeer = errors.New("agent: the socket is not this user's alone")
	// ErrRefused: the agent does not do this for anybody.
	ErrRefused = errors.New("agent: refused")
	// ErrNotifying: the agent has a notifier already.
	ErrNotifying = errors.New("agent: desktop notifications are shown already")
)

// Agent holds a home's device secret until it is locked.
type Agent struct {
	dir  string
	idle time.Duration

	mu       sync.Mutex
	page     *memory.Page // nil once locked
	until    time.Time    // by the wall clock and the monotonic one
	notifier *connection  // nil where there is none
	locked   chan struct{}
	used     chan struct{} // something secret was done
}

// New reads the device secret of the home in dir, 32 bytes, and checks it. It
// returns ErrOtherHome if it is not this home's.
func New(dir string, secret io.Reader, idle time.Duration) (*Agent, error) {
	page, err := memory.NewPage()
	if err != nil {
		return nil, err
	}
	a := &Agent{dir: dir, idle: idle, page: page, locked: make(chan struct{}), used: make(chan struct{}, 1)}
	if _, err := io.ReadFull(secret, page.Bytes()[:SecretSize]); err != nil {
		a.Lock()
		return nil, fmt.Errorf("agent: read the device secret: %w", err)
	}
	if err := a.with(func(*home.SecretKeys) error { return nil }); err != nil {
		a.Lock()
		return nil, err
	}
	a.putOff()
	return a, nil
}

// with calls f with the keys, which live as long as f.
func (a *Agent) with(f func(*home.SecretKeys) error) (err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.page == nil {
		return home.ErrLocked
	}
	memory.Do(func() {
		keys, failed := home.ReadSecretKeys(a.dir, a.page.Bytes()[:SecretSize])
		if errors.Is(failed, home.ErrPassphrase) {
			err = ErrOtherHome
			return
		} else if failed != nil {
			err = fmt.Errorf("%w: %v", ErrRefused, failed)
			return
		}
		defer keys.Erase()
		err = f(keys)
	})
	select {
	case a.used <- struct{}{}:
	default:
	}
	return err
}

// putOff puts the end off by the whole idle time.
func (a *Agent) putOff() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.until = time.Now().Add(a.idle)
}

// Lock erases the secret. Serve returns. Locking again does nothing.
func (a *Agent) Lock() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.page == nil {
		return
	}
	a.page.Erase()
	a.page = nil
	close(a.locked)
}

// Until returns when the agent locks if nothing is asked of it.
func (a *Agent) Until() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.until
}

// lockWhenIdle locks in time. The monotonic clock stands still while the machine
// sleeps and the wall clock can be set back, so whichever comes first counts.
func (a *Agent) lockWhenIdle(ctx context.Context) {
	tick := time.NewTicker(min(time.Second, max(a.idle/10, time.Millisecond)))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			until, now := a.Until(), time.Now()
			if !now.Before(until) || !now.Round(0).Before(until.Round(0)) {
				a.Lock()
				return
			}
		}
	}
}

// scrubAfterUse overwrites what operations left, once there is a pause.
func (a *Agent) scrubAfterUse(ctx context.Context) {
	const pause = 100 * time.Millisecond
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.used:
		}
		for quiet := false; !quiet; {
			select {
			case <-ctx.Done():
				return
			case <-a.used:
			case <-time.After(pause):
				quiet = true
			}
		}
		memory.Scrub()
	}
}

// Serve answers on the listener, which it closes, until the agent is locked or ctx
// is done; then it locks, and nothing is left of the secret.
func (a *Agent) Serve(ctx context.Context, l *Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer func() {
		cancel()
		a.Lock()
		_ = l.UnixListener.Close()
		running.Wait()
		memory.Scrub()
		_ = l.Close() // from now on another agent may take its place
	}()
	running.Go(func() { a.lockWhenIdle(ctx) })
	running.Go(func() { a.scrubAfterUse(ctx) })
	running.Go(func() {
		select {
		case <-ctx.Done():
		case <-a.locked:
		}
		cancel()
		_ = l.UnixListener.Close()
	})
	for {
		conn, err := l.AcceptUnix()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("agent: %w", err)
		}
		running.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			defer func() { _ = conn.Close() }()
			if checkPeer(conn) == nil {
				a.answerAll(conn)
			}
		})
	}
}

// socketName returns the path of the socket of the home in dir, without its
// ending, in a directory that is the user's alone.
func socketName(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	place, err := socketDir()
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256([]byte(dir))
	return filepath.Join(place, hex.EncodeToString(hash[:16])), nil
}

// maxSocketPath is the longest path that a Unix socket has on every system, in
// bytes.
const maxSocketPath = 103

func socketDir() (string, error) {
	place := os.Getenv("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(place) {
		place = os.Getenv("XDG_STATE_HOME")
	}
	if !filepath.IsAbs(place) {
		user, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("agent: no directory for its socket: %w", err)
		}
		place = filepath.Join(user, ".local", "state")
	}
	place = filepath.Join(place, "zeropass")
	if n := len(place) + len("/") + 32 + len(".sock"); n > maxSocketPath {
		return "", fmt.Errorf("agent: the path of its socket in %s would have %d bytes, and %d are allowed: set XDG_RUNTIME_DIR", place, n, maxSocketPath)
	}
	return place, nil
}
