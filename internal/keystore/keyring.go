package keystore

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/zalando/go-keyring"

	"zeropass.dev/zeropass/aead"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// service is the name under which people see our entries in their keyring.
const service = "zeropass"

// SealKeyring encrypts a device secret, 32 bytes, under a new wrapping key and
// puts the outcome into the desktop's keyring. Random bytes come from rand. The
// context ends the wait for the keyring, which may ask its owner for a password.
func SealKeyring(ctx context.Context, rand io.Reader, secret []byte) (*Record, error) {
	if len(secret) != SecretSize {
		return nil, fmt.Errorf("keystore: a device secret of %d bytes, want %d", len(secret), SecretSize)
	}
	r := &Record{m: &recordv1.HomeKeystore{
		Kind:        recordv1.HomeKeystore_KIND_KEYRING,
		Entry:       make([]byte, entrySize),
		WrappingKey: make([]byte, wrappingSize),
	}}
	for _, b := range [][]byte{r.m.Entry, r.m.WrappingKey} {
		if _, err := io.ReadFull(rand, b); err != nil {
			return nil, fmt.Errorf("keystore: random bytes: %w", err)
		}
	}
	wrapped, err := r.wrap(rand, secret)
	if err != nil {
		r.Erase()
		return nil, err
	}
	_, err = ask(ctx, func() (string, error) { return "", keyring.Set(service, r.user(), wrapped) })
	if err != nil {
		r.Erase()
		return nil, err
	}
	return r, nil
}

// user names the entry within the service.
func (r *Record) user() string { return hex.EncodeToString(r.m.Entry) }

// context is what an entry is bound to.
func (r *Record) context() *signing.Context {
	return signing.NewContext("keyring").Bytes(r.m.Entry)
}

// wrap returns what goes into the keyring. Keyrings hold text.
func (r *Record) wrap(rand io.Reader, secret []byte) (string, error) {
	key, err := aead.NewKey(r.m.WrappingKey)
	if err != nil {
		return "", err
	}
	defer key.Erase()
	sealed, err := key.Seal(rand, r.context(), secret)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(sealed), nil
}

func (r *Record) fromKeyring(ctx context.Context) ([]byte, error) {
	wrapped, err := ask(ctx, func() (string, error) { return keyring.Get(service, r.user()) })
	if err != nil {
		return nil, err
	}
	sealed, err := base64.StdEncoding.Strict().DecodeString(wrapped)
	if err != nil {
		return nil, fmt.Errorf("%w: it is not in base64", ErrEntryChanged)
	}
	key, err := aead.NewKey(r.m.WrappingKey)
	if err != nil {
		return nil, err
	}
	defer key.Erase()
	secret, err := key.Open(r.context(), sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEntryChanged, err)
	}
	if len(secret) != SecretSize {
		clear(secret)
		return nil, fmt.Errorf("%w: it holds %d bytes, want %d", ErrEntryChanged, len(secret), SecretSize)
	}
	return secret, nil
}

func (r *Record) forgetEntry(ctx context.Context) error {
	_, err := ask(ctx, func() (string, error) { return "", keyring.Delete(service, r.user()) })
	if errors.Is(err, ErrEntryLost) {
		return nil
	}
	return err
}

// ask calls the keyring, which cannot be interrupted while it asks its owner: a
// call that the context ends is left behind.
func ask(ctx context.Context, call func() (string, error)) (string, error) {
	if !hasKeyring() {
		return "", fmt.Errorf("%w: there is no desktop session (D-Bus)", ErrNoKeyring)
	}
	type answer struct {
		text string
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		text, err := call()
		done <- answer{text, err}
	}()
	select {
	case <-ctx.Done():
		return "", fmt.Errorf("%w: it did not answer: %w", ErrNoKeyring, ctx.Err())
	case a := <-done:
		switch {
		case a.err == nil:
			return a.text, nil
		case errors.Is(a.err, keyring.ErrNotFound):
			return "", ErrEntryLost
		}
		return "", fmt.Errorf("%w: %w", ErrNoKeyring, a.err)
	}
}

// hasKeyring tells whether there may be a keyring. Where there is no session
// bus the D-Bus library would start one, with no keyring on it, and leave it.
func hasKeyring() bool {
	switch runtime.GOOS {
	case "darwin", "windows":
		return true
	}
	if address := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); address != "" {
		return address != "autolaunch:"
	}
	for _, dir := range []string{os.Getenv("XDG_RUNTIME_DIR"), fmt.Sprintf("/run/user/%d", os.Getuid())} {
		if dir == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "bus")); err == nil {
			return true
		}
	}
	return false
}
