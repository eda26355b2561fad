// Package hpke encrypts one message to one secp256k1 public key.
//
// It is Hybrid Public Key Encryption (RFC 9180), base mode, single-shot, in the
// one suite that ZeroPass uses and numbers 1 in its records:
//
//	KEM   0x0016  DHKEM(secp256k1, HKDF-SHA256), draft-wahby-cfrg-hpke-kem-secp256k1
//	KDF   0x0001  HKDF-SHA256
//	AEAD  0x0002  AES-256-GCM
//
// [Seal] encrypts and [Open] decrypts. A sealed message is
//
//	encapsulated key (65 bytes, uncompressed point) ‖ ciphertext ‖ tag (16 bytes)
//
// and so is [Overhead] = 81 bytes longer than its plaintext. The wire form is
// that of RFC 9180 followed by its ciphertext; any other implementation of the
// three registered algorithms reads it and writes it.
//
// # Context
//
// Two inputs bind a message to its place, and both sides must give the same
// bytes: info enters the key schedule (RFC 9180 §5.1), aad the AEAD. Neither is
// sent. Encode them injectively, with lengths: two contexts that concatenate to
// the same bytes are the same context.
//
// # Keys
//
// A [PrivateKey] is a scalar in [1, n), a [PublicKey] a point of the curve other
// than the identity; no other value can be constructed, so every function may
// rely on it. The group has prime order, hence no point of small order exists
// and a valid point needs no further check. The result of each Diffie-Hellman
// is nevertheless refused if it is the identity (RFC 9180 §7.1.4), which is also
// what happens to a key that was erased.
//
// Public keys are 33 bytes compressed where ZeroPass stores them and 65 bytes
// uncompressed where the KEM hashes or sends them (Npk = Nenc = 65). Use a key
// for HPKE alone; nothing here separates it from other uses of the same scalar.
//
// # What it gives, and what it does not
//
// The scheme is IND-CCA2 secure in the random oracle model if the gap
// Diffie-Hellman problem is hard on secp256k1, AES-256-GCM is secure and rand is
// unpredictable (RFC 9180 §9.1 and the analyses named there). It does not
//
//   - authenticate the sender: anybody can seal to a public key, so who wrote a
//     message must come from a signature over it;
//   - give forward secrecy towards the recipient: whoever learns the private key
//     opens every message that was ever sealed to it;
//   - commit to the key: AES-GCM is not committing, and a malicious sender can
//     make bytes that open differently under two keys. Where that matters, carry a
//     commitment to the plaintext;
//   - hide the length of the plaintext;
//   - detect replay or reordering, each message standing alone;
//   - resist a quantum computer.
//
// Each message has an ephemeral key of its own and uses the AEAD once, with the
// base nonce. A rand that repeats its output for one recipient and info repeats
// key and nonce, which destroys both secrecy and integrity. Give crypto/rand.Reader;
// anything else is for tests.
//
// # Side channels and memory
//
// Operations on private scalars and shared secrets are constant time: the curve
// arithmetic is gitlab.com/yawning/secp256k1-voi, AES-GCM and HKDF are the
// standard library's (the former on processors with AES instructions, as
// crypto/aes documents). Open may take less time for a malformed encapsulated key
// than for a wrong tag; it reveals only what the sender knows. Buffers that this
// package makes for secrets are zeroed after use. Copies that the Go runtime, the
// curve package or the standard library leave on the stack or the heap are not;
// callers who need that run under runtime/secret.
//
// The types are safe for concurrent use, except that [PrivateKey.Erase] must not
// run beside another method of the same key.
package hpke

import (
	"errors"
	"io"
)

const (
	// EncapsulatedKeySize is the size in bytes of the encapsulated key that a
	// sealed message begins with, RFC 9180's Nenc: an uncompressed point.
	EncapsulatedKeySize = 65

	// Overhead is by how many bytes a sealed message is longer than its
	// plaintext: the encapsulated key and the AEAD's tag of 16 bytes.
	Overhead = EncapsulatedKeySize + tagSize
)

// ErrOpen is what [Open] returns, unwrapped, whatever the reason: telling causes
// apart would help nobody but an attacker.
var ErrOpen = errors.New("hpke: message does not open with this key and context")

// Seal encrypts plaintext to a public key and returns len(plaintext) + [Overhead]
// bytes: the encapsulated key, the ciphertext and its tag (RFC 9180 §6.1,
// SealBase). It reads 32 bytes from rand, which must be a cryptographic
// generator. info, aad and plaintext may each be empty; a plaintext of more than
// 2^36 - 32 bytes is beyond AES-GCM and panics.
//
// It returns an error if rand does, and [ErrPublicKey] if to was not made by a
// constructor of this package.
func Seal(rand io.Reader, to *PublicKey, info, aad, plaintext []byte) ([]byte, error) {
	if to == nil || to.point == nil {
		return nil, ErrPublicKey
	}
	ephemeral, err := GenerateKey(rand)
	if err != nil {
		return nil, err
	}
	defer ephemeral.Erase()

	sharedSecret, enc, err := encapsulate(ephemeral, to)
	if err != nil {
		return nil, err
	}
	defer clear(sharedSecret)

	aead, nonce, err := newContext(sharedSecret, info)
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, 0, len(plaintext)+Overhead)
	sealed = append(sealed, enc...)
	return aead.Seal(sealed, nonce, plaintext, aad), nil
}

// Open decrypts what [Seal] made for this key with the same info and aad, and
// returns the plaintext (RFC 9180 §6.1, OpenBase). Every failure returns nil and
// exactly [ErrOpen]: a message that is too short, an encapsulated key that is not
// an uncompressed point of the curve, a wrong key, an erased key, a wrong
// context, a changed bit. An empty plaintext is not nil.
func Open(key *PrivateKey, info, aad, sealed []byte) ([]byte, error) {
	if key == nil || key.scalar == nil || len(sealed) < Overhead {
		return nil, ErrOpen
	}
	sharedSecret, err := decapsulate(key, sealed[:EncapsulatedKeySize])
	if err != nil {
		return nil, ErrOpen
	}
	defer clear(sharedSecret)

	aead, nonce, err := newContext(sharedSecret, info)
	if err != nil {
		return nil, ErrOpen
	}
	ciphertext := sealed[EncapsulatedKeySize:]
	plaintext, err := aead.Open(make([]byte, 0, len(ciphertext)-tagSize), nonce, ciphertext, aad)
	if err != nil {
		return nil, ErrOpen
	}
	return plaintext, nil
}
