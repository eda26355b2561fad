package seed

import (
	"crypto/rand"
	"testing"

	"gitlab.com/yawning/secp256k1-voi"
)

// A public slot key takes two steps of BIP32, each of which multiplies the
// generator once.
func BenchmarkCurveOfSlotKey(b *testing.B) {
	key := ascending(1, 32)
	scalar, err := secp256k1.NewScalarFromCanonicalBytes((*[32]byte)(key))
	if err != nil {
		b.Fatal(err)
	}
	result := secp256k1.NewIdentityPoint()
	for b.Loop() {
		for range 2 {
			result.ScalarBaseMult(scalar)
		}
	}
}

func BenchmarkPublicSlotKey(b *testing.B) {
	master := newTestKeys(b, newSeed(b, ascending(0, Size))).Master()
	for b.Loop() {
		if _, err := master.SlotKey(1, 1); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPrepare(b *testing.B) {
	f := newFixture(b, 2, 4)
	for b.Loop() {
		f.preparation.Seed = newSeed(b, ascending(0, Size))
		mustPrepare(b, rand.Reader, f.preparation)
	}
}
