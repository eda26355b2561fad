package ledger

import (
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

func (s *State) epochCommitted(tx *transaction, r *recordv1.EpochCommitted) error {
	if err := s.CheckCommit(r.Epoch, timeOf(tx.time)); err != nil {
		return err
	}
	s.changeEpoch(r.Epoch, func(e *Epoch) {
		e.Committed = true
		e.CommittedAt = tx.event()
	})
	if r.Epoch == s.prepared {
		assign(s, &s.inUse, r.Epoch)
		assign(s, &s.prepared, 0)
	}
	assign(s, &s.committed, true)
	assign(s, &s.epochSince, tx.sequence)
	return nil
}

// CheckCommit returns nil if the epoch can be committed at this time, and the
// [*RuleError] that says what is missing if not.
func (s *State) CheckCommit(epoch uint64, now time.Time) error {
	e, err := s.open(epoch)
	if err != nil {
		return err
	}
	if e.Committed {
		return refuse(RuleCommittedOnce, "epoch %d", epoch)
	}
	if e.RevokedSince {
		return refuse(RuleRevokedSince, "epoch %d", epoch)
	}
	if !e.ServerReceipt {
		return refuse(RuleReceipts, "the server has given none for epoch %d", epoch)
	}
	if have := e.Receipts(); have < e.Quorum() {
		return refuse(RuleReceipts, "%d of the %d members needed have given theirs for epoch %d", have, e.Quorum(), epoch)
	}
	if id, missing := s.unsplit(epoch); missing > 0 {
		return refuse(RuleUnsplit, "%d slots, %v first, epoch %d", missing, id, epoch)
	}
	if s.committed {
		if until := s.weakeningUntil(e); now.Before(until) {
			return refuse(RuleWeakening, "epoch %d can be committed from %s", epoch, until.Format(time.RFC3339))
		}
	}
	return nil
}

// unsplit returns how many live slots are not split in the epoch, and the first.
func (s *State) unsplit(epoch uint64) (first SlotID, n int) {
	for id, slot := range s.slots {
		if slot.Deleted || slot.Put(epoch) != nil {
			continue
		}
		if n == 0 || id.compare(first) < 0 {
			first = id
		}
		n++
	}
	return first, n
}

// CommitFrom returns from when the rule about weakening lets the epoch be
// committed; it is in the past, or zero, where nothing is weakened.
func (s *State) CommitFrom(epoch uint64) (time.Time, error) {
	e, err := s.open(epoch)
	if err != nil {
		return time.Time{}, err
	}
	if !s.committed || e.Committed {
		return time.Time{}, nil
	}
	return s.weakeningUntil(e), nil
}

// weakeningUntil returns when the waiting period of the epoch in use has passed
// since each entry that weakens it: the epoch's own for a smaller quorum, a
// shorter period or a sheet; a binding's for paper and for a contact that does
// not count yet. Who is not bound by then waits in the committed epoch.
func (s *State) weakeningUntil(e *Epoch) time.Time {
	old := s.InUse()
	var until time.Time
	if e.Quorum() < old.Quorum() || e.WaitingPeriod() < old.WaitingPeriod() || e.SheetKey != nil {
		until = e.Prepared.Time.Add(old.WaitingPeriod())
	}
	for _, m := range e.Members {
		if !m.Bound {
			continue
		}
		from := m.BoundAt.Time.Add(old.WaitingPeriod())
		if known, ok := old.knows(m.Contact); ok && known.Before(from) {
			from = known
		}
		if from.After(until) {
			until = from
		}
	}
	return until
}

// knows returns from when the contact counts in the epoch, and false if it does
// not with all its keys. Paper is never known: nobody can tell one sheet from
// another.
func (e *Epoch) knows(contact *recordv1.Contact) (time.Time, bool) {
	if contact == nil {
		return time.Time{}, false
	}
	for _, m := range e.Members {
		if m.Contact != nil && string(m.Contact.Account) == string(contact.Account) {
			return m.CountsAt, containsDevices(m.Contact, contact)
		}
	}
	return time.Time{}, false
}

// containsDevices says whether every device of the contact is one of the known.
func containsDevices(known, contact *recordv1.Contact) bool {
	keys := map[[2]string]bool{}
	for _, d := range known.Devices {
		keys[[2]string{string(d.SignKey), string(d.SealKey)}] = true
	}
	for _, d := range contact.Devices {
		if !keys[[2]string{string(d.SignKey), string(d.SealKey)}] {
			return false
		}
	}
	return true
}
