package seed

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"

	"zeropass.dev/zeropass/slip39"
)

func mustSplit(t testing.TB, s *Seed, quorum, members int, sheet bool) *Split {
	t.Helper()
	split, err := s.Split(rand.Reader, quorum, members, sheet)
	if err != nil {
		t.Fatal(err)
	}
	return split
}

func TestSplitHasTheGroups(t *testing.T) {
	s := newSeed(t, ascending(0, Size))
	for _, c := range []struct {
		quorum, members int
		sheet           bool
		groups          int
	}{{2, 3, false, 3}, {2, 3, true, 4}, {1, 1, false, 3}, {16, 16, true, 4}, {2, 16, false, 3}} {
		split := mustSplit(t, s, c.quorum, c.members, c.sheet)
		if len(split.Members) != c.members || (split.Sheet != nil) != c.sheet {
			t.Fatalf("%+v: %d members, sheet %v", c, len(split.Members), split.Sheet != nil)
		}
		check := func(share *slip39.Share, group, member, threshold int) {
			t.Helper()
			if share.GroupIndex() != group || share.MemberIndex() != member || share.MemberThreshold() != threshold ||
				share.GroupThreshold() != 2 || share.GroupCount() != c.groups || !share.Extendable() || share.IterationExponent() != 0 ||
				share.Identifier() != split.Identifier || len(share.Value()) != Size {
				t.Errorf("%+v: share %d of group %d is share %d of group %d", c, member, group, share.MemberIndex(), share.GroupIndex())
			}
		}
		check(split.Server, 0, 0, 1)
		check(split.Device, 1, 0, 1)
		for m, share := range split.Members {
			check(share, 2, m, c.quorum)
		}
		if c.sheet {
			check(split.Sheet, 3, 0, 1)
		}
	}
}

func TestSplitRefuses(t *testing.T) {
	s := newSeed(t, ascending(0, Size))
	for _, c := range [][2]int{{0, 0}, {0, 3}, {1, 0}, {1, 2}, {3, 2}, {2, 1}, {2, 17}, {17, 17}, {-1, 3}, {2, -3}} {
		if split, err := s.Split(rand.Reader, c[0], c[1], false); split != nil || !errors.Is(err, ErrInput) {
			t.Errorf("%d of %d: %v", c[0], c[1], err)
		}
	}
	need := counting{rand: fixed(1)}
	if _, err := s.Split(&need, 2, 3, true); err != nil {
		t.Fatal(err)
	}
	for reads := range need.reads {
		if split, err := s.Split(&failing{fixed(1), reads}, 2, 3, true); split != nil || !errors.Is(err, errSource) {
			t.Errorf("after %d reads: %v", reads, err)
		}
	}
}

// Any two of server, devices, a quorum of contacts and the sheet give the seed,
// fewer do not.
func TestRecoverFromAnyTwoGroups(t *testing.T) {
	s := newSeed(t, ascending(0, Size))
	root := newTestKeys(t, s).Root().PublicKey()
	split := mustSplit(t, s, 2, 3, true)
	groups := [][]*slip39.Share{
		{split.Server},
		{split.Device},
		{split.Members[2], split.Members[0]},
		{split.Sheet},
	}
	for i, one := range groups {
		for j, two := range groups {
			given := slices.Concat(one, two)
			got, report, err := Recover(given, root)
			if i == j {
				if got != nil || !errors.Is(err, slip39.ErrTooFewGroups) || len(report.Shares) != len(given) {
					t.Errorf("group %d alone: %v, %v", i, got, err)
				}
				continue
			}
			if err != nil || got.secret().bytes != s.secret().bytes || len(report.With(slip39.Used)) != len(given) {
				t.Errorf("groups %d and %d: %v, %v", i, j, report, err)
			}
		}
	}
	if got, _, err := Recover([]*slip39.Share{split.Server, split.Members[1]}, root); got != nil || !errors.Is(err, slip39.ErrTooFewMembers) {
		t.Errorf("the server and one of two contacts: %v, %v", got, err)
	}
	if got, _, err := Recover(nil, root); got != nil || !errors.Is(err, slip39.ErrNoShares) {
		t.Errorf("no shares: %v, %v", got, err)
	}
}

// Every share that is wrong is named, and the seed found all the same if the
// others suffice.
func TestRecoverNamesWrongShares(t *testing.T) {
	s := newSeed(t, ascending(0, Size))
	root := newTestKeys(t, s).Root().PublicKey()
	split := mustSplit(t, s, 2, 3, true)
	other := mustSplit(t, newSeed(t, ascending(1, Size)), 2, 3, true)
	all := func() []*slip39.Share {
		return slices.Concat([]*slip39.Share{split.Server, split.Device}, split.Members, []*slip39.Share{split.Sheet})
	}
	for i, share := range all() {
		forged := forge(t, share)
		given := all()
		given[i] = forged
		got, report, err := Recover(given, root)
		if err != nil || got.secret().bytes != s.secret().bytes {
			t.Fatalf("share %d forged: %v", i, err)
		}
		if wrong := report.With(slip39.Wrong); len(wrong) != 1 || wrong[0].Index != i {
			t.Errorf("share %d forged, reported are %v", i, wrong)
		}
	}

	got, report, err := Recover(append(all(), other.Device, other.Server), root)
	if err != nil || got.secret().bytes != s.secret().bytes || len(report.With(slip39.OtherSet)) != 2 {
		t.Errorf("with shares of another seed: %v, %v", report, err)
	}
	if got, _, err := Recover([]*slip39.Share{other.Server, other.Device}, root); got != nil || !errors.Is(err, slip39.ErrRejected) {
		t.Errorf("another seed: %v, %v", got, err)
	}
	if got, _, err := Recover(all(), nil); got != nil || !errors.Is(err, ErrInput) {
		t.Errorf("without a root key: %v, %v", got, err)
	}
	short, err := slip39.Split(rand.Reader, make([]byte, 32), nil, slip39.Params{Extendable: true, GroupThreshold: 1, Groups: []slip39.Group{{Threshold: 1, Count: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := Recover(short[0], root); got != nil || !errors.Is(err, slip39.ErrRejected) {
		t.Errorf("a secret of 32 bytes: %v, %v", got, err)
	}
}

// forge returns a share like this one with another value, as somebody makes it who
// knows SLIP-39.
func forge(t *testing.T, share *slip39.Share) *slip39.Share {
	t.Helper()
	groups := make([]slip39.Group, share.GroupCount())
	for i := range groups {
		groups[i] = slip39.Group{Threshold: 1, Count: 1}
	}
	groups[GroupContacts] = slip39.Group{Threshold: 2, Count: 3}
	shares, err := slip39.Split(rand.Reader, ascending(7, Size), nil, slip39.Params{
		Identifier: share.Identifier(), Extendable: true, GroupThreshold: 2, Groups: groups,
	})
	if err != nil {
		t.Fatal(err)
	}
	return shares[share.GroupIndex()][share.MemberIndex()]
}

func TestShareKey(t *testing.T) {
	split := mustSplit(t, newSeed(t, ascending(0, Size)), 2, 3, true)
	account := [32]byte{0xac}
	info := slices.Concat(
		[]byte("zeropass/v1/share-key\x00"),
		[]byte{0, 0, 0, 32, 0xac}, make([]byte, 31),
		[]byte{0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 3},
		[]byte{0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2},
		[]byte{0}, // counter of signing.DeriveKey
	)
	want, err := hkdf.Key(sha256.New, split.Members[1].Value(), nil, string(info), 32)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ShareKey(split.Members[1], account, 3, 2)
	if err != nil || !bytes.Equal(key.Bytes(), want) {
		t.Errorf("%x, %v, want %x", key.Bytes(), err, want)
	}

	seen := map[string]bool{string(want): true}
	for _, c := range []struct {
		account       [32]byte
		epoch, member uint64
	}{{[32]byte{0xad}, 3, 2}, {account, 4, 2}, {account, 3, 1}, {account, 3, 3}} {
		key, err := ShareKey(split.Members[c.member-1], c.account, c.epoch, c.member)
		if err != nil || seen[string(key.Bytes())] {
			t.Errorf("%v: %v", c, err)
		}
		seen[string(key.Bytes())] = true
	}
}

func TestShareKeyRefuses(t *testing.T) {
	split := mustSplit(t, newSeed(t, ascending(0, Size)), 2, 3, true)
	short, err := slip39.Split(rand.Reader, make([]byte, 32), nil, slip39.Params{Extendable: true, GroupThreshold: 1,
		Groups: []slip39.Group{{Threshold: 1, Count: 1}, {Threshold: 1, Count: 1}, {Threshold: 1, Count: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	erased := mustSplit(t, newSeed(t, ascending(0, Size)), 2, 3, false).Members[0]
	erased.Erase()
	for name, c := range map[string]struct {
		share  *slip39.Share
		member uint64
	}{
		"another member": {split.Members[0], 2},
		"member 0":       {split.Members[0], 0},
		"the server's":   {split.Server, 1},
		"the devices'":   {split.Device, 1},
		"the sheet's":    {split.Sheet, 1},
		"32 bytes":       {short[2][0], 1},
		"erased":         {erased, 1},
	} {
		if key, err := ShareKey(c.share, [32]byte{}, 1, c.member); key != nil || !errors.Is(err, ErrInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHasRoot(t *testing.T) {
	s := newSeed(t, ascending(0, Size))
	root := newTestKeys(t, s).Root().PublicKey()
	secret := ascending(0, Size)
	if !hasRoot(secret, root) {
		t.Fatal("the seed is not known by its root key")
	}
	if !bytes.Equal(secret, ascending(0, Size)) {
		t.Error("the candidate, which slip39 goes on with, was erased")
	}
	if hasRoot(secret, nil) || hasRoot(ascending(1, Size), root) || hasRoot(secret[1:], root) {
		t.Error("another seed is taken for the right one")
	}
}
