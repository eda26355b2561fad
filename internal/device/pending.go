package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/ledger"
)

const (
	// maxSecret is how many bytes a secret may have: an entry must hold it twice
	// in each of two epochs.
	maxSecret = 4 << 20
	// batchBytes and batchItems are how much goes into one entry of the ledger,
	// measured before it is split.
	batchBytes = 3 << 20
	batchItems = 2000
)

// write is a secret that is on its way into the ledger.
type write struct {
	id   ledger.SlotID
	base uint64 // version that it follows, 0 for a new slot
	item Item
}

// keepWrites seals the items on the device, in files of one entry each, as new
// slots or as the next version of one.
func (d *Device) keepWrites(items []Item, of *ledger.Slot) ([]write, error) {
	var writes []write
	var batches [][]home.Write
	size := batchBytes + 1 // the first item starts a batch
	for i, item := range items {
		w, n, err := d.newWrite(item, of)
		if err != nil {
			return nil, fmt.Errorf("item %d, %s: %w", i+1, quoteTitle(item), err)
		}
		if size+n > batchBytes || len(batches[len(batches)-1]) == batchItems {
			batches, size = append(batches, nil), 0
		}
		size += n
		last := &batches[len(batches)-1]
		*last = append(*last, w)
		writes = append(writes, write{id: w.Slot, base: w.Base, item: item})
	}
	for _, batch := range batches {
		if err := d.putBatch(batch); err != nil {
			return nil, err
		}
	}
	return writes, nil
}

// newWrite returns the write of a new slot, or of the next version of one, and
// its size in bytes.
func (d *Device) newWrite(item Item, of *ledger.Slot) (w home.Write, size int, err error) {
	if item.Metadata == nil || item.Secret == nil {
		return w, 0, failure(CodeUsage, credential.ErrInput, "", "a slot needs metadata and a secret")
	}
	metadata, err := canonical.Marshal(item.Metadata)
	if err != nil {
		return w, 0, err
	}
	secret, err := canonical.Marshal(item.Secret)
	if err != nil {
		return w, 0, err
	}
	clear(secret)
	if len(secret) > maxSecret || len(metadata) > maxSecret/16 {
		return w, 0, failure(CodeUsage, credential.ErrInput, "store large files elsewhere, and their key here", "%s has more than %d MiB", quoteTitle(item), maxSecret>>20)
	}
	w = home.Write{Metadata: item.Metadata, Secret: item.Secret}
	if of != nil {
		w.Slot, w.Base = of.ID, of.Version
	} else if _, err := io.ReadFull(d.o.Rand, w.Slot[:]); err != nil {
		return w, 0, err
	}
	return w, len(metadata) + len(secret), nil
}

// putBatch stores a batch under the name of its first slot and version.
func (d *Device) putBatch(batch []home.Write) error {
	b, err := home.MarshalWrites(batch)
	if err != nil {
		return err
	}
	defer clear(b)
	return d.home.PutPending(fmt.Sprintf("%s-%d", batch[0].Slot, batch[0].Base+1), b)
}

// batch reads what was stored under a name.
func (d *Device) batch(name string) ([]write, error) {
	b, err := d.home.Pending(name)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	kept, err := home.ParseWrites(b)
	if err != nil {
		return nil, fmt.Errorf("device: pending/s-%s: %w", name, err)
	}
	writes := make([]write, len(kept))
	for i, w := range kept {
		writes[i] = write{id: w.Slot, base: w.Base, item: Item{Metadata: w.Metadata, Secret: w.Secret}}
	}
	return writes, nil
}

// begun returns the new slot that waits to be sent and holds this very item,
// whenever that was made; nil if none does.
func (d *Device) begun(item Item) (*write, error) {
	names, err := d.home.PendingNames()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		writes, err := d.batch(name)
		if err != nil {
			return nil, err
		}
		if len(writes) == 1 && writes[0].base == 0 && sameItem(writes[0].item, item) {
			return &writes[0], nil
		}
	}
	return nil, nil
}

// sameItem compares all but the times.
func sameItem(a, b Item) bool {
	timeless := func(m *recordv1.SlotMetadata) *recordv1.SlotMetadata {
		m = proto.CloneOf(m)
		if m != nil {
			m.Created, m.Revised = 0, 0
		}
		return m
	}
	return proto.Equal(timeless(a.Metadata), timeless(b.Metadata)) && proto.Equal(a.Secret, b.Secret)
}

// pendingWrites returns what the ledger does not have yet.
func (d *Device) pendingWrites() ([]write, error) {
	names, err := d.home.PendingNames()
	if err != nil {
		return nil, err
	}
	var all []write
	for _, name := range names {
		writes, err := d.batch(name)
		if err != nil {
			return nil, err
		}
		all = append(all, d.unaccepted(d.home.State(), writes)...)
	}
	return all, nil
}

// unaccepted returns the writes that the ledger does not have. If another device
// wrote a version first, the write follows it.
func (d *Device) unaccepted(s *ledger.State, writes []write) []write {
	var left []write
	for _, w := range writes {
		slot, ok := s.Slot(w.id)
		if !ok || slot.Version <= w.base {
			left = append(left, w)
			continue
		}
		own := slices.ContainsFunc(slot.Puts(), func(p *recordv1.SlotPut) bool {
			return p.Version == w.base+1 && p.Device == d.keys.Device
		})
		if !own && !slot.Deleted {
			w.base = slot.Version
			left = append(left, w)
		}
	}
	return left
}

// dropPending forgets what is kept of a slot, and says whether there was
// anything.
func (d *Device) dropPending(id ledger.SlotID) (dropped bool, err error) {
	names, err := d.home.PendingNames()
	if err != nil {
		return false, err
	}
	for _, name := range names {
		writes, err := d.batch(name)
		if err != nil {
			return dropped, err
		}
		if len(writes) == 1 && writes[0].id == id {
			if err := d.home.RemovePending(name); err != nil {
				return dropped, err
			}
			dropped = true
		}
	}
	return dropped, nil
}

// nobody and everybody say for which writes sendPending waits.
func nobody(write) bool    { return false }
func everybody(write) bool { return true }

// sendPending brings every kept secret into the ledger, one entry for each
// batch, and forgets a batch when the ledger has all of it. What another device
// must confirm waits for that only where wait says so, and is passed over
// otherwise.
func (d *Device) sendPending(ctx context.Context, wait func(write) bool) error {
	names, err := d.home.PendingNames()
	if err != nil {
		return err
	}
	for i, name := range names {
		if len(names) > 1 {
			d.o.Progress(Progress{Step: "splitting, sealing and sending", Done: i, Total: len(names)})
		}
		writes, err := d.batch(name)
		if err != nil {
			return err
		}
		if d.needsOthers(writes) && !slices.ContainsFunc(writes, wait) {
			continue
		}
		err = d.append(ctx, func(s *ledger.State) ([]transaction, error) {
			left := d.unaccepted(s, writes)
			if len(left) == 0 {
				return nil, nil
			}
			t, err := d.splitWrites(ctx, s, left)
			if err != nil {
				return nil, err
			}
			return []transaction{*t}, nil
		})
		if err != nil {
			return err
		}
		if err := d.home.RemovePending(name); err != nil {
			return err
		}
	}
	return nil
}

// needsOthers says whether another device must confirm what is not in the ledger
// yet of these writes.
func (d *Device) needsOthers(writes []write) bool {
	s := d.home.State()
	return len(d.othersActive(s)) > 0 && slices.ContainsFunc(d.unaccepted(s, writes), func(w write) bool { return w.base > 0 })
}

// sendKept is sendPending for a sync. That the account is full, or that nobody
// confirms, must not keep the device from the rest of it, like looking for
// recoveries.
func (d *Device) sendKept(ctx context.Context, r *SyncResult, wait func(write) bool) error {
	err := d.sendPending(ctx, wait)
	if ctx.Err() == nil && (errors.Is(err, ErrUnconfirmed) || errors.Is(err, ErrStale)) {
		r.note("%v", err)
		err = nil
	}
	if err == nil {
		return d.noteUnconfirmed(r)
	}
	if errors.Is(err, errFull) {
		r.note("the account is full: what it does not take is on this device alone, until secrets that are not needed any more are deleted")
		return nil
	}
	return err
}

// noteUnconfirmed says what waits for other devices.
func (d *Device) noteUnconfirmed(r *SyncResult) error {
	names, err := d.home.PendingNames()
	if err != nil {
		return err
	}
	for _, name := range names {
		writes, err := d.batch(name)
		if err != nil {
			return err
		}
		if d.needsOthers(writes) {
			r.Unconfirmed += len(writes)
		}
	}
	if r.Unconfirmed > 0 {
		r.note("%s on this device must be confirmed by another one: run zeropass sync --wait here, and zeropass confirm there", count(r.Unconfirmed, "change"))
	}
	return nil
}

// splitWrites makes the records of the writes in the epoch in use and, while one
// is prepared, there too.
func (d *Device) splitWrites(ctx context.Context, s *ledger.State, writes []write) (*transaction, error) {
	var splits []split
	for _, w := range writes {
		for _, e := range openEpochs(s) {
			splits = append(splits, split{id: w.id, version: w.base + 1, epoch: e.Number, item: w.item})
		}
	}
	return d.splitAll(ctx, s, splits)
}

// split is one secret to be split in one epoch.
type split struct {
	id      ledger.SlotID
	version uint64
	epoch   uint64
	counter uint64
	item    Item
}

// splitAll splits and seals on all cores.
func (d *Device) splitAll(ctx context.Context, s *ledger.State, splits []split) (*transaction, error) {
	g, err := d.generation(s, s.Generation())
	if err != nil {
		return nil, err
	}
	sealKey, err := serverSealKey(s)
	if err != nil {
		return nil, err
	}
	counter := s.Counter(d.keys.Device)
	for i := range splits {
		counter++
		splits[i].counter = counter
	}
	type made struct {
		put   *recordv1.SlotPut
		share *recordv1.SealedServerShare
	}
	all, err := credential.Map(ctx, splits, func(_ context.Context, p split) (made, error) {
		epoch, ok := s.Epoch(p.epoch)
		if !ok {
			return made{}, fmt.Errorf("device: there is no epoch %d", p.epoch)
		}
		master, err := d.master(s, epoch)
		if err != nil {
			return made{}, err
		}
		slotKey, err := master.SlotKey(d.keys.Device, p.counter)
		if err != nil {
			return made{}, err
		}
		put, share, err := credential.NewPut(d.o.Rand, credential.Put{
			Account: d.keys.Account, Slot: p.id, Version: p.version, Epoch: p.epoch,
			Device: d.keys.Device, Counter: p.counter, SlotKey: slotKey, ServerSealKey: sealKey,
			Generation: g.Number, MetadataKey: g.Metadata, DeviceShareKey: g.DeviceShare,
			Metadata: p.item.Metadata, Secret: p.item.Secret,
		})
		return made{put, share}, err
	})
	if err != nil {
		return nil, err
	}
	t := &transaction{}
	for _, m := range all {
		t.records = append(t.records, m.put)
		t.shares = append(t.shares, m.share)
	}
	return t, nil
}
