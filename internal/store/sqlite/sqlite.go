// Package sqlite is a [store.Store] in one file, for a server on one machine.
//
// SQLite's write-ahead log with synchronous=FULL makes a transaction durable
// before its commit returns. All writes go through one connection, since SQLite
// has one writer at a time; those that come at the same time are made durable
// together. Reads go beside them.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"
	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/sqlstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store is a [store.Store] in one SQLite file.
type Store struct {
	*sqlstore.Store
	db *database
}

// database is the file.
type database struct {
	write  *sql.DB // one connection
	read   *sql.DB
	group  *group
	failed atomic.Bool

	// When the log was to be emptied and could not be, in nanoseconds since 1970; 0
	// if that is not so.
	unemptied  atomic.Int64
	emptyAgain time.Duration // after which it is tried again
}

const (
	// emptyTime is how long the log's readers are waited for, while nobody writes:
	// longer than requests read, and not as long as a backup does.
	emptyTime  = 100 * time.Millisecond
	emptyAgain = 10 * time.Second
)

// Open opens the file, makes it if it is missing, and brings its schema up to
// date. It returns [store.ErrNewerSchema] for a file that a newer program wrote,
// which it leaves as it is.
//
// That no other process has the file open is for the caller to see to: SQLite
// would allow it, and the data would stay whole.
func Open(ctx context.Context, path string) (*Store, error) {
	return openWith(ctx, path, migrate)
}

// OpenBeside opens a file that is there, and that a server may have open, to look
// at it or to make small changes. It returns an error that wraps
// [io/fs.ErrNotExist], [store.ErrNoData], [store.ErrNewerSchema] or
// [store.ErrOlderSchema].
func OpenBeside(ctx context.Context, path string) (*Store, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	return openWith(ctx, path, checkSchema)
}

func openWith(ctx context.Context, path string, prepare func(context.Context, *sql.DB) error) (*Store, error) {
	d := &database{group: newGroup(), emptyAgain: emptyAgain}
	var err error
	if d.write, err = connect(path, "immediate", writerCache); err != nil {
		return nil, err
	}
	d.write.SetMaxOpenConns(1)
	if err := prepare(ctx, d.write); err != nil {
		return nil, errors.Join(err, d.write.Close())
	}
	if d.read, err = connect(path, "deferred", readerCache); err != nil {
		return nil, errors.Join(err, d.write.Close())
	}
	readers := max(4, runtime.GOMAXPROCS(0))
	d.read.SetMaxOpenConns(readers)
	d.read.SetMaxIdleConns(readers) // with the statements that they keep
	return &Store{Store: sqlstore.New(d), db: d}, nil
}

// busyTime is how long a change waits for another process that writes.
const busyTime = 10 * time.Second

// How many KiB of pages a connection keeps, as far as they are used. Changes that are
// made together touch several MiB: what does not fit would be written to the log before
// the commit, and read from there again. More would cost more than it saves: after a
// change that has rearranged a tree, SQLite looks at all of them. A reader's pages are
// good until the next change.
const (
	writerCache = 16 << 10
	readerCache = 8 << 10
)

func connect(path, lock string, cache int) (*sql.DB, error) {
	options := url.Values{
		"_txlock": {lock},
		"_pragma": {
			fmt.Sprintf("busy_timeout(%d)", busyTime.Milliseconds()),
			"journal_mode(WAL)",
			"synchronous(FULL)",
			"foreign_keys(1)",
			fmt.Sprintf("cache_size(-%d)", cache), // KiB
			// Pages that many changes touch are copied from the log once for 16 MiB of it.
			"wal_autocheckpoint(4000)",
			// What is deleted is overwritten: shares are destroyed, not forgotten.
			"secure_delete(1)",
		},
	}
	file := url.URL{Scheme: "file", Path: path, RawQuery: options.Encode()}
	c, err := driver.NewConnector(strings.Replace(file.String(), "file://", "file:", 1))
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	return sql.OpenDB(connector{c}), nil
}

// newer is how many versions newer a schema may be: the file has one server, so
// nothing newer is ever beside it.
const newer = 0

func checkSchema(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	if err := sqlstore.CheckSchema(ctx, goose.DialectSQLite3, db, files, newer); err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	return nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	if err := sqlstore.Migrate(ctx, goose.DialectSQLite3, db, files, newer); err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	return nil
}

// Close waits for what runs. If no other process has the file open, SQLite copies the
// write-ahead log into it and removes the log.
func (d *database) Close() error {
	d.group.close()
	err := d.read.Close()
	if d.unemptied.Load() != 0 {
		_ = d.tryEmpty(context.Background(), busyTime) // a reader may still be in the way
	}
	return errors.Join(err, d.write.Close())
}

// Read implements [sqlstore.Database].
func (d *database) Read(ctx context.Context, f func(context.Context, sqlstore.Tx) error) error {
	if d.failed.Load() {
		return store.ErrFailed
	}
	tx, err := d.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return d.judge(err)
	}
	defer func() { _ = tx.Rollback() }()
	return d.judge(f(ctx, sqlstore.With(tx)))
}

// ReadOnce implements [sqlstore.Database].
func (d *database) ReadOnce(ctx context.Context, f func(context.Context, sqlstore.Querier) error) error {
	if d.failed.Load() {
		return store.ErrFailed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// It ends soon, and to watch for a cancellation takes a goroutine for each
	// statement, and longer than many of them take.
	return d.judge(f(context.WithoutCancel(ctx), sqlstore.With(d.read)))
}

// LocksRows implements [sqlstore.Database]: a transaction that writes is alone.
func (d *database) LocksRows() bool { return false }

// Destroyed copies the write-ahead log into the file and empties it, so that
// destroyed shares are not left in it. The shares are gone from the database in
// any case; if a reader is in the way, a later change does it.
func (d *database) Destroyed(ctx context.Context) {
	d.unemptied.CompareAndSwap(0, 1)
	d.empty(context.WithoutCancel(ctx))
}

// empty empties the log if that is due.
func (d *database) empty(ctx context.Context) {
	since := d.unemptied.Load()
	if since == 0 || time.Since(time.Unix(0, since)) < d.emptyAgain || !d.unemptied.CompareAndSwap(since, time.Now().UnixNano()) {
		return
	}
	err := d.tryEmpty(ctx, emptyTime)
	if err == nil {
		d.unemptied.Store(0)
	}
	_ = d.judge(err) // closes the store if the disk failed
}

var errRead = errors.New("sqlite: somebody reads the log")

func (d *database) tryEmpty(ctx context.Context, wait time.Duration) (err error) {
	conn, err := d.write.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, patience(wait)); err != nil {
		return err
	}
	var busy, pages, copied int
	err = conn.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &pages, &copied)
	if err == nil && busy != 0 {
		err = errRead
	}
	_, again := conn.ExecContext(ctx, patience(busyTime))
	return errors.Join(err, again)
}

// patience makes a connection wait so long for others.
func patience(t time.Duration) string {
	return fmt.Sprintf(`PRAGMA busy_timeout(%d)`, t.Milliseconds())
}

// judge closes the store after an error of the disk. After a failed fsync the
// kernel may have dropped what it could not write, and says so only once: what
// is read afterwards may never have reached the disk. A full disk is no such
// error: SQLite has rolled back.
func (d *database) judge(err error) error {
	if !isFailure(err) {
		return err
	}
	d.failed.Store(true)
	return fmt.Errorf("%w: %w", store.ErrFailed, err)
}

func isFailure(err error) bool {
	var failure *driver.Error
	if !errors.As(err, &failure) {
		return false
	}
	switch failure.Code() & 0xff {
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return true
	}
	return false
}

// Changed implements [sqlstore.Database]: one server uses the file.
func (d *database) Changed(context.Context, sqlstore.Tx, []store.Change) error { return nil }

// Follow implements [sqlstore.Database].
func (d *database) Follow() store.Follower { return nil }

// Commits implements [sqlstore.Database].
func (d *database) Commits() uint64 { return d.group.commits.Load() }
