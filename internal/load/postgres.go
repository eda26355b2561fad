package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// Postgres is a PostgreSQL server in a directory of its own, which listens on a
// socket in it. It makes durable what it acknowledges, as it does without settings.
type Postgres struct {
	dir   string
	cmd   *exec.Cmd
	ended chan struct{}
	stats *pgx.Conn
}

// ErrNoPostgres: PostgreSQL's programs are not on this machine.
var ErrNoPostgres = errors.New("load: PostgreSQL is not installed (Debian: apt install postgresql)")

// StartPostgres makes an empty PostgreSQL server and starts it. It does not run as
// root: then it runs as the user postgres.
func StartPostgres(ctx context.Context) (*Postgres, error) {
	programs, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // the pattern is sound
	if path, err := exec.LookPath("postgres"); err == nil {
		programs = append(programs, path)
	}
	if len(programs) == 0 {
		return nil, ErrNoPostgres
	}
	program := programs[len(programs)-1]
	dir, err := os.MkdirTemp("", "zeropass-bench-postgres-")
	if err != nil {
		return nil, err
	}
	p := &Postgres{dir: dir, ended: make(chan struct{})}
	if err := p.start(ctx, program); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

func (p *Postgres) start(ctx context.Context, program string) error {
	attributes, err := unprivileged(p.dir)
	if err != nil {
		return err
	}
	environment := []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
	data := filepath.Join(p.dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(filepath.Dir(program), "initdb"),
		"--pgdata", data, "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=trust")
	initdb.Dir, initdb.Env, initdb.SysProcAttr = p.dir, environment, attributes
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("load: initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	var log bytes.Buffer
	p.cmd = exec.Command(program, "-D", data, "-k", p.dir, "-c", "listen_addresses=", "-c", "max_connections=200", "-c", "log_min_messages=fatal")
	p.cmd.Dir, p.cmd.Env, p.cmd.Stderr = p.dir, environment, &log
	kept := *attributes
	kept.Pdeathsig = syscall.SIGQUIT
	p.cmd.SysProcAttr = &kept
	if err := startKept(p.cmd, p.ended, nil); err != nil {
		return fmt.Errorf("load: start %s: %w", program, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if p.stats, err = pgx.Connect(ctx, p.URL()); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("load: PostgreSQL does not start: %w", err)
		case <-p.ended:
			return fmt.Errorf("load: PostgreSQL does not start: %s", bytes.TrimSpace(log.Bytes()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// unprivileged gives a directory to whom PostgreSQL can run as.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	attributes := &syscall.SysProcAttr{Setsid: true} // Ctrl-C is for this process, which ends it
	if os.Getuid() != 0 {
		return attributes, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoPostgres, err)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if err := errors.Join(uidErr, gidErr, os.Chown(dir, uid, gid)); err != nil {
		return nil, err
	}
	attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attributes, nil
}

// URL is that of its database postgres, for its superuser.
func (p *Postgres) URL() string {
	return "postgres:///postgres?" + url.Values{"host": {p.dir}, "user": {"postgres"}, "sslmode": {"disable"}}.Encode()
}

// Stop ends the server and removes its files.
func (p *Postgres) Stop() error {
	if p.stats != nil {
		_ = p.stats.Close(context.Background())
	}
	if p.cmd != nil && p.cmd.Process != nil {
		_ = p.cmd.Process.Signal(syscall.SIGINT)
		<-p.ended
	}
	return os.RemoveAll(p.dir)
}

// usage is what PostgreSQL has used: the processor time of all its processes, and
// how often it has made its log durable.
func (p *Postgres) usage(ctx context.Context) (Usage, error) {
	var u Usage
	if err := p.stats.QueryRow(ctx, `SELECT wal_sync::float8 FROM pg_stat_wal`).Scan(&u.Commits); err != nil {
		return u, fmt.Errorf("load: PostgreSQL's statistics: %w", err)
	}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is sound
	for _, path := range stats {
		stat, err := readStat(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended since
		}
		if err != nil {
			return u, err
		}
		switch strconv.Itoa(p.cmd.Process.Pid) {
		case stat.parent:
			u.Database += stat.own
		case stat.id:
			u.Database += stat.own + stat.children
		}
	}
	return u, nil
}

// processStat is what proc_pid_stat(5) says of a process.
type processStat struct {
	id, parent    string
	own, children time.Duration // processor time; of children, those that have ended
}

// clockTick is Linux's unit of processor time in /proc, on every architecture
// that Go knows.
const clockTick = 10 * time.Millisecond

func readStat(path string) (processStat, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return processStat{}, err
	}
	// The name in parentheses may hold anything. After it come state, parent, and as
	// the 12th field and the next ones utime, stime, cutime and cstime.
	id, _, _ := strings.Cut(string(b), " ")
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	s := processStat{id: id, parent: fields[1]}
	for i, to := range []*time.Duration{&s.own, &s.own, &s.children, &s.children} {
		ticks, err := strconv.ParseInt(fields[11+i], 10, 64)
		if err != nil {
			return processStat{}, fmt.Errorf("load: %s: %w", path, err)
		}
		*to += time.Duration(ticks) * clockTick
	}
	return s, nil
}
