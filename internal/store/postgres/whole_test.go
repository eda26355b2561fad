package postgres

import (
	"database/sql"
	"testing"

	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
	"zeropass.dev/zeropass/internal/store/storetest"
)

// A copy of the store has every column of every table.
func TestCopiesHaveAllColumns(t *testing.T) {
	server := postgrestest.Start(t, postgrestest.Options{})
	s := open(t, Config{URL: server.URL(server.Database(t)), AllowLoss: true})
	defer closed(t, s)
	storetest.CheckColumns(t, s.db.pool, `SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'`)
}

func BenchmarkImport(b *testing.B) {
	server := postgrestest.Start(b, postgrestest.Options{Durable: true})
	storetest.BenchImport(b, func(b *testing.B) (storetest.Whole, *sql.DB) {
		s, err := Open(b.Context(), Config{URL: server.URL(server.Database(b))})
		if err != nil {
			b.Fatal(err)
		}
		return s, s.db.pool
	})
}
