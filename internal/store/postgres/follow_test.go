package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
	"zeropass.dev/zeropass/internal/store/sqlstore"
	"zeropass.dev/zeropass/ledger"
)

// next wants a look to find these kinds for an account.
func next(t *testing.T, f store.Follower, id ledger.AccountID, want ...uint64) {
	t.Helper()
	changes, all, err := f.Next(t.Context())
	if err != nil || all {
		t.Fatalf("everything may have changed: %v, %v", all, err)
	}
	found := map[uint64]bool{}
	for _, c := range changes {
		if c.Account == id {
			found[c.Kinds] = true
		}
	}
	if len(found) != len(want) {
		t.Fatalf("it finds %v, want %v", found, want)
	}
	for _, kinds := range want {
		if !found[kinds] {
			t.Fatalf("it finds %v, want %v", found, want)
		}
	}
}

func following(t *testing.T, s *Store) *follower {
	t.Helper()
	f := s.Follow()
	t.Cleanup(func() { _ = f.Close() })
	return f.(*follower)
}

// begin writes a change in a transaction that the caller ends.
func begin(t *testing.T, s *Store, id ledger.AccountID, kinds uint64) (end func() error) {
	t.Helper()
	tx, err := s.db.pool.BeginTx(context.WithoutCancel(t.Context()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.db.Changed(t.Context(), sqlstore.With(tx), []store.Change{{Account: id, Kinds: kinds}}); err != nil {
		t.Fatal(err)
	}
	return tx.Commit
}

// A follower finds each change once, in whatever order transactions end.
func testFollow(t *testing.T, server *postgrestest.Server) {
	s := open(t, Config{URL: server.URL(server.Database(t)), AllowLoss: true})
	defer closed(t, s)
	id, head := create(t, s, "ada")
	f := following(t, s)
	next(t, f, id)
	next(t, f, id)

	late := begin(t, s, id, 1)
	change := spend("changes", id)
	change.Changes = []store.Change{{Account: id, Kinds: 2}, {Account: id, Kinds: 4}}
	if err := s.Append(t.Context(), store.Append{Spend: change, Account: id, Head: head}); err != nil {
		t.Fatal(err)
	}
	next(t, f, id, 2|4)
	early := begin(t, s, id, 8)
	if err := early(); err != nil {
		t.Fatal(err)
	}
	next(t, f, id, 8)
	if err := late(); err != nil {
		t.Fatal(err)
	}
	next(t, f, id, 1)
	next(t, f, id)
	if err := s.Lock(t.Context(), id, now); err != nil {
		t.Fatal(err)
	}
	next(t, f, id, store.AllKinds)

	// Over a new connection it goes by the time, and a change that was committed
	// meanwhile is there although its transaction began before the last look.
	later := begin(t, s, id, 16)
	next(t, f, id)
	if err := later(); err != nil {
		t.Fatal(err)
	}
	server.Exec(t, "postgres", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'zeropass-server'`)
	for {
		if _, _, err := f.Next(t.Context()); err == nil {
			break // what a look after a lost connection found is checked below
		}
	}
	f.snapshot, f.at = "", f.at.Add(-time.Second)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	next(t, f, id, 1, 2|4, 8, 16, store.AllKinds)
	next(t, f, id)

	// Who did not look for long does not know what is gone.
	f.at = f.at.Add(-forgetful - time.Second)
	if _, all, err := f.Next(t.Context()); err != nil || !all {
		t.Errorf("after %v: %v, %v", forgetful, all, err)
	}
	next(t, f, id)
}

// Many write, each in transactions of some length, and one that is old goes on
// all the time: every change is found, and once.
func testFollowMany(t *testing.T, server *postgrestest.Server) {
	s := open(t, Config{URL: server.URL(server.Database(t)), AllowLoss: true})
	defer closed(t, s)
	const writers, each = 8, 40
	f := following(t, s)
	if _, _, err := f.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	var old ledger.AccountID
	old[0] = 255
	end := begin(t, s, old, 1)
	done := make(chan struct{})
	var group sync.WaitGroup
	for writer := range writers {
		group.Go(func() {
			for i := range each {
				id := ledger.AccountID([]byte(fmt.Sprintf("%032d", writer*each+i)))
				commit := begin(t, s, id, 1)
				time.Sleep(rand.N(4 * time.Millisecond))
				if err := commit(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { group.Wait(); close(done) }()
	found := map[ledger.AccountID]int{}
	look := func() {
		changes, all, err := f.Next(t.Context())
		if err != nil || all {
			t.Fatalf("%v, %v", all, err)
		}
		for _, c := range changes {
			found[c.Account]++
		}
	}
	for running := true; running; {
		look()
		select {
		case <-done:
			running = false
		default:
		}
	}
	look()
	if found[old] != 0 {
		t.Error("what is not committed was found")
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	look()
	if len(found) != writers*each+1 {
		t.Errorf("%d of %d changes were found", len(found), writers*each+1)
	}
	for id, n := range found {
		if n != 1 {
			t.Errorf("%v was found %d times", id, n)
		}
	}
}

// Changes are removed by those that come later, once every follower has read them
// or gave up.
func testChangesAreRemoved(t *testing.T, server *postgrestest.Server) {
	name := server.Database(t)
	s := open(t, Config{URL: server.URL(name), AllowLoss: true})
	defer closed(t, s)
	for i := range 20 {
		if err := begin(t, s, ledger.AccountID{byte(i)}, 1)(); err != nil {
			t.Fatal(err)
		}
	}
	server.Exec(t, name, `UPDATE changes SET time = time - interval '16 minutes'`)
	for i := range 3 {
		if err := begin(t, s, ledger.AccountID{byte(100 + i)}, 1)(); err != nil {
			t.Fatal(err)
		}
	}
	var left int
	if err := s.db.pool.QueryRow(`SELECT COUNT(*) FROM changes`).Scan(&left); err != nil || left != 3 {
		t.Errorf("%d changes are left, %v, want the 3 new ones", left, err)
	}
}
