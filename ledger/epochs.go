package ledger

import (
	"slices"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// Epoch is the life of one Private Master Seed.
type Epoch struct {
	Number         uint64
	Author         uint64 // device that prepared it
	Record         *recordv1.EpochPrepared
	RootKey        *signing.PublicKey
	SheetKey       *signing.PublicKey // nil without a sheet
	Members        []Member           // member M at M-1
	ServerReceipt  bool
	SheetReceipt   bool
	SheetReceiptAt Event // zero until then
	Committed      bool
	RevokedSince   bool // a device that has its device share was revoked: it is to be replaced
	Prepared       Event
	CommittedAt    Event // zero until then
}

// Member is one share of the backup key.
type Member struct {
	Number    uint64
	ShareKey  *signing.PublicKey
	Bound     bool
	Paper     bool                   // bound to paper
	Binding   *recordv1.ContactBound // nil unless bound
	Contact   *recordv1.Contact      // nil unless bound to a contact
	BoundAt   Event                  // zero until bound
	CountsAt  time.Time              // when the binding starts to count; zero until bound
	Receipt   bool
	ReceiptAt Event // zero until then
}

// Quorum returns how many members' shares make the backup key.
func (e *Epoch) Quorum() int { return int(e.Record.Quorum) }

// Receipts returns how many members are bound and have proved their shares.
func (e *Epoch) Receipts() int {
	n := 0
	for _, m := range e.Members {
		if m.Bound && m.Receipt {
			n++
		}
	}
	return n
}

// WaitingPeriod returns the epoch's waiting period.
func (e *Epoch) WaitingPeriod() time.Duration {
	return time.Duration(e.Record.WaitingPeriod) * time.Second
}

// Member returns the member with this number, from 1.
func (e *Epoch) Member(number uint64) (*Member, bool) {
	if number == 0 || number > uint64(len(e.Members)) {
		return nil, false
	}
	m := e.Members[number-1]
	return &m, true
}

// InUse returns the epoch in use, nil before epoch 1 is prepared.
func (s *State) InUse() *Epoch { return s.epochs[s.inUse] }

// Prepared returns the epoch that is prepared beside the one in use, or nil.
func (s *State) Prepared() *Epoch { return s.epochs[s.prepared] }

// Epoch returns the epoch with this number.
func (s *State) Epoch(number uint64) (*Epoch, bool) {
	e, ok := s.epochs[number]
	return e, ok
}

// NextEpoch returns the number that the next epoch takes.
func (s *State) NextEpoch() uint64 { return s.lastEpoch + 1 }

// Committed says whether the epoch in use is committed: whether the account is
// recoverable.
func (s *State) Committed() bool {
	e := s.InUse()
	return e != nil && e.Committed
}

// CountsAt returns when the binding of a member counts, zero if it is not bound.
func (s *State) CountsAt(epoch, member uint64) time.Time {
	if e, ok := s.epochs[epoch]; ok {
		if m, ok := e.Member(member); ok {
			return m.CountsAt
		}
	}
	return time.Time{}
}

// writtenEpochs returns the epochs that new data goes to: the one in use and
// the prepared one, if any.
func (s *State) writtenEpochs() []uint64 {
	if s.prepared != 0 {
		return []uint64{s.inUse, s.prepared}
	}
	return []uint64{s.inUse}
}

// open returns an epoch that is in use or prepared.
func (s *State) open(number uint64) (*Epoch, error) {
	if number == 0 || number != s.inUse && number != s.prepared {
		return nil, refuse(RuleEpoch, "epoch %d is neither in use nor prepared", number)
	}
	return s.epochs[number], nil
}

// changeEpoch replaces an epoch by a changed copy.
func (s *State) changeEpoch(number uint64, change func(*Epoch)) {
	changed := *s.epochs[number]
	changed.Members = slices.Clone(changed.Members)
	change(&changed)
	put(s, s.epochs, number, &changed)
}

// markRevocation notes in the epochs in use and prepared that a revoked device
// has their device share. What is not committed never will be.
func (s *State) markRevocation() {
	for _, number := range s.writtenEpochs() {
		s.changeEpoch(number, func(e *Epoch) { e.RevokedSince = true })
	}
}

func (s *State) epochPrepared(tx *transaction, r *recordv1.EpochPrepared) error {
	if r.Epoch != s.NextEpoch() {
		return refuse(RuleEpoch, "epoch %d is prepared where %d is next", r.Epoch, s.NextEpoch())
	}
	for _, e := range s.epochs {
		if string(e.Record.RootKey) == string(r.RootKey) {
			return refuse(RuleRootKey, "epoch %d", e.Number)
		}
	}
	e, err := newEpoch(tx, r)
	if err != nil {
		return err
	}
	active := s.ActiveDevices()
	list := func() *signing.Context { return DeviceListContext(s.account, r.Epoch, active) }
	if !s.verify(e.RootKey, list, r.DeviceListSignature) {
		return refuse(RuleDeviceList, "epoch %d, %d active devices", r.Epoch, len(active))
	}
	// Epoch 1 publishes generation 1; later epochs take over what there is.
	if s.generation == 0 {
		assign(s, &s.generation, 1)
		assign(s, &s.openSince, 1)
	}
	if err := s.takeOverGenerations(tx, r); err != nil {
		return err
	}
	if err := s.sealedToActive(r.SeedShares); err != nil {
		return err
	}
	for _, share := range r.SeedShares {
		put(s, s.seedShares, epochDevice{r.Epoch, share.Device}, sealedShare{share.Sealed, tx.author})
	}
	put(s, s.epochs, r.Epoch, e)
	assign(s, &s.lastEpoch, r.Epoch)
	assign(s, &s.epochSince, tx.sequence)
	if s.inUse == 0 {
		assign(s, &s.inUse, r.Epoch)
	} else {
		assign(s, &s.prepared, r.Epoch)
	}
	return nil
}

func newEpoch(tx *transaction, r *recordv1.EpochPrepared) (*Epoch, error) {
	e := &Epoch{Number: r.Epoch, Author: tx.author, Record: r, Prepared: tx.event()}
	var err error
	if e.RootKey, err = signing.NewPublicKey(r.RootKey); err != nil {
		return nil, err
	}
	if len(r.SheetKey) > 0 {
		if e.SheetKey, err = signing.NewPublicKey(r.SheetKey); err != nil {
			return nil, err
		}
	}
	for i, m := range r.Members {
		key, err := signing.NewPublicKey(m.ShareKey)
		if err != nil {
			return nil, err
		}
		e.Members = append(e.Members, Member{Number: uint64(i) + 1, ShareKey: key})
	}
	return e, nil
}

func (s *State) takeOverGenerations(tx *transaction, r *recordv1.EpochPrepared) error {
	if r.Generation != s.generation {
		return refuse(RuleGeneration, "the master public key is sealed under generation %d, not %d", r.Generation, s.generation)
	}
	for _, m := range r.Members {
		if m.Waiting.Generation != s.generation {
			return refuse(RuleGeneration, "a waiting share is sealed under generation %d, not %d", m.Waiting.Generation, s.generation)
		}
	}
	// Numbers ascend from 1, so as many as there are generations are all of them.
	if n := uint64(len(r.Generations)); n != s.generation || r.Generations[n-1].Number != n {
		return refuse(RuleGeneration, "epoch %d does not carry exactly generations 1 to %d", r.Epoch, s.generation)
	}
	for _, g := range r.Generations {
		if err := s.sealGeneration(tx, g, []uint64{r.Epoch}); err != nil {
			return err
		}
	}
	return nil
}

func (s *State) contactBound(tx *transaction, r *recordv1.ContactBound) error {
	e, err := s.open(r.Epoch)
	if err != nil {
		return err
	}
	m, ok := e.Member(r.Member)
	if !ok {
		return refuse(RuleMember, "epoch %d has %d members, no member %d", r.Epoch, len(e.Members), r.Member)
	}
	if m.Bound {
		return refuse(RuleMember, "member %d of epoch %d is bound", r.Member, r.Epoch)
	}
	if r.Generation != s.generation {
		return refuse(RuleGeneration, "the name is sealed under generation %d, not %d", r.Generation, s.generation)
	}
	if r.Contact != nil {
		if err := s.checkContact(e, r.Contact); err != nil {
			return err
		}
	}
	m.Bound, m.Paper, m.Contact, m.Binding = true, r.Contact == nil, r.Contact, r
	m.BoundAt = tx.event()
	m.CountsAt = m.BoundAt.Time
	if e.Committed {
		m.CountsAt = m.CountsAt.Add(e.WaitingPeriod())
	}
	s.changeEpoch(r.Epoch, func(e *Epoch) { e.Members[r.Member-1] = *m })
	return nil
}

// checkContact refuses a contact that would not be somebody else, or that holds
// a share of the epoch already: one person must not count as two of a quorum.
func (s *State) checkContact(e *Epoch, contact *recordv1.Contact) error {
	if AccountID(contact.Account) == s.account {
		return refuse(RuleContact, "it is the account itself")
	}
	keys := map[string]bool{}
	for _, d := range contact.Devices {
		keys[string(d.SignKey)], keys[string(d.SealKey)] = true, true
	}
	for key := range keys {
		if s.keys[key] {
			return refuse(RuleContact, "one of its keys belongs to the account or its server")
		}
	}
	for _, other := range e.Members {
		if other.Contact == nil {
			continue
		}
		if string(other.Contact.Account) == string(contact.Account) {
			return refuse(RuleContact, "it is member %d already", other.Number)
		}
		for _, d := range other.Contact.Devices {
			if keys[string(d.SignKey)] || keys[string(d.SealKey)] {
				return refuse(RuleContact, "one of its keys belongs to member %d", other.Number)
			}
		}
	}
	return nil
}

// ReceiptContext returns what a holder signs to prove that it has its share: the
// sheet key for the sheet, the share key for a member, the hash of group 0's
// share for the server.
func ReceiptContext(account AccountID, epoch uint64, holder *recordv1.Holder, proof []byte) *signing.Context {
	return signing.NewContext("share-receipt").
		Bytes(account[:]).
		Uint(epoch).
		Uint(uint64(holder.GetKind())).
		Uint(holder.GetNumber()).
		Bytes(proof)
}

func (s *State) shareReceipt(tx *transaction, r *recordv1.ShareReceipt) error {
	e, err := s.open(r.Epoch)
	if err != nil {
		return err
	}
	if err := s.CheckReceipt(r); err != nil {
		return err
	}
	s.changeEpoch(e.Number, func(e *Epoch) {
		switch r.Holder.Kind {
		case recordv1.Holder_KIND_SERVER:
			e.ServerReceipt = true
		case recordv1.Holder_KIND_SHEET:
			e.SheetReceipt, e.SheetReceiptAt = true, tx.event()
		case recordv1.Holder_KIND_MEMBER:
			e.Members[r.Holder.Number-1].Receipt = true
			e.Members[r.Holder.Number-1].ReceiptAt = tx.event()
		}
	})
	return nil
}

// CheckReceipt returns nil if the receipt may be appended now: its holder has a
// share, has given no receipt before, and signed. It returns a [*RuleError] if
// not.
func (s *State) CheckReceipt(r *recordv1.ShareReceipt) error {
	c := checker{where: "share_receipt"}
	if checkShareReceipt(&c, r); c.err != nil {
		return c.err
	}
	e, err := s.open(r.Epoch)
	if err != nil {
		return err
	}
	var key *signing.PublicKey
	var proof []byte
	var given bool
	switch r.Holder.Kind {
	case recordv1.Holder_KIND_SERVER:
		key, proof, given = s.ServerKey(), e.Record.ServerShareHash, e.ServerReceipt
	case recordv1.Holder_KIND_SHEET:
		if e.SheetKey == nil {
			return refuse(RuleReceipt, "epoch %d has no sheet", r.Epoch)
		}
		key, proof, given = e.SheetKey, e.Record.SheetKey, e.SheetReceipt
	case recordv1.Holder_KIND_MEMBER:
		m, ok := e.Member(r.Holder.Number)
		if !ok || !m.Bound {
			return refuse(RuleReceipt, "member %d of epoch %d is not bound", r.Holder.Number, r.Epoch)
		}
		key, proof, given = m.ShareKey, m.ShareKey.Bytes(), m.Receipt
	}
	if given {
		return refuse(RuleReceipt, "the holder has given it before")
	}
	receipt := func() *signing.Context { return ReceiptContext(s.account, r.Epoch, r.Holder, proof) }
	if !s.verify(key, receipt, r.Signature) {
		return refuse(RuleReceipt, "the signature is not the holder's")
	}
	return nil
}
