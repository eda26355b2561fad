package server

import (
	"context"
	"errors"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
)

// takeOverTime is how long a new device that got the server's share, and found
// the ledger moved on, has the ledger to itself. Else a thief who writes in a loop
// on a stolen device would be faster every time, and no recovery would end.
const takeOverTime = 2 * time.Minute

// pauseFor lets the ledger stand still for the asking device, if its recovery
// would be released now: after a veto it would not.
func (s *Server) pauseFor(ctx context.Context, a *asked, state *ledger.State) error {
	acct := &folded{&account{id: state.Account(), now: state}, state}
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
	return s.store.Pause(ctx, acct.id, a.now.Add(takeOverTime))
}

// mayInterrupt refuses entries that have to wait until a new device has taken
// over. A veto never waits.
func mayInterrupt(a *asked, acct *account, fresh []*ledger.Entry) error {
	left := acct.paused.Sub(a.now)
	if left <= 0 {
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
