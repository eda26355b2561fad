package systemtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/device"
)

// approved is a recovery that both contacts have approved and whose period is over.
func (w *world) approved(owner *person, contacts ...*person) (*person, *device.RecoveryResult) {
	w.t.Helper()
	fresh, started := w.newDevice(owner.name)
	for _, c := range contacts {
		w.pickRequest(c, started)
	}
	w.wait(3*day + time.Minute)
	for _, c := range contacts {
		w.approveOne(c, started)
	}
	return fresh, started
}

// pickRequest has a contact see a request.
func (w *world) pickRequest(c *person, started *device.RecoveryResult) {
	w.t.Helper()
	all, err := c.Requests(context.Background())
	must(w.t, err)
	for _, r := range all {
		if r.ID == started.Request {
			return
		}
	}
	w.t.Fatalf("%s does not see the request", c.name)
}

func (w *world) approveOne(c *person, started *device.RecoveryResult) {
	w.t.Helper()
	_, err := c.Approve(context.Background(), device.ApproveOptions{Request: started.Request.String(), Phrase: started.Phrase})
	if err != nil {
		w.t.Fatal(explained(err))
	}
}

// wantWhole fails unless the account is whole on its one device, and recoverable.
func (w *world) wantWhole(p *person, contacts []*person, secrets map[string]string) {
	w.t.Helper()
	for _, c := range contacts {
		c.sync()
	}
	p.sync()
	for title, want := range secrets {
		p.wantSecret(title, want)
	}
	st, err := p.Status(context.Background())
	if err != nil || !st.Recoverable || st.Next != nil || st.Devices != 1 || st.Slots != len(secrets) {
		w.t.Errorf("%+v, %v", st, err)
	}
	if v, err := p.VerifyLedger(context.Background()); err != nil || !v.OK() {
		w.t.Errorf("%+v, %v", v, err)
	}
}

// during finishes a recovery while something else happens between the hand-over
// and the account's new owner, the first time that this point is reached.
func (p *person) during(happens func()) (*handed, *device.FinishResult, error) {
	h := &handed{}
	r, err := p.RecoverFinish(context.Background(), device.FinishOptions{HandOver: func(items []device.Item, lost []device.LostItem) error {
		if h.calls == 0 {
			happens()
		}
		return h.take(items, lost)
	}})
	return h, r, err
}

func TestTheOldDeviceWritesDuringTheTakeOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, contacts := w.family("ann", "bob")
	w.befriend(owner, contacts...)
	owner.add("site", "secret")
	gone := owner.add("gone", "x").ID
	fresh, _ := w.approved(owner, contacts...)
	h, r, err := fresh.during(func() {
		owner.add("late", "at the last moment")
		must(t, owner.Delete(context.Background(), gone))
		_, err := owner.Edit(context.Background(), mustFind(t, owner.Device, "site").ID, login("site", "changed"))
		must(t, err)
	})
	if err != nil || h.calls != 2 || len(h.items) != 2 || h.password("late") != "at the last moment" || h.password("site") != "changed" || len(r.Lost) != 0 {
		t.Fatalf("%d calls, %d items, %+v, %v", h.calls, len(h.items), r, err)
	}
	_, err = owner.Sync(context.Background())
	wantCode(t, err, device.CodeRefused)
	w.wantWhole(fresh, contacts, map[string]string{"late": "at the last moment", "site": "changed"})
}

func TestAVetoDuringTheTakeOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	owner, contacts := w.family("ann", "bob")
	w.befriend(owner, contacts...)
	owner.add("site", "secret")
	fresh, started := w.approved(owner, contacts...)
	_, _, err := fresh.during(func() { must(t, owner.Veto(ctx, started.Request.String())) })
	if !errors.Is(err, api.ErrVetoed) {
		t.Fatalf("after a veto: %v", err)
	}
	_, err = fresh.RecoverFinish(ctx, device.FinishOptions{})
	wantCode(t, err, device.CodeNotYet)
	owner.wantSecret("site", "secret") // the old device still is the account's
	owner.add("more", "after the veto")

	// The contacts approve again, knowing of the veto; a full period passes.
	for _, c := range contacts {
		w.pickRequest(c, started)
	}
	w.wait(3*day - time.Minute)
	for _, c := range contacts {
		w.approveOne(c, started)
	}
	_, err = fresh.RecoverFinish(ctx, device.FinishOptions{})
	wantCode(t, err, device.CodeNotYet)
	w.wait(2 * time.Minute)
	for _, c := range contacts {
		c.sync()
	}
	h, _ := fresh.finish()
	if len(h.items) != 2 {
		t.Errorf("%d items", len(h.items))
	}
	w.wantWhole(fresh, contacts, map[string]string{"site": "secret", "more": "after the veto"})
}

// Two new devices take over at the same moment: one has the account, and the other
// is told so, whenever it asks.
func TestTwoDevicesTakeOverAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, contacts := w.family("ann", "bob")
	w.befriend(owner, contacts...)
	owner.add("site", "secret")
	owner.close()
	slow, one := w.newDevice("olivia")
	fast, two := w.newDevice("olivia")
	for _, c := range contacts {
		w.pickRequest(c, one)
	}
	w.wait(3*day + time.Minute)
	for _, c := range contacts {
		w.approveOne(c, one)
		w.approveOne(c, two)
	}
	_, _, err := slow.during(func() { fast.finish() })
	wantCode(t, err, device.CodeRefused)
	slow.reopen()
	_, err = slow.RecoverFinish(context.Background(), device.FinishOptions{})
	wantCode(t, err, device.CodeRefused)
	w.wantWhole(fast, contacts, map[string]string{"site": "secret"})
}

// The server loses everything since the approvals, or since the request, while the
// new device takes over, or right after it.
func TestTheServerIsRestoredDuringTheTakeOver(t *testing.T) {
	t.Parallel()
	for name, since := range map[string]string{"the request": "request", "the approvals": "approvals"} {
		for when, after := range map[string]bool{"during": false, "after": true} {
			t.Run(when+" the take-over, since "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				owner, contacts := w.family("ann", "bob")
				w.befriend(owner, contacts...)
				owner.add("site", "secret")
				owner.close()
				data := w.backup()
				fresh, started := w.newDevice("olivia")
				for _, c := range contacts {
					w.pickRequest(c, started)
				}
				if since == "approvals" {
					data = w.backup()
				}
				w.wait(3*day + time.Minute)
				for _, c := range contacts {
					w.approveOne(c, started)
				}
				h, _, err := fresh.during(func() {
					if !after {
						w.restore(data)
					}
				})
				if after {
					must(t, err)
					w.restore(data)
					w.wait(2 * day) // until the new shares are sent again
				} else if err == nil {
					t.Fatal("the server has taken what it did not release")
				} else {
					w.goOn(fresh, started, contacts)
					h, _ = fresh.finish()
				}
				if h.password("site") != "secret" {
					t.Error("the secret did not come back")
				}
				fresh.sync()
				w.wantWhole(fresh, contacts, map[string]string{"site": "secret"})
			})
		}
	}
}

// goOn is what people do when the server has forgotten a recovery: they run the
// commands again.
func (w *world) goOn(fresh *person, started *device.RecoveryResult, contacts []*person) {
	w.t.Helper()
	fresh.close()
	d, again, err := device.RecoverStart(context.Background(), w.options(), device.RecoverOptions{
		Dir: fresh.dir, ServerURL: w.url(), Name: fresh.name, UnlockCost: 1,
		Passphrase: []byte(passphrase), ConfirmPassphrase: []byte(confirmPassphrase),
	})
	if err != nil {
		w.t.Fatal(explained(err))
	}
	fresh.Device = d
	if again.Request != started.Request {
		w.t.Error("it is another request")
	}
	w.wait(3*day + time.Minute)
	for _, c := range contacts {
		c.sync()
	}
}
