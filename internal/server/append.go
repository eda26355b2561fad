package server

import (
	"context"
	"time"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// append adds entries to a ledger, compare-and-swap on its head, with the server
// shares that they name and everything that follows from them.
func (s *Server) append(ctx context.Context, a *asked, q *apiv1.AppendRequest) (*apiv1.AppendAnswer, error) {
	acct, err := s.foldedAsker(ctx, a)
	if err != nil {
		return nil, err
	}
	entries, err := parseEntries(q.Entries)
	if err != nil {
		return nil, api.RefuseRule(api.ErrEntryRefused, err)
	}
	fresh, err := s.fresh(ctx, a, acct.state, entries)
	if err != nil {
		return nil, err
	}
	after := acct.state
	if len(fresh) > 0 {
		after = acct.state.Clone()
		if err := after.Extend(fresh...); err != nil {
			return nil, api.RefuseRule(api.ErrEntryRefused, err)
		}
	}
	// By the state after it: after a restore the server may not know yet a device
	// that these entries add, and a recovery adds the one that asks.
	if _, err := activeDevice(a, after); err != nil {
		return nil, err
	}
	excused, err := s.excused(acct.id, q.Attestation, func(head ledger.Head) uint64 {
		if after.Contains(head) {
			return head.Sequence
		}
		return 0
	})
	if err != nil {
		return nil, err
	}
	if err := s.checkFresh(ctx, a, acct.state, fresh, excused); err != nil {
		return nil, err
	}
	if err := checkVetoes(after, fresh, excused); err != nil {
		return nil, err
	}
	if err := mayInterrupt(a, acct.account, fresh); err != nil {
		return nil, err
	}
	if err := s.checkQuota(acct.state, after, fresh, excused); err != nil {
		return nil, err
	}
	shares, err := s.takeShares(ctx, acct.id, after, fresh, excused, q.Shares)
	if err != nil {
		return nil, err
	}
	defer shares.erase()

	answer, err := s.appended(ctx, a, after, shares)
	if err != nil {
		return nil, err
	}
	op := store.Append{Account: acct.id, Head: acct.state.Head(), Entries: fresh, Verified: s.verified.note(acct.id, after.Head())}
	if op.Shares, err = s.encryptShares(acct.id, shares); err != nil {
		return nil, err
	}
	follow(&op, after)
	if err := s.sendHalves(ctx, a, &op, after, entries, shares); err != nil {
		return nil, err
	}
	if len(op.Entries)+len(op.Shares)+len(op.Messages) == 0 {
		return answer, nil // everything stands already
	}
	if op.Spend, err = a.logged(acct.account, answer); err != nil {
		return nil, err
	}
	op.Spend.Alarms = s.recordAlarms(a, acct.account, after, fresh, excused)
	op.Spend.Changes = appendChanges(&op, after)
	op.Resume = len(after.Recoveries()) > len(acct.state.Recoveries())
	if err := s.store.Append(ctx, op); err != nil {
		return nil, err
	}
	s.states.put(after)
	s.hint(op.Spend.Changes...)
	if excused > 0 {
		s.states.setWhole(acct.id, false) // shares of theirs may not have come along
	}
	return answer, nil
}

// appendChanges names everybody whom new entries concern.
func appendChanges(op *store.Append, after *ledger.State) []store.Change {
	changes := []store.Change{change(op.Account, apiv1.Hint_KIND_LEDGER, apiv1.Hint_KIND_ACTIVITY)}
	for _, m := range op.Messages {
		changes = append(changes, change(m.To, apiv1.Hint_KIND_INBOX))
	}
	for _, e := range op.Entries {
		for _, record := range e.Records() {
			switch record.Kind.(type) {
			case *recordv1.Record_RecoveryVetoed, *recordv1.Record_Recovered:
				changes = append(changes, recoveryChanges(after)...)
			}
		}
	}
	return changes
}

// fresh returns the entries that do not stand yet. Entries that contradict those
// that stand, or that do not reach the head, are refused with the head.
func (s *Server) fresh(ctx context.Context, a *asked, state *ledger.State, entries []*ledger.Entry) ([]*ledger.Entry, error) {
	head := state.Head()
	for len(entries) > 0 && entries[0].Sequence() <= head.Sequence {
		if !state.Contains(entries[0].Head()) {
			return nil, s.movedFor(ctx, a, state)
		}
		entries = entries[1:]
	}
	if len(entries) > 0 && (entries[0].Sequence() != head.Sequence+1 || entries[0].Previous() != head.Hash) {
		return nil, s.movedFor(ctx, a, state)
	}
	return entries, nil
}

// movedFor tells the head to those who may know it.
func (s *Server) movedFor(ctx context.Context, a *asked, state *ledger.State) error {
	if _, err := activeDevice(a, state); err != nil {
		released, findErr := s.releasedTo(ctx, a, state.Account())
		if findErr != nil {
			return findErr
		}
		if !released {
			return err
		}
		if err := s.pauseFor(ctx, a, state); err != nil {
			return err
		}
	}
	return s.moved(a, state)
}

// moved refuses with the server's attestation of the head.
func (s *Server) moved(a *asked, state *ledger.State) error {
	refusal := api.Refuse(api.ErrHeadMoved, "the server's newest entry is %v", state.Head())
	attestation, err := s.attestation(a, state, api.AppendNonce(a.Hash))
	if err != nil {
		return err
	}
	refusal.Attestation = attestation
	return refusal
}

// excused returns the number of the entry that the server's own attestation
// names, as find finds it, 0 without one. Entries up to it stood here before: the
// server was restored from an older copy, and need not like their times.
func (s *Server) excused(id ledger.AccountID, b []byte, find func(ledger.Head) uint64) (uint64, error) {
	if len(b) == 0 {
		return 0, nil
	}
	attestation, err := ledger.ParseAttestation(b)
	if err != nil {
		return 0, api.RefuseRule(api.ErrMalformed, err)
	}
	if attestation.Account() != id || attestation.Holder().Kind != recordv1.Holder_KIND_SERVER || attestation.Verify(s.keys.SignKey()) != nil {
		return 0, api.Refuse(api.ErrMalformed, "the attestation is not this server's of this account")
	}
	return find(attestation.Head()), nil
}

// checkTime refuses a new entry of another time than now.
func checkTime(a *asked, e *ledger.Entry, excused uint64) error {
	off := a.now.Sub(e.Time()).Abs()
	if e.Sequence() > excused && off > api.MaxClockSkew {
		return api.Refuse(api.ErrEntryTime, "entry %d is off by %s: sign it anew", e.Sequence(), off.Round(time.Second))
	}
	return nil
}

// checkFresh is what the server asks of new entries beyond the ledger's rules.
func (s *Server) checkFresh(ctx context.Context, a *asked, state *ledger.State, fresh []*ledger.Entry, excused uint64) error {
	for _, e := range fresh {
		if err := checkTime(a, e, excused); err != nil {
			return err
		}
		for _, record := range e.Records() {
			if r := record.GetServerKeyChanged(); r != nil {
				if err := s.isOwn(r.Server); err != nil {
					return err
				}
			}
			if r := record.GetRecovered(); r != nil && e.Sequence() > excused {
				if err := s.wasReleased(ctx, state, r); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Entries with vetoes are shown whole with each request that they veto, to the new
// device and to all contacts, who must be able to read all of them.
const (
	maxVeto   = 1 << 10 // bytes of the entry
	maxVetoes = 64      // of one request; each device vetoes once
)

// checkVetoes refuses vetoes that would stand in the way of those who are to see
// them.
func checkVetoes(after *ledger.State, fresh []*ledger.Entry, excused uint64) error {
	for _, e := range fresh {
		for _, record := range e.Records() {
			veto := record.GetRecoveryVetoed()
			switch {
			case veto == nil || e.Sequence() <= excused:
			case len(e.Records()) > 1 || len(e.Bytes()) > maxVeto:
				return api.Refuse(api.ErrEntryRefused, "a veto stands alone in its entry, of at most %d bytes", maxVeto)
			case len(after.Vetoes(ledger.Hash(veto.Request))) > maxVetoes:
				return api.Refuse(api.ErrEntryRefused, "%d devices have vetoed the request", maxVetoes)
			}
		}
	}
	return nil
}

// wasReleased refuses a recovery that did not get the server's share here, or
// that another came before.
func (s *Server) wasReleased(ctx context.Context, state *ledger.State, r *recordv1.Recovered) error {
	statement := &recordv1.RecoveredStatement{}
	if err := canonical.Unmarshal(r.Statement, statement); err != nil {
		return api.Refuse(api.ErrEntryRefused, "%v", err)
	}
	request, err := ledger.ParseRecoveryRequest(statement.Request)
	if err != nil {
		return api.RefuseRule(api.ErrEntryRefused, err)
	}
	recovery, err := s.recovery(ctx, request.ID())
	if err != nil {
		return err
	}
	if isOver(state, recovery) {
		return api.Refuse(api.ErrRecoveryOver, "another device has recovered the account; what is lost again needs a new request")
	}
	if !recovery.Released {
		return api.Refuse(api.ErrEntryRefused, "the server has not released its share for this recovery")
	}
	return nil
}

// appended makes the answer: the head that will stand, and the server's receipts
// that are still wanted.
func (s *Server) appended(ctx context.Context, a *asked, after *ledger.State, shares *openedShares) (*apiv1.AppendAnswer, error) {
	attestation, err := s.attestation(a, after, api.AppendNonce(a.Hash))
	if err != nil {
		return nil, err
	}
	answer := &apiv1.AppendAnswer{Attestation: attestation}
	for _, e := range []*ledger.Epoch{after.InUse(), after.Prepared()} {
		if e == nil || e.ServerReceipt {
			continue
		}
		id := ledger.ShareID{Kind: recordv1.SealedServerShare_KIND_SEED, Epoch: e.Number}
		share, err := s.share(ctx, after.Account(), id, shares)
		if err != nil {
			return nil, err
		}
		if share == nil {
			continue
		}
		clear(share)
		receipt, err := s.receipt(after.Account(), e)
		if err != nil {
			return nil, err
		}
		answer.Receipts = append(answer.Receipts, receipt)
	}
	return answer, nil
}

// receipt states that the server has its share of an epoch's seed.
func (s *Server) receipt(id ledger.AccountID, e *ledger.Epoch) ([]byte, error) {
	holder := &recordv1.Holder{Kind: recordv1.Holder_KIND_SERVER}
	return canonical.Marshal(&recordv1.ShareReceipt{
		Epoch:     e.Number,
		Holder:    holder,
		Signature: s.keys.sign.Sign(ledger.ReceiptContext(id, e.Number, holder, e.Record.ServerShareHash)),
	})
}

// follow adds to the transaction what follows from its entries.
func follow(op *store.Append, after *ledger.State) {
	for _, e := range op.Entries {
		for _, record := range e.Records() {
			switch kind := record.Kind.(type) {
			case *recordv1.Record_ContactBound:
				if c := kind.ContactBound.Contact; c != nil {
					op.Contacts = append(op.Contacts, ledger.AccountID(c.Account))
				}
			case *recordv1.Record_ShareReceipt:
				if r := kind.ShareReceipt; r.Holder.Kind == recordv1.Holder_KIND_MEMBER {
					op.Destroy = append(op.Destroy, waitingShareID(r.Epoch, r.Holder.Number))
				}
			case *recordv1.Record_EpochPrepared, *recordv1.Record_EpochCommitted, *recordv1.Record_Recovered:
				op.Epochs = epochsKept(after)
			}
		}
	}
}

// epochsKept returns the epochs whose shares are still needed. A recovery leaves
// the epoch in use as it is, so that it can be done again; only the commit of the
// next one ends it.
func epochsKept(state *ledger.State) []uint64 {
	var kept []uint64
	for _, e := range []*ledger.Epoch{state.InUse(), state.Prepared()} {
		if e != nil {
			kept = append(kept, e.Number)
		}
	}
	return kept
}

func waitingShareID(epoch, member uint64) ledger.ShareID {
	return ledger.ShareID{Kind: recordv1.SealedServerShare_KIND_WAITING, Epoch: epoch, Member: member}
}
