package storetest

import (
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

func testPause(t *testing.T, s *suite) {
	a, other := s.create("ada"), s.create("bob")
	until := s.now.Add(2 * time.Minute)
	paused := func(want time.Time) {
		t.Helper()
		if got := must(s.Account(s.ctx, a.id)).Paused; !got.Equal(want) {
			t.Errorf("paused until %v, want %v", got, want)
		}
	}
	paused(time.Time{})
	s.ok(s.Pause(s.ctx, a.id, until))
	paused(until)
	s.append(a, 1)
	paused(until)
	if got := must(s.Account(s.ctx, other.id)).Paused; !got.IsZero() {
		t.Errorf("another account is paused until %v", got)
	}
	entry := a.next(a.head)
	s.want(s.Append(s.ctx, store.Append{Spend: s.spend(), Account: a.id, Head: ledger.Head{Sequence: 1}, Entries: []*ledger.Entry{entry}, Resume: true}), store.ErrHeadMoved)
	paused(until)
	s.ok(s.Append(s.ctx, store.Append{Spend: s.spend(), Account: a.id, Head: a.head, Entries: []*ledger.Entry{entry}, Resume: true}))
	paused(time.Time{})
	s.ok(s.Pause(s.ctx, ledger.AccountID{1}, until))
}
