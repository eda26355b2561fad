package home

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

const (
	// DefaultWorkFactor is age's: 2^18 rounds of scrypt, which take 256 MiB and
	// most of a second.
	DefaultWorkFactor = 18
	// MaxWorkFactor is the greatest work factor that is written or read. 2^20
	// rounds take 1 GiB and some seconds; more, in a file that somebody else
	// wrote, would be a way to stop the program.
	MaxWorkFactor = 20

	// secretSize is the size in bytes of what a passphrase file protects: the
	// device secret, or the confirm key.
	secretSize = 32
	// maxPassphraseFile is the size in bytes of the largest file that is read:
	// age's header and a chunk come to a few hundred.
	maxPassphraseFile = 4096
)

// checkWorkFactor returns the work factor to use, for 0 the default.
func checkWorkFactor(logN int) (int, error) {
	if logN == 0 {
		return DefaultWorkFactor, nil
	}
	if logN < 1 || logN > MaxWorkFactor {
		return 0, fmt.Errorf("%w: %d, want 1 to %d", ErrWorkFactor, logN, MaxWorkFactor)
	}
	return logN, nil
}

// wrap encrypts a secret with a passphrase: a binary age file (C2SP age) with
// one scrypt recipient. age reads its own randomness.
func wrap(passphrase []byte, logN int, secret []byte) ([]byte, error) {
	// age takes passphrases as strings, which nobody can erase.
	recipient, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return nil, fmt.Errorf("%w: it is empty", ErrPassphrase)
	}
	recipient.SetWorkFactor(logN)
	var file bytes.Buffer
	w, err := age.Encrypt(&file, recipient)
	if err != nil {
		return nil, fmt.Errorf("home: encrypt under the passphrase: %w", err)
	}
	if _, err := w.Write(secret); err != nil {
		return nil, fmt.Errorf("home: encrypt under the passphrase: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("home: encrypt under the passphrase: %w", err)
	}
	return file.Bytes(), nil
}

// unwrap returns the secret in a passphrase file of that name.
func unwrap(passphrase, file []byte, name string) ([]byte, error) {
	identity, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, fmt.Errorf("%w: it is empty", ErrPassphrase)
	}
	identity.SetMaxWorkFactor(MaxWorkFactor)
	r, err := age.Decrypt(bytes.NewReader(file), identity)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, ErrPassphrase
	}
	if err != nil {
		return nil, &DamageError{File: name, Reason: err.Error()}
	}
	secret := make([]byte, secretSize+1)
	n, err := io.ReadFull(r, secret)
	if n != secretSize || !errors.Is(err, io.ErrUnexpectedEOF) {
		clear(secret)
		return nil, &DamageError{File: name, Reason: fmt.Sprintf("it does not hold %d bytes", secretSize)}
	}
	return secret[:secretSize], nil
}

func samePassphrase(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
