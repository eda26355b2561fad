package aead

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"testing"

	"github.com/c2sp/wycheproof"
)

// Wycheproof's associated data are no contexts, so these vectors go to the
// cipher under Seal and Open.
func TestWycheproof(t *testing.T) {
	data, err := fs.ReadFile(wycheproof.TestVectors, "aes_gcm_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			IVSize  int `json:"ivSize"`
			KeySize int `json:"keySize"`
			TagSize int `json:"tagSize"`
			Tests   []struct {
				ID     int    `json:"tcId"`
				Key    string `json:"key"`
				IV     string `json:"iv"`
				AAD    string `json:"aad"`
				Msg    string `json:"msg"`
				CT     string `json:"ct"`
				Tag    string `json:"tag"`
				Result string `json:"result"`
			} `json:"tests"`
		} `json:"testGroups"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	var valid, invalid int
	for _, group := range file.Groups {
		if group.IVSize != 8*nonceSize || group.KeySize != 8*KeySize || group.TagSize != 8*tagSize {
			continue
		}
		for _, test := range group.Tests {
			gcm := newKey(t, unhex(t, test.Key)).gcm()
			nonce, aad := unhex(t, test.IV), unhex(t, test.AAD)
			msg, sealed := unhex(t, test.Msg), unhex(t, test.CT+test.Tag)
			opened, err := gcm.Open(nil, nonce, sealed, aad)
			if test.Result == "invalid" {
				invalid++
				if err == nil {
					t.Errorf("%d opens", test.ID)
				}
				continue
			}
			valid++
			if err != nil || !bytes.Equal(opened, msg) {
				t.Errorf("%d opens to %x, %v", test.ID, opened, err)
			}
			if got := gcm.Seal(nil, nonce, msg, aad); !bytes.Equal(got, sealed) {
				t.Errorf("%d: got %x, want %x", test.ID, got, sealed)
			}
		}
	}
	if valid != 39 || invalid != 27 {
		t.Errorf("%d valid and %d invalid, want 39 and 27", valid, invalid)
	}
}
