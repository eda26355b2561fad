// Package sqlite is a [store.Store] in one file, for a server on one machine.
//
// SQLite's write-ahead log with synchronous=FULL makes a transaction durable
// before its commit returns. All writes go through one connection, since SQLite
// has one writer at a time; those that come at the same time are made durable
// together. Reads go beside them.
//
// Package database/sql runs the migrations. All else calls SQLite's functions.
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
	write  *pool // of one connection
	read   *pool
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
	db, err := connect(path)
	if err != nil {
		return nil, err
	}
	if err := prepare(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	d := newDatabase(path)
	c, err := d.write.get(ctx)
	if err == nil {
		err = d.write.put(c)
	}
	// Where it is the last one to close, SQLite copies the whole log.
	if err = errors.Join(err, db.Close()); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return &Store{Store: sqlstore.New(d), db: d}, nil
}

func newDatabase(path string) *database {
	return &database{
		write:      newPool(1, func() (*conn, error) { return openConn(path, writerCache) }),
		read:       newPool(max(4, runtime.GOMAXPROCS(0)), func() (*conn, error) { return openConn(path, readerCache) }),
		group:      newGroup(),
		emptyAgain: emptyAgain,
	}
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

// pragmas are what each connection has.
func pragmas(cache int) []string {
	return []string{
		fmt.Sprintf("busy_timeout(%d)", busyTime.Milliseconds()),
		"journal_mode(WAL)",
		"synchronous(FULL)",
		"foreign_keys(1)",
		fmt.Sprintf("cache_size(-%d)", cache), // KiB
		// Pages that many changes touch are copied from the log once for 16 MiB of it.
		"wal_autocheckpoint(4000)",
		// What is deleted is overwritten: shares are destroyed, not forgotten.
		"secure_delete(1)",
	}
}

func openConn(path string, cache int) (*conn, error) {
	var statements []string
	for _, pragma := range pragmas(cache) {
		statements = append(statements, "PRAGMA "+pragma)
	}
	return newConn(path, statements)
}

// connect returns a connection for what migrates and checks the schema.
func connect(path string) (*sql.DB, error) {
	options := url.Values{"_txlock": {"immediate"}, "_pragma": pragmas(writerCache)}
	file := url.URL{Scheme: "file", Path: path, RawQuery: options.Encode()}
	c, err := driver.NewConnector(strings.Replace(file.String(), "file://", "file:", 1))
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(1)
	return db, nil
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
	err := d.read.close()
	if d.unemptied.Load() != 0 {
		_ = d.tryEmpty(context.Background(), busyTime) // a reader may still be in the way
	}
	return errors.Join(err, d.write.close())
}

// Read implements [sqlstore.Database].
func (d *database) Read(ctx context.Context, f func(context.Context, sqlstore.Tx) error) error {
	return d.reading(ctx, func(c *conn) (err error) {
		if _, err := c.exec(`BEGIN`, nil); err != nil {
			return err
		}
		defer func() { err = also(err, c.rollback()) }()
		defer c.watch(ctx)() // not the end of the transaction
		return f(ctx, querier{c})
	})
}

// ReadOnce implements [sqlstore.Database]. A statement that runs is not interrupted: it
// ends soon.
func (d *database) ReadOnce(ctx context.Context, f func(context.Context, sqlstore.Querier) error) error {
	return d.reading(ctx, func(c *conn) error { return f(ctx, querier{c}) })
}

// reading runs f with a connection of its own.
func (d *database) reading(ctx context.Context, f func(*conn) error) (err error) {
	if d.failed.Load() {
		return store.ErrFailed
	}
	c, err := d.read.get(ctx)
	if err != nil {
		return d.judge(err)
	}
	defer func() { err = d.judge(also(err, d.read.put(c))) }()
	return f(c)
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
	c, err := d.write.get(ctx)
	if err != nil {
		return err
	}
	defer func() { err = also(err, d.write.put(c)) }()
	if _, err := c.exec(patience(wait), nil); err != nil {
		return err
	}
	var busy, pages, copied int
	err = querier{c}.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &pages, &copied)
	if err == nil && busy != 0 {
		err = errRead
	}
	_, again := c.exec(patience(busyTime), nil)
	return also(err, again)
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
	var f *failure
	if !errors.As(err, &f) {
		return false
	}
	switch f.code & 0xff {
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
