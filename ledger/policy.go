package ledger

import (
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// limit is one number of the policy, of which more is weaker, and the weaker one
// that is to replace it.
type limit struct {
	now, next uint64
	from      uint64 // milliseconds; when next starts
}

func (l limit) at(time uint64) uint64 {
	if time >= l.from {
		return l.next
	}
	return l.now
}

// change makes a stricter number count at once and a weaker one from later on.
// It takes the place of a number that was still to come.
func (l limit) change(value, time, later uint64) limit {
	now := l.at(time)
	if value <= now {
		return limit{now: value, next: value}
	}
	return limit{now: now, next: value, from: later}
}

type policy struct {
	perHour, perDay limit
}

func (p policy) at(time uint64) *recordv1.Policy {
	return &recordv1.Policy{RevealsPerHour: p.perHour.at(time), RevealsPerDay: p.perDay.at(time)}
}

func (s *State) policyChanged(tx *transaction, r *recordv1.PolicyChanged) error {
	later := tx.time + s.waiting()
	assign(s, &s.policy, policy{
		perHour: s.policy.perHour.change(r.Policy.RevealsPerHour, tx.time, later),
		perDay:  s.policy.perDay.change(r.Policy.RevealsPerDay, tx.time, later),
	})
	assign(s, &s.policySince, tx.sequence)
	return nil
}

// waiting returns the waiting period of the epoch in use in milliseconds.
func (s *State) waiting() uint64 { return s.InUse().Record.WaitingPeriod * 1000 }

// ComingPolicy returns the policy that was chosen last, and from when all of it
// counts: the time is in the past, or zero, where it does already.
func (s *State) ComingPolicy() (*recordv1.Policy, time.Time) {
	from := max(s.policy.perHour.from, s.policy.perDay.from)
	chosen := &recordv1.Policy{RevealsPerHour: s.policy.perHour.next, RevealsPerDay: s.policy.perDay.next}
	if from == 0 {
		return chosen, time.Time{}
	}
	return chosen, timeOf(from)
}
