// Package postgres is a [store.Store] in PostgreSQL, for as many servers as there
// are over one database.
//
// Transactions are READ COMMITTED and lock the accounts that they are about, as
// package sqlstore says; those of different accounts do not wait for each other, but
// for a moment where they are made together. The few that get into each other's way
// all the same are run again.
//
// A commit is durable when PostgreSQL answers it. If the connection is lost before
// the answer, nobody knows whether it was: the transaction is run again over
// another connection, and finds its own token with the nonce if it was. Whatever
// spends no nonce may be done twice without harm. Where no connection comes back
// in time the error wraps [store.ErrUnknown], and the device asks again, which is
// no worse for it than an answer that got lost: an entry that stands in the ledger
// is found there, and a reveal is one more reveal.
package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/sqlstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Errors of Open.
var (
	// ErrURL: it is not the URL of a PostgreSQL database.
	ErrURL = errors.New("postgres: a database's URL looks like postgres://zeropass@database.example:5432/zeropass")
	// ErrPasswordInURL: everybody on the machine sees what a program is called with.
	ErrPasswordInURL = errors.New("postgres: the database's URL has a password in it")
	// ErrUnreachable: the database is not there, or does not let this server in.
	ErrUnreachable = errors.New("postgres: the database cannot be reached")
	// ErrNotDurable: the database acknowledges what it may forget.
	ErrNotDurable = errors.New("postgres: the database's settings let it lose what it acknowledged")
)

// Config says which database.
type Config struct {
	// URL begins with postgres:// and has no password. What it leaves out comes from
	// the environment (PGHOST, PGUSER, PGSSLMODE and so on), the password also from
	// PGPASSWORD, PGPASSFILE or ~/.pgpass.
	URL      string
	Password string // instead of those, if it is not empty
	// AllowLoss opens a database that loses data when its machine fails. It is for
	// tests, which are faster over one.
	AllowLoss bool
}

// Store is a [store.Store] in a PostgreSQL database.
type Store struct {
	*sqlstore.Store
	db *database
}

var _ store.Store = (*Store)(nil)

// database is the connections to it.
type database struct {
	pool   *sql.DB
	retry  time.Duration // how long new attempts are begun
	failed atomic.Bool

	gathering gathering
	commits   atomic.Uint64
}

// newerSchema is how many versions newer a schema may be than this program's, so
// that servers can be replaced one by one. A migration must leave alone what the
// version before it uses.
const newerSchema = 1

// connections is how many a server opens at most.
func connections() int { return max(16, 4*runtime.GOMAXPROCS(0)) }

// Open connects to the database and brings its schema up to date. It returns
// [store.ErrNewerSchema] for one that is more than one version newer, which it
// leaves as it is, [ErrURL], [ErrPasswordInURL], [ErrUnreachable] or
// [ErrNotDurable].
func Open(ctx context.Context, c Config) (*Store, error) {
	return openWith(ctx, c, (*database).migrate)
}

// OpenBeside connects to a database that servers may be using, to look at it or to
// make small changes, and leaves its schema as it is. With whole it wants a
// program that knows everything in the database, as whoever copies it must;
// otherwise, as for a server, the schema may be one version newer. It returns
// [store.ErrNoData], [store.ErrNewerSchema], [store.ErrOlderSchema], or an error of
// Open.
func OpenBeside(ctx context.Context, c Config, whole bool) (*Store, error) {
	newer := int64(newerSchema)
	if whole {
		newer = 0
	}
	return openWith(ctx, c, func(d *database, ctx context.Context) error {
		files, err := fs.Sub(migrations, "migrations")
		if err != nil {
			return err
		}
		return sqlstore.CheckSchema(ctx, goose.DialectPostgres, d.pool, files, newer)
	})
}

func openWith(ctx context.Context, c Config, prepare func(*database, context.Context) error) (*Store, error) {
	config, err := c.parse()
	if err != nil {
		return nil, err
	}
	var options []stdlib.OptionOpenDB
	if !c.AllowLoss {
		options = append(options, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
			if err := checkDurable(ctx, conn); err != nil {
				return err
			}
			return gather(ctx, conn)
		}))
	}
	d := &database{pool: stdlib.OpenDB(*config, options...), retry: retryTime, gathering: gathering{full: make(chan struct{}, 1)}}
	d.pool.SetMaxOpenConns(connections())
	d.pool.SetMaxIdleConns(connections())
	d.pool.SetConnMaxIdleTime(5 * time.Minute)
	if err := prepare(d, ctx); err != nil {
		var unreachable *pgconn.ConnectError
		if errors.As(err, &unreachable) && !errors.Is(err, ErrNotDurable) {
			err = fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		return nil, errors.Join(err, d.pool.Close())
	}
	return &Store{Store: sqlstore.New(d), db: d}, nil
}

// Check returns the errors that Open finds without the database.
func (c Config) Check() error {
	_, err := c.parse()
	return err
}

func (c Config) parse() (*pgx.ConnConfig, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, ErrURL // the cause repeats the URL
	}
	if _, has := u.User.Password(); has || u.Query().Has("password") || u.Query().Has("sslpassword") {
		return nil, ErrPasswordInURL
	}
	config, err := pgx.ParseConfig(c.URL)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	if c.Password != "" {
		config.Password = c.Password
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 10 * time.Second
	}
	config.DialFunc = dialer(config.DialFunc)
	// A server that is cut off in the middle of a transaction must not keep an
	// account locked, nor wait for one that does.
	for name, value := range map[string]string{
		"application_name":                    "zeropass-server",
		"lock_timeout":                        "10s",
		"idle_in_transaction_session_timeout": "30s",
	} {
		if _, given := config.RuntimeParams[name]; !given {
			config.RuntimeParams[name] = value
		}
	}
	return config, nil
}

// checkDurable wants a connection on which what is acknowledged stays. Settings of
// the database, the role or the URL may have changed since the last one.
func checkDurable(ctx context.Context, conn *pgx.Conn) error {
	for _, name := range []string{"synchronous_commit", "fsync", "full_page_writes"} {
		var value string
		if err := conn.QueryRow(ctx, `SELECT current_setting($1)`, name).Scan(&value); err != nil {
			return err
		}
		if value == "off" {
			return fmt.Errorf("%w: %s is off", ErrNotDurable, name)
		}
	}
	return nil
}

// gatherTime is how long PostgreSQL waits before an fsync for others whose commits it
// would make durable as well, in microseconds: not much longer than the fsync of a slow
// disk takes.
const gatherTime = 5000

// gatherOthers is while how many other transactions are under way it waits. It is fewer
// than PostgreSQL would want by itself: those of one server are soon over, and it is
// the fsync that they meet at.
const gatherOthers = 2

// gather makes PostgreSQL wait for other commits, if this role may, and the operator
// has not decided already.
func gather(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx,
		`SELECT set_config('commit_delay', $1, FALSE), set_config('commit_siblings', $2, FALSE) WHERE current_setting('commit_delay') = '0' AND CASE
		   WHEN current_setting('server_version_num')::INTEGER >= 150000 THEN has_parameter_privilege('commit_delay', 'SET')
		   ELSE current_setting('is_superuser') = 'on' END`, strconv.Itoa(gatherTime), strconv.Itoa(gatherOthers))
	return err
}

// migrate brings the schema up to date. Of servers that start at the same time one
// does it, while it holds a row that the others wait for, however long that takes.
func (d *database) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	if err := d.Change(ctx, func(ctx context.Context, tx sqlstore.Tx) error {
		var there bool
		if err := tx.QueryRowContext(ctx, `SELECT to_regclass('schema_lock') IS NOT NULL`).Scan(&there); err != nil || there {
			return err
		}
		_, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_lock (id INTEGER PRIMARY KEY)`)
		return err
	}); err != nil && !hasCode(err, uniqueViolation, duplicateObject, duplicateTable) { // another server has just made it
		return err
	}
	tx, err := d.pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	for _, statement := range []string{
		`SET LOCAL lock_timeout = 0`,
		`SET LOCAL idle_in_transaction_session_timeout = 0`,
		`INSERT INTO schema_lock (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 1`,
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	if err := sqlstore.Migrate(ctx, goose.DialectPostgres, d.pool, files, newerSchema); err != nil {
		return err
	}
	return tx.Commit()
}

// Claimed says whether the data belong to a server already.
func (s *Store) Claimed(ctx context.Context) (claimed bool, err error) {
	err = s.db.Read(ctx, func(ctx context.Context, tx sqlstore.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM server)`).Scan(&claimed)
	})
	return claimed, err
}

// Close implements [sqlstore.Database].
func (d *database) Close() error { return d.pool.Close() }

// LocksRows implements [sqlstore.Database].
func (d *database) LocksRows() bool { return true }

// Commits implements [sqlstore.Database]. PostgreSQL makes several durable with one
// fsync.
func (d *database) Commits() uint64 { return d.commits.Load() }

// Destroyed implements [sqlstore.Database]. PostgreSQL overwrites what was deleted
// when it needs the room, and keeps it in its log and in archives of that; what
// was deleted is encrypted under a key that is not here.
func (d *database) Destroyed(context.Context) {}
