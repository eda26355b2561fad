package storetest

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

const pendingLife = 5 * time.Minute

func (s *suite) keeping(a *account, id byte, device uint64) store.Keeping {
	return store.Keeping{
		Spend: s.spend(), Head: a.head,
		Kept: store.Kept{
			ID: ledger.Hash{id}, Account: a.id, Device: device, Key: "key", Request: []byte{'r', id},
			Received: s.now, Expires: s.now.Add(pendingLife),
		},
		PerDevice: 3, PerAll: 5, Bytes: 1000,
	}
}

func (s *suite) keep(a *account, id byte, device uint64) error {
	_, err := s.Keep(s.ctx, s.keeping(a, id, device))
	return err
}

func (s *suite) reply(a *account, id byte, device uint64, answer string) error {
	return s.Reply(s.ctx, store.Replying{
		Spend: s.logged(a, "confirm"), Account: a.id, Head: a.head, ID: ledger.Hash{id}, Refuse: answer == "",
		Reply: store.Reply{Device: device, Bytes: []byte(answer)},
	})
}

func (s *suite) wantWaiting(a *account, want ...byte) {
	s.t.Helper()
	var got []byte
	for _, k := range must(s.Waiting(s.ctx, a.id, s.now)) {
		got = append(got, k.ID[0])
	}
	if !bytes.Equal(got, want) {
		s.t.Errorf("waiting are %v, want %v", got, want)
	}
}

// answer gives the answer to a kept request.
func (s *suite) answer(a *account, k store.Keeping) error {
	spend := k.Spend
	spend.Now, spend.Log = s.now, &store.Log{Account: a.id, Request: []byte("answered")}
	return s.Log(s.ctx, store.Answer{Spend: spend, Account: a.id, Head: a.head, Kept: &k.Kept.ID})
}

func testKept(t *testing.T, s *suite) {
	a, b := s.create("ada"), s.create("bob")
	k := s.keeping(a, 1, 1)
	k.Kept.Adds = []byte("key")
	k.Spend.Log = &store.Log{Account: a.id, Request: []byte("asked")}
	got := must(s.Keep(s.ctx, k))
	if got.State != store.KeptWaiting || len(got.Replies) != 0 {
		t.Errorf("kept as %+v", got)
	}
	s.now = s.now.Add(time.Minute)
	again := k
	again.Spend = s.spend()
	again.Kept.Received, again.Kept.Request = s.now, []byte("other")
	if got := must(s.Keep(s.ctx, again)); !got.Received.Equal(start) || string(got.Request) != "r\x01" || got.Key != "key" || string(got.Adds) != "key" ||
		!got.Expires.Equal(start.Add(pendingLife)) || got.Device != 1 || got.Account != a.id {
		t.Errorf("the second time it is %+v", got)
	}
	if entries, _ := must2(s.ActivityLog(s.ctx, a.id, 0, 1<<20)); len(entries) != 1 {
		t.Errorf("%d activities for one request", len(entries))
	}
	s.ok(s.keep(a, 2, 2))
	s.wantWaiting(a, 1, 2)
	s.wantWaiting(b)
	_, err := s.Kept(s.ctx, ledger.Hash{9})
	s.want(err, store.ErrNotFound)

	s.want(s.reply(a, 9, 2, "yes"), store.ErrNotFound)
	s.ok(s.reply(a, 1, 3, "three"))
	s.ok(s.reply(a, 1, 0, "new"))
	s.want(s.reply(a, 1, 3, "three again"), store.ErrKeptReplied)
	if r := must(s.Kept(s.ctx, k.Kept.ID)).Replies; len(r) != 2 || r[0].Device != 0 || string(r[1].Bytes) != "three" {
		t.Errorf("got replies %v", r)
	}
	if waiting := must(s.Waiting(s.ctx, a.id, s.now)); len(waiting[0].Replies) != 2 || len(waiting[1].Replies) != 0 {
		t.Errorf("got %+v", waiting)
	}
	if entries, _ := must2(s.ActivityLog(s.ctx, a.id, 0, 1<<20)); len(entries) != 3 {
		t.Errorf("%d activities, want the request's and two replies'", len(entries))
	}

	stale := *a
	s.append(a, 1)
	s.want(s.reply(&stale, 1, 4, "yes"), store.ErrHeadMoved)
	s.want(s.keep(&stale, 3, 1), store.ErrHeadMoved)
	s.want(s.answer(&stale, k), store.ErrHeadMoved)

	s.ok(s.answer(a, k))
	s.wantWaiting(a, 2)
	s.want(s.answer(a, k), store.ErrReplayed)
	s.want(s.reply(a, 1, 4, "yes"), store.ErrKeptUsed)
	s.want(s.reply(a, 1, 4, ""), store.ErrKeptUsed)
	if got := must(s.Kept(s.ctx, k.Kept.ID)); got.State != store.KeptUsed || len(got.Request) != 0 {
		t.Errorf("after its answer it is %+v", got)
	}

	s.ok(s.reply(a, 2, 1, ""))
	s.wantWaiting(a)
	s.want(s.reply(a, 2, 3, "yes"), store.ErrKeptRefused)
	s.want(s.reply(a, 2, 3, ""), store.ErrKeptRefused)
	if got := must(s.Kept(s.ctx, ledger.Hash{2})); got.State != store.KeptRefused || got.RefusedBy != 1 || len(got.Request) != 0 {
		t.Errorf("refused it is %+v", got)
	}
	refused := s.keeping(a, 2, 2)
	s.want(s.answer(a, refused), store.ErrReplayed)
}

// What a device asked for that is locked or revoked takes no room any more.
func testKeptOfStoppedDevice(t *testing.T, s *suite) {
	a, b := s.create("ada"), s.create("bob")
	for id := byte(1); id <= 2; id++ {
		s.ok(s.keep(a, id, 2))
	}
	s.ok(s.keep(a, 3, 1))
	s.ok(s.keep(a, 4, 3))
	s.ok(s.keep(b, 5, 2))
	for device, stop := range map[uint64]proto.Message{
		2: &recordv1.DeviceLocked{Device: 2},
		3: &recordv1.DeviceRevoked{Device: 3, Generation: &recordv1.KeyGeneration{
			Number: 2, MetadataKeys: []*recordv1.SealedToDevice{{Device: 1, Sealed: random(100)}},
			DeviceShareKeys: []*recordv1.SealedToDevice{{Device: 1, Sealed: random(100)}},
		}},
	} {
		record := must(ledger.NewRecord(stop))
		entry := must(ledger.Draft{Account: &a.id, Previous: a.head, Time: start, Author: 1, Records: [][]byte{record}}.Sign(a.key))
		s.ok(s.Append(s.ctx, store.Append{Spend: s.spend(), Account: a.id, Head: a.head, Entries: []*ledger.Entry{entry}}))
		a.head = entry.Head()
		for _, k := range must(s.Waiting(s.ctx, a.id, s.now)) {
			if k.Device == device {
				t.Errorf("request %x of device %d still waits", k.ID[0], device)
			}
		}
	}
	s.wantWaiting(a, 3)
	s.wantWaiting(b, 5)
	if k := must(s.Kept(s.ctx, ledger.Hash{1})); k.State != store.KeptRefused || k.RefusedBy != 1 || len(k.Request) != 0 {
		t.Errorf("of the locked device it is %+v", k)
	}
	for id := byte(11); id <= 13; id++ { // five may wait, one does
		s.ok(s.keep(a, id, 4))
	}
}

func testKeptExpires(t *testing.T, s *suite) {
	a := s.create("ada")
	s.ok(s.keep(a, 1, 1))
	s.now = s.now.Add(pendingLife - time.Millisecond)
	s.ok(s.reply(a, 1, 2, "in time"))
	s.wantWaiting(a, 1)
	s.now = s.now.Add(time.Millisecond)
	s.wantWaiting(a)
	s.want(s.reply(a, 1, 3, "late"), store.ErrKeptExpired)
	s.ok(s.keep(a, 2, 1))
	if k := must(s.Kept(s.ctx, ledger.Hash{1})); k.State != store.KeptWaiting || len(k.Request) != 0 || len(k.Replies) != 1 {
		t.Errorf("expired it is %+v", k)
	}
	s.now = s.now.Add(24*time.Hour + time.Millisecond)
	s.ok(s.keep(a, 3, 1))
	_, err := s.Kept(s.ctx, ledger.Hash{1})
	s.want(err, store.ErrNotFound)
	_ = must(s.Kept(s.ctx, ledger.Hash{2})) // it expired later

	// They are erased on demand, too.
	s.now = s.now.Add(pendingLife - time.Millisecond)
	s.ok(s.EraseKept(s.ctx, s.now))
	if k := must(s.Kept(s.ctx, ledger.Hash{3})); len(k.Request) == 0 {
		t.Error("erased while it waits")
	}
	s.now = s.now.Add(time.Millisecond)
	s.ok(s.EraseKept(s.ctx, s.now))
	if k := must(s.Kept(s.ctx, ledger.Hash{3})); k.State != store.KeptWaiting || len(k.Request) != 0 {
		t.Errorf("expired and erased it is %+v", k)
	}
	s.now = s.now.Add(24*time.Hour + time.Millisecond)
	s.ok(s.EraseKept(s.ctx, s.now))
	_, err = s.Kept(s.ctx, ledger.Hash{3})
	s.want(err, store.ErrNotFound)
}

func testKeptLimits(t *testing.T, s *suite) {
	a, b := s.create("ada"), s.create("bob")
	spent := s.keeping(a, 9, 1)
	s.ok(s.Log(s.ctx, store.Answer{Spend: spent.Spend, Account: a.id, Head: a.head}))
	_, err := s.Keep(s.ctx, spent)
	s.want(err, store.ErrReplayed)

	for id := byte(1); id <= 3; id++ {
		s.ok(s.keep(a, id, 1))
	}
	s.want(s.keep(a, 4, 1), store.ErrFull)
	s.ok(s.keep(a, 1, 1)) // is there already
	s.ok(s.keep(a, 4, 2))
	large := s.keeping(a, 5, 2)
	large.Kept.Request = random(993)
	_, err = s.Keep(s.ctx, large)
	s.want(err, store.ErrFull)
	large.Kept.Request = random(992)
	_, err = s.Keep(s.ctx, large)
	s.ok(err)
	s.want(s.keep(a, 6, 3), store.ErrFull)
	s.ok(s.keep(b, 7, 1))
	s.ok(s.reply(a, 5, 1, "")) // makes room
	s.ok(s.keep(a, 6, 3))
	s.now = s.now.Add(pendingLife)
	for id := byte(11); id <= 13; id++ {
		s.ok(s.keep(a, id, 1))
	}

	// They count as reveals, once, and what is refused for that leaves nothing.
	limited := func(id byte) error {
		k := s.keeping(a, id, 2)
		k.Reveal = &store.RevealLimit{PerHour: 1, PerDay: 9, Device: 2}
		k.Spend.Log = &store.Log{Account: a.id, Request: []byte("asked")}
		_, err := s.Keep(s.ctx, k)
		return err
	}
	s.ok(limited(21))
	s.ok(limited(21))
	var limit *store.LimitError
	if err := limited(22); !errors.As(err, &limit) || limit.RetryAfter != time.Hour {
		t.Errorf("got %v", err)
	}
	_, err = s.Kept(s.ctx, ledger.Hash{22})
	s.want(err, store.ErrNotFound)
	if entries, _ := must2(s.ActivityLog(s.ctx, a.id, 0, 1<<20)); len(entries) != 2 {
		t.Errorf("%d activities, want a refusal and one request", len(entries))
	}
	err = s.Log(s.ctx, store.Answer{Spend: s.spend(), Account: a.id, Head: a.head, Reveal: &store.RevealLimit{PerHour: 1, PerDay: 9, Device: 1}})
	if !errors.As(err, &limit) {
		t.Errorf("another reveal: %v", err)
	}
}

// One answer comes out of a request, whoever asks for it at the same moment, and
// not after a refusal.
func testKeptRace(t *testing.T, s *suite) {
	a := s.create("ada")
	const rounds, racers = 5, 6
	for round := range byte(rounds) {
		k := s.keeping(a, round+1, 1)
		_ = must(s.Keep(s.ctx, k))
		var wg sync.WaitGroup
		answered, refused := make(chan bool, racers), make(chan bool, racers)
		for range racers {
			wg.Go(func() {
				switch err := s.answer(a, k); {
				case err == nil:
					answered <- true
				case !errors.Is(err, store.ErrReplayed):
					t.Errorf("answer: %v", err)
				}
			})
		}
		wg.Go(func() {
			switch err := s.reply(a, round+1, 2, ""); {
			case err == nil:
				refused <- true
			case !errors.Is(err, store.ErrKeptUsed):
				t.Errorf("refuse: %v", err)
			}
		})
		wg.Wait()
		if len(answered)+len(refused) != 1 {
			t.Fatalf("%d answers and %d refusals", len(answered), len(refused))
		}
	}
}

func (s *suite) join(a *account, id byte, key, source string) error {
	return s.Join(s.ctx, store.Joining{
		Spend: s.spend(), Head: a.head, Limit: 3,
		Join: store.Join{
			ID: ledger.Hash{id}, Account: a.id, Key: []byte(key), Request: []byte{'r', id},
			Received: s.now, Expires: s.now.Add(time.Hour), Source: []byte(source),
		},
	})
}

func (s *suite) wantJoins(a *account, want ...byte) {
	s.t.Helper()
	var got []byte
	for _, join := range must(s.Joins(s.ctx, a.id, s.now)) {
		got = append(got, join.ID[0])
	}
	if !bytes.Equal(got, want) {
		s.t.Errorf("joining are %v, want %v", got, want)
	}
}

func testJoins(t *testing.T, s *suite) {
	a, b := s.create("ada"), s.create("bob")
	s.ok(s.join(a, 1, "one", ""))
	s.ok(s.join(a, 2, "two", ""))
	s.wantJoins(a, 1, 2)
	s.wantJoins(b)
	if got := must(s.Joins(s.ctx, a.id, s.now))[0]; got.Account != a.id || string(got.Key) != "one" || string(got.Request) != "r\x01" ||
		!got.Received.Equal(s.now) || !got.Expires.Equal(s.now.Add(time.Hour)) {
		t.Errorf("got %+v", got)
	}
	s.now = s.now.Add(time.Minute)
	s.ok(s.join(a, 3, "one", "")) // takes the place of its earlier one
	s.wantJoins(a, 2, 3)
	s.ok(s.join(b, 4, "two", ""))
	s.wantJoins(a, 3)
	s.wantJoins(b, 4)
	s.now = s.now.Add(time.Hour)
	s.wantJoins(a)
	stale := *a
	s.append(a, 1)
	s.want(s.join(&stale, 5, "five", ""), store.ErrHeadMoved)
}

// Whoever floods an account with devices displaces their own.
func testJoinFlood(t *testing.T, s *suite) {
	a := s.create("ada")
	s.ok(s.join(a, 1, "owner", "owner"))
	for id := byte(2); id < 20; id++ {
		s.now = s.now.Add(time.Second)
		s.ok(s.join(a, id, string('a'+rune(id)), "stranger"))
	}
	s.wantJoins(a, 1, 18, 19)
	s.ok(s.join(a, 20, "another of the owner's", "owner at work"))
	s.wantJoins(a, 1, 19, 20)
}

func testPendingReopen(t *testing.T, s *suite) {
	a := s.create("ada")
	s.ok(s.keep(a, 1, 1))
	s.ok(s.reply(a, 1, 2, "yes"))
	s.ok(s.join(a, 1, "one", ""))
	s.ok(s.Store.Close())
	s.Store = s.open()
	s.wantWaiting(a, 1)
	s.wantJoins(a, 1)
	if k := must(s.Kept(s.ctx, ledger.Hash{1})); len(k.Replies) != 1 || string(k.Replies[0].Bytes) != "yes" {
		t.Errorf("got %+v", k)
	}
}
