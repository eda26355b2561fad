package crashtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/seed"
)

// family is an account and its contact, which write one after the other. Several
// families write at the same time.
type family struct {
	owner, contact *party
	step           int // of what makes the epoch recoverable
	turn           int
	told           []byte         // newest head that the contact was sent, acknowledged
	recoveries     [2]*recovering // newest that were started, acknowledged; the newest one is first
}

// recovering is a recovery that was started.
type recovering struct {
	request  *ledger.RecoveryRequest
	begun    *apiv1.Recovery
	approved bool // acknowledged
	vetoed   bool
}

func newFamily(w *wire) (*family, error) {
	f := &family{}
	var err error
	if f.owner, err = newParty(w, "owner"); err != nil {
		return nil, err
	}
	f.contact, err = newParty(w, "contact")
	return f, err
}

// full says whether the family has written so much that another one should begin:
// a ledger is folded at each start.
func (f *family) full() bool { return len(f.owner.entries) > mostEntries }

const mostEntries = 60

// write makes the next write.
func (f *family) write(ctx context.Context) error {
	for _, p := range []*party{f.contact, f.owner} {
		if p.doubt != nil {
			return p.settle(ctx)
		}
	}
	o := f.owner
	beginning := []func() error{
		func() error { return o.prepare(ctx) },
		func() error { return o.serverReceipt(ctx) },
		func() error { return o.bind(ctx, f.contact) },
		func() error { return o.receipt(ctx, f.contact) },
		func() error { return o.add(ctx, nil, &recordv1.EpochCommitted{Epoch: 1}) },
	}
	// An entry that is in doubt stands when it is settled, so the step is done.
	if f.step < len(beginning) {
		if have := len(o.entries) - 1; have > f.step {
			f.step = have
			return nil
		}
		err := beginning[f.step]()
		if err == nil {
			f.step++
		}
		return err
	}
	writes := []func(context.Context) error{
		f.attest, f.put, f.lock, f.reveal, f.lock, f.startRecovery, f.approve, f.lock, f.put, f.tell, f.lock, f.put, f.veto,
	}
	f.turn++
	return writes[f.turn%len(writes)](ctx)
}

// put stores a secret.
func (f *family) put(ctx context.Context) error {
	p := f.owner
	counter := p.state.Counter(p.device.number) + 1
	key, err := p.master.SlotKey(p.device.number, counter)
	if err != nil {
		return err
	}
	slot := [16]byte(random(16))
	record, share, err := credential.NewPut(rand.Reader, credential.Put{
		Account: p.id, Slot: slot, Version: 1, Epoch: 1, Device: p.device.number, Counter: counter,
		SlotKey: key, ServerSealKey: p.w.seal,
		Generation: p.generation.Number, MetadataKey: p.generation.Metadata, DeviceShareKey: p.generation.DeviceShare,
		Metadata: &recordv1.SlotMetadata{Kind: recordv1.SlotMetadata_KIND_NOTE, Title: "title"},
		Secret:   &recordv1.Secret{Notes: note(slot), Kind: &recordv1.Secret_Note{Note: &recordv1.Note{}}},
	})
	if err != nil {
		return err
	}
	return p.add(ctx, []*recordv1.SealedServerShare{share}, record)
}

func note(slot ledger.SlotID) string { return fmt.Sprintf("the secret of slot %x", slot) }

// reveal gets back the newest secret.
func (f *family) reveal(ctx context.Context) error {
	p := f.owner
	slots := p.state.LiveSlots()
	if len(slots) == 0 {
		return nil
	}
	slot := slots[len(slots)-1]
	v := &apiv1.SlotVersion{Slot: slot.ID[:], Version: slot.Version, Epoch: 1}
	answer := &apiv1.RevealAnswer{}
	s, err := p.w.ask(ctx, reveal, p.identity(), &apiv1.RevealRequest{Slots: []*apiv1.SlotVersion{v}, Purpose: api.PurposeGet}, answer, func(r *apiv1.SignedRequest) {
		api.Confirm(r, apiv1.Confirmation_KEY_CONFIRM, p.device.number, p.device.confirm)
	})
	if err != nil {
		return err
	}
	opened, err := api.OpenReveal(p.device.seal, api.RevealPlace{Account: p.id, Request: s.hash, Device: p.device.number}, answer.Sealed)
	if err != nil {
		return err
	}
	put := slot.VersionPut(v.Version, v.Epoch)
	own, err := credential.OpenDeviceShare(p.generation.DeviceShare, p.id, put, put.Secret.SealedDeviceShare, put.Secret.Generation, put.Device)
	if err != nil {
		return err
	}
	secret, err := credential.OpenSecret(p.id, put, own, opened.Shares[0].Share)
	if err != nil {
		return err
	}
	if secret.Notes != note(slot.ID) {
		return fmt.Errorf("slot %x is %q", slot.ID, secret.Notes)
	}
	p.wrote("reveal", s, nil)
	return nil
}

// attestation is the device's of its head.
func (f *family) attestation() ([]byte, error) {
	p := f.owner
	h := p.state.Head()
	return ledger.NewAttestation(&recordv1.Attestation{
		Account: p.id[:], Epoch: 1, Sequence: h.Sequence, Head: h.Hash[:], Nonce: random(api.NonceSize), Time: uint64(time.Now().UnixMilli()),
		Holder: &recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: p.device.number},
	}, p.device.sign)
}

// attest leaves an attestation with the server.
func (f *family) attest(ctx context.Context) error {
	b, err := f.attestation()
	if err != nil {
		return err
	}
	p := f.owner
	s, err := p.w.ask(ctx, attest, p.identity(), &apiv1.AttestRequest{Attestation: b, Nonce: random(api.NonceSize)}, &apiv1.AttestAnswer{}, nil)
	if err == nil {
		p.w.acknowledged()
		p.attested, p.spent = p.state.Head().Sequence, s
	}
	return err
}

// tell sends the contact the newest head.
func (f *family) tell(ctx context.Context) error {
	p := f.owner
	proof, err := f.attestation()
	if err != nil {
		return err
	}
	body, err := canonical.Marshal(&recordv1.OwnerHead{Head: &recordv1.ProvedHead{Server: p.proof, Device: proof}})
	if err != nil {
		return err
	}
	message := &apiv1.Message{To: f.contact.id[:], Kind: apiv1.Message_KIND_OWNER_HEAD, Body: body}
	f.told = nil // until it is known whether the new one took the place of the old one
	s, err := p.w.ask(ctx, sendMessage, p.identity(), &apiv1.SendMessageRequest{Message: message}, &apiv1.SendMessageAnswer{}, nil)
	if err == nil {
		f.told = body
		p.wrote("message", s, nil)
	}
	return err
}

// startRecovery starts a recovery by a new device.
func (f *family) startRecovery(ctx context.Context) error {
	m, err := newMachine(0)
	if err != nil {
		return err
	}
	p := f.owner
	b, err := ledger.NewRecoveryRequest(&recordv1.RecoveryRequest{
		Account: p.id[:], Nonce: random(api.NonceSize), SignKey: m.sign.PublicKey().Bytes(), SealKey: m.seal.PublicKey().Bytes(),
		ConfirmKey: m.confirm.PublicKey().Bytes(), Time: uint64(time.Now().UnixMilli()), Server: p.w.sign.Bytes(),
	}, m.sign)
	if err != nil {
		return err
	}
	request, err := ledger.ParseRecoveryRequest(b)
	if err != nil {
		return err
	}
	answer := &apiv1.StartRecoveryAnswer{}
	s, err := p.w.ask(ctx, startRecovery, api.Identity{Account: &p.id, Key: m.sign}, &apiv1.StartRecoveryRequest{Request: b}, answer, nil)
	if err == nil {
		f.recoveries = [2]*recovering{{request: request, begun: answer.Recovery}, f.recoveries[0]}
		p.wrote("recovery", s, nil)
	}
	return err
}

// approve has the contact approve the newest recovery.
func (f *family) approve(ctx context.Context) error {
	r := f.recoveries[0]
	if r == nil || r.vetoed {
		return nil
	}
	o, now := f.owner, time.Now()
	id := r.request.ID()
	key, err := seed.ShareKey(f.contact.held, o.id, 1, 1)
	if err != nil {
		return err
	}
	approval, err := ledger.NewApproval(&recordv1.Approval{
		Request: id[:], Account: o.id[:], Epoch: 1, Holder: &recordv1.Holder{Kind: recordv1.Holder_KIND_MEMBER, Number: 1},
		SignKey: r.request.SignKey().Bytes(), SealKey: r.request.SealKey().Bytes(),
		NotBefore: uint64(now.Add(-time.Second).UnixMilli()), Expiry: uint64(now.Add(time.Hour).UnixMilli()),
	}, key)
	if err != nil {
		return err
	}
	share, err := recovery.SealShare(rand.Reader, f.contact.held, 1, r.request)
	if err != nil {
		return err
	}
	s, err := o.w.ask(ctx, approve, f.contact.identity(), &apiv1.ApproveRequest{Approval: approval, SealedShare: share}, &apiv1.ApproveAnswer{}, nil)
	if err == nil {
		r.approved = true
		o.wrote("approval", s, nil) // in the owner's activity log
	}
	return err
}

// veto vetoes the newest recovery.
func (f *family) veto(ctx context.Context) error {
	r := f.recoveries[0]
	if r == nil || r.vetoed {
		return nil
	}
	id := r.request.ID()
	r.vetoed = true // it is when what is in doubt is settled
	return f.owner.add(ctx, nil, &recordv1.RecoveryVetoed{Request: id[:]})
}

// lock makes the contact's epoch and gives its account two devices more, and then
// locks and unlocks one of them in turn. The other one endorses that it is unlocked.
func (f *family) lock(ctx context.Context) error {
	p := f.contact
	switch {
	case p.state.InUse() == nil:
		return p.prepare(ctx)
	case len(p.others) == 0:
		return p.addDevices(ctx, 2)
	}
	number := p.others[0].number
	if d, _ := p.state.Device(number); d.Status == ledger.Locked {
		return p.add(ctx, nil, &recordv1.DeviceUnlocked{Device: number})
	}
	return p.add(ctx, nil, &recordv1.DeviceLocked{Device: number})
}
