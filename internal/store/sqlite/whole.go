package sqlite

import (
	"context"
	"database/sql"
)

// ReadWhole implements [sqlstore.Database].
func (d *database) ReadWhole(ctx context.Context, f func(context.Context, *sql.Tx) error) error {
	return d.Read(ctx, f)
}
