package ledger

import recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"

// A recovery puts every live slot's device share into one Recovered entry. So
// that there always is such an entry, live secrets never outgrow it.
const (
	// maxCarried is how many bytes the live slots may take in a Recovered entry.
	// The rest of MaxEntrySize, 8 MiB, is for what else there is in one. Other
	// than 4 KiB for everything that is there once and 1 KiB for each of at most
	// 17 approvals, that is 34 bytes for a veto in each of the approvals, of which
	// a request gets at most one from each device, and 128 bytes for a key
	// generation, of which there is one for each device that was revoked and each
	// recovery: thousands of either fit.
	maxCarried = 24 << 20

	// slotOverhead is what a slot takes at most beyond its sealed backup share:
	// 34 bytes for the fields of its SlotShare, whose ciphertext is 53 bytes
	// shorter than that of the backup share, and has 28 bytes if there is nothing
	// to recover.
	slotOverhead = 64
)

// Capacity returns how many bytes the account's live secrets take in a recovery,
// and how many they may: beyond that no SlotPut is accepted. A slot takes its
// sealed backup share and 64 bytes: 242 in all where the padded secret has 64
// bytes, the least. While an epoch is prepared, used is that of the two in which
// they take more.
func (s *State) Capacity() (used, limit int) {
	return max(s.carried[s.inUse], s.carried[s.prepared]), maxCarried
}

// carried returns what a recovery in an epoch must carry of the slot. It goes by
// the backup share, for the device share is made from it anew; the one that the
// slot's author sealed may have any size.
func (sl *Slot) carried(epoch uint64) int {
	if sl == nil || sl.Deleted {
		return 0
	}
	p := sl.Put(epoch)
	if p == nil {
		return 0
	}
	return slotOverhead + len(p.SealedBackupShare)
}

// setSlot adds a slot or replaces it, and counts what a recovery must carry.
func (s *State) setSlot(changed *Slot) {
	old := s.slots[changed.ID]
	for _, epoch := range s.writtenEpochs() {
		if more := changed.carried(epoch) - old.carried(epoch); more != 0 {
			put(s, s.carried, epoch, s.carried[epoch]+more)
		}
	}
	put(s, s.slots, changed.ID, changed)
}

// checkCapacity refuses a SlotPut, already counted, that a recovery could not
// carry beside the others.
func (s *State) checkCapacity(r *recordv1.SlotPut) error {
	if used := s.carried[r.Epoch]; used > maxCarried {
		return refuse(RuleCapacity, "%d bytes in epoch %d with slot %v, more than %d", used, r.Epoch, SlotID(r.Slot), maxCarried)
	}
	return nil
}
