package slip39

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
)

func TestRestoreGroup(t *testing.T) {
	secret := bytes.Repeat([]byte{0x5a}, 64)
	sets := []Params{
		{Identifier: 7, Extendable: true, GroupThreshold: 2, Groups: []Group{{1, 1}, {1, 1}, {2, 3}, {1, 1}}},
		{Identifier: 8, GroupThreshold: 3, Groups: []Group{{3, 5}, {1, 1}, {1, 1}, {1, 1}}},
		{Identifier: 9, IterationExponent: 1, GroupThreshold: 1, Groups: []Group{{2, 2}, {1, 1}}},
	}
	for _, p := range sets {
		shares, err := Split(rand.Reader, secret, []byte("of no use here"), p)
		if err != nil {
			t.Fatal(err)
		}
		for lost, group := range p.Groups {
			if group.Count != 1 {
				continue
			}
			given := withoutGroup(shares, p, lost)
			restored, err := RestoreGroup(given, lost)
			if err != nil || !restored.Equal(shares[lost][0]) || restored.Mnemonic() != shares[lost][0].Mnemonic() {
				t.Errorf("set %d, group %d: %v", p.Identifier, lost, err)
			}
		}
	}
}

// withoutGroup returns just enough shares of the last groups but one.
func withoutGroup(shares [][]*Share, p Params, lost int) []*Share {
	var given []*Share
	groups := 0
	for g := len(p.Groups) - 1; g >= 0 && groups < p.GroupThreshold; g-- {
		if g == lost {
			continue
		}
		given = append(given, shares[g][len(shares[g])-p.Groups[g].Threshold:]...)
		groups++
	}
	return given
}

func TestRestoreGroupRefuses(t *testing.T) {
	p := Params{Identifier: 7, Extendable: true, GroupThreshold: 2, Groups: []Group{{1, 1}, {1, 1}, {2, 3}, {1, 1}}}
	shares, err := Split(rand.Reader, bytes.Repeat([]byte{1}, 64), nil, p)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Split(rand.Reader, bytes.Repeat([]byte{2}, 64), nil, p)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		shares []*Share
		group  int
		want   error
	}{
		"none":            {nil, 1, ErrNoShares},
		"too few groups":  {[]*Share{shares[0][0]}, 1, ErrTooFewGroups},
		"too few members": {[]*Share{shares[0][0], shares[2][0]}, 1, ErrTooFewMembers},
		"among the given": {[]*Share{shares[0][0], shares[3][0]}, 3, ErrParams},
		"no such group":   {[]*Share{shares[0][0], shares[3][0]}, 4, ErrParams},
		"negative":        {[]*Share{shares[0][0], shares[3][0]}, -1, ErrParams},
		"a wrong share":   {[]*Share{shares[2][0], other[2][1], shares[3][0]}, 1, ErrDigest},
		"a wrong group":   {[]*Share{shares[0][0], other[3][0]}, 1, ErrDigest},
	} {
		if got, err := RestoreGroup(test.shares, test.group); got != nil || !errors.Is(err, test.want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
