package home

import (
	"bytes"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// Unlock opens the keys with the passphrase. It takes the time and the memory
// that the work factor asks for, so unlock once per process. It returns
// ErrPassphrase for a wrong passphrase and a *DamageError for a damaged file.
func (h *Home) Unlock(passphrase []byte) error {
	secret, err := h.unwrap(passphraseFile, passphrase)
	if err != nil {
		return err
	}
	defer clear(secret)
	return h.UnlockWithSecret(secret)
}

// UnlockWithSecret opens the keys with the 32 bytes that DeviceSecret returned,
// for a program that keeps them in a TPM or a keyring. Other bytes are
// ErrPassphrase.
func (h *Home) UnlockWithSecret(secret []byte) error {
	holder, err := ReadSecretKeys(h.dir, secret)
	if err != nil {
		return err
	}
	return h.UnlockWith(holder)
}

// UnlockWith opens the home with keys that somebody else holds. Closing the home
// erases the holder; so does an error. DeviceSecret, and with it
// ChangePassphrase, needs [SecretKeys].
func (h *Home) UnlockWith(holder KeyHolder) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	keys, err := h.readKeys(holder)
	if err != nil {
		holder.Erase()
		return err
	}
	h.erase()
	h.holder, h.keys = holder, keys
	return h.matchConfig()
}

// readKeys asks a holder for the keys and opens the confirm key's public part.
func (h *Home) readKeys(holder KeyHolder) (*Keys, error) {
	if h.closed {
		return nil, ErrClosed
	}
	keys, err := holder.Keys()
	if err != nil {
		return nil, err
	}
	sealed, err := readLimited(h.path(confirmKeyFile), confirmKeyFile, maxSmallFile)
	if err != nil {
		return nil, lost(confirmKeyFile, err)
	}
	confirm, err := holder.OpenFile(confirmKeyFile, sealed)
	if err != nil {
		return nil, err
	}
	if keys.Confirm, err = signing.NewPublicKey(confirm); err != nil {
		return nil, &DamageError{File: confirmKeyFile, Reason: err.Error()}
	}
	if h.state != nil && keys.Account != (ledger.AccountID{}) && keys.Account != h.state.Account() {
		return nil, fmt.Errorf("%w: the keys are of %v, the ledger of %v", ErrAccount, keys.Account, h.state.Account())
	}
	return keys, nil
}

// matchConfig brings the configuration up to the keys, which SetIdentity writes
// first. Other people cannot write the sealed file of the two.
func (h *Home) matchConfig() error {
	c := proto.CloneOf(h.config)
	c.Device, c.Account = h.keys.Device, nil
	if h.keys.Account != (ledger.AccountID{}) {
		c.Account = bytes.Clone(h.keys.Account[:])
	}
	if proto.Equal(c, h.config) {
		return nil
	}
	if h.readOnly {
		h.config = c
		return nil
	}
	return h.setConfig(c)
}

func (h *Home) erase() {
	if h.holder != nil {
		h.holder.Erase()
	}
	h.holder, h.keys = nil, nil
}

// Keys returns the device's keys. Closing the home erases them.
func (h *Home) Keys() (*Keys, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.keys == nil {
		return nil, ErrLocked
	}
	keys := *h.keys
	return &keys, nil
}

// DeviceSecret returns a copy of the device secret, 32 bytes, for a TPM or a
// keyring to wrap. Whoever has it opens the home. The caller erases it. A home whose
// keys another process holds is ErrLocked.
func (h *Home) DeviceSecret() ([]byte, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	own, ok := h.holder.(*SecretKeys)
	if !ok {
		return nil, ErrLocked
	}
	return bytes.Clone(own.secret.bytes[:]), nil
}

// SetIdentity says whose device this is, once it is known: an account's first
// device knows it when Genesis is accepted, another one when its DeviceAdded is.
// It changes what is not known yet; anything else is ErrAccount.
func (h *Home) SetIdentity(account ledger.AccountID, device uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writable(); err != nil {
		return err
	}
	if h.holder == nil {
		return ErrLocked
	}
	old := h.keys
	if old.Account != (ledger.AccountID{}) && old.Account != account || old.Device != 0 && old.Device != device {
		return fmt.Errorf("%w: this is device %d of %v", ErrAccount, old.Device, old.Account)
	}
	if h.state != nil && h.state.Account() != account {
		return fmt.Errorf("%w: the ledger here is of %v", ErrAccount, h.state.Account())
	}
	keys := *old
	keys.Account, keys.Device = account, device
	sealed, err := h.holder.SealKeys(account, device)
	if err != nil {
		return err
	}
	if err := writeFile(h.path(keysFile), sealed); err != nil {
		return err
	}
	h.keys = &keys
	return h.matchConfig()
}

// ConfirmKey returns the confirm key, which has a passphrase of its own. The
// caller erases it. Errors are those of Unlock; of a home that is unlocked, a
// key that is not Keys.Confirm's is damage.
func (h *Home) ConfirmKey(passphrase []byte) (*signing.PrivateKey, error) {
	b, err := h.unwrap(confirmFile, passphrase)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	key, err := signing.NewPrivateKey(b)
	if err != nil {
		return nil, &DamageError{File: confirmFile, Reason: err.Error()}
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.keys != nil && !h.keys.Confirm.Equal(key.PublicKey()) {
		key.Erase()
		return nil, &DamageError{File: confirmFile, Reason: "it holds the confirm key of another device"}
	}
	return key, nil
}

// ChangePassphrase gives the home, which must be unlocked, another passphrase.
// A work factor of 0 is DefaultWorkFactor. The confirm passphrase is
// ErrSamePassphrase. Copies of the directory, and what TPM and keyring keep,
// still open with what they opened with: the device secret stays.
func (h *Home) ChangePassphrase(passphrase []byte, workFactor int) error {
	secret, err := h.DeviceSecret()
	if err != nil {
		return err
	}
	defer clear(secret)
	return h.rewrap(passphraseFile, confirmFile, passphrase, workFactor, secret)
}

// ChangeConfirmPassphrase gives the confirm key another passphrase. Errors are
// those of ConfirmKey and ChangePassphrase.
func (h *Home) ChangeConfirmPassphrase(old, passphrase []byte, workFactor int) error {
	key, err := h.ConfirmKey(old)
	if err != nil {
		return err
	}
	defer key.Erase()
	b := key.Bytes()
	defer clear(b)
	return h.rewrap(confirmFile, passphraseFile, passphrase, workFactor, b)
}

// rewrap replaces a passphrase file. Whether the new passphrase is that of the
// other file can only be seen by trying it.
func (h *Home) rewrap(name, other string, passphrase []byte, workFactor int, secret []byte) error {
	logN, err := checkWorkFactor(workFactor)
	if err != nil {
		return err
	}
	b, err := h.unwrap(other, passphrase)
	clear(b)
	if err == nil {
		return ErrSamePassphrase
	}
	if !errors.Is(err, ErrPassphrase) {
		return err
	}
	file, err := wrap(passphrase, logN, secret)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writable(); err != nil {
		return err
	}
	return writeFile(h.path(name), file)
}

func (h *Home) unwrap(name string, passphrase []byte) ([]byte, error) {
	file, err := readLimited(h.path(name), name, maxPassphraseFile)
	if err != nil {
		return nil, lost(name, err)
	}
	return unwrap(passphrase, file, name)
}
