package signing

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"

	"gitlab.com/yawning/secp256k1-voi/secec"
)

// Sizes in bytes.
const (
	PrivateKeySize = 32 // big-endian scalar
	PublicKeySize  = 33 // compressed point, SEC 1 section 2.3.3
	SignatureSize  = 64 // r ‖ s, each 32 bytes big-endian
)

// minSecretSize is the least secret that keys are derived from, 128 bits: an
// invitation's. Less would be guessed.
const minSecretSize = 16

var (
	// ErrPrivateKey is returned for bytes that are no private key.
	ErrPrivateKey = errors.New("signing: not a private key of secp256k1")
	// ErrPublicKey is returned for bytes that are no public key.
	ErrPublicKey = errors.New("signing: not a compressed public key of secp256k1")
)

// PrivateKey is a secp256k1 private key. Make it with [GenerateKey],
// [NewPrivateKey] or [DeriveKey]; the zero value is not usable. It is safe for
// concurrent use, except for Erase.
type PrivateKey struct {
	// A function, because reflection does not look into it: fmt calls no methods
	// in unexported fields, and its error form for a bad verb follows pointers.
	secret func() *secret
	public *PublicKey
}

type secret struct {
	bytes  [PrivateKeySize]byte
	erased bool
}

// hide returns the function that only this package calls.
func hide(s *secret) func() *secret {
	return func() *secret { return s }
}

// GenerateKey makes a private key from 32 bytes of rand. It reads again in the
// case, of probability 2^-127, that they are not in 1..n-1.
func GenerateKey(rand io.Reader) (*PrivateKey, error) {
	key, err := firstKey(func(byte) ([]byte, error) {
		b := make([]byte, PrivateKeySize)
		_, err := io.ReadFull(rand, b)
		return b, err
	})
	if err != nil {
		return nil, fmt.Errorf("signing: generate key: %w", err)
	}
	return key, nil
}

// NewPrivateKey takes 32 bytes that say, big-endian, a number in 1..n-1
// (SEC 1 section 2.3.6). Anything else is [ErrPrivateKey].
func NewPrivateKey(b []byte) (*PrivateKey, error) {
	if len(b) != PrivateKeySize {
		return nil, fmt.Errorf("%w: %d bytes, want %d", ErrPrivateKey, len(b), PrivateKeySize)
	}
	key, err := secec.NewPrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("%w: the number is not in 1..n-1", ErrPrivateKey)
	}
	return &PrivateKey{
		secret: hide(&secret{bytes: [PrivateKeySize]byte(b)}),
		public: &PublicKey{point: key.PublicKey()},
	}, nil
}

// DeriveKey derives a private key from a secret of at least 16 bytes and full
// entropy: HKDF-SHA256 (RFC 5869) with an empty salt, 32 bytes. Its info is the
// context's encoding and a counter byte that starts at 0 and grows by one while
// the result is not in 1..n-1.
func DeriveKey(secret []byte, c *Context) (*PrivateKey, error) {
	if len(secret) < minSecretSize {
		return nil, fmt.Errorf("signing: derive key: a secret of %d bytes, want at least %d", len(secret), minSecretSize)
	}
	key, err := firstKey(func(counter byte) ([]byte, error) {
		info := append(c.Encode(), counter)
		return hkdf.Key(sha256.New, secret, nil, string(info), PrivateKeySize)
	})
	if err != nil {
		return nil, fmt.Errorf("signing: derive key: %w", err)
	}
	return key, nil
}

// firstKey takes the first candidate that is a private key and erases all of
// them. It gives up after 256, which only a broken source of candidates makes
// it do.
func firstKey(candidate func(counter byte) ([]byte, error)) (*PrivateKey, error) {
	for counter := range 256 {
		b, err := candidate(byte(counter))
		if err != nil {
			clear(b)
			return nil, err
		}
		key, err := NewPrivateKey(b)
		clear(b)
		if err == nil {
			return key, nil
		}
	}
	return nil, errors.New("256 candidates and no key among them: the source of randomness is broken")
}

// PublicKey returns the public key. It stays valid after Erase.
func (k *PrivateKey) PublicKey() *PublicKey {
	return k.public
}

// Bytes returns a copy of the key's 32 bytes. It panics if the key was erased.
func (k *PrivateKey) Bytes() []byte {
	if k.secret().erased {
		panic("signing: use of an erased private key")
	}
	return slices.Clone(k.secret().bytes[:])
}

// Erase overwrites the key with zeros. Copies that the runtime or the curve
// arithmetic made meanwhile are not reached by it.
func (k *PrivateKey) Erase() {
	s := k.secret()
	clear(s.bytes[:])
	s.erased = true
}

// PublicKey is a secp256k1 public key. Make it with [NewPublicKey] or
// [PrivateKey.PublicKey]; the zero value is not usable. It is safe for
// concurrent use.
type PublicKey struct {
	point *secec.PublicKey
}

// NewPublicKey takes the 33 bytes of a compressed point (SEC 1 section 2.3.4).
// Uncompressed and hybrid points and the point at infinity are [ErrPublicKey],
// so that one key has one encoding.
func NewPublicKey(b []byte) (*PublicKey, error) {
	if len(b) != PublicKeySize {
		return nil, fmt.Errorf("%w: %d bytes, want %d", ErrPublicKey, len(b), PublicKeySize)
	}
	if b[0] != 2 && b[0] != 3 {
		return nil, fmt.Errorf("%w: it starts with %#02x, want 0x02 or 0x03", ErrPublicKey, b[0])
	}
	point, err := secec.NewPublicKey(b)
	if err != nil {
		return nil, fmt.Errorf("%w: the point is not on the curve", ErrPublicKey)
	}
	return &PublicKey{point: point}, nil
}

// Bytes returns the 33 bytes of the compressed point.
func (k *PublicKey) Bytes() []byte {
	return k.point.CompressedBytes()
}

// Equal says whether both are the same key. A nil key equals nothing.
func (k *PublicKey) Equal(other *PublicKey) bool {
	if k == nil || other == nil {
		return false
	}
	return subtle.ConstantTimeCompare(k.Bytes(), other.Bytes()) == 1
}
