package ledger

import (
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
	if !s.verify(key, tx.entry.context(), tx.entry.signature) {
		return refuse(RuleSignature, "device %d", tx.author)
	}
	if tx.entry.message.Proposal != nil {
		if err := s.checkProposal(tx); err != nil {
			return err
		}
	}
	if s.NeedsSecondFactor(tx.entry.records) {
		if err := s.checkSecondFactor(tx); err != nil {
			return err
		}
	}
	for _, record := range tx.entry.records {
		if added := record.GetDeviceAdded(); added != nil {
			if err := s.checkAllDevices(tx, added); err != nil {
				return err
			}
		}
	}
	return nil
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
	if err := s.checkStale(tx); err != nil {
		return err
	}
	for _, e := range p.Endorsements {
		key, err := s.endorserKey(tx, e)
		if err != nil {
			return err
		}
		c := ProposalContext(s.account, p, tx.entry.message.Records, e.Role, e.Device)
		if !s.verify(key, c, e.Signature) {
			return refuse(RuleEndorsement, "the signature is not device %d's", e.Device)
		}
	}
	return nil
}

// endorserKey returns the key that an endorsement must be made with. No
// endorsement is admitted that could not count.
func (s *State) endorserKey(tx *transaction, e *recordv1.Endorsement) (*signing.PublicKey, error) {
	if e.Role == recordv1.Endorsement_ROLE_NEW_DEVICE {
		for _, record := range tx.entry.records {
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
		if e.Device != tx.author {
			return nil, refuse(RuleEndorsement, "only the author confirms with a confirm key")
		}
		return d.ConfirmKey, nil
	}
	if e.Device == tx.author {
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

// NeedsSecondFactor says whether an entry with these records needs a second
// factor in this state.
func (s *State) NeedsSecondFactor(records []*recordv1.Record) bool {
	for _, record := range records {
		if s.needsSecondFactor(record) {
			return true
		}
	}
	return false
}

func (s *State) needsSecondFactor(record *recordv1.Record) bool {
	switch kind := record.Kind.(type) {
	case *recordv1.Record_EpochPrepared:
		return s.inUse != 0
	case *recordv1.Record_SlotPut:
		_, exists := s.slots[SlotID(kind.SlotPut.Slot)]
		return exists || kind.SlotPut.Version > 1
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
	confirmed := false
	if p := tx.entry.message.Proposal; p != nil {
		for _, e := range p.Endorsements {
			if e.Role == recordv1.Endorsement_ROLE_DEVICE && !isSubject(tx.entry.records, e.Device) {
				return nil
			}
			confirmed = confirmed || e.Role == recordv1.Endorsement_ROLE_CONFIRM
		}
	}
	var lock uint64 // when the newest of the locks was set
	for _, d := range s.devices {
		if d.Number != tx.author && d.Status == Active {
			return refuse(RuleSecondFactor, "an active device that is neither author nor subject must endorse")
		}
		if d.Status == Locked {
			lock = max(lock, uint64(d.Changed.Time.UnixMilli()))
		}
	}
	if !confirmed {
		return refuse(RuleSecondFactor, "device %d must endorse with its confirm key", tx.author)
	}
	if lock > 0 && tx.time < lock+s.waiting() {
		return refuse(RuleConfirmWait, "%d s more", (lock+s.waiting()-tx.time+999)/1000)
	}
	return nil
}

// isSubject says whether a record locks, unlocks or revokes the device.
func isSubject(records []*recordv1.Record, device uint64) bool {
	for _, record := range records {
		if record.GetDeviceLocked().GetDevice() == device ||
			record.GetDeviceUnlocked().GetDevice() == device ||
			record.GetDeviceRevoked().GetDevice() == device {
			return true
		}
	}
	return false
}

// checkAllDevices wants every active device, and the new one, to endorse.
func (s *State) checkAllDevices(tx *transaction, added *recordv1.DeviceAdded) error {
	type endorser struct {
		role   recordv1.Endorsement_Role
		device uint64
	}
	has := map[endorser]bool{}
	for _, e := range tx.entry.message.Proposal.GetEndorsements() {
		has[endorser{e.Role, e.Device}] = true
	}
	if !has[endorser{recordv1.Endorsement_ROLE_NEW_DEVICE, added.Device}] {
		return refuse(RuleNewDevice, "device %d", added.Device)
	}
	for _, d := range s.ActiveDevices() {
		if d.Number != tx.author && !has[endorser{recordv1.Endorsement_ROLE_DEVICE, d.Number}] {
			return refuse(RuleAllDevices, "device %d is missing", d.Number)
		}
	}
	return nil
}
