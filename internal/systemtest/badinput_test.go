package systemtest

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// A server that shows an activity log which is not the one that it had shown, or
// that nobody's device has asked for, is found out, and told from an honest one.
func TestActivityThatIsNotTrue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, phone := w.twoDevices()
	phone.sync()
	last := func(entries [][]byte) *ledger.Activity {
		a, err := ledger.ParseActivity(entries[len(entries)-1])
		must(t, err)
		return a
	}
	laptop.add("more", "x")
	w.confirmed(phone, func() error { return laptop.get("more") })
	laptop.sync()
	shownTo := func(p *person) []device.ActivityEntry {
		all, err := p.Activity(ctx)
		must(t, err)
		return all
	}
	before := len(shownTo(phone))
	for _, c := range []struct {
		name     string
		lie      func(*apiv1.ActivityLogAnswer)
		note     string
		evidence bool
	}{
		{"its end is withheld", func(a *apiv1.ActivityLogAnswer) {
			a.Entries, a.Sequence, a.Head = nil, 1, make([]byte, 32)
		}, "activity follow-server", true},
		{"an entry is left out", func(a *apiv1.ActivityLogAnswer) { a.Entries = slices.Delete(a.Entries, 1, 2) }, "rewrites it", true},
		{"two entries are exchanged", func(a *apiv1.ActivityLogAnswer) {
			a.Entries[0], a.Entries[1] = a.Entries[1], a.Entries[0]
		}, "rewrites it", true},
		{"an entry is changed", func(a *apiv1.ActivityLogAnswer) { a.Entries[0][len(a.Entries[0])-1] ^= 1 }, "rewrites it", true},
		{"it ends otherwise", func(a *apiv1.ActivityLogAnswer) {
			a.Entries, a.Sequence, a.Head = nil, uint64(before), make([]byte, 32)
		}, "rewrites it", true},
	} {
		lie(phone, apiv1connect.ServerServiceActivityLogProcedure, c.lie)
		if notes := strings.Join(phone.sync().Notes, "\n"); !strings.Contains(notes, c.note) {
			t.Errorf("%s: %q", c.name, notes)
		}
		kept, err := phone.ActivityEvidence()
		if err != nil || (len(kept) > 0) != c.evidence {
			t.Errorf("%s: evidence %q, %v", c.name, kept, err)
		}
		if n := len(shownTo(phone)); n != before {
			t.Fatalf("%s: the device took %d entries over", c.name, n-before)
		}
		phone.reopen()
		for _, name := range kept {
			must(t, os.Remove(filepath.Join(phone.dir, "evidence", name)))
		}
	}

	// A log from which a reveal was left out from the start is whole by itself: the
	// device that asked knows better.
	laptop.sync()
	known, err := laptop.ActivityEvidence()
	must(t, err)
	w.confirmed(phone, func() error { return laptop.get("bank") })
	lie(laptop, apiv1connect.ServerServiceActivityLogProcedure, func(a *apiv1.ActivityLogAnswer) {
		var previous *ledger.Activity
		all := slices.DeleteFunc(a.Entries, func(b []byte) bool {
			e, err := ledger.ParseActivity(b)
			must(t, err)
			request, _, err := api.ParseLogged(e.Request())
			must(t, err)
			return request.Header.Procedure == apiv1connect.ServerServiceRevealProcedure && len(request.Confirmations()) > 0
		})
		a.Entries = nil
		mine, err := laptop.Activity(ctx)
		must(t, err)
		previous, err = ledger.ParseActivity(mine[len(mine)-1].Exact)
		must(t, err)
		for _, b := range all {
			e, err := ledger.ParseActivity(b)
			must(t, err)
			next, err := ledger.NewActivity(laptop.Account(), previous.End(), e.Time(), e.Request(), [32]byte{})
			must(t, err)
			hash := next.Hash()
			a.Entries, a.Sequence, a.Head, previous = append(a.Entries, next.Bytes()), next.Sequence(), hash[:], next
		}
	})
	if notes := strings.Join(laptop.sync().Notes, "\n"); !strings.Contains(notes, "lacks 1 reveal of this device") {
		t.Errorf("a reveal was left out: %q", notes)
	}
	if warnings := strings.Join(laptop.status().Warnings, "\n"); !strings.Contains(warnings, "lacks 1 reveal of this device") {
		t.Errorf("a reveal was left out: %q", warnings)
	}
	if now, err := laptop.ActivityEvidence(); err != nil || len(now) != len(known) {
		t.Errorf("evidence of a log that goes on: %q, %v", now, err)
	}
	laptop.reopen()

	// What it invents has a request that no device of the account signed.
	phone.sync()
	if all := shownTo(phone); len(all) <= before || slices.ContainsFunc(all, func(e device.ActivityEntry) bool { return strings.Contains(e.Text, "nobody signed") }) {
		t.Fatalf("%d entries, %d before", len(all), before)
	}
	before = len(shownTo(phone))
	bank, account := mustFind(t, phone.Device, "bank").ID, phone.Account()
	stranger, err := signing.GenerateKey(rand.Reader)
	must(t, err)
	reveal := func(key *signing.PrivateKey) *apiv1.SignedRequest {
		request, _, err := api.NewRequest(apiv1connect.ServerServiceRevealProcedure, w.keys.SignKey(), api.Identity{Account: &account, Device: 1, Key: key},
			&apiv1.RevealRequest{Purpose: api.PurposeGet, Slots: []*apiv1.SlotVersion{{Slot: bank[:], Version: 1, Epoch: 1}}}, w.now(), rand.Reader)
		must(t, err)
		return request
	}
	unsigned := reveal(stranger)
	unsigned.Signature = make([]byte, 64)
	laptop.add("one entry at least", "x")
	lie(phone, apiv1connect.ServerServiceActivityLogProcedure, func(a *apiv1.ActivityLogAnswer) {
		if len(a.Entries) == 0 {
			return
		}
		for _, request := range []*apiv1.SignedRequest{reveal(stranger), unsigned} {
			parsed, err := api.ParseRequest(apiv1connect.ServerServiceRevealProcedure, request)
			if err != nil { // as it would be written by a server that does not look
				parsed, err = api.ParseRequest(apiv1connect.ServerServiceRevealProcedure, reveal(stranger))
				must(t, err)
			}
			logged, err := api.LoggedRequest(parsed)
			must(t, err)
			if request == unsigned {
				logged[len(logged)-1] ^= 1
			}
			next, err := ledger.NewActivity(account, last(a.Entries).End(), w.now().Add(time.Second), logged, [32]byte{})
			must(t, err)
			hash := next.Hash()
			a.Entries, a.Sequence, a.Head = append(a.Entries, next.Bytes()), next.Sequence(), hash[:]
		}
	})
	phone.sync()
	all := shownTo(phone)
	if len(all) < before+3 {
		t.Fatalf("%d entries, %d before", len(all), before)
	}
	for i, want := range []string{"does not know the key that signed it", "nobody signed"} {
		if e := all[len(all)-2+i]; !e.Alarm || !strings.Contains(e.Text, want) {
			t.Errorf("an invented entry is shown as %+v", e)
		}
	}
}

// A device whose clock is an hour off is told so, before anybody is asked, confirms
// nothing meanwhile, and loses nothing.
func TestClocksAnHourApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, phone := w.twoDevices()
	off := func(p *person, by time.Duration) {
		o := w.options()
		o.Now = func() time.Time { return w.now().Add(by) }
		p.openWith(o)
	}
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		off(laptop, by)
		err := laptop.get("bank")
		if !errors.Is(err, api.ErrClock) || !strings.Contains(explained(err), "clock") {
			t.Errorf("asked with %v: %v", by, err)
		}
		phone.nothingWaits()
		stored, err := laptop.Add(ctx, login("meanwhile", "kept"))
		if err != nil || stored.Accepted || !errors.Is(stored.Cause, api.ErrClock) {
			t.Errorf("added with %v: %+v, %v", by, stored, err)
		}
		laptop.reopen()
		laptop.sync()

		item, done := w.waits(phone, func() error { return laptop.get("bank") })
		off(phone, by)
		_, err = phone.ConfirmPending(ctx, item.ID)
		if !errors.Is(err, api.ErrClock) || !strings.Contains(explained(err), "clock") {
			t.Errorf("confirmed with %v: %v", by, err)
		}
		phone.reopen()
		phone.confirmPending(item.ID)
		if err := <-done; err != nil {
			t.Fatal(explained(err))
		}
	}
	if all, err := laptop.List("meanwhile"); err != nil || len(all) != 2 {
		t.Errorf("%v, %v", all, err)
	}
}

// A thief has an unlocked device of two, and even its confirm passphrase. While the
// other one is active its owner is asked, and refuses; when the thief has locked
// it, nothing of that counts before the waiting period.
func TestAThiefWithOneOfTwoDevices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann, contacts := w.household("ann")
	ann.add("site", "secret")
	stolen := w.further("phone", ann)
	syncAll(contacts...)
	syncAll(ann, stolen)
	asking, stop := context.WithCancel(ctx)
	defer stop()
	phrase := w.joinIn(asking, stolen, filepath.Join(t.TempDir(), "eves"), nil).shown.Phrases.Device
	tries := []struct {
		name, look string
		try        func() error
	}{
		{"adds a device", "both phrases must be the same", func() error {
			_, err := stolen.ApproveDevice(ctx, device.ApproveDeviceOptions{Phrase: phrase})
			return err
		}},
		{"shortens the waiting period", "waiting period becomes shorter", func() error {
			_, err := stolen.Rotate(ctx, device.RotateOptions{WaitingPeriod: time.Hour})
			return err
		}},
		{"takes contacts away", "", func() error {
			_, err := stolen.Rotate(ctx, device.RotateOptions{Quorum: 1, Members: 1})
			return err
		}},
		{"prints a sheet", "sheet", func() error {
			_, err := stolen.Rotate(ctx, device.RotateOptions{Printed: yes()})
			return err
		}},
		{"replaces a contact", "", func() error { _, err := stolen.Replace(ctx, contacts[0].name); return err }},
		{"raises the limits", "limits become higher", func() error {
			_, err := stolen.SetPolicy(ctx, device.Policy{RevealsPerDay: 100000})
			return err
		}},
		{"sees a secret", "", func() error { return stolen.get("site") }},
		{"sees all secrets", "has all of them", func() error { _, _, err := stolen.Export(ctx); return err }},
	}
	head := ann.Head()
	for _, c := range tries {
		item, done := w.waits(ann, c.try)
		if look := strings.Join(append(item.What, item.Look...), "\n"); !strings.Contains(look, c.look) {
			t.Errorf("a thief %s: the owner is told %q", c.name, look)
		}
		if _, err := ann.RefusePending(ctx, item.ID); err != nil {
			t.Fatal(explained(err))
		}
		err := <-done
		if !errors.Is(err, device.ErrUnconfirmed) {
			t.Errorf("a thief %s: %v", c.name, err)
		}
		wantCode(t, err, device.CodeRefused)
	}
	if ann.sync(); ann.Head() != head {
		t.Error("something of that stands in the ledger")
	}
	if _, err := stolen.PrintSheet(ctx); err == nil {
		t.Error("a sheet is printed of an epoch that has none")
	}

	if _, err := stolen.Invite(ctx, "eve"); err == nil {
		t.Error("a contact is invited although all shares are given out")
	}

	if _, err := stolen.LockDevice(ctx, 1); err != nil {
		t.Fatal(explained(err))
	}
	for _, c := range tries {
		err := c.try()
		if err == nil {
			t.Errorf("a thief who locked the other device %s", c.name)
			continue
		}
		wantCode(t, err, device.CodeNotYet)
	}
	if _, err := ann.Sync(ctx); !errors.Is(err, api.ErrDeviceLocked) {
		t.Error(err)
	}
	_, h, _ := w.recovered("ann", contacts[0], contacts[1])
	h.wantItems(t, map[string]string{"site": "secret"})
}

// A tricked owner confirms everything. The waiting period still stands between: the
// owner can lock the thief out, and the contacts bring everything back by the old
// rules.
func TestATrickedSecondFactorStillWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann, contacts := w.household("ann")
	ann.add("site", "secret")
	stolen := w.further("phone", ann)
	syncAll(contacts...)
	syncAll(ann, stolen)
	eve := w.person("eve", nil)
	stillTheOld := func() {
		t.Helper()
		w.wait(waiting - time.Hour)
		if r := stolen.sync(); len(r.Committed) != 0 {
			t.Fatalf("%+v", r)
		}
		ann.sync()
		if st := ann.status(); st.Epoch != 1 || !st.Recoverable || st.WaitingPeriod != waiting || st.Next == nil {
			t.Errorf("%+v", st)
		}
	}
	w.confirmed(ann, func() error { _, err := stolen.Replace(ctx, contacts[0].name); return err })
	accepted := w.accept(stolen, eve)
	w.confirmed(ann, func() error {
		_, err := stolen.Confirm(ctx, device.ConfirmOptions{Contact: "eve", Phrase: accepted.OwnPhrase})
		return err
	})
	syncAll(eve, contacts[1], contacts[2])
	stillTheOld()
	w.confirmed(ann, func() error {
		_, err := stolen.Rotate(ctx, device.RotateOptions{Quorum: 1, Members: 1, WaitingPeriod: time.Hour, Printed: yes()})
		return err
	})
	printed, err := stolen.PrintSheet(ctx)
	if err != nil {
		t.Fatal(explained(err))
	}
	if _, err := stolen.ConfirmSheet(ctx, printed.Words); err != nil {
		t.Fatal(explained(err))
	}
	syncAll(contacts...)
	stillTheOld()
	if _, err := ann.LockDevice(ctx, 2); err != nil {
		t.Fatal(explained(err))
	}
	if _, err := stolen.Sync(ctx); !errors.Is(err, api.ErrDeviceLocked) {
		t.Error(err)
	}
}

// What the server says of a recovery's waiting period is not what a contact goes
// by: its share leaves when the period in its envelope is over, counted from when
// it saw the request.
func TestAServerThatStatesAShorterPeriod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, contacts := w.household("ann")
	syncAll(contacts...)
	bob := contacts[0]
	fresh, started := w.newDevice("ann")
	lie(bob, apiv1connect.ServerServiceRecoveriesProcedure, func(a *apiv1.RecoveriesAnswer) {
		for _, r := range a.Recoveries {
			r.Started, r.Ends, r.Approvals = uint64(w.now().Add(-30*day).UnixMilli()), uint64(w.now().Add(-27*day).UnixMilli()), 1
		}
	})
	seen := w.request(bob)
	if left := seen.Due.Sub(w.now()); left < waiting-time.Minute || left > waiting {
		t.Errorf("due in %v", left)
	}
	if r := w.approve(bob, started.Phrase); r.Sent {
		t.Error("the share has left at once")
	}
	w.wait(waiting - time.Minute)
	bob.sync()
	if n := w.approvals(fresh); n != 0 {
		t.Errorf("%d approvals have left", n)
	}
	held, err := bob.Held(context.Background())
	if err != nil || held[0].Words != "" {
		t.Errorf("the words are shown, %v", err)
	}
	w.wait(2 * time.Minute)
	bob.sync()
	if n := w.approvals(fresh); n != 1 {
		t.Errorf("%d approvals", n)
	}
}

// A server that leads whoever recovers to another account gets nothing for it: the
// right contacts are asked for nothing, and those of the other account, who hear
// the words of somebody whom they do not know, are shown the other account's name.
func TestAServerSwapsTheAccountThatIsRecovered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, friends := w.household("ann")
	eve, accomplices := w.household("eve")
	syncAll(friends...)
	syncAll(accomplices...)
	other := eve.Account()
	p := &person{w: w, name: "ann", dir: filepath.Join(t.TempDir(), "ann")}
	d, started, err := device.RecoverStart(context.Background(), modify(w, apiv1connect.ServerServiceStartRecoveryProcedure, func(a *apiv1.StartRecoveryAnswer) {
		a.Account = other[:]
		if a.Recovery != nil {
			a.Recovery.Name = "ann"
		}
	}), device.RecoverOptions{
		Dir: p.dir, ServerURL: w.url(), Name: "ann", UnlockCost: 1,
		Passphrase: []byte(passphrase), ConfirmPassphrase: []byte(confirmPassphrase),
	})
	if err != nil {
		t.Fatal(explained(err))
	}
	p.Device = d
	t.Cleanup(p.close)
	if started.Account != other || started.Account == ann.Account() {
		t.Errorf("the new device does not say that it asks for %v", started.Account)
	}
	if all, err := friends[0].Requests(context.Background()); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	if seen := w.request(accomplices[0]); seen.Owner != "eve" || seen.Account != other {
		t.Errorf("%+v", seen)
	}
}
