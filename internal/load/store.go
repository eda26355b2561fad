package load

import (
	"crypto/rand"
	"errors"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
)

// Backup stores one more secret in account i: an entry with its device share and
// its backup share, and the server's share beside it. Until the task was done, an
// account has no second one.
func (p *Population) Backup(i int) (Task, error) {
	a := p.Accounts[i]
	d := a.devices[0]
	before := a.head
	put, share, err := a.put(rand.Reader, p.origin, p.seal)
	if err != nil {
		return nil, err
	}
	entry, err := a.entry(d, time.Now(), nil, put)
	if err != nil {
		return nil, err
	}
	a.head = before // until the server has taken it
	a.counter--
	call, err := ask(p, a.who(d), apiv1connect.ServerServiceAppendProcedure, &apiv1.AppendRequest{
		Entries: [][]byte{entry.Bytes()}, Shares: []*recordv1.SealedServerShare{share},
	}, func(answer *apiv1.AppendAnswer, hash [32]byte) error {
		if err := p.attested(answer.Attestation, entry.Head(), api.AppendNonce(hash)); err != nil {
			return err
		}
		a.head = entry.Head()
		a.counter++
		return nil
	})
	return Task{call}, err
}

// attested wants the server's attestation of a head.
func (p *Population) attested(b []byte, head ledger.Head, nonce []byte) error {
	attestation, err := ledger.ParseAttestation(b)
	if err != nil {
		return err
	}
	if err := attestation.Verify(p.key); err != nil {
		return err
	}
	if attestation.Head() != head || !attestation.Answers(nonce) {
		return errors.New("the server attests another head")
	}
	return nil
}

// Sync brings all of account i to a device that has nothing of it yet, which then
// attests it: the ledger, the server shares as they are sealed to the server,
// messages, recoveries, the activity log.
func (p *Population) Sync(i int) (Task, error) {
	a := p.Accounts[i]
	d, who := a.devices[0], a.who(a.devices[0])
	nonce := make([]byte, api.NonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	question, err := a.question()
	if err != nil {
		return nil, err
	}
	statement, err := ledger.NewAttestation(&recordv1.Attestation{
		Account: a.ID[:], Epoch: 1, Sequence: a.head.Sequence, Head: a.head.Hash[:], Time: uint64(time.Now().UnixMilli()), Nonce: nonce,
		Holder: &recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: d.number},
	}, d.sign)
	if err != nil {
		return nil, err
	}
	head := a.head
	var t Task
	add := func(call Call, failed error) {
		t, err = append(t, call), errors.Join(err, failed)
	}
	add(ask(p, who, apiv1connect.ServerServiceEntriesProcedure, &apiv1.EntriesRequest{Nonce: nonce}, func(answer *apiv1.EntriesAnswer, _ [32]byte) error {
		_, err := p.fold(answer, head, nonce)
		return err
	}))
	add(ask(p, who, apiv1connect.ServerServiceSealedSharesProcedure, &apiv1.SealedSharesRequest{Shares: []*recordv1.SealedServerShare{
		{Kind: recordv1.SealedServerShare_KIND_SEED, Epoch: 1},
		{Kind: recordv1.SealedServerShare_KIND_SLOT, Epoch: 1, Slot: question.Slots[0].Slot, Version: 1},
	}}, func(answer *apiv1.SealedSharesAnswer, _ [32]byte) error {
		if len(answer.Shares) != 2 {
			return errors.New("the server does not give both shares")
		}
		return nil
	}))
	add(ask(p, who, apiv1connect.ServerServiceInboxProcedure, &apiv1.InboxRequest{}, func(*apiv1.InboxAnswer, [32]byte) error { return nil }))
	add(ask(p, who, apiv1connect.ServerServiceAttestProcedure, &apiv1.AttestRequest{Attestation: statement, Nonce: nonce}, func(answer *apiv1.AttestAnswer, _ [32]byte) error {
		return p.attested(answer.Attestation, head, nonce)
	}))
	add(ask(p, who, apiv1connect.ServerServiceRecoveriesProcedure, &apiv1.RecoveriesRequest{}, func(*apiv1.RecoveriesAnswer, [32]byte) error { return nil }))
	add(ask(p, who, apiv1connect.ServerServiceActivityLogProcedure, &apiv1.ActivityLogRequest{Nonce: nonce}, func(answer *apiv1.ActivityLogAnswer, _ [32]byte) error {
		return chained(a.ID, answer)
	}))
	return t, err
}

// fold wants a whole ledger that ends with the head.
func (p *Population) fold(answer *apiv1.EntriesAnswer, head ledger.Head, nonce []byte) (*ledger.State, error) {
	var entries []*ledger.Entry
	for _, b := range answer.Entries {
		e, err := ledger.ParseEntry(b)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	state, err := ledger.Fold(entries...)
	if err != nil {
		return nil, err
	}
	if state.Head() != head {
		return nil, errors.New("the ledger ends elsewhere")
	}
	return state, p.attested(answer.Attestation, head, nonce)
}

// chained wants an unbroken activity log.
func chained(account ledger.AccountID, answer *apiv1.ActivityLogAnswer) error {
	var previous *ledger.Activity
	for _, b := range answer.Entries {
		activity, err := ledger.ParseActivity(b)
		if err != nil {
			return err
		}
		if err := activity.Follows(account, previous); err != nil {
			return err
		}
		previous = activity
	}
	return nil
}
