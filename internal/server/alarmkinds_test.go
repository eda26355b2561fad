package server_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/internal/notify/notifytest"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
)

// body is what a person reads.
func body(l io.Reader) string { return string(must(io.ReadAll(quotedprintable.NewReader(l)))) }

// Each record that a thief could begin with raises its alarm, with who and what.
func TestAlarmsOfRecords(t *testing.T) {
	w := newAlarmed(t)
	owner, contacts := w.family()
	secret := random(notify.SecretSize)
	w.ok(owner.set(&apiv1.AlarmSettings{Mail: "ada@example.test", Webhook: w.hook.URL, WebhookSecret: secret}))
	w.hears(owner, secret, notify.AlarmsChanged)
	hears := func(kind notify.Kind, subject uint64) {
		t.Helper()
		got := w.hears(owner, secret, kind)[0]
		if got.Device != 1 || got.Subject != subject || got.Sequence != owner.state.Head().Sequence || got.Times != 0 {
			t.Errorf("%s: %+v", kind, got)
		}
	}
	owner.add(&recordv1.PolicyChanged{Policy: &recordv1.Policy{RevealsPerHour: 4, RevealsPerDay: 7}})
	hears(notify.PolicyChanged, 0)
	owner.prepare(false)
	hears(notify.EpochPrepared, 0)
	owner.serverReceipt()
	for i, contact := range contacts[:2] {
		owner.bind(uint64(i)+1, contact)
		hears(notify.ContactBound, 0)
		owner.add(owner.receipt(uint64(i) + 1))
	}
	w.wait(waitingPeriod)
	owner.add(&recordv1.EpochCommitted{Epoch: owner.newest().Number})
	hears(notify.EpochCommitted, 0)

	second := owner.addDevice()
	hears(notify.DeviceAdded, second.number)
	owner.add(&recordv1.DeviceLocked{Device: second.number})
	hears(notify.DeviceLocked, second.number)
	w.wait(waitingPeriod) // only the author's own confirm key is left
	owner.revoke(second)
	hears(notify.DeviceRevoked, second.number)

	third := owner.newDevice()
	w.ok(third.joins(third.deviceRequest(nil)))
	if got := w.hears(owner, secret, notify.DeviceAsks)[0]; got.Device != 0 || got.Subject != 0 {
		t.Errorf("asked: %+v", got)
	}
	letters := w.box.Letters()
	if len(letters) != 10 {
		t.Fatalf("%d mails", len(letters))
	}
	for i, want := range []string{
		"Device 1 changed where alarms go.", "Device 1 changed the account's limits.", "Device 1 prepared a new epoch.", "Device 1 chose a contact", "Device 1 chose a contact",
		"Device 1 committed a new epoch.", "Device 2 was added", "Device 1 locked device 2.", "Device 1 revoked device 2.", "A new device asks to be added",
	} {
		if text := body(strings.NewReader(letters[i].Body)); !strings.HasPrefix(text, want) || !strings.Contains(text, " UTC") {
			t.Errorf("mail %d says %q, want %q", i, text, want)
		}
	}
}

// A server whose keys were lost goes on over the same data with new ones, once the
// owner has accepted them.
func TestAlarmOfNewServerKeys(t *testing.T) {
	w := newAlarmed(t)
	owner, _ := w.family()
	w.ok(owner.set(&apiv1.AlarmSettings{Mail: "ada@example.test"}))
	w.deliver()
	w.stop()
	db := must(sql.Open("sqlite", w.database()))
	_, err := db.Exec(`DELETE FROM server`)
	w.ok(err)
	w.ok(db.Close())
	w.keys = must(server.GenerateKeys(rand.Reader))
	w.start()
	owner.add(&recordv1.ServerKeyChanged{Server: &recordv1.Server{
		Url: "http://localhost", SignKey: w.keys.SignKey().Bytes(), SealKey: w.keys.SealKey().Bytes(),
	}})
	w.deliver()
	letters := w.box.Letters()
	if len(letters) != 2 || !strings.HasPrefix(body(strings.NewReader(letters[1].Body)), "Device 1 accepted new keys of the server.") {
		t.Errorf("%d mails: %v", len(letters), letters)
	}
}

// TestStrangersFillNoMailbox lets strangers ask from everywhere for a day. The
// owner learns of each and every one, in few mails, and of a thief meanwhile as
// ever.
func TestStrangersFillNoMailbox(t *testing.T) {
	w := newAlarmed(t)
	configure := w.configure
	w.configure = func(c *server.Config) { configure(c); c.Places = places(t) }
	w.restart()
	owner, _ := w.family()
	owner.store(1, 1, "one")
	w.ok(owner.set(&apiv1.AlarmSettings{Mail: "ada@example.test"}))
	d := owner.first()
	reveal := func(address string) {
		t.Helper()
		_, _, err := w.clientFrom(address).Reveal(t.Context(), d.identity(), &apiv1.RevealRequest{Slots: []*apiv1.SlotVersion{owner.version(1, 1)}, Purpose: "get"}, d.confirms(apiv1.Confirmation_KEY_CONFIRM))
		w.ok(err)
	}
	reveal("203.0.113.7:1")
	w.deliver()
	const hours, perHour = 6, 20
	n := 0
	for range hours {
		for range perHour {
			n++
			address := fmt.Sprintf("[2001:db8:%x::1]:1", n)
			w.ok(w.recover(owner).startFrom(w.server.Handler(), address))
			asks := owner.newDevice()
			_, err := w.clientFrom(address).Join(t.Context(), asks.newcomerIdentity(), &apiv1.JoinRequest{Request: asks.deviceRequest(nil)})
			w.ok(err)
			w.deliver()
			w.wait(time.Hour / perHour)
		}
	}
	reveal("198.51.100.4:1")
	w.deliver()
	if !slices.ContainsFunc(w.box.Letters(), func(l notifytest.Letter) bool { return strings.Contains(l.Raw, "(NZ)") }) {
		t.Error("no mail is about the thief")
	}
	w.wait(time.Hour)
	w.deliver()
	told, mails := map[string]int{}, 0
	for _, l := range w.box.Letters() {
		text, times := strings.Join(strings.Fields(body(strings.NewReader(l.Body))), " "), 1
		if _, after, many := strings.Cut(text, "This happened "); many {
			_, err := fmt.Sscanf(after, "%d times", &times)
			w.ok(err)
		}
		for _, kind := range []string{"asked to recover", "asks to be added", "that nothing of this account came from before"} {
			if strings.Contains(text, kind) && !strings.Contains(text, "(NZ)") {
				told[kind] += times
				mails++
			}
		}
	}
	for kind, times := range told {
		if times != n {
			t.Errorf("told of %d that %q, of %d", times, kind, n)
		}
	}
	if most := 3 * (4*hours + 1); len(told) != 3 || mails > most {
		t.Errorf("%d mails about %d kinds in %d hours, at most %d", mails, len(told), hours, most)
	}
	if got := owner.alarms().Undelivered; got != 0 {
		t.Errorf("%d wait", got)
	}
}

// clientFrom is a client at an address.
func (w *world) clientFrom(address string) *client.Client {
	return must(client.New(&http.Client{Transport: from{w.server.Handler(), address}}, w.http.URL, w.keys.SignKey(), rand.Reader, w.clock))
}

// stopping stops a server between a delivery and the note that it arrived.
type stopping struct {
	store.Store
	stop func()
}

func (s *stopping) End(ctx context.Context, d store.Delivery) error {
	if s.stop != nil {
		s.stop()
	}
	if err := ctx.Err(); err != nil { // as a database may answer
		return err
	}
	return s.Store.End(ctx, d)
}

func TestStoppedWhileItDelivers(t *testing.T) {
	w := newAlarmed(t)
	stops := &stopping{}
	w.wrap = func(inner store.Store) store.Store { stops.Store = inner; return stops }
	w.restart()
	owner, _ := w.family()
	w.ok(owner.set(&apiv1.AlarmSettings{Webhook: w.hook.URL, WebhookSecret: random(notify.SecretSize)}))
	ctx, cancel := context.WithCancel(t.Context())
	stops.stop = cancel
	_, err := w.server.DeliverDue(ctx)
	w.ok(err)
	if ctx.Err() == nil {
		t.Fatal("it was not stopped meanwhile")
	}
	stops.stop = nil
	w.restart()
	w.wait(time.Hour)
	w.deliver()
	if n := len(w.hook.Posts()); n != 1 {
		t.Errorf("it was delivered %d times", n)
	}
}
