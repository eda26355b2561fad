package shamir

import "encoding/binary"

// The field is GF(2^8) = GF(2)[z] / (z^8 + z^4 + z^3 + z + 1), the one of
// FIPS 197, section 4: bit i of a byte is the coefficient of z^i. Addition and
// subtraction are both exclusive or.
//
// Everything in this file runs in constant time in all of its operands. It
// uses shifts, exclusive or, and, and subtraction of words only: no table, no
// branch and no index depends on a field element. Loop counts depend on
// lengths alone.

const (
	lanesLow  = 0x0101010101010101 // bit 0 of each of the eight lanes
	lanesRest = 0x7f7f7f7f7f7f7f7f // bits 0 to 6 of each lane
	lanesPoly = 0x1b1b1b1b1b1b1b1b // z^8 reduced, in each lane
)

// mulLanes multiplies each of the eight bytes of v by c, reducing as it goes.
// A word holds eight field elements that never carry into one another.
func mulLanes(v uint64, c byte) uint64 {
	var product uint64
	for range 8 {
		product ^= v & -uint64(c&1)
		c >>= 1

		// v ·= z in each lane. overflow<<8 - overflow spreads the bit that
		// left a lane over that whole lane.
		overflow := v >> 7 & lanesLow
		v = (v&lanesRest)<<1 ^ (overflow<<8-overflow)&lanesPoly
	}
	return product
}

// mul returns a·b.
func mul(a, b byte) byte {
	return byte(mulLanes(uint64(a), b))
}

// inverse returns 1/a as a^254, since a^255 = 1 for every a but 0. It maps 0
// to 0. The chain is fixed: 2, 3, 6, 12, 15, 30, 60, 120, 240, 252, 254.
func inverse(a byte) byte {
	a2 := mul(a, a)
	a3 := mul(a2, a)
	a6 := mul(a3, a3)
	a12 := mul(a6, a6)
	a15 := mul(a12, a3)
	a30 := mul(a15, a15)
	a60 := mul(a30, a30)
	a120 := mul(a60, a60)
	a240 := mul(a120, a120)
	a252 := mul(a240, a12)
	return mul(a252, a2)
}

// mulAdd adds c·src to dst, byte by byte. dst is at least as long as src.
func mulAdd(dst, src []byte, c byte) {
	for len(src) >= 8 {
		sum := binary.LittleEndian.Uint64(dst) ^ mulLanes(binary.LittleEndian.Uint64(src), c)
		binary.LittleEndian.PutUint64(dst, sum)
		dst, src = dst[8:], src[8:]
	}
	for i := range src {
		dst[i] ^= mul(src[i], c)
	}
}

// basis returns the value at x of the Lagrange basis polynomial that is 1 at
// xs[j] and 0 at every other coordinate in xs, which must be distinct.
func basis(x byte, xs []byte, j int) byte {
	numerator, denominator := byte(1), byte(1)
	for m := range xs {
		if m == j {
			continue
		}
		numerator = mul(numerator, x^xs[m])
		denominator = mul(denominator, xs[j]^xs[m])
	}
	return mul(numerator, inverse(denominator))
}
