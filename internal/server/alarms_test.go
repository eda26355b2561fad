package server_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/internal/notify/notifytest"
	"zeropass.dev/zeropass/internal/server"
)

// alarmed is a world whose server sends mail, and webhooks to this machine.
type alarmed struct {
	*world
	box  *notifytest.Mailbox
	hook *notifytest.Receiver
	sent map[string]bool // ids of what the webhook got before
}

func newAlarmed(t *testing.T) *alarmed {
	box, hook := notifytest.NewMailbox(t, false), notifytest.NewReceiver(t, true)
	w := &world{configure: func(c *server.Config) {
		c.Mail = &notify.Mail{
			Server: box.Address, TLS: notify.StartTLS, From: "alarms@zeropass.test",
			User: notifytest.User, Password: notifytest.Password, Config: &tls.Config{RootCAs: box.Roots},
		}
		c.Webhook = notify.Webhook{Private: true, TLS: hook.TLS}
	}}
	w.begin(t)
	return &alarmed{world: w, box: box, hook: hook, sent: map[string]bool{}}
}

// set sets where alarms go, with the confirm key of the only device.
func (a *account) set(settings *apiv1.AlarmSettings) error {
	d := a.first()
	return a.setBy(d, settings, d.confirms(apiv1.Confirmation_KEY_CONFIRM))
}

func (a *account) setBy(d *device, settings *apiv1.AlarmSettings, confirm func(*apiv1.SignedRequest)) error {
	prepared, err := a.client().PrepareSetAlarms(d.identity(), &apiv1.SetAlarmsRequest{Settings: settings}, confirm)
	if err != nil {
		return err
	}
	_, err = prepared.Send(a.w.t.Context())
	return err
}

func (a *account) alarms() *apiv1.AlarmsAnswer {
	return must(a.client().Alarms(a.w.t.Context(), a.first().identity(), &apiv1.AlarmsRequest{}))
}

// deliver tries everything that is due.
func (w *alarmed) deliver() {
	w.t.Helper()
	for {
		n, err := w.server.DeliverDue(w.t.Context())
		w.ok(err)
		if n == 0 {
			return
		}
	}
}

// hears delivers, and wants the webhook to get alarms of these kinds, of this
// account, and nothing else.
func (w *alarmed) hears(a *account, secret []byte, want ...notify.Kind) []notify.Data {
	w.t.Helper()
	w.deliver()
	var kinds []notify.Kind
	var data []notify.Data
	for _, p := range w.hook.Posts() {
		id := p.Header.Get("webhook-id")
		if w.sent[id] {
			continue
		}
		w.sent[id] = true
		if err := notifytest.VerifyWebhook(notify.FormatSecret(secret), p, w.clock()); err != nil {
			w.t.Error(err)
		}
		alarm := must(notify.ParseAlarm(id, p.Body))
		if alarm.Data.Account != a.id.String() || alarm.Data.Name != a.name {
			w.t.Errorf("an alarm about %s (%s)", alarm.Data.Account, alarm.Data.Name)
		}
		kinds, data = append(kinds, alarm.Kind), append(data, alarm.Data)
	}
	slices.Sort(kinds)
	slices.Sort(want)
	if !slices.Equal(kinds, want) {
		w.t.Fatalf("alarms %q, want %q", kinds, want)
	}
	return data
}

func TestAlarms(t *testing.T) {
	w := newAlarmed(t)
	owner, contacts := w.family()
	if got := w.alarmsOf(owner); got.Settings != nil || got.Undelivered != 0 {
		t.Errorf("settings before any were made: %v", got)
	}
	secret := random(notify.SecretSize)
	w.ok(owner.set(&apiv1.AlarmSettings{Webhook: w.hook.URL, WebhookSecret: secret}))
	if got := w.alarmsOf(owner); got.Settings.Webhook != w.hook.URL || got.Settings.Mail != "" || len(got.Settings.WebhookSecret) != 0 || got.Undelivered != 1 {
		t.Errorf("settings: %v", got)
	}
	w.hears(owner, secret, notify.AlarmsChanged)

	d := owner.first()
	confirm := d.confirms(apiv1.Confirmation_KEY_CONFIRM)
	owner.store(1, 1, "one")
	owner.store(2, 1, "two")
	_, err := owner.reveal(d, owner.version(1, 1), confirm)
	w.ok(err)
	w.hears(owner, secret) // what is done every day raises none
	_, _, err = w.client().Reveal(t.Context(), d.identity(), &apiv1.RevealRequest{
		Slots: []*apiv1.SlotVersion{owner.version(1, 1), owner.version(2, 1)}, Purpose: api.PurposeExport}, confirm)
	w.ok(err)
	if got := w.hears(owner, secret, notify.RevealBulk)[0]; got.Count != 2 || got.Device != 1 || got.Address != "" {
		t.Errorf("a bulk reveal: %+v", got)
	}
	_, err = owner.reveal(d, owner.version(1, 1), d.confirms(apiv1.Confirmation_KEY_SIGN))
	w.refused(err, api.ErrConfirmationWrong)
	w.hears(owner, secret, notify.ConfirmationWrong)
	for range 10 {
		_, err = owner.reveal(d, owner.version(1, 1), confirm)
	}
	w.refused(err, api.ErrRateLimited)
	w.hears(owner, secret, notify.RevealLimit) // once an hour

	second := owner.addDevice()
	if got := w.hears(owner, secret, notify.DeviceAdded)[0]; got.Device != 1 || got.Subject != 2 || got.Sequence != owner.state.Head().Sequence {
		t.Errorf("added: %+v", got)
	}
	owner.add(&recordv1.DeviceLocked{Device: second.number})
	if got := w.hears(owner, secret, notify.DeviceLocked)[0]; got.Device != 1 || got.Subject != 2 {
		t.Errorf("locked: %+v", got)
	}
	w.wait(waitingPeriod)
	owner.add(&recordv1.DeviceUnlocked{Device: second.number})
	w.hears(owner, secret, notify.DeviceUnlocked)

	n := w.recover(owner)
	_, err = n.start()
	w.ok(err)
	_, err = n.start() // asked again
	w.ok(err)
	if got := w.hears(owner, secret, notify.RecoveryRequested)[0]; got.Device != 0 {
		t.Errorf("requested: %+v", got)
	}
	owner.add(&recordv1.RecoveryVetoed{Request: n.id()})
	w.hears(owner, secret, notify.RecoveryVetoed)
	w.wait(15 * time.Minute) // requests that come faster leave together
	n = w.recover(owner)
	_, err = n.start()
	w.ok(err)
	w.ok(n.approve(contacts[0], 1))
	w.ok(n.approve(contacts[1], 2))
	if got := w.hears(owner, secret, notify.RecoveryRequested, notify.RecoveryApproved, notify.RecoveryApproved)[1]; got.Device != 0 {
		t.Errorf("a contact's device is named as the owner's: %+v", got)
	}
	w.wait(waitingPeriod)
	w.ok(n.release())
	w.ok(n.release())
	w.hears(owner, secret, notify.RecoveryReleased)
	w.ok(n.takeOver(n.recovered(must(n.ledger()))))
	if got := w.hears(owner, secret, notify.RecoveryDone)[0]; got.Subject != 3 {
		t.Errorf("recovered: %+v", got)
	}
	for _, a := range contacts {
		if got := w.alarmsOf(a); got.Undelivered != 0 {
			t.Errorf("alarms wait for an account without settings: %v", got)
		}
	}
}

func (w *alarmed) alarmsOf(a *account) *apiv1.AlarmsAnswer { return a.alarms() }

func TestSetAlarmsRefused(t *testing.T) {
	w := newAlarmed(t)
	owner, _ := w.family()
	hook, secret := w.hook.URL, random(notify.SecretSize)
	for name, settings := range map[string]*apiv1.AlarmSettings{
		"mail":              {Mail: "Ada <ada@example.test>"},
		"two mails":         {Mail: "ada@example.test,bob@example.test"},
		"URL":               {Webhook: "http://example.org/", WebhookSecret: secret},
		"no secret":         {Webhook: hook},
		"secret's size":     {Webhook: hook, WebhookSecret: secret[1:]},
		"secret of nothing": {WebhookSecret: secret},
	} {
		t.Run(name, func(t *testing.T) { w.refused(owner.set(settings), api.ErrMalformed) })
	}
	d := owner.first()
	good := &apiv1.AlarmSettings{Webhook: hook, WebhookSecret: secret}
	w.refused(owner.setBy(d, good, nil), api.ErrConfirmationMissing)
	w.refused(owner.setBy(d, good, d.confirms(apiv1.Confirmation_KEY_SIGN)), api.ErrConfirmationWrong)
	if got := owner.alarms(); got.Settings != nil {
		t.Errorf("settings were made: %v", got)
	}
	w.ok(owner.set(good))
	w.ok(owner.set(&apiv1.AlarmSettings{Mail: "ada@example.test", Webhook: hook})) // the secret stays
	w.hears(owner, secret, notify.AlarmsChanged, notify.AlarmsChanged)
	w.refused(owner.set(&apiv1.AlarmSettings{Webhook: hook + "/other"}), api.ErrMalformed)

	// A server without a mail server says so.
	w.configure = func(*server.Config) {}
	w.restart()
	w.refused(owner.set(&apiv1.AlarmSettings{Mail: "ada@example.test"}), api.ErrMalformed)
}

// With another active device, that one is the second factor.
func TestAlarmsConfirmedByAnotherDevice(t *testing.T) {
	w := newAlarmed(t)
	owner, _ := w.family()
	second := owner.addDevice()
	d := owner.first()
	settings := &apiv1.AlarmSettings{Mail: "ada@example.test"}
	for _, refuse := range []bool{true, false} {
		prepared := must(owner.client().PrepareSetAlarms(d.identity(), &apiv1.SetAlarmsRequest{Settings: settings}, nil))
		_, err := prepared.Send(t.Context())
		w.refused(err, api.ErrConfirmationPending)
		if got := owner.alarms(); got.Settings != nil {
			t.Fatalf("set before anybody confirmed: %v", got)
		}
		id := prepared.Hash()
		answer := &apiv1.ConfirmRequest{Id: id[:], Refuse: refuse}
		if !refuse {
			answer.Confirmation = must(api.NewConfirmation(id, apiv1.Confirmation_KEY_SIGN, second.number, second.sign))
		}
		w.ok(owner.client().Confirm(t.Context(), second.identity(), answer))
		_, err = prepared.Send(t.Context())
		if refuse {
			w.refused(err, api.ErrConfirmationRefused)
			continue
		}
		w.ok(err)
		_, err = prepared.Send(t.Context())
		w.refused(err, api.ErrReplayed)
	}
	if got := owner.alarms(); got.GetSettings().GetMail() != "ada@example.test" {
		t.Errorf("settings: %v", got)
	}
	again := must(owner.client().PrepareSetAlarms(d.identity(), &apiv1.SetAlarmsRequest{}, nil))
	_, err := again.Send(t.Context())
	w.refused(err, api.ErrConfirmationPending)
	id := again.Hash()
	w.ok(owner.client().Confirm(t.Context(), second.identity(), &apiv1.ConfirmRequest{Id: id[:], Refuse: true}))
	w.deliver()
	letters := w.box.Letters() // in any order: they leave at the same time
	if len(letters) != 2 || !slices.ContainsFunc(letters, func(l notifytest.Letter) bool {
		return strings.Contains(l.Raw, "Device 2 refused what device 1 asked for.")
	}) {
		t.Errorf("%d mails: %v", len(letters), letters)
	}
}

// The old address is told that alarms go elsewhere, and the new one that they
// come.
func TestOldAddressIsTold(t *testing.T) {
	w := newAlarmed(t)
	owner, _ := w.family()
	w.ok(owner.set(&apiv1.AlarmSettings{Mail: "old@example.test"}))
	w.deliver()
	w.ok(owner.set(&apiv1.AlarmSettings{Mail: "new@example.test"}))
	w.deliver()
	w.ok(owner.set(&apiv1.AlarmSettings{}))
	w.deliver()
	var to []string
	for _, l := range w.box.Letters() {
		to = append(to, l.To)
		body := must(io.ReadAll(quotedprintable.NewReader(strings.NewReader(l.Body))))
		if !strings.Contains(string(body), "Device 1 changed where alarms go.") || !strings.Contains(string(body), owner.name) {
			t.Errorf("the mail says %s", body)
		}
	}
	slices.Sort(to[1:3]) // both leave at once
	if want := []string{"old@example.test", "new@example.test", "old@example.test", "new@example.test"}; !slices.Equal(to, want) {
		t.Errorf("told %q, want %q", to, want)
	}
	if strings.Contains(w.log.String(), "example.test") {
		t.Errorf("the log has an address:\n%s", &w.log)
	}
}

// TestRetries lets deliveries fail over a restart of the server: they arrive once,
// under one id, or are given up after three days.
func TestRetries(t *testing.T) {
	w := newAlarmed(t)
	owner, _ := w.family()
	secret := random(notify.SecretSize)
	w.hook.Answer(http.StatusServiceUnavailable)
	w.box.Refuse(451)
	w.ok(owner.set(&apiv1.AlarmSettings{Mail: "ada@example.test", Webhook: w.hook.URL, WebhookSecret: secret}))
	w.deliver()
	w.deliver() // not due yet
	if n := len(w.hook.Posts()); n != 1 {
		t.Fatalf("%d attempts", n)
	}
	var pauses []time.Duration
	for range 6 {
		before, attempts := w.clock(), len(w.hook.Posts())
		w.restart()
		for len(w.hook.Posts()) == attempts {
			w.wait(time.Second)
			w.deliver()
		}
		pauses = append(pauses, w.clock().Sub(before))
	}
	for i, pause := range pauses {
		most := 15 * time.Second << i
		if pause < most/2 || pause > most+2*time.Second {
			t.Errorf("pause %d is %v, want %v to %v", i, pause, most/2, most)
		}
	}
	if got := owner.alarms().Undelivered; got != 2 {
		t.Errorf("%d wait", got)
	}
	w.hook.Answer(http.StatusOK)
	w.box.Refuse(0)
	w.wait(time.Hour)
	w.deliver()
	w.wait(time.Hour)
	w.deliver()
	posts := w.hook.Posts()
	for _, p := range posts {
		if p.Header.Get("webhook-id") != posts[0].Header.Get("webhook-id") || string(p.Body) != string(posts[0].Body) {
			t.Error("an attempt has another id or body")
		}
	}
	if len(posts) != 8 || len(w.box.Letters()) != 1 || owner.alarms().Undelivered != 0 {
		t.Errorf("%d attempts, %d mails, %d wait", len(posts), len(w.box.Letters()), owner.alarms().Undelivered)
	}
	if got, want := w.box.Letters()[0].Message.Header.Get("Message-ID"), posts[0].Header.Get("webhook-id"); got != "<"+want+"@zeropass.test>" {
		t.Errorf("the mail is %s, the webhook %s", got, want)
	}

	// Nobody answers for three days.
	w.hook.Answer(http.StatusServiceUnavailable)
	w.ok(owner.set(&apiv1.AlarmSettings{Webhook: w.hook.URL}))
	days := 0
	for ; owner.alarms().Undelivered > 0 && days < 10; days++ {
		for range 24 {
			w.wait(time.Hour)
			w.deliver()
		}
	}
	if days != 3 {
		t.Errorf("given up after %d days", days)
	}
	// A receiver that is gone is not asked again.
	w.hook.Answer(http.StatusGone)
	w.ok(owner.set(&apiv1.AlarmSettings{Webhook: w.hook.URL}))
	w.deliver()
	if n := owner.alarms().Undelivered; n != 0 {
		t.Errorf("%d wait for a receiver that is gone", n)
	}
}

// TestDeliver runs the goroutine that delivers: an alarm leaves at once.
func TestDeliver(t *testing.T) {
	w := newAlarmed(t)
	owner, _ := w.family()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.server.Deliver(ctx) }()
	w.ok(owner.set(&apiv1.AlarmSettings{Mail: "ada@example.test"}))
	_, err := w.client().Alarms(t.Context(), owner.first().identity(), &apiv1.AlarmsRequest{Test: true})
	w.ok(err)
	until := time.Now().Add(4 * time.Second) // less than the outbox's own pause
	for len(w.box.Letters()) < 2 && time.Now().Before(until) {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	<-done
	if n := len(w.box.Letters()); n != 2 {
		t.Errorf("%d mails came", n)
	}
	for range 10 {
		_, err := w.client().Alarms(t.Context(), owner.first().identity(), &apiv1.AlarmsRequest{Test: true})
		w.ok(err)
	}
	w.deliver()
	if n := len(w.box.Letters()); n != 4 {
		t.Errorf("%d mails, of which 3 may be tests", n)
	}
}

// TestAlarmsTellNothing looks for what alarms must not carry, wherever it could
// be.
func TestAlarmsTellNothing(t *testing.T) {
	w := newAlarmed(t)
	owner, _ := w.family()
	secret := random(notify.SecretSize)
	w.ok(owner.set(&apiv1.AlarmSettings{Mail: "ada@example.test", Webhook: w.hook.URL, WebhookSecret: secret}))
	owner.store(1, 1, "canary")
	d := owner.first()
	_, _, err := w.client().Reveal(t.Context(), d.identity(), &apiv1.RevealRequest{Slots: []*apiv1.SlotVersion{owner.version(1, 1)}, Purpose: api.PurposeRotation}, d.confirms(apiv1.Confirmation_KEY_CONFIRM))
	w.ok(err)
	rows := must(os.ReadFile(w.database() + "-wal"))
	if strings.Contains(string(rows), string(secret)) {
		t.Error("the webhook's secret is in the database")
	}
	w.box.Refuse(550)
	w.deliver()
	w.box.Refuse(0)
	w.wait(time.Minute)
	w.deliver()
	slot := fmt.Sprintf("%x", owner.version(1, 1).Slot)
	for _, text := range []string{w.log.String(), fmt.Sprint(w.box.Letters()), fmt.Sprint(w.hook.Posts())} {
		for _, canary := range []string{"canary", slot, string(secret), notify.FormatSecret(secret), notifytest.Password} {
			if strings.Contains(text, canary) {
				t.Errorf("%q is in %.2000s", canary, text)
			}
		}
	}
	for _, canary := range []string{"ada@example.test", w.hook.URL, notifytest.Password} {
		if strings.Contains(w.log.String(), canary) {
			t.Errorf("%q is in the log", canary)
		}
	}
	// What is delivered leaves neither address nor text.
	for _, l := range w.box.Letters() {
		if !json.Valid([]byte(w.hook.Posts()[0].Body)) || l.To != "ada@example.test" {
			t.Error("the channels were mixed up")
		}
	}
}

// places makes a file that knows two networks.
func places(t *testing.T) *server.Places {
	t.Helper()
	tree := must(mmdbwriter.New(mmdbwriter.Options{DatabaseType: "Test-Country", RecordSize: 24, IncludeReservedNetworks: true}))
	for network, country := range map[string]string{"203.0.113.0/24": "DE", "198.51.100.0/24": "NZ", "2001:db8::/32": "IS", "192.0.2.128/25": "\r\n", "192.0.2.64/26": "is"} {
		_, n, err := net.ParseCIDR(network)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(n, mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String(country)}}); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "places.mmdb")
	f := must(os.Create(file))
	if _, err := tree.WriteTo(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	p := must(server.OpenPlaces(file))
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestPlaces(t *testing.T) {
	p := places(t)
	for address, want := range map[string]string{
		"203.0.113.7:1234": "DE", "203.0.113.7": "DE", "[::ffff:203.0.113.7]:1": "DE", "[2001:db8::1]:80": "IS",
		"192.0.2.1:1": "", "192.0.2.129": "", "192.0.2.65": "", "127.0.0.1:1": "", "nowhere": "", "": "",
	} {
		if got := p.Country(address); got != want {
			t.Errorf("%s is in %q, want %q", address, got, want)
		}
	}
	if got := (*server.Places)(nil).Country("203.0.113.7:1"); got != "" {
		t.Errorf("no file knows %q", got)
	}
	if _, err := server.OpenPlaces(filepath.Join(t.TempDir(), "none.mmdb")); err == nil {
		t.Error("a file that is not there opens")
	}
}

func TestOrigins(t *testing.T) {
	w := newAlarmed(t)
	configure := w.configure
	w.configure = func(c *server.Config) { configure(c); c.Places = places(t) }
	w.restart()
	owner, _ := w.family()
	owner.store(1, 1, "one")
	secret := random(notify.SecretSize)
	w.ok(owner.set(&apiv1.AlarmSettings{Webhook: w.hook.URL, WebhookSecret: secret}))
	w.hears(owner, secret, notify.AlarmsChanged)
	d := owner.first()
	reveal := func(address string) {
		t.Helper()
		c := must(client.New(&http.Client{Transport: from{w.server.Handler(), address}}, "http://localhost", w.keys.SignKey(), rand.Reader, w.clock))
		w.wait(12 * time.Hour)
		_, _, err := c.Reveal(t.Context(), d.identity(), &apiv1.RevealRequest{Slots: []*apiv1.SlotVersion{owner.version(1, 1)}, Purpose: api.PurposeGet}, d.confirms(apiv1.Confirmation_KEY_CONFIRM))
		w.ok(err)
	}
	reveal("203.0.113.7:1234")
	reveal("203.0.113.99:1234")
	w.hears(owner, secret)
	reveal("198.51.100.4:1234")
	if got := w.hears(owner, secret, notify.OriginNew)[0]; got.Country != "NZ" || got.Address != "198.51.100.4" || got.Device != 1 {
		t.Errorf("a new country: %+v", got)
	}
	reveal("198.51.100.4:1234")
	reveal("192.0.2.1:1")
	w.hears(owner, secret)
	// Whoever asks for a recovery makes no country known.
	for range 2 {
		w.wait(15 * time.Minute)
		w.ok(w.recover(owner).startFrom(w.server.Handler(), "[2001:db8::7]:1"))
		for _, got := range w.hears(owner, secret, notify.OriginNew, notify.RecoveryRequested) {
			if got.Country != "IS" || got.Address != "2001:db8::/64" {
				t.Errorf("a recovery from afar: %+v", got)
			}
		}
	}
}

// TestWornOutDevice lets one device use up what it may: the other still reveals,
// and locks it.
func TestWornOutDevice(t *testing.T) {
	w := newWorld(t)
	owner, _ := w.family()
	owner.store(1, 1, "one")
	second := owner.addDevice()
	var err error
	for range 20 {
		_, err = owner.reveal(second, owner.version(1, 1), second.confirms(apiv1.Confirmation_KEY_CONFIRM))
	}
	w.refused(err, api.ErrRateLimited)
	d := owner.first()
	_, err = owner.reveal(d, owner.version(1, 1), second.confirms(apiv1.Confirmation_KEY_SIGN))
	w.ok(err)
	owner.add(&recordv1.DeviceLocked{Device: second.number})
	n := w.recover(owner)
	_, err = n.start()
	w.ok(err)
	owner.add(&recordv1.RecoveryVetoed{Request: n.id()})
}
