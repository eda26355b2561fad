package device

import (
	"context"
	"errors"
	"fmt"
	"slices"

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

// revealRound is how many requests of one device wait for others at a time. A
// server lets no more than these wait, so that nobody is worn down by questions.
const revealRound = 16

// Get reveals one secret: the device asks, another one or its own confirm key is
// the second factor, the server makes a durable note and gives its share, and the
// device puts the two shares together and checks the result. A secret that the server has not accepted yet
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

// Export reveals every secret, and lists those that do not open. The server names
// it a bulk reveal and raises an alarm.
func (d *Device) Export(ctx context.Context) (items []Item, lost []LostItem, err error) {
	if err := d.writable(); err != nil {
		return nil, nil, err
	}
	s := d.home.State()
	var ids []ledger.SlotID
	for _, slot := range s.LiveSlots() {
		ids = append(ids, slot.ID)
	}
	if len(ids) > 0 {
		answers, err := d.askReveal(ctx, api.PurposeExport, slices.Collect(slices.Chunk(ids, revealBatch))...)
		if err != nil {
			return nil, nil, d.explainReveal(err, "all secrets")
		}
		opened, unopened, err := d.openAll(ctx, answers, s.InUse().Number)
		if err != nil {
			return nil, nil, d.explainReveal(err, "all secrets")
		}
		for _, o := range opened {
			items = append(items, o.item)
		}
		lost = unopened
	}
	pending, err := d.pendingWrites()
	if err != nil {
		return nil, nil, explain(err, "read what was not sent yet")
	}
	for _, w := range pending {
		items = append(items, w.item)
	}
	return items, lost, nil
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
	batches, err := d.askReveal(ctx, purpose, slices.Collect(slices.Chunk(ids, revealBatch))...)
	if err != nil {
		return nil, err
	}
	var all []revealed
	for i, b := range batches {
		if len(batches) > 1 {
			d.o.Progress(Progress{Step: "opening", Done: i * revealBatch, Total: len(ids)})
		}
		some, err := d.openReveal(ctx, b)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// revealedBatch is a request for slots, in the versions that were asked for, and
// its answer.
type revealedBatch struct {
	state  *ledger.State // as it was then
	slots  []*ledger.Slot
	epoch  uint64
	hash   [32]byte
	answer *apiv1.RevealAnswer
}

// askReveal asks for slots, a request for each batch, and waits until all are
// answered. A device whose copy of the ledger is too old to know who its second
// factor is learns that first.
func (d *Device) askReveal(ctx context.Context, purpose string, ids ...[]ledger.SlotID) ([]*revealedBatch, error) {
	all, err := d.askRevealOnce(ctx, purpose, ids)
	if !signed(err) || !errors.Is(err, api.ErrConfirmationMissing) && !errors.Is(err, api.ErrConfirmationWrong) {
		return all, err
	}
	before := len(d.othersActive(d.home.State()))
	if err := d.pull(ctx); err != nil {
		return nil, err
	}
	if len(d.othersActive(d.home.State())) == before {
		return nil, err
	}
	return d.askRevealOnce(ctx, purpose, ids)
}

func (d *Device) askRevealOnce(ctx context.Context, purpose string, ids [][]ledger.SlotID) ([]*revealedBatch, error) {
	s := d.home.State()
	second, err := d.ownSecondFactor(s)
	if err != nil {
		return nil, err
	}
	if len(d.othersActive(s)) > 0 {
		s = s.Clone() // entries may come while it waits
	}
	epoch := s.InUse().Number
	var all []*revealedBatch
	var requests []*asked
	for _, some := range ids {
		b := &revealedBatch{state: s, epoch: epoch}
		request := &apiv1.RevealRequest{Purpose: purpose}
		for _, id := range some {
			slot, ok := s.Slot(id)
			if !ok || slot.Deleted {
				return nil, failure(CodeNotFound, nil, "", "there is no slot %v", id)
			}
			b.slots = append(b.slots, slot)
			request.Slots = append(request.Slots, &apiv1.SlotVersion{Slot: id[:], Version: slot.Version, Epoch: epoch})
		}
		prepared, err := d.client.PrepareReveal(d.identity(), request, second)
		if err != nil {
			return nil, err
		}
		b.hash = prepared.Hash()
		all = append(all, b)
		requests = append(requests, ask(prepared, func(a *apiv1.RevealAnswer) { b.answer = a }))
	}
	for round := range slices.Chunk(requests, revealRound) {
		if err := d.await(ctx, round...); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// ownSecondFactor signs a request with the confirm key of a device that is alone;
// it is nil where others are active, who are asked by the server.
func (d *Device) ownSecondFactor(s *ledger.State) (func(*apiv1.SignedRequest), error) {
	if len(d.othersActive(s)) > 0 {
		return nil, nil
	}
	if err := d.confirmsAlready(s); err != nil {
		return nil, err
	}
	confirm, err := d.confirmKey()
	if err != nil {
		return nil, err
	}
	return func(r *apiv1.SignedRequest) {
		api.Confirm(r, apiv1.Confirmation_KEY_CONFIRM, d.keys.Device, confirm)
	}, nil
}

// openReveal opens an answer. A server that gives its shares without anybody's
// confirmation gives them to this device, which may have them once its owner says
// so; that is not for the device to notice, but for the owner, whose other devices
// see the activity log.
func (d *Device) openReveal(ctx context.Context, b *revealedBatch) ([]revealed, error) {
	if err := d.rememberReveal(b.hash); err != nil {
		return nil, err
	}
	place := api.RevealPlace{Account: d.keys.Account, Request: b.hash, Device: d.keys.Device}
	opened, err := api.OpenReveal(d.keys.Seal, place, b.answer.Sealed)
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
	return credential.Map(ctx, b.slots, func(_ context.Context, slot *ledger.Slot) (revealed, error) {
		item, err := d.combine(b.state, slot, b.epoch, shares[slot.ID])
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
func (d *Device) combine(s *ledger.State, slot *ledger.Slot, epoch uint64, serverShare []byte) (Item, error) {
	put := slot.Put(epoch)
	deviceShare, err := d.deviceShare(s, slot, epoch)
	if err != nil {
		return Item{}, err
	}
	defer clear(deviceShare)
	secret, err := credential.OpenSecret(d.keys.Account, put, deviceShare, serverShare)
	var wrong *credential.WrongShareError
	if errors.As(err, &wrong) && wrong.Party == credential.Server || err != nil && len(serverShare) == 0 {
		return Item{}, fmt.Errorf("%w: its share of slot %v is not the one that it was given: %w", client.ErrDishonest, slot.ID, err)
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
