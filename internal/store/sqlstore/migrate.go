package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"zeropass.dev/zeropass/internal/store"
)

// Migrate brings a database's schema up to date, and leaves one alone that is
// newer. It returns [store.ErrNewerSchema] for one that is more than so many
// versions newer.
func Migrate(ctx context.Context, dialect goose.Dialect, db *sql.DB, files fs.FS, newer int64) error {
	provider, err := goose.NewProvider(dialect, db, files)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	have, known, err := provider.GetVersions(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("schema version: %w", err)
	case have > known+newer:
		return fmt.Errorf("%w: its schema is %d, this program knows %d", store.ErrNewerSchema, have, known)
	case have >= known:
		return nil
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate the schema from %d to %d: %w", have, known, err)
	}
	return nil
}

// CheckSchema wants a database to have the schema that this program knows, and
// changes nothing. It returns [store.ErrNewerSchema] for one that is more than so
// many versions newer, or [store.ErrOlderSchema].
func CheckSchema(ctx context.Context, dialect goose.Dialect, db *sql.DB, files fs.FS, newer int64) error {
	provider, err := goose.NewProvider(dialect, db, files)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	have, known, err := provider.GetVersions(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("schema version: %w", err)
	case have > known+newer:
		return fmt.Errorf("%w: its schema is %d, this program knows %d", store.ErrNewerSchema, have, known)
	case have < known:
		return fmt.Errorf("%w: its schema is %d, this program knows %d", store.ErrOlderSchema, have, known)
	}
	return nil
}
