package hpke

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// hexBytes is bytes that JSON shows in hexadecimal.
type hexBytes []byte

func (b hexBytes) MarshalText() ([]byte, error) {
	return []byte(hex.EncodeToString(b)), nil
}

func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

// vector is one case of the draft, with the draft's names.
type vector struct {
	Suite          string   `json:"suite"`
	Mode           string   `json:"mode"`
	Info           hexBytes `json:"info"`
	IkmE           hexBytes `json:"ikmE"`
	SkEm           hexBytes `json:"skEm"`
	PkEm           hexBytes `json:"pkEm"`
	IkmR           hexBytes `json:"ikmR"`
	SkRm           hexBytes `json:"skRm"`
	PkRm           hexBytes `json:"pkRm"`
	SharedSecret   hexBytes `json:"shared_secret"`
	Key            hexBytes `json:"key"`
	BaseNonce      hexBytes `json:"base_nonce"`
	ExporterSecret hexBytes `json:"exporter_secret"`
}

// aeads says which AEAD a vector was made with, and its key size.
var aeads = map[string]struct {
	id      uint16
	keySize int
}{
	"DHKEM(Secp256k1, HKDF-SHA256) HKDF-SHA256 AES-128-GCM": {0x0001, 16},
	"DHKEM(Secp256k1, HKDF-SHA256) HKDF-SHA256 AES-256-GCM": {aeadID, keySize},
}

func readVectors(t *testing.T) []vector {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "dhkem_secp256k1_base.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) != 5 {
		t.Fatalf("%d vectors instead of 5", len(vectors))
	}
	return vectors
}

func TestVectors(t *testing.T) {
	sealed := 0
	for _, v := range readVectors(t) {
		aead, ok := aeads[v.Suite]
		if !ok || v.Mode != "Base" {
			t.Fatalf("unknown suite %q, mode %q", v.Suite, v.Mode)
		}
		checkKEM(t, v)
		checkKeySchedule(t, v, aead.id, aead.keySize)
		if aead.id == aeadID {
			checkSeal(t, v)
			sealed++
		}
	}
	if sealed != 2 {
		t.Errorf("%d vectors have our AEAD instead of 2", sealed)
	}
}

func checkKEM(t *testing.T, v vector) {
	t.Helper()
	ephemeral := checkDerive(t, v.IkmE, v.SkEm, v.PkEm)
	recipient := checkDerive(t, v.IkmR, v.SkRm, v.PkRm)
	sharedSecret, enc, err := encapsulate(ephemeral, recipient.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "shared_secret of Encap", sharedSecret, v.SharedSecret)
	equal(t, "enc", enc, v.PkEm)
	sharedSecret, err = decapsulate(recipient, v.PkEm)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "shared_secret of Decap", sharedSecret, v.SharedSecret)
}

func checkDerive(t *testing.T, ikm, private, public []byte) *PrivateKey {
	t.Helper()
	key, err := DeriveKeyPair(ikm)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "private key", key.Bytes(), private)
	equal(t, "public key", key.PublicKey().encoded[:], public)
	parsed, err := NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	if !parsed.Equal(key.PublicKey()) {
		t.Errorf("public key %x is not equal to itself", public)
	}
	return key
}

func checkKeySchedule(t *testing.T, v vector, aead uint16, keySize int) {
	t.Helper()
	s := newSchedule(aead, v.SharedSecret, v.Info)
	equal(t, "key", s.expand("key", keySize), v.Key)
	equal(t, "base_nonce", s.expand("base_nonce", nonceSize), v.BaseNonce)
	equal(t, "exporter_secret", s.expand("exp", hashSize), v.ExporterSecret)
}

// checkSeal feeds the ephemeral key material to Seal as its randomness, which
// reproduces the vector's message; the draft gives no ciphertexts, so that the
// expected one is AES-GCM with the vector's key and nonce.
func checkSeal(t *testing.T, v vector) {
	t.Helper()
	recipient, err := NewPrivateKey(v.SkRm)
	if err != nil {
		t.Fatal(err)
	}
	aad, plaintext := []byte("associated data"), []byte("Beauty is truth, truth beauty")
	aead, err := newAEAD(v.Key)
	if err != nil {
		t.Fatal(err)
	}
	want := aead.Seal(bytes.Clone(v.PkEm), v.BaseNonce, plaintext, aad)
	got, err := Seal(bytes.NewReader(v.IkmE), recipient.PublicKey(), v.Info, aad, plaintext)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "sealed message", got, want)
	opened, err := Open(recipient, v.Info, aad, want)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "opened message", opened, plaintext)
}

func equal(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s is %x instead of %x", what, got, want)
	}
}
