package postgres

import (
	"context"
	"database/sql"

	"zeropass.dev/zeropass/internal/store/sqlstore"
)

// ChangeWhole implements [sqlstore.Database].
func (d *database) ChangeWhole(ctx context.Context, f func(context.Context, sqlstore.Tx) error) error {
	return d.whole(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted}, f)
}

// ReadWhole implements [sqlstore.Database].
func (d *database) ReadWhole(ctx context.Context, f func(context.Context, sqlstore.Tx) error) error {
	return d.whole(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, f)
}

// whole runs f in a transaction that may take as long as it needs, and wait between
// its statements for whoever reads what it gives.
func (d *database) whole(ctx context.Context, options *sql.TxOptions, f func(context.Context, sqlstore.Tx) error) error {
	tx, err := d.pool.BeginTx(ctx, options)
	if err != nil {
		return d.judge(err)
	}
	defer func() { _ = tx.Rollback() }() // nothing is left to roll back after a commit
	if _, err := tx.ExecContext(ctx, `SET LOCAL idle_in_transaction_session_timeout = 0`); err != nil {
		return d.judge(err)
	}
	if err := f(ctx, sqlstore.With(tx)); err != nil {
		return d.judge(err)
	}
	if err := tx.Commit(); err != nil {
		return d.judge(err)
	}
	if !options.ReadOnly {
		d.commits.Add(1)
	}
	return nil
}
