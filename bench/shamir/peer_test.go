// Package shamir_test proves package shamir against the one of HashiCorp
// Vault, in both directions, and compares their speed.
package shamir_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/shamir"

	"zeropass.dev/zeropass/shamir"
)

// splits samples thresholds and numbers of shares from the smallest to the
// largest, and lengths that do and do not fill words.
var splits = []struct{ k, n, length int }{
	{2, 2, 1},
	{2, 3, 32},
	{3, 3, 7},
	{3, 5, 64},
	{5, 16, 33},
	{16, 16, 8},
	{17, 100, 9},
	{2, 255, 15},
	{128, 255, 2},
	{254, 255, 1},
	{255, 255, 3},
}

// quorums returns three choices of k of the shares: the first, the last and
// any, in any order.
func quorums(random *mathrand.Rand, shares [][]byte, k int) [][][]byte {
	drawn := make([][]byte, k)
	for i, at := range random.Perm(len(shares))[:k] {
		drawn[i] = shares[at]
	}
	return [][][]byte{shares[:k], shares[len(shares)-k:], drawn}
}

func TestVaultBothDirections(t *testing.T) {
	random := mathrand.New(mathrand.NewChaCha8([32]byte{'v'}))
	for _, s := range splits {
		t.Run(fmt.Sprintf("%d of %d, %d bytes", s.k, s.n, s.length), func(t *testing.T) {
			secret := make([]byte, s.length)
			rand.Read(secret)

			ours, err := shamir.Split(rand.Reader, secret, s.k, s.n)
			if err != nil {
				t.Fatal(err)
			}
			for _, quorum := range quorums(random, ours, s.k) {
				got, err := vault.Combine(quorum)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, secret) {
					t.Fatalf("Vault combined our shares to %x, want %x", got, secret)
				}
			}

			theirs, err := vault.Split(secret, s.n, s.k)
			if err != nil {
				t.Fatal(err)
			}
			for _, quorum := range append(quorums(random, theirs, s.k), theirs) {
				got, err := shamir.Combine(quorum)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, secret) {
					t.Fatalf("Vault's shares combined to %x, want %x", got, secret)
				}
			}
		})
	}
}

// A share interpolated from Vault's shares is one that Vault takes.
func TestVaultTakesInterpolatedShares(t *testing.T) {
	secret := []byte("interpolated, then combined there")
	theirs, err := vault.Split(secret, 5, 3)
	if err != nil {
		t.Fatal(err)
	}
	share, err := shamir.Interpolate(theirs[:3], theirs[4][len(secret)])
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(share, theirs[4]) {
		t.Fatalf("share is %x, want %x", share, theirs[4])
	}
	got, err := vault.Combine([][]byte{theirs[1], theirs[3], share})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, secret) {
		t.Fatalf("Vault gave %x, want %x", got, secret)
	}
}

var sizes = []struct{ k, n, length int }{
	{2, 3, 32},
	{2, 3, 1024},
	{3, 5, 64},
	{16, 16, 64},
	{128, 255, 64},
}

// compare runs ours and Vault's in turn and reports our time as a fraction of
// theirs; below 1 we are faster.
func compare(b *testing.B, ours, theirs func() error) {
	var ourTime, theirTime time.Duration
	for b.Loop() {
		start := time.Now()
		if err := ours(); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if err := theirs(); err != nil {
			b.Fatal(err)
		}
		ourTime += middle.Sub(start)
		theirTime += time.Since(middle)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(ourTime.Nanoseconds())/float64(b.N), "ours-ns/op")
	b.ReportMetric(float64(theirTime.Nanoseconds())/float64(b.N), "vault-ns/op")
	b.ReportMetric(float64(ourTime)/float64(theirTime), "ours/vault")
}

func BenchmarkSplit(b *testing.B) {
	for _, s := range sizes {
		b.Run(fmt.Sprintf("%dof%d/%dB", s.k, s.n, s.length), func(b *testing.B) {
			secret := make([]byte, s.length)
			compare(b, func() error {
				_, err := shamir.Split(rand.Reader, secret, s.k, s.n)
				return err
			}, func() error {
				_, err := vault.Split(secret, s.n, s.k)
				return err
			})
		})
	}
}

func BenchmarkCombine(b *testing.B) {
	for _, s := range sizes {
		b.Run(fmt.Sprintf("%dof%d/%dB", s.k, s.n, s.length), func(b *testing.B) {
			shares, err := shamir.Split(rand.Reader, make([]byte, s.length), s.k, s.n)
			if err != nil {
				b.Fatal(err)
			}
			compare(b, func() error {
				_, err := shamir.Combine(shares[:s.k])
				return err
			}, func() error {
				_, err := vault.Combine(shares[:s.k])
				return err
			})
		})
	}
}
