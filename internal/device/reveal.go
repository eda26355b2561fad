package device

import (
	"context"
	"errors"
	"fmt"

	"zeropass.dev/zeropass/credential"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
)

// revealBatch is how many slots one bulk reveal asks for, so that each answer
// stays well within its limit.
const revealBatch = 500

// Get reveals one secret: the device asks with its second factor, the server
// makes a durable note and gives its share, and the device puts the two shares
// together and checks the result. A secret that the server has not accepted yet
// comes from the device itself.
func (d *Device) Get(ctx context.Context, query string) (*Item, error) {
	if err := d.writable(); err != nil {
		return nil, err
	}
	entry, err := d.Find(query)
	if err != nil {
		return nil, err
	}
	if !entry.Accepted {
		return d.getPending(entry.ID)
	}
	items, err := d.reveal(ctx, api.PurposeGet, entry.ID)
	if err != nil {
		return nil, d.explainReveal(err, describe(entry.Metadata))
	}
	return &items[0], nil
}

func (d *Device) getPending(id ledger.SlotID) (*Item, error) {
	writes, err := d.pendingWrites()
	if err != nil {
		return nil, explain(err, "read the secret")
	}
	for _, w := range writes {
		if w.id == id {
			return &w.item, nil
		}
	}
	return nil, failure(CodeNotFound, nil, "", "there is no slot %v", id)
}

// Export reveals every secret. The server names it a bulk reveal and raises an
// alarm.
func (d *Device) Export(ctx context.Context) ([]Item, error) {
	if err := d.writable(); err != nil {
		return nil, err
	}
	s := d.home.State()
	var ids []ledger.SlotID
	for _, slot := range s.LiveSlots() {
		ids = append(ids, slot.ID)
	}
	var items []Item
	if len(ids) > 0 {
		var err error
		if items, err = d.reveal(ctx, api.PurposeExport, ids...); err != nil {
			return nil, d.explainReveal(err, "all secrets")
		}
	}
	pending, err := d.pendingWrites()
	if err != nil {
		return nil, explain(err, "read what was not sent yet")
	}
	for _, w := range pending {
		items = append(items, w.item)
	}
	return items, nil
}

func (d *Device) explainReveal(err error, what string) error {
	if errors.Is(err, client.ErrUnreachable) {
		return failure(CodeUnreachable, err,
			"listing and searching work without it; if the server is gone for good, zeropass-recover opens this directory with the words of a quorum of your contacts",
			"%s cannot be shown: its second share is with the server, which cannot be reached", what)
	}
	return explain(err, "reveal "+what)
}

// revealed is one slot after a reveal: the item, or why it does not open.
type revealed struct {
	item Item
	err  error
}

// reveal returns the items of live slots in the order of the ids. One that does
// not open fails all.
func (d *Device) reveal(ctx context.Context, purpose string, ids ...ledger.SlotID) ([]Item, error) {
	all, err := d.revealEach(ctx, purpose, ids...)
	if err != nil {
		return nil, err
	}
	var items []Item
	for _, r := range all {
		if r.err != nil {
			return nil, r.err
		}
		items = append(items, r.item)
	}
	return items, nil
}

// revealEach returns what became of each slot in the order of the ids.
func (d *Device) revealEach(ctx context.Context, purpose string, ids ...ledger.SlotID) ([]revealed, error) {
	s := d.home.State()
	if err := d.alone(s); err != nil {
		return nil, err
	}
	confirm, err := d.confirmKey()
	if err != nil {
		return nil, err
	}
	second := func(r *apiv1.SignedRequest) {
		api.Confirm(r, apiv1.Confirmation_KEY_CONFIRM, d.keys.Device, confirm)
	}
	var all []revealed
	for start := 0; start < len(ids); start += revealBatch {
		if len(ids) > revealBatch {
			d.o.Progress(Progress{Step: "revealing", Done: start, Total: len(ids)})
		}
		some, err := d.revealBatch(ctx, s, purpose, ids[start:min(start+revealBatch, len(ids))], second)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func (d *Device) revealBatch(ctx context.Context, s *ledger.State, purpose string, ids []ledger.SlotID, second func(*apiv1.SignedRequest)) ([]revealed, error) {
	epoch := s.InUse().Number
	request := &apiv1.RevealRequest{Purpose: purpose}
	for _, id := range ids {
		slot, ok := s.Slot(id)
		if !ok || slot.Deleted {
			return nil, failure(CodeNotFound, nil, "", "there is no slot %v", id)
		}
		request.Slots = append(request.Slots, &apiv1.SlotVersion{Slot: id[:], Version: slot.Version, Epoch: epoch})
	}
	answer, hash, err := d.client.Reveal(ctx, d.identity(), request, second)
	if err != nil {
		return nil, err
	}
	place := api.RevealPlace{Account: d.keys.Account, Request: hash, Device: d.keys.Device}
	opened, err := api.OpenReveal(d.keys.Seal, place, answer.Sealed)
	if err != nil {
		return nil, err
	}
	defer eraseRevealed(opened.Shares)
	shares := map[ledger.SlotID][]byte{}
	for _, r := range opened.Shares {
		if len(r.GetSlot().GetSlot()) != len(ledger.SlotID{}) {
			return nil, fmt.Errorf("%w: it gives a share of no slot", client.ErrDishonest)
		}
		shares[ledger.SlotID(r.Slot.Slot)] = r.Share
	}
	return credential.Map(ctx, ids, func(_ context.Context, id ledger.SlotID) (revealed, error) {
		item, err := d.combine(s, id, epoch, shares[id])
		return revealed{item, err}, nil
	})
}

func eraseRevealed(shares []*apiv1.RevealedShare) {
	for _, r := range shares {
		clear(r.Share)
	}
}

// combine puts the device's and the server's share of a slot together. A wrong
// share of the server's is named as such.
func (d *Device) combine(s *ledger.State, id ledger.SlotID, epoch uint64, serverShare []byte) (Item, error) {
	slot, _ := s.Slot(id)
	put := slot.Put(epoch)
	deviceShare, err := d.deviceShare(s, slot, epoch)
	if err != nil {
		return Item{}, err
	}
	defer clear(deviceShare)
	secret, err := credential.OpenSecret(d.keys.Account, put, deviceShare, serverShare)
	var wrong *credential.WrongShareError
	if errors.As(err, &wrong) && wrong.Party == credential.Server || err != nil && len(serverShare) == 0 {
		return Item{}, fmt.Errorf("%w: its share of slot %v is not the one that it was given: %w", client.ErrDishonest, id, err)
	}
	if err != nil {
		return Item{}, err
	}
	m, err := d.metadata(s, put)
	if err != nil {
		return Item{}, err
	}
	return Item{Metadata: m, Secret: secret}, nil
}

// deviceShare opens the devices' share of a slot's newest version.
func (d *Device) deviceShare(s *ledger.State, slot *ledger.Slot, epoch uint64) ([]byte, error) {
	sealed, generation, sealer, ok := s.DeviceShare(slot.ID, epoch)
	if !ok {
		return nil, fmt.Errorf("device: slot %v is not split in epoch %d", slot.ID, epoch)
	}
	g, err := d.generation(s, generation)
	if err != nil {
		return nil, err
	}
	if g.DeviceShare == nil {
		return nil, fmt.Errorf("device: the device-share key of generation %d is not known here", generation)
	}
	return credential.OpenDeviceShare(g.DeviceShare, d.keys.Account, slot.Put(epoch), sealed, generation, sealer)
}

// metadata opens a slot version's metadata.
func (d *Device) metadata(s *ledger.State, put *recordv1.SlotPut) (*recordv1.SlotMetadata, error) {
	g, err := d.generation(s, put.GetGeneration())
	if err != nil {
		return nil, err
	}
	return credential.OpenMetadata(g.Metadata, d.keys.Account, put)
}
