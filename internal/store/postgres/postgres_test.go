package postgres

import (
	"testing"

	"go.uber.org/goleak"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
	"zeropass.dev/zeropass/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	server := postgrestest.Start(t, postgrestest.Options{})
	storetest.Run(t, func(t *testing.T) func() store.Store {
		url := server.Database(t)
		return func() store.Store { return open(t, Config{URL: url, AllowLoss: true}) }
	})
}

func open(t *testing.T, c Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
