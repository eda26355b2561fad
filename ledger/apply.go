package ledger

import (
	"fmt"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// transaction is an entry while it is applied.
type transaction struct {
	entry    *Entry
	author   uint64
	sequence uint64
	time     uint64   // milliseconds
	written  []SlotID // slots that its SlotPuts wrote
}

func (tx *transaction) event() Event {
	return Event{Sequence: tx.sequence, Time: timeOf(tx.time)}
}

// Fold returns the state of a ledger that starts with Genesis. It verifies
// signatures on all cores and returns the error of the first entry that may not
// stand where it stands: a [*RuleError].
func Fold(entries ...*Entry) (*State, error) {
	s := &State{}
	if err := s.Extend(entries...); err != nil {
		return nil, err
	}
	return s, nil
}

// Extend applies all entries in their order, or none: on an error the state is
// as it was. It verifies signatures on all cores.
func (s *State) Extend(entries ...*Entry) error {
	s.proved = prove(s, entries)
	defer func() { s.proved = nil }()
	for _, e := range entries {
		if err := s.apply(e); err != nil {
			s.rollback()
			return fmt.Errorf("entry %d: %w", e.Sequence(), err)
		}
	}
	s.settle()
	return nil
}

// Apply makes the entry the ledger's newest, or returns the [*RuleError] that
// says why it may not be; the state is then as it was. It is the one place that
// decides.
func (s *State) Apply(e *Entry) error {
	if err := s.apply(e); err != nil {
		s.rollback()
		return err
	}
	s.settle()
	return nil
}

func (s *State) apply(e *Entry) error {
	tx := &transaction{entry: e, author: e.message.Author, sequence: e.message.Sequence, time: e.message.Time}
	if err := s.checkPlace(e); err != nil {
		return err
	}
	if err := s.checkSigners(tx); err != nil {
		return err
	}
	for i, record := range e.records {
		if err := s.applyRecord(tx, record); err != nil {
			return fmt.Errorf("record %d: %w", i+1, err)
		}
	}
	if err := s.checkBothEpochs(tx); err != nil {
		return err
	}
	if p := e.message.Proposal; p != nil {
		put(s, s.nonces, [idSize]byte(p.Nonce), true)
	}
	assign(s, &s.hashes, append(s.hashes, e.hash))
	assign(s, &s.size, s.size+int64(len(e.signed)))
	assign(s, &s.time, e.message.Time)
	return nil
}

// checkPlace wants the entry to be the next one of this ledger.
func (s *State) checkPlace(e *Entry) error {
	head := s.Head()
	if e.message.Sequence != head.Sequence+1 {
		return refuse(RuleSequence, "%d, the ledger has %d entries", e.message.Sequence, head.Sequence)
	}
	if head.Sequence == 0 {
		return nil // ParseEntry saw that entry 1 is Genesis and nothing else
	}
	if account, _ := e.Account(); account != s.account {
		return refuse(RuleAccount, "%v, not %v", account, s.account)
	}
	if e.Previous() != head.Hash {
		return refuse(RulePrevious, "%v, not %v", e.Previous(), head.Hash)
	}
	if e.message.Time < s.time {
		return refuse(RuleTime, "%d ms earlier", s.time-e.message.Time)
	}
	return nil
}

func (s *State) applyRecord(tx *transaction, record *recordv1.Record) error {
	switch kind := record.Kind.(type) {
	case *recordv1.Record_Genesis:
		return s.genesis(tx, kind.Genesis)
	case *recordv1.Record_EpochPrepared:
		return s.epochPrepared(tx, kind.EpochPrepared)
	}
	// Until epoch 1 there are no keys to seal to and no waiting period.
	if s.inUse == 0 {
		return refuse(RuleNoEpoch, "the second entry prepares epoch 1")
	}
	switch kind := record.Kind.(type) {
	case *recordv1.Record_ContactBound:
		return s.contactBound(tx, kind.ContactBound)
	case *recordv1.Record_ShareReceipt:
		return s.shareReceipt(tx, kind.ShareReceipt)
	case *recordv1.Record_EpochCommitted:
		return s.epochCommitted(tx, kind.EpochCommitted)
	case *recordv1.Record_DeviceAdded:
		return s.deviceAdded(tx, kind.DeviceAdded)
	case *recordv1.Record_DeviceLocked:
		return s.deviceLocked(tx, kind.DeviceLocked)
	case *recordv1.Record_DeviceUnlocked:
		return s.deviceUnlocked(tx, kind.DeviceUnlocked)
	case *recordv1.Record_DeviceRevoked:
		return s.deviceRevoked(tx, kind.DeviceRevoked)
	case *recordv1.Record_DeviceRenamed:
		return s.deviceRenamed(tx, kind.DeviceRenamed)
	case *recordv1.Record_SlotPut:
		return s.slotPut(tx, kind.SlotPut)
	case *recordv1.Record_SlotDeleted:
		return s.slotDeleted(tx, kind.SlotDeleted)
	case *recordv1.Record_PolicyChanged:
		return s.policyChanged(tx, kind.PolicyChanged)
	case *recordv1.Record_ServerKeyChanged:
		return s.serverKeyChanged(tx, kind.ServerKeyChanged)
	case *recordv1.Record_RecoveryVetoed:
		return s.recoveryVetoed(tx, kind.RecoveryVetoed)
	case *recordv1.Record_Recovered:
		return s.recoverAccount(tx, tx.entry.recovered)
	}
	return ErrNewer
}

func (s *State) genesis(tx *transaction, r *recordv1.Genesis) error {
	s.makeMaps()
	assign(s, &s.account, AccountID(tx.entry.hash))
	assign(s, &s.policy, policy{
		perHour: limit{now: r.Policy.RevealsPerHour, next: r.Policy.RevealsPerHour},
		perDay:  limit{now: r.Policy.RevealsPerDay, next: r.Policy.RevealsPerDay},
	})
	assign(s, &s.policySince, tx.sequence)
	if r.Device.Generation != 1 {
		return refuse(RuleGeneration, "the name is sealed under generation %d, not 1", r.Device.Generation)
	}
	if err := s.setServer(tx, r.Server); err != nil {
		return err
	}
	return s.setDevice(tx, 1, r.Device)
}

func (s *State) makeMaps() {
	assign(s, &s.devices, map[uint64]*Device{})
	assign(s, &s.keys, map[string]bool{})
	assign(s, &s.epochs, map[uint64]*Epoch{})
	assign(s, &s.deviceKeys, map[generationDevice]sealedKeys{})
	assign(s, &s.backups, map[generationEpoch]sealedBackup{})
	assign(s, &s.seedShares, map[epochDevice]sealedShare{})
	assign(s, &s.slots, map[SlotID]*Slot{})
	assign(s, &s.counters, map[uint64]uint64{})
	assign(s, &s.carried, map[uint64]int{})
	assign(s, &s.nonces, map[[idSize]byte]bool{})
	assign(s, &s.vetoes, map[Hash][]Veto{})
	assign(s, &s.recoveries, map[Hash]Recovery{})
}

// serverKeyChanged voids the server's receipts for what is not committed: they
// are no proof that the new keys' holder has the shares.
func (s *State) serverKeyChanged(tx *transaction, r *recordv1.ServerKeyChanged) error {
	for _, number := range s.writtenEpochs() {
		if !s.epochs[number].Committed {
			s.changeEpoch(number, func(e *Epoch) { e.ServerReceipt = false })
		}
	}
	return s.setServer(tx, r.Server)
}

func (s *State) setServer(tx *transaction, server *recordv1.Server) error {
	if err := s.newKeys(server.SignKey, server.SealKey); err != nil {
		return err
	}
	key, err := signing.NewPublicKey(server.SignKey)
	if err != nil {
		return err
	}
	assign(s, &s.server, server)
	assign(s, &s.serverKeys, append(s.serverKeys, key))
	assign(s, &s.serverSince, tx.sequence)
	return nil
}
