package device

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
)

// fork is what the device remembers of another history, which the server showed or
// another device proved.
type fork struct {
	Seen     time.Time
	Ours     uint64 // sequence of the device's head
	Theirs   uint64
	Evidence string // name in the directory

	Device   uint64 // whose attestation proves it; 0 if the server showed it
	Proof    []byte // that attestation
	Withheld bool   // it goes on where this device's ends, for all that is known, and the server does not show it
}

const forkFile = "fork"

// forked keeps the evidence of another history, which the server signed, and
// stops.
func (d *Device) forked(proof *ledger.Attestation, entries [][]byte) error {
	theirs := proof.Head()
	name := fmt.Sprintf("fork-%d-%x", theirs.Sequence, theirs.Hash[:8])
	if err := d.home.PutEvidence(name, proof.Bytes()); err != nil {
		return err
	}
	for i, b := range entries {
		if err := d.home.PutEvidence(fmt.Sprintf("%s-entry-%d", name, i+1), b); err != nil {
			return err
		}
	}
	f := fork{Seen: d.o.Now(), Ours: d.Head().Sequence, Theirs: theirs.Sequence, Evidence: name}
	if err := d.save(forkFile, f); err != nil {
		return err
	}
	return forkError(&f)
}

func forkError(f *fork) error {
	switch {
	case f.Withheld:
		return failure(CodeDishonest, ErrWithheld,
			fmt.Sprintf("run zeropass sync on device %d and then here; if this stays, the server is not honest: keep both directories", f.Device),
			"the server withholds %s that device %d has proved; the proof is kept in evidence/%s", entryRange(f.Ours+1, f.Theirs), f.Device, f.Evidence)
	case f.Device != 0:
		return failure(CodeDishonest, ErrFork,
			"ask whoever runs the server whether it was restored from an older copy; if so, run zeropass sync on both devices and zeropass ledger follow-server where it says so, then compare again; if not, the server is not honest: keep both directories",
			"device %d has another history of this account than this one: its entry %d is not the one that is here (this device has %d); the proof is kept in evidence/%s",
			f.Device, f.Theirs, f.Ours, f.Evidence)
	}
	return failure(CodeDishonest, ErrFork,
		"ask whoever runs the server whether it was restored from an older copy; if so, run zeropass ledger follow-server; if not, it is not honest: keep this directory",
		"the server shows a history of this account that is neither older nor newer than this device's, but another one (its entry %d, ours %d); the proof is kept in evidence/%s",
		f.Theirs, f.Ours, f.Evidence)
}

// entryRange names entries from one to another.
func entryRange(from, to uint64) string {
	if from == to {
		return fmt.Sprintf("entry %d", from)
	}
	return fmt.Sprintf("entries %d to %d", from, to)
}

// stopped returns an error while a fork is not decided.
func (d *Device) stopped() error {
	f, err := load[fork](d, forkFile)
	if err != nil || f == nil {
		return err
	}
	return forkError(f)
}

// clearFork goes on after a fork. The evidence stays.
func (d *Device) clearFork() error { return d.home.RemovePrivate(forkFile) }

// clearServerFork goes on when the server shows this device's history again. What
// another device has proved, that does not take back.
func (d *Device) clearServerFork() error {
	f, err := load[fork](d, forkFile)
	if err != nil || f == nil || f.Device != 0 {
		return err
	}
	return d.clearFork()
}

// FollowResult is what became of this device's history after a fork.
type FollowResult struct {
	Common uint64   // sequence number of the last entry that both histories have
	Again  int      // slot records that were appended again
	Rest   []string // what was not, in words: look at it and do it again where it matters
	Head   ledger.Head

	Activity *FollowedActivity // of the activity log; nil if the server's goes on from this device's
}

// FollowServer gives up this device's branch of a forked ledger, because the
// owner says that the server was restored from an older copy: it takes the
// server's branch, appends its own slot records that are missing there again, and
// lists the rest. The old branch stays as evidence. The activity log follows the
// server too, as with [Device.FollowActivity].
func (d *Device) FollowServer(ctx context.Context) (*FollowResult, error) {
	if err := d.readable(); err != nil {
		return nil, err
	}
	f, err := load[fork](d, forkFile)
	if err != nil {
		return nil, explain(err, "read what is known of the fork")
	}
	if f == nil {
		return nil, failure(CodeUsage, nil, "run zeropass sync", "this device has seen no other history")
	}
	_, theirs, err := d.readLedger(ctx, d.identity())
	if err != nil {
		return nil, explain(err, "take the server's history")
	}
	mine, common, err := d.ownBranch(theirs)
	if err != nil {
		return nil, explain(err, "compare both histories")
	}
	result := &FollowResult{Common: common}
	if result.Activity, err = d.followActivity(ctx); err != nil {
		return nil, explain(err, "take the server's activity log")
	}
	var redo []ownSlots
	for _, e := range mine {
		t, rest, err := d.again(e)
		if err != nil {
			return nil, explain(err, "read this device's history")
		}
		result.Rest = append(result.Rest, rest...)
		if len(t.records) > 0 {
			redo = append(redo, ownSlots{t, d.inWords(t.records)})
		}
	}
	if err := d.home.RemoveJournal(); err != nil {
		return nil, explain(err, "take the server's history")
	}
	if err := d.home.ReplaceLedger(theirs...); err != nil {
		return nil, explain(err, "take the server's history")
	}
	d.forgetKeys()
	if err := d.clearFork(); err != nil {
		return nil, explain(err, "go on")
	}
	for _, t := range redo {
		if err := d.redo(ctx, t, result); err != nil {
			return nil, explain(err, "append the slot records again")
		}
	}
	result.Head = d.Head()
	return result, nil
}

// ownBranch returns the entries that only this device has.
func (d *Device) ownBranch(theirs []*ledger.Entry) (mine []*ledger.Entry, common uint64, err error) {
	s := d.home.State()
	for _, e := range theirs {
		if !s.Contains(e.Head()) {
			break
		}
		common = e.Sequence()
	}
	for after := common; after < s.Head().Sequence; after++ {
		b, err := d.home.Entries(after, 1)
		if err != nil {
			return nil, 0, err
		}
		e, err := ledger.ParseEntry(b[0])
		if err != nil {
			return nil, 0, err
		}
		mine = append(mine, e)
	}
	return mine, common, nil
}

// again splits an entry of this device's branch into what is appended again, its
// own slots, and what is only told.
func (d *Device) again(e *ledger.Entry) (t transaction, rest []string, err error) {
	for _, record := range e.Records() {
		switch {
		case e.Author() == d.keys.Device && record.GetSlotPut() != nil:
			t.records = append(t.records, record.GetSlotPut())
		case e.Author() == d.keys.Device && record.GetSlotDeleted() != nil:
			t.records = append(t.records, record.GetSlotDeleted())
		default:
			kind := record.ProtoReflect().WhichOneof(record.ProtoReflect().Descriptor().Oneofs().ByName("kind"))
			inner := record.ProtoReflect().Get(kind).Message().Interface()
			rest = append(rest, fmt.Sprintf("%s (entry %d by device %d)", d.recordInWords(inner), e.Sequence(), e.Author()))
		}
	}
	if len(t.records) == 0 {
		return t, rest, nil
	}
	for _, named := range e.ServerShares() {
		share, err := d.home.ServerShare(named.ShareID)
		if err != nil {
			continue // an older version, whose share nobody needs any more
		}
		t.shares = append(t.shares, share)
	}
	return t, rest, nil
}

// ownSlots is what this device appends again, and what a person calls it. The
// titles are read while the keys of its own branch are known.
type ownSlots struct {
	transaction
	words []string // one for each record
}

func (d *Device) inWords(records []proto.Message) []string {
	words := make([]string, len(records))
	for i, record := range records {
		words[i] = d.recordInWords(record)
	}
	return words
}

// recordInWords says what a record did, by the titles that people know.
func (d *Device) recordInWords(record proto.Message) string {
	s := d.home.State()
	switch r := record.(type) {
	case *recordv1.SlotPut:
		if m, err := d.metadata(s, r); err == nil {
			return fmt.Sprintf("%q was stored", describe(m))
		}
		return fmt.Sprintf("slot %x was stored", r.Slot[:4])
	case *recordv1.SlotDeleted:
		if puts := s.Versions(ledger.SlotID(r.Slot)); len(puts) > 0 {
			if m, err := d.metadata(s, puts[len(puts)-1]); err == nil {
				return fmt.Sprintf("%q was deleted", describe(m))
			}
		}
		return fmt.Sprintf("slot %x was deleted", r.Slot[:4])
	case *recordv1.EpochPrepared:
		if len(r.SheetKey) > 0 {
			return fmt.Sprintf("epoch %d was prepared, with a printed sheet", r.Epoch)
		}
		return fmt.Sprintf("epoch %d was prepared", r.Epoch)
	case *recordv1.EpochCommitted:
		return fmt.Sprintf("epoch %d was committed", r.Epoch)
	case *recordv1.ContactBound:
		return fmt.Sprintf("contact %d of epoch %d was confirmed", r.Member, r.Epoch)
	case *recordv1.ShareReceipt:
		return fmt.Sprintf("a share of epoch %d was proved", r.Epoch)
	case *recordv1.DeviceAdded:
		return "a device was added"
	case *recordv1.DeviceLocked:
		return fmt.Sprintf("device %d was locked", r.Device)
	case *recordv1.DeviceUnlocked:
		return fmt.Sprintf("device %d was unlocked", r.Device)
	case *recordv1.DeviceRevoked:
		return fmt.Sprintf("device %d was revoked", r.Device)
	case *recordv1.DeviceRenamed:
		return fmt.Sprintf("device %d was renamed", r.Device)
	case *recordv1.PolicyChanged:
		return "the rules for revealing were changed"
	case *recordv1.ServerKeyChanged:
		return "the server's keys or address were changed"
	case *recordv1.RecoveryVetoed:
		return "a recovery was vetoed"
	case *recordv1.Recovered:
		return "the account was recovered on a new device"
	}
	return string(record.ProtoReflect().Descriptor().Name())
}

// redo appends slot records again, those that still fit together, or tells why
// they cannot.
func (d *Device) redo(ctx context.Context, t ownSlots, result *FollowResult) error {
	appended := 0
	err := d.append(ctx, func(s *ledger.State) ([]transaction, error) {
		left := transaction{shares: t.shares}
		for _, record := range t.records {
			if !stands(s, record) {
				left.records = append(left.records, record)
			}
		}
		if appended = len(left.records); appended == 0 {
			return nil, nil
		}
		return []transaction{left}, nil
	})
	var rule *ledger.RuleError
	if errors.As(err, &rule) || err != nil && signed(err) {
		for _, words := range t.words {
			result.Rest = append(result.Rest, fmt.Sprintf("%s, which does not fit the server's history: %v", words, err))
		}
		return nil
	}
	if err != nil {
		return err
	}
	result.Again += appended
	return nil
}

// stands says whether a slot record is in the ledger already.
func stands(s *ledger.State, record proto.Message) bool {
	switch r := record.(type) {
	case *recordv1.SlotPut:
		return slices.ContainsFunc(s.Versions(ledger.SlotID(r.Slot)), func(p *recordv1.SlotPut) bool { return proto.Equal(p, r) })
	case *recordv1.SlotDeleted:
		slot, ok := s.Slot(ledger.SlotID(r.Slot))
		return ok && slot.Deleted
	}
	return false
}
