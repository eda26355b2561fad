package systemtest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/device"
)

// news returns what is new to a device, which must succeed.
func (p *person) news(seen *device.Seen) []device.Event {
	p.w.t.Helper()
	events, err := p.News(context.Background(), seen)
	if err != nil {
		p.w.t.Fatal(explained(err))
	}
	return events
}

func alarmed(events []device.Event, kind device.EventKind, text string) bool {
	return slices.ContainsFunc(events, func(e device.Event) bool {
		return e.Kind == kind && e.Alarm && strings.Contains(e.Text, text)
	})
}

// A device that has asked as often as it may is named on the others, once.
func TestWatchTellsOfLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	laptop, phone := w.twoDevices()
	w.confirmed(phone, func() error {
		_, err := laptop.SetPolicy(context.Background(), device.Policy{RevealsPerHour: 12})
		return err
	})
	var seen device.Seen
	laptop.news(&seen)
	ask := func() { w.confirmed(laptop, func() error { return phone.get("bank") }) }
	for range 8 {
		ask()
	}
	if events := laptop.news(&seen); slices.ContainsFunc(events, func(e device.Event) bool { return e.Kind == device.EventLimit }) {
		t.Errorf("eight of nine, and %+v", events)
	}
	ask()
	events := laptop.news(&seen)
	if !alarmed(events, device.EventLimit, "device 2 has asked 9 times in an hour, which is all that is allowed") {
		t.Errorf("%+v", events)
	}
	if err := phone.get("bank"); !errors.Is(err, api.ErrRateLimited) {
		t.Errorf("once more than it may: %v", err)
	}
	if events := laptop.news(&seen); alarmed(events, device.EventLimit, "") {
		t.Errorf("told twice: %+v", events)
	}

	var err error
	asked := 0
	for ; err == nil && asked < 4; asked++ {
		withConfirms(t, func() { err = laptop.get("bank") }, phone)
	}
	if !errors.Is(err, api.ErrRateLimited) {
		t.Fatalf("after %d more: %v", asked, err)
	}
	if events := laptop.news(&seen); !alarmed(events, device.EventLimit, "all devices together have asked 12 times in an hour") {
		t.Errorf("%+v", events)
	}
}

// What waits for a device is there until it is answered, and who takes part in the
// account is told on the devices that did not change it.
func TestWatchTellsWhatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	laptop, phone := w.twoDevices()
	var onPhone, onLaptop device.Seen
	phone.news(&onPhone)
	laptop.news(&onLaptop)
	item, done := w.waits(phone, func() error { return laptop.get("bank") })
	if events := phone.news(&onPhone); !slices.ContainsFunc(events, func(e device.Event) bool { return e.Kind == device.EventPending && e.ID == item.ID }) {
		t.Errorf("%+v", events)
	}
	for range 2 { // it is told once, and waits on
		if waiting := onPhone.Waiting(); len(waiting) != 1 || waiting[0].ID != item.ID || waiting[0].Expires != item.Expires {
			t.Errorf("%+v", waiting)
		}
		phone.news(&onPhone)
	}
	phone.confirmPending(item.ID)
	if err := <-done; err != nil {
		t.Fatal(explained(err))
	}
	phone.news(&onPhone)
	if waiting := onPhone.Waiting(); len(waiting) > 0 {
		t.Errorf("%+v", waiting)
	}
	j := w.startJoin(laptop, nil)
	withConfirms(t, func() { laptop.approveDevice(j, "tablet") }, phone)
	tablet := j.added()
	if events := phone.news(&onPhone); !alarmed(events, device.EventLedger, "device 1 added a device") {
		t.Errorf("%+v", events)
	}
	if events := laptop.news(&onLaptop); alarmed(events, device.EventLedger, "") {
		t.Errorf("its own act is no alarm: %+v", events)
	}
	if _, err := tablet.LockDevice(context.Background(), 2); err != nil {
		t.Fatal(explained(err))
	}
	if events := laptop.news(&onLaptop); !alarmed(events, device.EventLedger, "device 3 locked device 2") {
		t.Errorf("%+v", events)
	}
}

// What could not be asked for to the end is told the next time.
func TestWatchGoesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	laptop, phone := w.twoDevices()
	var seen device.Seen
	phone.news(&seen)
	laptop.add("Shop", "two")
	phone.close()
	failing := w.options()
	failing.HTTP = &http.Client{Transport: &withoutRequests{}}
	d, err := device.Open(context.Background(), phone.dir, []byte(passphrase), failing)
	if err != nil {
		t.Fatal(explained(err))
	}
	if events, err := d.News(context.Background(), &seen); err == nil || events != nil {
		t.Errorf("%+v, %v", events, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	phone.reopen()
	if events := phone.news(&seen); !slices.ContainsFunc(events, func(e device.Event) bool {
		return e.Kind == device.EventLedger && strings.Contains(e.Text, "stored a secret")
	}) {
		t.Errorf("%+v", events)
	}
}

// withoutRequests is a network on which asking for recovery requests fails, which
// is the last thing that is asked.
type withoutRequests struct{}

func (*withoutRequests) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.Contains(r.URL.Path, "Recover") || strings.Contains(r.URL.Path, "Requests") {
		return nil, errors.New("the network is down")
	}
	return http.DefaultTransport.RoundTrip(r)
}
