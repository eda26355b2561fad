package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"zeropass.dev/zeropass/internal/store/sqlstore"
)

// querier runs statements on a connection that is the caller's, in a transaction or
// not. Rows must be closed before it ends.
type querier struct{ conn *conn }

var _ sqlstore.Tx = querier{}

// cancelled is the context's error, if the statement failed for it.
func cancelled(ctx context.Context, err error) error {
	var f *failure
	if errors.As(err, &f) && f.code&0xff == sqlite3.SQLITE_INTERRUPT && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (q querier) exec(ctx context.Context, query string, args []any) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	changed, err := q.conn.exec(query, args)
	if err != nil {
		return 0, cancelled(ctx, err)
	}
	return changed, nil
}

// ExecContext implements [sqlstore.Tx].
func (q querier) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	changed, err := q.exec(ctx, query, args)
	if err != nil {
		return nil, err
	}
	return driver.RowsAffected(changed), nil
}

// Later implements [sqlstore.Tx]: the statement runs now.
func (q querier) Later(ctx context.Context, otherwise error, query string, args ...any) error {
	changed, err := q.exec(ctx, query, args)
	if err == nil && otherwise != nil && changed != 1 {
		return otherwise
	}
	return err
}

// Settle implements [sqlstore.Tx]: nothing waits.
func (q querier) Settle(context.Context) error { return nil }

// QueryContext implements [sqlstore.Querier].
func (q querier) QueryContext(ctx context.Context, query string, args ...any) (sqlstore.Rows, error) {
	s, err := q.begin(ctx, query, args)
	if err != nil {
		return nil, err
	}
	return &rows{ctx: ctx, statement: s}, nil
}

// begin returns a statement that can be stepped through.
func (q querier) begin(ctx context.Context, query string, args []any) (*statement, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := q.conn.take(query)
	if err != nil {
		return nil, cancelled(ctx, err)
	}
	if err := s.bind(args); err != nil {
		return nil, s.end(err)
	}
	return s, nil
}

// rows are what a statement finds. It runs until they end or are closed.
type rows struct {
	ctx       context.Context
	statement *statement // nil when they have ended
	err       error
}

// running says whether there may be a row. What was left open has ended with its
// connection.
func (r *rows) running() bool {
	if r.statement != nil && r.statement.conn.db == 0 {
		r.statement, r.err = nil, errLeft
	}
	return r.statement != nil
}

// Next implements [sqlstore.Rows].
func (r *rows) Next() bool {
	if !r.running() {
		return false
	}
	err := r.ctx.Err()
	if err == nil {
		var there bool
		if there, err = r.statement.step(); there {
			return true
		}
	}
	r.finish(err)
	return false
}

func (r *rows) finish(err error) {
	s := r.statement
	r.statement = nil
	r.err = cancelled(r.ctx, s.end(err))
}

var errNoRow = errors.New("sqlite: there is no row to read")

// Scan implements [sqlstore.Rows].
func (r *rows) Scan(places ...any) error {
	if !r.running() {
		return errNoRow
	}
	return r.statement.scan(places)
}

// Err implements [sqlstore.Rows].
func (r *rows) Err() error { return r.err }

// Close implements [sqlstore.Rows].
func (r *rows) Close() error {
	if r.running() {
		r.finish(nil)
	}
	return r.err
}

// QueryRowContext implements [sqlstore.Querier]. The statement runs when the row is
// scanned.
func (q querier) QueryRowContext(ctx context.Context, query string, args ...any) sqlstore.Row {
	return row{q, ctx, query, args}
}

type row struct {
	querier
	ctx   context.Context
	query string
	args  []any
}

// Scan implements [sqlstore.Row].
func (r row) Scan(places ...any) error {
	s, err := r.begin(r.ctx, r.query, r.args)
	if err != nil {
		return err
	}
	there, err := s.step()
	if err != nil {
		return cancelled(r.ctx, s.end(err))
	}
	err = sql.ErrNoRows
	if there {
		err = s.scan(places)
	}
	return also(err, s.end(nil))
}

// interruptAgain is how long after an interrupt the next one comes: SQLite forgets one
// that comes just before a statement begins.
const interruptAgain = 5 * time.Millisecond

// watch interrupts what runs on a connection once ctx is done, until stop is called.
func (c *conn) watch(ctx context.Context) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	ended, gone := make(chan struct{}), make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(gone)
		for {
			c.interrupt()
			select {
			case <-ended:
				return
			case <-time.After(interruptAgain):
			}
		}
	})
	return func() {
		if !cancel() {
			close(ended)
			<-gone
		}
	}
}

// rollback undoes a transaction that has not ended, as it does by itself after an error
// of the disk.
func (c *conn) rollback() error {
	if !c.within() {
		return nil
	}
	_, err := c.exec(`ROLLBACK`, nil)
	return err
}
