// Package aead has symmetric keys of 32 bytes, which encrypt with AES-256-GCM
// under random nonces, bound to a context.
//
// The context is not part of the ciphertext: whoever opens it says by a
// [signing.Context] what it must be, usually from a [signing.Sealing].
//
// Nonces are 96 random bits, so one key seals at most 2^32 messages
// (NIST SP 800-38D section 8.3); after that the chance of a repeated nonce,
// which would reveal both plaintexts' difference and let others forge, passes
// 2^-32. No key of an account comes near: a key generation seals some messages
// for every slot version. A server's key at rest may, and is changed before.
package aead

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"zeropass.dev/zeropass/signing"
)

// Sizes in bytes.
const (
	KeySize  = 32
	Overhead = nonceSize + tagSize // what Seal adds: nonce and tag

	nonceSize = 12
	tagSize   = 16
)

// minSecretSize is the least secret that keys are derived from, 128 bits: an
// invitation's. Less would be guessed.
const minSecretSize = 16

// ErrOpen is the one error of Open. It does not say whether key, context or
// ciphertext is wrong, since nobody can know.
var ErrOpen = errors.New("aead: the ciphertext does not open: wrong key, wrong context, or damaged")

// Key is a symmetric key of 32 bytes. Make it with [GenerateKey], [NewKey] or
// [DeriveKey]; the zero value is not usable. It is safe for concurrent use,
// except for Erase.
type Key struct {
	// A function, because reflection does not look into it: fmt calls no methods
	// in unexported fields, and its error form for a bad verb follows pointers.
	secret func() *secret
}

type secret struct {
	bytes  [KeySize]byte
	erased bool
}

// hide returns the function that only this package calls.
func hide(s *secret) func() *secret {
	return func() *secret { return s }
}

// GenerateKey makes a key from 32 bytes of rand.
func GenerateKey(rand io.Reader) (*Key, error) {
	k := &Key{secret: hide(new(secret))}
	if _, err := io.ReadFull(rand, k.secret().bytes[:]); err != nil {
		k.Erase()
		return nil, fmt.Errorf("aead: generate key: %w", err)
	}
	return k, nil
}

// NewKey takes a copy of 32 bytes.
func NewKey(b []byte) (*Key, error) {
	if len(b) != KeySize {
		return nil, fmt.Errorf("aead: a key of %d bytes, want %d", len(b), KeySize)
	}
	return &Key{secret: hide(&secret{bytes: [KeySize]byte(b)})}, nil
}

// DeriveKey derives a key from a secret of at least 16 bytes and full entropy:
// HKDF-SHA256 (RFC 5869) with an empty salt, the context's encoding as info,
// 32 bytes.
func DeriveKey(secret []byte, c *signing.Context) (*Key, error) {
	if len(secret) < minSecretSize {
		return nil, fmt.Errorf("aead: derive key: a secret of %d bytes, want at least %d", len(secret), minSecretSize)
	}
	b, err := hkdf.Key(sha256.New, secret, nil, string(c.Encode()), KeySize)
	if err != nil {
		return nil, fmt.Errorf("aead: derive key: %w", err)
	}
	defer clear(b)
	return NewKey(b)
}

// Bytes returns a copy of the key's 32 bytes. It panics if the key was erased.
func (k *Key) Bytes() []byte {
	k.check()
	return slices.Clone(k.secret().bytes[:])
}

// Erase overwrites the key with zeros. Copies that the runtime or the cipher
// made meanwhile are not reached by it.
func (k *Key) Erase() {
	s := k.secret()
	clear(s.bytes[:])
	s.erased = true
}

// Seal encrypts the plaintext, bound to the context. It returns
// nonce (12 bytes, read from rand) ‖ ciphertext ‖ tag (16 bytes). Its only
// errors are rand's; it panics if the key was erased.
func (k *Key) Seal(rand io.Reader, c *signing.Context, plaintext []byte) ([]byte, error) {
	gcm := k.gcm()
	sealed := make([]byte, nonceSize, Overhead+len(plaintext))
	if _, err := io.ReadFull(rand, sealed); err != nil {
		return nil, fmt.Errorf("aead: seal: %w", err)
	}
	return gcm.Seal(sealed, sealed, plaintext, c.Encode()), nil
}

// Open decrypts what Seal returned for the same context, or returns [ErrOpen].
// The plaintext of an empty message is empty and not nil. It panics if the key
// was erased.
func (k *Key) Open(c *signing.Context, sealed []byte) ([]byte, error) {
	gcm := k.gcm()
	if len(sealed) < Overhead {
		return nil, ErrOpen
	}
	plaintext := make([]byte, 0, len(sealed)-Overhead)
	plaintext, err := gcm.Open(plaintext, sealed[:nonceSize], sealed[nonceSize:], c.Encode())
	if err != nil {
		return nil, ErrOpen
	}
	return plaintext, nil
}

// gcm makes the cipher anew for each message: that costs less than a
// microsecond, and the expanded key does not outlive Erase by being kept.
func (k *Key) gcm() cipher.AEAD {
	k.check()
	block, err := aes.NewCipher(k.secret().bytes[:])
	if err != nil {
		panic("aead: " + err.Error()) // 32 bytes are a key of AES-256
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic("aead: " + err.Error()) // AES has blocks of 16 bytes
	}
	return gcm
}

// check panics on an erased key: zeros would encrypt as readily as any key.
func (k *Key) check() {
	if k.secret().erased {
		panic("aead: use of an erased key")
	}
}
