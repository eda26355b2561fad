package device

import (
	"context"
	"fmt"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
)

// takeOwnerHead keeps the newest head that a device of the owner and the server
// both attest. It is what an approval will name, and what tells that an old
// share has its successor.
func (d *Device) takeOwnerHead(ctx context.Context, m *apiv1.Message, result *SyncResult) error {
	sent := &recordv1.OwnerHead{}
	if err := canonical.Unmarshal(m.Body, sent); err != nil {
		return fmt.Errorf("%w: %w", errWorthless, err)
	}
	proved := sent.GetHead()
	byDevice, err := ledger.ParseAttestation(proved.GetDevice())
	if err != nil {
		return fmt.Errorf("%w: %w", errWorthless, err)
	}
	byServer, err := ledger.ParseAttestation(proved.GetServer())
	if err != nil {
		return fmt.Errorf("%w: %w", errWorthless, err)
	}
	book, err := d.owners()
	if err != nil {
		return err
	}
	account := byDevice.Account()
	o := book.get(account)
	if o == nil || byServer.Account() != account || byDevice.Head() != byServer.Head() || byDevice.Epoch() != byServer.Epoch() ||
		byDevice.Holder().GetKind() != recordv1.Holder_KIND_DEVICE || byServer.Holder().GetKind() != recordv1.Holder_KIND_SERVER ||
		byServer.Verify(d.server) != nil {
		return fmt.Errorf("%w: a head that is not proved", errWorthless)
	}
	if attestedBy(o.Devices, byDevice) {
		sent.Introductions = nil
	} else if !attestedBy(follow(account, o.Devices, sent.Introductions), byDevice) {
		return fmt.Errorf("%w: a head that is attested by an unknown device of %s", errWorthless, o.Name)
	}
	return d.keepHead(account, o, byDevice, sent, result)
}

// keepHead stores a proved head with every share of the account. Two heads at
// one place are two histories: the second is evidence.
func (d *Device) keepHead(account ledger.AccountID, o *knownOwner, a *ledger.Attestation, sent *recordv1.OwnerHead, result *SyncResult) error {
	all, err := d.home.Held()
	if err != nil {
		return err
	}
	for _, stored := range all {
		id, err := home.ParseHeldID(stored)
		if err != nil || id.Account != account {
			continue
		}
		if len(stored.HeadDevice) > 0 {
			old, err := ledger.ParseAttestation(stored.HeadDevice)
			if err != nil {
				return err
			}
			if old.Head().Sequence == a.Head().Sequence && old.Head() != a.Head() {
				name := fmt.Sprintf("owner-fork-%x-%d", account[:4], a.Head().Sequence)
				if err := d.home.PutEvidence(name, sent.Head.Device); err != nil {
					return err
				}
				result.note("%s shows two histories: tell %s; the proof is kept in evidence/%s", o.Name, o.Name, name)
				return nil
			}
			if old.Head().Sequence > a.Head().Sequence || old.Head() == a.Head() && !a.Time().After(old.Time()) {
				continue
			}
		}
		stored.HeadDevice, stored.HeadServer, stored.Introductions = sent.Head.Device, sent.Head.Server, sent.Introductions
		if err := d.home.PutHeld(stored); err != nil {
			return err
		}
	}
	return nil
}

// attestHeld proves to every owner that the share is still here, over the newest
// head that the owner proved.
func (d *Device) attestHeld(ctx context.Context, result *SyncResult) error {
	all, err := d.home.Held()
	if err != nil {
		return err
	}
	for _, stored := range all {
		if len(stored.Share) == 0 || len(stored.HeadDevice) == 0 {
			continue
		}
		e, err := recovery.ParseEnvelope(stored.Envelope)
		if err != nil {
			return err
		}
		if err := d.attestOne(ctx, result, stored, e); err != nil {
			return err
		}
	}
	return nil
}

func (d *Device) attestOne(ctx context.Context, result *SyncResult, stored *recordv1.StoredShare, e *recordv1.ShareEnvelope) error {
	head, err := ledger.ParseAttestation(stored.HeadDevice)
	if err != nil {
		return err
	}
	key, err := shareKey(stored, e)
	if err != nil {
		return err
	}
	defer key.Erase()
	hash := head.Head().Hash
	body, err := ledger.NewAttestation(&recordv1.Attestation{
		Account:  e.Account,
		Epoch:    e.Epoch,
		Sequence: head.Head().Sequence,
		Head:     hash[:],
		Time:     uint64(d.o.Now().UnixMilli()),
		Nonce:    head.Nonce(),
		Holder:   &recordv1.Holder{Kind: recordv1.Holder_KIND_MEMBER, Number: e.Member},
	}, key)
	if err != nil {
		return err
	}
	_, err = d.deliver(ctx, ledger.AccountID(e.Account), apiv1.Message_KIND_CONTACT_ATTESTATION, body, result)
	return err
}
