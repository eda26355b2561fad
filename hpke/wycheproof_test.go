package hpke

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"testing"

	"github.com/c2sp/wycheproof"
)

// wycheproofFile reads one file of Project Wycheproof and asserts its size. G is
// the type of its groups.
func wycheproofFile[G any](t *testing.T, name string, tests int) []G {
	t.Helper()
	data, err := fs.ReadFile(wycheproof.TestVectors, name)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		NumberOfTests int `json:"numberOfTests"`
		TestGroups    []G `json:"testGroups"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if file.NumberOfTests != tests {
		t.Fatalf("%s has %d tests instead of %d", name, file.NumberOfTests, tests)
	}
	return file.TestGroups
}

// checkECDH runs our constructors and Diffie-Hellman on one case. An acceptable
// case may be refused, but not answered otherwise.
func checkECDH(t *testing.T, id int, result string, private, public, shared []byte) {
	t.Helper()
	key, err := NewPrivateKey(private)
	if err != nil {
		t.Errorf("%d: private key: %v", id, err)
		return
	}
	with, err := NewPublicKey(public)
	if err != nil {
		if result == "valid" {
			t.Errorf("%d: public key: %v", id, err)
		}
		return
	}
	if result == "invalid" {
		t.Errorf("%d: public key %x was taken", id, public)
		return
	}
	got, err := diffieHellman(key, with)
	if err != nil {
		t.Errorf("%d: %v", id, err)
	}
	if !bytes.Equal(got, shared) {
		t.Errorf("%d: shared secret is %x instead of %x", id, got, shared)
	}
}

// scalar brings an integer of any length, as ASN.1 writes it, to 32 bytes.
func scalar(t *testing.T, integer []byte) []byte {
	t.Helper()
	integer = bytes.TrimLeft(integer, "\x00")
	if len(integer) > privateKeySize {
		t.Fatalf("private key of %d bytes", len(integer))
	}
	return append(make([]byte, privateKeySize-len(integer)), integer...)
}

// The public keys of this file are SubjectPublicKeyInfo structures, which this
// package does not read. What DER says of secp256k1 by its name and of a point of
// 65 or 33 bytes is constant, and what follows is the point: those cases test us,
// the others test a DER parser.
func TestWycheproofECDH(t *testing.T) {
	headers := [][]byte{
		unhex(t, "3056301006072a8648ce3d020106052b8104000a034200"),
		unhex(t, "3036301006072a8648ce3d020106052b8104000a032200"),
	}
	sizes := []int{publicKeySize, compressedSize}
	groups := wycheproofFile[struct {
		Tests []struct {
			ID      int      `json:"tcId"`
			Public  hexBytes `json:"public"`
			Private hexBytes `json:"private"`
			Shared  hexBytes `json:"shared"`
			Result  string   `json:"result"`
		} `json:"tests"`
	}](t, "ecdh_secp256k1_test.json", 752)
	ran := map[string]int{}
	for _, group := range groups {
		for _, test := range group.Tests {
			for i, header := range headers {
				point, ok := bytes.CutPrefix(test.Public, header)
				if ok && len(point) == sizes[i] {
					checkECDH(t, test.ID, test.Result, scalar(t, test.Private), point, test.Shared)
					ran[test.Result]++
				}
			}
		}
	}
	if ran["valid"] != 473 || ran["acceptable"] != 2 || ran["invalid"] != 21 {
		t.Errorf("ran %v instead of 473 valid, 2 acceptable, 21 invalid", ran)
	}
}

// The same points as coordinates, without DER around them: every case applies.
func TestWycheproofECDHCoordinates(t *testing.T) {
	type jwk struct {
		Curve string `json:"crv"`
		X     string `json:"x"`
		Y     string `json:"y"`
		D     string `json:"d"`
	}
	groups := wycheproofFile[struct {
		Tests []struct {
			ID      int      `json:"tcId"`
			Public  jwk      `json:"public"`
			Private jwk      `json:"private"`
			Shared  hexBytes `json:"shared"`
			Result  string   `json:"result"`
		} `json:"tests"`
	}](t, "ecdh_secp256k1_webcrypto_test.json", 496)
	decode := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	// A bare point does not say its curve: this one was declared to be on P-256,
	// and is on ours.
	const otherCurveOnOurs = 490
	ran := 0
	for _, group := range groups {
		for _, test := range group.Tests {
			if test.ID == otherCurveOnOurs {
				if test.Public.Curve != "P-256" {
					t.Errorf("%d: declared to be on %s", test.ID, test.Public.Curve)
				}
				continue
			}
			point := append(append([]byte{0x04}, decode(test.Public.X)...), decode(test.Public.Y)...)
			checkECDH(t, test.ID, test.Result, decode(test.Private.D), point, test.Shared)
			ran++
		}
	}
	if ran != 495 {
		t.Errorf("ran %d tests instead of 495", ran)
	}
}

func TestWycheproofHKDF(t *testing.T) {
	groups := wycheproofFile[struct {
		Tests []struct {
			ID     int      `json:"tcId"`
			Ikm    hexBytes `json:"ikm"`
			Salt   hexBytes `json:"salt"`
			Info   hexBytes `json:"info"`
			Size   int      `json:"size"`
			Okm    hexBytes `json:"okm"`
			Result string   `json:"result"`
		} `json:"tests"`
	}](t, "hkdf_sha256_test.json", 86)
	ran := 0
	for _, group := range groups {
		for _, test := range group.Tests {
			ran++
			okm, err := hkdf.Key(sha256.New, test.Ikm, test.Salt, string(test.Info), test.Size)
			if (err == nil) != (test.Result == "valid") {
				t.Errorf("%d is %s: %v", test.ID, test.Result, err)
			}
			if err == nil && !bytes.Equal(okm, test.Okm) {
				t.Errorf("%d: output is %x instead of %x", test.ID, okm, test.Okm)
			}
		}
	}
	if ran != 86 {
		t.Errorf("ran %d tests instead of 86", ran)
	}
}

// HPKE fixes the nonce's size; the file's other sizes do not concern it.
func TestWycheproofAESGCM(t *testing.T) {
	groups := wycheproofFile[struct {
		IvSize  int `json:"ivSize"`
		TagSize int `json:"tagSize"`
		Tests   []struct {
			ID     int      `json:"tcId"`
			Key    hexBytes `json:"key"`
			Iv     hexBytes `json:"iv"`
			Aad    hexBytes `json:"aad"`
			Msg    hexBytes `json:"msg"`
			Ct     hexBytes `json:"ct"`
			Tag    hexBytes `json:"tag"`
			Result string   `json:"result"`
		} `json:"tests"`
	}](t, "aes_gcm_test.json", 316)
	ran, ours := 0, 0
	for _, group := range groups {
		if group.IvSize != 8*nonceSize || group.TagSize != 8*tagSize {
			continue
		}
		for _, test := range group.Tests {
			ran++
			if len(test.Key) == keySize {
				ours++
			}
			aead, err := newAEAD(test.Key)
			if err != nil {
				t.Fatal(err)
			}
			sealed := append(bytes.Clone(test.Ct), test.Tag...)
			opened, err := aead.Open(nil, test.Iv, sealed, test.Aad)
			if (err == nil) != (test.Result == "valid") {
				t.Errorf("%d is %s: %v", test.ID, test.Result, err)
			}
			if err == nil {
				equal(t, "opened message", opened, test.Msg)
				equal(t, "sealed message", aead.Seal(nil, test.Iv, test.Msg, test.Aad), sealed)
			}
		}
	}
	if ran != 197 || ours != 66 {
		t.Errorf("ran %d tests, %d with 256-bit keys, instead of 197 and 66", ran, ours)
	}
}
