package systemtest

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/device"
)

// sends tells of each Reveal that leaves, and lets a stream of hints begin or not.
type sends struct {
	revealed  chan time.Time
	watched   atomic.Int32
	withHints bool
}

func (s *sends) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/Watch"):
		s.watched.Add(1)
		if !s.withHints {
			return nil, http.ErrServerClosed
		}
	case strings.HasSuffix(r.URL.Path, "/Reveal"):
		defer func() { s.revealed <- time.Now() }()
	}
	return http.DefaultTransport.RoundTrip(r)
}

// through opens the directory again, with another network.
func (p *person) through(network http.RoundTripper) {
	p.w.t.Helper()
	p.close()
	o := p.w.options()
	o.HTTP = &http.Client{Transport: network}
	d, err := device.Open(context.Background(), p.dir, []byte(passphrase), o)
	if err != nil {
		p.w.t.Fatal(explained(err))
	}
	p.Device = d
}

// answered is how long a device waits for the answer after another one has
// confirmed, right after it has asked in vain and would ask again in a second at
// the earliest.
func (w *world) answered(laptop, phone *person, withHints bool) time.Duration {
	w.t.Helper()
	network := &sends{revealed: make(chan time.Time, 1000), withHints: withHints}
	laptop.through(network)
	done := make(chan error, 1)
	go func() { done <- laptop.get("bank") }()
	var last time.Time
	for {
		at := <-network.revealed
		if !last.IsZero() && at.Sub(last) > time.Second {
			break
		}
		last = at
	}
	items, err := phone.Pending(context.Background())
	if err != nil || len(items) != 1 {
		w.t.Fatalf("%v, %v", items, err)
	}
	phone.confirmPending(items[0].ID)
	confirmed := time.Now()
	if err := <-done; err != nil {
		w.t.Fatal(explained(err))
	}
	if network.watched.Load() != 1 {
		w.t.Errorf("it has asked %d times for hints", network.watched.Load())
	}
	return time.Since(confirmed)
}

// A hint brings the answer at once. Without hints it comes with the next time that
// the device asks.
func TestAnAnswerComesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	laptop, phone := w.twoDevices()
	with := w.answered(laptop, phone, true)
	without := w.answered(laptop, phone, false)
	t.Logf("with hints after %v, without after %v", with, without)
	if with > time.Second || with > without {
		t.Errorf("with hints after %v, without after %v", with, without)
	}
}

// However waiting ends, nothing of it goes on.
func TestNoStreamIsLeft(t *testing.T) {
	w := newWorld(t)
	laptop, phone := w.twoDevices()
	ctx, cancel := context.WithCancel(context.Background())
	_, done := w.waits(phone, func() error { _, err := laptop.Get(ctx, "bank"); return err })
	streams := func() int {
		b := make([]byte, 1<<20)
		all := strings.Split(string(b[:runtime.Stack(b, true)]), "\n\n")
		return len(slices.DeleteFunc(all, func(s string) bool { return !strings.Contains(s, "(*Watching).Listen") }))
	}
	for range 200 {
		if streams() > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if streams() == 0 {
		t.Fatal("it does not listen")
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("what was stopped has shown the secret")
	}
	if n := streams(); n != 0 {
		t.Errorf("%d streams are left", n)
	}
	phone.nothingWaits()
}
