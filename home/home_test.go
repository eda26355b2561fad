package home

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

func create(t *testing.T) *Home {
	t.Helper()
	h := must[*Home](t)(Create(filepath.Join(t.TempDir(), "a", "home"), testCreation()))
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func reopen(t *testing.T, h *Home) *Home {
	t.Helper()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	again := must[*Home](t)(Open(h.Dir()))
	t.Cleanup(func() { _ = again.Close() })
	if err := again.Unlock(testPassphrase); err != nil {
		t.Fatal(err)
	}
	return again
}

// withAccount gives a home an account of n entries.
func withAccount(t *testing.T, h *Home, n int) (*Keys, *signing.PrivateKey) {
	t.Helper()
	keys := must[*Keys](t)(h.Keys())
	confirm := must[*signing.PrivateKey](t)(h.ConfirmKey(testConfirm))
	if err := h.Append(must[*ledger.Entry](t)(genesis(keys))); err != nil {
		t.Fatal(err)
	}
	if err := h.SetIdentity(h.State().Account(), 1); err != nil {
		t.Fatal(err)
	}
	if n == 1 {
		return keys, confirm
	}
	if err := h.Append(must[*ledger.Entry](t)(epochEntry(h.State(), keys))); err != nil {
		t.Fatal(err)
	}
	if err := h.Append(must[[]*ledger.Entry](t)(policyEntries(h.State(), keys, confirm, n-2, 0))...); err != nil {
		t.Fatal(err)
	}
	return keys, confirm
}

func TestCreate(t *testing.T) {
	h := create(t)
	for path, want := range map[string]os.FileMode{"": 0o700, pendingDir: 0o700, privateDir: 0o700, evidenceDir: 0o700,
		passphraseFile: 0o600, confirmFile: 0o600, confirmKeyFile: 0o600, configFile: 0o600, keysFile: 0o600, ledgerFile: 0o600,
		serverSharesFile: 0o600, activityFile: 0o600, proofsFile: 0o600, heldFile: 0o600, lockFile: 0o600} {
		info, err := os.Stat(filepath.Join(h.Dir(), path))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: %v, %v, want %v", path, info, err, want)
		}
	}
	if h.State() != nil {
		t.Error("a new home has a ledger")
	}
	if c := h.Config(); c.Name != "Ada" || c.Account != nil || c.Device != 0 {
		t.Errorf("config %v", c)
	}
	keys := must[*Keys](t)(h.Keys())
	if keys.Account != (ledger.AccountID{}) || keys.Device != 0 {
		t.Error("new keys belong to an account")
	}
	sign, seal, confirm := keys.Sign.PublicKey(), keys.Seal.PublicKey(), keys.Confirm
	if sign.Equal(confirm) || bytes.Equal(sign.Bytes(), seal.Bytes()) {
		t.Error("two keys are one")
	}
	h = reopen(t, h)
	again := must[*Keys](t)(h.Keys())
	if !again.Sign.PublicKey().Equal(sign) || !again.Seal.PublicKey().Equal(seal) || !again.Confirm.Equal(confirm) {
		t.Error("the keys changed")
	}
	if key := must[*signing.PrivateKey](t)(h.ConfirmKey(testConfirm)); !key.PublicKey().Equal(confirm) {
		t.Error("the confirm key changed")
	}
}

func TestCreateRefuses(t *testing.T) {
	change := func(f func(*Creation)) Creation {
		c := testCreation()
		f(&c)
		return c
	}
	occupied := t.TempDir()
	if err := os.WriteFile(filepath.Join(occupied, "letter"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	for _, test := range []struct {
		name string
		dir  string
		c    Creation
		want error
	}{
		{"occupied", occupied, testCreation(), ErrExists},
		{"a file", filepath.Join(occupied, "letter"), testCreation(), ErrExists},
		{"empty passphrase", parent + "/a", change(func(c *Creation) { c.Passphrase = nil }), ErrPassphrase},
		{"empty confirm passphrase", parent + "/a", change(func(c *Creation) { c.ConfirmPassphrase = []byte{} }), ErrPassphrase},
		{"one passphrase", parent + "/a", change(func(c *Creation) { c.ConfirmPassphrase = c.Passphrase }), ErrSamePassphrase},
		{"work factor", parent + "/a", change(func(c *Creation) { c.WorkFactor = MaxWorkFactor + 1 }), ErrWorkFactor},
		{"negative work factor", parent + "/a", change(func(c *Creation) { c.WorkFactor = -1 }), ErrWorkFactor},
		{"account", parent + "/a", change(func(c *Creation) { c.Config.Device = 1 }), ErrAccount},
		{"no randomness", parent + "/a", change(func(c *Creation) { c.Rand = bytes.NewReader(make([]byte, 40)) }), io.EOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, err := Create(test.dir, test.c)
			if !errors.Is(err, test.want) && !(test.want == io.EOF && errors.Is(err, io.ErrUnexpectedEOF)) || h != nil {
				t.Errorf("%v, %v, want %v", h, err, test.want)
			}
		})
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestCreateIntoEmptyDirectory(t *testing.T) {
	dir := t.TempDir()
	stale := dir + ".new-1"
	if err := os.MkdirAll(filepath.Join(stale, "private"), 0o700); err != nil {
		t.Fatal(err)
	}
	h := must[*Home](t)(Create(dir, testCreation()))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a crash left behind is still there: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "nothing")); !errors.Is(err, ErrMissing) {
		t.Errorf("nothing there: %v", err)
	}
	if _, err := Open(t.TempDir()); !errors.Is(err, ErrMissing) {
		t.Errorf("an empty directory: %v", err)
	}
	h := create(t)
	if got := Holder(h.Dir()); got != os.Getpid() {
		t.Errorf("process %d has it", got)
	}
	if got := Holder(t.TempDir()); got != 0 {
		t.Errorf("process %d has a directory without a lock", got)
	}
	if _, err := Open(h.Dir()); !errors.Is(err, ErrBusy) {
		t.Errorf("open twice: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(h.Dir(), 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(h.Dir()); !errors.Is(err, ErrPermissions) || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("a shared directory: %v", err)
	}
	readOnly, err := OpenReadOnly(h.Dir())
	if err != nil {
		t.Fatalf("a copy with other permissions: %v", err)
	}
	defer func() { _ = readOnly.Close() }()
	if err := readOnly.Unlock(testPassphrase); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]error{
		"Append":           readOnly.Append(),
		"PutPrivate":       readOnly.PutPrivate("a", nil),
		"RemoveJournal":    readOnly.RemoveJournal(),
		"ChangePassphrase": readOnly.ChangePassphrase([]byte("new"), 1),
		"PutHeld":          readOnly.PutHeld(storedShare(1, "share")),
	} {
		if !errors.Is(change, ErrReadOnly) {
			t.Errorf("%s: %v", name, change)
		}
	}
}
