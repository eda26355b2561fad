package home

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zeropass.dev/zeropass/ledger"
)

func TestUnlock(t *testing.T) {
	h := create(t)
	secret := must[[]byte](t)(h.DeviceSecret())
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Keys(); !errors.Is(err, ErrLocked) {
		t.Errorf("closed: %v", err)
	}
	h = must[*Home](t)(Open(h.Dir()))
	defer func() { _ = h.Close() }()
	for name, use := range map[string]func() error{
		"Keys":         func() error { _, err := h.Keys(); return err },
		"DeviceSecret": func() error { _, err := h.DeviceSecret(); return err },
		"Held":         func() error { _, err := h.Held(); return err },
		"Private":      func() error { _, err := h.Private("a"); return err },
		"PutPrivate":   func() error { return h.PutPrivate("a", nil) },
		"PutPending":   func() error { return h.PutPending("a", nil) },
		"SetIdentity":  func() error { return h.SetIdentity(ledger.AccountID{1}, 1) },
	} {
		if err := use(); !errors.Is(err, ErrLocked) {
			t.Errorf("%s while locked: %v", name, err)
		}
	}
	for _, wrong := range [][]byte{nil, []byte("wrong"), testConfirm} {
		if err := h.Unlock(wrong); !errors.Is(err, ErrPassphrase) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	for _, wrong := range [][]byte{nil, secret[:31], make([]byte, 32)} {
		if err := h.UnlockWithSecret(wrong); !errors.Is(err, ErrPassphrase) {
			t.Errorf("a wrong secret of %d bytes: %v", len(wrong), err)
		}
	}
	if _, err := h.ConfirmKey(testPassphrase); !errors.Is(err, ErrPassphrase) {
		t.Errorf("confirm key: %v", err)
	}
	if err := h.UnlockWithSecret(secret); err != nil {
		t.Error(err)
	}
}

// opens says whether a passphrase opens the device secret.
func opens(h *Home, passphrase []byte) error {
	b, err := h.unwrap(passphraseFile, passphrase)
	clear(b)
	return err
}

func TestChangePassphrases(t *testing.T) {
	h := create(t)
	if err := h.ChangePassphrase(testConfirm, 1); !errors.Is(err, ErrSamePassphrase) {
		t.Errorf("the confirm passphrase: %v", err)
	}
	if err := h.ChangeConfirmPassphrase(testConfirm, testPassphrase, 1); !errors.Is(err, ErrSamePassphrase) {
		t.Errorf("the passphrase: %v", err)
	}
	if err := h.ChangePassphrase(nil, 1); !errors.Is(err, ErrPassphrase) {
		t.Errorf("an empty one: %v", err)
	}
	if err := h.ChangeConfirmPassphrase([]byte("wrong"), []byte("new confirm"), 1); !errors.Is(err, ErrPassphrase) {
		t.Errorf("a wrong old one: %v", err)
	}
	if err := h.ChangePassphrase([]byte("new"), 1); err != nil {
		t.Fatal(err)
	}
	if err := h.ChangeConfirmPassphrase(testConfirm, []byte("new confirm"), 1); err != nil {
		t.Fatal(err)
	}
	if err := opens(h, testPassphrase); !errors.Is(err, ErrPassphrase) {
		t.Errorf("the old one: %v", err)
	}
	if err := opens(h, []byte("new")); err != nil {
		t.Error(err)
	}
	if _, err := h.ConfirmKey([]byte("new confirm")); err != nil {
		t.Error(err)
	}
}

func TestWorkFactorLimit(t *testing.T) {
	h := create(t)
	path := filepath.Join(h.Dir(), passphraseFile)
	file := must[[]byte](t)(os.ReadFile(path))
	// A file that would take four hours: "-> scrypt SALT 1" becomes 30.
	lines := bytes.SplitN(file, []byte("\n"), 3)
	lines[1] = append(bytes.TrimSuffix(lines[1], []byte(" 1")), " 30"...)
	if err := os.WriteFile(path, bytes.Join(lines, []byte("\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := opens(h, testPassphrase); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "work factor") {
		t.Errorf("got %v", err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}
