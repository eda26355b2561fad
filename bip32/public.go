package bip32

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"

	secp256k1 "gitlab.com/yawning/secp256k1-voi"
	"golang.org/x/crypto/ripemd160" //lint:ignore SA1019 BIP32 defines fingerprints with RIPEMD-160; no security rests on them.
)

// PublicKey is an extended public key: a public key with a chain code and its
// place in the tree. It is not secret, but confidential; see the package
// documentation.
type PublicKey struct {
	origin
	point      secp256k1.Point // never the point at infinity
	compressed [pointSize]byte // the same point in SEC 1 form
}

// parsePoint reads a compressed point, the only form BIP32 has.
func parsePoint(b *[pointSize]byte, from origin) (*PublicKey, error) {
	k := &PublicKey{origin: from, compressed: *b}
	if _, err := k.point.SetCompressedBytes(b[:]); err != nil {
		return nil, fmt.Errorf("%w: public key is not a point of the curve", ErrInvalidKey)
	}
	return k, nil
}

// Child returns the child at index, which is below [Hardened]. It is function
// CKDpub of BIP32, and equals Public of the private key's child.
//
// It returns ErrHardened for a hardened index, ErrInvalidKey if there is no
// such child (the next index then takes its place), and ErrDepth at depth 255.
func (k *PublicKey) Child(index uint32) (*PublicKey, error) {
	if index >= Hardened {
		return nil, ErrHardened
	}
	from, il, err := k.step(index, k.childInput(index))
	if err != nil {
		return nil, err
	}
	defer clear(il[:])
	defer clear(from.chainCode[:])

	point, err := childPoint(&k.point, il)
	if err != nil {
		return nil, err
	}
	child := &PublicKey{origin: from, compressed: [pointSize]byte(point.CompressedBytes())}
	child.point.Set(point)
	return child, nil
}

// Derive walks down the path, one [PublicKey.Child] after the other. The empty
// path gives a copy of k. Errors are those of Child.
func (k *PublicKey) Derive(path ...uint32) (*PublicKey, error) {
	copied := *k
	current := &copied
	for depth, index := range path {
		child, err := current.Child(index)
		if err != nil {
			return nil, fmt.Errorf("step %d of the path: %w", depth+1, err)
		}
		current = child
	}
	return current, nil
}

// Bytes returns the public key alone, without its chain code: the compressed
// point, 33 bytes (SEC 1, version 2.0, section 2.3.3).
func (k *PublicKey) Bytes() []byte {
	b := k.compressed
	return b[:]
}

// ChainCode returns a copy of the chain code, 32 bytes.
func (k *PublicKey) ChainCode() []byte {
	c := k.chainCode
	return c[:]
}

// Depth returns the number of steps from the master key, which has depth 0.
func (k *PublicKey) Depth() uint8 { return k.depth }

// ChildNumber returns the index at which the parent has this key, 0 for a
// master key.
func (k *PublicKey) ChildNumber() uint32 { return k.childNumber }

// ParentFingerprint returns the first 4 bytes of
// RIPEMD-160(SHA-256(serP(parent))), all zero for a master key. It is a hint
// for looking keys up: parents that share one are easily made.
func (k *PublicKey) ParentFingerprint() [4]byte { return k.parent }

// Equal says whether both are the same extended key: key, chain code and place
// in the tree. It takes the same time wherever they differ.
func (k *PublicKey) Equal(other *PublicKey) bool {
	return other != nil && subtle.ConstantTimeCompare(k.Serialize(), other.Serialize()) == 1
}

// step computes I for the child at index and returns where the child comes
// from, with IR as its chain code, and IL. It erases input, which may hold the
// private key.
func (k *PublicKey) step(index uint32, input *[pointSize + 4]byte) (origin, *[scalarSize]byte, error) {
	defer clear(input[:])
	if k.depth == 255 {
		return origin{}, nil, ErrDepth
	}
	mac := hmac.New(sha512.New, k.chainCode[:])
	mac.Write(input[:])
	i := mac.Sum(nil)
	defer clear(i)

	il := [scalarSize]byte(i[:scalarSize])
	return origin{
		depth:       k.depth + 1,
		parent:      k.fingerprint(),
		childNumber: index,
		chainCode:   [chainCodeSize]byte(i[scalarSize:]),
	}, &il, nil
}

// childInput is what HMAC reads besides the chain code, 37 bytes.
func (k *PublicKey) childInput(index uint32) *[pointSize + 4]byte {
	input := new([pointSize + 4]byte)
	copy(input[:], k.compressed[:])
	binary.BigEndian.PutUint32(input[pointSize:], index)
	return input
}

// fingerprint is the first 4 bytes of BIP32's key identifier.
func (k *PublicKey) fingerprint() [fingerprintSize]byte {
	inner := sha256.Sum256(k.compressed[:])
	outer := ripemd160.New()
	outer.Write(inner[:])
	return [fingerprintSize]byte(outer.Sum(nil))
}

// childPoint adds IL·G to the parent's public key.
func childPoint(parent *secp256k1.Point, il *[scalarSize]byte) (*secp256k1.Point, error) {
	tweak, err := parseTweak(il)
	if err != nil {
		return nil, err
	}
	defer tweak.Zero()
	child := secp256k1.NewIdentityPoint().ScalarBaseMult(tweak)
	if child.Add(child, parent).IsIdentity() == 1 {
		return nil, errNoChild
	}
	return child, nil
}

// The methods below keep the chain code out of logs. They have value
// receivers, so that a dereferenced key is covered as well.

const publicName = "[extended public key]"

// String returns "[extended public key]". See [PublicKey.Encode].
func (k PublicKey) String() string { return publicName }

// Format writes "[extended public key]" for every verb.
func (k PublicKey) Format(s fmt.State, _ rune) { io.WriteString(s, publicName) }

// LogValue returns "[extended public key]".
func (k PublicKey) LogValue() slog.Value { return slog.StringValue(publicName) }
