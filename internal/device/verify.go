package device

import (
	"context"
	"errors"
	"fmt"

	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
)

// VerifyResult is what a check of the whole ledger found.
type VerifyResult struct {
	Entries      int
	Head         ledger.Head
	Slots        int      // live slots whose keys and shares were checked
	WrongKeys    []Entry  // slots whose slot key is not below the master public key: not backed up
	Unreadable   []string // what does not open on this device, and why
	ServerAsked  bool     // the server was reached
	ServerAgrees bool     // and attests this head, or goes on from it
	ServerHead   ledger.Head
	ServerSays   string // why it could not be asked, or does not agree
	Copies       []Proof
	Stop         string // the two histories that have stopped this device; empty if none have
}

// OK says whether nothing is wrong.
func (r *VerifyResult) OK() bool {
	return r.Stop == "" && len(r.WrongKeys) == 0 && len(r.Unreadable) == 0 && (!r.ServerAsked || r.ServerAgrees)
}

// VerifyLedger reads the ledger from the disk and folds it anew, checks every
// slot key against the master public key and opens what this device can open, and
// compares heads with the server, if it can be reached.
func (d *Device) VerifyLedger(ctx context.Context) (*VerifyResult, error) {
	if err := d.readable(); err != nil {
		return nil, err
	}
	s, n, err := d.refold(ctx)
	if err != nil {
		return nil, explain(err, "verify the ledger")
	}
	result := &VerifyResult{Entries: n, Head: s.Head(), Slots: len(s.LiveSlots())}
	if s.Head() != d.home.State().Head() {
		return nil, failure(CodeHome, nil, "open the directory again", "the ledger in %s changed while it was verified", d.Dir())
	}
	if result.WrongKeys, err = d.wrongSlotKeys(ctx, s); err != nil {
		return nil, explain(err, "check the slot keys")
	}
	if result.Unreadable, err = d.unreadable(ctx, s); err != nil {
		return nil, explain(err, "open what is stored")
	}
	if err := d.compareWithServer(ctx, result); err != nil {
		return nil, err
	}
	book, err := d.book()
	if err != nil {
		return nil, explain(err, "read the contacts")
	}
	st := &Status{}
	if err := d.proofs(d.home.State(), book, st); err != nil {
		return nil, explain(err, "read when copies and shares were proved")
	}
	if err := d.stopped(); errors.Is(err, ErrFork) || errors.Is(err, ErrWithheld) {
		result.Stop = err.Error()
	} else if err != nil {
		return nil, explain(err, "read what is known of a fork")
	}
	result.Copies = append(st.Copies, st.Shares...)
	return result, nil
}

// refold folds the ledger as it stands on the disk.
func (d *Device) refold(ctx context.Context) (*ledger.State, int, error) {
	const page = 256
	s := &ledger.State{}
	n := 0
	for {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		list, err := d.home.Entries(uint64(n), page)
		if err != nil {
			return nil, 0, err
		}
		if len(list) == 0 {
			return s, n, nil
		}
		var entries []*ledger.Entry
		for _, b := range list {
			e, err := ledger.ParseEntry(b)
			if err != nil {
				return nil, 0, err
			}
			entries = append(entries, e)
		}
		if err := s.Extend(entries...); err != nil {
			return nil, 0, err
		}
		n += len(list)
		d.o.Progress(Progress{Step: "folding", Done: n, Total: int(d.Head().Sequence)})
	}
}

// wrongSlotKeys returns the live slots whose slot key, in the epoch in use or the
// prepared one, is not the one at its place below the master public key.
func (d *Device) wrongSlotKeys(ctx context.Context, s *ledger.State) ([]Entry, error) {
	live := s.LiveSlots()
	wrong, err := credential.Map(ctx, live, func(_ context.Context, slot *ledger.Slot) (bool, error) {
		for _, e := range openEpochs(s) {
			put := slot.Put(e.Number)
			if put == nil {
				continue
			}
			master, err := d.master(s, e)
			if err != nil {
				return false, err
			}
			if err := master.CheckSlotKey(put.Device, put.Counter, put.SlotKey); errors.Is(err, seed.ErrSlotKey) {
				return true, nil
			} else if err != nil {
				return false, err
			}
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for i, bad := range wrong {
		if !bad {
			continue
		}
		e := Entry{ID: live[i].ID, Version: live[i].Version, Accepted: true, Changed: live[i].Changed.Time, Metadata: &recordv1.SlotMetadata{}}
		if m, err := d.metadata(s, live[i].Put(s.InUse().Number)); err == nil {
			e.Metadata = m
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// unreadable opens every live slot's metadata and device share.
func (d *Device) unreadable(ctx context.Context, s *ledger.State) ([]string, error) {
	epoch := s.InUse().Number
	found, err := credential.Map(ctx, s.LiveSlots(), func(_ context.Context, slot *ledger.Slot) (string, error) {
		if _, err := d.metadata(s, slot.Put(epoch)); err != nil {
			return fmt.Sprintf("the title of slot %v: %v", slot.ID, err), nil
		}
		share, err := d.deviceShare(s, slot, epoch)
		if err != nil {
			return fmt.Sprintf("this device's share of slot %v: %v", slot.ID, err), nil
		}
		clear(share)
		return "", nil
	})
	if err != nil {
		return nil, err
	}
	var all []string
	for _, text := range found {
		if text != "" {
			all = append(all, text)
		}
	}
	return all, nil
}

// compareWithServer brings both ledgers together and says what came of it.
func (d *Device) compareWithServer(ctx context.Context, result *VerifyResult) error {
	err := d.pull(ctx)
	result.ServerAsked = !errors.Is(err, client.ErrUnreachable)
	if err != nil && ctx.Err() != nil {
		return explain(err, "ask the server")
	}
	if err != nil {
		result.ServerSays = err.Error()
		return nil
	}
	result.ServerAgrees = true
	if a, err := ledger.ParseAttestation(d.newestServerProof()); err == nil {
		result.ServerHead = a.Head()
	}
	return nil
}
