package device

import (
	"context"
	"errors"
	"testing"

	"zeropass.dev/zeropass/credential"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/recovery"
)

// A contact believes the inviting device first, then the devices of its newest
// whole share under their own numbers, and none that went before.
func TestWhomAContactBelieves(t *testing.T) {
	o := newOwner(t)
	o.devices[2] = newKey(t)
	d := contactDevice(t, o)
	first, second := o.devices[1].PublicKey().Bytes(), o.devices[2].PublicKey().Bytes()
	envelope := func(epoch, device uint64) *recordv1.ShareEnvelope {
		return must[*recordv1.ShareEnvelope](t)(recovery.ParseEnvelope(o.envelope(epoch, device, nil, nil)))
	}
	wants := func(when string, number uint64, key []byte, want bool) {
		t.Helper()
		book, err := d.owners()
		if err != nil {
			t.Fatal(err)
		}
		if got := book.get(o.account).trusts(number, key); got != want {
			t.Errorf("%s: device %d is believed: %v, want %v", when, number, got, want)
		}
	}
	wants("before an invitation", 1, first, false)
	if err := d.trustOwner(o.account, "owner", first); err != nil {
		t.Fatal(err)
	}
	wants("after the invitation", 1, first, true)
	wants("after the invitation", 2, second, false)
	if err := d.followOwner(o.account, "owner", envelope(1, 1)); err != nil {
		t.Fatal(err)
	}
	wants("in epoch 1", 1, first, true)
	wants("in epoch 1, under another number", 2, first, false)
	if err := d.followOwner(o.account, "owner", envelope(2, 2)); err != nil {
		t.Fatal(err)
	}
	wants("in epoch 2", 2, second, true)
	wants("in epoch 2, revoked", 1, first, false)
	if err := d.followOwner(o.account, "owner", envelope(1, 1)); err != nil {
		t.Fatal(err)
	}
	wants("after an envelope of the past", 1, first, false)
	wants("after an envelope of the past", 2, second, true)
}

// A thief on the owner's device sends an envelope that no server's half fits. The
// half waits, and fits the owner's own envelope when that comes.
func TestAThiefsEnvelopeDoesNotCostTheShare(t *testing.T) {
	o := newOwner(t)
	d := contactDevice(t, o)
	if err := d.trustOwner(o.account, "owner", o.devices[1].PublicKey().Bytes()); err != nil {
		t.Fatal(err)
	}
	h := o.split(d)
	deal := func(kind apiv1.Message_Kind, body []byte) error {
		return d.deal(context.Background(), &apiv1.Message{Kind: kind, Body: body}, &SyncResult{})
	}
	bogus := h.envelope(func(e *recordv1.ShareEnvelope) { e.ServerHalfHash = make([]byte, 32) })
	if err := deal(apiv1.Message_KIND_SHARE_ENVELOPE, bogus); err != nil {
		t.Fatal(err)
	}
	half := h.server(o.server, nil)
	if err := deal(apiv1.Message_KIND_SERVER_HALF, half); !errors.Is(err, errLater) {
		t.Fatalf("the server's half with the thief's envelope: %v, want that it waits", err)
	}
	// As if the owner's envelope came, and the device's half in it did not open yet.
	if err := d.home.PutHeld(&recordv1.StoredShare{Envelope: h.envelope(nil), Owner: "owner"}); err != nil {
		t.Fatal(err)
	}
	if err := deal(apiv1.Message_KIND_SERVER_HALF, half); err != nil {
		t.Fatal(err)
	}
	kept, err := d.held(home.HeldID{Account: o.account, Epoch: 1, Member: 1})
	if err != nil || kept == nil {
		t.Fatalf("nothing is kept, %v", err)
	}
	if string(kept.ServerHalf) != string(h.shares.Share(credential.Server)) {
		t.Error("the server's half is lost")
	}
}
