package device

import (
	"context"
	"errors"
	"fmt"
	"time"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
)

const (
	// firstPoll and slowestPoll are how soon a request that waits is sent again where
	// the server gives no hints: a person who holds the other device answers in
	// seconds.
	firstPoll   = 100 * time.Millisecond
	slowestPoll = 2 * time.Second
	// withdrawTime is how long a program that was stopped still tries to withdraw
	// what it asked for.
	withdrawTime = 5 * time.Second
)

// Waiting is what this device waits for: the second factor of others.
type Waiting struct {
	ID       string          // of the oldest request that waits, as the others see it
	Requests int             // more than one for a bulk reveal of many secrets
	Devices  []WaitingDevice // who may still answer
	Expires  time.Time
}

// WaitingDevice is a device that may answer.
type WaitingDevice struct {
	Number uint64 // 0 for a device that is being added
	Name   string
}

// String names the device for a person.
func (w WaitingDevice) String() string {
	switch {
	case w.Number == 0:
		return "the new device"
	case w.Name == "":
		return fmt.Sprintf("device %d", w.Number)
	}
	return fmt.Sprintf("device %d (%q)", w.Number, w.Name) // which a device gives itself
}

// asked is a request that may have to wait for other devices. send sends it,
// always with the same bytes, and keeps the answer.
type asked struct {
	hash     [32]byte
	send     func(context.Context) error
	answered bool
	waits    *api.Refusal // the newest word of the server that it waits
}

// ask is a prepared request, whose answer goes to keep.
func ask[A any](p *client.Prepared[A], keep func(*A)) *asked {
	return &asked{hash: p.Hash(), send: func(ctx context.Context) error {
		answer, err := p.Send(ctx)
		if err == nil {
			keep(answer)
		}
		return err
	}}
}

// await sends all requests, so that one person confirms them together, and then
// again until the server has answered each. It ends with an error when another
// device refuses, when nobody answers in time by the server's word or by this
// device's clock, and when the caller gives up; what still waits is withdrawn.
func (d *Device) await(ctx context.Context, all ...*asked) error {
	told := false
	var woken <-chan struct{}
	until := d.o.Now().Add(api.PendingLife + api.MaxClockSkew)
	for pause := firstPoll; ; pause = min(pause*3/2, slowestPoll) {
		left, err := sendAgain(ctx, all)
		if err == nil && left == 0 {
			return nil
		}
		if err == nil && !d.o.Now().Before(until) {
			err = fmt.Errorf("%w, by this device's clock", api.ErrConfirmationExpired)
		}
		if err == nil && !told {
			if w, ok := d.waiting(all); ok {
				told = true
				var stop func()
				woken, stop = d.wakes(ctx)
				defer stop()
				d.o.Waiting(w)
			}
		}
		if err == nil {
			err = restUnless(ctx, pause, woken)
		}
		if err != nil {
			d.withdraw(ctx, all)
			return d.unconfirmed(err)
		}
	}
}

// sendAgain sends what is not answered, and says how much is left. A server that
// cannot be reached for a moment, after it said that a request waits, ends nothing.
func sendAgain(ctx context.Context, all []*asked) (left int, err error) {
	for _, a := range all {
		if a.answered {
			continue
		}
		err := a.send(ctx)
		var refusal *api.Refusal
		switch {
		case err == nil:
			a.answered = true
		case signed(err) && errors.Is(err, api.ErrConfirmationPending) && errors.As(err, &refusal):
			a.waits = refusal
			left++
		case a.waits != nil && ctx.Err() == nil && (errors.Is(err, client.ErrUnreachable) || errors.Is(err, api.ErrUnavailable)):
			left++
		default:
			return left, err
		}
	}
	return left, nil
}

// wakes listens to the server's hints, and says each time when something that
// waits may have been answered; the first time at once, since that may have
// happened before. Where there is no stream, or it ends, nothing is said: hints are
// not signed, and what they save is time. The caller stops it, which waits for its
// end.
func (d *Device) wakes(ctx context.Context) (woken <-chan struct{}, stop func()) {
	watching, err := d.client.PrepareWatch(d.identity())
	if err != nil {
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	wake, ended := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(ended)
		// Why it ends does not matter: the request that waits is sent nevertheless, and
		// its answer says what is wrong.
		_ = watching.Listen(ctx, func(kind apiv1.Hint_Kind) {
			switch kind {
			case apiv1.Hint_KIND_UNSPECIFIED, apiv1.Hint_KIND_PENDING, apiv1.Hint_KIND_LEDGER:
				select {
				case wake <- struct{}{}:
				default: // it will wake anyway
				}
			}
		})
	}()
	return wake, func() {
		cancel()
		<-ended
	}
}

func rest(ctx context.Context, pause time.Duration) error { return restUnless(ctx, pause, nil) }

// restUnless waits, unless it is woken. A nil channel never wakes.
func restUnless(ctx context.Context, pause time.Duration, woken <-chan struct{}) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	case <-woken:
		return nil
	}
}

// waiting says what waits for whom, once the server has said so.
func (d *Device) waiting(all []*asked) (w Waiting, ok bool) {
	for _, a := range all {
		if a.answered || a.waits == nil {
			continue
		}
		if w.Requests++; w.Requests == 1 {
			w.ID, w.Expires = fmt.Sprintf("%x", a.hash), a.waits.Expires
			for _, number := range a.waits.Devices {
				w.Devices = append(w.Devices, WaitingDevice{Number: number, Name: d.deviceName(number)})
			}
		}
	}
	return w, w.Requests > 0
}

// withdraw takes back what nobody has answered: nobody should confirm what is not
// waited for any more. It does what it can: what stays ends by itself.
func (d *Device) withdraw(ctx context.Context, all []*asked) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTime)
	defer cancel()
	for _, a := range all {
		if a.answered || a.waits == nil {
			continue
		}
		err := d.client.Confirm(ctx, d.identity(), &apiv1.ConfirmRequest{Id: a.hash[:], Refuse: true})
		if errors.Is(err, client.ErrUnreachable) {
			return
		}
	}
}

// unconfirmed explains why a request was not confirmed.
func (d *Device) unconfirmed(err error) error {
	var refusal *api.Refusal
	_ = errors.As(err, &refusal)
	switch {
	case errors.Is(err, api.ErrConfirmationRefused) && signed(err):
		who, lock := "another device", "zeropass device list shows them"
		if len(refusal.Devices) > 0 {
			who = (WaitingDevice{refusal.Devices[0], d.deviceName(refusal.Devices[0])}).String()
			lock = fmt.Sprintf("zeropass device lock %d", refusal.Devices[0])
		}
		return failure(CodeRefused, errors.Join(ErrUnconfirmed, err), "if it was not you who refused there, lock that device: "+lock, "%s refused to confirm it", who)
	case errors.Is(err, api.ErrConfirmationExpired):
		return failure(CodeNotYet, errors.Join(ErrUnconfirmed, err), "have another device at hand, run the command again, and there: zeropass confirm", "no other device confirmed it in time; nothing was changed")
	}
	return err
}

// othersActive returns the other devices that are active: while there are any,
// they are the second factor.
func (d *Device) othersActive(s *ledger.State) []*ledger.Device {
	var others []*ledger.Device
	for _, other := range s.ActiveDevices() {
		if other.Number != d.keys.Device {
			others = append(others, other)
		}
	}
	return others
}

// readyToConfirm asks for the confirm passphrase before anything is changed, where
// this device's confirm key will be the second factor.
func (d *Device) readyToConfirm(s *ledger.State) error {
	if len(d.othersActive(s)) > 0 {
		return nil
	}
	if err := d.confirmsAlready(s); err != nil {
		return err
	}
	_, err := d.confirmKey()
	return err
}

// propose asks the other devices to endorse records, and waits for them. It looks
// at every endorsement itself: one that does not count would cost the entry.
func (d *Device) propose(ctx context.Context, p *recordv1.Proposal, records [][]byte) (*recordv1.Proposal, error) {
	exact, err := canonical.Marshal(p)
	if err != nil {
		return nil, err
	}
	parsed, err := ledger.ParseProposal(exact, records)
	if err != nil {
		return nil, err
	}
	if err := d.home.State().CheckProposal(parsed, d.keys.Device, d.o.Now()); err != nil {
		return nil, err // before anybody is asked
	}
	prepared, err := d.client.PreparePropose(d.identity(), &apiv1.ProposeRequest{Proposal: exact, Records: records})
	if err != nil {
		return nil, err
	}
	var answer *apiv1.ProposeAnswer
	if err := d.await(ctx, ask(prepared, func(a *apiv1.ProposeAnswer) { answer = a })); err != nil {
		return nil, err
	}
	p.Endorsements = answer.Endorsements
	if err := d.checkEndorsed(ctx, parsed, answer.Endorsements); err != nil {
		return nil, err
	}
	return p, nil
}

// checkEndorsed wants endorsements that are enough, in the state that is newest.
func (d *Device) checkEndorsed(ctx context.Context, p *ledger.Proposal, endorsements []*recordv1.Endorsement) error {
	check := func() error {
		s := d.home.State()
		for _, e := range endorsements {
			if err := s.CheckEndorsement(p, d.keys.Device, e); err != nil {
				return err
			}
		}
		if !s.Endorsed(d.keys.Device, p.Records(), endorsements) {
			return errors.New("not everybody has endorsed who must")
		}
		return nil
	}
	before := d.home.State().Head()
	err := check()
	if err == nil {
		return nil
	}
	// A device may have been added or locked while this one waited.
	if pulled := d.pull(ctx); pulled != nil {
		return pulled
	}
	s := d.home.State()
	if stale := s.CheckProposal(p, d.keys.Device, d.o.Now()); stale != nil && s.Head() != before {
		return changedMeanwhile(stale)
	}
	if err = check(); err != nil {
		return fmt.Errorf("%w: it answers a proposal with endorsements that do not count: %w", client.ErrDishonest, err)
	}
	return nil
}
