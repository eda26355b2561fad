package server_test

import (
	"testing"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
)

// write has the owner's device append a slot.
func (a *account) write(slot byte) error {
	a.w.t.Helper()
	records, shares := a.put(slot, 1, "note")
	return a.send(a.device(1), []*ledger.Entry{a.draft(a.device(1), records...)}, shares)
}

// Whoever writes in a loop on a stolen device is slower than the new device, once
// that was beaten to it. A veto is not held up, and ends the pause's reason.
func TestNobodyOutrunsATakeOver(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	n := w.released(owner, contacts)
	state, err := n.ledger()
	w.ok(err)
	late := n.recovered(state)
	w.ok(owner.write(1)) // released alone holds nobody up
	w.refused(n.takeOver(late), api.ErrHeadMoved)
	w.restart() // as another server over the same data would
	if refusal := w.refused(owner.write(2), api.ErrUnavailable); refusal.RetryAfter <= 0 || refusal.RetryAfter > 5*time.Minute {
		t.Errorf("retry after %v", refusal.RetryAfter)
	}
	w.ok(n.release())
	state, err = n.ledger()
	w.ok(err)
	late = n.recovered(state)

	// It does not last, and a veto is taken meanwhile. After it, what the new
	// device sends holds nobody up.
	owner.add(&recordv1.RecoveryVetoed{Request: n.id()})
	w.refused(n.takeOver(late), api.ErrHeadMoved)
	w.wait(5 * time.Minute)
	w.refused(n.takeOver(late), api.ErrHeadMoved)
	w.ok(owner.write(3))

	w.wait(time.Second)
	w.ok(n.approve(contacts[0], 1))
	w.ok(n.approve(contacts[1], 2))
	w.wait(waitingPeriod)
	n.last = 0 // the approvals too are other ones
	w.ok(n.release())
	state, err = n.ledger()
	w.ok(err)
	late = n.recovered(state)
	w.ok(owner.write(4))
	w.refused(n.takeOver(late), api.ErrHeadMoved)
	w.ok(n.release())
	state, err = n.ledger()
	w.ok(err)
	w.ok(n.takeOver(n.recovered(state)))
	w.refused(owner.write(5), api.ErrEntryRefused) // revoked, and not held up
}
