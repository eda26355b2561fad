package server

import (
	"context"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// release gives a new device the server's part of a recovery, a page at a time.
func (s *Server) release(ctx context.Context, a *asked, q *apiv1.ReleaseRequest) (*apiv1.ReleaseAnswer, error) {
	r, acct, asker, err := s.concerned(ctx, a, q.Request)
	if err != nil {
		return nil, err
	}
	if asker != newDevice {
		return nil, api.Refuse(api.ErrUnknownDevice, "a recovery is released to its new device alone")
	}
	st, err := s.releasable(ctx, a, acct, r)
	if err != nil {
		return nil, err
	}
	epoch := acct.state.InUse().Number
	after := bounded(q.After)
	page := &apiv1.ReleasedShares{}
	answer := &apiv1.ReleaseAnswer{Last: after}
	if after == 0 {
		id := ledger.ShareID{Kind: recordv1.SealedServerShare_KIND_SEED, Epoch: epoch}
		if page.SeedShare, err = s.share(ctx, acct.id, id, &openedShares{}); err != nil {
			return nil, err
		}
		if page.SeedShare == nil {
			return nil, api.Refuse(api.ErrUnavailable, "the server lacks its share of the seed: recover without it")
		}
		defer clear(page.SeedShare)
		for _, approval := range st.counted {
			answer.Approvals = append(answer.Approvals, &apiv1.ApprovedShare{Approval: approval.Approval, SealedShare: approval.SealedShare})
		}
	}
	stored, more, err := s.store.SlotShares(ctx, acct.id, epoch, after, api.PageSize)
	if err != nil {
		return nil, err
	}
	page.Shares, err = s.revealedShares(acct.id, stored)
	defer eraseShares(page.Shares)
	if err != nil {
		return nil, err
	}
	if len(stored) > 0 {
		answer.Last = stored[len(stored)-1].Position
	}
	answer.More = more
	place := api.ReleasePlace{Account: acct.id, Epoch: epoch, Recovery: r.ID, After: q.After}
	if answer.Sealed, err = api.SealRelease(s.rand, place, st.request.SealKey(), page); err != nil {
		return nil, err
	}
	op := store.Answer{Released: &r.ID}
	if !r.Released {
		op.Spend.Alarms = []store.Alarm{s.alarm(a, acct.account, notify.RecoveryReleased, notify.Data{})}
	}
	return answer, s.logAnswer(ctx, a, acct.account, answer, op)
}

// releasable refuses unless a quorum's approvals count now, the waiting period
// is over, and no other device has recovered the account since. It does not ask
// for locks: lockdown never blocks a recovery by quorum.
func (s *Server) releasable(ctx context.Context, a *asked, acct *folded, r store.Recovery) (*standing, error) {
	st, err := s.stand(ctx, acct, r, a.now)
	if err != nil {
		return nil, err
	}
	if st.over {
		// Its own device as well: that one reveals with a second factor now.
		return nil, api.Refuse(api.ErrRecoveryOver, "a device has recovered the account; what is lost again needs a new request")
	}
	if !acct.state.Committed() {
		return nil, api.Refuse(api.ErrNotRecoverable, "no quorum of contacts has ever proved its shares")
	}
	if refusal := st.refusal(a.now); refusal != nil {
		return nil, refusal
	}
	return st, nil
}

// refusal says what is missing, nil if nothing is.
func (st *standing) refusal(now time.Time) *api.Refusal {
	wait := max(0, st.ends.Sub(now))
	var refusal *api.Refusal
	switch {
	case !st.enough() && len(st.vetoes) > 0:
		refusal = api.Refuse(api.ErrVetoed, "%d of %d contacts have approved it nevertheless; the waiting period ends at %s", len(st.members), st.quorum, st.ends.Format(time.RFC3339))
	case !st.enough():
		refusal = api.Refuse(api.ErrNotEnoughApprovals, "%d of %d; the waiting period ends at %s", len(st.members), st.quorum, st.ends.Format(time.RFC3339))
	case wait > 0:
		refusal = api.Refuse(api.ErrPeriodNotOver, "it ends at %s; enough contacts have approved", st.ends.Format(time.RFC3339))
	default:
		return nil
	}
	refusal.RetryAfter, refusal.Approvals, refusal.Quorum = wait, uint64(len(st.members)), uint64(st.quorum)
	return refusal
}

// mayReadLedger lets a new device read the ledger from when its recovery may be
// released.
func (s *Server) mayReadLedger(ctx context.Context, a *asked, acct *account) error {
	r, err := s.openFor(ctx, a, acct.id)
	if err != nil {
		return err
	}
	of, err := s.fold(ctx, acct)
	if err != nil {
		return err
	}
	_, err = s.releasable(ctx, a, of, r)
	return err
}

// openFor returns the newest recovery of the account that the asking device
// began.
func (s *Server) openFor(ctx context.Context, a *asked, id ledger.AccountID) (store.Recovery, error) {
	all, err := s.store.Recoveries(ctx, id)
	if err != nil {
		return store.Recovery{}, err
	}
	for i := len(all) - 1; i >= 0; i-- {
		if string(all[i].Key) == string(a.Key.Bytes()) {
			return all[i], nil
		}
	}
	return store.Recovery{}, api.Refuse(api.ErrUnknownRecovery, "start it anew")
}

// releasedTo says whether the asking device was given the server's share.
func (s *Server) releasedTo(ctx context.Context, a *asked, id ledger.AccountID) (bool, error) {
	all, err := s.store.Recoveries(ctx, id)
	if err != nil {
		return false, err
	}
	for _, r := range all {
		if r.Released && string(r.Key) == string(a.Key.Bytes()) {
			return true, nil
		}
	}
	return false, nil
}
