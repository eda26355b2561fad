package server_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
)

// burns asks until the server has enough of it.
func (w *world) burns(ask func() error) *api.Refusal {
	w.t.Helper()
	for range 5000 {
		if err := ask(); errors.Is(err, api.ErrRateLimited) {
			return w.refused(err, api.ErrRateLimited)
		}
	}
	w.t.Fatal("the server answers everything")
	return nil
}

// joinsOf asks for what costs the server something and changes nothing.
func (d *device) joinsOf() error {
	_, err := d.w.client().Joins(d.w.t.Context(), d.identity())
	return err
}

// asksInALoop asks until the returned function is called.
func (d *device) asksInALoop() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for ctx.Err() == nil {
				_ = d.joinsOf() // refused, in the end
			}
		})
	}
	return func() { cancel(); group.Wait() }
}

// A device that asks in a loop is held up; the others of its account lock it and
// veto as ever, whatever it does meanwhile.
func TestADeviceThatAsksInALoop(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	owner.store(1, 1, "one")
	thief := owner.addDevice()
	if wait := w.burns(thief.joinsOf).RetryAfter; wait <= 0 || wait > time.Minute {
		t.Errorf("retry after %v", wait)
	}
	_, err := owner.reveal(thief, owner.version(1, 1), nil)
	w.refused(err, api.ErrRateLimited)
	w.refused(w.client().Watch(t.Context(), thief.identity(), func(apiv1.Hint_Kind) {}), api.ErrRateLimited)

	stop := thief.asksInALoop()
	w.ok(owner.first().joinsOf())
	owner.add(&recordv1.DeviceLocked{Device: thief.number})
	n := w.recover(owner)
	_, err = n.start()
	w.ok(err)
	owner.add(&recordv1.RecoveryVetoed{Request: n.id()})
	stop()

	// What is held up comes to itself again. It is locked now.
	time.Sleep(100 * time.Millisecond)
	w.refused(thief.joinsOf(), api.ErrDeviceLocked)
	if got := must(w.client().Recoveries(t.Context(), contacts[0].first().identity())); len(got) != 1 {
		t.Errorf("a contact sees %d recoveries", len(got))
	}
}

// A device that has asked too often itself still locks, vetoes and recovers.
func TestWhatIsUrgentHasAReserve(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	owner.store(1, 1, "one")
	second := owner.addDevice()
	d := owner.first()
	n := w.recover(owner)
	stops := []func(){d.asksInALoop(), contacts[0].first().asksInALoop(), n.asksInALoop()}
	for _, ask := range []func() error{d.joinsOf, contacts[0].first().joinsOf, n.joinsOf} {
		w.burns(ask)
	}
	w.refused(owner.send(d, []*ledger.Entry{owner.draft(d, &recordv1.PolicyChanged{Policy: &recordv1.Policy{RevealsPerHour: 4, RevealsPerDay: 7}})}, nil), api.ErrRateLimited)
	owner.add(&recordv1.DeviceLocked{Device: second.number})
	_, err := n.start()
	w.ok(err)
	owner.add(&recordv1.RecoveryVetoed{Request: n.id()})
	w.ok(n.approve(contacts[0], 1)) // which names the veto
	for _, stop := range stops {
		stop()
	}
	w.ok(n.approve(contacts[1], 2))
	w.wait(waitingPeriod)
	w.burns(n.joinsOf)
	if got := n.status(); got.Approvals != 2 {
		t.Errorf("%d approvals", got.Approvals)
	}
	w.ok(n.release())
	time.Sleep(100 * time.Millisecond)
	w.ok(n.takeOver(n.recovered(must(n.ledger()))))
}
