package hpke

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"math/big"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func newKey(t testing.TB) *PrivateKey {
	t.Helper()
	key, err := GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func seal(t testing.TB, to *PublicKey, info, aad, plaintext []byte) []byte {
	t.Helper()
	sealed, err := Seal(rand.Reader, to, info, aad, plaintext)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// refused checks that Open gives nothing and ErrOpen itself.
func refused(t testing.TB, what string, key *PrivateKey, info, aad, sealed []byte) {
	t.Helper()
	plaintext, err := Open(key, info, aad, sealed)
	if err != ErrOpen {
		t.Errorf("%s: error %v instead of ErrOpen", what, err)
	}
	if plaintext != nil {
		t.Errorf("%s: %x was opened", what, plaintext)
	}
}

func TestSealOpen(t *testing.T) {
	key := newKey(t)
	rapid.Check(t, func(t *rapid.T) {
		bytesOf := rapid.SliceOfN(rapid.Byte(), 0, 300)
		info, aad, plaintext := bytesOf.Draw(t, "info"), bytesOf.Draw(t, "aad"), bytesOf.Draw(t, "plaintext")
		sealed, err := Seal(rand.Reader, key.PublicKey(), info, aad, plaintext)
		if err != nil {
			t.Fatal(err)
		}
		if len(sealed) != len(plaintext)+Overhead {
			t.Fatalf("%d bytes sealed to %d", len(plaintext), len(sealed))
		}
		opened, err := Open(key, info, aad, sealed)
		if err != nil {
			t.Fatal(err)
		}
		if opened == nil || !bytes.Equal(opened, plaintext) {
			t.Fatalf("%x sealed, %x opened", plaintext, opened)
		}
	})
}

func TestSealIsFresh(t *testing.T) {
	to := newKey(t).PublicKey()
	a, b := seal(t, to, nil, nil, []byte("same")), seal(t, to, nil, nil, []byte("same"))
	if bytes.Equal(a[:EncapsulatedKeySize], b[:EncapsulatedKeySize]) || bytes.Equal(a[EncapsulatedKeySize:], b[EncapsulatedKeySize:]) {
		t.Error("two messages share their encapsulated key or their ciphertext")
	}
}

func TestSealLeavesItsInputs(t *testing.T) {
	key := newKey(t)
	// Spare capacity would show an append to a caller's slice.
	info, aad, plaintext := []byte("info-----")[:4], []byte("aad-----")[:3], []byte("plaintext-----")[:9]
	sealed := seal(t, key.PublicKey(), info, aad, plaintext)
	before := bytes.Clone(sealed)
	if _, err := Open(key, info, aad, sealed); err != nil {
		t.Fatal(err)
	}
	equal(t, "info", info[:9], []byte("info-----"))
	equal(t, "aad", aad[:8], []byte("aad-----"))
	equal(t, "plaintext", plaintext[:14], []byte("plaintext-----"))
	equal(t, "sealed message", sealed, before)
}

func TestOpenRefusesEveryFlippedBit(t *testing.T) {
	key, info, aad := newKey(t), []byte("info"), []byte("aad")
	sealed := seal(t, key.PublicKey(), info, aad, []byte("0123456789abcdef0"))
	for i := range len(sealed) * 8 {
		sealed[i/8] ^= 1 << (i % 8)
		refused(t, "flipped bit", key, info, aad, sealed)
		sealed[i/8] ^= 1 << (i % 8)
	}
	if _, err := Open(key, info, aad, sealed); err != nil {
		t.Errorf("the message itself: %v", err)
	}
}

func TestOpenRefusesEveryLength(t *testing.T) {
	key := newKey(t)
	sealed := seal(t, key.PublicKey(), nil, nil, []byte("0123456789abcdef0"))
	for n := range sealed {
		refused(t, "cut at the end", key, nil, nil, sealed[:n])
		refused(t, "cut at the start", key, nil, nil, sealed[n+1:])
	}
	refused(t, "longer", key, nil, nil, append(bytes.Clone(sealed), 0))
	refused(t, "nil", key, nil, nil, nil)
}

func TestOpenRefusesAnotherContext(t *testing.T) {
	key, info, aad := newKey(t), []byte("info"), []byte("aad")
	sealed := seal(t, key.PublicKey(), info, aad, []byte("plaintext"))
	for name, c := range map[string]struct {
		key       *PrivateKey
		info, aad []byte
	}{
		"other key":      {newKey(t), info, aad},
		"other info":     {key, []byte("infO"), aad},
		"other aad":      {key, info, []byte("aaD")},
		"no info":        {key, nil, aad},
		"no aad":         {key, info, nil},
		"exchanged":      {key, aad, info},
		"moved boundary": {key, []byte("infoa"), []byte("ad")},
		"nil key":        {nil, info, aad},
		"zero key":       {&PrivateKey{}, info, aad},
	} {
		refused(t, name, c.key, c.info, c.aad, sealed)
	}
}

// The negated point has the same x-coordinate, hence the same Diffie-Hellman
// result; only the KEM's context tells the two apart.
func TestOpenRefusesNegatedEncapsulatedKey(t *testing.T) {
	key := newKey(t)
	sealed := seal(t, key.PublicKey(), nil, nil, []byte("plaintext"))
	y := new(big.Int).SetBytes(sealed[33:EncapsulatedKeySize])
	y.Sub(fieldPrime, y).FillBytes(sealed[33:EncapsulatedKeySize])
	if _, err := NewPublicKey(sealed[:EncapsulatedKeySize]); err != nil {
		t.Fatalf("negated point: %v", err)
	}
	refused(t, "negated encapsulated key", key, nil, nil, sealed)
}

// A compressed point is a public key elsewhere, but no encapsulated key.
func TestOpenRefusesCompressedEncapsulatedKey(t *testing.T) {
	key := newKey(t)
	sealed := seal(t, key.PublicKey(), nil, nil, make([]byte, 32))
	enc, err := NewPublicKey(sealed[:EncapsulatedKeySize])
	if err != nil {
		t.Fatal(err)
	}
	refused(t, "compressed encapsulated key", key, nil, nil, append(enc.Bytes(), sealed[EncapsulatedKeySize:]...))
	if _, err := decapsulate(key, enc.Bytes()); !errors.Is(err, ErrPublicKey) {
		t.Errorf("decapsulate: error %v instead of ErrPublicKey", err)
	}
}

func TestSealRefuses(t *testing.T) {
	key := newKey(t)
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		rand io.Reader
		to   *PublicKey
		want error
	}{
		"nil key":          {rand.Reader, nil, ErrPublicKey},
		"zero key":         {rand.Reader, &PublicKey{}, ErrPublicKey},
		"broken generator": {iotest.ErrReader(broken), key.PublicKey(), broken},
		"short generator":  {bytes.NewReader(make([]byte, 31)), key.PublicKey(), io.ErrUnexpectedEOF},
	} {
		sealed, err := Seal(c.rand, c.to, nil, nil, []byte("plaintext"))
		if !errors.Is(err, c.want) || sealed != nil {
			t.Errorf("%s: %x, error %v instead of %v", name, sealed, err, c.want)
		}
	}
}
