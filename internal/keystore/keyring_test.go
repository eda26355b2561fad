package keystore

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/zalando/go-keyring"

	"zeropass.dev/zeropass/internal/keystore/keystoretest"
)

// One session bus for all of a process: the D-Bus library keeps its connection.
func TestKeyring(t *testing.T) {
	k := must[*keystoretest.KeyringDaemon](t)(keystoretest.StartKeyring())
	defer func() {
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
	}()
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", k.Address)

	r := stored(t, must[*Record](t)(SealKeyring(t.Context(), rand.Reader, testSecret)))
	if r.Kind() != Keyring || r.NeedsPIN() {
		t.Errorf("a record of kind %v, PIN %v", r.Kind(), r.NeedsPIN())
	}
	open := func(r *Record) ([]byte, error) { return r.Open(t.Context(), "", nil) }
	if got := must[[]byte](t)(open(r)); !bytes.Equal(got, testSecret) {
		t.Fatal("another secret came out")
	}

	// Neither half shows the secret.
	entries := must[map[string]string](t)(k.Entries())
	if len(entries) != 1 {
		t.Fatalf("%d entries in the keyring", len(entries))
	}
	for label, value := range entries {
		if !strings.Contains(label, "zeropass") {
			t.Errorf("the entry is called %q", label)
		}
		raw := must[[]byte](t)(base64.StdEncoding.DecodeString(value))
		if bytes.Contains(raw, testSecret) || bytes.Contains(raw, r.m.WrappingKey) {
			t.Error("the keyring alone opens the secret")
		}
	}
	if bytes.Contains(must[[]byte](t)(r.Bytes()), testSecret) {
		t.Error("the record alone opens the secret")
	}

	// A second device of the same user has an entry of its own.
	second := must[*Record](t)(SealKeyring(t.Context(), rand.Reader, bytes.Repeat([]byte{7}, SecretSize)))
	if got := must[[]byte](t)(open(r)); !bytes.Equal(got, testSecret) {
		t.Error("the second entry replaced the first")
	}
	if err := second.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := open(second); !errors.Is(err, ErrEntryLost) {
		t.Errorf("after it was forgotten: %v", err)
	}
	if err := second.Forget(t.Context()); err != nil {
		t.Errorf("forgotten twice: %v", err)
	}

	other := must[*Record](t)(SealKeyring(t.Context(), rand.Reader, testSecret))
	swapped := entriesValue(t, other)
	for name, value := range map[string]string{"another record's": swapped, "no base64": "%", "nothing": ""} {
		if err := keyring.Set(service, r.user(), value); err != nil {
			t.Fatal(err)
		}
		if secret, err := open(r); !errors.Is(err, ErrEntryChanged) || secret != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	if err := k.Clear(); err != nil {
		t.Fatal(err)
	}
	if _, err := open(r); !errors.Is(err, ErrEntryLost) {
		t.Errorf("after the keyring was emptied: %v", err)
	}

	last := must[*Record](t)(SealKeyring(t.Context(), rand.Reader, testSecret))
	if err := k.Lock(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := last.Open(ctx, "", nil); !errors.Is(err, ErrNoKeyring) {
		t.Errorf("a locked keyring that nobody unlocks: %v", err)
	}
}

func entriesValue(t *testing.T, r *Record) string {
	t.Helper()
	return must[string](t)(keyring.Get(service, r.user()))
}

func TestNoKeyring(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	for name, address := range map[string]string{
		"no session":                   "autolaunch:",
		"a session bus that has ended": "unix:path=" + t.TempDir() + "/none",
	} {
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", address)
		if _, err := SealKeyring(t.Context(), rand.Reader, testSecret); !errors.Is(err, ErrNoKeyring) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSealKeyringRefuses(t *testing.T) {
	if _, err := SealKeyring(t.Context(), rand.Reader, testSecret[1:]); err == nil {
		t.Error("a secret of 31 bytes")
	}
	broken := errors.New("broken")
	if _, err := SealKeyring(t.Context(), iotest.ErrReader(broken), testSecret); !errors.Is(err, broken) {
		t.Errorf("without random bytes: %v", err)
	}
}
