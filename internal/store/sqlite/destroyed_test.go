package sqlite

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/store/sqlstore"
)

// A backup reads for as long as it takes. Nobody who destroys shares meanwhile waits
// for its end, and the log, which has the shares still, is emptied after it.
func TestDestroyedBesideABackup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.db")
	s := open(t, path)
	defer func() { _ = s.Close() }()
	s.db.emptyAgain = 0
	backup, err := OpenBeside(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = backup.Close() }()

	reading, end, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		ended <- backup.db.ReadWhole(t.Context(), func(ctx context.Context, tx sqlstore.Tx) error {
			var n int
			err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM shares`).Scan(&n)
			close(reading)
			<-end
			return err
		})
	}()
	<-reading
	change := func() {
		if err := s.Claim(t.Context(), []byte("keys")); err != nil {
			t.Error(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		change()
		s.db.Destroyed(t.Context())
	}()
	select {
	case <-done:
	case <-time.After(9 * time.Second): // SQLite's own patience is 10
		t.Error("whoever destroyed shares waits for the backup")
	}
	close(end)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	<-done
	change()
	if log, err := os.Stat(path + "-wal"); err != nil || log.Size() != 0 {
		t.Errorf("the log is not empty: %v, %v", log, err)
	}
}

// A command that destroys beside a server waits for what the server reads, and leaves
// nothing in the log when it ends.
func TestDestroyedBesideAServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.db")
	s := open(t, path)
	defer func() { _ = s.Close() }()
	command, err := OpenBeside(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	reading, end, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		ended <- s.db.Read(t.Context(), func(ctx context.Context, tx sqlstore.Tx) error {
			var n int
			err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM shares`).Scan(&n)
			close(reading)
			<-end
			return err
		})
	}()
	<-reading
	if err := command.Claim(t.Context(), []byte("keys")); err != nil {
		t.Fatal(err)
	}
	command.db.Destroyed(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { close(end) })
	if err := command.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if log, err := os.Stat(path + "-wal"); err != nil || log.Size() != 0 {
		t.Errorf("the log is not empty: %v, %v", log, err)
	}
}
