package sqlite

import (
	"context"
	"database/sql"
)

// ChangeWhole implements [sqlstore.Database].
func (d *database) ChangeWhole(ctx context.Context, f func(context.Context, *sql.Tx) error) error {
	return d.Change(ctx, f)
}

// ReadWhole implements [sqlstore.Database].
func (d *database) ReadWhole(ctx context.Context, f func(context.Context, *sql.Tx) error) error {
	return d.Read(ctx, f)
}
