package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"zeropass.dev/zeropass/internal/postgresd"
)

// Postgres is a PostgreSQL server that makes durable what it acknowledges.
type Postgres struct {
	*postgresd.Server
	stats *pgx.Conn
}

// StartPostgres makes an empty PostgreSQL server and starts it, on all processors.
func StartPostgres(ctx context.Context) (*Postgres, error) {
	p := &Postgres{}
	err := onProcessors(everyProcessor(), func() (err error) {
		p.Server, err = postgresd.Start(ctx, postgresd.Options{Durable: true})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	if p.stats, err = pgx.Connect(ctx, p.URL()); err != nil {
		return nil, errors.Join(fmt.Errorf("load: PostgreSQL's statistics: %w", err), p.Server.Close())
	}
	return p, nil
}

// URL is that of its database postgres, for its superuser.
func (p *Postgres) URL() string { return p.Server.URL("postgres") }

// Close ends the server and removes its files.
func (p *Postgres) Close() error {
	return errors.Join(p.stats.Close(context.Background()), p.Server.Close())
}

// usage is what PostgreSQL has used: the processor time of all its processes, and
// how often it has made its log durable.
func (p *Postgres) usage(ctx context.Context) (Usage, error) {
	var u Usage
	if err := p.stats.QueryRow(ctx, `SELECT wal_sync::float8 FROM pg_stat_wal`).Scan(&u.Commits); err != nil {
		return u, fmt.Errorf("load: PostgreSQL's statistics: %w", err)
	}
	first, err := p.Process()
	if err != nil {
		return u, fmt.Errorf("load: PostgreSQL's first process: %w", err)
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
		switch strconv.Itoa(first) {
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
