// Package sqlite is a [store.Store] in one file, for a server on one machine.
//
// SQLite's write-ahead log with synchronous=FULL makes a transaction durable
// before its commit returns. All writes go through one connection, since SQLite
// has one writer at a time; reads go beside them.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"
	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store is a [store.Store] in one SQLite file.
type Store struct {
	write  *sql.DB // one connection
	read   *sql.DB
	failed atomic.Bool
}

var _ store.Store = (*Store)(nil)

// Open opens the file, makes it if it is missing, and brings its schema up to
// date. It returns [store.ErrNewerSchema] for a file that a newer program wrote,
// which it leaves as it is.
//
// That no other process has the file open is for the caller to see to: SQLite
// would allow it, and the data would stay whole.
func Open(ctx context.Context, path string) (*Store, error) {
	s := &Store{}
	var err error
	if s.write, err = connect(path, "immediate"); err != nil {
		return nil, err
	}
	s.write.SetMaxOpenConns(1)
	if err := migrate(ctx, s.write); err != nil {
		return nil, errors.Join(err, s.write.Close())
	}
	if s.read, err = connect(path, "deferred"); err != nil {
		return nil, errors.Join(err, s.write.Close())
	}
	s.read.SetMaxOpenConns(max(4, runtime.GOMAXPROCS(0)))
	return s, nil
}

func connect(path, lock string) (*sql.DB, error) {
	options := url.Values{
		"_txlock": {lock},
		"_pragma": {
			"busy_timeout(10000)",
			"journal_mode(WAL)",
			"synchronous(FULL)",
			"foreign_keys(1)",
			// What is deleted is overwritten: shares are destroyed, not forgotten.
			"secure_delete(1)",
		},
	}
	file := url.URL{Scheme: "file", Path: path, RawQuery: options.Encode()}
	db, err := sql.Open("sqlite", strings.Replace(file.String(), "file://", "file:", 1))
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	return db, nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	if err != nil {
		return fmt.Errorf("sqlite: migrations: %w", err)
	}
	have, known, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("sqlite: schema version: %w", err)
	}
	if have > known {
		return fmt.Errorf("%w: its schema is %d, this program knows %d", store.ErrNewerSchema, have, known)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("sqlite: migrate the schema from %d to %d: %w", have, known, err)
	}
	return nil
}

// Close waits for what runs, and copies the write-ahead log into the file.
func (s *Store) Close() error {
	return errors.Join(s.read.Close(), s.write.Close())
}

// change runs f in a transaction that also spends the nonce and logs the
// request. It goes on when ctx is cancelled: whoever asked may be gone, but a
// transaction is worth finishing.
func (s *Store) change(ctx context.Context, spend store.Spend, f func(context.Context, *sql.Tx) error) error {
	return s.transaction(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := spendNonce(ctx, tx, spend); err != nil {
			return err
		}
		if err := f(ctx, tx); err != nil {
			return err
		}
		return record(ctx, tx, spend)
	})
}

// record keeps what a change leaves behind besides what it changes.
func record(ctx context.Context, tx *sql.Tx, spend store.Spend) error {
	if err := logActivity(ctx, tx, spend); err != nil {
		return err
	}
	if err := raise(ctx, tx, spend.Now, spend.Alarms); err != nil {
		return err
	}
	return meet(ctx, tx, spend.Now, spend.Origin)
}

func (s *Store) transaction(ctx context.Context, f func(context.Context, *sql.Tx) error) error {
	if s.failed.Load() {
		return store.ErrFailed
	}
	ctx = context.WithoutCancel(ctx)
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return s.judge(err)
	}
	if err := f(ctx, tx); err != nil {
		_ = tx.Rollback() // the first error is the one to report
		return s.judge(err)
	}
	return s.judge(tx.Commit())
}

// reading runs f, which only reads, on one state of the database.
func (s *Store) reading(ctx context.Context, f func(context.Context, *sql.Tx) error) error {
	if s.failed.Load() {
		return store.ErrFailed
	}
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return s.judge(err)
	}
	defer func() { _ = tx.Rollback() }()
	return s.judge(f(ctx, tx))
}

// judge closes the store after an error of the disk. After a failed fsync the
// kernel may have dropped what it could not write, and says so only once: what
// is read afterwards may never have reached the disk. A full disk is no such
// error: SQLite has rolled back.
func (s *Store) judge(err error) error {
	var failure *driver.Error
	if !errors.As(err, &failure) {
		return err
	}
	switch failure.Code() & 0xff {
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		s.failed.Store(true)
		return fmt.Errorf("%w: %w", store.ErrFailed, err)
	}
	return err
}

func spendNonce(ctx context.Context, tx *sql.Tx, spend store.Spend) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM nonces WHERE expires < $1`, spend.Now.UnixMilli()); err != nil {
		return err
	}
	return one(store.ErrReplayed)(tx.ExecContext(ctx,
		`INSERT INTO nonces (key, nonce, expires) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
		spend.Key, spend.Nonce, spend.Expires.UnixMilli()))
}

// one wants a statement to change exactly one row, or else returns the error.
func one(otherwise error) func(sql.Result, error) error {
	return func(result sql.Result, err error) error {
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n != 1 {
			return errors.Join(otherwise, err)
		}
		return nil
	}
}

// checkHead wants the account's ledger to end as the caller saw it.
func checkHead(ctx context.Context, tx *sql.Tx, id ledger.AccountID, head ledger.Head) error {
	have, err := headOf(ctx, tx, id)
	if err == nil && have != head {
		return store.ErrHeadMoved
	}
	return err
}

func headOf(ctx context.Context, tx *sql.Tx, id ledger.AccountID) (ledger.Head, error) {
	var head ledger.Head
	var hash []byte
	err := tx.QueryRowContext(ctx, `SELECT sequence, head FROM accounts WHERE account = $1`, id[:]).Scan(&head.Sequence, &hash)
	if err != nil {
		return ledger.Head{}, found(err)
	}
	copy(head.Hash[:], hash)
	return head, nil
}

// found turns the database's word for nothing into the store's.
func found(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotFound
	}
	return err
}

// collect reads rows until scan says that it has enough.
func collect(rows *sql.Rows, err error, scan func(*sql.Rows) (enough bool, err error)) error {
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if enough, err := scan(rows); err != nil || enough {
			return err
		}
	}
	return rows.Err()
}

func timeOf(milliseconds int64) time.Time { return time.UnixMilli(milliseconds).UTC() }
