package credential

import (
	"crypto/subtle"
	"fmt"
	"math/bits"
)

// minPadded is the least size of a padded record, in bytes. A password, a note
// of a line and a PIN look alike.
const minPadded = 64

// padMark ends the record; zeros follow (ISO/IEC 7816-4).
const padMark = 0x80

// Pad returns record ‖ 0x80 ‖ zeros, of [PaddedSize] bytes, in memory of its
// own.
func Pad(record []byte) []byte {
	padded := make([]byte, PaddedSize(len(record)))
	copy(padded, record)
	padded[len(record)] = padMark
	return padded
}

// PaddedSize returns the size of a padded record of n bytes: Padmé of n+1, and
// at least 64. Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted
// Files and Communication with PURBs", PETS 2019, algorithm 1) lets a length
// have no more significant bits than its exponent has bits: the padding is at
// most 12 percent, and an observer learns O(log log n) bits of the length.
func PaddedSize(n int) int {
	l := n + 1 // the mark
	if l <= minPadded {
		return minPadded
	}
	exponent := bits.Len(uint(l)) - 1
	zeros := exponent - bits.Len(uint(exponent))
	mask := 1<<zeros - 1
	return (l + mask) &^ mask
}

// Unpad returns the record that [Pad] padded, as a part of padded, which it does
// not copy. Anything that Pad does not return is [ErrPadding]. Its time depends
// on the length of padded alone.
func Unpad(padded []byte) ([]byte, error) {
	// mark becomes the index of the last byte that is not zero, last that byte.
	mark, last, found := 0, 0, 0
	for i := len(padded) - 1; i >= 0; i-- {
		zero := subtle.ConstantTimeByteEq(padded[i], 0)
		here := (1 - zero) & (1 - found)
		mark = subtle.ConstantTimeSelect(here, i, mark)
		last = subtle.ConstantTimeSelect(here, int(padded[i]), last)
		found |= here
	}
	ok := subtle.ConstantTimeEq(int32(last), padMark)
	if ok != 1 || PaddedSize(mark) != len(padded) {
		return nil, fmt.Errorf("%w in %d bytes", ErrPadding, len(padded))
	}
	return padded[:mark:mark], nil
}
