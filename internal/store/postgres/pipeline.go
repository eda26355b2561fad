package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"

	"github.com/jackc/pgx/v5"

	"zeropass.dev/zeropass/internal/store/sqlstore"
)

// transaction is one that changes something. Each question to PostgreSQL takes a round
// trip, and most statements are none: they wait here for the next one, and go in front
// of it, the first ones with BEGIN and the last ones with COMMIT. PostgreSQL runs one
// after the other, each on a snapshot of its own, so what is read after a lock is as
// the lock found it. When one fails it passes over those that came with it, COMMIT too.
type transaction struct {
	conn       *pgx.Conn
	waits      *pgx.Batch // nil if nothing does
	wrong      []error    // for each that waits: what it is if it does not change one row, or nil
	begun      bool
	mayRefuse  bool // one that waits may turn out wrong, which PostgreSQL does not know
	committing bool // COMMIT was sent
}

var _ sqlstore.Tx = (*transaction)(nil)

const (
	beginning = `begin isolation level read committed`
	ending    = `commit`
)

// Later implements [sqlstore.Tx].
func (t *transaction) Later(_ context.Context, otherwise error, query string, args ...any) error {
	t.add(otherwise, query, args)
	return nil
}

func (t *transaction) add(wrong error, query string, args []any) {
	if t.waits == nil {
		t.waits = &pgx.Batch{}
	}
	if !t.begun {
		t.begun = true
		t.add(nil, beginning, nil)
	}
	t.waits.Queue(query, args...)
	t.wrong = append(t.wrong, wrong)
	t.mayRefuse = t.mayRefuse || wrong != nil
}

// send sends what waits, and reads the answers to all but so many of the last.
func (t *transaction) send(unread int) (pgx.BatchResults, error) {
	results := t.conn.SendBatch(context.Background(), t.waits)
	wrong := t.wrong[:len(t.wrong)-unread]
	t.waits, t.wrong, t.mayRefuse = nil, t.wrong[:0], false
	for _, wrong := range wrong {
		tag, err := results.Exec()
		if err == nil && wrong != nil && tag.RowsAffected() != 1 {
			err = wrong
		}
		if err != nil {
			// If PostgreSQL has ended the transaction meanwhile, that comes first.
			if worse := results.Close(); worse != nil {
				err = worse
			}
			return nil, err
		}
	}
	return results, nil
}

// ExecContext implements [sqlstore.Tx].
func (t *transaction) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	t.add(nil, query, args)
	results, err := t.send(1)
	if err != nil {
		return nil, err
	}
	tag, err := results.Exec()
	if closed := results.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, err
	}
	return driver.RowsAffected(tag.RowsAffected()), nil
}

// QueryContext implements [sqlstore.Querier].
func (t *transaction) QueryContext(_ context.Context, query string, args ...any) (sqlstore.Rows, error) {
	t.add(nil, query, args)
	results, err := t.send(1)
	if err != nil {
		return nil, err
	}
	found, err := results.Query()
	if err != nil {
		_ = results.Close() // the same error
		return nil, err
	}
	return &rows{Rows: found, results: results}, nil
}

// QueryRowContext implements [sqlstore.Querier].
func (t *transaction) QueryRowContext(_ context.Context, query string, args ...any) sqlstore.Row {
	return &row{t, query, args}
}

// Settle implements [sqlstore.Tx].
func (t *transaction) Settle(context.Context) error {
	if !t.mayRefuse {
		return nil
	}
	results, err := t.send(0)
	if err != nil {
		return err
	}
	return results.Close()
}

// commit sends what waits and COMMIT, at once if only PostgreSQL can find something
// wrong with it. Where nothing was ever sent there is nothing to commit.
func (t *transaction) commit() error {
	if !t.begun {
		return nil
	}
	if err := t.Settle(context.Background()); err != nil {
		return err
	}
	t.add(nil, ending, nil)
	t.committing = true
	results, err := t.send(1)
	if err != nil {
		return err
	}
	tag, err := results.Exec()
	if closed := results.Close(); err == nil {
		err = closed
	}
	if err == nil && tag.String() != "COMMIT" {
		err = pgx.ErrTxCommitRollback
	}
	return err
}

// end undoes what was not committed.
func (t *transaction) end() {
	if !t.conn.IsClosed() && t.conn.PgConn().TxStatus() != 'I' {
		_, _ = t.conn.Exec(context.Background(), `rollback`) // or the connection is given up
	}
}

// row is what a question finds, which goes when it is wanted.
type row struct {
	t     *transaction
	query string
	args  []any
}

// Scan implements [sqlstore.Row].
func (r *row) Scan(places ...any) error {
	r.t.add(nil, r.query, r.args)
	results, err := r.t.send(1)
	if err != nil {
		return err
	}
	err = results.QueryRow().Scan(places...)
	if closed := results.Close(); err == nil {
		err = closed
	}
	return err
}

// rows are what a question finds.
type rows struct {
	pgx.Rows
	results pgx.BatchResults // nil where the question came alone
}

// Close implements [sqlstore.Rows].
func (r *rows) Close() error {
	r.Rows.Close()
	if r.results == nil {
		return r.Err()
	}
	return r.results.Close()
}

// single is a connection for a statement that is a transaction of its own.
type single struct{ conn *pgx.Conn }

// QueryContext implements [sqlstore.Querier].
func (s single) QueryContext(_ context.Context, query string, args ...any) (sqlstore.Rows, error) {
	found, err := s.conn.Query(context.Background(), query, args...)
	if err != nil {
		return nil, err
	}
	return &rows{Rows: found}, nil
}

// QueryRowContext implements [sqlstore.Querier].
func (s single) QueryRowContext(_ context.Context, query string, args ...any) sqlstore.Row {
	return s.conn.QueryRow(context.Background(), query, args...)
}
