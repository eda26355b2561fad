// Package postgrestest runs a PostgreSQL server for a test.
//
// It has a directory of its own and listens on a socket in it, and knows nothing
// of a server that the machine may have. It ends with the test, and also when the
// test's process ends in any other way.
package postgrestest

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
	"sync/atomic"
	"syscall"
	"testing"
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

// Server is a PostgreSQL server that runs.
type Server struct {
	dir       string // with the data, the socket and the log
	programs  string // directory of PostgreSQL's
	account   *syscall.SysProcAttr
	options   Options
	port      int // on loopback, or 0
	databases atomic.Int64

	guard *exec.Cmd
	order io.WriteCloser // what the guard reads
}

const missing = "PostgreSQL is missing: run make test, which installs it"

// Start makes a server and starts it.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{options: o, programs: programs(t)}
	var err error
	if s.dir, err = os.MkdirTemp("", "zeropass-postgres-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(s.dir) })
	s.account = s.unprivileged(t)
	initdb := s.command("initdb", "--pgdata", s.data(), "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8",
		"--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	if o.Loopback {
		s.port = freePort(t)
	}
	s.Run(t)
	t.Cleanup(func() { _ = s.end("QUIT") }) // nobody reads its files again
	return s
}

// programs finds PostgreSQL's, which Debian keeps out of the path.
func programs(t testing.TB) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is sound
	if path, err := exec.LookPath("initdb"); err == nil {
		found = append(found, path)
	}
	if len(found) == 0 {
		t.Fatal(missing)
	}
	path, err := filepath.EvalSymlinks(found[len(found)-1])
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(path)
}

// unprivileged gives the directory to whom the server runs as: PostgreSQL does not
// run as root.
func (s *Server) unprivileged(t testing.TB) *syscall.SysProcAttr {
	t.Helper()
	attributes := &syscall.SysProcAttr{Setsid: true} // Ctrl-C is for the test
	if os.Getuid() != 0 {
		return attributes
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatalf("%s (%v)", missing, err)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if err := errors.Join(uidErr, gidErr, os.Chown(s.dir, uid, gid)); err != nil {
		t.Fatal(err)
	}
	attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attributes
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.programs, program), args...)
	cmd.Dir, cmd.SysProcAttr = s.dir, s.account
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
	return cmd
}

func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
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

// Run starts the server again after Stop or Crash.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	args := []string{"-c", guard, "guard", filepath.Join(s.programs, "postgres"), "-D", s.data(), "-k", s.dir,
		"-c", "listen_addresses=", "-c", "max_connections=200", "-c", "log_min_messages=fatal"}
	if s.port != 0 {
		args = append(args, "-c", "listen_addresses=127.0.0.1", "-c", fmt.Sprintf("port=%d", s.port))
	}
	if !s.options.Durable {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	s.guard = exec.Command("/bin/sh", args...)
	s.guard.Dir, s.guard.SysProcAttr = s.dir, s.account
	s.guard.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
	order, err := s.guard.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.order = order
	if err := s.guard.Start(); err != nil {
		t.Fatal(err)
	}
	s.awaitReady(t)
}

func (s *Server) awaitReady(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			_ = conn.Close(ctx)
			return
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			t.Fatalf("PostgreSQL does not start: %v\n%s", err, bytes.TrimSpace(log))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// end ends the server with a signal and waits for it.
func (s *Server) end(signal string) error {
	if s.guard == nil {
		return nil
	}
	_, err := fmt.Fprintln(s.order, signal)
	err = errors.Join(err, s.guard.Wait())
	s.guard = nil
	return err
}

// Stop ends the server, and all connections to it. What it acknowledged is in its
// files.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	_ = s.end("INT") // PostgreSQL says with its exit code how many sessions it ended
}

// Crash ends the server as a failure does: it recovers from its log at the next
// start.
func (s *Server) Crash(t testing.TB) {
	t.Helper()
	_ = s.end("QUIT") // as above
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

// Database makes an empty database and returns its name.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", s.databases.Add(1))
	s.Exec(t, "postgres", `CREATE DATABASE `+name)
	return name
}

// Exec runs a statement as superuser.
func (s *Server) Exec(t testing.TB, database, statement string, args ...any) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // cleanups want this, too
	conn, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
