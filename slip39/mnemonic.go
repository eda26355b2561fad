package slip39

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	// MinSecretSize is the length in bytes of the smallest secret: 128 bits.
	MinSecretSize = 16
	// MaxSecretSize is the length in bytes of the largest secret whose shares fit
	// into one RS1024 code word.
	MaxSecretSize = 1248
)

const (
	headerWords = 4 // 40 bits before the value
	minWords    = headerWords + (8*MinSecretSize+9)/10 + checksumWords
	// maxWords leaves room for the longer customization string, so that one limit
	// holds for both values of the flag.
	maxWords   = codeLength - len("shamir_extendable")
	maxPadding = 8 // bits
)

//go:embed wordlist.txt
var wordListText string

// wordList is the standard's word list ("Wordlist"): 1024 words of 4 to 8 letters
// in alphabetical order.
var wordList = strings.Fields(wordListText)

// Mnemonic returns the share as words in lower case, separated by single spaces:
// 20 words for a secret of 16 bytes, 33 for 32, 59 for 64. It is the way to show a
// share to a person; the string cannot be erased. It returns "" if the share is
// erased.
func (s *Share) Mnemonic() string {
	if s.usable() != nil {
		return ""
	}
	words := s.encodeWords()
	defer clear(words)
	var b strings.Builder
	b.Grow(9 * len(words))
	for i, w := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(wordList[w])
	}
	return b.String()
}

// Parse reads a mnemonic. As people type and paste it, letters may be of either
// case and words be separated by any white space; apart from that, it accepts
// exactly what Mnemonic writes, and no abbreviations, which would take from the
// checksum.
//
// It returns a *WordError naming the first unknown word, or ErrTooShort,
// ErrLength, ErrChecksum, ErrPadding or ErrGroupThreshold. No error repeats a
// word.
func Parse(mnemonic string) (*Share, error) {
	words, unknown := lookUp(mnemonic)
	defer clear(words)
	if len(unknown) > 0 {
		return nil, &WordError{Position: unknown[0]}
	}
	return decodeWords(words)
}

// LocateError says where a mnemonic that Parse refuses may be wrong, by positions
// counted from 1. err is the error of Parse; both results are nil if there is none.
//
// If words are unknown, positions names all of them. If all are known and the
// checksum fails, it names the words whose replacement, of one alone, makes the
// mnemonic valid: nearly always one if a single word is wrong, and none if more
// are. It is nil for any other error.
//
// It never says what the right word is: a correction taken without looking would
// turn a mnemonic with more errors into a valid but wrong one ("Checksum").
func LocateError(mnemonic string) (positions []int, err error) {
	words, unknown := lookUp(mnemonic)
	defer clear(words)
	if len(unknown) > 0 {
		return unknown, &WordError{Position: unknown[0]}
	}
	share, err := decodeWords(words)
	if err == nil {
		share.Erase()
		return nil, nil
	}
	if !errors.Is(err, ErrChecksum) {
		return nil, err
	}
	positions = locateSubstitution(words)
	for i := range positions {
		positions[i]++
	}
	return positions, err
}

// lookUp returns the indices of the words, and the positions, counted from 1, of
// those that are not in the list.
func lookUp(mnemonic string) (words []uint16, unknown []int) {
	fields := strings.Fields(mnemonic)
	words = make([]uint16, 0, len(fields))
	for i, field := range fields {
		index, ok := wordIndex(field)
		if !ok {
			unknown = append(unknown, i+1)
		}
		words = append(words, index)
	}
	return words, unknown
}

// wordIndex looks one word up. Only ASCII letters are folded: other letters with
// an ASCII lower case, such as the Kelvin sign, are in no word.
func wordIndex(word string) (uint16, bool) {
	var lower [8]byte
	if len(word) > len(lower) {
		return 0, false
	}
	for i := range len(word) {
		lower[i] = word[i]
		if 'A' <= word[i] && word[i] <= 'Z' {
			lower[i] += 'a' - 'A'
		}
	}
	index, ok := slices.BinarySearch(wordList, string(lower[:len(word)]))
	return uint16(index), ok
}

// MarshalBinary returns the bit string of the mnemonic, checksum included, packed
// into bytes from the most significant bit on, and filled up with zero bits to a
// whole byte: 74 bytes for a secret of 64. It is canonical, takes constant time,
// and is as secret as the share. It returns ErrErased if the share is erased.
func (s *Share) MarshalBinary() ([]byte, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	words := s.encodeWords()
	defer clear(words)
	packed := make([]byte, 0, (10*len(words)+7)/8)
	var acc uint32
	pending := 0 // low bits of acc not yet written
	for _, w := range words {
		acc = acc<<10 | uint32(w)
		for pending += 10; pending >= 8; pending -= 8 {
			packed = append(packed, byte(acc>>(pending-8)))
		}
	}
	if pending > 0 {
		packed = append(packed, byte(acc<<(8-pending)))
	}
	return packed, nil
}

// ParseBinary reads what MarshalBinary writes and nothing else. It returns the
// errors of Parse other than *WordError.
func ParseBinary(packed []byte) (*Share, error) {
	if len(packed) > (10*maxWords+7)/8 {
		return nil, fmt.Errorf("%w: %d bytes", ErrLength, len(packed))
	}
	words := make([]uint16, 0, len(packed)*8/10)
	defer func() { clear(words) }()
	var acc uint32
	pending := 0
	for _, b := range packed {
		acc = acc<<8 | uint32(b)
		if pending += 8; pending >= 10 {
			pending -= 10
			words = append(words, uint16(acc>>pending&1023))
		}
	}
	if pending >= 8 {
		return nil, fmt.Errorf("%w: %d bytes", ErrLength, len(packed))
	}
	share, err := decodeWords(words)
	if err != nil {
		return nil, err
	}
	if acc&(1<<pending-1) != 0 {
		share.Erase()
		return nil, ErrPadding
	}
	return share, nil
}
