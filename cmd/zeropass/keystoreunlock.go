package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/internal/keystore"
)

// keyringPatience is how long the keyring may take, which may ask its owner for
// a password.
const keyringPatience = time.Minute

// tpmPath is which TPM is used.
func tpmPath() string { return cmp.Or(os.Getenv("ZEROPASS_TPM"), keystore.DefaultTPM) }

// errNoPIN: none was given, or there is nobody to ask.
var errNoPIN = errors.New("the PIN is needed")

// openWithKeystore opens this device with its keystore, and where that fails
// with the passphrase, if there is somebody to type it.
func (a *app) openWithKeystore(ctx context.Context, dir string) (*device.Device, error) {
	defer a.clearProgress()
	return device.OpenWith(ctx, dir, func(h *home.Home) error { return a.unlockHome(ctx, h) }, a.options(ctx))
}

// unlockHome unlocks a home that has a keystore, with its passphrase where the
// keystore fails and there is somebody to type it.
func (a *app) unlockHome(ctx context.Context, h *home.Home) error {
	err := a.unlockFromKeystore(ctx, h)
	if err == nil || ctx.Err() != nil {
		return err
	}
	f := keystoreFailure(err)
	if !a.interactive() {
		return f
	}
	if !errors.Is(err, errNoPIN) {
		a.warn("%s; the passphrase opens this device too", oneParagraph(f.text))
	}
	passphrase, err := a.knownPassphrase(ctx)
	if err != nil {
		return err
	}
	defer a.working("unlocking")()
	return h.Unlock(passphrase)
}

// unlockFromKeystore unlocks a home that has a keystore with it.
func (a *app) unlockFromKeystore(ctx context.Context, h *home.Home) error {
	r, err := storedKeystore(h)
	if err != nil {
		return err
	}
	defer r.Erase()
	var pin []byte
	if r.NeedsPIN() {
		if pin, err = a.knownPIN(ctx); err != nil {
			return err
		}
	}
	stop := a.working("unlocking")
	secret, err := openKeystore(ctx, r, pin)
	stop()
	if err != nil {
		return err
	}
	defer clear(secret)
	return h.UnlockWithSecret(secret)
}

// storedKeystore reads the keystore of a home; home.ErrNotFound if it has none.
func storedKeystore(h *home.Home) (*keystore.Record, error) {
	b, err := h.Keystore()
	if errors.Is(err, home.ErrDamaged) {
		return nil, fmt.Errorf("%w: %w", keystore.ErrRecord, err)
	} else if err != nil {
		return nil, err
	}
	defer clear(b)
	return keystore.Parse(b)
}

func openKeystore(ctx context.Context, r *keystore.Record, pin []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, keyringPatience)
	defer cancel()
	return r.Open(ctx, tpmPath(), pin)
}

// knownPIN gets the PIN of a home whose secret the TPM keeps.
func (a *app) knownPIN(ctx context.Context) ([]byte, error) {
	if a.pin != nil {
		return a.pin, nil
	}
	var err error
	if a.pinFile != "" {
		a.pin, err = a.readPassphraseFile(a.pinFile, "--pin-file")
		return a.pin, err
	}
	line, err := a.ask(ctx, "PIN (or Enter, for the passphrase): ", true)
	if errors.Is(err, errNoTerminal) || err == nil && len(line) == 0 {
		return nil, errNoPIN
	} else if err != nil {
		return nil, err
	}
	a.pin = line
	return line, nil
}

// keystoreFailure says what is wrong with a keystore. The hint goes with what a
// person can do who is not asked for the passphrase.
func keystoreFailure(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	const (
		byPassphrase = "The passphrase opens this device: give --passphrase-file FILE."
		anew         = "The passphrase opens this device, and sets this up anew: zeropass device keystore tpm, keyring or passphrase."
	)
	f := func(code exitCode, hint, format string, args ...any) *failure {
		return &failure{code, fmt.Sprintf(format, args...), hint}
	}
	switch {
	case errors.Is(err, errNoPIN):
		return f(exitUsage, "Give the PIN with --pin-file FILE, or the passphrase with --passphrase-file FILE.", "the PIN is needed, and there is no terminal to ask on")
	case errors.Is(err, keystore.ErrPIN):
		return f(exitPassphrase, "Too many wrong ones lock the TPM for some time. "+byPassphrase, "this is not the PIN of this device")
	case errors.Is(err, keystore.ErrLockedOut):
		return f(exitFailed, "It takes a PIN again after some time, on some machines a day. Until then: the passphrase, with --passphrase-file FILE.", "the TPM refuses every PIN for some time, after too many wrong ones")
	case errors.Is(err, keystore.ErrOtherTPM):
		return f(exitFailed, anew, "the TPM here was cleared, or it is another machine's than the one that keeps the secret of this device")
	case errors.Is(err, keystore.ErrNoTPM):
		return f(exitFailed, "Is a TPM 2.0 switched on, and may you use it? On most systems that takes the group tss. "+byPassphrase, "the TPM at %s cannot be used: %s", tpmPath(), cause(err, keystore.ErrNoTPM))
	case errors.Is(err, keystore.ErrTPM):
		return f(exitFailed, anew, "the TPM refused: %s", cause(err, keystore.ErrTPM))
	case errors.Is(err, keystore.ErrEntryLost):
		return f(exitFailed, anew, "the keyring has no entry of this device any more")
	case errors.Is(err, keystore.ErrEntryChanged):
		return f(exitFailed, anew, "the entry in the keyring is not what was put there")
	case errors.Is(err, keystore.ErrNoKeyring):
		return f(exitFailed, "Is the desktop's keyring running and unlocked? "+byPassphrase, "the keyring cannot be used: %s", cause(err, keystore.ErrNoKeyring))
	case errors.Is(err, keystore.ErrRecord):
		return f(exitFailed, anew, "the file keystore in this device's directory is damaged")
	case errors.Is(err, home.ErrPassphrase):
		return f(exitFailed, anew, "what the keystore holds is not the secret of this device")
	}
	return explain(context.Background(), err)
}

// cause is what an error says beside what it is.
func cause(err, is error) string {
	if path := pathCause(err); path != err.Error() {
		return path
	}
	return strings.TrimPrefix(err.Error(), is.Error()+": ")
}
