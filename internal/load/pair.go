package load

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
)

// GrowPairs makes accounts with two devices until there are so many.
func (p *Population) GrowPairs(ctx context.Context, accounts int) error {
	return grow(ctx, &p.Pairs, accounts, nil, func(ctx context.Context, i int) (*Account, error) {
		a, err := p.create(ctx, fmt.Sprintf("pair-%d", i))
		if err != nil {
			return nil, err
		}
		return a, p.addDevice(ctx, a)
	})
}

// addDevice adds a second device, as both agree.
func (p *Population) addDevice(ctx context.Context, a *Account) error {
	author := a.devices[0]
	d, err := newDevice(rand.Reader, 2)
	if err != nil {
		return err
	}
	keys, err := a.keys.SealTo(rand.Reader, a.ID, author.number, d.entered())
	if err != nil {
		return err
	}
	share, err := seed.SealDeviceShare(rand.Reader, a.ID, 1, author.number, d.entered(), p.origin.device)
	if err != nil {
		return err
	}
	added := &recordv1.DeviceAdded{
		Device: d.number, Keys: d.public(), Generations: []*recordv1.GenerationKeys{keys},
		SeedShares: []*recordv1.SealedToEpoch{{Epoch: 1, Sealed: share}},
	}
	now := time.Now()
	proposal, records, err := a.confirmed(rand.Reader, author, now, added)
	if err != nil {
		return err
	}
	proposal.Endorsements = append(proposal.Endorsements, &recordv1.Endorsement{
		Role: recordv1.Endorsement_ROLE_NEW_DEVICE, Device: d.number,
		Signature: d.sign.Sign(ledger.ProposalContext(a.ID, proposal, author.number, records, recordv1.Endorsement_ROLE_NEW_DEVICE, d.number)),
	})
	entry, err := a.entry(author, now, proposal, added)
	if err != nil {
		return err
	}
	a.devices = append(a.devices, d)
	_, err = p.append(ctx, a, author, &apiv1.AppendRequest{Entries: [][]byte{entry.Bytes()}})
	return err
}

// RevealConfirmed asks for the slot of pair i, has the other device see and confirm
// that, and asks again.
func (p *Population) RevealConfirmed(i int) (Task, error) {
	a := p.Pairs[i]
	asking, other := a.devices[0], a.devices[1]
	question, err := a.question()
	if err != nil {
		return nil, err
	}
	again, err := p.revealed(a, asking, question)
	if err != nil {
		return nil, err
	}
	first := again
	first.Refused = api.ErrConfirmationPending
	pending, err := ask(p, a.who(other), apiv1connect.ServerServicePendingProcedure, &apiv1.PendingRequest{}, func(answer *apiv1.PendingAnswer, _ [32]byte) error {
		if !slices.ContainsFunc(answer.Waiting, func(w *apiv1.Waiting) bool { return api.RequestHash(w.Request) == first.Hash }) {
			return errors.New("the other device is not shown what waits for it")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	confirmation, err := api.NewConfirmation(first.Hash, apiv1.Confirmation_KEY_SIGN, other.number, other.sign)
	if err != nil {
		return nil, err
	}
	confirm, err := ask(p, a.who(other), apiv1connect.ServerServiceConfirmProcedure,
		&apiv1.ConfirmRequest{Id: first.Hash[:], Confirmation: confirmation}, func(*apiv1.ConfirmAnswer, [32]byte) error { return nil })
	if err != nil {
		return nil, err
	}
	return Task{first, pending, confirm, again}, nil
}
