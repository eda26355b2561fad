package systemtest

import (
	"context"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/device"
)

// shownIn is the newest head that a contact proved with its share of an epoch, by
// the owner's list of contacts, 0 if it has not.
func (p *person) shownIn(epoch uint64, c *person) uint64 {
	p.w.t.Helper()
	list, err := p.Contacts(context.Background())
	if err != nil {
		p.w.t.Fatal(explained(err))
	}
	for _, contact := range list.Contacts {
		if contact.Epoch == epoch && contact.Name == c.name {
			return contact.ProvedHead
		}
	}
	p.w.t.Fatalf("the list has no %s in epoch %d", c.name, epoch)
	return 0
}

// While an epoch is prepared a contact holds two shares, and proves both.
func TestBothSharesAreProvedDuringARotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, contacts := w.household("ann")
	ann.rotate(device.RotateOptions{})
	bob := contacts[0]
	bob.sync() // gets the share of epoch 2
	if s := ann.sync(); len(s.Receipts) != 1 || len(s.Committed) != 0 {
		t.Fatalf("%+v", s)
	}
	for range 2 { // the second head and the second proofs take the place of the first
		w.wait(time.Hour)
		ann.add("site", "secret")
		ann.sync()
		bob.sync()
	}
	ann.sync()
	for epoch := uint64(1); epoch <= 2; epoch++ {
		if head := ann.Head().Sequence; ann.shownIn(epoch, bob) != head {
			t.Errorf("the share of epoch %d is proved for head %d of %d", epoch, ann.shownIn(epoch, bob), head)
		}
	}
}
