// Package postgresd runs a PostgreSQL server in a directory of its own.
//
// The server listens on a socket in that directory, and knows nothing of one that
// the machine may have. It ends with the process that started it, however that ends,
// and its files go with it.
package postgresd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options of a server.
type Options struct {
	// Durable makes it write to the disk before it acknowledges, as a server does
	// that has data to lose. Without it tests are faster.
	Durable bool
	// Loopback makes it listen on 127.0.0.1 too, where it wants passwords.
	Loopback bool
}

// Server is a PostgreSQL server.
type Server struct {
	dir      string // with the data, the socket and the log
	programs string // directory of PostgreSQL's
	account  *syscall.SysProcAttr
	options  Options
	port     int // on loopback, or 0

	guard *exec.Cmd      // nil while the server does not run
	order io.WriteCloser // what the guard reads
}

// ErrMissing: PostgreSQL is not on this machine.
var ErrMissing = errors.New("PostgreSQL is not installed (Debian: apt install postgresql)")

// Start makes an empty server and starts it. It returns an error that wraps
// [ErrMissing] where there is no PostgreSQL.
func Start(ctx context.Context, o Options) (*Server, error) {
	programs, err := findPrograms()
	if err != nil {
		return nil, err
	}
	s := &Server{options: o, programs: programs}
	if s.dir, err = os.MkdirTemp("", "zeropass-postgres-"); err != nil {
		return nil, err
	}
	if err = s.make(); err == nil {
		err = s.Run(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// findPrograms finds PostgreSQL's, which Debian keeps out of the path.
func findPrograms() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is sound
	if path, err := exec.LookPath("initdb"); err == nil {
		found = append(found, path)
	}
	if len(found) == 0 {
		return "", ErrMissing
	}
	path, err := filepath.EvalSymlinks(found[len(found)-1])
	return filepath.Dir(path), err
}

func (s *Server) make() error {
	var err error
	if s.account, err = unprivileged(s.dir); err != nil {
		return err
	}
	if s.options.Loopback {
		if s.port, err = freePort(); err != nil {
			return err
		}
	}
	out, err := s.command(filepath.Join(s.programs, "initdb"), "--pgdata", s.data(), "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8",
		"--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// unprivileged gives a directory to whom the server runs as: PostgreSQL does not run
// as root.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	attributes := &syscall.SysProcAttr{Setsid: true} // Ctrl-C is for this process
	if os.Getuid() != 0 {
		return attributes, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if err := errors.Join(uidErr, gidErr, os.Chown(dir, uid, gid)); err != nil {
		return nil, err
	}
	attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attributes, nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.SysProcAttr = s.dir, s.account
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
	return cmd
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// guard starts the server and ends it with the signal that it reads. When there is
// nobody any more who could say one, it removes everything.
const guard = `
"$@" >>log 2>&1 &
server=$!
read -r signal
kill -"${signal:-QUIT}" $server
wait $server
[ -n "$signal" ] || rm -rf "$PWD"
`

// Run starts the server again after Stop or Crash, and waits until it answers.
func (s *Server) Run(ctx context.Context) error {
	args := []string{"-c", guard, "guard", filepath.Join(s.programs, "postgres"), "-D", s.data(), "-k", s.dir,
		"-c", "listen_addresses=", "-c", "max_connections=200", "-c", "log_min_messages=fatal"}
	if s.port != 0 {
		args = append(args, "-c", "listen_addresses=127.0.0.1", "-c", fmt.Sprintf("port=%d", s.port))
	}
	if !s.options.Durable {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	cmd := s.command("/bin/sh", args...)
	order, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.guard, s.order = cmd, order
	return s.awaitReady(ctx)
}

func (s *Server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("PostgreSQL does not start: %w: %s", err, bytes.TrimSpace(log))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// end ends the server with a signal and waits for it. PostgreSQL says with its exit
// code how many sessions it ended.
func (s *Server) end(signal string) {
	if s.guard == nil {
		return
	}
	_, _ = fmt.Fprintln(s.order, signal)
	_ = s.guard.Wait()
	s.guard = nil
}

// Stop ends the server, and all connections to it. What it acknowledged is in its
// files.
func (s *Server) Stop() { s.end("INT") }

// Crash ends the server as a failure does: it recovers from its log at the next
// start.
func (s *Server) Crash() { s.end("QUIT") }

// Close ends the server and removes its files.
func (s *Server) Close() error {
	s.end("QUIT")
	return os.RemoveAll(s.dir)
}

// Process returns the id of the server's first process, of which all others are
// children.
func (s *Server) Process() (int, error) {
	b, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	id, _, _ := strings.Cut(string(b), "\n")
	return strconv.Atoi(id)
}

// URL of a database on the server's socket, for its superuser.
func (s *Server) URL(database string) string {
	query := url.Values{"host": {s.dir}, "user": {"postgres"}, "sslmode": {"disable"}}
	if s.port != 0 {
		query.Set("port", strconv.Itoa(s.port))
	}
	return "postgres:///" + database + "?" + query.Encode()
}

// LoopbackURL of a database on 127.0.0.1.
func (s *Server) LoopbackURL(user, database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", user, s.port, database)
}
