package load

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/slip39"
)

// release is what the server gave a new device.
type release struct {
	state     *ledger.State
	approvals []*ledger.Approval
	shares    []*slip39.Share
	server    *recovery.Released
}

// Start begins the recovery of lost account i: the new device finds the account by
// its name and asks, the contact sees the recovery and approves, the new device
// looks how far it is.
func (p *Population) Start(i int) (Task, error) {
	l := p.Lost[i]
	if err := l.ask(p.server.SignKey); err != nil {
		return nil, err
	}
	approval, share, err := p.approval(l)
	if err != nil {
		return nil, err
	}
	theirs := l.contact.who(l.contact.devices[0])
	var t Task
	add := func(call Call, failed error) {
		t, err = append(t, call), errors.Join(err, failed)
	}
	add(ask(p, api.Identity{Key: l.device.sign}, apiv1connect.ServerServiceStartRecoveryProcedure, &apiv1.StartRecoveryRequest{Name: l.Name}, func(answer *apiv1.StartRecoveryAnswer, _ [32]byte) error {
		if string(answer.Account) != string(l.ID[:]) {
			return errors.New("the name is another account's")
		}
		return nil
	}))
	add(ask(p, l.newcomer(), apiv1connect.ServerServiceStartRecoveryProcedure, &apiv1.StartRecoveryRequest{Request: l.request.Bytes()}, func(*apiv1.StartRecoveryAnswer, [32]byte) error { return nil }))
	add(ask(p, theirs, apiv1connect.ServerServiceRecoveriesProcedure, &apiv1.RecoveriesRequest{}, func(*apiv1.RecoveriesAnswer, [32]byte) error { return nil }))
	add(ask(p, theirs, apiv1connect.ServerServiceApproveProcedure, &apiv1.ApproveRequest{Approval: approval, SealedShare: share}, func(answer *apiv1.ApproveAnswer, _ [32]byte) error {
		if answer.Recovery.GetApprovals() != 1 {
			return errors.New("the approval does not count")
		}
		return nil
	}))
	add(ask(p, l.newcomer(), apiv1connect.ServerServiceRecoveryStatusProcedure, &apiv1.RecoveryStatusRequest{Request: l.id()}, func(*apiv1.RecoveryStatusAnswer, [32]byte) error { return nil }))
	return t, err
}

// approval is the contact's approval and its share, sealed to the new device.
func (p *Population) approval(l *Lost) (approval, share []byte, err error) {
	key, err := seed.ShareKey(p.origin.member, l.ID, 1, 1)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	if approval, err = ledger.NewApproval(&recordv1.Approval{
		Request: l.id(), Account: l.ID[:], Epoch: 1, Holder: &recordv1.Holder{Kind: recordv1.Holder_KIND_MEMBER, Number: 1},
		SignKey: l.device.sign.PublicKey().Bytes(), SealKey: l.device.seal.PublicKey().Bytes(),
		NotBefore: uint64(now.Add(-time.Second).UnixMilli()), Expiry: uint64(now.Add(time.Hour).UnixMilli()),
	}, key); err != nil {
		return nil, nil, err
	}
	share, err = recovery.SealShare(rand.Reader, p.origin.member, 1, l.request)
	return approval, share, err
}

// Release takes, when the waiting period is over, what the server gives back to the
// new device of lost account i: its shares, the approvals, the ledger.
func (p *Population) Release(i int) (Task, error) {
	l := p.Lost[i]
	nonce := make([]byte, api.NonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	released, err := ask(p, l.newcomer(), apiv1connect.ServerServiceReleaseProcedure, &apiv1.ReleaseRequest{Request: l.id()}, func(answer *apiv1.ReleaseAnswer, _ [32]byte) error {
		return l.take(answer)
	})
	if err != nil {
		return nil, err
	}
	head := l.head
	entries, err := ask(p, l.newcomer(), apiv1connect.ServerServiceEntriesProcedure, &apiv1.EntriesRequest{Nonce: nonce}, func(answer *apiv1.EntriesAnswer, _ [32]byte) error {
		state, err := p.fold(answer, head, nonce)
		l.got.state = state
		return err
	})
	return Task{released, entries}, err
}

// take opens what was released.
func (l *Lost) take(answer *apiv1.ReleaseAnswer) error {
	place := api.ReleasePlace{Account: l.ID, Epoch: 1, Recovery: l.request.ID()}
	opened, err := api.OpenRelease(l.device.seal, place, answer.Sealed)
	if err != nil {
		return err
	}
	if answer.More || len(answer.Approvals) != 1 || len(opened.Shares) == 0 {
		return errRelease
	}
	own, err := slip39.ParseBinary(opened.SeedShare)
	if err != nil {
		return err
	}
	approval, err := ledger.ParseApproval(answer.Approvals[0].Approval)
	if err != nil {
		return err
	}
	contact, err := recovery.OpenShare(l.device.seal, l.request, approval, answer.Approvals[0].SealedShare)
	if err != nil {
		return err
	}
	l.got.approvals, l.got.shares, l.got.server = []*ledger.Approval{approval}, []*slip39.Share{own, contact}, recovery.NewReleased()
	for _, share := range opened.Shares {
		l.got.server.Add(share.Slot.Epoch, ledger.SlotID(share.Slot.Slot), share.Slot.Version, share.Share)
	}
	return nil
}

// TakeOver appends Recovered: the seed is rebuilt, every secret's share restored and
// sealed to the new device.
func (p *Population) TakeOver(ctx context.Context, i int) (Task, error) {
	l := p.Lost[i]
	got := &l.got
	keys, _, err := recovery.Rebuild(got.shares, got.state, 1)
	if err != nil {
		return nil, err
	}
	defer keys.Erase()
	deviceShare, err := recovery.RestoreDeviceShare(got.shares, got.state, 1)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	record, lost, err := recovery.NewRecovered(ctx, rand.Reader, recovery.Recovery{
		State: got.state, Request: l.request, Approvals: got.approvals, Now: now,
		DeviceShare: deviceShare, Backup: recovery.NewBackup(got.state, 1, keys), Server: got.server, Name: "new",
	})
	if err != nil {
		return nil, err
	}
	if len(lost) > 0 {
		return nil, errors.New("load: the recovery lost a secret")
	}
	d := *l.device
	d.number = got.state.NextDevice()
	entry, err := l.entry(&d, now, nil, record)
	if err != nil {
		return nil, err
	}
	call, err := ask(p, l.who(&d), apiv1connect.ServerServiceAppendProcedure, &apiv1.AppendRequest{Entries: [][]byte{entry.Bytes()}}, func(answer *apiv1.AppendAnswer, hash [32]byte) error {
		return p.attested(answer.Attestation, entry.Head(), api.AppendNonce(hash))
	})
	return Task{call}, err
}
