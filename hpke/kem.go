package hpke

import (
	"fmt"
	"io"

	"gitlab.com/yawning/secp256k1-voi"
)

// GenerateKey returns a new key, derived by [DeriveKeyPair] from 32 bytes that it
// reads from rand, a cryptographic generator (RFC 9180 §7.1.2). It returns rand's
// error, wrapped, if there are not that many.
func GenerateKey(rand io.Reader) (*PrivateKey, error) {
	var ikm [privateKeySize]byte
	defer clear(ikm[:])
	if _, err := io.ReadFull(rand, ikm[:]); err != nil {
		return nil, fmt.Errorf("hpke: random generator failed, no key was made: %w", err)
	}
	return DeriveKeyPair(ikm[:])
}

// DeriveKeyPair returns the key that belongs to this input keying material, by
// the rejection sampling of RFC 9180 §7.1.3 with the bitmask 0xff. ikm must have
// at least 32 bytes of entropy; fewer than 32 bytes return [ErrPrivateKey].
func DeriveKeyPair(ikm []byte) (*PrivateKey, error) {
	if len(ikm) < privateKeySize {
		return nil, fmt.Errorf("%w: key material of %d bytes, at least %d are needed", ErrPrivateKey, len(ikm), privateKeySize)
	}
	prk := labeledExtract(kemSuite, nil, "dkp_prk", ikm)
	defer clear(prk)
	for counter := range 256 {
		candidate := labeledExpand(kemSuite, prk, "candidate", []byte{byte(counter)}, privateKeySize)
		key, err := NewPrivateKey(candidate)
		clear(candidate)
		if err == nil {
			return key, nil
		}
	}
	// DeriveKeyPairError. n is 2^256 less some 2^128, so that one candidate
	// fails with probability 2^-128 and all of them never.
	return nil, fmt.Errorf("%w: no candidate is in range", ErrPrivateKey)
}

// encapsulate is RFC 9180 §4.1 Encap with the ephemeral key as an argument. It
// returns a shared secret of 32 bytes and the encapsulated key of 65.
func encapsulate(ephemeral *PrivateKey, to *PublicKey) (sharedSecret, enc []byte, err error) {
	dh, err := diffieHellman(ephemeral, to)
	if err != nil {
		return nil, nil, err
	}
	defer clear(dh)
	enc = ephemeral.public.encoded[:]
	return extractAndExpand(dh, enc, to), enc, nil
}

// decapsulate is RFC 9180 §4.1 Decap. enc must be 65 bytes, so that a compressed
// point, though it is a public key elsewhere, is refused here.
func decapsulate(key *PrivateKey, enc []byte) ([]byte, error) {
	if len(enc) != EncapsulatedKeySize {
		return nil, ErrPublicKey
	}
	ephemeral, err := NewPublicKey(enc)
	if err != nil {
		return nil, err
	}
	dh, err := diffieHellman(key, ephemeral)
	if err != nil {
		return nil, err
	}
	defer clear(dh)
	return extractAndExpand(dh, enc, key.public), nil
}

// diffieHellman returns the x-coordinate of the shared point, RFC 9180's Ndh = 32
// bytes, or an error if that point is the identity (§7.1.4). With a valid point
// and a group of prime order this needs the scalar 0: an erased key.
func diffieHellman(key *PrivateKey, with *PublicKey) ([]byte, error) {
	shared := secp256k1.NewIdentityPoint().ScalarMult(key.scalar, with.point)
	defer shared.Identity()
	x, err := shared.XBytes()
	if err != nil {
		return nil, fmt.Errorf("%w: Diffie-Hellman gives the identity", ErrPrivateKey)
	}
	return x, nil
}

// extractAndExpand is RFC 9180 §4.1. The context is enc ‖ pkRm: without it the
// x-coordinate alone would accept the negated encapsulated key as well.
func extractAndExpand(dh, enc []byte, to *PublicKey) []byte {
	prk := labeledExtract(kemSuite, nil, "eae_prk", dh)
	defer clear(prk)
	context := append(append(make([]byte, 0, len(enc)+publicKeySize), enc...), to.encoded[:]...)
	return labeledExpand(kemSuite, prk, "shared_secret", context, sharedSecretSize)
}
