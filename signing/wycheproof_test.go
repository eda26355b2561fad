package signing

import (
	"bytes"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/json"
	"io/fs"
	"math/big"
	"testing"

	"github.com/c2sp/wycheproof"

	"gitlab.com/yawning/secp256k1-voi"
)

type ecdsaGroup struct {
	PublicKey struct {
		Uncompressed string `json:"uncompressed"`
	} `json:"publicKey"`
	Sha   string `json:"sha"`
	Tests []struct {
		ID      int    `json:"tcId"`
		Comment string `json:"comment"`
		Msg     string `json:"msg"`
		Sig     string `json:"sig"`
		Result  string `json:"result"`
	} `json:"tests"`
}

// Wycheproof's three files say about each signature whether plain ECDSA, or
// Bitcoin's with low s, admits it. Ours is Bitcoin's rule for 64 bytes: a
// signature in DER that has no 64 bytes, because its encoding is not DER or its
// numbers are too great, cannot be asked about; Wycheproof must call it
// invalid.
func TestWycheproof(t *testing.T) {
	for _, tt := range []struct {
		name                       string
		convert                    func([]byte) []byte
		accepted, refused, nothing int
		highS                      int // valid for Wycheproof, refused by us
	}{
		{"ecdsa_secp256k1_sha256_p1363_test.json", func(b []byte) []byte { return b }, 95, 157, 0, 72},
		{"ecdsa_secp256k1_sha256_bitcoin_test.json", fromDER, 162, 69, 232, 0},
		{"ecdsa_secp256k1_sha256_test.json", fromDER, 96, 146, 234, 72},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var accepted, refused, nothing, highS int
			for _, group := range readGroups(t, tt.name) {
				key := compress(t, unhex(t, group.PublicKey.Uncompressed))
				for _, test := range group.Tests {
					valid := test.Result == "valid"
					signature := tt.convert(unhex(t, test.Sig))
					if signature == nil {
						nothing++
						if valid {
							t.Errorf("%d (%s): not convertible, yet valid", test.ID, test.Comment)
						}
						continue
					}
					if valid && isHigh(new(big.Int).SetBytes(signature[32:])) {
						highS++
						valid = false
					}
					digest := sha256.Sum256(unhex(t, test.Msg))
					got := key.verify(digest[:], signature)
					if got != valid {
						t.Errorf("%d (%s): got %t, want %t", test.ID, test.Comment, got, valid)
					}
					if got {
						accepted++
					} else {
						refused++
					}
				}
			}
			if accepted != tt.accepted || refused != tt.refused || nothing != tt.nothing || highS != tt.highS {
				t.Errorf("%d accepted, %d refused, %d not convertible, %d high s; want %d, %d, %d, %d",
					accepted, refused, nothing, highS, tt.accepted, tt.refused, tt.nothing, tt.highS)
			}
		})
	}
}

func readGroups(t *testing.T, name string) []ecdsaGroup {
	t.Helper()
	data, err := fs.ReadFile(wycheproof.TestVectors, name)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []ecdsaGroup `json:"testGroups"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Groups {
		if group.Sha != "SHA-256" {
			t.Fatalf("hash %s", group.Sha)
		}
	}
	return file.Groups
}

// compress makes a public key of an uncompressed point.
func compress(t *testing.T, uncompressed []byte) *PublicKey {
	t.Helper()
	point, err := secp256k1.NewPointFromBytes(uncompressed)
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewPublicKey(point.CompressedBytes())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// fromDER converts a signature in DER (RFC 3279 section 2.2.3) to 64 bytes, or
// returns nil if it is not in DER or has no 64 bytes.
func fromDER(der []byte) []byte {
	var signature struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &signature)
	if err != nil || len(rest) > 0 {
		return nil
	}
	again, err := asn1.Marshal(signature)
	if err != nil || !bytes.Equal(again, der) {
		return nil
	}
	for _, n := range []*big.Int{signature.R, signature.S} {
		if n.Sign() < 0 || n.BitLen() > 256 {
			return nil
		}
	}
	return append(signature.R.FillBytes(make([]byte, 32)), signature.S.FillBytes(make([]byte, 32))...)
}
