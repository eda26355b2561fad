package slip39

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"
)

const (
	rounds = 4
	// roundIterations are the PBKDF2 iterations of one round at iteration exponent
	// 0; the four rounds make the standard's 10000.
	roundIterations = 2500
)

// encrypt returns the encrypted master secret ("Encryption of the master secret").
func encrypt(secret, passphrase []byte, set setParams) ([]byte, error) {
	return feistel(secret, passphrase, set, [rounds]byte{0, 1, 2, 3})
}

// decrypt is its inverse: the same network with the rounds in reverse order
// ("Decryption of the master secret").
func decrypt(encrypted, passphrase []byte, set setParams) ([]byte, error) {
	return feistel(encrypted, passphrase, set, [rounds]byte{3, 2, 1, 0})
}

func feistel(in, passphrase []byte, set setParams, order [rounds]byte) ([]byte, error) {
	if err := checkPassphrase(passphrase); err != nil {
		return nil, err
	}
	half := len(in) / 2
	left, right := slices.Clone(in[:half]), slices.Clone(in[half:])
	defer clear(left)
	defer clear(right)
	for _, round := range order {
		f, err := roundFunction(round, right, passphrase, set)
		if err != nil {
			return nil, err
		}
		subtle.XORBytes(f, f, left)
		copy(left, right)
		copy(right, f)
		clear(f)
	}
	return slices.Concat(right, left), nil // the halves are swapped once more
}

// roundFunction is PBKDF2 with password round || passphrase and salt prefix ||
// right half, as long as that half.
func roundFunction(round byte, right, passphrase []byte, set setParams) ([]byte, error) {
	password := append([]byte{round}, passphrase...)
	defer clear(password)
	var salt []byte
	if !set.extendable {
		salt = append(salt, customization(false)...)
		salt = append(salt, byte(set.identifier>>8), byte(set.identifier))
	}
	salt = slices.Concat(salt, right)
	defer clear(salt)

	iterations := roundIterations << set.iterationExponent
	f, err := pbkdf2.Key(sha256.New, string(password), salt, iterations, len(right))
	if err != nil {
		return nil, fmt.Errorf("slip39: round function: %w", err)
	}
	return f, nil
}

// checkPassphrase admits the characters that every keyboard and every wallet
// encodes alike ("Passphrase").
func checkPassphrase(passphrase []byte) error {
	for _, c := range passphrase {
		if c < 32 || c > 126 {
			return ErrPassphrase
		}
	}
	return nil
}
