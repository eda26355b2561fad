package signing

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"testing"

	"gitlab.com/yawning/secp256k1-voi"
)

// The signature was computed by another implementation of RFC 6979 and ECDSA.
func TestSignGolden(t *testing.T) {
	key, err := NewPrivateKey(unhex(t, "a6ef1e63afefe68ef3571c3e3bfb6157167b82d761ed47dad090963a8bd24984"))
	if err != nil {
		t.Fatal(err)
	}
	c := Sealing{
		Kind: "slot-metadata", Account: sequence(32), Epoch: 3, Object: sequence(16),
		Version: 2, Role: "metadata", Sender: "device/1", Recipient: "devices",
	}.Context()
	want := unhex(t, `f056d05c72cca44c63ff8638653e7cf01aab8683ec0d80ae225591a47f749a1d
		382576e9f95b1bbc54e6c5e9a850dbee145cead8f722c90dd35b8059358f5312`)
	if got := key.Sign(c); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	if !key.PublicKey().Verify(c, want) {
		t.Error("the signature does not verify")
	}
}

func TestVerifyRefuses(t *testing.T) {
	key, other := newKey(t, 1), newKey(t, 2)
	c := NewContext("test").Uint(1)
	signature := key.Sign(c)
	r, s := signature[:32], signature[32:]
	zero, n := make([]byte, 32), unhex(t, order)
	highS := new(big.Int).Sub(new(big.Int).SetBytes(n), new(big.Int).SetBytes(s)).FillBytes(make([]byte, 32))
	for _, tt := range []struct {
		name      string
		c         *Context
		key       *PublicKey
		signature []byte
	}{
		{"another context", NewContext("test").Uint(2), key.PublicKey(), signature},
		{"another kind", NewContext("test-2").Uint(1), key.PublicKey(), signature},
		{"another key", c, other.PublicKey(), signature},
		{"high s", c, key.PublicKey(), append(bytes.Clone(r), highS...)},
		{"s and r exchanged", c, key.PublicKey(), append(bytes.Clone(s), r...)},
		{"zero r", c, key.PublicKey(), append(bytes.Clone(zero), s...)},
		{"zero s", c, key.PublicKey(), append(bytes.Clone(r), zero...)},
		{"r = n", c, key.PublicKey(), append(bytes.Clone(n), s...)},
		{"s = n", c, key.PublicKey(), append(bytes.Clone(r), n...)},
		{"zeros", c, key.PublicKey(), make([]byte, 64)},
		{"nothing", c, key.PublicKey(), nil},
		{"63 bytes", c, key.PublicKey(), signature[:63]},
		{"65 bytes", c, key.PublicKey(), append(bytes.Clone(signature), 0)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.key.Verify(tt.c, tt.signature) {
				t.Error("verifies")
			}
		})
	}
	if !key.PublicKey().Verify(c, signature) {
		t.Error("the right one does not verify")
	}
}

func TestVerifyRefusesEveryFlippedBit(t *testing.T) {
	key, c := newKey(t, 1), NewContext("test")
	signature := key.Sign(c)
	for bit := range 8 * SignatureSize {
		flipped := bytes.Clone(signature)
		flipped[bit/8] ^= 1 << (bit % 8)
		if key.PublicKey().Verify(c, flipped) {
			t.Errorf("bit %d does not matter", bit)
		}
	}
}

// The vectors have nonces; the signature that a nonce gives is computed here
// with big integers, after SEC 1 section 4.1.3.
func TestRFC6979(t *testing.T) {
	data, err := os.ReadFile("testdata/secp256k1_sha256_nonces.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []struct {
			Key   string `json:"key"`
			Msg   string `json:"msg"`
			Hash  string `json:"hash"`
			Nonce string `json:"nonce_k"`
		} `json:"vectors"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) != 6 {
		t.Fatalf("%d vectors, want 6", len(file.Vectors))
	}
	for _, v := range file.Vectors {
		t.Run(v.Msg+" "+v.Key[:8], func(t *testing.T) {
			if v.Hash != "SHA-256" {
				t.Fatalf("hash %s", v.Hash)
			}
			key, err := NewPrivateKey(unhex(t, v.Key))
			if err != nil {
				t.Fatal(err)
			}
			digest := sha256.Sum256([]byte(v.Msg))
			want := signWithNonce(t, key.Bytes(), digest[:], unhex(t, v.Nonce))
			got := key.sign(digest[:])
			if !bytes.Equal(got, want) {
				t.Errorf("got  %x\nwant %x", got, want)
			}
			if !key.PublicKey().verify(digest[:], got) {
				t.Error("the signature does not verify")
			}
		})
	}
}

func signWithNonce(t *testing.T, key, digest, nonce []byte) []byte {
	t.Helper()
	scalar, err := secp256k1.NewScalarFromCanonicalBytes((*[32]byte)(nonce))
	if err != nil {
		t.Fatal(err)
	}
	x, err := secp256k1.NewIdentityPoint().ScalarBaseMult(scalar).XBytes()
	if err != nil {
		t.Fatal(err)
	}
	number := func(b []byte) *big.Int { return new(big.Int).SetBytes(b) }
	n := number(unhex(t, order))
	r := new(big.Int).Mod(number(x), n)
	s := new(big.Int).Mul(r, number(key))
	s.Add(s, number(digest))
	s.Mul(s, new(big.Int).ModInverse(number(nonce), n)).Mod(s, n)
	if isHigh(s) {
		s.Sub(n, s)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

// isHigh says whether s is in the upper half of 1..n-1.
func isHigh(s *big.Int) bool {
	n, _ := new(big.Int).SetString(order, 16)
	return new(big.Int).Lsh(s, 1).Cmp(n) > 0
}

func BenchmarkSign(b *testing.B) {
	key, err := NewPrivateKey(sequence(32))
	if err != nil {
		b.Fatal(err)
	}
	c := NewContext("test")
	for b.Loop() {
		key.Sign(c)
	}
}

func BenchmarkVerify(b *testing.B) {
	key, err := NewPrivateKey(sequence(32))
	if err != nil {
		b.Fatal(err)
	}
	c := NewContext("test")
	signature := key.Sign(c)
	for b.Loop() {
		if !key.PublicKey().Verify(c, signature) {
			b.Fatal(hex.EncodeToString(signature))
		}
	}
}
