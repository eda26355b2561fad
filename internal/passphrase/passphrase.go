// Package passphrase says how easily a passphrase is guessed.
//
// Whoever copies a device's directory can try passphrases on it for as long as
// they like, at a few a second on one machine: scrypt sees to that, and nothing
// but the passphrase to the rest.
package passphrase

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"

	zxcvbn "github.com/ccojocar/zxcvbn-go"

	"zeropass.dev/zeropass/slip39"
)

// Strength is how many guesses a passphrase stands against somebody who knows how
// people choose them.
type Strength int

const (
	Weak   Strength = iota // under about 10^8 guesses: not to be used
	Fair                   // under about 10^10: usable, with a warning
	Strong                 // more
)

const (
	weakGuesses = 1e8
	fairGuesses = 1e10
	// judged is how much of a passphrase is looked at, in bytes: the time that it
	// takes grows faster than the length, and nobody guesses this much.
	judged = 100
)

// Judge estimates the strength of a new passphrase. known has what a stranger
// would try first, each as a whole: the account's name, or another passphrase
// that this one is not to be made of.
//
// The estimate works on strings: copies of the passphrase stay in memory until
// the runtime uses that again. A process that chooses a passphrase ends soon.
func Judge(passphrase []byte, known ...string) Strength {
	lower := make([]string, len(known)) // as the estimate looks them up
	for i, text := range known {
		lower[i] = strings.ToLower(text)
	}
	bits := zxcvbn.PasswordStrength(string(passphrase[:min(len(passphrase), judged)]), lower).Entropy
	switch {
	case bits < math.Log2(weakGuesses):
		return Weak
	case bits < math.Log2(fairGuesses):
		return Fair
	}
	return Strong
}

// suggested is the number of words of a suggestion: 60 bits.
const suggested = 6

// Suggest makes a passphrase of six random words from the list of SLIP-39, 60
// bits in all. random is the operating system's generator.
func Suggest(random io.Reader) (string, error) {
	var b [2 * suggested]byte
	defer clear(b[:])
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("passphrase: %w", err)
	}
	var chosen [suggested]string
	for i := range chosen {
		chosen[i] = slip39.Word(binary.BigEndian.Uint16(b[2*i:]) & 0x3ff) // the list has 1024
	}
	return strings.Join(chosen[:], " "), nil
}
