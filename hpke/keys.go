package hpke

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"gitlab.com/yawning/secp256k1-voi"
)

const (
	privateKeySize = 32 // RFC 9180's Nsk
	publicKeySize  = 65 // RFC 9180's Npk, an uncompressed point
	compressedSize = 33 // SEC 1 v2.0 §2.3.3, as records hold public keys
)

// Errors of the key constructors.
var (
	// ErrPrivateKey says that bytes are no private key, or too few to derive one.
	ErrPrivateKey = errors.New("hpke: not a secp256k1 private key")

	// ErrPublicKey says that bytes are no public key.
	ErrPublicKey = errors.New("hpke: not a secp256k1 public key")
)

// PrivateKey opens messages. It is a scalar in [1, n), made by [GenerateKey],
// [DeriveKeyPair] or [NewPrivateKey]; the zero value opens nothing. Printed,
// logged or marshalled it says [secret].
type PrivateKey struct {
	scalar *secp256k1.Scalar // a pointer, so that Erase reaches every copy of the struct
	public *PublicKey
}

// PublicKey seals messages. It is a point of the curve other than the identity,
// made by [NewPublicKey] or [PrivateKey.PublicKey].
type PublicKey struct {
	point   *secp256k1.Point
	encoded [publicKeySize]byte // SerializePublicKey(point), uncompressed
}

// NewPrivateKey returns the private key with this 32-byte big-endian encoding
// (SEC 1 v2.0 §2.3.6), which it copies. It returns [ErrPrivateKey] for another
// length, for 0 and for numbers from the group's order n up.
func NewPrivateKey(b []byte) (*PrivateKey, error) {
	if len(b) != privateKeySize {
		return nil, fmt.Errorf("%w: %d bytes instead of %d", ErrPrivateKey, len(b), privateKeySize)
	}
	scalar, err := secp256k1.NewScalarFromCanonicalBytes((*[privateKeySize]byte)(b))
	if err != nil || scalar.IsZero() != 0 {
		return nil, fmt.Errorf("%w: not in the range [1, n)", ErrPrivateKey)
	}
	public, err := newPublicKey(secp256k1.NewIdentityPoint().ScalarBaseMult(scalar))
	if err != nil {
		return nil, err
	}
	return &PrivateKey{scalar: scalar, public: public}, nil
}

// NewPublicKey returns the public key with this SEC 1 encoding, compressed in 33
// bytes or uncompressed in 65. It returns [ErrPublicKey] for any other form (the
// hybrid one and the identity's included), for coordinates from the field's prime
// up, and for a point that is not on the curve.
func NewPublicKey(b []byte) (*PublicKey, error) {
	if len(b) != compressedSize && len(b) != publicKeySize {
		return nil, fmt.Errorf("%w: %d bytes instead of %d or %d", ErrPublicKey, len(b), compressedSize, publicKeySize)
	}
	point, err := secp256k1.NewPointFromBytes(b)
	if err != nil {
		return nil, fmt.Errorf("%w: not the encoding of a point on the curve", ErrPublicKey)
	}
	return newPublicKey(point)
}

func newPublicKey(point *secp256k1.Point) (*PublicKey, error) {
	if point.IsIdentity() != 0 {
		return nil, fmt.Errorf("%w: the identity", ErrPublicKey)
	}
	return &PublicKey{point: point, encoded: [publicKeySize]byte(point.UncompressedBytes())}, nil
}

// PublicKey returns the public key that seals to k. It outlives [PrivateKey.Erase].
func (k *PrivateKey) PublicKey() *PublicKey { return k.public }

// Bytes returns a copy of the 32-byte big-endian scalar. The caller erases it.
func (k *PrivateKey) Bytes() []byte { return k.scalar.Bytes() }

// Erase zeroes the scalar. An erased key opens nothing, and its Bytes are zeros,
// which [NewPrivateKey] refuses.
func (k *PrivateKey) Erase() {
	if k.scalar != nil {
		k.scalar.Zero()
	}
}

// Bytes returns the 33-byte compressed encoding, the form that records hold.
func (k *PublicKey) Bytes() []byte {
	x, yIsOdd := secp256k1.SplitUncompressedPoint(k.encoded[:])
	return append([]byte{0x02 + byte(yIsOdd)}, x...)
}

// Equal says whether o is the same point. The time it takes depends on both keys,
// which are public.
func (k *PublicKey) Equal(o *PublicKey) bool {
	return o != nil && bytes.Equal(k.encoded[:], o.encoded[:])
}

// secretText replaces a private key wherever it would be shown. The methods have
// value receivers, so that a copied struct is as silent as a pointer.
const secretText = "[secret]"

// String returns [secret].
func (PrivateKey) String() string { return secretText }

// GoString returns [secret].
func (PrivateKey) GoString() string { return secretText }

// Format writes [secret] for every verb.
func (PrivateKey) Format(s fmt.State, _ rune) { io.WriteString(s, secretText) }

// LogValue returns [secret].
func (PrivateKey) LogValue() slog.Value { return slog.StringValue(secretText) }

// MarshalText returns [secret].
func (PrivateKey) MarshalText() ([]byte, error) { return []byte(secretText), nil }

// MarshalJSON returns the string [secret].
func (PrivateKey) MarshalJSON() ([]byte, error) { return []byte(`"` + secretText + `"`), nil }
