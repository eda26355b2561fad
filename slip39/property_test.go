package slip39_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
	"zeropass.dev/zeropass/slip39"
)

// anyParams draws what the standard allows, but for large iteration exponents,
// which only take time.
func anyParams(t *rapid.T) slip39.Params {
	groups := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) slip39.Group {
		threshold := rapid.IntRange(1, 16).Draw(t, "threshold")
		if threshold == 1 {
			return slip39.Group{Threshold: 1, Count: 1}
		}
		return slip39.Group{Threshold: threshold, Count: rapid.IntRange(threshold, 16).Draw(t, "count")}
	}), 1, 16).Draw(t, "groups")
	return slip39.Params{
		Identifier:        rapid.Uint16Range(0, 1<<15-1).Draw(t, "identifier"),
		Extendable:        rapid.Bool().Draw(t, "extendable"),
		IterationExponent: rapid.IntRange(0, 1).Draw(t, "exponent"),
		GroupThreshold:    rapid.IntRange(1, len(groups)).Draw(t, "group threshold"),
		Groups:            groups,
	}
}

// authorized draws exactly as many groups, and members of each, as are needed.
func authorized(t *rapid.T, p slip39.Params, shares [][]*slip39.Share) []*slip39.Share {
	var chosen []*slip39.Share
	for _, g := range rapid.Permutation(indices(len(p.Groups))).Draw(t, "order of groups")[:p.GroupThreshold] {
		group := p.Groups[g]
		for _, m := range rapid.Permutation(indices(group.Count)).Draw(t, "order of members")[:group.Threshold] {
			chosen = append(chosen, shares[g][m])
		}
	}
	return rapid.Permutation(chosen).Draw(t, "order given")
}

func indices(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// TestAuthorizedRecover: shares pass through both written forms; every authorized
// subset gives the secret, in any order, and without any one of its shares none.
func TestAuthorizedRecover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyParams(t)
		secret := make([]byte, 2*rapid.IntRange(8, 40).Draw(t, "half the length"))
		rand.Read(secret)
		passphrase := []byte(rapid.StringOfN(rapid.RuneFrom([]rune(printable)), 0, 20, -1).Draw(t, "passphrase"))
		shares, err := slip39.Split(rand.Reader, secret, passphrase, p)
		if err != nil {
			t.Fatal(err)
		}
		chosen := authorized(t, p, shares)
		for i, s := range chosen {
			chosen[i] = throughBothForms(t, s)
		}
		got, err := slip39.Combine(chosen, passphrase)
		if err != nil || !bytes.Equal(got, secret) {
			t.Fatalf("an authorized subset fails: %v", err)
		}

		i := rapid.IntRange(0, len(chosen)-1).Draw(t, "left out")
		fewer := slices.Delete(slices.Clone(chosen), i, i+1)
		got, err = slip39.Combine(fewer, passphrase)
		if got != nil || !errors.Is(err, slip39.ErrNoShares) && !errors.Is(err, slip39.ErrTooFewGroups) && !errors.Is(err, slip39.ErrTooFewMembers) {
			t.Fatalf("an unauthorized subset: %v", err)
		}
	})
}

func throughBothForms(t *rapid.T, s *slip39.Share) *slip39.Share {
	parsed, err := slip39.Parse(s.Mnemonic())
	if err != nil {
		t.Fatal(err)
	}
	packed, err := parsed.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := slip39.ParseBinary(packed)
	if err != nil || !unpacked.Equal(s) {
		t.Fatalf("a share changes when written down: %v", err)
	}
	return unpacked
}

// TestRecoverAnything: to an authorized subset come other shares of the set, and
// wrong ones, which are right shares of another secret. Recover finds the secret,
// never calls a right share wrong nor a wrong one right.
func TestRecoverAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := layout
		n := rapid.IntRange(2, 7).Draw(t, "contacts")
		p.Groups = []slip39.Group{{Threshold: 1, Count: 1}, {Threshold: 1, Count: 1}, {Threshold: rapid.IntRange(2, n).Draw(t, "quorum"), Count: n}, {Threshold: 1, Count: 1}}
		secret := make([]byte, 64)
		rand.Read(secret)
		right := mustSplit(t, secret, p)
		bad := mustSplit(t, make([]byte, 64), p)

		given := authorized(t, p, right)
		pool := slices.Concat(flatten(right), flatten(bad))
		more := rapid.Permutation(indices(len(pool))).Draw(t, "more")
		for _, i := range more[:rapid.IntRange(0, len(more)).Draw(t, "how many more")] {
			given = append(given, pool[i])
		}
		given = rapid.Permutation(given).Draw(t, "order")

		got, report, err := slip39.Recover(given, nil, func(s []byte) bool { return bytes.Equal(s, secret) })
		if err != nil || !bytes.Equal(got, secret) {
			t.Fatalf("not recovered: %v", err)
		}
		for _, f := range report.Shares {
			isBad := slices.ContainsFunc(flatten(bad), given[f.Index].Equal)
			isRepeated := slices.ContainsFunc(given[:f.Index], given[f.Index].Equal)
			if isRepeated != (f.Status == slip39.Duplicate) {
				t.Fatalf("%+v, but repeated: %v", f, isRepeated)
			}
			if isBad && (f.Status == slip39.Used || f.Status == slip39.Consistent) || !isBad && f.Status == slip39.Wrong || f.Status == slip39.OtherSet {
				t.Fatalf("%+v, but wrong: %v", f, isBad)
			}
		}
	})
}

func mustSplit(t *rapid.T, secret []byte, p slip39.Params) [][]*slip39.Share {
	shares, err := slip39.Split(rand.Reader, secret, nil, p)
	if err != nil {
		t.Fatal(err)
	}
	return shares
}

// printable are the characters of passphrases.
const printable = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"
