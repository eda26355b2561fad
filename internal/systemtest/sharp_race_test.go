package systemtest

import (
	"context"
	"fmt"
	"testing"

	"zeropass.dev/zeropass/internal/device"
)

// A stolen device that writes whenever it can does not keep the new one from
// taking over.
func TestAThiefDoesNotOutrunTheTakeOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, contacts := w.family("ann", "bob")
	w.befriend(owner, contacts...)
	owner.add("site", "secret")
	fresh, _ := w.approved(owner, contacts...)
	h, written := &handed{}, 0
	_, err := fresh.RecoverFinish(context.Background(), device.FinishOptions{HandOver: func(items []device.Item, lost []device.LostItem) error {
		r, err := owner.Add(context.Background(), login(fmt.Sprintf("junk %d", h.calls), "x"))
		if err == nil && r.Accepted {
			written++
		}
		return h.take(items, lost)
	}})
	if err != nil {
		t.Fatal(explained(err))
	}
	if written != 1 || h.calls != 2 || h.password("site") != "secret" {
		t.Errorf("%d entries came between, %d calls", written, h.calls)
	}
	w.wantWhole(fresh, contacts, map[string]string{"site": "secret", "junk 0": "x"})
}
