package entropy

import (
	"bytes"
	"crypto/rand"
	"errors"
	"math"
	"math/big"
	"testing"
)

// Cutoffs that others publish: of the Linux kernel's and the jitterentropy
// library's adaptive proportion test, for windows of 512, a tail of 2^-30, and
// 1/rate (jent_apt_cutoff_lookup) or 8/rate (jent_apt_cutoff_lookup_ntg1) bits of
// min-entropy, for rates from 1.
func TestCriticalBinomialAsPublished(t *testing.T) {
	for bits, want := range map[float64][]int{
		1: {325, 422, 459, 477, 488, 494, 499, 502, 505, 507, 508, 509, 510, 511, 512},
		8: {17, 71, 136, 191, 236, 272, 301, 325, 345, 361, 375, 388, 398},
	} {
		for i, cutoff := range want {
			rate := float64(i + 1)
			if got := 2 + criticalBinomial(511, math.Exp2(-bits/rate), math.Exp2(-30)); got != cutoff {
				t.Errorf("%v bits, rate %v: %d, published is %d", bits, rate, got, cutoff)
			}
		}
	}
}

// Against the definition, computed exactly.
func TestCriticalBinomialByDefinition(t *testing.T) {
	tail := big.NewRat(1, 1<<20)
	for _, n := range []int64{1, 8, 64, 300} {
		for _, bits := range []uint{1, 4, 8} {
			p := big.NewRat(1, 1<<bits)
			q := new(big.Rat).Sub(big.NewRat(1, 1), p)
			power := func(x *big.Rat, k int64) *big.Rat {
				e := big.NewInt(k)
				return new(big.Rat).SetFrac(new(big.Int).Exp(x.Num(), e, nil), new(big.Int).Exp(x.Denom(), e, nil))
			}
			below, k := new(big.Rat), int64(0)
			for ; k < n; k++ {
				term := new(big.Rat).SetInt(new(big.Int).Binomial(n, k))
				below.Add(below, term.Mul(term, power(p, k)).Mul(term, power(q, n-k)))
				if new(big.Rat).Sub(big.NewRat(1, 1), below).Cmp(tail) <= 0 {
					break
				}
			}
			if got := criticalBinomial(int(n), math.Exp2(-float64(bits)), math.Exp2(-20)); got != int(k) {
				t.Errorf("n %d, %d bits: %d, by definition %d", n, bits, got, k)
			}
		}
	}
}

func TestCutoffs(t *testing.T) {
	for _, c := range []struct {
		minEntropy              float64
		repetitions, proportion int
	}{
		{8, 6, 20}, {4, 11, 79}, {1, 41, 337}, {0.25, 161, 484}, {0.01, 4001, 512},
	} {
		h := newHealth(c.minEntropy)
		if h.repetitions != c.repetitions || h.proportion != c.proportion {
			t.Errorf("%v bits: %d and %d, want %d and %d", c.minEntropy, h.repetitions, h.proportion, c.repetitions, c.proportion)
		}
	}
}

func TestHealth(t *testing.T) {
	good := make([]byte, 1<<20)
	_, _ = rand.Read(good)
	counting := make([]byte, 4*window)
	for i := range counting {
		counting[i] = byte(i)
	}
	// One sample in three is the same, never twice in a row: far from 4 bits.
	biased := bytes.Clone(good[:16*window])
	for i := range biased {
		biased[i] |= 1
		if i%3 == 0 {
			biased[i] = 0
		}
	}
	for _, c := range []struct {
		name       string
		minEntropy float64
		samples    []byte
		want       error
	}{
		{"sound, 8 bits stated", 8, good, nil},
		{"sound, 1 bit stated", 1, good, nil},
		{"a counter has no entropy and passes", 4, counting, nil}, // these tests find failures, not designs
		{"stuck at 0", 1, make([]byte, 41), ErrRepetition},
		{"not stuck for long enough", 1, make([]byte, 40), nil},
		{"stuck at the end", 4, append(bytes.Clone(good[:1000]), bytes.Repeat([]byte{7}, 12)...), ErrRepetition},
		{"biased, 4 bits stated", 4, biased, ErrProportion},
		{"biased, a quarter of a bit stated", 0.25, biased, nil},
	} {
		// In one piece, and in pieces of one byte: the tests carry their state.
		whole, pieces := newHealth(c.minEntropy), newHealth(c.minEntropy)
		err := whole.check(c.samples)
		var piecewise error
		for i := range c.samples {
			if piecewise = pieces.check(c.samples[i : i+1]); piecewise != nil {
				break
			}
		}
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if !errors.Is(piecewise, c.want) || (piecewise == nil) != (c.want == nil) {
			t.Errorf("%s, piece by piece: %v, want %v", c.name, piecewise, c.want)
		}
	}
}
