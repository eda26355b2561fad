package ledger

import (
	"slices"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// checkSigners wants everybody's signature whom the entry's records need. It
// looks at the state before the entry: nobody becomes a signer by what he signs.
func (s *State) checkSigners(tx *transaction) error {
	key, err := s.authorKey(tx)
	if err != nil {
		return err
	}
	if !s.verify(key, tx.entry.context, tx.entry.signature) {
		return refuse(RuleSignature, "device %d", tx.author)
	}
	if tx.entry.message.Proposal != nil {
		if err := s.checkProposal(tx); err != nil {
			return err
		}
	}
	if s.NeedsSecondFactor(tx.author, tx.entry.records) {
		if err := s.checkSecondFactor(tx); err != nil {
			return err
		}
	}
	return s.checkAllDevices(tx.author, tx.entry.records, tx.entry.message.Proposal.GetEndorsements())
}

// authorKey returns the key that must have signed the entry: an active device's,
// or the one that Genesis or Recovered names.
func (s *State) authorKey(tx *transaction) (*signing.PublicKey, error) {
	if g := tx.entry.records[0].GetGenesis(); g != nil {
		return signing.NewPublicKey(g.Device.SignKey)
	}
	if r := tx.entry.recovered; r != nil {
		if tx.author != r.statement.Device {
			return nil, refuse(RuleAuthor, "device %d recovers and device %d appends", r.statement.Device, tx.author)
		}
		return signing.NewPublicKey(r.statement.Keys.SignKey)
	}
	d, ok := s.devices[tx.author]
	if !ok {
		return nil, refuse(RuleAuthor, "there is no device %d", tx.author)
	}
	if d.Status != Active {
		return nil, refuse(RuleAuthor, "device %d is %v", tx.author, d.Status)
	}
	return d.SignKey, nil
}

func (s *State) checkProposal(tx *transaction) error {
	if err := s.checkBase(tx); err != nil {
		return err
	}
	for _, e := range tx.entry.message.Proposal.Endorsements {
		if err := s.checkEndorsement(tx, e); err != nil {
			return err
		}
	}
	return nil
}

// checkBase wants a proposal that is new, in time, and made for what still is.
func (s *State) checkBase(tx *transaction) error {
	p := tx.entry.message.Proposal
	if !s.Contains(Head{Sequence: p.BaseSequence, Hash: Hash(p.BaseHash)}) {
		return refuse(RuleProposalBase, "entry %d", p.BaseSequence)
	}
	if s.nonces[[idSize]byte(p.Nonce)] {
		return refuse(RuleProposalNonce, "%x", p.Nonce)
	}
	if tx.time > p.Expiry {
		return refuse(RuleProposalExpiry, "%d ms ago", tx.time-p.Expiry)
	}
	return s.checkStale(tx)
}

func (s *State) checkEndorsement(tx *transaction, e *recordv1.Endorsement) error {
	key, err := s.endorserKey(tx.author, tx.entry.records, e)
	if err != nil {
		return err
	}
	context := func() *signing.Context {
		return ProposalContext(s.account, tx.entry.message.Proposal, tx.author, tx.entry.message.Records, e.Role, e.Device)
	}
	if !s.verify(key, context, e.Signature) {
		return refuse(RuleEndorsement, "the signature is not device %d's", e.Device)
	}
	return nil
}

// endorserKey returns the key that an endorsement must be made with. No
// endorsement is admitted that could not count.
func (s *State) endorserKey(author uint64, records []*recordv1.Record, e *recordv1.Endorsement) (*signing.PublicKey, error) {
	if e.Role == recordv1.Endorsement_ROLE_NEW_DEVICE {
		for _, record := range records {
			if added := record.GetDeviceAdded(); added != nil && added.Device == e.Device {
				return signing.NewPublicKey(added.Keys.SignKey)
			}
		}
		return nil, refuse(RuleEndorsement, "device %d is not being added", e.Device)
	}
	d, ok := s.devices[e.Device]
	if !ok || d.Status != Active {
		return nil, refuse(RuleEndorsement, "device %d is no active device", e.Device)
	}
	if e.Role == recordv1.Endorsement_ROLE_CONFIRM {
		if e.Device != author {
			return nil, refuse(RuleEndorsement, "only the author confirms with a confirm key")
		}
		return d.ConfirmKey, nil
	}
	if e.Device == author {
		return nil, refuse(RuleEndorsement, "the author signs the entry and endorses nothing")
	}
	return d.SignKey, nil
}

// checkStale refuses a proposal if the device list, the epoch or what one of its
// records is about changed after the head that the co-signers saw.
func (s *State) checkStale(tx *transaction) error {
	base := tx.entry.message.Proposal.BaseSequence
	if s.listSince > base {
		return refuse(RuleProposalStale, "the device list, in entry %d", s.listSince)
	}
	if s.epochSince > base {
		return refuse(RuleProposalStale, "the epoch, in entry %d", s.epochSince)
	}
	for _, record := range tx.entry.records {
		if since := s.subjectSince(record); since > base {
			return refuse(RuleProposalStale, "the subject of a record, in entry %d", since)
		}
	}
	return nil
}

// subjectSince returns the entry in which a record's subject last changed.
// Devices and epochs as subjects are in the device list and the epoch.
func (s *State) subjectSince(record *recordv1.Record) uint64 {
	switch kind := record.Kind.(type) {
	case *recordv1.Record_SlotPut:
		return s.slotSince(kind.SlotPut.Slot)
	case *recordv1.Record_SlotDeleted:
		return s.slotSince(kind.SlotDeleted.Slot)
	case *recordv1.Record_DeviceRenamed:
		if d, ok := s.devices[kind.DeviceRenamed.Device]; ok {
			return d.Name.Since
		}
	case *recordv1.Record_PolicyChanged:
		return s.policySince
	case *recordv1.Record_ServerKeyChanged:
		return s.serverSince
	case *recordv1.Record_ContactBound:
		if e, ok := s.epochs[kind.ContactBound.Epoch]; ok {
			if m, ok := e.Member(kind.ContactBound.Member); ok {
				return m.BoundAt.Sequence
			}
		}
	}
	return 0
}

func (s *State) slotSince(id []byte) uint64 {
	if slot, ok := s.slots[SlotID(id)]; ok {
		return slot.Changed.Sequence
	}
	return 0
}

// NeedsSecondFactor says whether an entry of this author with these records needs
// a second factor in this state.
func (s *State) NeedsSecondFactor(author uint64, records []*recordv1.Record) bool {
	for _, record := range records {
		if s.needsSecondFactor(author, record) {
			return true
		}
	}
	return false
}

func (s *State) needsSecondFactor(author uint64, record *recordv1.Record) bool {
	switch kind := record.Kind.(type) {
	case *recordv1.Record_EpochPrepared:
		return s.inUse != 0
	case *recordv1.Record_SlotPut:
		_, exists := s.slots[SlotID(kind.SlotPut.Slot)]
		return exists || kind.SlotPut.Version > 1
	case *recordv1.Record_DeviceRenamed:
		return kind.DeviceRenamed.Device != author
	case *recordv1.Record_ContactBound,
		*recordv1.Record_DeviceAdded,
		*recordv1.Record_DeviceUnlocked,
		*recordv1.Record_DeviceRevoked,
		*recordv1.Record_SlotDeleted,
		*recordv1.Record_PolicyChanged,
		*recordv1.Record_ServerKeyChanged:
		return true
	}
	return false
}

// checkSecondFactor wants the endorsement of another active device that is no
// subject of the entry. Only a device that is alone may confirm by itself; and
// if it is alone because others are locked, only after the waiting period, or a
// stolen device could lock the others and have its way.
func (s *State) checkSecondFactor(tx *transaction) error {
	endorsements := tx.entry.message.Proposal.GetEndorsements()
	if endorsedByAnother(tx.entry.records, endorsements) {
		return nil
	}
	if !s.isAlone(tx.author) {
		return refuse(RuleSecondFactor, "an active device that is neither author nor subject must endorse")
	}
	if !slices.ContainsFunc(endorsements, func(e *recordv1.Endorsement) bool { return e.Role == recordv1.Endorsement_ROLE_CONFIRM }) {
		return refuse(RuleSecondFactor, "device %d must endorse with its confirm key", tx.author)
	}
	var lock uint64 // when the newest of the locks was set
	for _, d := range s.devices {
		if d.Status == Locked {
			lock = max(lock, uint64(d.Changed.Time.UnixMilli()))
		}
	}
	if lock > 0 && tx.time < lock+s.waiting() {
		return refuse(RuleConfirmWait, "%d s more", (lock+s.waiting()-tx.time+999)/1000)
	}
	return nil
}

// endorsedByAnother says whether an active device that is no subject endorses.
// That it is active and not the author is endorserKey's to see to.
func endorsedByAnother(records []*recordv1.Record, endorsements []*recordv1.Endorsement) bool {
	return slices.ContainsFunc(endorsements, func(e *recordv1.Endorsement) bool {
		return e.Role == recordv1.Endorsement_ROLE_DEVICE && !isSubject(records, e.Device)
	})
}

// isAlone says whether no other device is active.
func (s *State) isAlone(author uint64) bool {
	for _, d := range s.devices {
		if d.Number != author && d.Status == Active {
			return false
		}
	}
	return true
}

// isSubject says whether a record locks, unlocks, revokes or renames the device.
func isSubject(records []*recordv1.Record, device uint64) bool {
	for _, record := range records {
		if record.GetDeviceLocked().GetDevice() == device ||
			record.GetDeviceUnlocked().GetDevice() == device ||
			record.GetDeviceRevoked().GetDevice() == device ||
			record.GetDeviceRenamed().GetDevice() == device {
			return true
		}
	}
	return false
}

// checkAllDevices wants every active device to endorse a new one, and the new one
// itself.
func (s *State) checkAllDevices(author uint64, records []*recordv1.Record, endorsements []*recordv1.Endorsement) error {
	type endorser struct {
		role   recordv1.Endorsement_Role
		device uint64
	}
	has := map[endorser]bool{}
	for _, e := range endorsements {
		has[endorser{e.Role, e.Device}] = true
	}
	for _, record := range records {
		added := record.GetDeviceAdded()
		if added == nil {
			continue
		}
		if !has[endorser{recordv1.Endorsement_ROLE_NEW_DEVICE, added.Device}] {
			return refuse(RuleNewDevice, "device %d", added.Device)
		}
		for _, d := range s.ActiveDevices() {
			if d.Number != author && !has[endorser{recordv1.Endorsement_ROLE_DEVICE, d.Number}] {
				return refuse(RuleAllDevices, "device %d is missing", d.Number)
			}
		}
	}
	return nil
}
