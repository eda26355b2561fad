package credential

import (
	"crypto/rand"
	"testing"

	"gitlab.com/yawning/secp256k1-voi"
)

// The bare curve operations that a put cannot do without: two encapsulations of
// one multiplication of the generator and one of a point each.
func BenchmarkCurveOfPut(b *testing.B) {
	scalar, point := benchmarkPoint(b)
	result := secp256k1.NewIdentityPoint()
	for b.Loop() {
		for range 2 {
			result.ScalarBaseMult(scalar)
			result.ScalarMult(scalar, point)
		}
	}
}

func BenchmarkNewPut(b *testing.B) {
	p := newFixture(b).put
	for b.Loop() {
		if _, _, err := NewPut(rand.Reader, p); err != nil {
			b.Fatal(err)
		}
	}
}

// A bare decapsulation: one multiplication of a point.
func BenchmarkCurveOfOpen(b *testing.B) {
	scalar, point := benchmarkPoint(b)
	result := secp256k1.NewIdentityPoint()
	for b.Loop() {
		result.ScalarMult(scalar, point)
	}
}

// Opening a secret from its backup share, and from what a reveal has at hand.
func BenchmarkOpenSecret(b *testing.B) {
	f := newFixture(b)
	put, sealed := mustPut(b, rand.Reader, f.put)
	device, server, _ := f.open(b, put, sealed)
	b.Run("backup", func(b *testing.B) {
		for b.Loop() {
			backup, err := OpenBackupShare(f.slotKey, f.put.Account, put)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := OpenSecret(f.put.Account, put, server, backup); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("combine", func(b *testing.B) {
		for b.Loop() {
			if _, err := OpenSecret(f.put.Account, put, device, server); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func benchmarkPoint(b *testing.B) (*secp256k1.Scalar, *secp256k1.Point) {
	b.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	scalar, err := secp256k1.NewScalarFromCanonicalBytes((*[32]byte)(key))
	if err != nil {
		b.Fatal(err)
	}
	return scalar, secp256k1.NewIdentityPoint().ScalarBaseMult(scalar)
}
