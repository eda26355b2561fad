package slip39_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"math/bits"
	"testing"

	"zeropass.dev/zeropass/slip39"
)

// layout is how ZeroPass splits a seed: server, devices, contacts.
var layout = slip39.Params{
	Identifier:     0x2a5c,
	Extendable:     true,
	GroupThreshold: 2,
	Groups:         []slip39.Group{{Threshold: 1, Count: 1}, {Threshold: 1, Count: 1}, {Threshold: 2, Count: 3}},
}

// newSet splits a new random secret of 64 bytes, without passphrase.
func newSet(t testing.TB, p slip39.Params) (secret []byte, shares [][]*slip39.Share) {
	t.Helper()
	secret = make([]byte, 64)
	rand.Read(secret)
	shares, err := slip39.Split(rand.Reader, secret, nil, p)
	if err != nil {
		t.Fatal(err)
	}
	return secret, shares
}

func flatten(shares [][]*slip39.Share) []*slip39.Share {
	var all []*slip39.Share
	for _, members := range shares {
		all = append(all, members...)
	}
	return all
}

// TestEverySubset combines all 32 subsets of the shares of one seed: those that
// the thresholds name exactly give the secret, the others the error that fits.
func TestEverySubset(t *testing.T) {
	secret, shares := newSet(t, layout)
	all := flatten(shares) // server, devices, contacts 0 to 2
	for subset := range 1 << len(all) {
		var given []*slip39.Share
		for i, s := range all {
			if subset>>i&1 == 1 {
				given = append(given, s)
			}
		}
		got, err := slip39.Combine(given, nil)
		want := subsetError(subset)
		if !errors.Is(err, want) {
			t.Errorf("subset %05b: error %v, want %v", subset, err, want)
		}
		if want == nil && !bytes.Equal(got, secret) {
			t.Errorf("subset %05b: wrong secret", subset)
		}
		if want != nil && got != nil {
			t.Errorf("subset %05b: secret returned together with an error", subset)
		}
	}
}

func subsetError(subset int) error {
	contacts := bits.OnesCount(uint(subset >> 2))
	groups := subset&1 + subset>>1&1
	if contacts > 0 {
		groups++
	}
	switch {
	case subset == 0:
		return slip39.ErrNoShares
	case groups < 2:
		return slip39.ErrTooFewGroups
	case groups > 2:
		return slip39.ErrTooManyGroups
	case contacts == 1:
		return slip39.ErrTooFewMembers
	case contacts == 3:
		return slip39.ErrTooManyMembers
	}
	return nil
}

func TestSplitRefuses(t *testing.T) {
	with := func(change func(*slip39.Params)) slip39.Params {
		p := layout
		change(&p)
		return p
	}
	groups := func(g ...slip39.Group) slip39.Params {
		return with(func(p *slip39.Params) { p.Groups, p.GroupThreshold = g, 1 })
	}
	tests := []struct {
		name       string
		params     slip39.Params
		size       int
		passphrase string
		want       error
	}{
		{"identifier of 16 bits", with(func(p *slip39.Params) { p.Identifier = 1 << 15 }), 64, "", slip39.ErrParams},
		{"negative exponent", with(func(p *slip39.Params) { p.IterationExponent = -1 }), 64, "", slip39.ErrParams},
		{"exponent of 5 bits", with(func(p *slip39.Params) { p.IterationExponent = 16 }), 64, "", slip39.ErrParams},
		{"no groups", groups(), 64, "", slip39.ErrParams},
		{"17 groups", groups(make([]slip39.Group, 17)...), 64, "", slip39.ErrParams},
		{"group threshold 0", with(func(p *slip39.Params) { p.GroupThreshold = 0 }), 64, "", slip39.ErrParams},
		{"group threshold too large", with(func(p *slip39.Params) { p.GroupThreshold = 4 }), 64, "", slip39.ErrParams},
		{"empty group", groups(slip39.Group{}), 64, "", slip39.ErrParams},
		{"threshold 0", groups(slip39.Group{Threshold: 0, Count: 2}), 64, "", slip39.ErrParams},
		{"threshold too large", groups(slip39.Group{Threshold: 3, Count: 2}), 64, "", slip39.ErrParams},
		{"17 members", groups(slip39.Group{Threshold: 2, Count: 17}), 64, "", slip39.ErrParams},
		{"1 of 2", groups(slip39.Group{Threshold: 1, Count: 2}), 64, "", slip39.ErrParams},
		{"no secret", layout, 0, "", slip39.ErrSecretLength},
		{"short secret", layout, 14, "", slip39.ErrSecretLength},
		{"odd secret", layout, 33, "", slip39.ErrSecretLength},
		{"long secret", layout, slip39.MaxSecretSize + 2, "", slip39.ErrSecretLength},
		{"control character", layout, 64, "a\nb", slip39.ErrPassphrase},
		{"umlaut", layout, 64, "schön", slip39.ErrPassphrase},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			shares, err := slip39.Split(rand.Reader, make([]byte, test.size), []byte(test.passphrase), test.params)
			if !errors.Is(err, test.want) || shares != nil {
				t.Errorf("error %v with %d groups of shares, want %v with none", err, len(shares), test.want)
			}
		})
	}
}

// TestSplitRandomness fixes how much randomness a split takes, and that it fails
// wherever the source ends early.
func TestSplitRandomness(t *testing.T) {
	const size = 64
	p := layout
	p.Groups = []slip39.Group{{Threshold: 1, Count: 1}, {Threshold: 3, Count: 5}, {Threshold: 2, Count: 3}}
	const need = (size - 4) + (2*size - 4) + (size - 4)
	split := func(available int) ([][]*slip39.Share, error) {
		return slip39.Split(bytes.NewReader(make([]byte, available)), make([]byte, size), nil, p)
	}
	for _, available := range []int{0, size - 5, size - 4, need - size, need - 1} {
		if shares, err := split(available); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) || shares != nil {
			t.Errorf("with %d random bytes of %d: %v", available, need, err)
		}
	}
	source := bytes.NewReader(make([]byte, need+1))
	if _, err := slip39.Split(source, make([]byte, size), nil, p); err != nil || source.Len() != 1 {
		t.Errorf("error %v, %d random bytes left, want 1", err, source.Len())
	}
}

func TestNewIdentifier(t *testing.T) {
	id, err := slip39.NewIdentifier(bytes.NewReader([]byte{0xff, 0x01}))
	if err != nil || id != 0x7f01 {
		t.Errorf("identifier %#x, error %v", id, err)
	}
	if _, err := slip39.NewIdentifier(bytes.NewReader([]byte{1})); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v from a short source", err)
	}
}

// TestMismatch covers the two parameters that the official vectors leave out.
func TestMismatch(t *testing.T) {
	_, shares := newSet(t, layout)
	p := layout
	p.Extendable = false
	_, other := newSet(t, p)
	if _, err := slip39.Combine([]*slip39.Share{shares[0][0], other[1][0]}, nil); !errors.Is(err, slip39.ErrExtendableMismatch) || !errors.Is(err, slip39.ErrMixedSets) {
		t.Errorf("extendable flags differ: %v", err)
	}
	short, err := slip39.Split(rand.Reader, make([]byte, 32), nil, layout)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slip39.Combine([]*slip39.Share{shares[0][0], short[1][0]}, nil); !errors.Is(err, slip39.ErrValueLengthMismatch) || !errors.Is(err, slip39.ErrMixedSets) {
		t.Errorf("lengths differ: %v", err)
	}
}

// TestPassphrase: a wrong passphrase is no error and gives another secret.
func TestPassphrase(t *testing.T) {
	secret := bytes.Repeat([]byte{7}, 64)
	shares, err := slip39.Split(rand.Reader, secret, []byte("right"), layout)
	if err != nil {
		t.Fatal(err)
	}
	given := []*slip39.Share{shares[0][0], shares[1][0]}
	for passphrase, right := range map[string]bool{"right": true, "wrong": false, "": false} {
		got, err := slip39.Combine(given, []byte(passphrase))
		if err != nil || len(got) != len(secret) || bytes.Equal(got, secret) != right {
			t.Errorf("passphrase %q: error %v, right secret %v", passphrase, err, !right)
		}
	}
	if got, err := slip39.Combine(given, []byte("r\x00ght")); !errors.Is(err, slip39.ErrPassphrase) || got != nil {
		t.Errorf("control character: %v", err)
	}
}

// TestExtendableIdentifier: the flag's purpose is that the encryption does not
// depend on the identifier.
func TestExtendableIdentifier(t *testing.T) {
	secret := make([]byte, 64)
	value := func(extendable bool, id uint16) []byte {
		p := slip39.Params{Identifier: id, Extendable: extendable, GroupThreshold: 1, Groups: []slip39.Group{{Threshold: 1, Count: 1}}}
		shares, err := slip39.Split(rand.Reader, secret, nil, p)
		if err != nil {
			t.Fatal(err)
		}
		return shares[0][0].Value()
	}
	if !bytes.Equal(value(true, 1), value(true, 2)) {
		t.Error("extendable: the encrypted secret depends on the identifier")
	}
	if bytes.Equal(value(false, 1), value(false, 2)) {
		t.Error("not extendable: the encrypted secret does not depend on the identifier")
	}
}
