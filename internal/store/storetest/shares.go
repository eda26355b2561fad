package storetest

import (
	"errors"
	"testing"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

func seedID(epoch uint64) ledger.ShareID {
	return ledger.ShareID{Kind: recordv1.SealedServerShare_KIND_SEED, Epoch: epoch}
}

func waitingID(epoch, member uint64) ledger.ShareID {
	return ledger.ShareID{Kind: recordv1.SealedServerShare_KIND_WAITING, Epoch: epoch, Member: member}
}

func slotID(epoch uint64, slot byte, version uint64) ledger.ShareID {
	return ledger.ShareID{Kind: recordv1.SealedServerShare_KIND_SLOT, Epoch: epoch, Slot: ledger.SlotID{slot}, Version: version}
}

// change appends no entry.
func (s *suite) change(a *account, op store.Append) {
	s.t.Helper()
	op.Spend, op.Account, op.Head = s.spend(), a.id, a.head
	s.ok(s.Append(s.ctx, op))
}

// shares returns the shares that there are, with their contents.
func (s *suite) shares(a *account, ids ...ledger.ShareID) map[ledger.ShareID]string {
	s.t.Helper()
	found := map[ledger.ShareID]string{}
	for _, share := range must(s.Shares(s.ctx, a.id, ids)) {
		found[share.ShareID] = share.Key + ":" + string(share.Sealed)
	}
	return found
}

func testShares(t *testing.T, s *suite) {
	a, b := s.create("ada"), s.create("bob")
	ids := []ledger.ShareID{seedID(1), waitingID(1, 1), waitingID(1, 2), slotID(1, 0, 1), slotID(1, 0, 2), slotID(2, 0, 2), slotID(1, 9, 1)}
	var shares []store.Share
	for _, id := range ids {
		shares = append(shares, store.Share{ShareID: id, Key: "k1", Sealed: []byte("sealed")})
	}
	s.change(a, store.Append{Shares: shares})
	s.change(b, store.Append{Shares: shares[:1]})
	if got := s.shares(a, ids...); len(got) != len(ids) || got[seedID(1)] != "k1:sealed" {
		t.Errorf("got %v", got)
	}
	if got := must(s.ShareIDs(s.ctx, a.id)); len(got) != len(ids) {
		t.Errorf("%d names, want %d", len(got), len(ids))
	}
	if got := s.shares(a, seedID(7), slotID(1, 0, 3)); len(got) != 0 {
		t.Errorf("shares from nowhere: %v", got)
	}
	s.change(a, store.Append{Shares: []store.Share{{ShareID: seedID(1), Key: "k2", Sealed: []byte("again")}}})
	if got := s.shares(a, seedID(1)); got[seedID(1)] != "k2:again" {
		t.Errorf("a share that came again is %q", got[seedID(1)])
	}

	s.change(a, store.Append{Destroy: []ledger.ShareID{waitingID(1, 1), waitingID(5, 5)}})
	if got := s.shares(a, waitingID(1, 1), waitingID(1, 2)); len(got) != 1 {
		t.Errorf("after one was destroyed: %v", got)
	}
	s.change(a, store.Append{Epochs: []uint64{2}})
	if got := must(s.ShareIDs(s.ctx, a.id)); len(got) != 1 || got[0] != slotID(2, 0, 2) {
		t.Errorf("only epoch 2 was to be kept: %v", got)
	}
	if got := s.shares(b, seedID(1)); len(got) != 1 {
		t.Error("another account's shares were destroyed")
	}
}

func testSlotShares(t *testing.T, s *suite) {
	a := s.create("ada")
	put := func(ids ...ledger.ShareID) {
		var shares []store.Share
		for _, id := range ids {
			shares = append(shares, store.Share{ShareID: id, Key: "k", Sealed: []byte("123456")})
		}
		s.change(a, store.Append{Shares: shares})
	}
	put(slotID(1, 3, 1), seedID(1), slotID(1, 1, 1), slotID(2, 1, 1), slotID(1, 2, 1))
	read := func(after uint64) (slots []byte, last uint64) {
		for more := true; more; {
			var page []store.Share
			var err error
			page, more, err = s.SlotShares(s.ctx, a.id, 1, after, 7)
			s.ok(err)
			if more && len(page) != 2 {
				t.Errorf("a page that two shares fill has %d", len(page))
			}
			for _, share := range page {
				slots, after = append(slots, share.Slot[0]), share.Position
			}
		}
		return slots, after
	}
	slots, last := read(0)
	if string(slots) != string([]byte{3, 1, 2}) {
		t.Errorf("slots %v, want 3 1 2", slots)
	}
	put(slotID(1, 4, 1))
	if slots, _ := read(last); string(slots) != string([]byte{4}) {
		t.Errorf("later came %v, want 4", slots)
	}
}

func testLog(t *testing.T, s *suite) {
	a := s.create("ada")
	s.append(a, 1)
	for _, request := range []string{"one", "two", "three"} {
		s.ok(s.Log(s.ctx, store.Answer{Spend: s.logged(a, request), Account: a.id, Head: a.head}))
		s.now = s.now.Add(-time.Minute) // the log's own times go on
	}
	moved := store.Answer{Spend: s.logged(a, "four"), Account: a.id, Head: ledger.Head{Sequence: 1}}
	s.want(s.Log(s.ctx, moved), store.ErrHeadMoved)

	entries, end := must2(s.ActivityLog(s.ctx, a.id, 0, 1<<20))
	var previous *ledger.Activity
	for i, b := range entries {
		activity := must(ledger.ParseActivity(b))
		s.ok(activity.Follows(a.id, previous))
		if want := []string{"one", "two", "three"}[i]; string(activity.Request()) != want {
			t.Errorf("activity %d is %q, want %q", i+1, activity.Request(), want)
		}
		previous = activity
	}
	if len(entries) != 3 || end.Sequence != 3 || end.Hash != previous.Hash() {
		t.Errorf("%d entries, end %+v", len(entries), end)
	}
	if page, end := must2(s.ActivityLog(s.ctx, a.id, 1, 1)); len(page) != 1 || end.Sequence != 3 {
		t.Errorf("a page of one has %d, the end is %d", len(page), end.Sequence)
	}
	b := s.create("bob")
	if page, end := must2(s.ActivityLog(s.ctx, b.id, 0, 1<<20)); len(page) != 0 || end.Sequence != 0 {
		t.Error("an account without activity has some")
	}
}

func testReveals(t *testing.T, s *suite) {
	a := s.create("ada")
	reveal := func() error {
		return s.Log(s.ctx, store.Answer{Spend: s.logged(a, "reveal"), Account: a.id, Head: a.head, Reveal: &store.RevealLimit{Device: 1, PerHour: 2, PerDay: 3}})
	}
	limited := func(retry time.Duration) {
		t.Helper()
		var limit *store.LimitError
		if err := reveal(); !errors.As(err, &limit) {
			t.Fatalf("got %v, want a limit", err)
		}
		if limit.RetryAfter != retry {
			t.Errorf("retry after %v, want %v", limit.RetryAfter, retry)
		}
	}
	s.ok(reveal())
	s.now = s.now.Add(10 * time.Minute)
	s.ok(reveal())
	limited(50 * time.Minute)
	s.now = s.now.Add(50 * time.Minute)
	s.ok(reveal())
	s.now = s.now.Add(2 * time.Hour)
	limited(21 * time.Hour)
	s.now = s.now.Add(21 * time.Hour)
	s.ok(reveal())
	if _, end := must2(s.ActivityLog(s.ctx, a.id, 0, 1<<20)); end.Sequence != 4 {
		t.Errorf("%d reveals are logged, 4 were made", end.Sequence)
	}
}

func testNonces(t *testing.T, s *suite) {
	a := s.create("ada")
	spend := s.spend()
	do := func(spend store.Spend) error {
		return s.Append(s.ctx, store.Append{Spend: spend, Account: a.id, Head: a.head})
	}
	s.ok(do(spend))
	s.want(do(spend), store.ErrReplayed)
	other := spend
	other.Key = random(33)
	s.ok(do(other))
	// A nonce is forgotten when no request with it would be taken any more, by the
	// changes that come afterwards.
	after := func(now time.Time) {
		for range 64 {
			one := s.spend()
			one.Now, one.Expires = now, now.Add(time.Hour)
			s.ok(do(one))
		}
	}
	after(spend.Expires)
	s.want(do(spend), store.ErrReplayed)
	after(spend.Expires.Add(time.Millisecond))
	s.ok(do(spend))
}

func testAttestations(t *testing.T, s *suite) {
	a := s.create("ada")
	attest := func(device, sequence uint64, b string) {
		s.ok(s.Attest(s.ctx, store.Attestation{Spend: s.spend(), Account: a.id, Device: device, Sequence: sequence, Bytes: []byte(b)}))
	}
	attest(2, 5, "two at 5")
	attest(1, 7, "one at 7")
	attest(1, 6, "one at 6")
	attest(2, 5, "two at 5, later")
	again := store.Attestation{Spend: s.spend(), Account: a.id, Device: 2, Sequence: 5, Bytes: []byte("two at 5, later")}
	s.ok(s.Attest(s.ctx, again))
	s.want(s.Attest(s.ctx, again), store.ErrReplayed)
	got := must(s.Attestations(s.ctx, a.id))
	if len(got) != 2 || string(got[0]) != "one at 7" || string(got[1]) != "two at 5, later" {
		t.Errorf("got %q", got)
	}
}
