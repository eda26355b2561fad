package server

import (
	"context"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// placeKey is where a request's context has its *place.
type placeKey struct{}

// storing is a store in front of which requests give their places to others while
// they wait for the disk, and which says when alarms may have been raised.
type storing struct {
	store.Store
	raised chan struct{}
}

// spends makes a change that spends something, as [storing.stored] does.
func (s storing) spends(ctx context.Context, spend store.Spend, change func() error) error {
	err := s.stored(ctx, change)
	if err == nil && (len(spend.Alarms) > 0 || spend.Origin != nil) {
		wake(s.raised)
	}
	return err
}

// stored makes a change outside of the place that ctx has, if it has one.
func (storing) stored(ctx context.Context, change func() error) error {
	if p, ok := ctx.Value(placeKey{}).(*place); ok {
		return p.store(change)
	}
	return change()
}

func (s storing) Create(ctx context.Context, c store.Creation) error {
	return s.spends(ctx, c.Spend, func() error { return s.Store.Create(ctx, c) })
}

func (s storing) Append(ctx context.Context, a store.Append) error {
	return s.spends(ctx, a.Spend, func() error { return s.Store.Append(ctx, a) })
}

func (s storing) Pause(ctx context.Context, id ledger.AccountID, until time.Time) error {
	return s.stored(ctx, func() error { return s.Store.Pause(ctx, id, until) })
}

func (s storing) Log(ctx context.Context, a store.Answer) error {
	return s.spends(ctx, a.Spend, func() error { return s.Store.Log(ctx, a) })
}

func (s storing) Attest(ctx context.Context, a store.Attestation) error {
	return s.spends(ctx, a.Spend, func() error { return s.Store.Attest(ctx, a) })
}

func (s storing) Send(ctx context.Context, m store.Sending) (number uint64, err error) {
	err = s.spends(ctx, m.Spend, func() error {
		number, err = s.Store.Send(ctx, m)
		return err
	})
	return number, err
}

func (s storing) Acknowledge(ctx context.Context, a store.Acknowledgement) error {
	return s.spends(ctx, a.Spend, func() error { return s.Store.Acknowledge(ctx, a) })
}

func (s storing) Start(ctx context.Context, r store.Start) error {
	return s.spends(ctx, r.Spend, func() error { return s.Store.Start(ctx, r) })
}

func (s storing) Approve(ctx context.Context, a store.Approval) error {
	return s.spends(ctx, a.Spend, func() error { return s.Store.Approve(ctx, a) })
}

func (s storing) Keep(ctx context.Context, k store.Keeping) (kept store.Kept, err error) {
	err = s.spends(ctx, k.Spend, func() error {
		kept, err = s.Store.Keep(ctx, k)
		return err
	})
	return kept, err
}

func (s storing) Reply(ctx context.Context, r store.Replying) error {
	return s.spends(ctx, r.Spend, func() error { return s.Store.Reply(ctx, r) })
}

func (s storing) EraseKept(ctx context.Context, now time.Time) error {
	return s.stored(ctx, func() error { return s.Store.EraseKept(ctx, now) })
}

func (s storing) Join(ctx context.Context, j store.Joining) error {
	return s.spends(ctx, j.Spend, func() error { return s.Store.Join(ctx, j) })
}

func (s storing) Raise(ctx context.Context, now time.Time, alarms ...store.Alarm) error {
	return s.spends(ctx, store.Spend{Alarms: alarms}, func() error { return s.Store.Raise(ctx, now, alarms...) })
}
