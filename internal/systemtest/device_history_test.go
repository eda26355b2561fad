package systemtest

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/device"
)

// A server restored from an older copy gets back what it lost: entries, server
// shares, and the account itself.
func TestARestoredServerEndsComplete(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	empty := w.backup()
	ann, _ := w.household("ann")
	ann.add("early", "one")
	ann.sync()
	old := w.backup()
	ann.add("late", "two")
	id := ann.add("gone", "three").ID
	if err := ann.Delete(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := ann.Edit(context.Background(), mustFind(t, ann.Device, "early").ID, login("early", "changed")); err != nil {
		t.Fatal(err)
	}
	head := ann.Head()
	for _, copied := range []struct {
		name string
		data []byte
	}{{"older", old}, {"empty", empty}} {
		name := copied.name
		w.restore(copied.data)
		w.wait(time.Hour)
		if name == "older" {
			ann.add("after "+name, "four") // finds out by itself
			head.Sequence++
		}
		ann.sync()
		if ann.Head().Sequence != head.Sequence {
			t.Fatalf("%s: head %v, before %v", name, ann.Head(), head)
		}
		ann.wantSecret("late", "two")
		ann.wantSecret("early", "changed")
		ann.wantSecret("after older", "four")
		if v, err := ann.VerifyLedger(context.Background()); err != nil || !v.OK() || v.ServerHead != ann.Head() {
			t.Fatalf("%s: %+v, %v", name, v, err)
		}
	}
}

// A server that is recovered from after a restore has everything that the
// devices gave it back.
func TestRecoveryFromARestoredServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, contacts := w.household("ann")
	old := w.backup()
	ann.add("late", "two")
	w.restore(old)
	ann.sync()
	for _, c := range contacts {
		c.sync()
	}
	anew, started := w.newDevice("ann")
	w.approveAll(started.Phrase, contacts[:2]...)
	w.wait(waiting + time.Minute)
	contacts[0].sync()
	contacts[1].sync()
	if h, _ := anew.finish(); h.password("late") != "two" {
		t.Fatalf("%d items", len(h.items))
	}
}

// fork makes a server show another history than the one that ann's device has:
// ann adds a secret that only her device knows of, and a copy of her device does
// something else.
func (w *world) fork(ann *person, other func(*person)) {
	w.t.Helper()
	data := w.backup()
	p := &person{w: w, name: "ann", dir: filepath.Join(w.t.TempDir(), "copy")}
	copyDir(w.t, ann.dir, p.dir)
	ann.add("mine", "only here")
	w.restore(data)
	p.reopen()
	other(p)
	p.close()
}

func TestAForkStopsTheDevice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann := w.person("ann", nil)
	ann.add("common", "to both")
	bob := w.person("bob", nil)
	w.fork(ann, func(p *person) { w.confirm(p, bob, w.accept(p, bob).OwnPhrase) })

	_, err := ann.Sync(ctx)
	if !errors.Is(err, device.ErrFork) {
		t.Fatalf("%v", err)
	}
	wantCode(t, err, device.CodeDishonest)
	ann.reopen()
	_, err = ann.Add(ctx, login("more", "x"))
	wantCode(t, err, device.CodeDishonest)
	_, err = ann.Get(ctx, "common")
	wantCode(t, err, device.CodeDishonest)
	st, err := ann.Status(ctx)
	if err != nil || !st.Fork || st.Recoverable || !strings.Contains(strings.Join(st.Warnings, "\n"), "evidence") {
		t.Fatalf("%+v, %v", st, err)
	}

	r, err := ann.FollowServer(ctx)
	if err != nil || r.Again != 1 || len(r.Rest) != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	ann.sync()
	for title, want := range map[string]string{"common": "to both", "mine": "only here"} {
		ann.wantSecret(title, want)
	}
	st, err = ann.Status(ctx)
	if err != nil || st.Fork {
		t.Fatalf("%+v, %v", st, err)
	}
	if list, err := ann.Contacts(ctx); err != nil || len(list.Contacts) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	_, err = ann.FollowServer(ctx)
	wantCode(t, err, device.CodeUsage)

	// What the server's history has taken the place of is listed, not lost in
	// silence.
	w.fork(ann, func(p *person) { p.add("theirs", "on the server") })
	_, err = ann.Sync(ctx)
	wantCode(t, err, device.CodeDishonest)
	r, err = ann.FollowServer(ctx)
	if err != nil || r.Again != 0 || len(r.Rest) != 1 || !strings.Contains(r.Rest[0], `"mine`) {
		t.Fatalf("%+v, %v", r, err)
	}
	ann.wantSecret("theirs", "on the server")
}

// A new device refuses a ledger that lacks a head that a contact proves, unless
// the owner insists.
func TestANewDeviceRefusesAShortenedLedger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann, contacts := w.household("ann")
	ann.add("early", "one")
	ann.sync()
	data := w.backup()
	ann.add("late", "two")
	ann.sync()
	for _, c := range contacts {
		c.sync() // is shown the newest head
	}
	ann.close()
	w.restore(data)
	anew, started := w.newDevice("ann")
	w.approveAll(started.Phrase, contacts[:2]...)
	w.wait(waiting + time.Minute)
	contacts[0].sync()
	contacts[1].sync()
	h := &handed{}
	_, err := anew.RecoverFinish(ctx, device.FinishOptions{HandOver: h.take})
	if !errors.Is(err, device.ErrMissingHead) || h.calls != 0 {
		t.Fatalf("%v, %d calls", err, h.calls)
	}
	wantCode(t, err, device.CodeDishonest)
	r, err := anew.RecoverFinish(ctx, device.FinishOptions{HandOver: h.take, Insist: true})
	if err != nil || len(r.Gap) == 0 || h.password("early") != "one" || len(h.items) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
}

// Two new devices ask; the first recovers, the second cannot with what it was
// approved for, and can by a new request.
func TestTwoRecoveriesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann, contacts := w.household("ann")
	ann.add("site", "secret")
	ann.sync()
	ann.close()
	first, one := w.newDevice("ann")
	second, two := w.newDevice("ann")
	for _, c := range contacts[:2] {
		for _, phrase := range []string{one.Phrase, two.Phrase} {
			all, err := c.Requests(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range all {
				if r.Phrase != phrase {
					continue
				}
				if _, err := c.Approve(ctx, device.ApproveOptions{Request: r.ID.String(), Phrase: phrase}); err != nil {
					t.Fatal(explained(err))
				}
			}
		}
	}
	w.wait(waiting + time.Minute)
	contacts[0].sync()
	contacts[1].sync()
	first.finish()
	_, err := second.RecoverFinish(ctx, device.FinishOptions{})
	wantCode(t, err, device.CodeRefused)
	first.wantSecret("site", "secret")

	second.close()
	third, three := w.newDevice("ann")
	w.approveAll(three.Phrase, contacts[:2]...)
	w.wait(waiting + time.Minute)
	contacts[0].sync()
	contacts[1].sync()
	if h, r := third.finish(); h.password("site") != "secret" || r.Device != 3 {
		t.Fatalf("%+v", r)
	}
	for _, c := range contacts {
		c.sync()
	}
	third.sync()
	if st, err := third.Status(ctx); err != nil || !st.Recoverable || st.Epoch != 3 {
		t.Fatalf("%+v, %v", st, err)
	}
}
