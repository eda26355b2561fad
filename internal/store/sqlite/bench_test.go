package sqlite

import (
	"database/sql"
	"path/filepath"
	"testing"

	"zeropass.dev/zeropass/internal/store/storetest"
)

func BenchmarkReveal(b *testing.B) {
	storetest.Bench(b, func(b *testing.B) storetest.Durable {
		dir := b.TempDir()
		s, err := Open(b.Context(), filepath.Join(dir, "server.db"))
		if err != nil {
			b.Fatal(err)
		}
		return storetest.Durable{Store: s, Dir: dir, Syncs: func(testing.TB) uint64 { return s.Commits() }}
	})
}

func BenchmarkImport(b *testing.B) {
	storetest.BenchImport(b, func(b *testing.B) (storetest.Whole, *sql.DB) {
		path := filepath.Join(b.TempDir(), "server.db")
		s, err := Open(b.Context(), path)
		if err != nil {
			b.Fatal(err)
		}
		return s, beside(b, path)
	})
}
