package crashtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
)

// lossError is something that was acknowledged and is not there.
type lossError struct{ text string }

func (e *lossError) Error() string { return "LOST: " + e.text }

func lost(format string, args ...any) error { return &lossError{fmt.Sprintf(format, args...)} }

// prove looks for everything that the server has acknowledged to a family.
func (f *family) prove(ctx context.Context) error {
	for _, p := range []*party{f.contact, f.owner} {
		if err := p.prove(ctx); err != nil {
			// A server that has everything refuses nothing here.
			if refusal := (*api.Refusal)(nil); errors.As(err, &refusal) {
				err = lost("%v", err)
			}
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if err := f.proveMessage(ctx); err != nil {
		return err
	}
	for _, r := range f.recoveries {
		if err := f.proveRecovery(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// prove looks for what one account was acknowledged. What is in doubt is settled
// first: a device cannot go on otherwise either.
func (p *party) prove(ctx context.Context) error {
	if err := p.settle(ctx); err != nil {
		return fmt.Errorf("what was in doubt is not taken: %w", err)
	}
	for _, look := range []func(context.Context) error{p.proveEntries, p.proveShares, p.proveLocks, p.proveActivity, p.proveAttestation, p.proveSpent} {
		if err := look(ctx); err != nil {
			return err
		}
	}
	return nil
}

// recent is how many entries are compared byte for byte; the server's signature
// over its head stands for those before, and zeropass-server check reads them.
const recent = 8

func (p *party) proveEntries(ctx context.Context) error {
	answer := &apiv1.EntriesAnswer{}
	nonce := random(api.NonceSize)
	after := uint64(max(0, len(p.entries)-recent))
	if _, err := p.w.ask(ctx, askEntries, p.identity(), &apiv1.EntriesRequest{After: after, Nonce: nonce}, answer, nil); err != nil {
		return err
	}
	if len(answer.Entries) != len(p.entries)-int(after) {
		return lost("%d entries are there after entry %d, and %d were acknowledged in all", len(answer.Entries), after, len(p.entries))
	}
	for i, b := range answer.Entries {
		if !bytes.Equal(b, p.entries[int(after)+i].Bytes()) {
			return lost("entry %d is another one", int(after)+i+1)
		}
	}
	head, err := ledger.ParseAttestation(answer.Attestation)
	if err != nil {
		return err
	}
	if head.Verify(p.w.sign) != nil || head.Head() != p.state.Head() {
		return lost("the head is %v, and was %v", head.Head(), p.state.Head())
	}
	if len(answer.Missing) > 0 {
		return lost("the server says that it lacks %d shares", len(answer.Missing))
	}
	return nil
}

// proveLocks asks with the account's other devices. The server answers those that are
// not locked, and no other.
func (p *party) proveLocks(ctx context.Context) error {
	for _, m := range p.others {
		who := api.Identity{Account: &p.id, Device: m.number, Key: m.sign}
		_, err := p.w.ask(ctx, askEntries, who, &apiv1.EntriesRequest{After: uint64(len(p.entries)), Nonce: random(api.NonceSize)}, &apiv1.EntriesAnswer{}, nil)
		if d, _ := p.state.Device(m.number); d.Status == ledger.Locked {
			if err == nil {
				return lost("the lock of device %d: the server answers it", m.number)
			}
			if errors.Is(err, api.ErrDeviceLocked) {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("device %d: %w", m.number, err)
		}
	}
	return nil
}

func (p *party) proveShares(ctx context.Context) error {
	if len(p.shares) == 0 {
		return nil
	}
	ask := &apiv1.SealedSharesRequest{}
	want := map[ledger.ShareID]bool{}
	for _, s := range p.shares {
		id, err := ledger.SealedShareID(s)
		if err != nil {
			return err
		}
		// A contact's half is destroyed when its receipt stands.
		if id.Kind != recordv1.SealedServerShare_KIND_WAITING {
			want[id] = true
			ask.Shares = append(ask.Shares, &recordv1.SealedServerShare{Kind: s.Kind, Epoch: s.Epoch, Slot: s.Slot, Version: s.Version, Member: s.Member})
		}
	}
	answer := &apiv1.SealedSharesAnswer{}
	if _, err := p.w.ask(ctx, sealedShares, p.identity(), ask, answer, nil); err != nil {
		return err
	}
	for _, s := range answer.Shares {
		id, err := ledger.SealedShareID(s)
		if err != nil {
			return err
		}
		delete(want, id)
	}
	for id := range want {
		return lost("%d shares, %v for one", len(want), id)
	}
	p.shares = nil
	return nil
}

// proveActivity reads what is new in the activity log. It goes on from what was
// read before, so that nothing of that is lost or changed.
func (p *party) proveActivity(ctx context.Context) error {
	for more := true; more; {
		ask := &apiv1.ActivityLogRequest{Nonce: random(api.NonceSize)}
		if p.activity != nil {
			ask.After = p.activity.Sequence()
		}
		answer := &apiv1.ActivityLogAnswer{}
		if _, err := p.w.ask(ctx, activityLog, p.identity(), ask, answer, nil); err != nil {
			return err
		}
		if answer.Sequence < ask.After {
			return lost("the activity log ends with %d, and had %d", answer.Sequence, ask.After)
		}
		for _, b := range answer.Entries {
			next, err := ledger.ParseActivity(b)
			if err != nil {
				return err
			}
			if err := next.Follows(p.id, p.activity); err != nil {
				return lost("activity %d does not follow what was read before: %v", next.Sequence(), err)
			}
			p.activity = next
			if err := p.found(next); err != nil {
				return err
			}
		}
		more = answer.More
	}
	for _, r := range p.requests {
		return lost("%d activities, of %s for one", len(p.requests), r.what)
	}
	return nil
}

// found takes an activity's request from those that were acknowledged.
func (p *party) found(a *ledger.Activity) error {
	request, _, err := api.ParseLogged(a.Request())
	if err != nil {
		return err
	}
	for i, r := range p.requests {
		if r.hashes[request.Hash] {
			p.requests = append(p.requests[:i], p.requests[i+1:]...)
			return nil
		}
	}
	return nil // it was done, and the answer did not come
}

func (p *party) proveAttestation(ctx context.Context) error {
	if p.attested == 0 {
		return nil
	}
	answer := &apiv1.AttestAnswer{}
	if _, err := p.w.ask(ctx, attest, p.identity(), &apiv1.AttestRequest{Nonce: random(api.NonceSize)}, answer, nil); err != nil {
		return err
	}
	for _, b := range answer.Attestations {
		if a, err := ledger.ParseAttestation(b); err == nil && a.Head().Sequence >= p.attested {
			return nil
		}
	}
	return lost("the device's attestation of entry %d", p.attested)
}

// proveSpent sends a request again that was acknowledged: its nonce must be spent.
func (p *party) proveSpent(ctx context.Context) error {
	if p.spent == nil {
		return nil
	}
	err := p.w.send(ctx, p.spent, &apiv1.AppendAnswer{})
	stands := p.spent.procedure.name == appendEntries.name || p.spent.procedure.name == createAccount.name || p.spent.procedure.name == startRecovery.name
	switch {
	case errors.Is(err, api.ErrReplayed):
		return nil
	case errors.Is(err, api.ErrClock):
		return nil // it is two minutes old, and so refused without its nonce
	case stands && err == nil:
		return nil // it changes nothing a second time, so that no nonce is needed
	case err == nil:
		return lost("the nonce of a %s: it was taken a second time", p.spent.procedure.name)
	}
	return err
}

func (f *family) proveMessage(ctx context.Context) error {
	if f.told == nil {
		return nil
	}
	answer := &apiv1.InboxAnswer{}
	if _, err := f.contact.w.ask(ctx, inbox, f.contact.identity(), &apiv1.InboxRequest{}, answer, nil); err != nil {
		return err
	}
	for _, m := range answer.Messages {
		if bytes.Equal(m.Body, f.told) {
			return nil
		}
	}
	return lost("a message to %s; there are %d others", f.contact.name, len(answer.Messages))
}

func (f *family) proveRecovery(ctx context.Context, began *recovering) error {
	if began == nil {
		return nil
	}
	id := began.request.ID()
	answer := &apiv1.RecoveryStatusAnswer{}
	if _, err := f.owner.w.ask(ctx, recoveryStatus, f.owner.identity(), &apiv1.RecoveryStatusRequest{Request: id[:]}, answer, nil); err != nil {
		if errors.Is(err, api.ErrUnknownRecovery) {
			return lost("the recovery %v", id)
		}
		return err
	}
	r := answer.Recovery
	switch {
	case r.Started != began.begun.Started:
		return lost("the recovery %v began at %d, and now at %d", id, began.begun.Started, r.Started)
	case began.vetoed && len(r.Vetoes) != 1:
		return lost("the veto of %v", id)
	case began.vetoed && r.Approvals != 0:
		return lost("the veto of %v: %d approvals count that were before it", id, r.Approvals)
	case began.approved && !began.vetoed && r.Approvals != 1:
		return lost("the approval of %v", id)
	}
	return nil
}
