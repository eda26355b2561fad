package systemtest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/ledger"
)

// A lost device is locked, and after the waiting period revoked; what is written
// then it never opens, and what it had it opens until a new epoch commits.
func TestLostDevice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, contacts := w.household("ann")
	ann.add("read there", "one")
	ann.add("untouched", "two")
	lost := w.further("phone", ann)
	withConfirms(t, func() { lost.wantSecret("read there", "one") }, ann)
	lost.add("made there", "three")
	ctx := context.Background()
	ann.sync()

	if _, err := ann.RevokeDevice(ctx, 2); err == nil {
		t.Fatal("revoked although nobody else confirms it")
	} else {
		wantCode(t, err, device.CodeUsage)
	}
	info, err := ann.LockDevice(ctx, 2)
	if err != nil || info.Status != ledger.Locked || info.ChangedBy != 1 {
		t.Fatalf("%+v, %v", info, err)
	}
	_, err = lost.Sync(ctx)
	wantCode(t, err, device.CodeRefused)
	if !errors.Is(err, api.ErrDeviceLocked) || !strings.Contains(err.Error(), "by device 1") {
		t.Fatal(err)
	}
	if all := lost.devices(); all[1].Status != ledger.Active || !all[1].SaidLocked || all[0].SaidLocked {
		t.Errorf("the locked device lists %+v", all)
	}
	if _, err = lost.LockDevice(ctx, 1); !errors.Is(err, api.ErrDeviceLocked) {
		t.Fatal(err)
	}
	_, err = ann.RevokeDevice(ctx, 2)
	wantCode(t, err, device.CodeNotYet)
	if !strings.Contains(err.Error(), "from "+w.now().Add(waiting).Local().Format(time.DateOnly)) {
		t.Errorf("it does not say when: %v", err)
	}
	if !info.Confirms.Equal(info.Changed.Add(waiting)) {
		t.Errorf("locking says that this device confirms from %s", info.Confirms)
	}
	ann.noConfirmPassphrase()
	for doing, try := range map[string]func() error{
		"get":    func() error { return ann.get("untouched") },
		"export": func() error { _, _, err := ann.Export(ctx); return err },
	} {
		err := try()
		wantCode(t, err, device.CodeNotYet)
		if !strings.Contains(err.Error(), "confirms by itself from "+info.Confirms.Local().Format(time.DateTime)) {
			t.Errorf("%s: %v", doing, err)
		}
	}
	ann.openWith(w.options())
	w.wait(waiting)
	if info, err = ann.RevokeDevice(ctx, 2); err != nil || info.Status != ledger.Revoked || info.Opens != 3 {
		t.Fatalf("%+v, %v", info, err)
	}
	s, err := ann.Suspects(ctx, 2) // without a sync: it asks for the newest of the log itself
	if err != nil {
		t.Fatal(explained(err))
	}
	var order []string
	for _, e := range s.Secrets {
		order = append(order, e.Metadata.Title+" "+e.Why.String())
	}
	if !slices.Equal(order, []string{"read there revealed", "made there written", "untouched opens"}) || s.Opens != 3 || !strings.Contains(s.Until, "rotate") {
		t.Errorf("%v, %+v", order, s)
	}
	if warned := strings.Join(ann.status().Warnings, "\n"); !strings.Contains(warned, "device 2, which was revoked, still opens 3 secrets") {
		t.Errorf("status: %s", warned)
	}
	ann.rotate(device.RotateOptions{})
	syncAll(contacts...)
	if r := ann.sync(); len(r.Committed) != 1 {
		t.Fatalf("%+v", r)
	}
	if s, err = ann.Suspects(ctx, 2); err != nil || s.Opens != 0 || s.Until != "" || ann.devices()[1].Opens != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	ann.wantSecret("made there", "three")
}

// A device that was locked and unlocked gets what it missed.
func TestUnlock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann", nil)
	second := w.further("phone", ann)
	third := w.further("tablet", ann, second)
	ctx := context.Background()
	syncAll(ann, second)
	if _, err := ann.LockDevice(ctx, 3); err != nil {
		t.Fatal(explained(err))
	}
	if _, err := third.Sync(ctx); !errors.Is(err, api.ErrDeviceLocked) {
		t.Fatal(err)
	}
	withConfirms(t, func() { ann.rotate(device.RotateOptions{}) }, second) // a share that it misses
	ann.add("meanwhile", "secret")
	withConfirms(t, func() {
		if info, err := ann.UnlockDevice(ctx, 3); err != nil || info.Status != ledger.Active {
			t.Fatalf("%+v, %v", info, err)
		}
	}, second)
	third.sync()
	withConfirms(t, func() { third.wantSecret("meanwhile", "secret") }, second)
	if r, err := third.VerifyLedger(ctx); err != nil || !r.OK() {
		t.Errorf("%+v, %v", r, err)
	}
}

// A thief with an unlocked device, and even its confirm passphrase, locks the
// others; then nothing goes on before the waiting period, and a recovery does not
// wait for any lock.
func TestThiefLocksTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, contacts := w.household("ann")
	ann.add("site", "secret")
	stolen := w.further("phone", ann)
	ctx := context.Background()
	if _, err := stolen.LockDevice(ctx, 1); err != nil {
		t.Fatal(explained(err))
	}
	j := w.startJoin(stolen, func(o *device.Options, _ *device.JoinOptions) {})
	for doing, try := range map[string]func() error{
		"add": func() error {
			_, err := stolen.ApproveDevice(ctx, device.ApproveDeviceOptions{Phrase: j.shown.Phrases.Device})
			return err
		},
		"unlock": func() error { _, err := stolen.UnlockDevice(ctx, 1); return err },
		"revoke": func() error { _, err := stolen.RevokeDevice(ctx, 1); return err },
		"rename": func() error { _, err := stolen.RenameDevice(ctx, 1, "mine"); return err },
		"reveal": func() error { _, err := stolen.Get(ctx, "site"); return err },
		"rotate": func() error { _, err := stolen.Rotate(ctx, device.RotateOptions{}); return err },
	} {
		if err := try(); err == nil {
			t.Errorf("%s: at once", doing)
		} else {
			wantCode(t, err, device.CodeNotYet)
		}
	}
	w.wait(api.JoinLife + time.Minute) // the new one gives up
	<-j.done
	wantCode(t, j.err, device.CodeNotYet)

	_, h, _ := w.recovered("ann", contacts[0], contacts[1])
	h.wantItems(t, map[string]string{"site": "secret"})
	if _, err := stolen.Sync(ctx); !errors.Is(err, device.ErrRevoked) {
		t.Fatal(err)
	}
}

// A device that is locked while others still confirm what it asked for gets
// nothing.
func TestLockedWhileAsking(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann", nil)
	second := w.further("phone", ann)
	third := w.further("tablet", ann, second)
	syncAll(ann, second)
	ctx := context.Background()
	failed := make(chan error, 1)
	go func() {
		_, err := third.RevokeDevice(ctx, 1)
		failed <- err
	}()
	var item device.PendingItem
	for item.ID == "" {
		all, err := second.Pending(ctx)
		if err != nil {
			t.Fatal(explained(err))
		}
		if len(all) == 1 {
			item = all[0]
		}
		time.Sleep(20 * time.Millisecond)
	}
	if _, err := ann.LockDevice(ctx, 3); err != nil {
		t.Fatal(explained(err))
	}
	if _, err := second.ConfirmPending(ctx, item.ID); err == nil {
		t.Error("what a locked device asked was confirmed")
	}
	if err := <-failed; err == nil {
		t.Error("a locked device revoked another one")
	}
	ann.sync()
	if all := ann.devices(); all[0].Status != ledger.Active || all[2].Status != ledger.Locked {
		t.Errorf("%+v", all)
	}
}

// The owner whose other device is locked adds a new one when the waiting period has
// passed, and the locked one endorses nothing.
func TestAddWhileTheOtherIsLocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann", nil)
	w.further("phone", ann)
	ctx := context.Background()
	if _, err := ann.LockDevice(ctx, 2); err != nil {
		t.Fatal(explained(err))
	}
	_, err := ann.ApproveDevice(ctx, device.ApproveDeviceOptions{Phrase: "of nobody"})
	wantCode(t, err, device.CodeNotYet)
	w.wait(waiting)
	third := w.further("tablet", ann)
	if all := third.devices(); len(all) != 3 || all[1].Status != ledger.Locked || all[2].Status != ledger.Active {
		t.Errorf("%+v", all)
	}
}
