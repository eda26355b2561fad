package seed

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"

	"zeropass.dev/zeropass/credential"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/signing"
)

// randomSize is how many bytes of the operating system's generator the local half
// is made from.
const randomSize = 64

// LocalHalf makes the device's half of a seed, 32 bytes, from 64 bytes of rand,
// the operating system's generator, and a pool of whatever the user's mouse
// did, which may be empty:
//
//	HKDF-SHA256 (RFC 5869): secret = random ‖ pool, no salt,
//	info = the context "seed-local" without parts, 32 bytes
//
// The pool is credited with no entropy. It stands behind random bytes of fixed
// length under a hash, so that it can only add: without them, nobody who fills
// the pool can foresee or steer the result. The caller erases pool and result.
//
// Its only errors are rand's.
func LocalHalf(rand io.Reader, pool []byte) ([]byte, error) {
	secret := make([]byte, randomSize+len(pool))
	defer clear(secret)
	if _, err := io.ReadFull(rand, secret[:randomSize]); err != nil {
		return nil, fmt.Errorf("seed: random generator failed, no seed was made: %w", err)
	}
	copy(secret[randomSize:], pool)
	info := signing.NewContext("seed-local").Encode()
	half, err := hkdf.Key(sha256.New, secret, nil, string(info), HalfSize)
	if err != nil {
		return nil, fmt.Errorf("seed: local half: %w", err)
	}
	return half, nil
}

// SealServerHalf seals the server's half of a seed to the device that asked for
// it with a nonce, for the server. Its errors are rand's, and one that wraps
// [ErrInput] for a half that has not 32 bytes.
func SealServerHalf(rand io.Reader, account [32]byte, nonce [16]byte, device uint64, to *hpke.PublicKey, half []byte) ([]byte, error) {
	if len(half) != HalfSize {
		return nil, fmt.Errorf("%w: a half of %d bytes, want %d", ErrInput, len(half), HalfSize)
	}
	sealed, err := hpke.Seal(rand, to, halfContext(account, nonce, device).Encode(), nil, half)
	if err != nil {
		return nil, fmt.Errorf("seed: seal the server's half: %w", err)
	}
	return sealed, nil
}

// OpenServerHalf opens what [SealServerHalf] sealed for the same nonce. It returns
// an error that wraps [ErrOpen]. The caller erases the half.
func OpenServerHalf(key hpke.Opener, account [32]byte, nonce [16]byte, device uint64, sealed []byte) ([]byte, error) {
	half, err := key.Open(halfContext(account, nonce, device).Encode(), nil, sealed)
	if err != nil {
		return nil, fmt.Errorf("server's half of the seed: %w", openError(err))
	}
	if len(half) != HalfSize {
		clear(half)
		return nil, fmt.Errorf("server's half of the seed: %w", ErrOpen)
	}
	return half, nil
}

func halfContext(account [32]byte, nonce [16]byte, device uint64) *signing.Context {
	return signing.Sealing{
		Kind:      "seed-half",
		Account:   account[:],
		Object:    nonce[:],
		Role:      "server",
		Sender:    credential.ServerName,
		Recipient: credential.DeviceName(device),
	}.Context()
}
