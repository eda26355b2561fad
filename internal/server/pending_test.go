package server_test

import (
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
)

// redial brings requests to the server where it listens now.
type redial struct{ w *world }

func (t redial) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Host = t.w.http.Listener.Addr().String()
	return t.w.http.Client().Transport.RoundTrip(r)
}

// asking is a reveal that has to wait, as the device that asks has it.
type asking struct {
	*client.Prepared[apiv1.RevealAnswer]
	w  *world
	by *device
}

// asks prepares a reveal of slot 1 without a second factor.
func (d *device) asks() *asking {
	v := d.account.version(1, 1)
	c := must(client.New(&http.Client{Transport: redial{d.w}}, d.w.http.URL, d.w.keys.SignKey(), rand.Reader, d.w.clock))
	p := must(c.PrepareReveal(d.identity(), &apiv1.RevealRequest{Slots: []*apiv1.SlotVersion{v}, Purpose: api.PurposeGet}, nil))
	return &asking{p, d.w, d}
}

// send sends the same bytes, and wants what comes to open.
func (q *asking) send() error {
	answer, err := q.Send(q.w.t.Context())
	if err == nil {
		_, err := api.OpenReveal(q.by.seal, api.RevealPlace{Account: q.by.account.id, Request: q.Hash(), Device: q.by.number}, answer.Sealed)
		q.w.ok(err)
	}
	return err
}

// waits sends a request that has to wait, and returns it.
func (q *asking) waits() *asking {
	q.w.t.Helper()
	q.w.refused(q.send(), api.ErrConfirmationPending)
	return q
}

func (d *device) confirmation(id [32]byte) *apiv1.Confirmation {
	return must(api.NewConfirmation(id, bySign, d.number, d.sign))
}

// tells gives the server the device's answer to what waits.
func (d *device) tells(id [32]byte, c *apiv1.ConfirmRequest) error {
	c.Id = id[:]
	return d.w.client().Confirm(d.w.t.Context(), d.identity(), c)
}

func (d *device) says(id [32]byte) error {
	return d.tells(id, &apiv1.ConfirmRequest{Confirmation: d.confirmation(id)})
}

func (d *device) refuses(id [32]byte) error {
	return d.tells(id, &apiv1.ConfirmRequest{Refuse: true})
}

// waiting is what a device is told that waits.
func (d *device) waiting() []*apiv1.Waiting {
	d.w.t.Helper()
	all, err := d.w.client().Pending(d.w.t.Context(), d.identity())
	d.w.ok(err)
	return all
}

// household is an account with a secret and as many active devices.
func (w *world) household(devices int) (*account, []*device) {
	w.t.Helper()
	a := w.create("owner")
	a.prepare(false)
	a.store(1, 1, "secret")
	if devices > 1 {
		a.addDevice()
	}
	for len(a.devices) < devices {
		a.joinDevice()
	}
	return a, a.devices
}

func TestAnotherDeviceConfirms(t *testing.T) {
	w := newWorld(t)
	owner, devices := w.household(3)
	one, two, three := devices[0], devices[1], devices[2]
	q := one.asks()
	refusal := w.refused(q.send(), api.ErrConfirmationPending)
	if !refusal.Expires.Equal(w.clock().Add(api.PendingLife)) || !slices.Equal(refusal.Devices, []uint64{2, 3}) {
		t.Errorf("it expires %v, and %v may answer", refusal.Expires, refusal.Devices)
	}
	w.wait(time.Minute)
	again := w.refused(q.send(), api.ErrConfirmationPending)
	if !again.Expires.Equal(refusal.Expires) {
		t.Error("asking again gives it more time")
	}
	for _, d := range devices {
		all := d.waiting()
		if len(all) != 1 || api.RequestHash(all[0].Request) != q.Hash() || len(all[0].Request.Confirmations) != 0 ||
			len(all[0].Answered) != 0 || all[0].Expires != uint64(refusal.Expires.UnixMilli()) {
			t.Fatalf("device %d sees %v", d.number, all)
		}
	}
	w.wait(3 * time.Minute) // more than the clocks may differ
	w.restart()
	w.ok(two.says(q.Hash()))
	if all := three.waiting(); len(all) != 1 || !slices.Equal(all[0].Answered, []uint64{2}) {
		t.Errorf("device 3 sees %v", all)
	}
	before, _ := activityOf(owner)
	w.ok(q.send())
	w.refused(q.send(), api.ErrReplayed)
	if all := three.waiting(); len(all) != 0 {
		t.Errorf("it still waits: %v", all)
	}
	w.refused(three.says(q.Hash()), api.ErrUnknownPending)

	// The log says who confirmed.
	entries, _ := activityOf(owner)
	if len(entries) != len(before)+1 {
		t.Fatalf("%d activities for one answer", len(entries)-len(before))
	}
	logged, _, err := api.ParseLogged(entries[len(entries)-1].Request())
	w.ok(err)
	if c := logged.Confirmations(); len(c) != 1 || c[0].Device != 2 || !logged.Confirmed(c[0], two.sign.PublicKey()) {
		t.Errorf("the log has %v", c)
	}
	asked, _, err := api.ParseLogged(entries[len(entries)-3].Request())
	w.ok(err)
	if asked.Header.Procedure != apiv1connect.ServerServiceRevealProcedure || asked.Hash != q.Hash() || len(asked.Confirmations()) != 0 {
		t.Errorf("the log has of the question %v", asked.Header)
	}
}

func TestRefusedForGood(t *testing.T) {
	w := newWorld(t)
	_, devices := w.household(3)
	one, two, three := devices[0], devices[1], devices[2]
	q := one.asks().waits()
	w.ok(three.says(q.Hash()))
	w.ok(two.refuses(q.Hash()))
	if refusal := w.refused(q.send(), api.ErrConfirmationRefused); !slices.Equal(refusal.Devices, []uint64{2}) {
		t.Errorf("refused by %v", refusal.Devices)
	}
	w.refused(two.says(q.Hash()), api.ErrConfirmationRefused)
	w.refused(three.refuses(q.Hash()), api.ErrConfirmationRefused)
	w.restart()
	w.wait(time.Hour)
	w.refused(q.send(), api.ErrConfirmationRefused)

	withdrawn := one.asks().waits()
	w.ok(one.refuses(withdrawn.Hash()))
	if refusal := w.refused(withdrawn.send(), api.ErrConfirmationRefused); !slices.Equal(refusal.Devices, []uint64{1}) {
		t.Errorf("withdrawn by %v", refusal.Devices)
	}
	entries, _ := activityOf(one.account)
	if last, _, err := api.ParseLogged(entries[len(entries)-1].Request()); err != nil || last.Header.Procedure != apiv1connect.ServerServiceConfirmProcedure || last.Header.Device != 1 {
		t.Errorf("the log ends with %v (%v)", last, err)
	}
}

func TestConfirmRefused(t *testing.T) {
	w := newWorld(t)
	owner, devices := w.household(3)
	one, two, three := devices[0], devices[1], devices[2]
	q := one.asks().waits()
	other := one.asks().waits()
	id := q.Hash()
	confirmation := func(change func(*apiv1.Confirmation)) *apiv1.ConfirmRequest {
		c := two.confirmation(id)
		change(c)
		return &apiv1.ConfirmRequest{Confirmation: c}
	}
	for name, c := range map[string]struct {
		by   *device
		tell *apiv1.ConfirmRequest
		want api.Reason
	}{
		"of another request":    {two, &apiv1.ConfirmRequest{Confirmation: two.confirmation(other.Hash())}, api.ErrConfirmationWrong},
		"by the author":         {one, &apiv1.ConfirmRequest{Confirmation: one.confirmation(id)}, api.ErrConfirmationWrong},
		"by another than it is": {three, confirmation(func(*apiv1.Confirmation) {}), api.ErrConfirmationWrong},
		"in another's name":     {two, confirmation(func(c *apiv1.Confirmation) { c.Device = 3 }), api.ErrConfirmationWrong},
		"as by a confirm key":   {two, confirmation(func(c *apiv1.Confirmation) { c.Key = byConfirm }), api.ErrConfirmationWrong},
		"with no signature":     {two, confirmation(func(c *apiv1.Confirmation) { c.Signature = nil }), api.ErrConfirmationWrong},
		"by the confirm key":    {two, &apiv1.ConfirmRequest{Confirmation: must(api.NewConfirmation(id, byConfirm, 2, two.confirm))}, api.ErrConfirmationWrong},
		"an endorsement":        {two, &apiv1.ConfirmRequest{Endorsement: &recordv1.Endorsement{Role: 1, Device: 2, Signature: make([]byte, 64)}}, api.ErrConfirmationWrong},
		"nothing":               {two, &apiv1.ConfirmRequest{}, api.ErrMalformed},
		"yes and no":            {two, &apiv1.ConfirmRequest{Confirmation: two.confirmation(id), Refuse: true}, api.ErrMalformed},
		"by nobody's device":    {w.device(), &apiv1.ConfirmRequest{Refuse: true}, api.ErrUnknownPending},
	} {
		t.Run(name, func(t *testing.T) {
			if c.by.account == nil {
				c.by.account = owner
			}
			w.refused(c.by.tells(id, c.tell), c.want)
		})
	}
	w.refused(two.tells([32]byte{1}, &apiv1.ConfirmRequest{Refuse: true}), api.ErrUnknownPending)
	w.refused(w.client().Confirm(t.Context(), two.identity(), &apiv1.ConfirmRequest{Id: []byte("short"), Refuse: true}), api.ErrMalformed)
	stranger := w.create("stranger")
	w.refused(stranger.device(1).says(id), api.ErrUnknownPending)
	w.refused(q.send(), api.ErrConfirmationPending) // nothing of all this counts
	w.ok(two.says(id))
	w.refused(two.says(id), api.ErrReplayed)
	w.ok(q.send())
	w.refused(other.send(), api.ErrConfirmationPending)

	late := one.asks().waits()
	w.wait(api.PendingLife)
	w.refused(two.says(late.Hash()), api.ErrConfirmationExpired)
	w.refused(two.refuses(late.Hash()), api.ErrConfirmationExpired)
	w.refused(late.send(), api.ErrConfirmationExpired)
	if all := two.waiting(); len(all) != 0 {
		t.Errorf("what has expired waits: %v", all)
	}
}

// What was confirmed in time is still too late when the request has expired.
func TestConfirmedAndExpired(t *testing.T) {
	w := newWorld(t)
	_, devices := w.household(2)
	q := devices[0].asks().waits()
	w.ok(devices[1].says(q.Hash()))
	w.wait(api.PendingLife)
	w.refused(q.send(), api.ErrConfirmationExpired)
	w.wait(24*time.Hour + time.Minute)
	devices[0].asks().waits() // forgets it
	w.refused(q.send(), api.ErrClock)
}

func TestLockedMeanwhile(t *testing.T) {
	w := newWorld(t)
	owner, devices := w.household(3)
	one, two, three := devices[0], devices[1], devices[2]
	q := three.asks().waits()
	w.ok(two.says(q.Hash()))
	owner.add(&recordv1.DeviceLocked{Device: 2})
	w.refused(two.says(q.Hash()), api.ErrDeviceLocked)
	w.refused(two.refuses(q.Hash()), api.ErrDeviceLocked)
	_, err := w.client().Pending(t.Context(), two.identity())
	w.refused(err, api.ErrDeviceLocked)
	if refusal := w.refused(q.send(), api.ErrConfirmationPending); !slices.Equal(refusal.Devices, []uint64{1}) {
		t.Errorf("the locked device's confirmation counts, or it may answer: %v", refusal.Devices)
	}
	w.ok(one.says(q.Hash()))
	owner.add(&recordv1.DeviceLocked{Device: 3})
	w.refused(q.send(), api.ErrDeviceLocked)
	if all := one.waiting(); len(all) != 0 {
		t.Errorf("a locked device's question waits: %v", all)
	}
	w.refused(one.refuses(q.Hash()), api.ErrConfirmationRefused)

	// Alone because of locks, the own key counts only after the waiting period, and
	// no other can be asked.
	alone := one.asks()
	w.refused(alone.send(), api.ErrConfirmationMissing)
	_, err = owner.reveal(one, owner.version(1, 1), one.confirms(byConfirm))
	w.refused(err, api.ErrPeriodNotOver)
}

// A clock that is an hour off is refused before anybody is asked; the two minutes
// count from when a request came first, and buy nothing for another request.
func TestClocksApart(t *testing.T) {
	w := newWorld(t)
	owner, devices := w.household(2)
	for _, off := range []time.Duration{-time.Hour, time.Hour, api.MaxClockSkew + time.Second} {
		c := must(client.New(w.http.Client(), w.http.URL, w.keys.SignKey(), rand.Reader, func() time.Time { return w.clock().Add(off) }))
		q := must(c.PrepareReveal(devices[0].identity(), &apiv1.RevealRequest{Slots: []*apiv1.SlotVersion{owner.version(1, 1)}, Purpose: api.PurposeGet}, nil))
		_, err := q.Send(t.Context())
		w.refused(err, api.ErrClock)
	}
	if all := devices[1].waiting(); len(all) != 0 {
		t.Errorf("somebody is asked: %v", all)
	}
	unsent := devices[0].asks()
	q := devices[0].asks().waits()
	w.wait(api.MaxClockSkew + time.Second)
	w.refused(unsent.send(), api.ErrClock)
	w.ok(devices[1].says(q.Hash()))
	w.ok(q.send())
}

// What is refused anyway asks nobody.
func TestNobodyIsAskedInVain(t *testing.T) {
	w := newWorld(t)
	owner, devices := w.household(2)
	_, err := owner.reveal(devices[0], owner.version(7, 1), nil)
	w.refused(err, api.ErrUnknownSlot)
	if all := devices[1].waiting(); len(all) != 0 {
		t.Errorf("somebody is asked: %v", all)
	}
}

// Two devices answer at one moment, and the asking one asks at the same: one
// answer, and whatever each is told is so.
func TestAnswersAtOneMoment(t *testing.T) {
	w := newWorld(t)
	_, devices := w.household(3)
	for _, second := range []func(*device, [32]byte) error{(*device).says, (*device).refuses} {
		q := devices[0].asks().waits()
		var wg sync.WaitGroup
		errs := make([]error, 2)
		var sent []error
		wg.Go(func() { errs[0] = devices[1].says(q.Hash()) })
		wg.Go(func() { errs[1] = second(devices[2], q.Hash()) })
		wg.Go(func() {
			for range 20 {
				sent = append(sent, q.send())
			}
		})
		wg.Wait()
		sent = append(sent, q.send())
		answers := 0
		for _, err := range sent {
			switch {
			case err == nil:
				answers++
			case !errors.Is(err, api.ErrConfirmationPending) && !errors.Is(err, api.ErrReplayed) && !errors.Is(err, api.ErrConfirmationRefused):
				t.Errorf("the asking device is told %v", err)
			}
		}
		for _, err := range errs {
			if err != nil && !errors.Is(err, api.ErrUnknownPending) && !errors.Is(err, api.ErrConfirmationRefused) {
				t.Errorf("an answering device is told %v", err)
			}
		}
		if refused := errors.Is(sent[len(sent)-1], api.ErrConfirmationRefused); answers > 1 || answers == 1 == refused {
			t.Errorf("%d answers, refused: %v", answers, refused)
		}
		w.wait(time.Hour)
	}
}

// Questions count as reveals when they come, once, so that nobody is worn down.
func TestFloodOfQuestions(t *testing.T) {
	w := newWorld(t)
	owner, devices := w.household(2)
	one, two := devices[0], devices[1]
	var limited error
	asked := 0
	for ; limited == nil && asked < 100; asked++ {
		q := one.asks()
		if err := q.send(); errors.Is(err, api.ErrRateLimited) {
			limited = err
		} else {
			w.refused(err, api.ErrConfirmationPending)
			w.refused(q.send(), api.ErrConfirmationPending) // counts once
			w.ok(one.refuses(q.Hash()))                     // and does not stop to count
		}
	}
	if policy := owner.state.Policy(w.clock()); asked < 3 || uint64(asked) > policy.RevealsPerHour+1 {
		t.Errorf("%d questions were taken, the policy allows %d", asked-1, policy.RevealsPerHour)
	}
	if all := two.waiting(); len(all) != 0 {
		t.Errorf("%d wait", len(all))
	}
	w.wait(time.Hour)
	q := one.asks().waits()
	w.ok(two.says(q.Hash()))
	w.ok(q.send())
}

// However many a policy allows, no more than this wait at a time.
func TestHowManyWait(t *testing.T) {
	w := newWorld(t)
	owner, devices := w.household(2)
	q := owner.proposal(&recordv1.PolicyChanged{Policy: &recordv1.Policy{RevealsPerHour: 1000, RevealsPerDay: 1000}})
	endorsed := devices[1].endorses(q, recordv1.Endorsement_ROLE_DEVICE)
	w.ok(owner.sendEndorsed(devices[0], q, []*recordv1.Endorsement{endorsed}))
	w.wait(waitingPeriod)
	for range 16 {
		devices[0].asks().waits()
	}
	if refusal := w.refused(devices[0].asks().send(), api.ErrRateLimited); refusal.RetryAfter != api.PendingLife {
		t.Errorf("retry after %v", refusal.RetryAfter)
	}
	devices[1].asks().waits() // it has a share of its own
	if all := devices[1].waiting(); len(all) != 17 {
		t.Errorf("%d wait", len(all))
	}
	w.wait(api.PendingLife)
	devices[0].asks().waits()
}
