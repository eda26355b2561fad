package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
)

// newKeyFile writes a key file and opens it.
func newKeyFile(t *testing.T) (string, *server.KeyFile) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if err := server.WriteKeys(path, must(server.GenerateKeys(rand.Reader))); err != nil {
		t.Fatal(err)
	}
	return path, must(server.OpenKeyFile(path, time.Now))
}

func TestKeyFileChanges(t *testing.T) {
	path, file := newKeyFile(t)
	first := file.IDs()[0]
	original := must(os.ReadFile(path))
	public := file.Keys().Fingerprint()

	second, before, err := file.Add(rand.Reader, false)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(must(os.ReadFile(before)), original) {
		t.Error("the file as it was is lost")
	}
	standby, _, err := file.Add(rand.Reader, true)
	if err != nil {
		t.Fatal(err)
	}
	wantIDs := func(want ...string) {
		t.Helper()
		got := must(server.OpenKeyFile(path, time.Now))
		if strings.Join(got.IDs(), " ") != strings.Join(want, " ") || strings.Join(file.IDs(), " ") != strings.Join(want, " ") {
			t.Errorf("the file has %v, the program %v, want %v", got.IDs(), file.IDs(), want)
		}
		if got.Keys().Fingerprint() != public {
			t.Error("the server's own keys are others")
		}
	}
	wantIDs(second, first, standby)
	if _, err := file.Use(standby); err != nil {
		t.Fatal(err)
	}
	wantIDs(standby, second, first)
	if _, err := file.Retire(standby); !errors.Is(err, server.ErrKeyInUse) {
		t.Errorf("the key that encrypts retires: %v", err)
	}
	for _, change := range []func(string) (string, error){file.Use, file.Retire} {
		if _, err := change("00000000"); !errors.Is(err, server.ErrNoSuchKey) {
			t.Errorf("a key that is not there: %v", err)
		}
	}
	if _, err := file.Retire(second); err != nil {
		t.Fatal(err)
	}
	wantIDs(standby, first)
	if info := must(os.Stat(path)); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	// Two at a time: the second has not seen what the first did.
	other := must(server.OpenKeyFile(path, time.Now))
	if _, _, err := other.Add(rand.Reader, false); err != nil {
		t.Fatal(err)
	}
	if _, _, err := file.Add(rand.Reader, false); err == nil {
		t.Error("a change that another made is overwritten")
	}
	if left := must(filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
}

// use counts what stands under each key.
func (w *world) use() map[string]int64 {
	w.t.Helper()
	return must(w.maintained().KeyUse(w.t.Context()))
}

func (w *world) maintained() store.Maintained { return w.store.(store.Maintained) }

// A running server takes up a new key by itself, opens what another process has
// encrypted under a key that it has not seen, and after a rotation needs the new
// key alone.
func TestKeysRotateBesideARunningServer(t *testing.T) {
	path, file := newKeyFile(t)
	w := &world{keys: must(server.ReadKeys(path))}
	w.begin(t)
	a := w.create("ada")
	a.prepare(false)
	a.serverReceipt()
	a.store(1, 1, "first")
	reveal := func() string {
		t.Helper()
		return must(a.reveal(a.first(), a.version(1, 1), a.first().confirms(apiv1.Confirmation_KEY_CONFIRM)))
	}
	old := file.IDs()[0]
	under := w.use()[old]
	if under == 0 || len(w.use()) != 1 {
		t.Fatalf("keys are used %v", w.use())
	}
	id, _, err := file.Add(rand.Reader, false)
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	n, err := server.Rotate(t.Context(), w.maintained(), file.Keys(), rand.Reader, func(accounts, things int) {
		calls++
		if accounts != 1 || int64(things) != under {
			t.Errorf("progress: %d accounts, %d things", accounts, things)
		}
	})
	if err != nil || int64(n) != under || calls != 1 {
		t.Fatalf("rotated %d of %d, %v", n, under, err)
	}
	if use := w.use(); use[id] != under || len(use) != 1 {
		t.Errorf("after the rotation keys are used %v", use)
	}
	if n, err := server.Rotate(t.Context(), w.maintained(), file.Keys(), rand.Reader, nil); n != 0 || err != nil {
		t.Errorf("a second rotation did %d, %v", n, err)
	}
	// The server has not looked yet.
	if got := reveal(); got != "first" {
		t.Errorf("revealed %q", got)
	}
	a.store(2, 1, "second")
	if use := w.use(); use[old] != 0 {
		t.Errorf("the server goes on with the old key: %v", use)
	}
	if _, err := file.Retire(old); err != nil {
		t.Fatal(err)
	}
	w.ok(w.keys.Follow())
	if got := reveal(); got != "first" {
		t.Errorf("without the old key: %q", got)
	}
	// A file of another server is not taken up.
	other := must(server.GenerateKeys(rand.Reader))
	w.ok(os.Remove(path))
	w.ok(server.WriteKeys(path, other))
	if err := w.keys.Follow(); !errors.Is(err, server.ErrOtherKeys) {
		t.Errorf("another server's keys: %v", err)
	}
}

// A rotation that is stopped goes on where it was.
func TestRotationGoesOn(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"ada", "bob", "eve"} {
		w.create(name).prepare(false)
	}
	path := filepath.Join(t.TempDir(), "keys")
	w.ok(server.WriteKeys(path, w.keys))
	file := must(server.OpenKeyFile(path, time.Now))
	if _, _, err := file.Add(rand.Reader, false); err != nil {
		t.Fatal(err)
	}
	all := w.use()[w.keys.EncryptionKeys()[0]]
	ctx, stop := context.WithCancel(t.Context())
	done, err := server.Rotate(ctx, w.maintained(), file.Keys(), rand.Reader, func(accounts, _ int) {
		if accounts == 2 {
			stop()
		}
	})
	if !errors.Is(err, context.Canceled) || done == 0 || int64(done) >= all {
		t.Fatalf("stopped after %d of %d: %v", done, all, err)
	}
	rest, err := server.Rotate(t.Context(), w.maintained(), file.Keys(), rand.Reader, nil)
	if err != nil || int64(done+rest) != all {
		t.Errorf("then %d of %d, %v", rest, all, err)
	}
}
