package bip32

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"

	secp256k1 "gitlab.com/yawning/secp256k1-voi"
)

// PrivateKey is an extended private key: a private key with a chain code and
// its place in the tree. Erase it after use.
type PrivateKey struct {
	// Behind a pointer, so that printing a struct that has a PrivateKey in an
	// unexported field, where fmt calls no methods, shows an address.
	scalar *secp256k1.Scalar // 0 once erased

	// public is made together with the private key, since deriving any child
	// takes it, and so that keys never change.
	public PublicKey
}

// newPrivateKey takes a scalar from 1 to n-1. It copies the scalar.
func newPrivateKey(scalar *secp256k1.Scalar, from origin) *PrivateKey {
	k := new(PrivateKey)
	k.scalar = secp256k1.NewScalarFrom(scalar)
	k.public.point.ScalarBaseMult(k.scalar)
	k.public.compressed = [pointSize]byte(k.public.point.CompressedBytes())
	k.public.origin = from
	return k
}

// Child returns the child at index; from [Hardened] on, the hardened child.
// It is function CKDpriv of BIP32.
//
// It returns ErrInvalidKey if there is no such child (the next index then
// takes its place), ErrDepth at depth 255, and ErrErased.
func (k *PrivateKey) Child(index uint32) (*PrivateKey, error) {
	if k.erased() {
		return nil, ErrErased
	}
	from, il, err := k.public.step(index, k.childInput(index))
	if err != nil {
		return nil, err
	}
	defer clear(il[:])
	defer clear(from.chainCode[:])

	scalar, err := childScalar(k.scalar, il)
	if err != nil {
		return nil, err
	}
	defer scalar.Zero()
	return newPrivateKey(scalar, from), nil
}

// Derive walks down the path, one [PrivateKey.Child] after the other, and
// erases the keys between. The empty path gives a copy of k. Errors are those
// of Child.
func (k *PrivateKey) Derive(path ...uint32) (*PrivateKey, error) {
	if k.erased() {
		return nil, ErrErased
	}
	current := newPrivateCopy(k)
	for depth, index := range path {
		child, err := current.Child(index)
		current.Erase()
		if err != nil {
			return nil, fmt.Errorf("step %d of the path: %w", depth+1, err)
		}
		current = child
	}
	return current, nil
}

// Public returns the extended public key that belongs to k, function N of
// BIP32. It panics if k was erased.
func (k *PrivateKey) Public() *PublicKey {
	k.mustLive()
	public := k.public
	return &public
}

// Bytes returns the private key, 32 bytes big-endian, from 1 to n-1. It is a
// copy that the caller erases. It panics if k was erased: zeros in place of a
// key would be used as one.
func (k *PrivateKey) Bytes() []byte {
	k.mustLive()
	return k.scalar.Bytes()
}

// ChainCode returns a copy of the chain code, 32 bytes, which the caller
// erases. It panics if k was erased.
func (k *PrivateKey) ChainCode() []byte {
	k.mustLive()
	return k.public.ChainCode()
}

// Depth returns the number of steps from the master key, which has depth 0.
func (k *PrivateKey) Depth() uint8 { return k.public.Depth() }

// ChildNumber returns the index at which the parent has this key, 0 for a
// master key.
func (k *PrivateKey) ChildNumber() uint32 { return k.public.ChildNumber() }

// ParentFingerprint returns the first 4 bytes of
// RIPEMD-160(SHA-256(serP(parent))), all zero for a master key. It is a hint
// for looking keys up: parents that share one are easily made.
func (k *PrivateKey) ParentFingerprint() [4]byte { return k.public.ParentFingerprint() }

// Erase overwrites the private key, chain code and all else with zeros. k is
// of no use afterwards: methods that would need the key return ErrErased or,
// if they return no error, panic.
func (k *PrivateKey) Erase() {
	if k.scalar != nil {
		k.scalar.Zero()
	}
	*k = PrivateKey{}
}

func (k *PrivateKey) erased() bool { return k.scalar == nil || k.scalar.IsZero() == 1 }

func (k *PrivateKey) mustLive() {
	if k.erased() {
		panic(ErrErased)
	}
}

// childInput is what HMAC reads besides the chain code, 37 bytes.
func (k *PrivateKey) childInput(index uint32) *[pointSize + 4]byte {
	if index < Hardened {
		return k.public.childInput(index)
	}
	input := new([pointSize + 4]byte) // the leading 0x00 pads the private key to 33 bytes
	scalar := k.scalar.Bytes()
	defer clear(scalar)
	copy(input[1:], scalar)
	binary.BigEndian.PutUint32(input[pointSize:], index)
	return input
}

// childScalar adds IL to the parent's private key.
func childScalar(parent *secp256k1.Scalar, il *[scalarSize]byte) (*secp256k1.Scalar, error) {
	child, err := parseTweak(il)
	if err != nil {
		return nil, err
	}
	if child.Add(child, parent).IsZero() == 1 {
		return nil, errNoChild
	}
	return child, nil
}

// newPrivateCopy shares nothing with k, so that either can be erased.
func newPrivateCopy(k *PrivateKey) *PrivateKey {
	return &PrivateKey{scalar: secp256k1.NewScalarFrom(k.scalar), public: k.public}
}

// The methods below stand between a private key and whatever prints values.
// They have value receivers, so that a dereferenced key is covered as well.

const redacted = "[secret]"

// String returns "[secret]". See [PrivateKey.Encode].
func (k PrivateKey) String() string { return redacted }

// GoString returns "[secret]".
func (k PrivateKey) GoString() string { return redacted }

// Format writes "[secret]" for every verb.
func (k PrivateKey) Format(s fmt.State, _ rune) { io.WriteString(s, redacted) }

// LogValue returns "[secret]".
func (k PrivateKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]".
func (k PrivateKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[secret]", quoted.
func (k PrivateKey) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
