package bip32

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
)

// Base58Check for the one size that extended keys have: 78 bytes and a
// checksum of 4, read as one big-endian integer and written in base 58.
//
// Since private keys pass through, loop counts are fixed and no branch or
// index depends on the data, save where a string is refused. Divisors are
// constants, which the compiler turns into multiplications.

const (
	checksumSize = 4
	payloadSize  = serializedSize + checksumSize

	// Payloads whose first byte is not zero, and so all with a known version,
	// take 111 digits, or 112 if that byte is large: 58^110 < 256^81 and
	// 256^82 < 58^112.
	minDigits = 111
	maxDigits = 112
)

// encodeBase58Check appends the checksum and writes b in base 58. The version
// of b is xprv's or xpub's, so that the result has 111 characters.
func encodeBase58Check(b *[serializedSize]byte) string {
	var payload [payloadSize]byte
	defer clear(payload[:])
	sum := checksum(b[:])
	copy(payload[copy(payload[:], b[:]):], sum[:])

	// Base 256 to base 58, by Horner's rule: digits = digits·256 + v.
	var digits [minDigits]byte
	defer clear(digits[:])
	for _, v := range payload {
		carry := uint32(v)
		for j := minDigits - 1; j >= 0; j-- {
			carry += uint32(digits[j]) << 8
			digits[j] = byte(carry % 58)
			carry /= 58
		}
	}
	for j, d := range digits {
		digits[j] = digitToChar(d)
	}
	return string(digits[:])
}

// decodeBase58Check reads what encodeBase58Check writes, and the same with any
// other version whose first byte is not zero. The caller erases the result.
func decodeBase58Check(s string) (*[serializedSize]byte, error) {
	if len(s) != minDigits && len(s) != maxDigits {
		return nil, fmt.Errorf("%w: an extended key has %d characters, not %d", ErrLength, minDigits, len(s))
	}
	var payload [payloadSize]byte
	defer clear(payload[:])

	// Base 58 to base 256, by Horner's rule: payload = payload·58 + d.
	var overflow, invalid uint32
	for i := range len(s) {
		d, bad := charToDigit(s[i])
		invalid |= bad
		carry := d
		for j := payloadSize - 1; j >= 0; j-- {
			carry += uint32(payload[j]) * 58
			payload[j] = byte(carry)
			carry >>= 8
		}
		overflow |= carry
	}
	switch {
	case invalid != 0:
		return nil, ErrCharacter
	case overflow != 0:
		return nil, fmt.Errorf("%w: more than %d bytes", ErrLength, payloadSize)
	case s[0] == '1':
		// In Base58Check a leading 1 is a zero byte in front of the payload.
		// Ignoring it would give one key many encodings.
		return nil, fmt.Errorf("%w: begins with a zero byte", ErrVersion)
	}
	b := [serializedSize]byte(payload[:])
	sum := checksum(b[:])
	if subtle.ConstantTimeCompare(sum[:], payload[serializedSize:]) != 1 {
		clear(b[:])
		return nil, ErrChecksum
	}
	return &b, nil
}

// checksum is the first 4 bytes of SHA-256(SHA-256(b)).
func checksum(b []byte) [checksumSize]byte {
	inner := sha256.Sum256(b)
	defer clear(inner[:])
	outer := sha256.Sum256(inner[:])
	return [checksumSize]byte(outer[:])
}

// The alphabet is 1-9, A-Z without I and O, a-z without l. These are its runs
// of consecutive characters, and the digit that each starts with.
var runs = [...]struct{ first, last, digit int32 }{
	{'1', '9', 0},
	{'A', 'H', 9},
	{'J', 'N', 17},
	{'P', 'Z', 22},
	{'a', 'k', 33},
	{'m', 'z', 44},
}

// digitToChar maps 0 to 57 to a character of the alphabet.
func digitToChar(d byte) byte {
	var char int32
	for _, r := range runs {
		x := int32(d) - r.digit + r.first
		char |= x & within(x, r.first, r.last)
	}
	return byte(char)
}

// charToDigit is the inverse of digitToChar. bad is not 0 for characters
// outside the alphabet.
func charToDigit(char byte) (digit, bad uint32) {
	var d, found int32
	for _, r := range runs {
		mask := within(int32(char), r.first, r.last)
		d |= (int32(char) - r.first + r.digit) & mask
		found |= mask
	}
	return uint32(d), uint32(^found)
}

// within returns -1, all bits set, if first ≤ x ≤ last, and 0 otherwise.
func within(x, first, last int32) int32 {
	return ((first - 1 - x) & (x - last - 1)) >> 31
}
