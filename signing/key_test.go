package signing

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"testing"
)

// order is n, the order of the curve's group (SEC 2 section 2.4.1).
const order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"

func TestNewPrivateKeyRefuses(t *testing.T) {
	for _, tt := range []struct{ name, key string }{
		{"nothing", ""},
		{"31 bytes", "01010101010101010101010101010101010101010101010101010101010101"},
		{"33 bytes", "000101010101010101010101010101010101010101010101010101010101010101"},
		{"zero", "0000000000000000000000000000000000000000000000000000000000000000"},
		{"n", order},
		{"n + 1", "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364142"},
		{"2^256 - 1", "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key, err := NewPrivateKey(unhex(t, tt.key))
			if key != nil || !errors.Is(err, ErrPrivateKey) {
				t.Errorf("got %v, %v, want nil and ErrPrivateKey", key, err)
			}
		})
	}
}

func TestNewPrivateKeyAdmits(t *testing.T) {
	for _, tt := range []struct{ name, key, public string }{
		// The generator and its negative: SEC 2 section 2.4.1.
		{"1", "0000000000000000000000000000000000000000000000000000000000000001",
			"0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"},
		{"n - 1", "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140",
			"0379be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := unhex(t, tt.key)
			key, err := NewPrivateKey(b)
			if err != nil {
				t.Fatal(err)
			}
			clear(b)
			if want := unhex(t, tt.key); !bytes.Equal(key.Bytes(), want) {
				t.Errorf("key: got %x, want %x", key.Bytes(), want)
			}
			if want := unhex(t, tt.public); !bytes.Equal(key.PublicKey().Bytes(), want) {
				t.Errorf("public key: got %x, want %x", key.PublicKey().Bytes(), want)
			}
		})
	}
}

func TestNewPublicKeyRefuses(t *testing.T) {
	const x = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
	const y = "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
	for _, tt := range []struct{ name, key string }{
		{"nothing", ""},
		{"infinity", "00"},
		{"infinity of 33 bytes", "00" + "0000000000000000000000000000000000000000000000000000000000000000"},
		{"x alone", x},
		{"34 bytes", "02" + x + "00"},
		{"uncompressed", "04" + x + y},
		{"hybrid", "06" + x + y},
		{"compressed with 04", "04" + x},
		{"compressed with 05", "05" + x},
		{"no point has x = 5", "02" + "0000000000000000000000000000000000000000000000000000000000000005"},
		{"no point has x = 0", "02" + "0000000000000000000000000000000000000000000000000000000000000000"},
		// x = 1 is on the curve; p + 1 would be its second encoding.
		{"x = p + 1", "02" + "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc30"},
		{"x = 2^256 - 1", "02" + "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key, err := NewPublicKey(unhex(t, tt.key))
			if key != nil || !errors.Is(err, ErrPublicKey) {
				t.Errorf("got %v, %v, want nil and ErrPublicKey", key, err)
			}
		})
	}
	if _, err := NewPublicKey(unhex(t, "02"+"0000000000000000000000000000000000000000000000000000000000000001")); err != nil {
		t.Errorf("x = 1 is refused: %v", err)
	}
}

func TestPublicKeyEqual(t *testing.T) {
	a, b := newKey(t, 1).PublicKey(), newKey(t, 2).PublicKey()
	again, err := NewPublicKey(a.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	negative, err := NewPublicKey(append([]byte{a.Bytes()[0] ^ 1}, a.Bytes()[1:]...))
	if err != nil {
		t.Fatal(err)
	}
	if !a.Equal(again) {
		t.Error("a key does not equal itself read back")
	}
	var none *PublicKey
	if a.Equal(b) || a.Equal(negative) || a.Equal(nil) || none.Equal(a) || none.Equal(nil) {
		t.Error("different keys are equal")
	}
}

// newKey returns the private key whose bytes are all b.
func newKey(t *testing.T, b byte) *PrivateKey {
	t.Helper()
	key, err := NewPrivateKey(bytes.Repeat([]byte{b}, PrivateKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestGenerateKeySamplesAgain(t *testing.T) {
	zero, want := make([]byte, 32), sequence(32)
	source := bytes.NewReader(bytes.Join([][]byte{zero, unhex(t, order), want}, nil))
	key, err := GenerateKey(source)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(key.Bytes(), want) {
		t.Errorf("got %x, want the third candidate", key.Bytes())
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func TestGenerateKeyFails(t *testing.T) {
	key, err := GenerateKey(bytes.NewReader(sequence(31)))
	if key != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("31 bytes of randomness: got %v, %v", key, err)
	}
	key, err = GenerateKey(zeros{})
	if key != nil || err == nil {
		t.Errorf("zeros for randomness: got %v, %v", key, err)
	}
}

func TestGeneratedKeysDiffer(t *testing.T) {
	a, err := GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(a.Bytes(), b.Bytes()) || a.PublicKey().Equal(b.PublicKey()) {
		t.Error("two keys are the same")
	}
}

// The expected key was computed by another implementation of RFC 5869, its
// public key by another of secp256k1.
func TestDeriveKey(t *testing.T) {
	c := NewContext("share-key").Bytes(bytes.Repeat([]byte{0x11}, 32)).Uint(1).Uint(2)
	key, err := DeriveKey(sequence(32), c)
	if err != nil {
		t.Fatal(err)
	}
	if want := unhex(t, "a6ef1e63afefe68ef3571c3e3bfb6157167b82d761ed47dad090963a8bd24984"); !bytes.Equal(key.Bytes(), want) {
		t.Errorf("got %x, want %x", key.Bytes(), want)
	}
	if want := unhex(t, "0282fc7c5db82f6f6c934670f56a521b71bda2ad94e99b809b301382453a766ca5"); !bytes.Equal(key.PublicKey().Bytes(), want) {
		t.Errorf("public key: got %x, want %x", key.PublicKey().Bytes(), want)
	}
	other, err := DeriveKey(sequence(32), c.Uint(3))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(other.Bytes(), key.Bytes()) {
		t.Error("another context derives the same key")
	}
	if key, err := DeriveKey(sequence(15), c); key != nil || err == nil {
		t.Errorf("a secret of 15 bytes: got %v, %v", key, err)
	}
}

// No secret is known whose first candidate is out of range, so the choice
// among candidates is tested by itself.
func TestFirstKey(t *testing.T) {
	candidates := [][]byte{unhex(t, order), make([]byte, 32), sequence(32)}
	var counters []byte
	key, err := firstKey(func(counter byte) ([]byte, error) {
		counters = append(counters, counter)
		return bytes.Clone(candidates[counter]), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(counters, []byte{0, 1, 2}) || !bytes.Equal(key.Bytes(), sequence(32)) {
		t.Errorf("counters %v give %x", counters, key.Bytes())
	}
}

func TestErase(t *testing.T) {
	key := newKey(t, 0xab)
	public := key.PublicKey().Bytes()
	held := key.secret()
	key.Erase()
	key.Erase()
	if held.bytes != [PrivateKeySize]byte{} {
		t.Error("the key's bytes are still in memory")
	}
	if !bytes.Equal(key.PublicKey().Bytes(), public) {
		t.Error("the public key is gone")
	}
	for name, use := range map[string]func(){
		"Bytes": func() { key.Bytes() },
		"Sign":  func() { key.Sign(NewContext("a")) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s of an erased key does not panic", name)
				}
			}()
			use()
		}()
	}
}

func FuzzNewPublicKey(f *testing.F) {
	key, err := NewPrivateKey(sequence(32))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(key.PublicKey().Bytes())
	f.Add(make([]byte, PublicKeySize))
	f.Fuzz(func(t *testing.T, b []byte) {
		key, err := NewPublicKey(b)
		if err != nil {
			if key != nil {
				t.Error("a key beside an error")
			}
			return
		}
		if !bytes.Equal(key.Bytes(), b) {
			t.Errorf("%x is written as %x", b, key.Bytes())
		}
	})
}
