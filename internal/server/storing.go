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
// they wait for the disk.
type storing struct{ store.Store }

// stored makes a change outside of the place that ctx has, if it has one.
func stored(ctx context.Context, change func() error) error {
	if p, ok := ctx.Value(placeKey{}).(*place); ok {
		return p.store(change)
	}
	return change()
}

func (s storing) Create(ctx context.Context, c store.Creation) error {
	return stored(ctx, func() error { return s.Store.Create(ctx, c) })
}

func (s storing) Append(ctx context.Context, a store.Append) error {
	return stored(ctx, func() error { return s.Store.Append(ctx, a) })
}

func (s storing) Pause(ctx context.Context, id ledger.AccountID, until time.Time) error {
	return stored(ctx, func() error { return s.Store.Pause(ctx, id, until) })
}

func (s storing) Log(ctx context.Context, a store.Answer) error {
	return stored(ctx, func() error { return s.Store.Log(ctx, a) })
}

func (s storing) Attest(ctx context.Context, a store.Attestation) error {
	return stored(ctx, func() error { return s.Store.Attest(ctx, a) })
}

func (s storing) Send(ctx context.Context, m store.Sending) (number uint64, err error) {
	err = stored(ctx, func() error {
		number, err = s.Store.Send(ctx, m)
		return err
	})
	return number, err
}

func (s storing) Acknowledge(ctx context.Context, a store.Acknowledgement) error {
	return stored(ctx, func() error { return s.Store.Acknowledge(ctx, a) })
}

func (s storing) Start(ctx context.Context, r store.Start) error {
	return stored(ctx, func() error { return s.Store.Start(ctx, r) })
}

func (s storing) Approve(ctx context.Context, a store.Approval) error {
	return stored(ctx, func() error { return s.Store.Approve(ctx, a) })
}

func (s storing) Keep(ctx context.Context, k store.Keeping) (kept store.Kept, err error) {
	err = stored(ctx, func() error {
		kept, err = s.Store.Keep(ctx, k)
		return err
	})
	return kept, err
}

func (s storing) Reply(ctx context.Context, r store.Replying) error {
	return stored(ctx, func() error { return s.Store.Reply(ctx, r) })
}

func (s storing) EraseKept(ctx context.Context, now time.Time) error {
	return stored(ctx, func() error { return s.Store.EraseKept(ctx, now) })
}

func (s storing) Join(ctx context.Context, j store.Joining) error {
	return stored(ctx, func() error { return s.Store.Join(ctx, j) })
}

func (s storing) Raise(ctx context.Context, now time.Time, alarms ...store.Alarm) error {
	return stored(ctx, func() error { return s.Store.Raise(ctx, now, alarms...) })
}
