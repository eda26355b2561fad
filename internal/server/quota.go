package server

import (
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
)

// Quota is how much one account may take; 0 is without a limit.
type Quota struct {
	Slots int   // live ones
	Bytes int64 // of the ledger
}

// checkQuota refuses new secrets and new versions of them beyond the quota. Nothing
// else is ever refused for it: not what deletes, locks, vetoes, recovers or splits
// anew what is there, and not what stood here before the server was restored.
func (s *Server) checkQuota(before, after *ledger.State, fresh []*ledger.Entry, excused uint64) error {
	if s.quota == (Quota{}) || !addsSecrets(before, fresh, excused) {
		return nil
	}
	live := len(after.LiveSlots())
	if s.quota.Slots > 0 && live > s.quota.Slots && live > len(before.LiveSlots()) {
		return api.Refuse(api.ErrTooLarge, "an account has at most %d secrets on this server: delete one first", s.quota.Slots)
	}
	if size := after.Size(); s.quota.Bytes > 0 && size > s.quota.Bytes {
		return api.Refuse(api.ErrTooLarge, "the account's ledger would have %d bytes, and %d are allowed on this server: ask whoever runs it for more", size, s.quota.Bytes)
	}
	return nil
}

// addsSecrets says whether entries have a version of a slot that was not there.
func addsSecrets(before *ledger.State, fresh []*ledger.Entry, excused uint64) bool {
	for _, e := range fresh {
		if e.Sequence() <= excused {
			continue
		}
		for _, record := range e.Records() {
			r := record.GetSlotPut()
			if r == nil {
				continue
			}
			if slot, ok := before.Slot(ledger.SlotID(r.Slot)); !ok || r.Version > slot.Version {
				return true
			}
		}
	}
	return false
}
