package server_test

import (
	"strings"
	"testing"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
)

// named is a share's name as a device asks for it.
func named(id ledger.ShareID) *recordv1.SealedServerShare {
	s := &recordv1.SealedServerShare{Kind: id.Kind, Epoch: id.Epoch, Version: id.Version, Member: id.Member}
	if id.Kind == recordv1.SealedServerShare_KIND_SLOT {
		s.Slot = id.Slot[:]
	}
	return s
}

// A device gets the shares that the ledger requires, sealed to the server, and
// nothing else.
func TestSealedShares(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	owner.store(1, 1, "one")
	owner.store(2, 1, "two")
	second := owner.addDevice()
	var asked []*recordv1.SealedServerShare
	required := owner.state.RequiredShares()
	for _, r := range required {
		asked = append(asked, named(r.ShareID))
	}
	unknown := named(ledger.ShareID{Kind: recordv1.SealedServerShare_KIND_SLOT, Epoch: 1, Slot: ledger.SlotID{9}, Version: 1})
	old := named(ledger.ShareID{Kind: recordv1.SealedServerShare_KIND_SLOT, Epoch: 1, Slot: ledger.SlotID{1}, Version: 7})
	answer, err := w.client().SealedShares(t.Context(), second.identity(), append(asked, unknown, old))
	w.ok(err)
	if len(required) < 3 || len(answer.Shares) != len(required) || answer.Dealt != uint64(len(required)+2) {
		t.Fatalf("of %d shares it gives %d, and dealt with %d", len(required), len(answer.Shares), answer.Dealt)
	}
	want := map[ledger.ShareID]bool{}
	for _, r := range required {
		want[r.ShareID] = true
	}
	for _, given := range answer.Shares {
		id, err := ledger.SealedShareID(given)
		if err != nil || !want[id] || len(given.Sealed) == 0 {
			t.Errorf("it gives %v, %v", given, err)
		}
		delete(want, id)
	}
	// What it gives it takes back.
	w.ok(owner.send(second, nil, answer.Shares))

	if answer, err := w.client().SealedShares(t.Context(), second.identity(), nil); err != nil || answer.Dealt != 0 || len(answer.Shares) != 0 {
		t.Errorf("of nothing it gives %v, %v", answer, err)
	}
	_, err = w.client().SealedShares(t.Context(), second.identity(), make([]*recordv1.SealedServerShare, api.MaxSealedShares+1))
	w.refused(err, api.ErrTooLarge)
	_, err = w.client().SealedShares(t.Context(), second.identity(), []*recordv1.SealedServerShare{{Kind: recordv1.SealedServerShare_KIND_SLOT}})
	w.refused(err, api.ErrMalformed)
	// Another account has none of these, and a device that is not in the ledger asks in vain.
	answer, err = w.client().SealedShares(t.Context(), contacts[0].first().identity(), asked)
	w.ok(err)
	for _, s := range answer.Shares {
		if s.Kind == recordv1.SealedServerShare_KIND_SLOT {
			t.Error("a contact gets a share of the owner's slot")
		}
	}
	_, err = w.client().SealedShares(t.Context(), owner.newDevice().identity(), asked)
	w.refused(err, api.ErrUnknownDevice)
	owner.add(&recordv1.DeviceLocked{Device: second.number})
	_, err = w.client().SealedShares(t.Context(), second.identity(), asked)
	w.refused(err, api.ErrDeviceLocked)
}

// Large shares come in pages, and the device asks again for what is left.
func TestSealedSharesInPages(t *testing.T) {
	w := newWorld(t)
	owner, _ := w.family()
	var asked []*recordv1.SealedServerShare
	for slot := range byte(4) {
		owner.store(slot+1, 1, strings.Repeat("large ", 500<<10))
	}
	for _, r := range owner.state.RequiredShares() {
		asked = append(asked, named(r.ShareID))
	}
	given, pages := 0, 0
	for len(asked) > 0 {
		answer, err := w.client().SealedShares(t.Context(), owner.first().identity(), asked)
		w.ok(err)
		size := 0
		for _, s := range answer.Shares {
			size += len(s.Sealed)
		}
		if answer.Dealt == 0 || answer.Dealt > uint64(len(asked)) || size > 2*api.PageSize {
			t.Fatalf("%d shares of %d bytes, dealt with %d of %d", len(answer.Shares), size, answer.Dealt, len(asked))
		}
		asked = asked[answer.Dealt:]
		given += len(answer.Shares)
		pages++
	}
	if want := len(owner.state.RequiredShares()); given != want || pages < 2 {
		t.Errorf("%d of %d shares in %d pages", given, want, pages)
	}
}
