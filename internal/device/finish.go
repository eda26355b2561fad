package device

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
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
	Sheet     bool     // the prepared epoch has a printed sheet, which is to be printed
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
	opened, err := d.handOver(ctx, r, epoch, backup, f, result)
	if err != nil {
		return err
	}
	d.o.Progress(Progress{Step: "taking over the account", Done: 4, Total: 5})
	entry, lost, err := d.recoveredEntry(ctx, request, r, backup)
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
	if err := d.pushRecovered(ctx); err != nil {
		return err
	}
	return d.storeAgain(opened, lost)
}

// recoveredEntry makes the entry that hands the account to this device, keeps the
// device list that the root key signs for contacts, and says what the entry could
// not bring over.
func (d *Device) recoveredEntry(ctx context.Context, request *ledger.RecoveryRequest, r *released, backup *recovery.Backup) (*ledger.Entry, []recovery.Lost, error) {
	deviceShare, err := recovery.RestoreDeviceShare(r.shares, r.state, backup.Epoch())
	if err != nil {
		return nil, nil, err
	}
	defer deviceShare.Erase()
	now := d.entryTime(r.state)
	record, lost, err := recovery.NewRecovered(ctx, d.o.Rand, recovery.Recovery{
		State: r.state, Request: request, Approvals: r.approvals, Now: now,
		DeviceShare: deviceShare, Backup: backup, Server: r.server, Name: "recovered device",
	})
	if err != nil {
		return nil, nil, err
	}
	number := r.state.NextDevice()
	if err := d.keepDeviceList(backup.Keys().Root(), backup.Epoch(), number); err != nil {
		return nil, nil, err
	}
	b, err := ledger.NewRecord(record)
	if err != nil {
		return nil, nil, err
	}
	account := r.state.Account()
	entry, err := ledger.Draft{Account: &account, Previous: r.state.Head(), Time: now, Author: number, Records: [][]byte{b}}.Sign(d.keys.Sign)
	return entry, lost, err
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

// afterRecovery prepares the next epoch, unless that was done, and ends the
// recovery in this directory.
func (d *Device) afterRecovery(ctx context.Context, f FinishOptions, result *FinishResult) error {
	if err := d.pull(ctx); err != nil {
		return err
	}
	s := d.home.State()
	result.Device, result.OldEpoch = d.keys.Device, s.InUse().Number
	if s.Prepared() != nil || s.InUse().Author != d.keys.Device {
		if err := d.epochAfterRecovery(ctx, f, result); err != nil {
			return err
		}
	}
	if err := d.sendPending(ctx, nobody); err != nil {
		return err
	}
	s = d.home.State()
	result.Lost = slices.DeleteFunc(result.Lost, func(l LostItem) bool { return d.stored(s, l.Slot) })
	if e := targetEpoch(s); e != nil {
		result.Epoch = e.Number
		result.Sheet = e.SheetKey != nil && !e.SheetReceipt
		names := d.contactNames(s)
		for _, m := range e.Members {
			if m.Contact != nil {
				result.Bound = append(result.Bound, names.of(m.Contact))
			}
		}
	}
	if err := d.handOut(ctx); err != nil {
		return err
	}
	return d.home.RemovePrivate(recoveryFile)
}

// epochAfterRecovery prepares an epoch like the one in use, or goes on with the
// one that is prepared.
func (d *Device) epochAfterRecovery(ctx context.Context, f FinishOptions, result *FinishResult) error {
	book, err := d.book()
	if err != nil {
		return err
	}
	s := d.home.State()
	if result.Items == 0 && f.HandOver != nil && (s.Prepared() == nil || len(unsplit(s, s.Prepared().Number)) > 0) {
		// The recovery itself was finished in an earlier run.
		if err := d.handOverAgain(ctx, s, f, result); err != nil {
			return err
		}
	}
	d.o.Progress(Progress{Step: "preparing the next epoch", Done: 5, Total: 5})
	splits, lost, err := d.nextEpoch(ctx, planOf(targetEpoch(s), book))
	if splits > 0 || len(lost) > 0 {
		result.Lost = lost
	}
	return err
}
