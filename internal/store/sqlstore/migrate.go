package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

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

// Schema returns the version that the newest migration brings a schema to. Their
// names begin with it.
func Schema(files fs.FS) (version int64) {
	all, _ := fs.Glob(files, "*/*.sql") // the pattern is sound
	for _, name := range all {
		number, _, _ := strings.Cut(path.Base(name), "_")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			panic(err) // a program that was built wrong
		}
		version = max(version, n)
	}
	return version
}

// hasSchema asks whether a database has a table of goose's, which goose would make.
var hasSchema = map[goose.Dialect]string{
	goose.DialectPostgres: `SELECT to_regclass('goose_db_version') IS NOT NULL`,
	goose.DialectSQLite3:  `SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'goose_db_version')`,
}

// CheckSchema wants a database to have the schema that this program knows, or one
// that is at most so many versions newer, and changes nothing. It returns
// [store.ErrNewerSchema], [store.ErrOlderSchema], or [store.ErrNoData] for a
// database without a schema.
func CheckSchema(ctx context.Context, dialect goose.Dialect, db *sql.DB, files fs.FS, newer int64) error {
	var there bool
	if err := db.QueryRowContext(ctx, hasSchema[dialect]).Scan(&there); err != nil {
		return fmt.Errorf("schema version: %w", err)
	}
	if !there {
		return store.ErrNoData
	}
	provider, err := goose.NewProvider(dialect, db, files)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	have, known, err := provider.GetVersions(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("schema version: %w", err)
	case have == 0:
		return store.ErrNoData
	case have > known+newer:
		return fmt.Errorf("%w: its schema is %d, this program knows %d", store.ErrNewerSchema, have, known)
	case have < known:
		return fmt.Errorf("%w: its schema is %d, this program knows %d", store.ErrOlderSchema, have, known)
	}
	return nil
}
