package server

import (
	"context"
	"sync"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

const (
	// followPause is how often a server looks for what others over the same data
	// have changed.
	followPause = 250 * time.Millisecond
	// followRest is how long it rests between looks, however much changes here.
	followRest = 20 * time.Millisecond
)

// following is the one loop that looks for changes for all streams of this server,
// while there are any. It looks at once for what was changed here, for whom there
// are streams here, and then wakes them as it does for what came from elsewhere.
type following struct {
	mu      sync.Mutex
	streams int
	looked  time.Time // when that last succeeded, or was begun
	stop    func()
	now     chan struct{} // has room for one
}

// attend has changes followed until the function that it returns is called.
func (s *Server) attend() (leave func()) {
	if !s.followed {
		return func() {}
	}
	f := &s.following
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.streams++; f.streams == 1 {
		f.looked = time.Now()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		follower := s.store.Follow()
		go func() {
			defer close(done)
			s.follow(ctx, follower)
		}()
		f.stop = func() { cancel(); <-done }
	}
	return func() {
		f.mu.Lock()
		stop := func() {}
		if f.streams--; f.streams == 0 {
			stop = f.stop
		}
		f.mu.Unlock()
		stop()
	}
}

// Follows says whether other servers may change the same data, and how long ago
// this one last saw what they did: zero while it has no streams, which alone want to
// know.
func (s *Server) Follows() (follows bool, behind time.Duration) {
	f := &s.following
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.streams > 0 {
		behind = time.Since(f.looked)
	}
	return s.followed, behind
}

// follow wakes streams until ctx ends.
func (s *Server) follow(ctx context.Context, f store.Follower) {
	defer func() { _ = f.Close() }() // it only reads
	again := time.NewTicker(followPause)
	defer again.Stop()
	rest := time.NewTimer(0)
	defer rest.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-rest.C:
		}
		changes, all, err := f.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			s.log.Error("what other servers change cannot be followed for now", "error", err)
		case all:
			s.hub.hintAll()
		}
		if failing = err != nil; !failing {
			s.following.mu.Lock()
			s.following.looked = time.Now()
			s.following.mu.Unlock()
		}
		for _, c := range changes {
			s.hub.hint(c.Account, c.Kinds)
		}
		rest.Reset(followRest)
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		case <-s.following.now:
		}
	}
}

// change says what an account's devices may want to ask for.
func change(account ledger.AccountID, kinds ...apiv1.Hint_Kind) store.Change {
	c := store.Change{Account: account}
	for _, kind := range kinds {
		c.Kinds |= 1 << kind
	}
	return c
}

// everyKind is all that this program knows; a newer one may write others.
var everyKind = change(ledger.AccountID{}, apiv1.Hint_KIND_LEDGER, apiv1.Hint_KIND_PENDING, apiv1.Hint_KIND_ACTIVITY,
	apiv1.Hint_KIND_INBOX, apiv1.Hint_KIND_RECOVERY).Kinds

// hint tells devices that it is worth asking again. It comes after the changes are
// durable, which had them in their transaction.
func (s *Server) hint(changes ...store.Change) {
	for _, c := range changes {
		switch {
		case !s.followed:
			s.hub.hint(c.Account, c.Kinds)
		case s.hub.has(c.Account):
			wake(s.following.now)
		}
	}
}

// wake wakes whoever waits, or will wait.
func wake(waiting chan struct{}) {
	select {
	case waiting <- struct{}{}:
	default: // it will wake anyway
	}
}

// recoveryChanges are those of a recovery: to the account's devices, and to those
// of its contacts.
func recoveryChanges(state *ledger.State) []store.Change {
	changes := []store.Change{change(state.Account(), apiv1.Hint_KIND_RECOVERY)}
	e := state.InUse()
	if e == nil {
		return changes
	}
	for _, m := range e.Members {
		if m.Contact != nil && len(m.Contact.Account) == len(ledger.AccountID{}) {
			changes = append(changes, change(ledger.AccountID(m.Contact.Account), apiv1.Hint_KIND_RECOVERY))
		}
	}
	return changes
}
