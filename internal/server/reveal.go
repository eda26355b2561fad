package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/credential"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/entropy"
	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
)

// reveal gives the server's shares of slots to a device with a second factor.
func (s *Server) reveal(ctx context.Context, a *asked, q *apiv1.RevealRequest) (*apiv1.RevealAnswer, error) {
	acct, d, err := s.recall(ctx, a)
	if err != nil {
		return nil, err
	}
	names, err := revealed(acct.now, q)
	if err != nil {
		return nil, err
	}
	stored, err := s.store.Shares(ctx, acct.id, names)
	if err != nil {
		return nil, err
	}
	if len(stored) != len(names) {
		return nil, api.Refuse(api.ErrUnknownSlot, "%d of %d shares are there", len(stored), len(names))
	}
	if size := sizeOf(stored); size > api.MaxBody-1<<20 {
		return nil, api.Refuse(api.ErrTooLarge, "%d slots have shares of %d bytes: ask for fewer", len(names), size)
	}
	op, err := s.confirmed(ctx, a, acct, d)
	if err != nil {
		return nil, err
	}
	shares, err := s.revealedShares(acct.id, stored)
	defer eraseShares(shares)
	if err != nil {
		return nil, err
	}
	place := api.RevealPlace{Account: acct.id, Request: a.Hash, Device: d.Number}
	sealed, err := api.SealReveal(s.rand, place, d.SealKey, &apiv1.RevealedShares{Shares: shares})
	if err != nil {
		return nil, err
	}

	answer := &apiv1.RevealAnswer{Sealed: sealed}
	op.Spend.Origin = s.origin(a, acct, true)
	if q.Purpose != api.PurposeGet {
		op.Spend.Alarms = []store.Alarm{s.alarm(a, acct, notify.RevealBulk, notify.Data{Count: len(names)})}
	}
	return answer, s.logAnswer(ctx, a, acct, answer, op)
}

// revealLimit is the policy in force. A device's clock may be a little ahead.
// Every request counts once, however many slots a bulk reveal has: its confirmer
// and the activity log see what it is.
func revealLimit(a *asked, now present, alone bool) *store.RevealLimit {
	at := a.now
	if newest := now.Time(); newest.After(at) {
		at = newest
	}
	policy := now.Policy(at)
	limit := &store.RevealLimit{PerHour: policy.RevealsPerHour, PerDay: policy.RevealsPerDay, Device: a.Header.Device}
	limit.DevicePerHour, limit.DevicePerDay = limit.PerHour, limit.PerDay
	if !alone {
		// A device that asks in a loop leaves something for the others.
		limit.DevicePerHour, limit.DevicePerDay = api.DevicePart(limit.PerHour), api.DevicePart(limit.PerDay)
	}
	return limit
}

// unconfirmed logs a wrong second factor, so that the owner learns of it, and
// counts it as a reveal of that device, so that nobody tries for long. The answer in the log is
// the refusal's details.
func (s *Server) unconfirmed(ctx context.Context, a *asked, acct *account, err error) error {
	var refusal *api.Refusal
	if !errors.As(err, &refusal) || refusal.Reason != api.ErrConfirmationWrong {
		return err
	}
	op := store.Answer{
		Spend:  withAlarms(nil, s.alarm(a, acct, notify.ConfirmationWrong, notify.Data{})),
		Reveal: revealLimit(a, acct.now, isAlone(acct.now)),
	}
	op.Reveal.Failed = true
	if err := s.logAnswer(ctx, a, acct, refusal.Details(), op); err != nil {
		return err
	}
	return refusal
}

// logAnswer makes the record of an answer durable, before it is given. Of
// op.Spend it takes alarms and origin.
func (s *Server) logAnswer(ctx context.Context, a *asked, acct *account, answer proto.Message, op store.Answer) (err error) {
	alarms, origin := op.Spend.Alarms, op.Spend.Origin
	if op.Spend, err = a.logged(acct, answer); err != nil {
		return err
	}
	op.Spend.Alarms, op.Spend.Origin = alarms, origin
	op.Spend.Changes = []store.Change{change(acct.id, apiv1.Hint_KIND_ACTIVITY)}
	op.Account, op.Head = acct.id, acct.now.Head()
	err = s.store.Log(ctx, op)
	a.found(err)
	if err != nil {
		s.usedUp(ctx, a, acct, err)
		return err
	}
	s.hint(op.Spend.Changes...)
	return nil
}

// revealed checks a reveal request and names its shares.
func revealed(now present, q *apiv1.RevealRequest) ([]ledger.ShareID, error) {
	switch {
	case q.Purpose == api.PurposeGet && len(q.Slots) == 1:
	case q.Purpose == api.PurposeExport || q.Purpose == api.PurposeRotation:
	default:
		return nil, api.Refuse(api.ErrMalformed, "the purpose is %q for one slot, or %q or %q for many", api.PurposeGet, api.PurposeExport, api.PurposeRotation)
	}
	if len(q.Slots) == 0 || len(q.Slots) > api.MaxReveals {
		return nil, api.Refuse(api.ErrMalformed, "%d slots", len(q.Slots))
	}
	seen := map[ledger.ShareID]bool{}
	var names []ledger.ShareID
	for _, v := range q.Slots {
		name, err := ledger.SealedShareID(&recordv1.SealedServerShare{
			Kind: recordv1.SealedServerShare_KIND_SLOT, Epoch: v.Epoch, Slot: v.Slot, Version: v.Version,
		})
		if err != nil {
			return nil, api.RefuseRule(api.ErrMalformed, err)
		}
		if !now.HasVersion(name.Slot, v.Version, v.Epoch) {
			return nil, api.Refuse(api.ErrUnknownSlot, "%s is not in the ledger", shareName(name))
		}
		if seen[name] {
			return nil, api.Refuse(api.ErrMalformed, "%s twice", shareName(name))
		}
		seen[name] = true
		names = append(names, name)
	}
	return names, nil
}

// revealedShares decrypts shares of slots. What it returns is to be erased, on an
// error too.
func (s *Server) revealedShares(id ledger.AccountID, stored []store.Share) ([]*apiv1.RevealedShare, error) {
	var shares []*apiv1.RevealedShare
	for _, share := range stored {
		plain, err := s.decryptShare(id, share)
		if err != nil {
			return shares, err
		}
		shares = append(shares, &apiv1.RevealedShare{
			Slot:  &apiv1.SlotVersion{Slot: share.Slot[:], Version: share.Version, Epoch: share.Epoch},
			Share: plain,
		})
	}
	return shares, nil
}

// sizeOf returns about how large an answer with these shares is.
func sizeOf(stored []store.Share) int {
	size := 0
	for _, share := range stored {
		size += len(share.Sealed) + 64
	}
	return size
}

func eraseShares(shares []*apiv1.RevealedShare) {
	for _, share := range shares {
		clear(share.Share)
	}
}

// secondFactor wants another active device to confirm the whole request. The
// asking device's own confirm key counts only while no other is active, and if
// locks made it so, only after the waiting period: or a thief could lock the
// others and go on alone.
func secondFactor(a *asked, now present, asking *ledger.Device, alone bool) error {
	if len(a.Confirmations()) == 0 {
		return api.Refuse(api.ErrConfirmationMissing, "confirm the request")
	}
	for _, c := range a.Confirmations() {
		d, ok := now.Device(c.Device)
		if !ok || d.Status != ledger.Active {
			return api.Refuse(api.ErrConfirmationWrong, "device %d is not active", c.Device)
		}
		key := d.SignKey
		switch {
		case c.Key == apiv1.Confirmation_KEY_SIGN && d.Number != asking.Number:
		case c.Key == apiv1.Confirmation_KEY_CONFIRM && d.Number == asking.Number && alone:
			key = d.ConfirmKey
		default:
			return api.Refuse(api.ErrConfirmationWrong, "another active device must confirm; only a device that is alone may confirm itself")
		}
		if !a.Confirmed(c, key) {
			return api.Refuse(api.ErrConfirmationWrong, "the signature is not device %d's", c.Device)
		}
	}
	if alone {
		return lockWait(a.now, now)
	}
	return nil
}

// lockWait refuses while the newest lock is younger than the waiting period.
func lockWait(at time.Time, now present) error {
	var locked time.Time
	for _, d := range now.Devices() {
		if d.Status == ledger.Locked && d.Changed.Time.After(locked) {
			locked = d.Changed.Time
		}
	}
	if locked.IsZero() {
		return nil
	}
	if wait := locked.Add(now.WaitingPeriod()).Sub(at); wait > 0 {
		refusal := api.Refuse(api.ErrPeriodNotOver, "other devices were locked: this one may confirm itself in %s", wait.Round(time.Second))
		refusal.RetryAfter = wait
		return refusal
	}
	return nil
}

// seedHalf gives the server's half of a new seed. It is kept nowhere.
func (s *Server) seedHalf(ctx context.Context, a *asked, q *apiv1.SeedHalfRequest) (*apiv1.SeedHalfAnswer, error) {
	if err := nonce(q.Nonce); err != nil {
		return nil, err
	}
	acct, d, err := s.device(ctx, a)
	if err != nil {
		return nil, err
	}
	half, sources, err := s.entropy.Half()
	if errors.Is(err, entropy.ErrNoPhysical) {
		return nil, api.Refuse(api.ErrUnavailable, "%v: its operator must see to it", entropy.ErrNoPhysical)
	}
	if err != nil {
		return nil, err
	}
	defer clear(half)
	sealed, err := seed.SealServerHalf(s.rand, acct.id, [16]byte(q.Nonce), d.Number, d.SealKey, half)
	if err != nil {
		return nil, err
	}
	answer := &apiv1.SeedHalfAnswer{Sealed: sealed, Sources: sources}
	return answer, s.logAnswer(ctx, a, acct, answer, store.Answer{})
}

// paperHalf gives the server's half of a member share to the device that bound
// the member to paper, for it to print. An unlocked device that is not the one
// does not get it: that one had a second factor.
func (s *Server) paperHalf(ctx context.Context, a *asked, q *apiv1.PaperHalfRequest) (*apiv1.PaperHalfAnswer, error) {
	acct, d, err := s.foldedDevice(ctx, a)
	if err != nil {
		return nil, err
	}
	e, ok := acct.state.Epoch(q.Epoch)
	if !ok || !slices.Contains(epochsKept(acct.state), q.Epoch) {
		return nil, api.Refuse(api.ErrNotAContact, "epoch %d is neither in use nor prepared", q.Epoch)
	}
	m, ok := e.Member(q.Member)
	if !ok || !m.Paper || m.Receipt {
		return nil, api.Refuse(api.ErrNotAContact, "member %d does not wait for paper", q.Member)
	}
	author, err := s.author(ctx, acct.id, m.BoundAt.Sequence)
	if err != nil {
		return nil, err
	}
	if author != d.Number {
		return nil, api.Refuse(api.ErrNotAContact, "device %d chose paper: print there", author)
	}
	half, err := s.share(ctx, acct.id, waitingShareID(q.Epoch, q.Member), &openedShares{})
	if err != nil {
		return nil, err
	}
	if half == nil {
		return nil, api.Refuse(api.ErrUnavailable, "the server lacks its half: sync, so that the device sends it again")
	}
	defer clear(half)
	place := credential.ContactHalf{Account: acct.id, Epoch: q.Epoch, Member: q.Member, Contact: acct.id, Party: credential.Server}
	sealed, err := place.Seal(s.rand, d.SealKey, half)
	if err != nil {
		return nil, err
	}
	answer := &apiv1.PaperHalfAnswer{Sealed: sealed.Sealed}
	return answer, s.logAnswer(ctx, a, acct.account, answer, store.Answer{})
}

// author returns the device that appended an entry.
func (s *Server) author(ctx context.Context, id ledger.AccountID, sequence uint64) (uint64, error) {
	entry, err := s.entry(ctx, id, sequence)
	if err != nil {
		return 0, err
	}
	e, err := ledger.ParseEntry(entry)
	if err != nil {
		return 0, err
	}
	return e.Author(), nil
}
