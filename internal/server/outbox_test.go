package server_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
)

// delivers runs the goroutine that delivers until the test ends.
func (w *alarmed) delivers() {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.server.Deliver(ctx) }()
	w.t.Cleanup(func() { cancel(); <-done })
}

// wantLetters waits for mails less long than a webhook may take.
func (w *alarmed) wantLetters(n int) {
	w.t.Helper()
	for until := time.Now().Add(8 * time.Second); len(w.box.Letters()) < n; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			w.t.Fatalf("%d mails came, want %d", len(w.box.Letters()), n)
		}
	}
}

// A receiver that takes all the time that it may, and for which much waits, holds
// up nobody else's alarms, nor the mails of its own account.
func TestASlowReceiverHoldsUpItselfAlone(t *testing.T) {
	w := newAlarmed(t)
	asked, answer := make(chan struct{}, 99), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{}; <-answer }))
	t.Cleanup(slow.Close)
	ada, bob := w.create("slow"), w.create("other")
	secret := random(notify.SecretSize)
	for range 3 {
		w.ok(ada.set(&apiv1.AlarmSettings{Webhook: slow.URL, WebhookSecret: secret}))
	}
	w.delivers()
	t.Cleanup(func() { close(answer) }) // before the deliveries and the receiver must end
	<-asked
	w.ok(bob.set(&apiv1.AlarmSettings{Mail: "bob@example.test"}))
	w.wantLetters(1)
	w.ok(ada.set(&apiv1.AlarmSettings{Mail: "ada@example.test"}))
	w.wantLetters(2)
	if n := len(asked); n != 0 {
		t.Errorf("the slow receiver is asked %d times at once", n+1)
	}
}

// However many webhooks take all the time that they may, mails leave.
func TestSlowWebhooksHoldUpNoMails(t *testing.T) {
	w := newAlarmed(t)
	answer := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-answer }))
	t.Cleanup(slow.Close)
	for range 20 {
		w.ok(w.create("slow").set(&apiv1.AlarmSettings{Webhook: slow.URL, WebhookSecret: random(notify.SecretSize)}))
	}
	w.delivers()
	t.Cleanup(func() { close(answer) }) // before the deliveries and the receiver must end
	time.Sleep(100 * time.Millisecond)
	bob := w.create("bob")
	w.ok(bob.set(&apiv1.AlarmSettings{Mail: "bob@example.test"}))
	w.wantLetters(1)
}

// fragile is a store that panics when the first delivery ends.
type fragile struct {
	store.Store
	broken bool
}

func (f *fragile) End(ctx context.Context, d store.Delivery) error {
	if !f.broken {
		f.broken = true
		panic("a bug")
	}
	return f.Store.End(ctx, d)
}

// A panic in a delivery is that delivery's: it is tried again, and the server goes
// on.
func TestAPanicEndsNoServer(t *testing.T) {
	w := newAlarmed(t)
	configure, panics := w.configure, true
	w.configure = func(c *server.Config) {
		configure(c)
		roots := c.Mail.Config.RootCAs
		c.Mail.Config = &tls.Config{RootCAs: roots, VerifyConnection: func(tls.ConnectionState) error {
			if panics {
				panic("a bug in what sends mail")
			}
			return nil
		}}
	}
	broken := &fragile{}
	w.wrap = func(inner store.Store) store.Store { broken.Store = inner; return broken }
	w.restart()
	owner := w.create("ada")
	w.ok(owner.set(&apiv1.AlarmSettings{Mail: "ada@example.test"}))
	w.deliver()
	panics = false
	w.wait(time.Minute) // it was put off, as any other failure
	if n, err := w.server.DeliverDue(t.Context()); n != 1 || err == nil {
		t.Errorf("%d, %v: a delivery that cannot be written down", n, err)
	}
	w.wait(time.Hour) // its lease is over
	w.deliver()
	if n, left := len(w.box.Letters()), owner.alarms().Undelivered; n != 2 || left != 0 {
		t.Errorf("%d mails came, %d wait", n, left)
	}
}
