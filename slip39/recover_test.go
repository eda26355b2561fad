package slip39_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"zeropass.dev/zeropass/slip39"
)

const (
	undetermined = slip39.Undetermined
	used         = slip39.Used
	consistent   = slip39.Consistent
	wrong        = slip39.Wrong
	otherSet     = slip39.OtherSet
	duplicate    = slip39.Duplicate
)

// statuses checks that the report is about the shares given, and returns what it
// says about each.
func statuses(t *testing.T, given []*slip39.Share, report slip39.Report) []slip39.Status {
	t.Helper()
	if len(report.Shares) != len(given) {
		t.Fatalf("%d findings for %d shares", len(report.Shares), len(given))
	}
	var all []slip39.Status
	for i, f := range report.Shares {
		if f.Index != i || f.Group != given[i].GroupIndex() || f.Member != given[i].MemberIndex() {
			t.Errorf("finding %d is %+v", i, f)
		}
		all = append(all, f.Status)
	}
	return all
}

// TestRecover gives Recover what people find in drawers. Shares are named by set,
// group and member: a is the set to recover, b another secret's with the same
// identifier and parameters, so that its shares pass for wrong ones of a, and c
// another one's with an identifier of its own. "a20=1" is share a20 naming the
// member threshold 1.
func TestRecover(t *testing.T) {
	secretA, a := newSet(t, layout)
	_, b := newSet(t, layout)
	other := layout
	other.Identifier++
	_, c := newSet(t, other)
	give := giver(map[byte][][]*slip39.Share{'a': a, 'b': b, 'c': c})
	isA := func(secret []byte) bool { return bytes.Equal(secret, secretA) }
	type list = []slip39.Status

	tests := []struct {
		shares string
		check  func([]byte) bool
		want   error
		report list
	}{
		{"a00 a10", nil, nil, list{used, used}},
		{"a21 a00 a20", nil, nil, list{used, used, used}},
		{"a00 a10 a20 a21 a22", isA, nil, list{used, used, consistent, consistent, consistent}},
		{"a20 a21 a22 a10", nil, nil, list{used, used, consistent, used}},
		{"a00 a00 a10 a10", nil, nil, list{used, duplicate, used, duplicate}},

		// Wrong shares among enough right ones, with and without check.
		{"a00 b10 a20 a21", nil, nil, list{used, wrong, used, used}},
		{"b00 a10 a20 a21", isA, nil, list{wrong, used, used, used}},
		{"b00 a00 a10", nil, nil, list{wrong, used, used}},
		{"a00 a20 b21 a22", nil, nil, list{used, used, wrong, used}},
		{"a00 b20 a21 a22", nil, nil, list{used, wrong, used, used}},
		{"a00 a20 b20 a21", nil, nil, list{used, used, wrong, used}},
		{"a00 a10 b20 b21 a22", isA, nil, list{used, used, wrong, wrong, consistent}},
		{"a00 a10 a20", nil, nil, list{used, used, consistent}}, // one of two needed, yet tested
		{"a00 a10 b20", nil, nil, list{used, used, wrong}},

		// Of two secrets, the check chooses; without it nothing does.
		{"b00 b10 a00 a10", isA, nil, list{wrong, wrong, used, used}},
		{"b00 b10 a00 a10", nil, slip39.ErrAmbiguous, list{undetermined, undetermined, undetermined, undetermined}},
		{"c00 a00 a10", nil, nil, list{otherSet, used, used}},
		{"c00 c10 a00 a10", isA, nil, list{otherSet, otherSet, used, used}},
		{"c00 c10 a00 a10", nil, slip39.ErrAmbiguous, list{undetermined, undetermined, undetermined, undetermined}},
		{"c00 c10", isA, slip39.ErrRejected, list{undetermined, undetermined}},

		// Thresholds that lie.
		{"a00 a20=1 a21 a22", nil, nil, list{used, otherSet, used, used}},
		{"a00 a10 a20=1", nil, nil, list{used, used, wrong}},
		{"a00 a10 a20=4", nil, nil, list{used, used, undetermined}},

		// Not enough.
		{"a00", nil, slip39.ErrTooFewGroups, list{undetermined}},
		{"a00 c10", nil, slip39.ErrTooFewGroups, list{undetermined, undetermined}},
		{"c00 a00 a20", nil, slip39.ErrTooFewMembers, list{undetermined, undetermined, undetermined}},
		{"a00 a20", nil, slip39.ErrTooFewMembers, list{undetermined, undetermined}},
		{"a20 a21 a22", nil, slip39.ErrTooFewGroups, list{consistent, consistent, consistent}},
		{"a20 b21 a22", nil, slip39.ErrTooFewGroups, list{consistent, wrong, consistent}},
		{"a00 b10", nil, slip39.ErrDigest, list{undetermined, undetermined}},
		{"a00 a20 b21", isA, slip39.ErrDigest, list{undetermined, undetermined, undetermined}},
		{"b00 a20 a21", nil, slip39.ErrDigest, list{undetermined, consistent, consistent}},
	}
	for _, test := range tests {
		name := test.shares
		if test.check != nil {
			name += " with check"
		}
		t.Run(name, func(t *testing.T) {
			given := give(test.shares)
			secret, report, err := slip39.Recover(given, nil, test.check)
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if (err == nil) != bytes.Equal(secret, secretA) || err != nil && secret != nil {
				t.Errorf("error %v with a secret of %d bytes", err, len(secret))
			}
			if got := statuses(t, given, report); !slices.Equal(got, test.report) {
				t.Errorf("report %v, want %v", got, test.report)
			}
		})
	}
}

// giver returns a function that makes shares from their names, each newly read, as
// from somebody's words.
func giver(sets map[byte][][]*slip39.Share) func(names string) []*slip39.Share {
	return func(names string) []*slip39.Share {
		var given []*slip39.Share
		for _, name := range strings.Fields(names) {
			share := sets[name[0]][name[1]-'0'][name[2]-'0']
			threshold := share.MemberThreshold()
			if len(name) > 3 {
				threshold = int(name[4] - '0')
			}
			given = append(given, share.WithThreshold(threshold))
		}
		return given
	}
}

// TestRecoverNamesTheWrong: the person who typed it wants to know whose share it
// is.
func TestRecoverNamesTheWrong(t *testing.T) {
	_, a := newSet(t, layout)
	_, b := newSet(t, layout)
	given := []*slip39.Share{a[0][0], a[2][0], b[2][1], a[2][2]}
	_, report, err := slip39.Recover(given, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []slip39.Finding{{Index: 2, Group: 2, Member: 1, Status: slip39.Wrong}}
	if got := report.With(slip39.Wrong); !slices.Equal(got, want) {
		t.Errorf("wrong shares %+v, want %+v", got, want)
	}
}

// TestRecoverHigherThreshold: with threshold 3 and the group share known, two right
// shares are enough to judge the rest, one is not.
func TestRecoverHigherThreshold(t *testing.T) {
	p := layout
	p.Groups = []slip39.Group{{Threshold: 1, Count: 1}, {Threshold: 1, Count: 1}, {Threshold: 3, Count: 5}}
	secret, a := newSet(t, p)
	_, b := newSet(t, p)
	give := giver(map[byte][][]*slip39.Share{'a': a, 'b': b})
	for shares, want := range map[string][]slip39.Status{
		"a00 a10 a20 a21":         {used, used, consistent, consistent},
		"a00 a10 a20 b21":         {used, used, undetermined, undetermined},
		"a00 a10 a20 b21 a22":     {used, used, consistent, wrong, consistent},
		"a00 a10 b20 b21 b22":     {used, used, undetermined, undetermined, undetermined},
		"a00 b20 a21 b22 a23 a24": {used, wrong, used, wrong, used, used},
	} {
		given := give(shares)
		isA := func(s []byte) bool { return bytes.Equal(s, secret) }
		got, report, err := slip39.Recover(given, nil, isA)
		if err != nil || !bytes.Equal(got, secret) {
			t.Errorf("%s: %v", shares, err)
		}
		if got := statuses(t, given, report); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", shares, got, want)
		}
	}
}

// TestRecoverWithoutDigests: where all thresholds are 1, only a check shows which
// share is right.
func TestRecoverWithoutDigests(t *testing.T) {
	p := layout
	p.GroupThreshold, p.Groups = 1, p.Groups[:2]
	secret, a := newSet(t, p)
	_, b := newSet(t, p)
	given := []*slip39.Share{b[0][0], a[1][0]}
	if got, _, err := slip39.Recover(given, nil, nil); !errors.Is(err, slip39.ErrAmbiguous) || got != nil {
		t.Errorf("without check: %v", err)
	}
	got, report, err := slip39.Recover(given, nil, func(s []byte) bool { return bytes.Equal(s, secret) })
	if err != nil || !bytes.Equal(got, secret) {
		t.Fatal(err)
	}
	if got := statuses(t, given, report); !slices.Equal(got, []slip39.Status{wrong, used}) {
		t.Errorf("report %v", got)
	}
}

// TestRecoverSameSecretTwice: two sets of one secret are no contradiction.
func TestRecoverSameSecretTwice(t *testing.T) {
	secret := bytes.Repeat([]byte{9}, 64)
	p := layout
	var given []*slip39.Share
	for range 2 {
		p.Identifier++
		shares, err := slip39.Split(bytes.NewReader(make([]byte, 1000)), secret, []byte("x"), p)
		if err != nil {
			t.Fatal(err)
		}
		given = append(given, shares[0][0], shares[1][0])
	}
	got, report, err := slip39.Recover(given, []byte("x"), nil)
	if err != nil || !bytes.Equal(got, secret) {
		t.Fatal(err)
	}
	if got := statuses(t, given, report); !slices.Equal(got, []slip39.Status{used, used, otherSet, otherSet}) {
		t.Errorf("report %v", got)
	}
}

// TestRecoverLargest: the largest set there is, with all its shares right, is
// within the bounds; so is the most subsets for one group with one share wrong.
func TestRecoverLargest(t *testing.T) {
	p := slip39.Params{Identifier: 1, Extendable: true, GroupThreshold: 8, Groups: slices.Repeat([]slip39.Group{{Threshold: 8, Count: 16}}, 16)}
	secret, a := newSet(t, p)
	_, b := newSet(t, p)
	given := flatten(a)
	given[5] = b[0][5]
	got, report, err := slip39.Recover(given, nil, nil)
	if err != nil || !bytes.Equal(got, secret) {
		t.Fatal(err)
	}
	if n := len(report.With(slip39.Used)); n != 64 {
		t.Errorf("%d shares used", n)
	}
	if w := report.With(slip39.Wrong); len(w) != 1 || w[0].Index != 5 {
		t.Errorf("wrong shares %v", w)
	}
}

func TestRecoverBounds(t *testing.T) {
	_, a := newSet(t, layout)
	p := layout
	p.Groups = []slip39.Group{{Threshold: 1, Count: 1}, {Threshold: 1, Count: 1}, {Threshold: 16, Count: 16}}
	var sets []*slip39.Share // of one member of one group, all different
	for range 65 {
		_, s := newSet(t, layout)
		sets = append(sets, s[2][0])
	}
	var crowd []*slip39.Share // enough for more than 2^18 subsets of 16
	for range 2 {
		_, s := newSet(t, p)
		crowd = append(crowd, s[2]...)
	}
	var secrets []*slip39.Share // each a set of its own
	for id := range uint16(65) {
		_, s := newSet(t, slip39.Params{Identifier: id, Extendable: true, GroupThreshold: 1, Groups: p.Groups[:1]})
		secrets = append(secrets, s[0][0])
	}
	isNone := func([]byte) bool { return false }
	for name, given := range map[string][]*slip39.Share{
		"257 shares":                      slices.Repeat(a[0], 257),
		"65 different shares of a member": sets,
		"too many subsets":                crowd[3:29],
		"65 candidate secrets":            secrets,
	} {
		got, _, err := slip39.Recover(given, nil, isNone)
		if !errors.Is(err, slip39.ErrSearchTooLarge) || got != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := slip39.Recover(nil, nil, nil); !errors.Is(err, slip39.ErrNoShares) {
		t.Errorf("no shares: %v", err)
	}
	if _, _, err := slip39.Recover(a[0], []byte("\n"), nil); !errors.Is(err, slip39.ErrPassphrase) {
		t.Errorf("passphrase: %v", err)
	}
}

// TestRecoverErasesRefused: a candidate that the check refuses does not stay in
// memory.
func TestRecoverErasesRefused(t *testing.T) {
	_, a := newSet(t, layout)
	var kept []byte
	_, _, err := slip39.Recover(flatten(a), nil, func(secret []byte) bool { kept = secret; return false })
	if !errors.Is(err, slip39.ErrRejected) || len(kept) != 64 || !bytes.Equal(kept, make([]byte, 64)) {
		t.Errorf("error %v, candidate of %d bytes not erased", err, len(kept))
	}
}

func TestStatusString(t *testing.T) {
	got := fmt.Sprint(undetermined, used, consistent, wrong, otherSet, duplicate, slip39.Status(6), slip39.Status(-1))
	if want := "undetermined used consistent wrong of another set duplicate Status(6) Status(-1)"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
