package server

import (
	"context"

	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// sendHalves sends the server's halves of member shares to the contacts that they
// are for: with the binding, when a device sends that again because the contact
// lost its half, and when a half comes that a restored server lacked.
func (s *Server) sendHalves(ctx context.Context, a *asked, op *store.Append, after *ledger.State, entries []*ledger.Entry, shares *openedShares) error {
	due := map[ledger.ShareID]bool{}
	for _, e := range entries {
		for _, record := range e.Records() {
			if r := record.GetContactBound(); r != nil {
				due[waitingShareID(r.Epoch, r.Member)] = true
			}
		}
	}
	for _, share := range shares.opened {
		if share.id.Kind == recordv1.SealedServerShare_KIND_WAITING {
			due[share.id] = true
		}
	}
	if len(due) == 0 {
		return nil
	}
	for _, epoch := range epochsKept(after) {
		e, _ := after.Epoch(epoch)
		for _, m := range e.Members {
			// Paper has no inbox: the owner's device asks for that half.
			if m.Contact == nil || m.Receipt || !due[waitingShareID(epoch, m.Number)] {
				continue
			}
			if err := s.sendHalf(ctx, a, op, epoch, &m, shares); err != nil {
				return err
			}
		}
	}
	return nil
}

// sendHalf sends one half, unless it waits in the contact's inbox already.
func (s *Server) sendHalf(ctx context.Context, a *asked, op *store.Append, epoch uint64, m *ledger.Member, shares *openedShares) error {
	if waits, err := s.halfWaits(ctx, op.Account, epoch, m); err != nil || waits {
		return err
	}
	half, err := s.share(ctx, op.Account, waitingShareID(epoch, m.Number), shares)
	if err != nil || half == nil {
		return err // a restored server lacks it: the devices will send it
	}
	defer clear(half)
	body, err := s.serverHalf(op.Account, epoch, m, half)
	if err != nil {
		return err
	}
	op.Messages = append(op.Messages, store.Message{
		To: ledger.AccountID(m.Contact.Account), Kind: int32(apiv1.Message_KIND_SERVER_HALF), Body: body, Time: a.now,
	})
	return nil
}

// halfWaits says whether the contact's inbox still has the half.
func (s *Server) halfWaits(ctx context.Context, owner ledger.AccountID, epoch uint64, m *ledger.Member) (bool, error) {
	contact := ledger.AccountID(m.Contact.Account)
	for after, more := uint64(0), true; more; {
		var page []store.Message
		var err error
		// There is no device 0, so this is all that waits for any device.
		if page, more, err = s.store.Inbox(ctx, contact, 0, after, api.PageSize); err != nil {
			return false, err
		}
		for _, message := range page {
			after = message.ID
			if message.Kind != int32(apiv1.Message_KIND_SERVER_HALF) {
				continue
			}
			signed, half := &recordv1.SignedServerHalf{}, &recordv1.ServerHalf{}
			if err := canonical.Unmarshal(message.Body, signed); err != nil {
				return false, err
			}
			if err := canonical.Unmarshal(signed.Half, half); err != nil {
				return false, err
			}
			if string(half.Account) == string(owner[:]) && half.Epoch == epoch && half.Member == m.Number {
				return true, nil
			}
		}
	}
	return false, nil
}

// serverHalf seals the server's half of a member share to each of its contact's
// devices, and signs that, with the share key that the ledger names.
func (s *Server) serverHalf(id ledger.AccountID, epoch uint64, m *ledger.Member, half []byte) ([]byte, error) {
	place := credential.ContactHalf{
		Account: id, Epoch: epoch, Member: m.Number, Contact: [32]byte(m.Contact.Account), Party: credential.Server,
	}
	message := &recordv1.ServerHalf{Account: id[:], Epoch: epoch, Member: m.Number, Contact: m.Contact.Account, ShareKey: m.ShareKey.Bytes()}
	for _, d := range m.Contact.Devices {
		to, err := hpke.NewPublicKey(d.SealKey)
		if err != nil {
			return nil, err
		}
		sealed, err := place.Seal(s.rand, to, half)
		if err != nil {
			return nil, err
		}
		message.Halves = append(message.Halves, sealed)
	}
	body, err := canonical.Marshal(message)
	if err != nil {
		return nil, err
	}
	return canonical.Marshal(&recordv1.SignedServerHalf{
		Half:      body,
		Signature: s.keys.sign.Sign(signing.NewContext("server-half").Bytes(body)),
	})
}
