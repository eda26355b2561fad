package postgres

import (
	"testing"

	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
	"zeropass.dev/zeropass/internal/store/storetest"
)

// PostgreSQL's processor time is not counted.
func BenchmarkReveal(b *testing.B) {
	server := postgrestest.Start(b, postgrestest.Options{Durable: true})
	storetest.Bench(b, func(b *testing.B) storetest.Durable {
		s := open(b, Config{URL: server.URL(server.Database(b))})
		return storetest.Durable{Store: s, Dir: b.TempDir(), Syncs: func(tb testing.TB) uint64 {
			return syncs(tb, s)
		}}
	})
}

// syncs returns how often PostgreSQL has synced its log. Connections tell what they
// have counted when they end, at the latest.
func syncs(tb testing.TB, s *Store) (n uint64) {
	tb.Helper()
	s.db.pool.SetMaxIdleConns(0)
	defer s.db.pool.SetMaxIdleConns(connections())
	for others := 1; others > 0; {
		if err := s.db.pool.QueryRow(`SELECT COUNT(*) FROM pg_stat_activity
			WHERE application_name = 'zeropass-server' AND pid <> pg_backend_pid()`).Scan(&others); err != nil {
			tb.Fatal(err)
		}
	}
	if err := s.db.pool.QueryRow(`SELECT wal_sync FROM pg_stat_wal`).Scan(&n); err != nil {
		tb.Fatal(err)
	}
	return n
}
