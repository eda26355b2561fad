package systemtest

import (
	"context"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/ledger"
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

// A device that was added after a contact got its share speaks to the contact from
// then on: through the entry that added it, also when the device that the contact
// knew is gone, and the next epoch is its own.
func TestADeviceThatCameLaterSpeaksToContacts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, contacts := w.household("ann")
	syncAll(contacts...)
	second := w.secondDevice(ann)
	third := w.further("tablet", second, ann)
	ann.close()

	third.add("site", "secret")
	third.sync()
	for _, c := range contacts {
		if r := c.sync(); len(r.Notes) != 0 {
			t.Errorf("%s: notes %q", c.name, r.Notes)
		}
	}
	third.sync()
	for _, c := range contacts {
		if head := third.Head().Sequence; third.shownIn(1, c) != head {
			t.Errorf("%s proves its share for head %d of %d", c.name, third.shownIn(1, c), head)
		}
	}

	// The laptop is lost. Contacts know none but it from their envelopes.
	ctx := context.Background()
	withConfirms(t, func() {
		if _, err := third.LockDevice(ctx, 1); err != nil {
			t.Fatal(explained(err))
		}
		if _, err := third.RevokeDevice(ctx, 1); err != nil {
			t.Fatal(explained(err))
		}
		third.rotate(device.RotateOptions{})
	}, second)
	for _, c := range contacts {
		if r := c.sync(); len(r.Held) != 1 || len(r.Notes) != 0 {
			t.Errorf("%s holds %q, notes %q", c.name, r.Held, r.Notes)
		}
	}
	if r := third.sync(); len(r.Committed) != 1 {
		t.Fatalf("%+v", r)
	}
	syncAll(contacts...)
	for _, c := range contacts {
		if got := c.epochs(third); !slices.Equal(got, []uint64{2}) {
			t.Errorf("%s keeps epochs %v", c.name, got)
		}
	}

	// What contacts were shown by it counts in a recovery.
	third.close()
	second.close()
	_, h, fin := w.recovered("ann", contacts[1:]...)
	h.wantItems(t, map[string]string{"site": "secret"})
	if len(fin.Discarded) != 0 {
		t.Errorf("discarded %q", fin.Discarded)
	}
}

// signs returns an entry with a record as the device's next one, which nobody has
// endorsed.
func (th *thief) signs(record proto.Message) []byte {
	th.w.t.Helper()
	b, err := ledger.NewRecord(record)
	must(th.w.t, err)
	account := th.keys.Account
	draft := ledger.Draft{Account: &account, Previous: th.state.Head(), Time: th.w.now(), Author: th.keys.Device, Records: [][]byte{b}}
	e, err := draft.Sign(th.keys.Sign)
	must(th.w.t, err)
	return e.Bytes()
}

// A device that was stolen, and has no second factor, makes an entry that adds
// another one. The server relays nothing of that one, and the contacts' approvals
// name heads that count.
func TestAThiefIntroducesNoDevice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, contacts := w.household("ann")
	syncAll(contacts...)
	th := w.thiefOf(ann)
	invented := key(t)
	head := th.state.Head()
	introduction := th.signs(&recordv1.DeviceAdded{
		Device: 2,
		Keys: &recordv1.DeviceKeys{
			SignKey: invented.PublicKey().Bytes(), SealKey: key(t).PublicKey().Bytes(), ConfirmKey: key(t).PublicKey().Bytes(),
			Generation: 1, SealedName: random(t, 100),
		},
		Generations: []*recordv1.GenerationKeys{{Number: 1, MetadataKey: random(t, 81), DeviceShareKey: random(t, 81)}},
		SeedShares:  []*recordv1.SealedToEpoch{{Epoch: 1, Sealed: random(t, 150)}},
	})
	answer, err := th.server.Attest(context.Background(), th.identity(), &apiv1.AttestRequest{Nonce: random(t, 16)})
	must(t, err)
	byNobody, err := ledger.NewAttestation(&recordv1.Attestation{
		Account: th.keys.Account[:], Epoch: 1, Sequence: head.Sequence, Head: head.Hash[:], Nonce: random(t, 16),
		Time: uint64(w.now().Add(time.Minute).UnixMilli()), Holder: &recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: 2},
	}, invented)
	must(t, err)
	body, err := canonical.Marshal(&recordv1.OwnerHead{
		Head: &recordv1.ProvedHead{Device: byNobody, Server: answer.Attestation}, Introductions: [][]byte{introduction},
	})
	must(t, err)
	for _, c := range contacts {
		th.sendsNoHead(c, body)
	}
}
