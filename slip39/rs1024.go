package slip39

import (
	"math/bits"
	"slices"
)

// RS1024 is a Reed–Solomon code over GF(1024) with three check symbols ("Checksum"
// and "Design rationale" of the standard): it detects any three wrong words, and
// locates one.

// checksumWords is the number of check symbols.
const checksumWords = 3

// codeLength is the number of symbols, customization string included, within which
// the code keeps its distance of 4.
const codeLength = 1023

// rs1024Generator is multiplied by each bit that leaves the register.
var rs1024Generator = [10]uint32{
	0x00e0e040, 0x01c1c080, 0x03838100, 0x07070200, 0x0e0e0009,
	0x1c0c2412, 0x38086c24, 0x3090fc48, 0x21b1f890, 0x03f3f120,
}

// rs1024Step shifts one symbol into the 30-bit register, without branches.
func rs1024Step(register uint32, symbol uint16) uint32 {
	top := register >> 20
	register = (register&0xfffff)<<10 ^ uint32(symbol)
	for i, g := range rs1024Generator {
		register ^= g & -(top >> i & 1)
	}
	return register
}

// customization returns the string that starts every code word.
func customization(extendable bool) string {
	if extendable {
		return "shamir_extendable"
	}
	return "shamir"
}

// rs1024Residue is 1 for a valid code word.
func rs1024Residue(extendable bool, words []uint16) uint32 {
	register := uint32(1)
	for _, c := range []byte(customization(extendable)) {
		register = rs1024Step(register, uint16(c))
	}
	for _, w := range words {
		register = rs1024Step(register, w)
	}
	return register
}

// appendChecksum appends the three check words.
func appendChecksum(extendable bool, words []uint16) []uint16 {
	words = append(words, 0, 0, 0)
	check := rs1024Residue(extendable, words) ^ 1
	tail := words[len(words)-checksumWords:]
	for i := range tail {
		tail[i] = uint16(check >> (10 * (checksumWords - 1 - i)) & 1023)
	}
	return words
}

// locateSubstitution returns the positions, counted from 0 and ascending, at which
// replacing one word makes a valid share of these words. There is at most one,
// but for the second word: it holds the extendable flag, which selects the
// customization string.
//
// The register is linear: replacing word w by w^d changes the residue by the image
// of d under as many steps as words follow. Its time depends on the words.
func locateSubstitution(words []uint16) []int {
	extendable := extendableFlag(words)
	wanted := rs1024Residue(extendable, words) ^ 1
	wantedOther := rs1024Residue(!extendable, words) ^ 1 // if the second word's flag is wrong

	var image [10]uint32 // of the symbols 1, 2, 4 ... 512
	for b := range image {
		image[b] = 1 << b
	}
	var found []int
	for i := len(words) - 1; i >= 0; i-- {
		d, ok := preimage(&image, wanted)
		ok = ok && isShareWith(words, i, d)
		if !ok && i == 1 {
			d, ok = preimage(&image, wantedOther)
			ok = ok && isShareWith(words, i, d)
		}
		if ok {
			found = append(found, i)
		}
		for b := range image {
			image[b] = rs1024Step(image[b], 0)
		}
	}
	slices.Reverse(found)
	return found
}

// preimage returns the symbol whose image, the sum of the images of its bits, is
// want.
func preimage(image *[10]uint32, want uint32) (uint16, bool) {
	var sums [1024]uint32
	for d := 1; d < len(sums); d++ {
		sums[d] = sums[d&(d-1)] ^ image[bits.TrailingZeros(uint(d))]
		if sums[d] == want {
			return uint16(d), true
		}
	}
	return 0, false
}

// isShareWith reports whether the words make a valid share after d is added to
// word i.
func isShareWith(words []uint16, i int, d uint16) bool {
	changed := slices.Clone(words)
	defer clear(changed)
	changed[i] ^= d
	share, err := decodeWords(changed)
	if err != nil {
		return false
	}
	share.Erase()
	return true
}
