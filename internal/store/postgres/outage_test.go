package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
	"zeropass.dev/zeropass/internal/store/storetest"
	"zeropass.dev/zeropass/ledger"
)

// cutter stands between the store and PostgreSQL, and cuts connections at commits.
type cutter struct {
	commit []byte       // is in what brings one: the name that it has
	before atomic.Int64 // so many commits are cut before they reach PostgreSQL
	after  atomic.Int64 // so many when it has answered
	gone   atomic.Bool  // nothing reaches it any more after a cut
	cuts   atomic.Int64
}

// newCutter returns a cutter and the database's URL through it.
func newCutter(t *testing.T, direct string) (*cutter, string) {
	t.Helper()
	c := &cutter{commit: fmt.Appendf(nil, "\x00%s\x00", statementName(ending))}
	return c, postgrestest.Between(t, direct, c.connect)
}

// takes says whether one of so many is left, and takes it.
func takes(left *atomic.Int64) bool {
	for n := left.Load(); n > 0; n = left.Load() {
		if left.CompareAndSwap(n, n-1) {
			return true
		}
	}
	return false
}

// connect passes on what goes both ways until a commit is to be cut.
func (c *cutter) connect(client, server net.Conn) {
	if c.gone.Load() {
		return
	}
	var withheld atomic.Bool
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		for b := make([]byte, 64<<10); ; {
			n, err := server.Read(b)
			if withheld.Load() { // the answer to the commit
				return
			}
			if _, writeErr := client.Write(b[:n]); err != nil || writeErr != nil {
				_ = client.Close()
				return
			}
		}
	}()
	defer func() { <-answered }()
	defer func() { _ = server.Close() }()
	for b := make([]byte, 64<<10); ; {
		n, err := client.Read(b)
		if bytes.Contains(b[:n], c.commit) {
			switch {
			case takes(&c.before):
				c.cuts.Add(1)
				return
			case takes(&c.after):
				withheld.Store(true)
				c.cuts.Add(1)
				_, _ = server.Write(b[:n])
				<-answered
				return
			}
		}
		if _, writeErr := server.Write(b[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

// testCut loses the connection in the middle of commits. What was committed is not
// done again, what was not is.
func testCut(t *testing.T, server *postgrestest.Server) {
	direct := server.URL(server.Database(t))
	c, through := newCutter(t, direct)
	s := open(t, Config{URL: through, AllowLoss: true})
	defer closed(t, s)
	entry, key := storetest.Genesis()
	id, _ := entry.Account()
	if err := s.Create(t.Context(), store.Creation{Spend: spend("create"), Name: "ada", NameKey: "ada", Genesis: entry}); err != nil {
		t.Fatal(err)
	}
	head, logged, sent := entry.Head(), 0, []uint64{}
	for round, left := range []*atomic.Int64{&c.before, &c.after, &c.before, &c.after} {
		cuts := c.cuts.Load()
		left.Store(1)
		next := storetest.Next(id, key, head)
		op := store.Append{Spend: spend(fmt.Sprint("append ", round), id), Account: id, Head: head, Entries: []*ledger.Entry{next}}
		if err := s.Append(t.Context(), op); err != nil {
			t.Fatalf("round %d: append: %v", round, err)
		}
		if err := s.Append(t.Context(), op); !errors.Is(err, store.ErrReplayed) {
			t.Errorf("round %d: the same append: %v", round, err)
		}
		head = next.Head()
		left.Store(2)
		number, err := s.Send(t.Context(), store.Sending{Spend: spend(fmt.Sprint("send ", round), id),
			Message: store.Message{From: &id, To: id, Body: []byte("m"), Time: now}, PerPair: 99, PerBox: 99})
		if err != nil {
			t.Fatalf("round %d: send: %v", round, err)
		}
		sent = append(sent, number)
		logged += 2
		if done := c.cuts.Load() - cuts; done < 2 {
			t.Fatalf("round %d: %d connections were cut, so this tests nothing", round, done)
		}
		left.Store(0)
		if a, err := s.Account(t.Context(), id); err != nil || a.Head != head {
			t.Fatalf("round %d: head %v, %v, want %v", round, a.Head, err, head)
		}
		if _, end, err := s.ActivityLog(t.Context(), id, 0, 1); err != nil || end.Sequence != uint64(logged) {
			t.Fatalf("round %d: %d activities, %v, want %d", round, end.Sequence, err, logged)
		}
		messages, _, err := s.Inbox(t.Context(), id, 1, 0, 1000)
		if err != nil || len(messages) != len(sent) || messages[len(sent)-1].ID != number {
			t.Fatalf("round %d: messages %v, %v, want %v", round, messages, err, sent)
		}
	}

	// When the database does not come back, nobody knows. A refusal is known.
	s.db.retry = 50 * time.Millisecond
	c.gone.Store(true)
	c.after.Store(1)
	err := s.Attest(t.Context(), store.Attestation{Spend: spend("unknown", id), Account: id, Device: 1, Bytes: []byte("a")})
	if !errors.Is(err, store.ErrUnknown) || errors.Is(err, store.ErrFailed) {
		t.Errorf("the database went away in a commit: %v", err)
	}
	if err := s.Attest(t.Context(), store.Attestation{Spend: spend("known", id), Account: id, Device: 1}); err == nil || errors.Is(err, store.ErrUnknown) {
		t.Errorf("the database is away: %v", err)
	}
	if _, err := s.Attestations(t.Context(), id); err == nil {
		t.Error("the database is away, and answers")
	}
	c.gone.Store(false)
	if err := s.Attest(t.Context(), store.Attestation{Spend: spend("unknown", id), Account: id, Device: 1, Bytes: []byte("a")}); !errors.Is(err, store.ErrReplayed) {
		t.Errorf("what was not known is found out: %v", err)
	}
}

// testCrash lets PostgreSQL crash while a server writes. It goes on by
// itself when it is back, and everything is there once.
func testCrash(t *testing.T, server *postgrestest.Server, s *Store) {
	const writers = 4
	id, _ := create(t, s, "crash")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var acknowledged atomic.Int64
	var group sync.WaitGroup
	for writer := range writers {
		group.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				err := s.Attest(ctx, store.Attestation{Spend: spend(fmt.Sprint(writer, " ", i), id), Account: id, Device: uint64(writer), Sequence: uint64(i), Bytes: []byte("a")})
				if err != nil {
					t.Errorf("writer %d: %v", writer, err)
					return
				}
				acknowledged.Add(1)
			}
		})
	}
	for range 2 {
		// In the middle of writing.
		for before := acknowledged.Load(); acknowledged.Load() < before+10 && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
		server.Crash()
		server.Run(t)
	}
	stop()
	group.Wait()
	server.Crash()
	server.Run(t)
	// Also what only reads goes on, whichever connection it gets.
	for range 2 * writers {
		if _, err := s.Account(t.Context(), id); err != nil {
			t.Errorf("reading after a crash: %v", err)
		}
	}
	if _, end, err := s.ActivityLog(t.Context(), id, 0, 1); err != nil || end.Sequence != uint64(acknowledged.Load()) {
		t.Errorf("%d were acknowledged, %d are there, %v", acknowledged.Load(), end.Sequence, err)
	}
}
