package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/sqlstore"
)

const (
	// changeTime is how long a change may take with all its attempts.
	changeTime = 30 * time.Second
	// retryTime is how long new attempts are begun: a database that restarts, or
	// whose standby takes over, may be back by then.
	retryTime = 8 * time.Second
	// firstPause is the longest pause before the second attempt; it doubles to
	// longestPause.
	firstPause   = 4 * time.Millisecond
	longestPause = 256 * time.Millisecond
)

// failure is how an attempt ended that was not committed for certain.
type failure struct {
	err     error
	again   bool // another attempt may end otherwise
	unknown bool // it may have been committed
	decided bool // the change was refused for what is committed
}

// Change implements [sqlstore.Database].
func (d *database) Change(ctx context.Context, f func(context.Context, sqlstore.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTime)
	defer cancel()
	return d.change(ctx, false, f)
}

// change makes a change, of which it may be unknown whether an earlier attempt was
// committed.
func (d *database) change(ctx context.Context, unknown bool, f func(context.Context, sqlstore.Tx) error) error {
	begun := time.Now()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		if d.failed.Load() {
			return store.ErrFailed
		}
		failed := d.attempt(ctx, func(ctx context.Context, tx *transaction) error { return f(ctx, tx) })
		if failed == nil {
			return nil
		}
		unknown = unknown || failed.unknown
		if failed.again && time.Since(begun) < d.retry && wait(ctx, pause) {
			continue
		}
		if unknown && !failed.decided {
			return fmt.Errorf("%w: %w", store.ErrUnknown, failed.err)
		}
		return d.judge(failed.err)
	}
}

// wait waits up to so long, so that those that met do not meet again.
func wait(ctx context.Context, most time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(rand.N(most)):
		return true
	}
}

// attempt runs f once. It returns nil if the transaction was committed.
func (d *database) attempt(ctx context.Context, f func(context.Context, *transaction) error) (failed *failure) {
	err := d.connected(ctx, func(c *connection) error {
		tx := &transaction{connection: c}
		defer tx.end()
		err := f(ctx, tx)
		if err == nil {
			err = tx.commit()
		}
		if err == nil {
			return nil
		}
		failed = &failure{err: err, again: isConflict(err)}
		var answered *pgconn.PgError
		var unsent *unsentError
		switch {
		case errors.As(err, &unsent):
			failed.again = failed.again || isAway(err)
		case c.conn.IsClosed():
			// What goes wrong after a transaction is committed ends the connection, if not
			// the server. Any other answer is that it was not.
			failed.again, failed.unknown = true, tx.committing
		default:
			failed.decided = !errors.As(err, &answered) && !errors.Is(err, pgx.ErrTxCommitRollback)
		}
		return nil
	})
	if err != nil {
		return &failure{err: err, again: isAway(err)}
	}
	if failed == nil {
		d.commits.Add(1)
	}
	return failed
}

// connected gives f a connection until the context's deadline. To watch for a
// cancellation would take a goroutine for each statement.
func (d *database) connected(ctx context.Context, f func(*connection) error) error {
	pooled, err := d.pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = pooled.Close() }()
	return pooled.Raw(func(driver any) error {
		conn := driver.(*stdlib.Conn).Conn()
		deadline, _ := ctx.Deadline()
		if err := conn.PgConn().Conn().SetDeadline(deadline); err != nil {
			return err
		}
		defer func() {
			if !conn.IsClosed() {
				_ = conn.PgConn().Conn().SetDeadline(time.Time{})
			}
		}()
		c := connectionOf(conn)
		defer func() {
			if c.spoiled {
				_ = conn.PgConn().Close(context.Background()) // its deadline still holds
			}
		}()
		return f(c)
	})
}

// Read implements [sqlstore.Database].
func (d *database) Read(ctx context.Context, f func(context.Context, sqlstore.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	begun := time.Now()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		if d.failed.Load() {
			return store.ErrFailed
		}
		tx, err := d.pool.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
		if err == nil {
			defer func() { _ = tx.Rollback() }()
			return d.judge(f(ctx, sqlstore.With(tx)))
		}
		if !isAway(err) || time.Since(begun) >= d.retry || !wait(ctx, pause) {
			return d.judge(err)
		}
	}
}

// ReadOnce implements [sqlstore.Database].
func (d *database) ReadOnce(ctx context.Context, f func(context.Context, sqlstore.Querier) error) error {
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	begun := time.Now()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		if d.failed.Load() {
			return store.ErrFailed
		}
		err := d.connected(ctx, func(c *connection) error { return f(ctx, single{c}) })
		if !isAway(err) || time.Since(begun) >= d.retry || !wait(ctx, pause) {
			return d.judge(err)
		}
	}
}

// Error codes, from PostgreSQL's documentation, appendix A.
const (
	uniqueViolation      = "23505"
	duplicateObject      = "42710"
	duplicateTable       = "42P07"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	tooManyConnections   = "53300"
	adminShutdown        = "57P01"
	crashShutdown        = "57P02"
	cannotConnectNow     = "57P03"
	featureNotSupported  = "0A000"
	invalidStatementName = "26000"
	ioError              = "58030"
	dataCorrupted        = "XX001"
	indexCorrupted       = "XX002"
)

func hasCode(err error, codes ...string) bool {
	var failure *pgconn.PgError
	return errors.As(err, &failure) && slices.Contains(codes, failure.Code)
}

// isConflict says whether a transaction got into another's way.
func isConflict(err error) bool { return hasCode(err, serializationFailure, deadlockDetected) }

// isAway says whether a connection could not be made because the database is not
// there for now.
func isAway(err error) bool {
	var network net.Error
	return hasCode(err, tooManyConnections, adminShutdown, crashShutdown, cannotConnectNow) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network)
}

// judge closes the store after an error of the database's disk: what it answers
// from then on need not be what it was told to keep. After a failed fsync
// PostgreSQL itself stops and recovers from its log.
func (d *database) judge(err error) error {
	if !hasCode(err, ioError, dataCorrupted, indexCorrupted) {
		return err
	}
	d.failed.Store(true)
	return fmt.Errorf("%w: %w", store.ErrFailed, err)
}
