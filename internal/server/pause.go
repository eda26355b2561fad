package server

import (
	"context"
	"errors"
	"sync"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
)

// takeOverTime is how long a new device that got the server's share, and found
// the ledger moved on, has the ledger to itself.
const takeOverTime = 2 * time.Minute

// pauses are ledgers that stand still while a new device takes over. Else a thief
// who writes in a loop on a stolen device would be faster every time, and no
// recovery would end. They are not kept: after a restart the new device comes
// again.
type pauses struct {
	mu    sync.Mutex
	until map[ledger.AccountID]time.Time
}

func (p *pauses) set(id ledger.AccountID, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until == nil {
		p.until = map[ledger.AccountID]time.Time{}
	}
	p.until[id] = until
}

func (p *pauses) end(id ledger.AccountID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.until, id)
}

// left returns how long the ledger still stands still.
func (p *pauses) left(id ledger.AccountID, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := p.until[id].Sub(now)
	if left <= 0 {
		delete(p.until, id)
		return 0
	}
	return left
}

// pauseFor lets the ledger stand still for the asking device, if its recovery
// would be released now: after a veto it would not.
func (s *Server) pauseFor(ctx context.Context, a *asked, state *ledger.State) error {
	acct := &account{id: state.Account(), state: state}
	r, err := s.openFor(ctx, a, acct.id)
	if err == nil && r.Released {
		_, err = s.releasable(ctx, a, acct, r)
	}
	var refusal *api.Refusal
	switch {
	case errors.As(err, &refusal):
		return nil
	case err != nil:
		return err
	}
	s.pauses.set(acct.id, a.now.Add(takeOverTime))
	return nil
}

// mayInterrupt refuses entries that have to wait until a new device has taken
// over. A veto never waits.
func (s *Server) mayInterrupt(a *asked, id ledger.AccountID, fresh []*ledger.Entry) error {
	left := s.pauses.left(id, a.now)
	if left == 0 {
		return nil
	}
	for _, e := range fresh {
		for _, record := range e.Records() {
			switch record.Kind.(type) {
			case *recordv1.Record_RecoveryVetoed, *recordv1.Record_Recovered:
			default:
				refusal := api.Refuse(api.ErrUnavailable, "a new device is taking over the account, which a quorum of contacts has approved; only a veto is taken now")
				refusal.RetryAfter = left
				return refusal
			}
		}
	}
	return nil
}
