package storetest

import (
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// testSpentOnce makes every change that spends something twice. The second time is
// refused for that, whatever else there would be to say, and leaves nothing behind.
func testSpentOnce(t *testing.T, s *suite) {
	a, b := s.create("ada"), s.create("bob")
	started := s.recovery(a, 1)
	s.ok(s.start(a, started))
	s.ok(s.keep(a, 1, 1))
	_, err := s.send(a, b, 1, "hello", false)
	s.ok(err)
	_, messages := s.inbox(b, 1)
	genesis, _ := Genesis()
	entry := a.next(a.head)
	for _, change := range []struct {
		name string
		make func(store.Spend) error
	}{
		{"Log", func(spend store.Spend) error {
			return s.Log(s.ctx, store.Answer{Spend: spend, Account: a.id, Head: a.head, Reveal: &store.RevealLimit{Device: 1, PerHour: 9, PerDay: 9}})
		}},
		{"Attest", func(spend store.Spend) error {
			return s.Attest(s.ctx, store.Attestation{Spend: spend, Account: a.id, Device: 1, Sequence: 1, Bytes: []byte("attestation")})
		}},
		{"Send", func(spend store.Spend) error {
			_, err := s.Send(s.ctx, store.Sending{Spend: spend, PerPair: 9, PerBox: 9,
				Message: store.Message{From: &a.id, To: b.id, Kind: 1, Body: []byte("again"), Time: s.now}})
			return err
		}},
		{"Acknowledge", func(spend store.Spend) error {
			return s.Acknowledge(s.ctx, store.Acknowledgement{Spend: spend, Account: b.id, Device: 1, Active: []uint64{1, 2}, IDs: messages})
		}},
		{"Start", func(spend store.Spend) error {
			return s.Start(s.ctx, store.Start{Spend: spend, Head: a.head, Recovery: s.recovery(a, 2), Limit: 3, Stale: s.now.Add(-time.Hour)})
		}},
		{"Approve", func(spend store.Spend) error {
			return s.Approve(s.ctx, store.Approval{Spend: spend, Account: a.id, Head: a.head, Recovery: started.ID, Holder: "member/1", Approval: []byte("yes")})
		}},
		{"Reply", func(spend store.Spend) error {
			return s.Reply(s.ctx, store.Replying{Spend: spend, Account: a.id, Head: a.head, ID: ledger.Hash{1}, Reply: store.Reply{Device: 2, Bytes: []byte("yes")}})
		}},
		{"Join", func(spend store.Spend) error {
			return s.Join(s.ctx, store.Joining{Spend: spend, Head: a.head, Limit: 3, Join: store.Join{
				ID: ledger.Hash{1}, Account: a.id, Key: []byte("key"), Request: []byte("join"), Received: s.now, Expires: s.now.Add(time.Hour), Source: []byte("here")}})
		}},
		{"Create", func(spend store.Spend) error {
			return s.Create(s.ctx, store.Creation{Spend: spend, Name: "cem", NameKey: "cem", Genesis: genesis})
		}},
		// The last one, because it moves the head.
		{"Append", func(spend store.Spend) error {
			return s.Append(s.ctx, store.Append{Spend: spend, Account: a.id, Head: a.head, Entries: []*ledger.Entry{entry}})
		}},
	} {
		spend := s.logged(a, change.name)
		if change.name == "Create" { // its log begins with it
			spend.Log.Account, _ = genesis.Account()
		}
		if err := change.make(spend); err != nil {
			t.Fatalf("%s: %v", change.name, err)
		}
		_, before, err := s.ActivityLog(s.ctx, spend.Log.Account, 0, 1<<20)
		s.ok(err)
		if err := change.make(spend); err != store.ErrReplayed {
			t.Errorf("%s again: %v, want %v", change.name, err, store.ErrReplayed)
		}
		if _, after, err := s.ActivityLog(s.ctx, spend.Log.Account, 0, 1<<20); err != nil || after != before {
			t.Errorf("%s again: the log ends in %+v, %v, and ended in %+v", change.name, after, err, before)
		}
	}
}
