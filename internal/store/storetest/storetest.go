// Package storetest is the conformance suite that every [store.Store] passes.
package storetest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// start is when every test begins.
var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// Run runs the suite. open opens the store of one test; called again in the same
// test, it opens the same data, after Close or beside a store that is open.
func Run(t *testing.T, open func(t *testing.T) func() store.Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"claim", testClaim},
		{"create", testCreate},
		{"tokens", testTokens},
		{"backlog", testBacklog},
		{"append", testAppend},
		{"append: one of many wins", testConcurrentAppend},
		{"pause", testPause},
		{"append: nothing of what is refused stays", testAtomic},
		{"shares", testShares},
		{"slot shares in pages", testSlotShares},
		{"log", testLog},
		{"reveals are counted", testReveals},
		{"reveals of a device are counted", testDeviceLimits},
		{"alarms", testAlarms},
		{"alarms: bounds", testAlarmBounds},
		{"alarms: one at a time for each place", testAlarmPlaces},
		{"alarms: many of a kind leave together", testAlarmsTogether},
		{"origins", testOrigins},
		{"nonces", testNonces},
		{"nonces: every change", testSpentOnce},
		{"attestations", testAttestations},
		{"messages", testMessages},
		{"messages: limits", testMessageLimits},
		{"recoveries", testRecoveries},
		{"recoveries: limits", testRecoveryLimits},
		{"recoveries: a flood", testRecoveryFlood},
		{"approvals", testApprovals},
		{"kept requests", testKept},
		{"kept requests: they expire", testKeptExpires},
		{"kept requests: of a device that is stopped", testKeptOfStoppedDevice},
		{"kept requests: limits", testKeptLimits},
		{"kept requests: one answer", testKeptRace},
		{"joins", testJoins},
		{"joins: a flood", testJoinFlood},
		{"kept requests and joins are there after reopening", testPendingReopen},
		{"accounts", testAccounts},
		{"accounts: one is deleted", testRemove},
		{"what is encrypted", testReencrypt},
		{"copies", testCopy},
		{"recoveries begin again", testBeginAgain},
		{"views", testView},
		{"everything is there after reopening", testReopen},
		{"two servers: heads, nonces, names", testTwoHeads},
		{"two servers: tokens", testTwoTokens},
		{"two servers: limits", testTwoLimits},
		{"two servers: inboxes", testTwoInboxes},
		{"two servers: deliveries", testTwoDeliverers},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &suite{t: t, ctx: t.Context(), fresh: open, open: open(t), now: start}
			s.Store = s.open()
			t.Cleanup(func() {
				if err := s.Store.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			test.run(t, s)
		})
	}
}

type suite struct {
	store.Store
	t    *testing.T
	ctx  context.Context
	open func() store.Store
	now  time.Time

	fresh func(*testing.T) func() store.Store // opens other data
}

// account is an account under test, with the key of its device.
type account struct {
	id   ledger.AccountID
	key  *signing.PrivateKey
	head ledger.Head
}

func (s *suite) want(err, want error) {
	s.t.Helper()
	if !errors.Is(err, want) {
		s.t.Fatalf("got error %v, want %v", err, want)
	}
}

func (s *suite) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func (s *suite) spend() store.Spend {
	return store.Spend{Key: random(33), Nonce: random(16), Now: s.now, Expires: s.now.Add(5 * time.Minute)}
}

// logged is a spend that also logs.
func (s *suite) logged(a *account, request string) store.Spend {
	spend := s.spend()
	spend.Log = &store.Log{Account: a.id, Request: []byte(request), Answer: sha256.Sum256([]byte(request))}
	return spend
}

// Genesis makes a ledger's first entry and the key of its device.
func Genesis() (*ledger.Entry, *signing.PrivateKey) {
	key := must(signing.GenerateKey(rand.Reader))
	public := func() []byte { return must(signing.GenerateKey(rand.Reader)).PublicKey().Bytes() }
	seal := func() []byte { return must(hpke.GenerateKey(rand.Reader)).PublicKey().Bytes() }
	record := must(ledger.NewRecord(&recordv1.Genesis{
		Server: &recordv1.Server{Url: "http://localhost", SignKey: public(), SealKey: seal()},
		Device: &recordv1.DeviceKeys{SignKey: key.PublicKey().Bytes(), SealKey: seal(), ConfirmKey: public(), Generation: 1, SealedName: random(40)},
		Policy: &recordv1.Policy{RevealsPerHour: 10, RevealsPerDay: 100},
	}))
	return must(ledger.Draft{Time: start, Author: 1, Records: [][]byte{record}}.Sign(key)), key
}

// create makes an account with this name.
func (s *suite) create(name string) *account {
	s.t.Helper()
	entry, key := Genesis()
	s.ok(s.Create(s.ctx, store.Creation{Spend: s.spend(), Name: name, NameKey: name, Genesis: entry}))
	id, _ := entry.Account()
	return &account{id: id, key: key, head: entry.Head()}
}

// Next makes an entry that follows a head. The store does not ask whether a ledger
// may have it.
func Next(id ledger.AccountID, key *signing.PrivateKey, previous ledger.Head) *ledger.Entry {
	record := must(ledger.NewRecord(&recordv1.RecoveryVetoed{Request: random(32)}))
	return must(ledger.Draft{Account: &id, Previous: previous, Time: start, Author: 1, Records: [][]byte{record}}.Sign(key))
}

func (a *account) next(previous ledger.Head) *ledger.Entry { return Next(a.id, a.key, previous) }

// append appends n entries.
func (s *suite) append(a *account, n int) []*ledger.Entry {
	s.t.Helper()
	var entries []*ledger.Entry
	head := a.head
	for range n {
		entries = append(entries, a.next(head))
		head = entries[len(entries)-1].Head()
	}
	s.ok(s.Append(s.ctx, store.Append{Spend: s.spend(), Account: a.id, Head: a.head, Entries: entries}))
	a.head = head
	return entries
}

func testClaim(t *testing.T, s *suite) {
	s.ok(s.Claim(s.ctx, []byte("keys")))
	s.ok(s.Claim(s.ctx, []byte("keys")))
	s.want(s.Claim(s.ctx, []byte("others")), store.ErrOtherServer)
}

func testCreate(t *testing.T, s *suite) {
	a := s.create("ada")
	got := must(s.Account(s.ctx, a.id))
	if want := (store.Account{ID: a.id, Name: "ada", Head: a.head}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if id := must(s.Named(s.ctx, "ada")); id != a.id {
		t.Errorf("ada is %v, want %v", id, a.id)
	}
	_, err := s.Named(s.ctx, "bob")
	s.want(err, store.ErrNotFound)
	_, err = s.Account(s.ctx, ledger.AccountID{1})
	s.want(err, store.ErrNotFound)

	other, _ := Genesis()
	s.want(s.Create(s.ctx, store.Creation{Spend: s.spend(), Name: "Ada", NameKey: "ada", Genesis: other}), store.ErrNameTaken)
	first := must(ledger.ParseEntry(must(s.Entries(s.ctx, a.id, 0, 1, 1))[0]))
	s.want(s.Create(s.ctx, store.Creation{Spend: s.spend(), Name: "bob", NameKey: "bob", Genesis: first}), store.ErrAccountExists)

	genesis, _ := Genesis()
	id, _ := genesis.Account()
	s.ok(s.Create(s.ctx, store.Creation{Spend: s.spend(), Name: "bob", NameKey: "bob", Genesis: genesis, Verified: [32]byte{1, 31: 1}}))
	if got := must(s.Account(s.ctx, id)).Verified; got != [32]byte{1, 31: 1} {
		t.Errorf("beside Genesis %x was noted", got)
	}
}

func testAppend(t *testing.T, s *suite) {
	a := s.create("ada")
	entries := s.append(a, 5)
	if got := must(s.Account(s.ctx, a.id)).Head; got != a.head {
		t.Errorf("head %v, want %v", got, a.head)
	}
	all := must(s.Entries(s.ctx, a.id, 1, a.head.Sequence, 1<<20))
	if len(all) != 5 {
		t.Fatalf("%d entries after Genesis, want 5", len(all))
	}
	for i, b := range all {
		if string(b) != string(entries[i].Bytes()) {
			t.Errorf("entry %d is not what was appended", i+2)
		}
	}
	if got := must(s.Entries(s.ctx, a.id, 2, 4, 1<<20)); len(got) != 2 {
		t.Errorf("%d entries after 2 up to 4", len(got))
	}
	if got := must(s.Entries(s.ctx, a.id, 1, 6, len(all[0])+1)); len(got) != 2 {
		t.Errorf("a page that the second entry fills has %d", len(got))
	}
	if got := must(s.Entries(s.ctx, a.id, 6, 6, 1)); len(got) != 0 {
		t.Errorf("%d entries after the head", len(got))
	}
	stale := a.next(ledger.Head{Sequence: 1, Hash: must(ledger.ParseEntry(must(s.Entries(s.ctx, a.id, 0, 1, 1))[0])).Hash()})
	s.want(s.Append(s.ctx, store.Append{Spend: s.spend(), Account: a.id, Head: ledger.Head{Sequence: 1}, Entries: []*ledger.Entry{stale}}), store.ErrHeadMoved)
	// Shares alone leave the head where it is.
	s.ok(s.Append(s.ctx, store.Append{Spend: s.spend(), Account: a.id, Head: a.head}))

	// What is noted beside a head goes with it.
	next := a.next(a.head)
	for _, step := range []struct {
		op   store.Append
		err  error
		want byte
	}{
		{store.Append{Head: a.head, Verified: [32]byte{1}}, nil, 1},
		{store.Append{Head: next.Head(), Verified: [32]byte{2}}, store.ErrHeadMoved, 1},
		{store.Append{Head: a.head, Entries: []*ledger.Entry{next}, Verified: [32]byte{3}}, nil, 3},
		{store.Append{Head: a.head, Verified: [32]byte{4}}, store.ErrHeadMoved, 3},
		{store.Append{Head: next.Head()}, nil, 0},
	} {
		step.op.Spend, step.op.Account = s.spend(), a.id
		if err := s.Append(s.ctx, step.op); !errors.Is(err, step.err) {
			t.Errorf("%d is noted: %v, want %v", step.op.Verified[0], err, step.err)
		}
		if got := must(s.Account(s.ctx, a.id)).Verified; got != [32]byte{step.want} {
			t.Errorf("after %d %x is noted", step.op.Verified[0], got)
		}
	}
}

func testConcurrentAppend(t *testing.T, s *suite) {
	a := s.create("ada")
	const rounds, writers = 5, 8
	for range rounds {
		var wg sync.WaitGroup
		won := make(chan ledger.Head, writers)
		for range writers {
			entry := a.next(a.head)
			op := store.Append{Spend: s.spend(), Account: a.id, Head: a.head, Entries: []*ledger.Entry{entry}}
			wg.Go(func() {
				switch err := s.Append(s.ctx, op); {
				case err == nil:
					won <- entry.Head()
				case !errors.Is(err, store.ErrHeadMoved):
					t.Errorf("append: %v", err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d appends to one head won", len(won))
		}
		a.head = <-won
	}
	if got := must(s.Account(s.ctx, a.id)).Head; got != a.head {
		t.Errorf("head %v, want the last winner's %v", got, a.head)
	}
}

// A change that is refused late must leave nothing of what it did early.
func testAtomic(t *testing.T, s *suite) {
	a, b := s.create("ada"), s.create("bob")
	spend := s.logged(a, "append")
	entry := a.next(a.head)
	op := store.Append{
		Spend: spend, Account: a.id, Head: a.head, Entries: []*ledger.Entry{entry, entry}, // the second cannot stand
		Shares:   []store.Share{{ShareID: seedID(1), Key: "k", Sealed: []byte("x")}},
		Messages: []store.Message{{To: b.id, Kind: 3, Body: []byte("half"), Time: s.now}},
		Contacts: []ledger.AccountID{b.id},
	}
	if err := s.Append(s.ctx, op); err == nil {
		t.Fatal("two entries with one number were appended")
	}
	if got := must(s.Account(s.ctx, a.id)).Head; got != a.head {
		t.Errorf("the head moved to %v", got)
	}
	if ids := must(s.ShareIDs(s.ctx, a.id)); len(ids) != 0 {
		t.Errorf("shares stayed: %v", ids)
	}
	if got, _ := must2(s.Inbox(s.ctx, b.id, 1, 0, 1<<20)); len(got) != 0 {
		t.Errorf("messages stayed: %v", got)
	}
	if got := must(s.Owners(s.ctx, b.id)); len(got) != 0 {
		t.Errorf("contacts stayed: %v", got)
	}
	if _, end := must2(s.ActivityLog(s.ctx, a.id, 0, 1<<20)); end.Sequence != 0 {
		t.Errorf("the activity log has %d entries", end.Sequence)
	}
	// Not even the nonce is spent.
	op.Entries = op.Entries[:1]
	s.ok(s.Append(s.ctx, op))
	s.want(s.Append(s.ctx, store.Append{Spend: spend, Account: a.id, Head: entry.Head()}), store.ErrReplayed)
}

func must2[A, B any](a A, b B, err error) (A, B) {
	if err != nil {
		panic(err)
	}
	return a, b
}

func testReopen(t *testing.T, s *suite) {
	a := s.create("ada")
	s.append(a, 3)
	s.ok(s.Log(s.ctx, store.Answer{Spend: s.logged(a, "reveal"), Account: a.id, Head: a.head}))
	s.ok(s.Store.Close())
	s.Store = s.open()
	if got := must(s.Account(s.ctx, a.id)).Head; got != a.head {
		t.Errorf("head %v, want %v", got, a.head)
	}
	if got := must(s.Entries(s.ctx, a.id, 0, a.head.Sequence, 1<<20)); len(got) != 4 {
		t.Errorf("%d entries, want 4", len(got))
	}
	if got, _ := must2(s.ActivityLog(s.ctx, a.id, 0, 1<<20)); len(got) != 1 {
		t.Errorf("%d activities, want 1", len(got))
	}
}
