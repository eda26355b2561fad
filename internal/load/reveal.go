package load

import (
	"crypto/rand"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
)

// ask signs a call whose answer is read into body and then checked.
func ask[A any, PA interface {
	*A
	proto.Message
}](p *Population, who api.Identity, procedure string, question proto.Message, check func(PA, [32]byte) error) (Call, error) {
	request, hash, err := api.NewRequest(procedure, p.key, who, question, time.Now(), rand.Reader)
	if err != nil {
		return Call{}, err
	}
	return Call{Procedure: procedure, Request: request, Hash: hash, Check: func(answer *apiv1.SignedAnswer) error {
		body := PA(new(A))
		if err := api.OpenAnswer(p.key, hash, answer, body); err != nil {
			return err
		}
		return check(body, hash)
	}}, nil
}

// question names the account's slot.
func (a *Account) question() (*apiv1.RevealRequest, error) {
	put := &recordv1.SlotPut{}
	if err := canonical.Unmarshal(a.slot, put); err != nil {
		return nil, err
	}
	return &apiv1.RevealRequest{
		Slots:   []*apiv1.SlotVersion{{Slot: put.Slot, Version: put.Version, Epoch: put.Epoch}},
		Purpose: api.PurposeGet,
	}, nil
}

// Reveal asks for the slot of account i, with the confirm key of its only device.
func (p *Population) Reveal(i int) (Task, error) { return p.reveal(p.Accounts[i]) }

// RevealLarge does that with large account i.
func (p *Population) RevealLarge(i int) (Task, error) { return p.reveal(p.Large[i]) }

func (p *Population) reveal(a *Account) (Task, error) {
	d := a.devices[0]
	question, err := a.question()
	if err != nil {
		return nil, err
	}
	call, err := p.revealed(a, d, question)
	if err != nil {
		return nil, err
	}
	api.Confirm(call.Request, apiv1.Confirmation_KEY_CONFIRM, 1, d.confirm)
	return Task{call}, nil
}

// revealed is the call that gives the server's share, which must make the secret.
func (p *Population) revealed(a *Account, d *device, question *apiv1.RevealRequest) (Call, error) {
	return ask(p, a.who(d), apiv1connect.ServerServiceRevealProcedure, question, func(answer *apiv1.RevealAnswer, hash [32]byte) error {
		place := api.RevealPlace{Account: a.ID, Request: hash, Device: d.number}
		shares, err := api.OpenReveal(d.seal, place, answer.Sealed)
		if err != nil {
			return err
		}
		return a.combine(shares.Shares[0].Share)
	})
}
