package load

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // database/sql's driver pgx
	_ "modernc.org/sqlite"             // database/sql's driver sqlite
)

// rowSize is about what the activity log keeps of a reveal, in bytes.
const rowSize = 500

// Syncs returns how often a second a file in dir can be made durable after 4 KiB
// were written to its end: what the disk gives to one writer.
func Syncs(dir string, limit time.Duration) (perSecond float64, err error) {
	f, err := os.Create(filepath.Join(dir, "syncs"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	page := make([]byte, 4<<10)
	begun, n := time.Now(), 0
	for time.Since(begun) < limit {
		if _, err := f.Write(page); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		n++
	}
	return float64(n) / time.Since(begun).Seconds(), nil
}

// SQLiteCommits returns how many transactions of one row SQLite makes durable in a
// second in dir, with the settings of zeropass-server. It has one writer.
func SQLiteCommits(ctx context.Context, dir string, clients int, limit time.Duration) (float64, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, fmt.Sprintf("commits-%d.db", clients))+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=secure_delete(1)")
	if err != nil {
		return 0, err
	}
	db.SetMaxOpenConns(1)
	return commitRate(ctx, db, clients, limit, `CREATE TABLE bare (id INTEGER PRIMARY KEY, row BLOB NOT NULL)`)
}

// Commits returns how many transactions of one row PostgreSQL makes durable in a
// second, of so many clients with a connection each.
func (p *Postgres) Commits(ctx context.Context, clients int, limit time.Duration) (float64, error) {
	db, err := sql.Open("pgx", p.URL())
	if err != nil {
		return 0, err
	}
	db.SetMaxOpenConns(clients)
	db.SetMaxIdleConns(clients)
	return commitRate(ctx, db, clients, limit, `CREATE TABLE bare (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, row BYTEA NOT NULL)`)
}

func commitRate(ctx context.Context, db *sql.DB, clients int, limit time.Duration, create string) (rate float64, err error) {
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, create); err != nil {
		return 0, err
	}
	row := make([]byte, rowSize)
	if _, err := rand.Read(row); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var n atomic.Int64
	var group sync.WaitGroup
	begun := time.Now()
	for range clients {
		group.Go(func() {
			for time.Since(begun) < limit && ctx.Err() == nil {
				if _, err := db.ExecContext(ctx, `INSERT INTO bare (row) VALUES ($1)`, row); err != nil {
					cancel(err)
				}
				n.Add(1)
			}
		})
	}
	group.Wait()
	elapsed := time.Since(begun)
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	_, err = db.ExecContext(ctx, `DROP TABLE bare`)
	return float64(n.Load()) / elapsed.Seconds(), err
}

// DataBytes returns how large the server's database is, in bytes, without what is
// free in it.
func (s *Server) DataBytes(ctx context.Context) (bytes int64, err error) {
	driver, name, ask := "sqlite", "file:"+s.file+"?mode=ro", `SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size`
	if s.postgres != nil {
		driver, name, ask = "pgx", s.postgres.URL(), `SELECT pg_database_size(current_database())`
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.QueryRowContext(ctx, ask).Scan(&bytes); err != nil {
		return 0, fmt.Errorf("load: size of the database: %w", err)
	}
	return bytes, nil
}
