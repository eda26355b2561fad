package systemtest

import (
	"context"
	"slices"
	"testing"
	"time"
)

// lacking counts the server shares that a device ought to keep and does not.
func (p *person) lacking() (lacking, kept int) {
	p.w.t.Helper()
	th := p.w.thiefOf(p)
	for _, r := range th.state.RequiredShares() {
		if th.home.HasServerShare(r.ShareID) {
			kept++
		} else {
			lacking++
		}
	}
	return lacking, kept
}

// A device that was added later keeps the server's shares as well, and those that
// another device has written since. When the first device is gone and the server
// is restored from a copy that is older than all of it, that is enough.
func TestADeviceThatCameLaterCompletesARestoredServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann, contacts := w.household("ann")
	ann.add("early", "one")
	old := w.backup()
	ann.add("late", "two")
	second := w.secondDevice(ann)
	if lacking, kept := second.lacking(); lacking != 0 || kept < 3 {
		t.Fatalf("the new device keeps %d shares and lacks %d", kept, lacking)
	}
	ann.add("later still", "three")
	second.sync()
	if lacking, _ := second.lacking(); lacking != 0 {
		t.Fatalf("the new device lacks %d shares that another one wrote", lacking)
	}
	ann.close()

	w.restore(old)
	w.wait(time.Hour)
	second.sync()
	if v, err := second.VerifyLedger(ctx); err != nil || !v.OK() || v.ServerHead != second.Head() {
		t.Fatalf("%+v, %v", v, err)
	}
	if _, err := second.LockDevice(ctx, 1); err != nil {
		t.Fatal(explained(err))
	}
	w.wait(waiting + time.Hour)
	want := map[string]string{"early": "one", "late": "two", "later still": "three"}
	for title, password := range want {
		second.wantSecret(title, password)
	}
	second.close()
	_, h, _ := w.recovered("ann", contacts[:2]...)
	h.wantItems(t, want)
}

// A device keeps what it has sealed itself, and does not ask for it again.
func TestADeviceKeepsTheSharesThatItHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann", nil)
	ann.add("site", "secret")
	sealed := func() (all []string) {
		th := w.thiefOf(ann)
		for _, r := range th.state.RequiredShares() {
			s, err := th.home.ServerShare(r.ShareID)
			must(t, err)
			all = append(all, string(s.Sealed))
		}
		return all
	}
	before := sealed()
	ann.sync()
	if !slices.Equal(before, sealed()) {
		t.Error("shares that the device sealed itself were replaced")
	}
}
