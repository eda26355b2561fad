package systemtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/sqlite"
)

// beside works on the server's data while it runs.
func (w *world) beside(f func(store.Maintained) error) {
	w.t.Helper()
	s, err := sqlite.OpenBeside(context.Background(), w.database())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := f(s); err != nil {
		w.t.Error(err)
	}
	if err := s.Close(); err != nil {
		w.t.Error(err)
	}
}

// sound wants a check of a store to find nothing.
func (w *world) sound(ctx context.Context, s store.Maintained) error {
	done, err := server.Check(ctx, s, w.keys, func(f server.Finding) {
		w.t.Errorf("account %v: %s", f.Account, f.What)
	}, nil)
	if err == nil && (done.Findings > 0 || done.Accounts == 0) {
		err = fmt.Errorf("checked %+v", done)
	}
	return err
}

// A backup is made while the server runs. Devices write on, and one is added; then
// the server is restored from the backup, and is complete when they have synced.
func TestServerRestoredFromABackupBecomesComplete(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann, _ := w.household("ann")
	ann.add("early", "one")
	var backup bytes.Buffer
	w.beside(func(s store.Maintained) error {
		return s.Export(ctx, &backup, func(store.Copy) error { return nil })
	})
	ann.add("late", "two")
	second := w.secondDevice(ann)
	ann.add("later still", "three")
	second.sync()
	w.beside(func(s store.Maintained) error { return w.sound(ctx, s) })

	w.stopServer()
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(w.database() + end); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	restored, err := sqlite.Open(ctx, w.database())
	if err != nil {
		t.Fatal(err)
	}
	if err := restored.Import(ctx, &backup, w.sound); err != nil {
		t.Fatal(err)
	}
	if err := restored.Close(); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.wait(time.Hour)
	ann.sync()
	second.sync()
	if v, err := second.VerifyLedger(ctx); err != nil || !v.OK() || v.ServerHead != second.Head() {
		t.Fatalf("%+v, %v", v, err)
	}
	w.beside(func(s store.Maintained) error { return w.sound(ctx, s) })
	if _, err := second.LockDevice(ctx, 1); err != nil {
		t.Fatal(explained(err))
	}
	w.wait(waiting + time.Hour)
	for title, password := range map[string]string{"early": "one", "late": "two", "later still": "three"} {
		second.wantSecret(title, password)
	}
	w.beside(func(s store.Maintained) error { return w.sound(ctx, s) })
}
