package device

import (
	"context"
	"slices"

	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
)

// reopened is a secret that came back, and whether it must be stored again.
type reopened struct {
	item  Item
	again bool
}

// handOver opens everything and gives it to the owner, also what has lost its
// title.
func (d *Device) handOver(ctx context.Context, r *released, epoch uint64, backup *recovery.Backup, f FinishOptions, result *FinishResult) (map[ledger.SlotID]reopened, error) {
	opened, err := recovery.Open(ctx, r.state, epoch, backup, r.server)
	if err != nil {
		return nil, err
	}
	var items []Item
	byID := map[ledger.SlotID]reopened{}
	result.Lost = nil
	for _, o := range opened {
		if o.Err != nil {
			result.Lost = append(result.Lost, LostItem{Slot: o.Slot, Title: o.Metadata.GetTitle(), Err: o.Err})
		}
		if o.Secret == nil {
			continue
		}
		item := Item{Metadata: o.Metadata, Secret: o.Secret}
		if item.Metadata == nil {
			item.Metadata = unreadableMetadata(o.Slot)
		}
		items = append(items, item)
		byID[o.Slot] = reopened{item: item, again: o.Err != nil}
	}
	result.Items = len(items)
	if f.HandOver != nil {
		if err := f.HandOver(items, result.Lost); err != nil {
			return nil, err
		}
	}
	return byID, d.restoreHeld(items)
}

// handOverAgain gives the owner everything that this device, which has the
// account by now, reveals.
func (d *Device) handOverAgain(ctx context.Context, s *ledger.State, f FinishOptions, result *FinishResult) error {
	var ids []ledger.SlotID
	for _, slot := range s.LiveSlots() {
		ids = append(ids, slot.ID)
	}
	if len(ids) == 0 {
		return nil
	}
	answers, err := d.askReveal(ctx, api.PurposeRotation, slices.Collect(slices.Chunk(ids, revealBatch))...)
	if err != nil {
		return err
	}
	opened, lost, err := d.openAll(ctx, answers, s.InUse().Number)
	if err != nil {
		return err
	}
	var items []Item
	for _, o := range opened {
		items = append(items, o.item)
	}
	result.Items, result.Lost = len(items), lost
	return f.HandOver(items, lost)
}

// storeAgain keeps, as later versions, slots that came back and that this device
// cannot open as they stand in the ledger: there the server's and the backup share
// open the secret, and what is left for devices is wrong. Nothing else can make
// the next epoch complete. A stop before it leaves them listed as lost, and the
// owner has them.
func (d *Device) storeAgain(opened map[ledger.SlotID]reopened, lost []recovery.Lost) error {
	for _, l := range lost {
		if o, ok := opened[l.Slot]; ok {
			o.again = true
			opened[l.Slot] = o
		}
	}
	s := d.home.State()
	for id, o := range opened {
		if slot, ok := s.Slot(id); ok && o.again && !slot.Deleted {
			if _, err := d.keepWrites([]Item{o.item}, slot); err != nil {
				return err
			}
		}
	}
	return nil
}

// stored says whether this device wrote the newest version of a slot.
func (d *Device) stored(s *ledger.State, id ledger.SlotID) bool {
	slot, ok := s.Slot(id)
	return ok && slot.Put(s.InUse().Number).GetDevice() == d.keys.Device
}
