// Package bip32 derives secp256k1 key pairs from one master key, as
// Bitcoin Improvement Proposal 32, "Hierarchical Deterministic Wallets",
// defines it.
//
// [NewMaster] starts a tree from 64 bytes that the caller has computed,
// [NewBitcoinMaster] from a seed the way BIP32 itself does. From there
// [PrivateKey.Derive] walks down the tree. [PrivateKey.Public] gives the
// extended public key, from which [PublicKey.Derive] computes the public keys
// of all non-hardened descendants without any private key.
//
// # Scheme
//
// An extended key is a secp256k1 key (SEC 2, version 2.0, section 2.4.1) with
// a chain code of 32 bytes. With n the order of the curve, G its generator,
// serP the 33-byte compressed point (SEC 1, version 2.0, section 2.3.3), ser32
// and ser256 big-endian integers, a child at index i is (BIP32, "Child key
// derivation functions"):
//
//	i ≥ 2^31, hardened:  I = HMAC-SHA512(c, 0x00 ‖ ser256(k) ‖ ser32(i))
//	i < 2^31, normal:    I = HMAC-SHA512(c, serP(k·G) ‖ ser32(i))
//	IL ‖ IR = I, 32 bytes each
//	private:  child = IL + k mod n,  chain code IR
//	public:   child = IL·G + K,      chain code IR; normal i only
//
// There is no child where IL ≥ n, or where the child would be 0 or the point
// at infinity. The chance of that is below 2^-127 per index; the functions
// here then return [ErrInvalidKey], and BIP32 asks to go on with the next
// index.
//
// # What it promises
//
// Hardened children are one-way in both directions: with the chain code, a
// child's private key tells nothing about its parent or siblings, as long as
// HMAC-SHA512 is a pseudorandom function of k.
//
// Normal children are not. Whoever holds an extended public key and the
// private key of any one of its normal children computes the private key of
// the parent, IL being known to them, and so of every other normal
// descendant. Put a hardened step above each branch whose public side is
// given away. An extended public key, although it decrypts and signs nothing,
// links all of its descendants and opens this door: treat it as confidential.
// For that reason neither key type prints itself; [PrivateKey.Encode] and
// [PublicKey.Encode] are asked for by name.
//
// # Side channels
//
// Running time, branches and memory addresses do not depend on private keys
// or chain codes. Scalar arithmetic and multiplication of the generator are
// the constant-time ones of secp256k1-voi; no variable-time operation of that
// package is called, for public keys either, because chain codes are
// confidential. Base58 is computed with masks and constant divisors, without
// tables. What does show is the verdict: that a key was refused, and for which
// of the published reasons. On processors that promise constant time only in a
// special mode, call from within crypto/subtle.WithDataIndependentTiming.
//
// # Erasing
//
// The functions here erase their intermediate values, and [PrivateKey.Erase]
// erases a key. Out of reach are copies that the hash, HMAC and curve packages
// leave on stack and heap, and strings: the result of [PrivateKey.Encode] and
// the argument of [ParsePrivate] stay until the garbage collector has reused
// their memory. Where Go is built with the runtimesecret experiment, calling
// from within runtime/secret.Do covers the former.
//
// # Concurrency
//
// Keys do not change after they are made, save by Erase. All methods may be
// called from several goroutines at once, except that Erase must not run while
// another method of the same key does. The zero value of both types is not a
// key.
package bip32

import (
	"crypto/hmac"
	"crypto/sha512"
	"errors"
	"fmt"

	secp256k1 "gitlab.com/yawning/secp256k1-voi"
)

// Hardened is the first hardened index. Add it to i for what BIP32 writes as
// i' or i_H; indices run to 2^32-1.
const Hardened uint32 = 1 << 31

// Sizes in bytes.
const (
	scalarSize      = secp256k1.ScalarSize
	pointSize       = secp256k1.CompressedPointSize
	chainCodeSize   = 32
	masterSize      = scalarSize + chainCodeSize
	fingerprintSize = 4

	// BIP32, "Master key generation", wants 128 to 512 bits.
	minBitcoinSeedSize = 16
	maxBitcoinSeedSize = 64
)

// Errors of this package. They come wrapped with what exactly was found; test
// with errors.Is. No message contains any byte of a key.
var (
	// ErrInvalidKey: a private key is 0 or not below the order of the curve,
	// a public key is not a point of the curve, or an index has no child. A
	// master key is then made from another seed, a child from the next index.
	ErrInvalidKey = errors.New("bip32: invalid key")

	// ErrHardened: a hardened index was asked of a public key. Only the
	// private key has hardened children.
	ErrHardened = errors.New("bip32: a public key has no hardened children")

	// ErrDepth: the parent is at depth 255, the last that the serialization
	// can write.
	ErrDepth = errors.New("bip32: keys end at depth 255")

	// ErrErased: the private key was erased, or is a zero value.
	ErrErased = errors.New("bip32: private key was erased")

	// ErrLength: an argument has the wrong number of bytes or characters.
	ErrLength = errors.New("bip32: wrong length")

	// ErrCharacter: a string has a character outside the Base58 alphabet.
	ErrCharacter = errors.New("bip32: character is not in the Base58 alphabet")

	// ErrChecksum: the string was mistyped or damaged.
	ErrChecksum = errors.New("bip32: wrong checksum")

	// ErrVersion: the version is not that of the kind of key asked for.
	ErrVersion = errors.New("bip32: wrong extended key version")

	// ErrMismatch: the version says private and the key is public, or the
	// other way round.
	ErrMismatch = errors.New("bip32: version and key do not match")

	// ErrPrefix: the first byte of the key is none that BIP32 knows.
	ErrPrefix = errors.New("bip32: invalid key prefix")

	// ErrDepthZero: depth 0 says master key, but the key has a parent
	// fingerprint or a child number.
	ErrDepthZero = errors.New("bip32: zero depth contradicts the other fields")
)

// NewMaster makes the master key of a tree from i, 64 bytes: private key IL ‖
// chain code IR. It is the part of BIP32's "Master key generation" that comes
// after the hash, so that the caller chooses how a seed is hashed; i must be
// the output of a hash of at least 128 bits of entropy. i is not kept; the
// caller erases it.
//
// It returns ErrLength if i is not 64 bytes and ErrInvalidKey if IL is 0 or
// not below the order of the curve.
func NewMaster(i []byte) (*PrivateKey, error) {
	if len(i) != masterSize {
		return nil, fmt.Errorf("%w: a master key takes %d bytes, not %d", ErrLength, masterSize, len(i))
	}
	scalar, err := parseScalar((*[scalarSize]byte)(i[:scalarSize]))
	if err != nil {
		return nil, err
	}
	defer scalar.Zero()
	return newPrivateKey(scalar, origin{chainCode: [chainCodeSize]byte(i[scalarSize:])}), nil
}

// NewBitcoinMaster makes the master key of a seed of 16 to 64 bytes with
// HMAC-SHA512 under the key "Bitcoin seed", as BIP32, "Master key generation",
// does. seed is not kept; the caller erases it.
//
// It returns ErrLength for a seed of another size, and ErrInvalidKey for the
// seeds that have no master key, a fraction below 2^-127 of them.
func NewBitcoinMaster(seed []byte) (*PrivateKey, error) {
	if len(seed) < minBitcoinSeedSize || len(seed) > maxBitcoinSeedSize {
		return nil, fmt.Errorf("%w: a seed takes %d to %d bytes, not %d",
			ErrLength, minBitcoinSeedSize, maxBitcoinSeedSize, len(seed))
	}
	mac := hmac.New(sha512.New, []byte("Bitcoin seed"))
	mac.Write(seed)
	i := mac.Sum(nil)
	defer clear(i)
	return NewMaster(i)
}

// origin is what an extended key has besides the key itself: its chain code
// and its place in the tree.
type origin struct {
	depth       uint8
	parent      [fingerprintSize]byte // all zero for a master key
	childNumber uint32                // 0 for a master key
	chainCode   [chainCodeSize]byte
}

// parseScalar reads a private key. That its value is in range is public, the
// value is not: both tests below look at all of it before they decide.
func parseScalar(b *[scalarSize]byte) (*secp256k1.Scalar, error) {
	scalar, err := secp256k1.NewScalarFromCanonicalBytes(b)
	if err != nil {
		return nil, fmt.Errorf("%w: private key is not below the order of the curve", ErrInvalidKey)
	}
	if scalar.IsZero() == 1 {
		return nil, fmt.Errorf("%w: private key is 0", ErrInvalidKey)
	}
	return scalar, nil
}

// parseTweak reads IL, which has no child if it is not below the order. Zero
// is allowed: BIP32 refuses the child if it is 0, not IL.
func parseTweak(il *[scalarSize]byte) (*secp256k1.Scalar, error) {
	tweak, err := secp256k1.NewScalarFromCanonicalBytes(il)
	if err != nil {
		return nil, errNoChild
	}
	return tweak, nil
}

var errNoChild = fmt.Errorf("%w: this index has no child; use the next one", ErrInvalidKey)
