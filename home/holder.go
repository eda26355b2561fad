package home

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// KeyHolder does everything that takes the device secret or a private key.
// [SecretKeys] has them in this process; another implementation may ask a process
// that does, and returns an error that wraps ErrLocked once it does not.
type KeyHolder interface {
	// Keys returns the device's keys, without Confirm, and whose device it is.
	Keys() (*Keys, error)
	// SealKeys returns the file "keys" with another account and device number.
	SealKeys(account ledger.AccountID, device uint64) ([]byte, error)
	// SealFile seals what goes into the file at a path within the home.
	SealFile(path string, plaintext []byte) ([]byte, error)
	// OpenFile opens what stands in the file at a path within the home. It returns
	// a *DamageError for what does not open.
	OpenFile(path string, sealed []byte) ([]byte, error)
	// Erase ends its use.
	Erase()
}

// SecretKeys are a home's device secret and private keys, in this process. They
// print as [secret].
type SecretKeys struct {
	secret  deviceSecret
	sign    *signing.PrivateKey
	seal    *hpke.PrivateKey
	account ledger.AccountID // all zero until it is known
	device  uint64           // number, 0 until it is known
}

// Format writes "[secret]" for every verb.
func (SecretKeys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[secret]".
func (SecretKeys) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]", which makes JSON of it too.
func (SecretKeys) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// ReadSecretKeys opens the keys of the home in a directory with its 32-byte device
// secret, which it copies. It takes no lock. It returns ErrPassphrase for
// another secret and a *DamageError for a damaged file. The caller erases the
// keys.
func ReadSecretKeys(dir string, secret []byte) (*SecretKeys, error) {
	if len(secret) != secretSize {
		return nil, fmt.Errorf("%w: a device secret of %d bytes, want %d", ErrPassphrase, len(secret), secretSize)
	}
	sealed, err := readLimited(filepath.Join(dir, keysFile), keysFile, maxSmallFile)
	if err != nil {
		return nil, lost(keysFile, err)
	}
	s := &SecretKeys{secret: deviceSecret{bytes: [secretSize]byte(secret)}}
	b, err := s.secret.open(keysFile, sealed)
	if err != nil {
		s.Erase()
		return nil, errors.Join(ErrPassphrase, err)
	}
	defer clear(b)
	if err := s.parse(b); err != nil {
		s.Erase()
		return nil, &DamageError{File: keysFile, Reason: err.Error()}
	}
	return s, nil
}

// Keys returns the keys, which Erase erases.
func (s *SecretKeys) Keys() (*Keys, error) {
	return &Keys{Sign: s.sign, Seal: s.seal, Account: s.account, Device: s.device}, nil
}

// SealKeys returns the file "keys" with another account and device number.
func (s *SecretKeys) SealKeys(account ledger.AccountID, device uint64) ([]byte, error) {
	m := &recordv1.HomeKeys{SignKey: s.sign.Bytes(), SealKey: s.seal.Bytes(), Device: device}
	defer clear(m.SignKey)
	defer clear(m.SealKey)
	if account != (ledger.AccountID{}) {
		m.Account = account[:]
	}
	b, err := canonical.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("home: keys: %w", err)
	}
	defer clear(b)
	return s.secret.seal(keysFile, b)
}

func (s *SecretKeys) parse(b []byte) error {
	var m recordv1.HomeKeys
	if err := canonical.Unmarshal(b, &m); err != nil {
		return err
	}
	defer clear(m.SignKey)
	defer clear(m.SealKey)
	if n := len(m.Account); n != 0 && n != len(s.account) {
		return fmt.Errorf("an account id of %d bytes", n)
	}
	copy(s.account[:], m.Account)
	s.device = m.Device
	var err error
	if s.sign, err = signing.NewPrivateKey(m.SignKey); err != nil {
		return err
	}
	s.seal, err = hpke.NewPrivateKey(m.SealKey)
	return err
}

// SealFile seals what goes into the file at a path.
func (s *SecretKeys) SealFile(path string, plaintext []byte) ([]byte, error) {
	return s.secret.seal(path, plaintext)
}

// OpenFile opens what stands in the file at a path.
func (s *SecretKeys) OpenFile(path string, sealed []byte) ([]byte, error) {
	return s.secret.open(path, sealed)
}

// Erase overwrites the secret and the keys with zeros.
func (s *SecretKeys) Erase() {
	clear(s.secret.bytes[:])
	if s.sign != nil {
		s.sign.Erase()
	}
	if s.seal != nil {
		s.seal.Erase()
	}
}
