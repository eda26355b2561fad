package storetest

import (
	"database/sql"
	"slices"
	"testing"

	"zeropass.dev/zeropass/internal/store/sqlstore"
)

// CheckColumns wants copies of a store to have every column that a query finds in
// the database, as pairs of table and column: what a migration adds must not be
// lost in a backup.
func CheckColumns(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	rows, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	have := map[string][]string{}
	for rows.Next() {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			t.Fatal(err)
		}
		have[table] = append(have[table], column)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	// They belong to the database, not to its data.
	for _, table := range []string{"goose_db_version", "sqlite_sequence", "schema_lock", "changes"} {
		delete(have, table)
	}
	want := sqlstore.Columns()
	for table := range have {
		if _, ok := want[table]; !ok {
			t.Errorf("copies have no table %s", table)
		}
	}
	for table, columns := range want {
		slices.Sort(columns)
		slices.Sort(have[table])
		if !slices.Equal(columns, have[table]) {
			t.Errorf("of %s copies have %v, the database %v", table, columns, have[table])
		}
	}
}
