package slip39_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"zeropass.dev/zeropass/slip39"
)

// vectorErrors names, by case number, why each invalid vector must be refused. The
// numbers come twice: for 128 and for 256 bits.
var vectorErrors = map[int]error{
	2: slip39.ErrChecksum, 21: slip39.ErrChecksum,
	3: slip39.ErrPadding, 22: slip39.ErrPadding,
	5: slip39.ErrTooFewMembers, 24: slip39.ErrTooFewMembers,
	6: slip39.ErrIdentifierMismatch, 25: slip39.ErrIdentifierMismatch,
	7: slip39.ErrExponentMismatch, 26: slip39.ErrExponentMismatch,
	8: slip39.ErrGroupThresholdMismatch, 27: slip39.ErrGroupThresholdMismatch,
	9: slip39.ErrGroupCountMismatch, 28: slip39.ErrGroupCountMismatch,
	10: slip39.ErrGroupThreshold, 29: slip39.ErrGroupThreshold,
	11: slip39.ErrDuplicateMember, 30: slip39.ErrDuplicateMember,
	12: slip39.ErrThresholdMismatch, 31: slip39.ErrThresholdMismatch,
	13: slip39.ErrDigest, 32: slip39.ErrDigest,
	14: slip39.ErrTooFewGroups, 33: slip39.ErrTooFewGroups,
	15: slip39.ErrTooFewGroups, 34: slip39.ErrTooFewGroups,
	16: slip39.ErrTooFewMembers, 35: slip39.ErrTooFewMembers,
	39: slip39.ErrTooShort,
	40: slip39.ErrLength,
}

func TestVectors(t *testing.T) {
	const cases, passphrase = 45, "TREZOR"
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors [][4]json.RawMessage // description, mnemonics, secret, root key
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) != cases {
		t.Fatalf("%d cases, want %d", len(vectors), cases)
	}
	for i, v := range vectors {
		var name, secret string
		var mnemonics []string
		for j, into := range []any{&name, &mnemonics, &secret} {
			if err := json.Unmarshal(v[j], into); err != nil {
				t.Fatal(err)
			}
		}
		t.Run(name, func(t *testing.T) {
			got, err := combineMnemonics(t, mnemonics, passphrase)
			want := vectorErrors[i+1]
			if (secret == "") != (want != nil) {
				t.Fatalf("the vector has secret %q, the table has error %v", secret, want)
			}
			if !errors.Is(err, want) {
				t.Fatalf("error %v, want %v", err, want)
			}
			if want != nil && got != nil {
				t.Error("a secret was returned together with an error")
			}
			if hex.EncodeToString(got) != secret {
				t.Errorf("secret %x, want %s", got, secret)
			}
		})
	}
}

// combineMnemonics parses, checks that what was accepted is written the same way
// again, and combines.
func combineMnemonics(t *testing.T, mnemonics []string, passphrase string) ([]byte, error) {
	t.Helper()
	var shares []*slip39.Share
	for _, m := range mnemonics {
		share, err := slip39.Parse(m)
		if err != nil {
			return nil, err
		}
		if share.Mnemonic() != m {
			t.Error("the mnemonic is written differently from how it was read")
		}
		shares = append(shares, share)
	}
	return slip39.Combine(shares, []byte(passphrase))
}
