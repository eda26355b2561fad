package ledger

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// Veto is one device's veto of a recovery request.
type Veto struct {
	Entry  Hash // of the entry with it; approvals name it
	Device uint64
	Event
}

// Recovery is a recovery request that handed the account to a new device.
type Recovery struct {
	Request Hash
	Device  uint64 // the new one
	Epoch   uint64
	Event
}

// Vetoes returns the vetoes of a request in ledger order. An approval counts
// only if it names exactly their entries.
func (s *State) Vetoes(request Hash) []Veto { return slices.Clone(s.vetoes[request]) }

// Recovered returns how a request ended, and false if it did not recover the
// account.
func (s *State) Recovered(request Hash) (Recovery, bool) {
	r, ok := s.recoveries[request]
	return r, ok
}

// Recoveries returns all recoveries of the account in ledger order.
func (s *State) Recoveries() []Recovery {
	var all []Recovery
	for _, r := range s.recoveries {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Recovery) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return all
}

func (s *State) recoveryVetoed(tx *transaction, r *recordv1.RecoveryVetoed) error {
	request := Hash(r.Request)
	if _, ok := s.recoveries[request]; ok {
		return refuse(RuleRecoveredOnce, "request %v", request)
	}
	for _, veto := range s.vetoes[request] {
		if veto.Device == tx.author {
			return refuse(RuleVetoTwice, "device %d, request %v", tx.author, request)
		}
	}
	veto := Veto{Entry: tx.entry.hash, Device: tx.author, Event: tx.event()}
	put(s, s.vetoes, request, append(slices.Clip(s.vetoes[request]), veto))
	return nil
}

// CheckRequest returns nil if the request may be answered in this state: it
// names this account and this server, new keys, and has not ended. It returns a
// [*RuleError] if not.
func (s *State) CheckRequest(r *RecoveryRequest) error {
	if r.Account() != s.account {
		return refuse(RuleRequest, "it is for another account")
	}
	if !bytes.Equal(r.message.Server, s.server.GetSignKey()) {
		return refuse(RuleRequest, "it is for another server")
	}
	if _, ok := s.recoveries[r.id]; ok {
		return refuse(RuleRecoveredOnce, "request %v", r.id)
	}
	for _, key := range [][]byte{r.message.SignKey, r.message.SealKey, r.message.ConfirmKey} {
		if s.keys[string(key)] {
			return refuse(RuleKeyReused, "%x", key)
		}
	}
	return nil
}

// CheckApproval returns nil if the approval counts for the request at this time,
// and a [*RuleError] if not: its holder is a member that counts, or the sheet, of
// the committed epoch in use; it is signed with the holder's key, for this
// request and these keys; it names exactly the vetoes that stand in the ledger;
// and the time is within its window.
//
// It does not look at the head that the approval names. See [State.ProvedHead].
func (s *State) CheckApproval(a *Approval, r *RecoveryRequest, now time.Time) error {
	if !a.names(r) {
		return refuse(RuleApproval, "it is for another request")
	}
	if a.message.Epoch != s.inUse {
		return refuse(RuleEpoch, "an approval in epoch %d, in use is %d", a.message.Epoch, s.inUse)
	}
	e := s.InUse()
	if !s.Committed() {
		return refuse(RuleNotCommitted, "epoch %d", s.inUse)
	}
	key, err := e.approver(a, now)
	if err != nil {
		return err
	}
	if !s.verify(key, func() *signing.Context { return approvalContext(a.body) }, a.signature) {
		return refuse(RuleApproval, "the signature is not the holder's")
	}
	if now.Before(a.NotBefore()) || now.After(a.Expiry()) {
		return refuse(RuleWindow, "valid from %s to %s", a.NotBefore().Format(time.RFC3339), a.Expiry().Format(time.RFC3339))
	}
	vetoes := s.vetoes[r.id]
	if !slices.EqualFunc(a.message.Vetoes, vetoes, func(named []byte, v Veto) bool { return Hash(named) == v.Entry }) {
		return refuse(RuleVetoes, "%d named, %d in the ledger", len(a.message.Vetoes), len(vetoes))
	}
	return nil
}

// approver returns the key of the approval's holder, if its approvals count.
func (e *Epoch) approver(a *Approval, now time.Time) (*signing.PublicKey, error) {
	holder := a.Holder()
	if holder.Kind == recordv1.Holder_KIND_SHEET {
		if e.SheetKey == nil {
			return nil, refuse(RuleApproval, "epoch %d has no sheet", e.Number)
		}
		return e.SheetKey, nil
	}
	m, ok := e.Member(holder.Number)
	if !ok || !m.Bound {
		return nil, refuse(RuleApproval, "member %d of epoch %d is not bound", holder.Number, e.Number)
	}
	if now.Before(m.CountsAt) {
		return nil, refuse(RuleApproval, "member %d counts from %s", holder.Number, m.CountsAt.Format(time.RFC3339))
	}
	if _, named := a.Head(); named && m.Paper {
		return nil, refuse(RuleApproval, "paper has seen no head")
	}
	return m.ShareKey, nil
}

// ProvedHead returns the head that the approval names, and whether a device of
// this ledger and a server that the account ever had signed it. It is false for
// an approval that names no head, and for a head signed by a device that this
// ledger does not know. Whether the ledger has the head is [State.Contains]'s to
// say.
func (s *State) ProvedHead(a *Approval) (Head, bool) {
	if a.device == nil || s.CheckAttestation(a.device) != nil || s.CheckAttestation(a.server) != nil {
		return Head{}, false
	}
	return a.device.Head(), true
}

// RecoveredContext returns what the root key signs to hand the account to a new
// device: the exact bytes of a RecoveredStatement.
func RecoveredContext(account AccountID, statement []byte) *signing.Context {
	return signing.NewContext("recovered").Bytes(account[:]).Bytes(statement)
}

// recovered is a Recovered record, parsed.
type recovered struct {
	statement *recordv1.RecoveredStatement
	request   *RecoveryRequest
	approvals []*Approval
	bytes     []byte // exact bytes of the statement
	signature []byte
}

func parseRecovered(r *recordv1.Recovered) (*recovered, error) {
	rec := &recovered{statement: &recordv1.RecoveredStatement{}, bytes: r.Statement, signature: r.RootSignature}
	st := rec.statement
	if err := read(r.Statement, st); err != nil {
		return nil, err
	}
	c := checker{where: "recovered"}
	c.size("root_signature", r.RootSignature, signing.SignatureSize)
	c.between("epoch", st.Epoch, 1, maxIndex)
	c.between("device", st.Device, 1, maxIndex)
	c.at("keys", st.Keys, func(c *checker) { checkDeviceKeys(c, st.Keys) })
	c.at("generation", st.Generation, func(c *checker) { checkGeneration(c, st.Generation) })
	for _, g := range st.Generations {
		c.some("generations.metadata_key", g.MetadataKey)
		c.absent("generations.device_share_key", g.DeviceShareKey)
	}
	ascending(&c, "generations", st.Generations, (*recordv1.GenerationKeys).GetNumber)
	c.some("seed_share", st.SeedShare)
	for i, share := range st.DeviceShares {
		c.size("device_shares.slot", share.Slot, idSize)
		c.between("device_shares.version", share.Version, 1, maxIndex)
		c.some("device_shares.sealed_device_share", share.SealedDeviceShare)
		if i > 0 && bytes.Compare(st.DeviceShares[i-1].Slot, share.Slot) >= 0 {
			c.fault("device_shares", "not in the order of slot ids")
		}
	}
	if c.err != nil {
		return nil, c.err
	}
	var err error
	if rec.request, err = ParseRecoveryRequest(st.Request); err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	for _, b := range st.Approvals {
		a, err := ParseApproval(b)
		if err != nil {
			return nil, fmt.Errorf("approval: %w", err)
		}
		rec.approvals = append(rec.approvals, a)
	}
	return rec, nil
}

// recoverAccount takes a Recovered record. Its entry's signature by the new
// device was verified with the key in the statement, which the request and the
// root key vouch for.
func (s *State) recoverAccount(tx *transaction, r *recovered) error {
	st := r.statement
	if st.Epoch != s.inUse {
		return refuse(RuleEpoch, "recovered in epoch %d, in use is %d", st.Epoch, s.inUse)
	}
	if !s.Committed() {
		return refuse(RuleNotCommitted, "epoch %d", st.Epoch)
	}
	statement := func() *signing.Context { return RecoveredContext(s.account, r.bytes) }
	if !s.verify(s.InUse().RootKey, statement, r.signature) {
		return refuse(RuleRootSignature, "epoch %d", st.Epoch)
	}
	if err := s.CheckRequest(r.request); err != nil {
		return err
	}
	if err := s.checkApprovals(r, timeOf(tx.time)); err != nil {
		return err
	}
	if st.Device != s.NextDevice() {
		return refuse(RuleDevice, "device %d recovers where %d is next", st.Device, s.NextDevice())
	}
	m := r.request.message
	if !bytes.Equal(st.Keys.SignKey, m.SignKey) || !bytes.Equal(st.Keys.SealKey, m.SealKey) || !bytes.Equal(st.Keys.ConfirmKey, m.ConfirmKey) {
		return refuse(RuleStatement, "the new device's keys are not the request's")
	}
	if err := s.replaceDevices(tx, st); err != nil {
		return err
	}
	if err := s.resealShares(tx, st); err != nil {
		return err
	}
	put(s, s.recoveries, r.request.id, Recovery{Request: r.request.id, Device: st.Device, Epoch: st.Epoch, Event: tx.event()})
	return nil
}

// checkApprovals wants approvals by a quorum of different members, or by the
// sheet, and none that does not count.
func (s *State) checkApprovals(r *recovered, now time.Time) error {
	members := map[uint64]bool{}
	sheet := false
	for _, a := range r.approvals {
		if err := s.CheckApproval(a, r.request, now); err != nil {
			return err
		}
		if a.Holder().Kind == recordv1.Holder_KIND_SHEET {
			if sheet {
				return refuse(RuleApprovals, "the sheet approves twice")
			}
			sheet = true
			continue
		}
		if members[a.Holder().Number] {
			return refuse(RuleApprovals, "member %d approves twice", a.Holder().Number)
		}
		members[a.Holder().Number] = true
	}
	if quorum := s.InUse().Quorum(); !sheet && len(members) < quorum {
		return refuse(RuleApprovals, "%d of %d", len(members), quorum)
	}
	return nil
}

// replaceDevices revokes all devices, adds the new one, and takes the keys that
// are sealed to it. A prepared epoch is void: revoked devices have its share.
func (s *State) replaceDevices(tx *transaction, st *recordv1.RecoveredStatement) error {
	for _, d := range s.Devices() {
		if d.Status != Revoked {
			s.setStatus(tx, d, Revoked)
		}
	}
	s.markRevocation()
	assign(s, &s.prepared, 0)
	assign(s, &s.epochSince, tx.sequence)
	if err := s.setDevice(tx, st.Device, st.Keys); err != nil {
		return err
	}
	earlier := s.generation
	if st.Generation.Number != earlier+1 || st.Keys.Generation != earlier+1 {
		return refuse(RuleGeneration, "generation %d is made and the name sealed under %d where %d is next", st.Generation.Number, st.Keys.Generation, earlier+1)
	}
	if n := uint64(len(st.Generations)); n != earlier || st.Generations[n-1].Number != n {
		return refuse(RuleGeneration, "the metadata keys are not those of generations 1 to %d", earlier)
	}
	for _, g := range st.Generations {
		put(s, s.deviceKeys, generationDevice{g.Number, st.Device}, sealedKeys{g.MetadataKey, nil, st.Device})
	}
	assign(s, &s.generation, earlier+1)
	assign(s, &s.openSince, earlier+1)
	put(s, s.seedShares, epochDevice{st.Epoch, st.Device}, sealedShare{st.SeedShare, st.Device})
	return s.sealGeneration(tx, st.Generation, []uint64{st.Epoch})
}

// resealShares takes the device shares of exactly the live slots.
func (s *State) resealShares(tx *transaction, st *recordv1.RecoveredStatement) error {
	live := s.LiveSlots()
	if len(st.DeviceShares) != len(live) {
		return refuse(RuleStatement, "%d device shares for %d live slots", len(st.DeviceShares), len(live))
	}
	for i, share := range st.DeviceShares {
		slot := live[i]
		if SlotID(share.Slot) != slot.ID || share.Version != slot.Version {
			return refuse(RuleStatement, "device share %d is not that of slot %v, version %d", i+1, slot.ID, slot.Version)
		}
		changed := *slot
		changed.recovered = &recoveredShare{
			version:    slot.Version,
			epoch:      st.Epoch,
			generation: st.Generation.Number,
			sealer:     tx.author,
			sealed:     share.SealedDeviceShare,
		}
		put(s, s.slots, slot.ID, &changed)
	}
	return nil
}
