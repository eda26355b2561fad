package shamir

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
)

// With k = 2 the one coefficient runs through all 256 values. Perfect secrecy
// means that every share then takes every value exactly once, whatever the
// secret: this is a proof by exhaustion, not a sample.
func TestOneShareOfTwoIsIndependentOfTheSecret(t *testing.T) {
	coefficients := make([]byte, 256)
	for a := range coefficients {
		coefficients[a] = byte(a)
	}
	for s := range 256 {
		shares, err := Split(bytes.NewReader(coefficients), bytes.Repeat([]byte{byte(s)}, 256), 2, 255)
		if err != nil {
			t.Fatal(err)
		}
		for i, share := range shares {
			var seen [256]bool
			for _, y := range share[:256] {
				seen[y] = true
			}
			for y := range seen {
				if !seen[y] {
					t.Fatalf("secret %#02x: share %d never is %#02x", s, i+1, y)
				}
			}
		}
	}
}

// With k = 3 the two coefficients run through all 65536 pairs: every pair of
// shares then takes every pair of values exactly once.
func TestTwoSharesOfThreeAreIndependentOfTheSecret(t *testing.T) {
	const pairs = 1 << 16
	coefficients := make([]byte, 2*pairs)
	for i := range pairs {
		coefficients[i], coefficients[pairs+i] = byte(i>>8), byte(i)
	}
	for _, s := range []byte{0x00, 0x01, 0x57, 0xff} {
		shares, err := Split(bytes.NewReader(coefficients), bytes.Repeat([]byte{s}, pairs), 3, 7)
		if err != nil {
			t.Fatal(err)
		}
		for i := range shares {
			for j := range i {
				seen := make([]bool, pairs)
				for at := range pairs {
					seen[int(shares[i][at])<<8|int(shares[j][at])] = true
				}
				for pair, ok := range seen {
					if !ok {
						t.Fatalf("secret %#02x: shares %d and %d never are %#04x", s, i+1, j+1, pair)
					}
				}
			}
		}
	}
}

// A coefficient of zero is drawn like any other: neither redrawn nor replaced.
func TestZeroCoefficientsAreKept(t *testing.T) {
	source := bytes.NewReader(make([]byte, 3*6))
	shares, err := Split(source, []byte("secret"), 4, 5)
	if err != nil {
		t.Fatal(err)
	}
	if source.Len() != 0 {
		t.Errorf("%d random bytes were not read", source.Len())
	}
	for i, share := range shares {
		if string(share[:6]) != "secret" {
			t.Errorf("share %d of the constant polynomial is %x", i+1, share)
		}
	}
}

// neverZero replaces zeros, as a Shamir implementation does that wants its
// polynomials to have exactly the degree k-1.
type neverZero struct{ source io.Reader }

func (r neverZero) Read(p []byte) (int, error) {
	n, err := r.source.Read(p)
	for i := range p[:n] {
		if p[i] == 0 {
			p[i] = 1
		}
	}
	return n, err
}

// chiSquares splits a secret of equal bytes and returns, for each share, the
// chi-square statistic of its y bytes against the uniform distribution.
func chiSquares(t *testing.T, source io.Reader, k, n int) []float64 {
	t.Helper()
	const each = 256 // expected count of each value
	shares, err := Split(source, bytes.Repeat([]byte{0x42}, 256*each), k, n)
	if err != nil {
		t.Fatal(err)
	}
	var statistics []float64
	for _, share := range shares {
		var counts [256]float64
		for _, y := range share[:256*each] {
			counts[y]++
		}
		var sum float64
		for _, count := range counts {
			sum += (count - each) * (count - each) / each
		}
		statistics = append(statistics, sum)
	}
	return statistics
}

// The statistic has 255 degrees of freedom: mean 255, deviation 22.6. A value
// outside 150 to 370 has a probability below 10⁻⁵ on either side. The seeds
// are fixed, so that the test gives one answer for ever.
const chiSquareLow, chiSquareHigh = 150, 370

func TestShareBytesAreUniform(t *testing.T) {
	for _, c := range []struct{ k, n int }{{2, 3}, {3, 5}, {5, 5}, {16, 16}} {
		source := rand.NewChaCha8([32]byte{'u', byte(c.k), byte(c.n)})
		for i, statistic := range chiSquares(t, source, c.k, c.n) {
			if statistic < chiSquareLow || statistic > chiSquareHigh {
				t.Errorf("%d of %d: chi-square of share %d is %.0f", c.k, c.n, i+1, statistic)
			}
		}
	}
}

// The test above has the power to catch coefficients that are never zero: with
// these the y bytes of a 2 of n split are never the secret's.
func TestUniformityTestCatchesMissingZero(t *testing.T) {
	source := neverZero{rand.NewChaCha8([32]byte{'z'})}
	for i, statistic := range chiSquares(t, source, 2, 3) {
		if statistic <= chiSquareHigh {
			t.Errorf("chi-square of share %d is %.0f without zero coefficients, want above %d", i+1, statistic, chiSquareHigh)
		}
	}
}
