package hpke

import (
	"bytes"
	"math/big"
	"testing"
)

// FuzzOpen lets the fuzzer change messages. Every one that opens must be one that
// was sealed, which the fuzzer can only repeat.
func FuzzOpen(f *testing.F) {
	key, err := DeriveKeyPair(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		f.Fatal(err)
	}
	type message struct{ info, aad, sealed string }
	sealed := map[message]string{}
	for i, m := range []struct{ info, aad, plaintext string }{
		{"", "", ""}, {"info", "", "plaintext"}, {"info", "aad", "a longer plaintext, of more than a block"},
	} {
		// Not random, because every worker of the fuzzer must seal the same.
		ephemeral := bytes.NewReader(bytes.Repeat([]byte{byte(2 + i)}, 32))
		b, err := Seal(ephemeral, key.PublicKey(), []byte(m.info), []byte(m.aad), []byte(m.plaintext))
		if err != nil {
			f.Fatal(err)
		}
		sealed[message{m.info, m.aad, string(b)}] = m.plaintext
		f.Add([]byte(m.info), []byte(m.aad), b)
	}
	f.Add([]byte("info"), []byte("aad"), []byte{})
	f.Add([]byte{}, []byte{}, make([]byte, Overhead))
	f.Fuzz(func(t *testing.T, info, aad, b []byte) {
		plaintext, err := Open(key, info, aad, b)
		want, ok := sealed[message{string(info), string(aad), string(b)}]
		switch {
		case !ok && (err != ErrOpen || plaintext != nil):
			t.Errorf("%x was opened as %x, error %v", b, plaintext, err)
		case ok && (err != nil || string(plaintext) != want):
			t.Errorf("%x was opened as %x, error %v", b, plaintext, err)
		}
	})
}

// FuzzNewPublicKey compares with the definition of the curve, y² = x³ + 7, and
// checks that what is accepted is the only encoding of its form.
func FuzzNewPublicKey(f *testing.F) {
	for _, s := range []string{
		"02" + generatorX, "03" + generatorX, "04" + generatorX + generatorY, "06" + generatorX + generatorY, "00", "",
	} {
		f.Add(unhex(f, s))
	}
	f.Add(append([]byte{2}, fieldPrime.Bytes()...))
	f.Add(make([]byte, compressedSize))
	f.Add(append([]byte{4}, make([]byte, 64)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		key, err := NewPublicKey(b)
		if (err == nil) != isPoint(b) {
			t.Fatalf("%x: %v, but on the curve: %v", b, err, isPoint(b))
		}
		if err != nil {
			if key != nil {
				t.Errorf("%x was refused and returned", b)
			}
			return
		}
		if len(b) == compressedSize {
			equal(t, "compressed key", key.Bytes(), b)
		} else {
			equal(t, "uncompressed key", key.encoded[:], b)
		}
		again, err := NewPublicKey(key.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "key read again", again.encoded[:], key.encoded[:])
		if !again.Equal(key) {
			t.Error("a key read again is not equal")
		}
	})
}

// isPoint decides by the definitions alone, with variable-time arithmetic.
func isPoint(b []byte) bool {
	switch {
	case len(b) == compressedSize && (b[0] == 2 || b[0] == 3):
	case len(b) == publicKeySize && b[0] == 4:
	default:
		return false
	}
	x := new(big.Int).SetBytes(b[1:33])
	square := new(big.Int).Exp(x, big.NewInt(3), fieldPrime)
	square.Add(square, big.NewInt(7)).Mod(square, fieldPrime)
	if x.Cmp(fieldPrime) >= 0 {
		return false
	}
	if len(b) == compressedSize {
		// The group has odd order, so that no point has y = 0.
		return big.Jacobi(square, fieldPrime) == 1
	}
	y := new(big.Int).SetBytes(b[33:])
	return y.Cmp(fieldPrime) < 0 && new(big.Int).Exp(y, big.NewInt(2), fieldPrime).Cmp(square) == 0
}
