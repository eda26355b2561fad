package shamir

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawn is a split with arbitrary parameters and coefficients.
type drawn struct {
	secret []byte
	k, n   int
	shares [][]byte
}

func drawSplit(t *rapid.T) drawn {
	d := drawn{secret: rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "secret")}
	d.n = rapid.IntRange(2, 20).Draw(t, "n")
	d.k = rapid.IntRange(2, d.n).Draw(t, "k")
	random := rapid.SliceOfN(rapid.Byte(), (d.k-1)*len(d.secret), (d.k-1)*len(d.secret)).Draw(t, "random")
	var err error
	if d.shares, err = Split(bytes.NewReader(random), d.secret, d.k, d.n); err != nil {
		t.Fatal(err)
	}
	return d
}

// pick returns count of the shares, in any order.
func (d drawn) pick(t *rapid.T, count int) [][]byte {
	return rapid.Permutation(d.shares).Draw(t, "order")[:count]
}

func TestPropertyAnyQuorumInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawSplit(t)
		count := rapid.IntRange(d.k, d.n).Draw(t, "count")
		got, err := Combine(d.pick(t, count))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, d.secret) {
			t.Fatalf("got %x, want %x", got, d.secret)
		}
	})
}

func TestPropertyInterpolatedSharesAreOfTheSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawSplit(t)
		given := d.pick(t, d.k)
		x := rapid.Byte().Draw(t, "x")
		share, err := Interpolate(given, x)
		switch {
		case x == 0:
			if !errors.Is(err, ErrZeroX) {
				t.Fatalf("at 0: %v", err)
			}
			return
		case slices.ContainsFunc(given, func(g []byte) bool { return g[len(g)-1] == x }):
			if !errors.Is(err, ErrSharePresent) {
				t.Fatalf("at a given x: %v", err)
			}
			return
		case err != nil:
			t.Fatal(err)
		}
		if int(x) <= d.n && !bytes.Equal(share, d.shares[x-1]) {
			t.Fatalf("share %d is %x, want %x", x, share, d.shares[x-1])
		}
		given[rapid.IntRange(0, d.k-1).Draw(t, "replaced")] = share
		if got, err := Combine(given); err != nil || !bytes.Equal(got, d.secret) {
			t.Fatalf("with the new share: %x, %v, want %x", got, err, d.secret)
		}
	})
}

// Shares of a plus shares of b are shares of a plus b.
func TestPropertyLinear(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawSplit(t)
		other := rapid.SliceOfN(rapid.Byte(), len(d.secret), len(d.secret)).Draw(t, "other")
		shares, err := Split(rand.Reader, other, d.k, d.n)
		if err != nil {
			t.Fatal(err)
		}
		for i, share := range shares {
			for at := range other {
				share[at] ^= d.shares[i][at]
			}
		}
		got, err := Combine(shares[d.n-d.k:])
		if err != nil {
			t.Fatal(err)
		}
		for at := range other {
			if got[at] != other[at]^d.secret[at] {
				t.Fatalf("byte %d of the sum is %#02x", at, got[at])
			}
		}
	})
}

// A wrong share among k of them always gives a wrong secret, and no error.
func TestPropertyWrongShareGoesUndetected(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawSplit(t)
		given := d.pick(t, d.k)
		at := rapid.IntRange(0, len(d.secret)-1).Draw(t, "at")
		given[0][at] ^= rapid.ByteRange(1, 255).Draw(t, "difference")
		got, err := Combine(given)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if (got[i] == d.secret[i]) != (i != at) {
				t.Fatalf("byte %d changed: %v; the share differs at %d", i, got[i] != d.secret[i], at)
			}
		}
	})
}
