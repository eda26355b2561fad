package hpke

import (
	"crypto/rand"
	"testing"

	"gitlab.com/yawning/secp256k1-voi"
)

// Seal costs one multiplication of the generator and one of a point, Open one of
// a point: BenchmarkScalarMult is the floor for both.

func BenchmarkSeal(b *testing.B) {
	to, plaintext := newKey(b).PublicKey(), make([]byte, 128)
	for b.Loop() {
		if _, err := Seal(rand.Reader, to, nil, nil, plaintext); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	key := newKey(b)
	sealed := seal(b, key.PublicKey(), nil, nil, make([]byte, 128))
	for b.Loop() {
		if _, err := Open(key, nil, nil, sealed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScalarMult(b *testing.B) {
	key, with, product := newKey(b), newKey(b).PublicKey(), secp256k1.NewIdentityPoint()
	for b.Loop() {
		product.ScalarMult(key.scalar, with.point)
	}
}
