package ledger

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

func TestAttestations(t *testing.T) {
	w := play(t, "G E+sheet B1 B2 R1 R2 RS C D P:a S D X2")
	first := w.entries[0].Records()[0].GetGenesis().Server
	device := func(n uint64) *recordv1.Holder {
		return &recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: n}
	}
	head := w.state.Head()
	oldServer := newWorld(t, 1).server // its seed is w's
	if !bytes.Equal(oldServer.sign.PublicKey().Bytes(), first.SignKey) {
		t.Fatal("this is not the first server's key")
	}
	for _, c := range []struct {
		name   string
		signed []byte
		good   bool
	}{
		{"device", w.attest(device(1), head), true},
		{"revoked device", w.attest(device(2), head), true},
		{"server", w.attest(serverHolder, head), true},
		{"earlier server", w.attestWith(serverHolder, head, oldServer), true},
		{"member", w.attest(member(2), head), true},
		{"sheet", w.attest(sheetHolder, head), true},
		{"device with another's key", w.attestWith(device(1), head, w.devices[2]), false},
		{"device with its confirm key", w.attestWith(device(1), head, &keys{sign: w.devices[1].confirm}), false},
		{"server with a device's key", w.attestWith(serverHolder, head, w.devices[1]), false},
		{"member with another's key", w.attestWith(member(1), head, &keys{sign: w.epochs[1].shares[1]}), false},
		{"no such device", w.attestWith(device(9), head, w.devices[1]), false},
		{"no such member", w.attestWith(member(4), head, w.devices[1]), false},
	} {
		a, err := ParseAttestation(c.signed)
		must(t, err)
		if err := w.state.CheckAttestation(a); (err == nil) != c.good {
			t.Errorf("%s: %v", c.name, err)
		}
		if a.Head() != head || a.Account() != w.state.Account() || a.Epoch() != 1 || !bytes.Equal(a.Bytes(), c.signed) ||
			!a.Time().Equal(w.now.Add(time.Second)) || !a.Answers(a.Nonce()) || a.Answers(make([]byte, 16)) {
			t.Errorf("%s: not as it was made", c.name)
		}
		spoilt := slices.Clone(c.signed)
		spoilt[len(spoilt)-100] ^= 1
		if a, err := ParseAttestation(spoilt); err == nil && w.state.CheckAttestation(a) == nil {
			t.Errorf("%s: still good when spoilt", c.name)
		}
	}
	other := play(t, "G E D")
	a, err := ParseAttestation(w.attest(device(1), head))
	must(t, err)
	other.state.account[0] ^= 1
	if err := other.state.CheckAttestation(a); !errors.Is(err, &RuleError{Rule: RuleAttestation}) {
		t.Errorf("of another account: %v", err)
	}
}

func TestActivityChain(t *testing.T) {
	account, other := AccountID{1}, AccountID{2}
	now := time.UnixMilli(1_790_000_000_000)
	activity := func(account AccountID, previous *Activity, after time.Duration, request string) *Activity {
		a, err := NewActivity(account, previous.End(), now.Add(after), []byte(request), [32]byte{7})
		must(t, err)
		return a
	}
	one := activity(account, nil, 0, "one")
	two := activity(account, one, time.Second, "two")
	three := activity(account, two, time.Second, "three")
	for _, c := range []struct {
		name        string
		a, previous *Activity
		good        bool
	}{
		{"first", one, nil, true},
		{"second", two, one, true},
		{"third", three, two, true},
		{"second as first", two, nil, false},
		{"first as second", one, one, false},
		{"one left out", three, one, false},
		{"after a changed one", two, activity(account, nil, 0, "changed"), false},
		{"of another account", activity(other, nil, 0, "one"), nil, false},
	} {
		err := c.a.Follows(account, c.previous)
		if (err == nil) != c.good || err != nil && !errors.Is(err, &RuleError{Rule: RuleActivity}) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := NewActivity(account, two.End(), now, []byte("x"), [32]byte{}); !errors.Is(err, &RuleError{Rule: RuleActivity}) {
		t.Errorf("time goes back: %v", err)
	}
	if _, err := NewActivity(account, ActivityEnd{}, now, nil, [32]byte{}); !errors.Is(err, &RuleError{Rule: RuleField}) {
		t.Errorf("no request: %v", err)
	}
	read, err := ParseActivity(two.Bytes())
	must(t, err)
	if read.Hash() != two.Hash() || read.Sequence() != 2 || string(read.Request()) != "two" || read.AnswerHash() != [32]byte{7} ||
		read.Account() != account || !read.Time().Equal(now.Add(time.Second)) {
		t.Error("not as it was made")
	}
}

// TestRequiredShares follows what the server must hold through an account's life.
func TestRequiredShares(t *testing.T) {
	const slot, seed, waiting = recordv1.SealedServerShare_KIND_SLOT, recordv1.SealedServerShare_KIND_SEED, recordv1.SealedServerShare_KIND_WAITING
	w := newWorld(t, 1)
	a, b := w.slot("a"), w.slot("b")
	if b.compare(a) < 0 {
		a, b = b, a
		w.slots["a"], w.slots["b"] = a, b
	}
	for _, step := range []struct {
		history string
		want    []ShareID
	}{
		{"G", nil},
		{"E:2of2", []ShareID{{Kind: seed, Epoch: 1}, {Kind: waiting, Epoch: 1, Member: 1}, {Kind: waiting, Epoch: 1, Member: 2}}},
		{"B1 R1 P:a P:b", []ShareID{{Kind: seed, Epoch: 1}, {Kind: waiting, Epoch: 1, Member: 2},
			{Kind: slot, Epoch: 1, Slot: a, Version: 1}, {Kind: slot, Epoch: 1, Slot: b, Version: 1}}},
		{"B2 R2 RS C P:a W:b", []ShareID{{Kind: seed, Epoch: 1}, {Kind: slot, Epoch: 1, Slot: a, Version: 2}}},
		{"E:2of2 B1 R1", []ShareID{{Kind: seed, Epoch: 1}, {Kind: slot, Epoch: 1, Slot: a, Version: 2},
			{Kind: seed, Epoch: 2}, {Kind: waiting, Epoch: 2, Member: 2}}},
		{"T", []ShareID{{Kind: seed, Epoch: 1}, {Kind: slot, Epoch: 1, Slot: a, Version: 2},
			{Kind: seed, Epoch: 2}, {Kind: waiting, Epoch: 2, Member: 2}, {Kind: slot, Epoch: 2, Slot: a, Version: 2}}},
		{"B2 R2 RS C", []ShareID{{Kind: seed, Epoch: 2}, {Kind: slot, Epoch: 2, Slot: a, Version: 2}}},
	} {
		history(w, step.history)
		var got []ShareID
		for _, share := range w.state.RequiredShares() {
			got = append(got, share.ShareID)
			if share.Device != 1 || share.Hash == [32]byte{} {
				t.Errorf("after %s: share %v", step.history, share)
			}
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("after %s:\n%v\nnot\n%v", step.history, got, step.want)
		}
	}
}

func TestSealedShareID(t *testing.T) {
	id := SlotID{1, 2}
	const slot, seed, waiting = recordv1.SealedServerShare_KIND_SLOT, recordv1.SealedServerShare_KIND_SEED, recordv1.SealedServerShare_KIND_WAITING
	for _, c := range []struct {
		name  string
		share *recordv1.SealedServerShare
		want  ShareID
	}{
		{"slot", &recordv1.SealedServerShare{Kind: slot, Epoch: 2, Slot: id[:], Version: 3}, ShareID{Kind: slot, Epoch: 2, Slot: id, Version: 3}},
		{"seed", &recordv1.SealedServerShare{Kind: seed, Epoch: 2}, ShareID{Kind: seed, Epoch: 2}},
		{"waiting", &recordv1.SealedServerShare{Kind: waiting, Epoch: 2, Member: 4}, ShareID{Kind: waiting, Epoch: 2, Member: 4}},
		{"none", nil, ShareID{}},
		{"no kind", &recordv1.SealedServerShare{Epoch: 2}, ShareID{}},
		{"no epoch", &recordv1.SealedServerShare{Kind: seed}, ShareID{}},
		{"slot id too short", &recordv1.SealedServerShare{Kind: slot, Epoch: 2, Slot: id[1:], Version: 3}, ShareID{}},
		{"slot without version", &recordv1.SealedServerShare{Kind: slot, Epoch: 2, Slot: id[:]}, ShareID{}},
		{"slot with member", &recordv1.SealedServerShare{Kind: slot, Epoch: 2, Slot: id[:], Version: 3, Member: 1}, ShareID{}},
		{"seed with slot", &recordv1.SealedServerShare{Kind: seed, Epoch: 2, Slot: id[:]}, ShareID{}},
		{"seed with version", &recordv1.SealedServerShare{Kind: seed, Epoch: 2, Version: 1}, ShareID{}},
		{"waiting without member", &recordv1.SealedServerShare{Kind: waiting, Epoch: 2}, ShareID{}},
		{"waiting with version", &recordv1.SealedServerShare{Kind: waiting, Epoch: 2, Member: 1, Version: 1}, ShareID{}},
	} {
		got, err := SealedShareID(c.share)
		if got != c.want || (err == nil) != (c.want != ShareID{}) {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
}

// TestWhatARevokedDeviceOpens: the list shrinks with every secret that is
// written anew, and ends with the epoch.
func TestWhatARevokedDeviceOpens(t *testing.T) {
	w := play(t, recoverable+"D D P:a P:b P:c W:c")
	opened := func(device uint64) int { return len(w.state.OpenedBy(device)) }
	if opened(2) != 2 {
		t.Errorf("device 2 opens %d", opened(2))
	}
	history(w, "X2 P:d")
	if opened(2) != 2 || opened(1) != 3 || !w.state.InUse().RevokedSince {
		t.Errorf("device 2 opens %d, device 1 %d", opened(2), opened(1))
	}
	history(w, "P:a")
	if opened(2) != 1 {
		t.Errorf("device 2 opens %d", opened(2))
	}
	history(w, "E T B1 B2 R1 R2 RS C")
	if opened(2) != 0 || opened(1) != 3 || w.state.InUse().RevokedSince {
		t.Errorf("device 2 opens %d, device 1 %d", opened(2), opened(1))
	}
}

// TestQuestionsBeforeTheAnswer: the checks that servers and devices make before
// they write an entry say the same as the entry's own.
func TestQuestionsBeforeTheAnswer(t *testing.T) {
	w := play(t, recoverable+"E:1of1 B1=eve")
	if err := w.state.CheckReceipt(w.receipt(member(1))); err != nil {
		t.Error(err)
	}
	if err := w.state.CheckReceipt(&recordv1.ShareReceipt{}); !errors.Is(err, &RuleError{Rule: RuleField}) {
		t.Error(err)
	}
	if err := w.state.CheckCommit(2, w.now); !errors.Is(err, &RuleError{Rule: RuleReceipts}) {
		t.Error(err)
	}
	history(w, "R1 RS")
	from, err := w.state.CommitFrom(2)
	if err != nil || !from.Equal(w.now.Add(72*time.Hour)) {
		t.Errorf("commits from %v: %v", from, err)
	}
	if err := w.state.CheckCommit(2, from.Add(-time.Millisecond)); !errors.Is(err, &RuleError{Rule: RuleWeakening}) {
		t.Error(err)
	}
	if err := w.state.CheckCommit(2, from); err != nil {
		t.Error(err)
	}
	if from, err := w.state.CommitFrom(1); err != nil || !from.IsZero() {
		t.Errorf("epoch 1 is committed: %v %v", from, err)
	}
	if _, err := w.state.CommitFrom(3); err == nil {
		t.Error("there is no epoch 3")
	}
	r := w.request("r").request
	if err := w.state.CheckRequest(r); err != nil {
		t.Error(err)
	}
	if err := (&State{}).CheckRequest(r); err == nil {
		t.Error("before Genesis nothing can be recovered")
	}
	if counts := w.state.CountsAt(1, 1); !counts.Equal(w.state.InUse().Members[0].BoundAt.Time) {
		t.Errorf("member 1 counts from %v", counts)
	}
	if !w.state.CountsAt(1, 9).IsZero() || !w.state.CountsAt(9, 1).IsZero() {
		t.Error("who is not bound counts")
	}
}

// TestEmptyState answers before Genesis.
func TestEmptyState(t *testing.T) {
	s := &State{}
	if s.Head() != (Head{}) || s.Server() != nil || s.ServerKey() != nil || s.InUse() != nil || s.Prepared() != nil || s.Committed() ||
		s.RequiredShares() != nil || len(s.Devices()) != 0 || len(s.LiveSlots()) != 0 || s.NextDevice() != 1 || s.NextEpoch() != 1 ||
		s.Contains(Head{}) || s.Versions(SlotID{}) != nil || s.Vetoes(Hash{}) != nil || s.Recoveries() != nil {
		t.Error("the state before Genesis is not empty")
	}
	if err := s.CheckCommit(0, time.Time{}); err == nil {
		t.Error("epoch 0 commits")
	}
}
