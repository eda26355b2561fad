package device

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/slip39"
)

// LostItem is a slot that a recovery could not open.
type LostItem struct {
	Slot  ledger.SlotID
	Title string // empty if that did not open either
	Err   error
}

// FinishOptions says what to do with what comes back.
type FinishOptions struct {
	// HandOver gets every secret, and what could not be opened, before the account
	// is handed to this device. An error stops the recovery, which can be run
	// again. It may be called again when it is.
	HandOver func(items []Item, lost []LostItem) error
	// Insist goes on although the ledger that the server shows lacks heads that
	// contacts prove. The owner has been shown the gap.
	Insist bool
}

// FinishResult is a recovery that was finished.
type FinishResult struct {
	Account   ledger.AccountID
	Name      string
	Device    uint64 // number of this device
	Items     int    // handed over in this run
	Lost      []LostItem
	Discarded []string // approvals that did not count, and why
	Gap       []string // heads that the ledger lacks, with Insist
	Epoch     uint64   // that is prepared; the old one protects until it commits
	OldEpoch  uint64
	Bound     []string // contacts whose new shares are on their way
}

// RecoverFinish takes what the server releases, rebuilds the seed, hands the
// secrets over, makes this device the account's, and prepares the next epoch with
// the same contacts. If it dies anywhere, it can be run again.
func (d *Device) RecoverFinish(ctx context.Context, f FinishOptions) (*FinishResult, error) {
	_, request, err := d.ownRecovery()
	if err != nil {
		return nil, err
	}
	result := &FinishResult{Account: d.keys.Account, Name: d.Name()}
	for range attempts {
		if err = d.pushRecovered(ctx); err != nil && !errors.Is(err, errRebuild) {
			return nil, explain(err, "take over the account")
		}
		if err = nil; d.hasRecovered(request) {
			break
		}
		if err = d.takeOver(ctx, request, f, result); errors.Is(err, errRebuild) {
			continue
		}
		if err != nil {
			return nil, explain(err, "recover "+d.Name())
		}
		break
	}
	if err != nil {
		return nil, failure(CodeFailed, err, "run the command again", "another device kept writing to the ledger")
	}
	if err := d.afterRecovery(ctx, f, result); err != nil {
		return nil, explain(err, "prepare the next epoch")
	}
	return result, nil
}

func (d *Device) hasRecovered(request *ledger.RecoveryRequest) bool {
	s := d.home.State()
	if s == nil {
		return false
	}
	r, ok := s.Recovered(request.ID())
	return ok && r.Device == d.keys.Device
}

// pushRecovered sends the journalled Recovered, if there is one, and takes the
// number that it gives this device.
func (d *Device) pushRecovered(ctx context.Context) error {
	if err := d.push(ctx); err != nil {
		return err
	}
	s := d.home.State()
	if s == nil || d.keys.Device != 0 {
		return nil
	}
	for _, own := range s.ActiveDevices() {
		if own.SignKey.Equal(d.keys.Sign.PublicKey()) {
			if err := d.home.SetIdentity(d.keys.Account, own.Number); err != nil {
				return err
			}
			var err error
			d.keys, err = d.home.Keys()
			return err
		}
	}
	return nil
}

// released is everything that a recovery works with.
type released struct {
	state     *ledger.State
	entries   []*ledger.Entry
	approvals []*ledger.Approval
	sealed    map[ledger.Hash][]byte // shares, by their approval's bytes
	server    *recovery.Released
	shares    []*slip39.Share // the server's and the contacts'
}

func (r *released) erase() {
	r.server.Erase()
	for _, share := range r.shares {
		share.Erase()
	}
}

// takeOver goes from the server's release to the Recovered entry.
func (d *Device) takeOver(ctx context.Context, request *ledger.RecoveryRequest, f FinishOptions, result *FinishResult) error {
	d.o.Progress(Progress{Step: "taking the ledger", Done: 1, Total: 5})
	r, err := d.takeRelease(ctx, request)
	if err != nil {
		return err
	}
	defer r.erase()
	if err := r.checkHeads(request, f.Insist, result); err != nil {
		return err
	}
	if err := r.openShares(d, request, result); err != nil {
		return err
	}
	// Asked for before anything is handed over or changed: the next epoch needs it.
	if _, err := d.confirmKey(); err != nil {
		return err
	}
	d.o.Progress(Progress{Step: "rebuilding the Private Master Seed", Done: 2, Total: 5})
	epoch := r.state.InUse().Number
	keys, report, err := recovery.Rebuild(r.shares, r.state, epoch)
	if err != nil {
		return fmt.Errorf("the seed of epoch %d: %w; %s", epoch, err, report)
	}
	backup := recovery.NewBackup(r.state, epoch, keys)
	defer backup.Erase()
	d.o.Progress(Progress{Step: "opening the secrets", Done: 3, Total: 5})
	if err := d.handOver(ctx, r, epoch, backup, f, result); err != nil {
		return err
	}
	d.o.Progress(Progress{Step: "taking over the account", Done: 4, Total: 5})
	deviceShare, err := recovery.RestoreDeviceShare(r.shares, r.state, epoch)
	if err != nil {
		return err
	}
	defer deviceShare.Erase()
	now := d.entryTime(r.state)
	record, _, err := recovery.NewRecovered(ctx, d.o.Rand, recovery.Recovery{
		State: r.state, Request: request, Approvals: r.approvals, Now: now,
		DeviceShare: deviceShare, Backup: backup, Server: r.server, Name: "recovered device",
	})
	if err != nil {
		return err
	}
	if err := d.keepDeviceList(keys.Root(), epoch, r.state.NextDevice()); err != nil {
		return err
	}
	b, err := ledger.NewRecord(record)
	if err != nil {
		return err
	}
	account := r.state.Account()
	entry, err := ledger.Draft{Account: &account, Previous: r.state.Head(), Time: now, Author: r.state.NextDevice(), Records: [][]byte{b}}.Sign(d.keys.Sign)
	if err != nil {
		return err
	}
	// Nothing is stored before the heads were checked: this ledger is the one.
	if err := d.adopt(r); err != nil {
		return err
	}
	if err := d.home.PutJournal(&home.Append{Entries: []*ledger.Entry{entry}}); err != nil {
		return err
	}
	return d.pushRecovered(ctx)
}

// adopt stores the ledger that the recovery goes by. If an earlier try stored
// another one, that stays as evidence.
func (d *Device) adopt(r *released) error {
	err := d.home.Append(r.entries...)
	if errors.Is(err, home.ErrFork) || err == nil && d.home.State().Head() != r.state.Head() {
		err = d.home.ReplaceLedger(r.entries...)
	}
	return err
}

// takeRelease takes the ledger, the approvals and the shares.
func (d *Device) takeRelease(ctx context.Context, request *ledger.RecoveryRequest) (*released, error) {
	r := &released{server: recovery.NewReleased(), sealed: map[ledger.Hash][]byte{}}
	shown, err := d.client.RecoveryStatus(ctx, d.newcomer(), &apiv1.RecoveryStatusRequest{Request: idOf(request)})
	if err != nil {
		return nil, err
	}
	if err := d.takePages(ctx, request, shown.GetEpoch(), r); err != nil {
		r.erase()
		return nil, err
	}
	// The ledger after the shares: what it has more than they, the server still has.
	if err := d.takeLedger(ctx, r); err != nil {
		r.erase()
		return nil, err
	}
	if e := r.state.InUse(); e == nil || e.Number != shown.GetEpoch() {
		r.erase()
		return nil, fmt.Errorf("%w: it released shares of epoch %d, which is not the one in use", client.ErrDishonest, shown.GetEpoch())
	}
	return r, nil
}

func (d *Device) takePages(ctx context.Context, request *ledger.RecoveryRequest, epoch uint64, r *released) error {
	place := api.ReleasePlace{Account: d.keys.Account, Epoch: epoch, Recovery: request.ID()}
	for {
		page, err := d.client.Release(ctx, d.newcomer(), &apiv1.ReleaseRequest{Request: idOf(request), After: place.After})
		if err != nil {
			return err
		}
		opened, err := api.OpenRelease(d.keys.Seal, place, page.Sealed)
		if err != nil {
			return err
		}
		err = r.add(place.After == 0, page, opened)
		clear(opened.SeedShare)
		eraseRevealed(opened.Shares)
		if err != nil {
			return err
		}
		if !page.More {
			return nil
		}
		if page.Last <= place.After {
			return fmt.Errorf("%w: its pages do not go on", client.ErrDishonest)
		}
		place.After = page.Last
	}
}

func (r *released) add(first bool, page *apiv1.ReleaseAnswer, opened *apiv1.ReleasedShares) error {
	if first {
		share, err := slip39.ParseBinary(opened.SeedShare)
		if err != nil {
			return fmt.Errorf("%w: its share of the seed is none: %w", client.ErrDishonest, err)
		}
		r.shares = append(r.shares, share)
		for _, given := range page.Approvals {
			approval, err := ledger.ParseApproval(given.Approval)
			if err != nil {
				return fmt.Errorf("%w: it gives an approval that is none: %w", client.ErrDishonest, err)
			}
			r.approvals = append(r.approvals, approval)
			r.sealed[approvalHash(approval)] = given.SealedShare
		}
	}
	for _, s := range opened.Shares {
		slot := s.GetSlot()
		if len(slot.GetSlot()) != len(ledger.SlotID{}) {
			return fmt.Errorf("%w: it gives a share of no slot", client.ErrDishonest)
		}
		r.server.Add(slot.Epoch, ledger.SlotID(slot.Slot), slot.Version, s.Share)
	}
	return nil
}

// takeLedger reads the whole ledger from the server, and folds it apart from
// anything that is stored.
func (d *Device) takeLedger(ctx context.Context, r *released) error {
	r.state = &ledger.State{}
	for {
		nonce, err := d.nonce()
		if err != nil {
			return err
		}
		page, err := d.client.Entries(ctx, d.newcomer(), &apiv1.EntriesRequest{After: r.state.Head().Sequence, Nonce: nonce})
		if err != nil {
			return err
		}
		proof, err := d.serverProof(page.Attestation, nonce)
		if err != nil {
			return err
		}
		entries, err := parseShown(page.Entries)
		if err != nil {
			return err
		}
		if err := r.state.Extend(entries...); err != nil {
			return fmt.Errorf("%w: it shows a ledger that is none: %w", client.ErrDishonest, err)
		}
		r.entries = append(r.entries, entries...)
		if page.More && len(entries) > 0 {
			continue
		}
		if r.state.Account() != d.keys.Account || r.state.Head() != proof.Head() {
			return fmt.Errorf("%w: the ledger that it shows is not the one that it attests", client.ErrDishonest)
		}
		return nil
	}
}

// parseShown reads entries that the server shows.
func parseShown(list [][]byte) ([]*ledger.Entry, error) {
	var entries []*ledger.Entry
	for _, b := range list {
		e, err := ledger.ParseEntry(b)
		if errors.Is(err, ledger.ErrNewer) {
			return nil, err
		}
		if err != nil {
			return nil, fmt.Errorf("%w: it shows an entry that is none: %w", client.ErrDishonest, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// checkHeads keeps the approvals that count and stops at a ledger that lacks what
// they prove, unless the owner insists.
func (r *released) checkHeads(request *ledger.RecoveryRequest, insist bool, result *FinishResult) error {
	heads, err := recovery.CheckHeads(r.state, request, r.approvals)
	result.Discarded, result.Gap = nil, nil
	for _, d := range heads.Discarded {
		result.Discarded = append(result.Discarded, fmt.Sprintf("of member %d: %s", d.Approval.Holder().GetNumber(), d.Reason))
	}
	for _, m := range heads.Missing {
		result.Gap = append(result.Gap, m.String())
	}
	r.approvals = heads.Kept
	var missing *recovery.MissingHeadError
	if errors.As(err, &missing) && !insist {
		return &Error{
			Code:    CodeDishonest,
			Message: fmt.Sprintf("the server does not show the whole ledger: it ends with entry %d, but %s", missing.Shown.Sequence, strings.Join(result.Gap, "; ")),
			Hint:    "ask whoever runs the server for the rest; if it is lost for good, recover finish --insist goes on without what came later",
			Err:     errors.Join(ErrMissingHead, err),
		}
	}
	if err != nil && missing == nil {
		return err
	}
	return nil
}

// openShares opens the contacts' shares. One that does not open costs its
// approval.
func (r *released) openShares(d *Device, request *ledger.RecoveryRequest, result *FinishResult) error {
	var kept []*ledger.Approval
	for _, approval := range r.approvals {
		share, err := recovery.OpenShare(d.keys.Seal, request, approval, r.sealed[approvalHash(approval)])
		if err != nil {
			result.Discarded = append(result.Discarded, fmt.Sprintf("of member %d: %v", approval.Holder().GetNumber(), err))
			continue
		}
		kept = append(kept, approval)
		r.shares = append(r.shares, share)
	}
	r.approvals = kept
	if quorum := r.state.InUse().Quorum(); len(kept) < quorum {
		return failure(CodeNotYet, api.ErrNotEnoughApprovals, "ask the other contacts to approve, then run the command again",
			"only %d of the %d approvals needed can be used: %s", len(kept), quorum, strings.Join(result.Discarded, "; "))
	}
	return nil
}

// handOver opens everything and gives it to the owner.
func (d *Device) handOver(ctx context.Context, r *released, epoch uint64, backup *recovery.Backup, f FinishOptions, result *FinishResult) error {
	opened, err := recovery.Open(ctx, r.state, epoch, backup, r.server)
	if err != nil {
		return err
	}
	var items []Item
	result.Lost = nil
	for _, o := range opened {
		if o.Err != nil || o.Secret == nil {
			result.Lost = append(result.Lost, LostItem{Slot: o.Slot, Title: o.Metadata.GetTitle(), Err: o.Err})
			continue
		}
		items = append(items, Item{Metadata: o.Metadata, Secret: o.Secret})
	}
	result.Items = len(items)
	if f.HandOver != nil {
		if err := f.HandOver(items, result.Lost); err != nil {
			return err
		}
	}
	return d.restoreHeld(items)
}

// afterRecovery prepares the next epoch, unless that was done, and ends the
// recovery in this directory.
func (d *Device) afterRecovery(ctx context.Context, f FinishOptions, result *FinishResult) error {
	if err := d.pull(ctx); err != nil {
		return err
	}
	s := d.home.State()
	result.Device, result.OldEpoch = d.keys.Device, s.InUse().Number
	if s.Prepared() == nil && s.InUse().Author != d.keys.Device {
		if err := d.nextEpoch(ctx, f, result); err != nil {
			return err
		}
	}
	s = d.home.State()
	if e := targetEpoch(s); e != nil {
		result.Epoch = e.Number
		book, err := d.book()
		if err != nil {
			return err
		}
		for _, m := range e.Members {
			if m.Contact != nil {
				result.Bound = append(result.Bound, book.name(m.Contact))
			}
		}
	}
	if err := d.serverReceipts(ctx); err != nil {
		return err
	}
	if _, err := d.sendEnvelopes(ctx, &SyncResult{}); err != nil {
		return err
	}
	return d.home.RemovePrivate(recoveryFile)
}

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

func approvalHash(a *ledger.Approval) ledger.Hash { return sha256.Sum256(a.Bytes()) }
