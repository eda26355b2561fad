package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// second opens the data of the test once more, as a second server does.
func (s *suite) second() store.Store {
	s.t.Helper()
	other := s.open()
	s.t.Cleanup(func() {
		if err := other.Close(); err != nil {
			s.t.Errorf("close: %v", err)
		}
	})
	return other
}

// race runs do on both stores at the same time, n times each, and wants it to be
// done so many times, and refused all others.
func (s *suite) race(other store.Store, n, done int, refused error, do func(on store.Store, i int) error) {
	s.t.Helper()
	outcomes := map[error]int{}
	var mutex sync.Mutex
	var group sync.WaitGroup
	for i := range 2 * n {
		on := []store.Store{s.Store, other}[i%2]
		group.Go(func() {
			err := do(on, i)
			if errors.Is(err, refused) || isLimit(err) && isLimit(refused) {
				err = refused
			}
			mutex.Lock()
			defer mutex.Unlock()
			outcomes[err]++
		})
	}
	group.Wait()
	if outcomes[nil] != done || outcomes[nil]+outcomes[refused] != 2*n {
		s.t.Fatalf("it came out as %v, want %d of %d done and the others refused with %v", outcomes, done, 2*n, refused)
	}
}

// errNone is the refusal of what is done each time.
var errNone = errors.New("storetest: nothing is refused")

func isLimit(err error) bool {
	var limit *store.LimitError
	return errors.As(err, &limit)
}

// testTwoHeads lets two servers move heads, spend nonces and take names.
func testTwoHeads(t *testing.T, s *suite) {
	other := s.second()
	a := s.create("ada")
	for range 4 {
		var won ledger.Head
		s.race(other, 3, 1, store.ErrHeadMoved, func(on store.Store, _ int) error {
			entry := a.next(a.head)
			err := on.Append(s.ctx, store.Append{Spend: s.logged(a, "append"), Account: a.id, Head: a.head, Entries: []*ledger.Entry{entry},
				Shares: []store.Share{{ShareID: slotID(1, byte(a.head.Sequence), 1), Key: "k", Sealed: []byte("x")}}})
			if err == nil {
				won = entry.Head()
			}
			return err
		})
		a.head = won
	}
	if have := must(other.Account(s.ctx, a.id)).Head; have != a.head {
		t.Errorf("the other store has the head %v, want %v", have, a.head)
	}
	for range 4 {
		spend := s.logged(a, "attest")
		s.race(other, 2, 1, store.ErrReplayed, func(on store.Store, i int) error {
			return on.Attest(s.ctx, store.Attestation{Spend: spend, Account: a.id, Device: uint64(i), Sequence: 1, Bytes: []byte("a")})
		})
	}
	s.race(other, 2, 1, store.ErrNameTaken, func(on store.Store, _ int) error {
		entry, _ := Genesis()
		return on.Create(s.ctx, store.Creation{Spend: s.spend(), Name: "bob", NameKey: "bob", Genesis: entry})
	})
	entry, _ := Genesis()
	s.race(other, 2, 1, store.ErrAccountExists, func(on store.Store, i int) error {
		return on.Create(s.ctx, store.Creation{Spend: s.spend(), Name: fmt.Sprint(i), NameKey: fmt.Sprint(i), Genesis: entry})
	})
	s.wantChain(a, 8)
}

// wantChain wants so many activities, each of which follows the one before.
func (s *suite) wantChain(a *account, count int) {
	s.t.Helper()
	entries, end := must2(s.ActivityLog(s.ctx, a.id, 0, 1<<20))
	var previous *ledger.Activity
	for _, b := range entries {
		activity := must(ledger.ParseActivity(b))
		s.ok(activity.Follows(a.id, previous))
		previous = activity
	}
	if len(entries) != count || end.Sequence != uint64(count) {
		s.t.Errorf("%d activities up to %d, want %d", len(entries), end.Sequence, count)
	}
}

// testTwoLimits lets two servers use up what there is, at the same moment.
func testTwoLimits(_ *testing.T, s *suite) {
	other := s.second()
	a, b := s.create("ada"), s.create("bob")
	s.race(other, 6, 5, &store.LimitError{}, func(on store.Store, _ int) error {
		return on.Log(s.ctx, store.Answer{Spend: s.logged(a, "reveal"), Account: a.id, Head: a.head, Reveal: &store.RevealLimit{Device: 1, PerHour: 5, PerDay: 5}})
	})
	s.wantChain(a, 5)
	s.race(other, 4, 5, store.ErrFull, func(on store.Store, i int) error {
		_, err := on.Keep(s.ctx, s.keeping(a, byte(i+1), uint64(i)))
		return err
	})
	s.race(other, 4, 5, store.ErrFull, func(on store.Store, i int) error {
		_, err := on.Send(s.ctx, store.Sending{
			Spend:   s.logged(a, "send"),
			Message: store.Message{From: &a.id, To: b.id, Kind: int32(i), Body: []byte("m"), Time: s.now},
			PerPair: 2, PerBox: 5,
		})
		return err
	})

	// A key that asks in two accounts at once has one of them.
	accounts := []*account{a, b}
	key := random(33)
	s.race(other, 2, 1, store.ErrOpen, func(on store.Store, i int) error {
		r := s.recovery(accounts[i%2], byte(i+1))
		r.Key = key
		return on.Start(s.ctx, store.Start{Spend: s.spend(), Head: accounts[i%2].head, Recovery: r, Limit: 3, Stale: s.now.Add(-time.Hour)})
	})
	s.race(other, 2, 4, errNone, func(on store.Store, i int) error {
		to := accounts[i/2]
		return on.Join(s.ctx, store.Joining{Spend: s.spend(), Head: to.head, Limit: 3, Join: store.Join{
			ID: ledger.Hash{byte(i)}, Account: to.id, Key: key, Request: []byte("r"), Received: s.now, Expires: s.now.Add(time.Hour)}})
	})
	if joins := append(must(s.Joins(s.ctx, a.id, s.now)), must(s.Joins(s.ctx, b.id, s.now))...); len(joins) != 1 {
		s.t.Errorf("one key asks to join %d times", len(joins))
	}
}

// testTwoInboxes reads an inbox while both servers fill it: whoever reads on after
// the last number misses nothing. Then all devices acknowledge at once.
func testTwoInboxes(t *testing.T, s *suite) {
	other := s.second()
	a, b := s.create("ada"), s.create("bob")
	const each = 10
	done := make(chan struct{})
	var read []uint64
	var reader sync.WaitGroup
	reader.Go(func() {
		for ended := false; !ended; {
			select {
			case <-done:
				ended = true // after one more look
			default:
			}
			after := uint64(0)
			if len(read) > 0 {
				after = read[len(read)-1]
			}
			messages, _, err := other.Inbox(s.ctx, b.id, 1, after, 1<<20)
			if err != nil {
				t.Error(err)
				return
			}
			for _, m := range messages {
				read = append(read, m.ID)
			}
		}
	})
	s.race(other, each, 2*each, errNone, func(on store.Store, i int) error {
		if i%3 == 0 {
			return on.Attest(s.ctx, store.Attestation{Spend: s.logged(b, "attest"), Account: b.id, Device: 1, Sequence: uint64(i), Bytes: []byte("a")})
		}
		_, err := on.Send(s.ctx, store.Sending{Spend: s.logged(a, "send"),
			Message: store.Message{From: &a.id, To: b.id, Body: []byte("m"), Time: s.now}, PerPair: 100, PerBox: 100})
		return err
	})
	close(done)
	reader.Wait()
	_, all := s.inbox(b, 1)
	if want := 2*each - (2*each+2)/3; len(all) != want || !slices.Equal(read, all) {
		t.Fatalf("of the messages %v the device has read %v, want %d", all, read, want)
	}
	s.race(other, 2, 4, errNone, func(on store.Store, i int) error {
		return on.Acknowledge(s.ctx, store.Acknowledgement{Spend: s.spend(), Account: b.id, Device: uint64(i + 1), Active: []uint64{1, 2, 3, 4}, IDs: all})
	})
	if _, left := s.inbox(b, 9); len(left) != 0 {
		t.Errorf("after all devices have acknowledged them, %v are left", left)
	}
}

// testTwoDeliverers lets both servers take deliveries: each is one's.
func testTwoDeliverers(t *testing.T, s *suite) {
	other := s.second()
	var want []string
	for i := range 6 {
		a := s.create(fmt.Sprint("account", i))
		s.settings(a, store.AlarmSettings{Mail: "mail", Webhook: "https://hook", Key: "k"})
		s.race(other, 2, 4, errNone, func(on store.Store, n int) error {
			return on.Raise(s.ctx, s.now, s.alarm(a, "kind", fmt.Sprint(i, " ", n/2))) // each from both
		})
		for n := range 2 {
			want = append(want, fmt.Sprint(i, " ", n, " mail"), fmt.Sprint(i, " ", n, " webhook"))
		}
	}
	var mutex sync.Mutex
	var begun []string
	for len(begun) < len(want) {
		before := len(begun)
		s.race(other, 2, 4, errNone, func(on store.Store, _ int) error {
			deliveries, err := on.Begin(s.ctx, s.now, time.Minute, 3)
			mutex.Lock()
			defer mutex.Unlock()
			for _, d := range deliveries {
				begun = append(begun, d.Alarm.ID+" "+d.Channel)
			}
			return err
		})
		if len(begun) == before {
			break
		}
	}
	slices.Sort(begun)
	if !slices.Equal(begun, want) {
		t.Errorf("delivered were %q, want %q", begun, want)
	}
}
