package slip39

import "fmt"

// encodeWords returns the share as numbers of 10 bits ("Format of the share
// mnemonic").
func (s *Share) encodeWords() []uint16 {
	valueWords := (8*len(s.bytes()) + 9) / 10
	words := make([]uint16, 0, headerWords+valueWords+checksumWords)

	var ext uint64
	if s.set.extendable {
		ext = 1
	}
	header := uint64(s.set.identifier)
	header = header<<1 | ext
	header = header<<4 | uint64(s.set.iterationExponent)
	header = header<<4 | uint64(s.groupIndex)
	header = header<<4 | uint64(s.set.groupThreshold-1)
	header = header<<4 | uint64(s.set.groupCount-1)
	header = header<<4 | uint64(s.memberIndex)
	header = header<<4 | uint64(s.memberThreshold-1)
	for shift := 30; shift >= 0; shift -= 10 {
		words = append(words, uint16(header>>shift&1023))
	}

	var acc uint32
	pending := 10*valueWords - 8*len(s.bytes()) // the padding, in front
	for _, b := range s.bytes() {
		acc = acc<<8 | uint32(b)
		if pending += 8; pending >= 10 {
			pending -= 10
			words = append(words, uint16(acc>>pending&1023))
		}
	}
	return appendChecksum(s.set.extendable, words)
}

// decodeWords is the inverse of encodeWords. Its checks come in the order in which
// they help a person most: length, checksum, then content.
func decodeWords(words []uint16) (*Share, error) {
	if len(words) < minWords {
		return nil, fmt.Errorf("%w: %d words, at least %d are needed", ErrTooShort, len(words), minWords)
	}
	// Values are whole multiples of 16 bits, padded at the front to whole words.
	valueWords := len(words) - headerWords - checksumWords
	padding := 10 * valueWords % 16
	if len(words) > maxWords || padding > maxPadding {
		return nil, fmt.Errorf("%w: %d words; one may be missing or too much", ErrLength, len(words))
	}
	extendable := extendableFlag(words)
	if rs1024Residue(extendable, words) != 1 {
		return nil, ErrChecksum
	}

	var header uint64
	for _, w := range words[:headerWords] {
		header = header<<10 | uint64(w)
	}
	share := &Share{
		set: setParams{
			identifier:        uint16(header >> 25),
			extendable:        extendable,
			iterationExponent: int(header >> 20 & 15),
			groupThreshold:    int(header>>12&15) + 1,
			groupCount:        int(header>>8&15) + 1,
			size:              (10*valueWords - padding) / 8,
		},
		groupIndex:      int(header >> 16 & 15),
		memberIndex:     int(header >> 4 & 15),
		memberThreshold: int(header&15) + 1,
	}
	if share.set.groupThreshold > share.set.groupCount {
		return nil, fmt.Errorf("%w: %d of %d", ErrGroupThreshold, share.set.groupThreshold, share.set.groupCount)
	}

	value := words[headerWords : headerWords+valueWords]
	if value[0]>>(10-padding) != 0 {
		return nil, ErrPadding
	}
	unpacked := unpackValue(value, padding, share.set.size)
	share.value = &unpacked
	return share, nil
}

// unpackValue drops the padding bits in front and returns the rest as bytes.
func unpackValue(words []uint16, padding, size int) []byte {
	value := make([]byte, 0, size)
	var acc uint32
	pending := -padding
	for _, w := range words {
		acc = acc<<10 | uint32(w)
		for pending += 10; pending >= 8; pending -= 8 {
			value = append(value, byte(acc>>(pending-8)))
		}
	}
	return value
}

// extendableFlag reads bit 15 of the bit string.
func extendableFlag(words []uint16) bool { return words[1]>>4&1 == 1 }
