package device

import (
	"context"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
)

// nextEpoch prepares an epoch like the one in use, splits every live slot there,
// and binds the same contacts: in one entry where it fits, so that there is no
// half. The device asks the server for its shares again, as for any reveal: what
// the recovery opened went to the owner and was not kept.
func (d *Device) nextEpoch(ctx context.Context, f FinishOptions, result *FinishResult) error {
	d.o.Progress(Progress{Step: "preparing the next epoch", Done: 5, Total: 5})
	return d.append(ctx, func(s *ledger.State) ([]transaction, error) {
		if s.Prepared() != nil || s.InUse().Author == d.keys.Device {
			return nil, nil
		}
		items, err := d.liveItems(ctx, s, result)
		if err != nil {
			return nil, err
		}
		if result.Items == 0 && f.HandOver != nil && len(items) > 0 {
			// The recovery itself was finished in an earlier run.
			var all []Item
			for _, live := range items {
				all = append(all, live.item)
			}
			if err := f.HandOver(all, result.Lost); err != nil {
				return nil, err
			}
			result.Items = len(all)
		}
		return d.rotation(ctx, s, items)
	})
}

// liveItems reveals all live slots. What does not open is listed: it keeps the
// next epoch from being committed until it is deleted.
func (d *Device) liveItems(ctx context.Context, s *ledger.State, result *FinishResult) ([]split, error) {
	var ids []ledger.SlotID
	for _, slot := range s.LiveSlots() {
		ids = append(ids, slot.ID)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	all, err := d.revealEach(ctx, api.PurposeRotation, ids...)
	if err != nil {
		return nil, err
	}
	result.Lost = nil
	var live []split
	for i, id := range ids {
		slot, _ := s.Slot(id)
		if err := all[i].err; err != nil {
			lost := LostItem{Slot: id, Err: err}
			if m, err := d.metadata(s, slot.Put(s.InUse().Number)); err == nil {
				lost.Title = m.Title
			}
			result.Lost = append(result.Lost, lost)
			continue
		}
		live = append(live, split{id: id, version: slot.Version, epoch: s.NextEpoch(), item: all[i].item})
	}
	return live, nil
}

// rotation makes the entries that prepare the next epoch.
func (d *Device) rotation(ctx context.Context, s *ledger.State, live []split) ([]transaction, error) {
	old := s.InUse()
	generations, err := d.allGenerations(s)
	if err != nil {
		return nil, err
	}
	made, err := d.prepareEpoch(ctx, s, epochOptions{
		quorum: old.Quorum(), members: len(old.Members), waiting: old.WaitingPeriod(), generations: generations,
	})
	if err != nil {
		return nil, err
	}
	splits, err := d.splitAll(ctx, s, live, made)
	if err != nil {
		return nil, err
	}
	first := transaction{records: []proto.Message{made.record}, shares: made.shares}
	bound := rebindAll(old, made.record.Epoch, len(made.record.Members), nil)
	first.records = append(first.records, bound.records...)
	return batches(first, splits), nil
}

// batches spreads records with their shares over as few entries as their size
// allows.
func batches(first transaction, splits *transaction) []transaction {
	all := []transaction{first}
	size := 0
	for i, record := range splits.records {
		if n := proto.Size(record); size+n > ledger.MaxEntrySize/4 {
			all, size = append(all, transaction{}), n
		} else {
			size += n
		}
		last := &all[len(all)-1]
		last.records = append(last.records, record)
		last.shares = append(last.shares, splits.shares[i])
	}
	return all
}
