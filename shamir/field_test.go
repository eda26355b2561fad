package shamir

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// slowMul multiplies as on paper: first the whole product of degree up to 14,
// then long division by 0x11b.
func slowMul(a, b byte) byte {
	var product uint16
	for i := range 8 {
		if b>>i&1 == 1 {
			product ^= uint16(a) << i
		}
	}
	for i := 14; i >= 8; i-- {
		if product>>i&1 == 1 {
			product ^= 0x11b << (i - 8)
		}
	}
	return byte(product)
}

// products is every product, by mul.
func products() *[256][256]byte {
	var table [256][256]byte
	for a := range 256 {
		for b := range 256 {
			table[a][b] = mul(byte(a), byte(b))
		}
	}
	return &table
}

func TestMulStandardExamples(t *testing.T) {
	// FIPS 197, sections 4.2 and 5.1.1, and the steps of example 4.2.1.
	for _, c := range []struct{ a, b, want byte }{
		{0x57, 0x83, 0xc1},
		{0x57, 0x13, 0xfe},
		{0x57, 0x02, 0xae},
		{0x57, 0x04, 0x47},
		{0x57, 0x08, 0x8e},
		{0x57, 0x10, 0x07},
		{0x53, 0xca, 0x01},
	} {
		if got := mul(c.a, c.b); got != c.want {
			t.Errorf("{%02x}·{%02x} = {%02x}, want {%02x}", c.a, c.b, got, c.want)
		}
	}
}

func TestMulAllPairs(t *testing.T) {
	table := products()
	for a := range 256 {
		for b := range 256 {
			if got, want := table[a][b], slowMul(byte(a), byte(b)); got != want {
				t.Fatalf("%#02x·%#02x = %#02x, want %#02x", a, b, got, want)
			}
		}
	}
}

func TestFieldLaws(t *testing.T) {
	table := products()
	for a := range 256 {
		if table[a][1] != byte(a) || table[a][0] != 0 {
			t.Fatalf("%#02x·1 = %#02x, ·0 = %#02x", a, table[a][1], table[a][0])
		}
		for b := range 256 {
			if table[a][b] != table[b][a] {
				t.Fatalf("%#02x and %#02x do not commute", a, b)
			}
			if table[a][b] == 0 && a != 0 && b != 0 {
				t.Fatalf("%#02x and %#02x are zero divisors", a, b)
			}
			for c := range 256 {
				if table[a][b^c] != table[a][b]^table[a][c] {
					t.Fatalf("%#02x·(%#02x+%#02x) does not distribute", a, b, c)
				}
				if table[table[a][b]][c] != table[a][table[b][c]] {
					t.Fatalf("%#02x·%#02x·%#02x does not associate", a, b, c)
				}
			}
		}
	}
}

func TestInverseAll(t *testing.T) {
	if got := inverse(0); got != 0 {
		t.Errorf("inverse of 0 is %#02x, want 0", got)
	}
	for a := 1; a < 256; a++ {
		if got := slowMul(byte(a), inverse(byte(a))); got != 1 {
			t.Errorf("%#02x times its inverse is %#02x", a, got)
		}
	}
}

func TestMulLanesAreIndependent(t *testing.T) {
	random := rand.New(rand.NewChaCha8([32]byte{1}))
	words := []uint64{0, ^uint64(0), 0x8000000000000000, 0x80, 0xff00ff00ff00ff00, 0x00ff00ff00ff00ff}
	for range 500 {
		words = append(words, random.Uint64())
	}
	for _, v := range words {
		for c := range 256 {
			product := mulLanes(v, byte(c))
			for shift := 0; shift < 64; shift += 8 {
				if got, want := byte(product>>shift), slowMul(byte(v>>shift), byte(c)); got != want {
					t.Fatalf("%#016x·%#02x: bits from %d are %#02x, want %#02x", v, c, shift, got, want)
				}
			}
		}
	}
}

func TestMulAddEveryLength(t *testing.T) {
	random := rand.NewChaCha8([32]byte{2})
	for length := range 50 {
		src, dst := make([]byte, length), make([]byte, length+9)
		random.Read(src)
		random.Read(dst)
		c := byte(random.Uint64())

		want := bytes.Clone(dst)
		for i := range src {
			want[i] ^= slowMul(src[i], c)
		}
		before := bytes.Clone(src)
		mulAdd(dst, src, c)
		if !bytes.Equal(dst, want) {
			t.Fatalf("length %d: got %x, want %x", length, dst, want)
		}
		if !bytes.Equal(src, before) {
			t.Fatalf("length %d: mulAdd changed its source", length)
		}
	}
}

func TestBasis(t *testing.T) {
	random := rand.New(rand.NewChaCha8([32]byte{3}))
	for _, k := range []int{1, 2, 3, 16, 255, 256} {
		xs := make([]byte, k)
		for i, x := range random.Perm(256)[:k] {
			xs[i] = byte(x)
		}
		for j := range xs {
			for m, x := range xs {
				want := byte(0)
				if m == j {
					want = 1
				}
				if k < 255 || m < 3 { // all of 256² basis values take seconds
					if got := basis(x, xs, j); got != want {
						t.Fatalf("of %d: basis %d at coordinate %d is %#02x, want %#02x", k, j, m, got, want)
					}
				}
			}
		}
		// The basis polynomials add up to the constant polynomial 1.
		var sum byte
		x := byte(random.Uint64())
		for j := range xs {
			sum ^= basis(x, xs, j)
		}
		if sum != 1 {
			t.Fatalf("of %d: basis polynomials add up to %#02x at %d, want 1", k, sum, x)
		}
	}
}

func BenchmarkMulAdd(b *testing.B) {
	src, dst := make([]byte, 1024), make([]byte, 1024)
	binary.LittleEndian.PutUint64(src, 0x0123456789abcdef)
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		mulAdd(dst, src, 0x57)
	}
}
