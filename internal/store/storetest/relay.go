package storetest

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

func (s *suite) send(from, to *account, kind int32, body string, replace bool) (uint64, error) {
	return s.Send(s.ctx, store.Sending{
		Spend:   s.spend(),
		Message: store.Message{From: &from.id, To: to.id, Kind: kind, Body: []byte(body), Time: s.now},
		Replace: replace, PerPair: 2, PerBox: 3,
	})
}

// inbox returns the bodies of a device's messages, and their numbers.
func (s *suite) inbox(a *account, device uint64) (bodies []string, ids []uint64) {
	s.t.Helper()
	messages, more, err := s.Inbox(s.ctx, a.id, device, 0, 1<<20)
	s.ok(err)
	if more {
		s.t.Error("more messages than fit into a page that is not full")
	}
	for _, m := range messages {
		bodies, ids = append(bodies, string(m.Body)), append(ids, m.ID)
	}
	return bodies, ids
}

func testMessages(t *testing.T, s *suite) {
	a, b := s.create("ada"), s.create("bob")
	first, err := s.send(a, b, 1, "one", false)
	s.ok(err)
	s.ok(s.Append(s.ctx, store.Append{Spend: s.spend(), Account: a.id, Head: a.head, Messages: []store.Message{{To: b.id, Kind: 3, Body: []byte("half"), Time: s.now}}}))
	messages, _, err := s.Inbox(s.ctx, b.id, 1, 0, 1<<20)
	s.ok(err)
	if len(messages) != 2 || messages[0].ID != first || *messages[0].From != a.id || messages[0].FromName != "ada" || messages[0].Kind != 1 ||
		!messages[0].Time.Equal(s.now) || messages[1].From != nil || messages[1].FromName != "" || string(messages[1].Body) != "half" {
		t.Fatalf("got %+v", messages)
	}
	page, more, err := s.Inbox(s.ctx, b.id, 1, 0, 1)
	s.ok(err)
	if len(page) != 1 || !more {
		t.Errorf("a page of one has %d, more: %v", len(page), more)
	}
	if page, more, _ := s.Inbox(s.ctx, b.id, 1, first, 1<<20); len(page) != 1 || more {
		t.Errorf("after the first message are %d, more: %v", len(page), more)
	}

	acknowledge := func(a *account, device uint64, ids ...uint64) {
		s.ok(s.Acknowledge(s.ctx, store.Acknowledgement{Spend: s.spend(), Account: a.id, Device: device, Active: []uint64{1, 2}, IDs: ids}))
	}
	acknowledge(a, 1, first) // not its recipient
	acknowledge(b, 1, first, 12345)
	if bodies, _ := s.inbox(b, 1); len(bodies) != 1 {
		t.Errorf("device 1 still sees %q", bodies)
	}
	if bodies, _ := s.inbox(b, 2); len(bodies) != 2 {
		t.Errorf("device 2 sees %q", bodies)
	}
	acknowledge(b, 2, first)
	if bodies, _ := s.inbox(b, 3); len(bodies) != 1 || bodies[0] != "half" {
		t.Errorf("after both acknowledged, a third device sees %q", bodies)
	}
}

func testMessageLimits(t *testing.T, s *suite) {
	a, b, c := s.create("ada"), s.create("bob"), s.create("cem")
	for range 2 {
		_, err := s.send(a, b, 1, "one", false)
		s.ok(err)
	}
	_, err := s.send(a, b, 1, "three from one sender", false)
	s.want(err, store.ErrFull)
	_, err = s.send(c, b, 5, "old head", true)
	s.ok(err)
	_, err = s.send(c, b, 5, "new head", true)
	s.ok(err)
	_, err = s.send(c, b, 1, "four for one recipient", false)
	s.want(err, store.ErrFull)
	if bodies, _ := s.inbox(b, 1); len(bodies) != 3 || bodies[2] != "new head" {
		t.Errorf("got %q", bodies)
	}
	for _, message := range []string{"one old", "two", "one new"} {
		topic, _, _ := strings.Cut(message, " ")
		_, err := s.Send(s.ctx, store.Sending{
			Spend:   s.spend(),
			Message: store.Message{From: &b.id, To: c.id, Kind: 5, Topic: topic, Body: []byte(message), Time: s.now},
			Replace: true, PerPair: 2, PerBox: 3,
		})
		s.ok(err)
	}
	if bodies, _ := s.inbox(c, 1); strings.Join(bodies, ", ") != "two, one new" {
		t.Errorf("of two topics wait %q", bodies)
	}
	_, err = s.send(a, &account{id: ledger.AccountID{9}}, 1, "to nobody", false)
	s.want(err, store.ErrNotFound)
}

func (s *suite) recovery(a *account, id byte) store.Recovery {
	return store.Recovery{
		ID: ledger.Hash{id}, Account: a.id, Request: []byte{'r', id}, Key: append(random(32), id),
		Started: s.now, Sequence: a.head.Sequence,
	}
}

func (s *suite) start(a *account, r store.Recovery, over ...ledger.Hash) error {
	return s.Start(s.ctx, store.Start{Spend: s.spend(), Head: a.head, Recovery: r, Over: over, Limit: 3, Stale: s.now.Add(-time.Hour)})
}

func testRecoveries(t *testing.T, s *suite) {
	a := s.create("ada")
	r := s.recovery(a, 1)
	s.ok(s.start(a, r))
	again := r
	again.Started = s.now.Add(time.Hour)
	s.ok(s.start(a, again))
	got := must(s.Recovery(s.ctx, r.ID))
	if got.Account != a.id || string(got.Request) != string(r.Request) || string(got.Key) != string(r.Key) ||
		!got.Started.Equal(r.Started) || got.Sequence != 1 || got.Released {
		t.Errorf("got %+v, want %+v", got, r)
	}
	_, err := s.Recovery(s.ctx, ledger.Hash{7})
	s.want(err, store.ErrNotFound)

	s.now = s.now.Add(time.Minute)
	s.ok(s.start(a, s.recovery(a, 0)))
	if all := must(s.Recoveries(s.ctx, a.id)); len(all) != 2 || all[0].ID != r.ID {
		t.Errorf("got %+v, want the oldest first", all)
	}
	s.ok(s.Log(s.ctx, store.Answer{Spend: s.spend(), Account: a.id, Head: a.head, Released: &r.ID}))
	if !must(s.Recovery(s.ctx, r.ID)).Released {
		t.Error("the release was not marked")
	}
	s.want(s.Log(s.ctx, store.Answer{Spend: s.spend(), Account: a.id, Head: a.head, Released: &ledger.Hash{7}}), store.ErrNotFound)
	stale := *a
	s.append(a, 1)
	s.want(s.start(&stale, s.recovery(a, 3)), store.ErrHeadMoved)

	b := s.create("bob")
	s.ok(s.Append(s.ctx, store.Append{Spend: s.spend(), Account: a.id, Head: a.head, Contacts: []ledger.AccountID{b.id, b.id}}))
	s.ok(s.Append(s.ctx, store.Append{Spend: s.spend(), Account: a.id, Head: a.head, Contacts: []ledger.AccountID{b.id}}))
	c := s.create("cyd") // whom nobody asks to recover
	s.ok(s.Append(s.ctx, store.Append{Spend: s.spend(), Account: c.id, Head: c.head, Contacts: []ledger.AccountID{b.id}}))
	if owners := must(s.Owners(s.ctx, b.id)); len(owners) != 1 || owners[0] != a.id {
		t.Errorf("got owners %v", owners)
	}
}

func testRecoveryLimits(t *testing.T, s *suite) {
	a := s.create("ada")
	first := s.recovery(a, 1)
	s.ok(s.start(a, first))
	same := s.recovery(a, 2)
	same.Key = first.Key
	s.want(s.start(a, same), store.ErrOpen)
	s.ok(s.start(a, same, first.ID))
	s.ok(s.start(a, s.recovery(a, 3)))
	// One more takes the place of the oldest, which frees its device.
	s.ok(s.start(a, s.recovery(a, 4)))
	s.wantRecoveries(a, 2, 3, 4)
	s.want(s.start(a, first), store.ErrOpen)
	first = s.recovery(a, 3)
	s.ok(s.Approve(s.ctx, store.Approval{Spend: s.spend(), Account: a.id, Head: a.head, Recovery: first.ID, Holder: "member/1", Approval: []byte("yes")}))
	s.now = s.now.Add(2 * time.Hour)
	s.ok(s.start(a, s.recovery(a, 5)))
	if all := must(s.Recoveries(s.ctx, a.id)); len(all) != 2 || all[0].ID != first.ID {
		t.Errorf("got %+v, want the approved one and the new one", all)
	}
}

func (s *suite) wantRecoveries(a *account, want ...byte) {
	s.t.Helper()
	var got []byte
	for _, r := range must(s.Recoveries(s.ctx, a.id)) {
		got = append(got, r.ID[0])
	}
	if !bytes.Equal(got, want) {
		s.t.Errorf("open are %v, want %v", got, want)
	}
}

// Whoever floods an account displaces their own requests, and nobody displaces
// what is approved or released.
func testRecoveryFlood(t *testing.T, s *suite) {
	a := s.create("ada")
	from := func(source string, id byte) store.Recovery {
		s.now = s.now.Add(time.Second)
		r := s.recovery(a, id)
		r.Source = []byte(source)
		return r
	}
	s.ok(s.start(a, from("owner", 1)))
	for id := byte(2); id < 10; id++ {
		s.ok(s.start(a, from("stranger", id)))
	}
	s.wantRecoveries(a, 1, 8, 9)
	s.ok(s.start(a, from("owner at work", 10)))
	s.wantRecoveries(a, 1, 9, 10)
	if r := must(s.Recovery(s.ctx, ledger.Hash{10})); string(r.Source) != "owner at work" {
		t.Errorf("it came from %q", r.Source)
	}
	for id := byte(9); id <= 10; id++ {
		s.ok(s.Approve(s.ctx, store.Approval{Spend: s.spend(), Account: a.id, Head: a.head, Recovery: ledger.Hash{id}, Holder: "member/1", Approval: []byte("yes")}))
	}
	s.ok(s.start(a, from("stranger", 11)))
	s.wantRecoveries(a, 9, 10, 11)
	s.ok(s.Log(s.ctx, store.Answer{Spend: s.spend(), Account: a.id, Head: a.head, Released: &ledger.Hash{11}}))
	s.want(s.start(a, from("stranger", 12)), store.ErrFull)
	s.wantRecoveries(a, 9, 10, 11)
}

func testApprovals(t *testing.T, s *suite) {
	a := s.create("ada")
	r := s.recovery(a, 1)
	s.ok(s.start(a, r))
	approve := func(head ledger.Head, holder, approval string, share []byte) error {
		return s.Approve(s.ctx, store.Approval{Spend: s.spend(), Account: a.id, Head: head, Recovery: r.ID, Holder: holder, Approval: []byte(approval), SealedShare: share})
	}
	s.ok(approve(a.head, "member/2", "two", []byte("share")))
	s.ok(approve(a.head, "member/1", "one", nil))
	s.ok(approve(a.head, "member/2", "two again", nil))
	s.want(approve(ledger.Head{}, "member/3", "three", nil), store.ErrHeadMoved)
	got := must(s.Approvals(s.ctx, r.ID))
	if len(got) != 2 || got[0].Holder != "member/1" || string(got[1].Approval) != "two again" || len(got[1].SealedShare) != 0 {
		t.Errorf("got %+v", got)
	}
}
