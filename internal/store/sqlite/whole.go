package sqlite

import (
	"context"

	"zeropass.dev/zeropass/internal/store/sqlstore"
)

// ReadWhole implements [sqlstore.Database].
func (d *database) ReadWhole(ctx context.Context, f func(context.Context, sqlstore.Tx) error) error {
	return d.Read(ctx, f)
}
