package device

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"slices"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/signing"
)

// heldShare is a stored share that is whole, with its envelope.
type heldShare struct {
	*recordv1.StoredShare
	id       home.HeldID
	envelope *recordv1.ShareEnvelope
}

// wholeShares returns the whole shares that are kept for these accounts, or for
// all if none is named, by account and from the oldest epoch on. The caller
// erases them.
func (d *Device) wholeShares(accounts ...ledger.AccountID) ([]*heldShare, error) {
	stored, err := d.home.Held()
	if err != nil {
		return nil, err
	}
	var shares []*heldShare
	for _, s := range stored {
		e, err := recovery.ParseEnvelope(s.Envelope)
		if err != nil {
			return nil, err
		}
		id := home.HeldID{Account: ledger.AccountID(e.Account), Epoch: e.Epoch, Member: e.Member}
		if len(s.Share) == 0 || len(accounts) > 0 && !slices.Contains(accounts, id.Account) {
			clear(s.DeviceHalf)
			clear(s.ServerHalf)
			clear(s.Share)
			continue
		}
		shares = append(shares, &heldShare{s, id, e})
	}
	slices.SortFunc(shares, func(a, b *heldShare) int {
		return cmp.Or(bytes.Compare(a.id.Account[:], b.id.Account[:]), cmp.Compare(a.id.Epoch, b.id.Epoch), cmp.Compare(a.id.Member, b.id.Member))
	})
	return shares, nil
}

func eraseHeld(shares []*heldShare) {
	for _, s := range shares {
		clear(s.Share)
	}
}

// keepSlots stores the shares that are kept for others as slots of this account
// too, where a stop in between has left that out.
func (d *Device) keepSlots() error {
	shares, err := d.wholeShares()
	if err != nil || len(shares) == 0 {
		return err
	}
	defer eraseHeld(shares)
	known, err := d.knownSources()
	if err != nil {
		return err
	}
	for _, s := range shares {
		if len(known[heldSource(s.envelope)]) > 0 {
			continue
		}
		if err := d.keepAsSlot(s.StoredShare, s.envelope); err != nil {
			return err
		}
	}
	return nil
}

// forgetHeld removes shares that have a successor: the server and a device that
// leads from the old share's envelope have both signed that the successor's epoch
// is in use, and what its share key is, the device in the envelope and the server
// in its half. A share whose successor came from a device that cannot be traced
// stays.
func (d *Device) forgetHeld(r *SyncResult) error {
	shares, err := d.wholeShares()
	if err != nil {
		return err
	}
	defer eraseHeld(shares)
	for _, old := range shares {
		if !slices.ContainsFunc(shares, func(next *heldShare) bool { return next.succeeds(old) }) {
			continue
		}
		if err := d.home.RemoveHeld(old.id); err != nil {
			return err
		}
		r.note("the share of epoch %d that was kept for %s has its successor and was removed", old.id.Epoch, old.Owner)
	}
	return nil
}

// succeeds says whether the share takes the place of an older one.
func (s *heldShare) succeeds(old *heldShare) bool {
	if s.id.Account != old.id.Account || s.id.Epoch <= old.id.Epoch || len(s.HeadDevice) == 0 || !leadsTo(old.envelope, s.Envelope) {
		return false
	}
	byDevice, err := ledger.ParseAttestation(s.HeadDevice)
	if err != nil {
		return false
	}
	byServer, err := ledger.ParseAttestation(s.HeadServer)
	if err != nil {
		return false
	}
	// Epochs after the first are in use once they are committed.
	if byDevice.Epoch() < s.id.Epoch || byServer.Epoch() != byDevice.Epoch() || byServer.Head() != byDevice.Head() {
		return false
	}
	return byDevice.Account() == s.id.Account && attestedBy(follow(s.id.Account, namedBy(s.envelope), s.Introductions), byDevice)
}

// attestedBy says whether one of these devices signed an attestation.
func attestedBy(known []pinnedDevice, a *ledger.Attestation) bool {
	return a.Holder().GetKind() == recordv1.Holder_KIND_DEVICE && slices.ContainsFunc(known, func(p pinnedDevice) bool {
		key, err := signing.NewPublicKey(p.Key)
		return err == nil && (p.Number == 0 || p.Number == a.Holder().GetNumber()) && a.Verify(key) == nil
	})
}

// restoreHeld gives back to the directory the shares that were kept for others and
// have come back as slots, after this account was recovered. Their owners' devices
// are known again from the envelopes.
func (d *Device) restoreHeld(items []Item) error {
	for _, item := range items {
		kept := item.Secret.GetHeldShare()
		if kept == nil {
			continue
		}
		e, err := recovery.ParseEnvelope(kept.Envelope)
		if err != nil || checkMemberShare(e, kept.Share) != nil {
			continue // the slot keeps it as it is
		}
		account := ledger.AccountID(e.Account)
		stored, err := d.held(home.HeldID{Account: account, Epoch: e.Epoch, Member: e.Member})
		if err != nil {
			return err
		}
		if stored != nil && len(stored.Share) > 0 {
			continue
		}
		owner := cmp.Or(kept.Owner, hex.EncodeToString(e.Account)[:8])
		if err := d.home.PutHeld(&recordv1.StoredShare{Envelope: kept.Envelope, Share: kept.Share, Owner: owner}); err != nil {
			return err
		}
		if err := d.followOwner(account, owner, e); err != nil {
			return err
		}
	}
	return nil
}
