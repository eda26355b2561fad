package ledger

import (
	"fmt"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// Proposal is what an author asks others to endorse: records, before they are an
// entry.
type Proposal struct {
	message *recordv1.Proposal
	exact   [][]byte
	records []*recordv1.Record
}

// ParseProposal reads the exact bytes of a Proposal without endorsements and of
// its Records, strictly. Errors are those of [ParseEntry].
func ParseProposal(proposal []byte, records [][]byte) (*Proposal, error) {
	p := &Proposal{message: &recordv1.Proposal{}, exact: records}
	if err := read(proposal, p.message); err != nil {
		return nil, err
	}
	c := checker{where: "proposal"}
	checkProposal(&c, p.message)
	if len(p.message.Endorsements) > 0 {
		c.fault("endorsements", "must be absent")
	}
	if len(records) == 0 {
		c.fault("records", "missing")
	}
	if c.err != nil {
		return nil, c.err
	}
	for i, b := range records {
		record, err := ParseRecord(b)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", i+1, err)
		}
		if record.GetGenesis() != nil || record.GetRecovered() != nil {
			return nil, refuse(RuleShape, "Genesis and Recovered stand alone in an entry, without a proposal")
		}
		p.records = append(p.records, record)
	}
	return p, nil
}

// Message returns the proposal's fields.
func (p *Proposal) Message() *recordv1.Proposal { return p.message }

// Records returns the proposed records in their order.
func (p *Proposal) Records() []*recordv1.Record { return p.records }

// Bytes returns the exact bytes of the records. Do not change them.
func (p *Proposal) Bytes() [][]byte { return p.exact }

// Added returns the device that the proposal adds, or nil.
func (p *Proposal) Added() *recordv1.DeviceAdded {
	for _, record := range p.records {
		if added := record.GetDeviceAdded(); added != nil {
			return added
		}
	}
	return nil
}

// IsSubject says whether the proposal is about this device, whose endorsement is
// then no second factor.
func (p *Proposal) IsSubject(device uint64) bool { return isSubject(p.records, device) }

// entry is the entry that the proposal may become next, without signatures.
func (p *Proposal) entry(s *State, author uint64, now time.Time) *transaction {
	e := &Entry{
		message: &recordv1.Entry{
			Sequence: s.Head().Sequence + 1, Time: max(uint64(now.UnixMilli()), s.time), Author: author,
			Records: p.exact, Proposal: p.message,
		},
		records: p.records,
	}
	return &transaction{entry: e, author: author, sequence: e.message.Sequence, time: e.message.Time}
}

// CheckProposal returns nil if the proposal needs a second factor and, endorsed,
// might follow this state as an entry by the author: everything that
// [State.Apply] asks for except endorsements and the author's signature. Errors
// are those of Apply, which has the last word.
func (s *State) CheckProposal(p *Proposal, author uint64, now time.Time) error {
	tx := p.entry(s, author, now)
	if _, err := s.authorKey(tx); err != nil {
		return err
	}
	if err := s.checkBase(tx); err != nil {
		return err
	}
	if !s.NeedsSecondFactor(author, p.records) {
		return refuse(RuleShape, "no record needs a second factor")
	}
	trial := s.Clone()
	for i, record := range p.records {
		if err := trial.applyRecord(tx, record); err != nil {
			return fmt.Errorf("record %d: %w", i+1, err)
		}
	}
	return trial.checkBothEpochs(tx)
}

// CheckEndorsement returns nil if the endorsement may stand in the author's
// entry, and a [*RuleError] if not: it is no active device's, the author's own,
// or has a wrong signature.
func (s *State) CheckEndorsement(p *Proposal, author uint64, e *recordv1.Endorsement) error {
	c := checker{where: "proposal"}
	if checkEndorsement(&c, e); c.err != nil {
		return c.err
	}
	return s.checkEndorsement(p.entry(s, author, s.Time()), e)
}

// Endorsed says whether the author needs no more endorsements by others for an
// entry of these records: that of an active device that is neither author nor
// subject, and for a new device those of every other active device and of the new
// one. An author that is alone adds its own, with its confirm key. Signatures are
// [State.CheckEndorsement]'s to check.
func (s *State) Endorsed(author uint64, records []*recordv1.Record, endorsements []*recordv1.Endorsement) bool {
	for _, e := range endorsements {
		if _, err := s.endorserKey(author, records, e); err != nil {
			return false
		}
	}
	if s.NeedsSecondFactor(author, records) && !s.isAlone(author) && !endorsedByAnother(records, endorsements) {
		return false
	}
	return s.checkAllDevices(author, records, endorsements) == nil
}
