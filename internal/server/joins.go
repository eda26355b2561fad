package server

import (
	"context"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// openJoins is how many devices may ask to be added to an account at a time.
// Whoever knows its name can ask, so one more takes the place of the oldest from
// the network that has most of them; see openRecoveries.
const openJoins = 64

// join tells a new device which account has a name, and then takes its request.
// What comes of it is for the account's devices: the server only relays it.
func (s *Server) join(ctx context.Context, a *asked, q *apiv1.JoinRequest) (*apiv1.JoinAnswer, error) {
	if len(q.Request) == 0 {
		id, err := s.accountNamed(ctx, q.Name)
		if err != nil {
			return nil, err
		}
		return &apiv1.JoinAnswer{Account: id[:]}, nil
	}
	acct, err := s.foldedAsker(ctx, a)
	if err != nil {
		return nil, err
	}
	request, err := ledger.ParseDeviceRequest(q.Request)
	if err != nil {
		return nil, api.RefuseRule(api.ErrMalformed, err)
	}
	if !request.SignKey().Equal(a.Key) || a.Header.Device != 0 {
		return nil, api.Refuse(api.ErrUnknownDevice, "the new device asks for itself, without a number")
	}
	if err := acct.state.CheckDeviceRequest(request); err != nil {
		return nil, api.RefuseRule(api.ErrMalformed, err)
	}
	if off := a.now.Sub(request.Time()).Abs(); off > api.JoinLife {
		return nil, api.Refuse(api.ErrClock, "the request was made %s ago: make a new one", off.Round(time.Minute))
	}
	all, err := s.store.Joins(ctx, acct.id, a.now)
	if err != nil {
		return nil, err
	}
	for _, j := range all {
		if j.ID == request.ID() { // asked again: it waits as it did
			return &apiv1.JoinAnswer{Account: acct.id[:], Expires: uint64(j.Expires.UnixMilli())}, nil
		}
	}
	if wait := s.joiners.wait(a.remote, a.now); wait > 0 {
		refusal := api.Refuse(api.ErrRateLimited, "too many devices asked to be added from this address; wait, or ask from another network")
		refusal.RetryAfter = wait
		return nil, refusal
	}
	expires := a.now.Add(api.JoinLife)
	answer := &apiv1.JoinAnswer{Account: acct.id[:], Expires: uint64(expires.UnixMilli())}
	op := store.Joining{Head: acct.state.Head(), Limit: openJoins, Join: store.Join{
		ID: request.ID(), Account: acct.id, Key: a.Key.Bytes(), Request: q.Request,
		Received: a.now, Expires: expires, Source: s.source(a.remote),
	}}
	if op.Spend, err = a.logged(acct.account, answer); err != nil {
		return nil, err
	}
	op.Spend.Alarms = []store.Alarm{s.alarmByAnybody(a, acct.account, notify.DeviceAsks)}
	op.Spend.Changes = []store.Change{change(acct.id, apiv1.Hint_KIND_PENDING, apiv1.Hint_KIND_ACTIVITY)}
	if err := s.store.Join(ctx, op); err != nil {
		return nil, err
	}
	s.hint(op.Spend.Changes...)
	return answer, nil
}

// joins lists the devices that ask to be added, without those that were.
func (s *Server) joins(ctx context.Context, a *asked, _ *apiv1.JoinsRequest) (*apiv1.JoinsAnswer, error) {
	asking, _, err := s.device(ctx, a)
	if err != nil {
		return nil, err
	}
	all, err := s.store.Joins(ctx, asking.id, a.now)
	if err != nil || len(all) == 0 {
		return &apiv1.JoinsAnswer{}, err
	}
	acct, err := s.fold(ctx, asking)
	if err != nil {
		return nil, err
	}
	answer := &apiv1.JoinsAnswer{}
	for _, j := range all {
		request, err := ledger.ParseDeviceRequest(j.Request)
		if err != nil {
			return nil, err
		}
		if acct.state.CheckDeviceRequest(request) != nil {
			continue
		}
		answer.Joining = append(answer.Joining, &apiv1.Joining{
			Request: j.Request, Received: uint64(j.Received.UnixMilli()), Expires: uint64(j.Expires.UnixMilli()),
		})
	}
	return answer, nil
}
