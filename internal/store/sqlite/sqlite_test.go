package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/storetest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(asWriter); path != "" {
		write(path)
		return
	}
	goleak.VerifyTestMain(m)
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		path := filepath.Join(t.TempDir(), "server.db")
		return func() store.Store {
			s, err := Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}

// A program must not touch what a newer one wrote.
func TestNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.db")
	s := open(t, path)
	if _, err := s.write.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)`); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path); !errors.Is(err, store.ErrNewerSchema) {
		t.Errorf("got %v, want ErrNewerSchema", err)
	}
}

// What the pragmas promise is what the connections have.
func TestPragmas(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "with space & ?.db"))
	defer func() { _ = s.Close() }()
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "secure_delete": "1", "foreign_keys": "1"} {
		var got string
		if err := s.write.QueryRow(`PRAGMA ` + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q (%v), want %q", pragma, got, err, want)
		}
	}
}

// After an error of the disk nothing more is answered.
func TestFailStop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.db")
	s := open(t, path)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < len(b); i++ { // every page but the first
		b[i] = 0xff
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s = &Store{}
	if s.write, err = connect(path, "immediate"); err != nil {
		t.Fatal(err)
	}
	if s.read, err = connect(path, "deferred"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if _, err := s.Named(t.Context(), "ada"); !errors.Is(err, store.ErrFailed) {
		t.Fatalf("a damaged page gave %v, want ErrFailed", err)
	}
	if err := s.Claim(t.Context(), []byte("keys")); err != store.ErrFailed {
		t.Errorf("afterwards: %v, want ErrFailed itself", err)
	}
}

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
