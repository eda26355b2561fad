package ledger

import (
	"maps"
	"slices"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// Slot is one stored secret through its versions.
type Slot struct {
	ID      SlotID
	Version uint64 // the newest
	Deleted bool
	Created Event
	Changed Event // newest put or deletion

	puts      []*recordv1.SlotPut // every version in every epoch, in ledger order
	recovered *recoveredShare     // nil unless a recovery sealed a device share anew
}

type recoveredShare struct {
	version, epoch, generation, sealer uint64
	sealed                             []byte
}

// Live says whether the slot is not deleted.
func (sl *Slot) Live() bool { return !sl.Deleted }

// Put returns the newest version as it is split in an epoch, nil if it is not.
func (sl *Slot) Put(epoch uint64) *recordv1.SlotPut {
	return sl.VersionPut(sl.Version, epoch)
}

// VersionPut returns a version as it is split in an epoch, nil if it is not.
func (sl *Slot) VersionPut(version, epoch uint64) *recordv1.SlotPut {
	// Versions never descend: behind an older one there is none of this version.
	for i := len(sl.puts) - 1; i >= 0 && sl.puts[i].Version >= version; i-- {
		if p := sl.puts[i]; p.Version == version && p.Epoch == epoch {
			return p
		}
	}
	return nil
}

// Puts returns every version in every epoch, in ledger order.
func (sl *Slot) Puts() []*recordv1.SlotPut { return slices.Clone(sl.puts) }

// Slot returns the slot with this id, deleted or not.
func (s *State) Slot(id SlotID) (*Slot, bool) {
	slot, ok := s.slots[id]
	return slot, ok
}

// HasVersion says whether a version of a slot is split in an epoch.
func (s *State) HasVersion(slot SlotID, version, epoch uint64) bool {
	sl, ok := s.slots[slot]
	return ok && sl.VersionPut(version, epoch) != nil
}

// Slots returns all slots, the deleted ones too, in the order of their ids.
func (s *State) Slots() []*Slot {
	slots := make([]*Slot, 0, len(s.slots))
	for _, id := range slices.SortedFunc(maps.Keys(s.slots), SlotID.compare) {
		slots = append(slots, s.slots[id])
	}
	return slots
}

// LiveSlots returns the slots that are not deleted, in the order of their ids.
func (s *State) LiveSlots() []*Slot {
	return slices.DeleteFunc(s.Slots(), func(slot *Slot) bool { return slot.Deleted })
}

// Versions returns every version of a slot in every epoch, in ledger order, nil
// if there is no such slot.
func (s *State) Versions(id SlotID) []*recordv1.SlotPut {
	if slot, ok := s.slots[id]; ok {
		return slot.Puts()
	}
	return nil
}

// DeviceShare returns the device share of a slot's newest version in an epoch as
// it stands in the ledger: the one of its SlotPut, or what a recovery sealed
// anew. generation names the device-share key and sealer the device that made
// the ciphertext.
func (s *State) DeviceShare(id SlotID, epoch uint64) (sealed []byte, generation, sealer uint64, ok bool) {
	slot, found := s.slots[id]
	if !found {
		return nil, 0, 0, false
	}
	if r := slot.recovered; r != nil && r.version == slot.Version && r.epoch == epoch {
		return r.sealed, r.generation, r.sealer, true
	}
	p := slot.Put(epoch)
	if p == nil {
		return nil, 0, 0, false
	}
	return p.Secret.SealedDeviceShare, p.Secret.Generation, p.Device, true
}

// OpenedBy returns the live slots whose device share in the epoch in use a device
// can open, in the order of their ids. For a revoked device these are the ones
// that it still opens together with the server, until the epoch is replaced.
func (s *State) OpenedBy(device uint64) []*Slot {
	return slices.DeleteFunc(s.LiveSlots(), func(slot *Slot) bool {
		_, generation, _, ok := s.DeviceShare(slot.ID, s.inUse)
		return !ok || s.deviceKeys[generationDevice{generation, device}].deviceShare == nil
	})
}

func (s *State) slotPut(tx *transaction, r *recordv1.SlotPut) error {
	if _, err := s.open(r.Epoch); err != nil {
		return err
	}
	id := SlotID(r.Slot)
	if r.Device != tx.author {
		return refuse(RuleSlotAuthor, "slot %v names device %d, the author is %d", id, r.Device, tx.author)
	}
	if last := s.counters[r.Device]; r.Counter <= last {
		return refuse(RuleCounter, "slot %v has counter %d, device %d has used %d", id, r.Counter, r.Device, last)
	}
	if r.Generation != s.generation || r.Secret.Generation != s.generation {
		return refuse(RuleGeneration, "slot %v is sealed under generations %d and %d, not %d", id, r.Generation, r.Secret.Generation, s.generation)
	}
	slot, ok := s.slots[id]
	if !ok {
		slot = &Slot{ID: id, Created: tx.event()}
	}
	if slot.Deleted {
		return refuse(RuleSlotDeleted, "slot %v", id)
	}
	if err := s.checkVersion(slot, r); err != nil {
		return err
	}
	changed := *slot
	changed.Version = r.Version
	changed.Changed = tx.event()
	changed.puts = append(slices.Clip(slot.puts), r)
	s.setSlot(&changed)
	put(s, s.counters, r.Device, r.Counter)
	tx.written = append(tx.written, id)
	return s.checkCapacity(r)
}

// checkVersion admits the next version in the epoch in use, and there once; and
// the newest version in the prepared epoch, once.
func (s *State) checkVersion(slot *Slot, r *recordv1.SlotPut) error {
	if r.Epoch == s.inUse {
		if r.Version <= slot.Version && slot.VersionPut(r.Version, r.Epoch) != nil {
			return refuse(RuleSplitTwice, "slot %v, version %d, epoch %d", slot.ID, r.Version, r.Epoch)
		}
		if r.Version != slot.Version+1 {
			return refuse(RuleVersion, "slot %v gets version %d where %d is next", slot.ID, r.Version, slot.Version+1)
		}
		return nil
	}
	if slot.Version == 0 || r.Version != slot.Version {
		return refuse(RuleVersion, "slot %v: version %d is split in the prepared epoch, the newest is %d", slot.ID, r.Version, slot.Version)
	}
	if slot.Put(r.Epoch) != nil {
		return refuse(RuleSplitTwice, "slot %v, version %d, epoch %d", slot.ID, r.Version, r.Epoch)
	}
	return nil
}

func (s *State) slotDeleted(tx *transaction, r *recordv1.SlotDeleted) error {
	id := SlotID(r.Slot)
	slot, ok := s.slots[id]
	if !ok {
		return refuse(RuleSlot, "%v", id)
	}
	if slot.Deleted {
		return refuse(RuleSlotDeleted, "slot %v", id)
	}
	changed := *slot
	changed.Deleted = true
	changed.Changed = tx.event()
	s.setSlot(&changed)
	return nil
}

// checkBothEpochs wants what an entry wrote in the epoch in use to stand in the
// prepared epoch as well, so that it can still be committed.
func (s *State) checkBothEpochs(tx *transaction) error {
	if s.prepared == 0 {
		return nil
	}
	for _, id := range tx.written {
		if slot := s.slots[id]; !slot.Deleted && slot.Put(s.prepared) == nil {
			return refuse(RuleBothEpochs, "slot %v, epoch %d", id, s.prepared)
		}
	}
	return nil
}
