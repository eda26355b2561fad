package systemtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// confirmed does something that the other device confirms, which must succeed.
func (w *world) confirmed(other *person, do func() error) {
	w.t.Helper()
	var err error
	withConfirms(w.t, func() { err = do() }, other)
	if err != nil {
		w.t.Fatal(explained(err))
	}
}

// waits begins something that waits for another device, and returns what that
// one sees, and the end.
func (w *world) waits(other *person, do func() error) (*device.PendingItem, <-chan error) {
	w.t.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	for range 1000 {
		select {
		case err := <-done:
			w.t.Fatalf("it did not wait: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
		items, err := other.Pending(context.Background())
		if err != nil {
			w.t.Fatal(explained(err))
		}
		for _, item := range items {
			if !item.Own && !item.Done {
				return &item, done
			}
		}
	}
	w.t.Fatal("nothing waits")
	return nil, nil
}

func (p *person) get(title string) error {
	_, err := p.Get(context.Background(), title)
	return err
}

func (p *person) confirmPending(id string) {
	p.w.t.Helper()
	if _, err := p.ConfirmPending(context.Background(), id); err != nil {
		p.w.t.Fatal(explained(err))
	}
}

func (p *person) nothingWaits() {
	p.w.t.Helper()
	if items, err := p.Pending(context.Background()); err != nil || len(items) > 0 {
		p.w.t.Fatalf("%+v, %v", items, err)
	}
}

// twoDevices is an account on a laptop and a phone, with one secret.
func (w *world) twoDevices() (laptop, phone *person) {
	w.t.Helper()
	laptop = w.person("ann", nil)
	laptop.add("Bank", "one")
	phone = w.further("phone", laptop)
	return laptop, phone
}

func TestAnotherDeviceConfirmsAReveal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, phone := w.twoDevices()

	item, done := w.waits(phone, func() error { return laptop.get("bank") })
	if !slices.Equal(item.What, []string{`see "Bank (ann)"`}) || item.Device != 1 || item.DeviceName != "first device" || item.Bulk || item.Cannot != "" || len(item.Look) > 0 {
		t.Errorf("%+v", item)
	}
	if left := item.Expires.Sub(w.now()); left < 4*time.Minute || left > 5*time.Minute {
		t.Errorf("expires in %s", left)
	}
	phone.confirmPending(item.ID[:8])
	if err := <-done; err != nil {
		t.Fatal(explained(err))
	}
	_, err := phone.ConfirmPending(ctx, item.ID)
	wantCode(t, err, device.CodeNotFound)
	phone.nothingWaits()

	// The other way round, and refused: the one that refused is named.
	item, done = w.waits(laptop, func() error { return phone.get("bank") })
	if item.Device != 2 || item.DeviceName != "phone" {
		t.Errorf("%+v", item)
	}
	if _, err := laptop.RefusePending(ctx, item.ID); err != nil {
		t.Fatal(explained(err))
	}
	err = <-done
	wantCode(t, err, device.CodeRefused)
	if !errors.Is(err, device.ErrUnconfirmed) || !strings.Contains(err.Error(), "device 1 (\"first device\") refused") {
		t.Error(err)
	}
	laptop.nothingWaits()
}

func TestAnExportIsConfirmedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, phone := w.twoDevices()
	var many []device.Item
	for range 1100 {
		many = append(many, login("site", "x"))
	}
	if r, err := laptop.Import(ctx, many); err != nil || !r.Accepted {
		t.Fatalf("%+v, %v", r, err)
	}
	var items []device.Item
	item, done := w.waits(phone, func() (err error) { items, _, err = laptop.Export(ctx); return err })
	for len(item.What) != 1 || item.What[0] != "see 1101 secrets at once (export)" { // all three requests have come
		all, err := phone.Pending(ctx)
		if err != nil || len(all) != 1 {
			t.Fatalf("%+v, %v", all, err)
		}
		old := item.ID
		if item = &all[0]; item.ID != old {
			if _, err := phone.ConfirmPending(ctx, old); err == nil {
				t.Fatal("what came after the look was confirmed unseen")
			}
		}
	}
	if !item.Bulk || len(item.Look) == 0 {
		t.Errorf("%+v", item)
	}
	phone.confirmPending("")
	if err := <-done; err != nil || len(items) != 1101 {
		t.Fatalf("%d items, %v", len(items), err)
	}
}

func TestNobodyConfirms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, phone := w.twoDevices()
	id := mustFind(t, laptop.Device, "bank").ID

	item, done := w.waits(phone, func() error { return laptop.get("bank") })
	w.wait(5*time.Minute + time.Second)
	err := <-done
	wantCode(t, err, device.CodeNotYet)
	if !errors.Is(err, device.ErrUnconfirmed) || !strings.Contains(explained(err), "zeropass confirm") {
		t.Error(explained(err))
	}
	_, err = phone.ConfirmPending(ctx, item.ID)
	wantCode(t, err, device.CodeNotFound)

	// A change stays on the device, and a sync by itself asks nobody.
	var stored *device.AddResult
	_, done = w.waits(phone, func() (err error) { stored, err = laptop.Edit(ctx, id, login("Bank", "two")); return err })
	w.wait(5*time.Minute + time.Second)
	if err := <-done; err != nil || stored.Accepted || !errors.Is(stored.Cause, device.ErrUnconfirmed) {
		t.Fatalf("%+v, %v", stored, err)
	}
	wantCode(t, stored.Cause, device.CodeNotYet)
	if r := laptop.sync(); r.Unconfirmed != 1 || r.Sent != 0 || !strings.Contains(strings.Join(r.Notes, "\n"), "zeropass sync --wait") {
		t.Fatalf("%+v", r)
	}
	phone.nothingWaits()
	if r := laptop.add("new", "x"); !r.Accepted { // does not wait for the other
		t.Fatalf("%+v", r)
	}
	var synced *device.SyncResult
	w.confirmed(phone, func() (err error) { synced, err = laptop.SyncAndWait(ctx); return err })
	if synced.Sent != 1 || synced.Unconfirmed != 0 {
		t.Fatalf("%+v", synced)
	}
	phone.sync()
	w.confirmed(laptop, func() error { phone.wantSecret("bank", "two"); return nil })
}

func TestWithdrawn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	laptop, phone := w.twoDevices()
	id := mustFind(t, laptop.Device, "bank").ID
	for name, do := range map[string]func(context.Context) error{
		"reveal": func(ctx context.Context) error { _, err := laptop.Get(ctx, "bank"); return err },
		"delete": func(ctx context.Context) error { return laptop.Delete(ctx, id) },
	} {
		ctx, stop := context.WithCancel(context.Background())
		item, done := w.waits(phone, func() error { return do(ctx) })
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		phone.nothingWaits()
		_, err := phone.ConfirmPending(context.Background(), item.ID)
		wantCode(t, err, device.CodeNotFound)
	}
	laptop.sync()
	w.confirmed(phone, func() error { laptop.wantSecret("bank", "one"); return nil })
}

// What needs the second factor on an account with two devices, each described for
// the one who confirms.
func TestAnotherDeviceConfirmsChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, phone := w.twoDevices()
	bob, cy := w.person("bob", nil), w.person("cy", nil)
	id := mustFind(t, laptop.Device, "bank").ID
	accepted := map[string]*device.AcceptResult{"bob": w.accept(laptop, bob), "cy": w.accept(laptop, cy)}
	laptop.sync()
	bind := func(c *person) error {
		_, err := laptop.Confirm(ctx, device.ConfirmOptions{Contact: c.name, Phrase: accepted[c.name].OwnPhrase})
		return err
	}
	for _, c := range []struct {
		name string
		do   func() error
		what string
		look string
	}{
		{"edit", func() error { _, err := laptop.Edit(ctx, id, login("Savings", "two")); return err }, `change "Bank (ann)" to version 2, called "Savings (ann)"`, ""},
		{"policy", func() error { _, err := laptop.SetPolicy(ctx, device.Policy{RevealsPerHour: 10}); return err }, "10 requests for secrets in an hour", ""},
		{"weaker policy", func() error { _, err := laptop.SetPolicy(ctx, device.Policy{RevealsPerDay: 100000}); return err }, "100000 in a day", "limits become higher"},
		{"contact", func() error { return bind(bob) }, accepted["bob"].OwnPhrase, "eight words"},
		{"another contact", func() error { return bind(cy) }, accepted["cy"].OwnPhrase, "eight words"},
		{"delete", func() error { return laptop.Delete(ctx, id) }, `delete "Savings (ann)"`, ""},
	} {
		item, done := w.waits(phone, c.do)
		if what := strings.Join(item.What, "\n"); !strings.Contains(what, c.what) || item.Cannot != "" {
			t.Errorf("%s: %q, %s", c.name, what, item.Cannot)
		}
		if look := strings.Join(item.Look, "\n"); (look == "") != (c.look == "") || !strings.Contains(look, c.look) {
			t.Errorf("%s: %q", c.name, look)
		}
		phone.confirmPending("")
		if err := <-done; err != nil {
			t.Fatalf("%s: %s", c.name, explained(err))
		}
	}
	if all, err := laptop.List(""); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	syncAll(bob, cy, laptop, phone)
	if !laptop.status().Recoverable {
		t.Error("not recoverable")
	}
}

func TestRotateWithTwoDevices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, phone := w.twoDevices()
	bob, cy := w.person("bob", nil), w.person("cy", nil)
	w.confirmed(phone, func() error { w.befriend(laptop, bob, cy); return nil })
	phone.sync()
	item, done := w.waits(phone, func() error {
		_, err := laptop.Rotate(ctx, device.RotateOptions{WaitingPeriod: 24 * time.Hour})
		return err
	})
	if what := strings.Join(item.What, "\n"); !strings.Contains(what, "prepare epoch 2 with a new seed: 2 of 3 contacts") ||
		!strings.Contains(what, "as a contact that you have") || !strings.Contains(strings.Join(item.Look, "\n"), "waiting period becomes shorter") {
		t.Errorf("%+v", item)
	}
	w.confirmed(phone, func() error { return <-done })
	syncAll(bob, cy)
	laptop.sync()
	w.wait(73 * time.Hour)
	laptop.sync()
	phone.sync()
	if e := phone.status().Epoch; e != 2 {
		t.Errorf("epoch %d", e)
	}
	w.confirmed(laptop, func() error { phone.wantSecret("bank", "one"); return nil })
}

// A device that is locked while it is asked for confirms nothing, whatever it has
// signed.
func TestConfirmedByADeviceThatIsLockedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, phone := w.twoDevices()
	tablet := w.further("tablet", laptop, phone)
	phone.sync()
	id := mustFind(t, laptop.Device, "bank").ID
	item, done := w.waits(tablet, func() error { return laptop.Delete(ctx, id) })
	if _, err := phone.LockDevice(ctx, 3); err != nil {
		t.Fatal(explained(err))
	}
	if _, err := tablet.ConfirmPending(ctx, item.ID); err == nil {
		t.Error("a locked device confirmed")
	}
	if err := <-done; err == nil {
		t.Error("deleted although the device list changed")
	}
	w.confirmed(phone, func() error { laptop.wantSecret("bank", "one"); return nil })
}

// What is about something that another device changed meanwhile does not go into
// the ledger, and nothing is lost.
func TestTheSubjectChangesWhileItWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, phone := w.twoDevices()
	tablet := w.further("tablet", laptop, phone)
	phone.sync()
	id := mustFind(t, laptop.Device, "bank").ID
	var stored *device.AddResult
	_, done := w.waits(phone, func() (err error) { stored, err = laptop.Edit(ctx, id, login("Bank", "laptop's")); return err })
	var theirs *device.AddResult
	item, second := w.waits(phone, func() (err error) { theirs, err = tablet.Edit(ctx, id, login("Bank", "tablet's")); return err })
	for item.Device != 3 { // the oldest is the first
		items, err := phone.Pending(ctx)
		if err != nil {
			t.Fatal(explained(err))
		}
		item = &items[len(items)-1]
	}
	phone.confirmPending(item.ID)
	if err := <-second; err != nil || !theirs.Accepted {
		t.Fatalf("%+v, %v", theirs, err)
	}
	if err := <-done; err != nil || stored.Accepted || stored.Cause == nil {
		t.Fatalf("%+v, %v", stored, err)
	}
	if text := explained(stored.Cause); !strings.Contains(text, "changed") {
		t.Error(text)
	}
	// It follows the other one's change when it is asked for again.
	w.confirmed(phone, func() error { _, err := laptop.SyncAndWait(ctx); return err })
	w.confirmed(phone, func() error { laptop.wantSecret("bank", "laptop's"); return nil })
}

// Two devices that wait for each other confirm each other.
func TestTwoDevicesAskAtTheSameTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	laptop, phone := w.twoDevices()
	laptop.add("Mail", "two")
	phone.sync()
	helping := func(own **device.Device) device.Options {
		o := w.options()
		o.Waiting = func(device.Waiting) {
			for range 1000 {
				items, err := (*own).Pending(context.Background())
				if err != nil {
					t.Error(explained(err))
					return
				}
				for _, item := range items {
					if item.Own {
						continue
					}
					if _, err := (*own).ConfirmPending(context.Background(), item.ID); err != nil {
						t.Error(explained(err))
					}
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			t.Error("the other device did not ask")
		}
		return o
	}
	done := make(chan error, 2)
	bank := mustFind(t, laptop.Device, "bank").ID
	for p, do := range map[*person]func(p *person) error{
		laptop: func(p *person) error { return p.Delete(context.Background(), bank) },
		phone:  func(p *person) error { return p.get("mail") },
	} {
		p.close()
		d, err := device.Open(context.Background(), p.dir, []byte(passphrase), helping(&p.Device))
		if err != nil {
			t.Fatal(explained(err))
		}
		p.Device = d
		go func() { done <- do(p) }()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(explained(err))
		}
	}
	phone.sync()
	if _, err := phone.Find("bank"); err == nil {
		t.Error("not deleted")
	}
}

// What others do meanwhile does not cost what was confirmed, as long as it is about
// something else.
func TestAnotherEntryComesBetween(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	laptop, phone := w.twoDevices()
	id := mustFind(t, laptop.Device, "bank").ID
	item, done := w.waits(phone, func() error { return laptop.Delete(context.Background(), id) })
	var before ledger.Head
	phone.add("Mail", "two")
	before = phone.Head()
	phone.confirmPending(item.ID)
	if err := <-done; err != nil {
		t.Fatal(explained(err))
	}
	if laptop.Head().Sequence != before.Sequence+1 {
		t.Errorf("%v after %v", laptop.Head(), before)
	}
	phone.nothingWaits()
}

// liar opens a device at a server that lies about what waits.
func (w *world) liar(p *person, change func([]*apiv1.Waiting) []*apiv1.Waiting) {
	w.t.Helper()
	lie(p, apiv1connect.ServerServicePendingProcedure, func(a *apiv1.PendingAnswer) { a.Waiting = change(a.Waiting) })
}

// What the server shows to whoever confirms is what the other device signed, or it
// is refused.
func TestAServerThatLiesAboutWhatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, phone := w.twoDevices()
	laptop.add("Mail", "two")
	phone.sync()
	bank, mail := mustFind(t, laptop.Device, "bank").ID, mustFind(t, laptop.Device, "mail").ID
	var seen *apiv1.Waiting
	w.liar(phone, func(all []*apiv1.Waiting) []*apiv1.Waiting {
		if len(all) > 0 {
			seen = proto.CloneOf(all[0])
		}
		return all
	})
	stopped, stop := context.WithCancel(ctx)
	defer stop()
	item, done := w.waits(phone, func() error { _, err := laptop.Get(stopped, "bank"); return err })
	stranger, err := signing.GenerateKey(rand.Reader)
	must(t, err)
	account := laptop.Account()
	invented := func(device uint64) *apiv1.Waiting {
		request, _, err := api.NewRequest(apiv1connect.ServerServiceRevealProcedure, w.keys.SignKey(),
			api.Identity{Account: &account, Device: device, Key: stranger},
			&apiv1.RevealRequest{Purpose: api.PurposeGet, Slots: []*apiv1.SlotVersion{{Slot: mail[:], Version: 1, Epoch: 1}}}, w.now(), rand.Reader)
		must(t, err)
		return &apiv1.Waiting{Request: request, Received: seen.Received, Expires: seen.Expires}
	}
	for name, lie := range map[string]func() *apiv1.Waiting{
		"another slot": func() *apiv1.Waiting {
			w := proto.CloneOf(seen)
			w.Request.Body = bytes.Replace(w.Request.Body, bank[:], mail[:], 1)
			return w
		},
		"another time": func() *apiv1.Waiting {
			w := proto.CloneOf(seen)
			w.Request.Header[len(w.Request.Header)-1] ^= 1
			return w
		},
		"no header":                    func() *apiv1.Waiting { w := proto.CloneOf(seen); w.Request.Header = nil; return w },
		"no request":                   func() *apiv1.Waiting { return &apiv1.Waiting{} },
		"in the name of a device":      func() *apiv1.Waiting { return invented(1) },
		"in the name of the asked one": func() *apiv1.Waiting { return invented(2) },
	} {
		shown := lie()
		w.liar(phone, func([]*apiv1.Waiting) []*apiv1.Waiting {
			return []*apiv1.Waiting{proto.CloneOf(shown), proto.CloneOf(seen)}
		})
		items, err := phone.Pending(ctx)
		if err != nil || len(items) != 2 {
			t.Fatalf("%s: %+v, %v", name, items, err)
		}
		if bad := items[0]; !bad.Dishonest || bad.Cannot == "" || len(bad.Look) != 1 || bad.Own || items[1].Dishonest || items[1].Cannot != "" {
			t.Errorf("%s: %+v", name, items)
		}
		if items[0].ID != items[1].ID {
			_, err = phone.ConfirmPending(ctx, items[0].ID)
			wantCode(t, err, device.CodeRefused)
		}
	}
	// By a newer program: nothing is known of it, and nobody lies.
	w.liar(phone, func([]*apiv1.Waiting) []*apiv1.Waiting {
		newer := proto.CloneOf(seen)
		newer.Request.Header = append(newer.Request.Header, 0xf8, 0x07, 1)
		return []*apiv1.Waiting{newer, proto.CloneOf(seen)}
	})
	if items, err := phone.Pending(ctx); err != nil || len(items) != 2 || items[0].Cannot == "" || items[1].Cannot != "" {
		t.Errorf("%+v, %v", items, err)
	}
	// Of a device that nobody added: shown, and not to be confirmed.
	w.liar(phone, func([]*apiv1.Waiting) []*apiv1.Waiting { return []*apiv1.Waiting{invented(7)} })
	if items, err := phone.Pending(ctx); err != nil || len(items) != 1 || items[0].Cannot == "" {
		t.Errorf("%+v, %v", items, err)
	}

	// One that was answered is not answered again, and an old one never.
	w.liar(phone, func([]*apiv1.Waiting) []*apiv1.Waiting { return []*apiv1.Waiting{proto.CloneOf(seen)} })
	phone.confirmPending(item.ID)
	if err := <-done; err != nil {
		t.Fatal(explained(err))
	}
	_, err = phone.ConfirmPending(ctx, item.ID)
	wantCode(t, err, device.CodeRefused)
	w.wait(time.Hour)
	items, err := phone.Pending(ctx)
	if err != nil || len(items) != 1 || !items[0].Done || !strings.Contains(items[0].Cannot, "another time") {
		t.Errorf("%+v, %v", items, err)
	}
}

// A slot that is not in the own ledger has no title, and is not confirmed.
func TestAnUnknownSlotIsNotConfirmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, phone := w.twoDevices()
	th := w.thiefOf(laptop)
	var waiting []*apiv1.Waiting
	w.liar(phone, func([]*apiv1.Waiting) []*apiv1.Waiting { return waiting })
	reveal := func(purpose string, slots ...*apiv1.SlotVersion) *apiv1.Waiting {
		request, _, err := api.NewRequest(apiv1connect.ServerServiceRevealProcedure, w.keys.SignKey(), th.identity(),
			&apiv1.RevealRequest{Purpose: purpose, Slots: slots}, w.now(), rand.Reader)
		must(t, err)
		return &apiv1.Waiting{Request: request, Expires: uint64(w.now().Add(time.Hour).UnixMilli())}
	}
	bank := mustFind(t, laptop.Device, "bank").ID
	known := &apiv1.SlotVersion{Slot: bank[:], Version: 1, Epoch: 1}
	for name, lie := range map[string]*apiv1.Waiting{
		"unknown slot":    reveal(api.PurposeGet, &apiv1.SlotVersion{Slot: make([]byte, 16), Version: 1, Epoch: 1}),
		"unknown version": reveal(api.PurposeGet, &apiv1.SlotVersion{Slot: bank[:], Version: 2, Epoch: 1}),
		"unknown epoch":   reveal(api.PurposeGet, &apiv1.SlotVersion{Slot: bank[:], Version: 1, Epoch: 2}),
		"one of two":      reveal(api.PurposeExport, known, &apiv1.SlotVersion{Slot: make([]byte, 16), Version: 1, Epoch: 1}),
	} {
		waiting = []*apiv1.Waiting{lie}
		items, err := phone.Pending(ctx)
		if err != nil || len(items) != 1 || !strings.Contains(items[0].Cannot, "not in this device's ledger") {
			t.Errorf("%s: %+v, %v", name, items, err)
			continue
		}
		if left := items[0].Expires.Sub(w.now()); left > 8*time.Minute {
			t.Errorf("%s: it would wait for %s", name, left)
		}
		_, err = phone.ConfirmPending(ctx, items[0].ID)
		wantCode(t, err, device.CodeRefused)
	}
	// Many in one single get are many.
	waiting = []*apiv1.Waiting{reveal("get", known, known)}
	if items, err := phone.Pending(ctx); err != nil || len(items) != 1 || !items[0].Bulk || len(items[0].Look) == 0 {
		t.Errorf("%+v, %v", items, err)
	}
}
