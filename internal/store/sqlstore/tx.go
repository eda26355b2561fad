package sqlstore

import (
	"context"
	"database/sql"
)

// Querier runs statements that read.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) Row
}

// Tx is a transaction, which who runs it ends.
type Tx interface {
	Querier
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	// Later runs a statement of which nobody waits for the answer: now, or together
	// with what is asked next, and at the latest with the commit. Statements keep
	// their order. If otherwise is not nil the statement must change exactly one row,
	// or else that is the error. An error is returned now or by what is called next,
	// or ends the change. Nobody may change the arguments.
	Later(ctx context.Context, otherwise error, query string, args ...any) error
	// Settle returns the error of a statement that was to change one row and did not.
	Settle(ctx context.Context) error
}

// Rows is what [database/sql.Rows] does.
type Rows interface {
	Next() bool
	Scan(places ...any) error
	Err() error
	Close() error
}

// Row is what [database/sql.Row] does.
type Row interface{ Scan(places ...any) error }

// Runner is a database, a connection or a transaction of package database/sql.
type Runner interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// With returns a Tx in which each statement runs when it comes.
func With(r Runner) Tx { return immediate{r} }

type immediate struct{ Runner }

func (i immediate) QueryContext(ctx context.Context, query string, args ...any) (Rows, error) {
	rows, err := i.Runner.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err // not a pointer to nothing
	}
	return rows, nil
}

func (i immediate) QueryRowContext(ctx context.Context, query string, args ...any) Row {
	return i.Runner.QueryRowContext(ctx, query, args...)
}

// Settle has nothing to ask: nothing waits.
func (i immediate) Settle(context.Context) error { return nil }

func (i immediate) Later(ctx context.Context, otherwise error, query string, args ...any) error {
	result, err := i.ExecContext(ctx, query, args...)
	if otherwise == nil {
		return err
	}
	return one(otherwise)(result, err)
}
