package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// spoiled returns a share that stands at the same place with another value.
func spoiled(t testing.TB, w *world, share *slip39.Share) *slip39.Share {
	t.Helper()
	groups := []slip39.Group{{Threshold: 1, Count: 1}, {Threshold: 1, Count: 1}, {Threshold: 2, Count: 3}, {Threshold: 1, Count: 1}}
	all, err := slip39.Split(w.rand, w.bytes(64), nil, slip39.Params{
		Identifier: share.Identifier(), Extendable: true, GroupThreshold: 2, Groups: groups[:share.GroupCount()],
	})
	ok(t, err)
	return all[share.GroupIndex()][share.MemberIndex()]
}

// twoEpochs is an account in its second epoch, beside another account.
func twoEpochs(t testing.TB, number byte) (w, other *world) {
	w = newAccount(t, number, "one")
	w.newEpoch()
	return w, newAccount(t, number+100, "one")
}

func TestIdentify(t *testing.T) {
	w, other := twoEpochs(t, 20)
	for epoch := uint64(1); epoch <= 2; epoch++ {
		s := w.epochs[epoch]
		in := fmt.Sprintf(" in epoch %d", epoch)
		for _, test := range []struct {
			share  *slip39.Share
			holder recordv1.Holder_Kind
			member uint64
			says   string
		}{
			{s.server, recordv1.Holder_KIND_SERVER, 0, "the server's share" + in},
			{s.device, recordv1.Holder_KIND_DEVICE, 0, "the devices' share" + in},
			{s.members[0], recordv1.Holder_KIND_MEMBER, 1, "the share of contact 1" + in},
			{s.members[1], recordv1.Holder_KIND_MEMBER, 2, "the share of contact 2" + in},
			{s.members[2], recordv1.Holder_KIND_MEMBER, 3, "the share on paper 3" + in},
			{s.sheet.Share, recordv1.Holder_KIND_SHEET, 0, "the sheet's share" + in},
		} {
			place, err := Identify(test.share, w.state)
			want := Place{Epoch: epoch, Holder: test.holder, Member: test.member, Paper: test.member == 3}
			if err != nil || place != want || place.String() != test.says {
				t.Errorf("%s: %v, %v", test.says, place, err)
			}
			if place, err := Identify(test.share, other.state); place != (Place{}) || !errors.Is(err, ErrOtherAccount) {
				t.Errorf("%s, elsewhere: %v, %v", test.says, place, err)
			}
			wrong, err := Identify(spoiled(t, w, test.share), w.state)
			if wrong != want || errors.Is(err, ErrWrongShare) == (test.holder == recordv1.Holder_KIND_SHEET) {
				t.Errorf("%s, spoiled: %v, %v", test.says, wrong, err)
			}
			if err := place.In(epoch); err != nil {
				t.Error(err)
			}
			if err := place.In(3 - epoch); !errors.Is(err, ErrOtherEpoch) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s in another epoch: %v", test.says, err)
			}
		}
	}
	// Parameters that are not the epoch's make it another set.
	groups := []slip39.Group{{Threshold: 1, Count: 1}, {Threshold: 1, Count: 1}, {Threshold: 3, Count: 3}, {Threshold: 1, Count: 1}}
	p := slip39.Params{Identifier: w.epochs[1].server.Identifier(), Extendable: true, GroupThreshold: 2, Groups: groups}
	for name, change := range map[string]func(*slip39.Params){
		"another quorum":       func(*slip39.Params) {},
		"not extendable":       func(p *slip39.Params) { p.Extendable = false },
		"an exponent":          func(p *slip39.Params) { p.IterationExponent = 1 },
		"one group is enough":  func(p *slip39.Params) { p.GroupThreshold = 1 },
		"a group more":         func(p *slip39.Params) { p.Groups = append(p.Groups, slip39.Group{Threshold: 1, Count: 1}) },
		"more members":         func(p *slip39.Params) { p.Groups[2] = slip39.Group{Threshold: 2, Count: 4} },
		"a group has a quorum": func(p *slip39.Params) { p.Groups[3] = slip39.Group{Threshold: 2, Count: 4} },
	} {
		q := p
		q.Groups = append([]slip39.Group{}, p.Groups...)
		change(&q)
		all, err := slip39.Split(w.rand, w.bytes(64), nil, q)
		ok(t, err)
		last := all[2][len(all[2])-1]
		if name == "a group has a quorum" {
			last = all[3][0]
		}
		if _, err := Identify(last, w.state); !errors.Is(err, ErrOtherAccount) {
			t.Errorf("%s: %v", name, err)
		}
	}
	erased := must[*slip39.Share](t)(copyShare(w.epochs[1].server))
	erased.Erase()
	for _, share := range []*slip39.Share{nil, erased} {
		if _, err := Identify(share, w.state); !errors.Is(err, slip39.ErrErased) {
			t.Errorf("erased: %v", err)
		}
	}
}

// Two epochs may have drawn the same identifier: then the value decides.
func TestIdentifyAcrossOneIdentifier(t *testing.T) {
	w := newWorld(t, 21, nil)
	w.prepare(2, 3, true)
	first := w.epochs[1]
	w.commit(1, 3)
	w.prepare(2, 3, true)
	second, _ := w.state.Epoch(2)
	second.Record.Identifier = uint64(first.server.Identifier())
	place, err := Identify(first.members[1], w.state)
	if err != nil || place.Epoch != 1 {
		t.Errorf("%v, %v", place, err)
	}
	keys, report, err := Rebuild([]*slip39.Share{first.sheet.Share, first.members[1], first.members[0]}, w.state, 1)
	if err != nil || !keys.Root().PublicKey().Equal(w.rootKey(1)) {
		t.Errorf("%v\n%v", err, report)
	}
}

func TestRebuildSaysWhatIsWrong(t *testing.T) {
	w, other := twoEpochs(t, 22)
	s, old, foreign := w.epochs[2], w.epochs[1], other.epochs[1]
	type share = *slip39.Share
	wrongContact, wrongSheet, wrongServer := spoiled(t, w, s.members[1]), spoiled(t, w, s.sheet.Share), spoiled(t, w, s.server)
	erased := must[share](t)(copyShare(s.server))
	erased.Erase()
	for name, test := range map[string]struct {
		shares  []share
		err     error
		says    []string // one for each share
		missing string
	}{
		"enough": {[]share{s.device, s.members[0], s.members[2]}, nil,
			[]string{"the devices' share in epoch 2 is right", "the share of contact 1 in epoch 2 is right", "the share on paper 3 in epoch 2 is right"}, ""},
		"more than enough": {[]share{s.device, s.members[0], s.members[1], s.members[2], s.server, s.sheet.Share}, nil,
			[]string{"right", "right", "right", "right", "right", "the sheet's share in epoch 2 is right"}, ""},
		"one wrong, one too many": {[]share{s.device, wrongContact, s.members[2], s.members[0]}, nil,
			[]string{"right", "named as the share of contact 2 in epoch 2, but", "right", "right"}, ""},
		"all sorts": {[]share{s.members[0], s.members[0], old.members[1], foreign.members[1], wrongServer, erased, nil}, ErrNotEnough,
			[]string{"right", "contact 1 in epoch 2 was given twice", "it is the share of contact 2 in epoch 1, needed is one of epoch 2",
				"not of this account", "named as the server's share in epoch 2, but", "erased", "erased"},
			"two of: the share of 1 more contact; the printed sheet; a device's directory and passphrase; the server's share"},
		"sheet is wrong but not needed": {[]share{s.device, s.server, wrongSheet}, nil,
			[]string{"right", "right", "named as the sheet's share in epoch 2, but does not fit"}, ""},
		"sheet is wrong": {[]share{s.device, wrongSheet}, ErrNotEnough,
			[]string{"right", "named as the sheet's share in epoch 2, but does not fit"},
			"one of: the shares of 2 more contacts; the printed sheet; the server's share"},
		"two sheets": {[]share{wrongSheet, s.sheet.Share, s.device}, nil,
			[]string{"does not fit", "right", "right"}, ""},
		"wrong contact": {[]share{s.device, s.members[0], wrongContact}, ErrNotEnough,
			[]string{"right", "right", "named as the share of contact 2"},
			"one of: the share of 1 more contact; the printed sheet; the server's share"},
		"contacts of two epochs": {[]share{s.device, s.members[0], old.members[1]}, ErrNotEnough,
			[]string{"right", "right", "it is the share of contact 2 in epoch 1"},
			"one of: the share of 1 more contact; the printed sheet; the server's share"},
		"one contact": {[]share{s.members[2]}, ErrNotEnough, []string{"right"},
			"two of: the share of 1 more contact; the printed sheet; a device's directory and passphrase; the server's share"},
		"contacts alone": {[]share{s.members[0], s.members[1], s.members[2]}, ErrNotEnough, []string{"right", "right", "right"},
			"one of: the printed sheet; a device's directory and passphrase; the server's share"},
		"another account's": {[]share{foreign.device, foreign.members[0], foreign.members[1]}, ErrNotEnough,
			[]string{"not of this account", "not of this account", "not of this account"}, "two of: the shares of 2 more contacts"},
		"a sheet and one contact": {[]share{s.members[0], s.sheet.Share}, ErrNotEnough, []string{"right", "cannot be judged yet"},
			"one of: the share of 1 more contact; a device's directory and passphrase; the server's share"},
		"nothing": {nil, ErrNotEnough, nil, "two of: the shares of 2 more contacts"},
	} {
		keys, report, err := Rebuild(test.shares, w.state, 2)
		if !errors.Is(err, test.err) || (err == nil) != (keys != nil) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if keys != nil && !keys.Root().PublicKey().Equal(w.rootKey(2)) {
			t.Errorf("%s: not the keys of the epoch", name)
		}
		if report.Epoch != 2 || len(report.Shares) != len(test.says) || !strings.Contains(report.Missing, test.missing) || (test.missing == "") != (report.Missing == "") {
			t.Errorf("%s: %v", name, report)
			continue
		}
		wrong := 0
		for i, says := range test.says {
			f := report.Shares[i]
			if !strings.Contains(f.String(), says) {
				t.Errorf("%s: share %d: %v, want %q", name, i+1, f, says)
			}
			if f.Err != nil {
				wrong++
			}
		}
		if len(report.Wrong()) != wrong || strings.Count(report.String(), "\n") != len(test.says)+strings.Count(report.String(), "missing:") {
			t.Errorf("%s: %v", name, report)
		}
	}
	if keys, _, err := Rebuild([]share{s.device, s.server}, w.state, 3); keys != nil || !errors.Is(err, ErrNoEpoch) {
		t.Errorf("an epoch to come: %v", err)
	}
}

func (w *world) rootKey(epoch uint64) *signing.PublicKey {
	e, _ := w.state.Epoch(epoch)
	return e.RootKey
}

func TestRestoreDeviceShare(t *testing.T) {
	w, _ := twoEpochs(t, 23)
	s, old := w.epochs[2], w.epochs[1]
	type share = *slip39.Share
	for name, test := range map[string]struct {
		shares []share
		want   error
	}{
		"server and contacts":          {[]share{s.members[2], s.server, s.members[0]}, nil},
		"with wrong ones among them":   {[]share{spoiled(t, w, s.members[1]), s.members[2], s.server, s.members[0], old.device}, nil},
		"server and sheet":             {[]share{s.sheet.Share, s.server}, nil},
		"contacts and sheet":           {[]share{s.sheet.Share, s.members[1], s.members[0]}, nil},
		"all three":                    {[]share{s.sheet.Share, s.members[1], s.members[0], s.server}, nil},
		"itself":                       {[]share{s.device}, nil},
		"server and a wrong sheet":     {[]share{spoiled(t, w, s.sheet.Share), s.server}, slip39.ErrDigest},
		"server alone":                 {[]share{s.server}, ErrNotEnough},
		"server and too few contacts":  {[]share{s.server, s.members[0]}, ErrNotEnough},
		"server and contacts of mixed": {[]share{s.server, s.members[0], old.members[1]}, ErrNotEnough},
	} {
		got, err := RestoreDeviceShare(test.shares, w.state, 2)
		if !errors.Is(err, test.want) || (err == nil) != (got != nil) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got != nil && (!got.Equal(s.device) || got == s.device) {
			t.Errorf("%s: another share", name)
		}
	}
	e, _ := w.state.Epoch(2)
	e.Record.DeviceShareHash = bytes.Repeat([]byte{1}, 32)
	if got, err := RestoreDeviceShare([]share{s.server, s.sheet.Share}, w.state, 2); got != nil || !errors.Is(err, ErrWrongShare) {
		t.Errorf("a hash that is another's: %v", err)
	}
	if got, err := RestoreDeviceShare([]share{s.server, s.sheet.Share}, w.state, 3); got != nil || !errors.Is(err, ErrNoEpoch) {
		t.Errorf("an epoch to come: %v", err)
	}
}

// One of one: a single contact is a quorum.
func TestRebuildWithOneContact(t *testing.T) {
	w := newWorld(t, 24, nil)
	w.prepare(1, 1, false)
	s := w.epochs[1]
	keys, report, err := Rebuild([]*slip39.Share{s.members[0], s.server}, w.state, 1)
	if err != nil || !keys.Root().PublicKey().Equal(w.rootKey(1)) {
		t.Errorf("%v\n%v", err, report)
	}
	got, err := RestoreDeviceShare([]*slip39.Share{s.members[0], s.server}, w.state, 1)
	if err != nil || !got.Equal(s.device) {
		t.Errorf("%v", err)
	}
}
