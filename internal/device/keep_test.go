package device

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"

	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// halves are both halves of member 1's share of epoch 1, on their way to a
// contact's device.
type halves struct {
	o      *testOwner
	d      *Device
	shares *credential.Shares
}

func (o *testOwner) split(d *Device) *halves {
	o.t.Helper()
	shares, err := credential.Split(rand.Reader, o.epoch(1).share, credential.WaitingBinding(o.account, 1, 1, 1))
	if err != nil {
		o.t.Fatal(err)
	}
	return &halves{o, d, shares}
}

func (h *halves) sealed(party credential.Party, to *hpke.PublicKey, half []byte) *recordv1.SealedHalf {
	h.o.t.Helper()
	place := credential.ContactHalf{Account: h.o.account, Epoch: 1, Member: 1, Contact: h.d.keys.Account, Party: party}
	if party == credential.Device {
		place.Device = 1
	}
	return must[*recordv1.SealedHalf](h.o.t)(place.Seal(rand.Reader, to, half))
}

// envelope is the owner's, with its half.
func (h *halves) envelope(change func(*recordv1.ShareEnvelope)) []byte {
	h.o.t.Helper()
	return h.o.envelope(1, 1, nil, func(e *recordv1.ShareEnvelope) {
		e.Contact = &recordv1.Contact{Account: h.d.keys.Account[:]}
		e.Tag = h.shares.Tag[:]
		e.DeviceHalfHash, e.ServerHalfHash = h.shares.Hash(credential.Device), h.shares.Hash(credential.Server)
		e.Halves = []*recordv1.SealedHalf{h.sealed(credential.Device, h.d.keys.Seal.PublicKey(), h.shares.Share(credential.Device))}
		if change != nil {
			change(e)
		}
	})
}

// server is the server's half, signed with a key.
func (h *halves) server(key *signing.PrivateKey, change func(*recordv1.ServerHalf)) []byte {
	h.o.t.Helper()
	half := &recordv1.ServerHalf{
		Account: h.o.account[:], Epoch: 1, Member: 1, Contact: h.d.keys.Account[:], ShareKey: h.o.epoch(1).key.PublicKey().Bytes(),
		Halves: []*recordv1.SealedHalf{h.sealed(credential.Server, h.d.keys.Seal.PublicKey(), h.shares.Share(credential.Server))},
	}
	if change != nil {
		change(half)
	}
	b := must[[]byte](h.o.t)(canonical.Marshal(half))
	return must[[]byte](h.o.t)(canonical.Marshal(&recordv1.SignedServerHalf{Half: b, Signature: key.Sign(signing.NewContext("server-half").Bytes(b))}))
}

func TestEnvelopesThatAContactRefuses(t *testing.T) {
	o := newOwner(t)
	o.devices[2] = newKey(t)
	d := contactDevice(t, o)
	if err := d.trustOwner(o.account, "owner", o.devices[1].PublicKey().Bytes()); err != nil {
		t.Fatal(err)
	}
	h := o.split(d)
	stranger := newOwner(t)
	stranger.server = o.server
	elsewhere := (&testOwner{t: t, account: o.account, server: newKey(t), devices: o.devices, epochs: o.epochs}).split(d)
	for _, tt := range []struct {
		name string
		body []byte
		want error
	}{
		{"of an account whose invitation was not accepted", stranger.split(d).envelope(nil), errWorthless},
		{"for somebody else", h.envelope(func(e *recordv1.ShareEnvelope) { e.Contact.Account = make([]byte, 32) }), errWorthless},
		{"at another server", elsewhere.envelope(nil), errWorthless},
		{"by a device that is not known", h.envelope(func(e *recordv1.ShareEnvelope) {
			e.Devices[0].SignKey = o.devices[2].PublicKey().Bytes()
		}), errWorthless}, // and not signed by it
		{"sealed to another device", h.envelope(func(e *recordv1.ShareEnvelope) { e.Halves[0].SealKey = e.ShareKey }), errWorthless},
		{"with the server's half", h.envelope(func(e *recordv1.ShareEnvelope) {
			e.Halves[0] = h.sealed(credential.Device, d.keys.Seal.PublicKey(), h.shares.Share(credential.Server))
		}), errWorthless},
		{"without halves", h.envelope(func(e *recordv1.ShareEnvelope) { e.Halves = nil }), errWorthless},
		{"garbage", []byte("garbage"), errWorthless},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := d.deal(context.Background(), &apiv1.Message{Kind: apiv1.Message_KIND_SHARE_ENVELOPE, Body: tt.body}, &SyncResult{})
			if !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if held, err := d.home.Held(); err != nil || len(held) != 0 {
				t.Errorf("%d shares are kept, %v", len(held), err)
			}
		})
	}
	t.Run("by a device that cannot be traced", func(t *testing.T) {
		o.devices[1], o.devices[2] = o.devices[2], o.devices[1]
		result := &SyncResult{}
		err := d.deal(context.Background(), &apiv1.Message{Kind: apiv1.Message_KIND_SHARE_ENVELOPE, Body: h.envelope(nil)}, result)
		if !errors.Is(err, errLater) || len(result.Notes) != 1 {
			t.Errorf("%v, notes %q", err, result.Notes)
		}
	})
}

func TestServerHalvesThatAContactRefuses(t *testing.T) {
	o := newOwner(t)
	d := contactDevice(t, o)
	h := o.split(d)
	message := func(body []byte) *apiv1.Message {
		return &apiv1.Message{Kind: apiv1.Message_KIND_SERVER_HALF, Body: body}
	}
	ctx := context.Background()
	if err := d.deal(ctx, message(h.server(o.server, nil)), &SyncResult{}); !errors.Is(err, errLater) {
		t.Fatalf("before the envelope: %v", err)
	}
	stored := &recordv1.StoredShare{Envelope: h.envelope(nil), Owner: "owner"}
	if err := d.home.PutHeld(stored); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		body []byte
		want error
	}{
		{"signed with another key", h.server(newKey(t), nil), errWorthless},
		{"for somebody else", h.server(o.server, func(s *recordv1.ServerHalf) { s.Contact = make([]byte, 32) }), errWorthless},
		{"of another share", h.server(o.server, func(s *recordv1.ServerHalf) { s.ShareKey = newKey(t).PublicKey().Bytes() }), errLater},
		{"of an unnamed share", h.server(o.server, func(s *recordv1.ServerHalf) { s.ShareKey = nil }), errLater},
		{"another value", h.server(o.server, func(s *recordv1.ServerHalf) {
			s.Halves[0] = h.sealed(credential.Server, d.keys.Seal.PublicKey(), h.shares.Share(credential.Device))
		}), errLater},
		{"sealed to another device", h.server(o.server, func(s *recordv1.ServerHalf) { s.Halves[0].SealKey = s.ShareKey }), errLater},
		{"garbage", []byte("garbage"), errWorthless},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := d.deal(ctx, message(tt.body), &SyncResult{}); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			kept, err := d.held(home.HeldID{Account: o.account, Epoch: 1, Member: 1})
			if err != nil || kept == nil || len(kept.ServerHalf) != 0 || len(kept.Share) != 0 {
				t.Errorf("something was kept, %v", err)
			}
		})
	}
	// The right one waits for the device's half and is kept until then.
	if err := d.deal(ctx, message(h.server(o.server, nil)), &SyncResult{}); err != nil {
		t.Fatal(err)
	}
	kept, err := d.held(home.HeldID{Account: o.account, Epoch: 1, Member: 1})
	if err != nil || string(kept.ServerHalf) != string(h.shares.Share(credential.Server)) {
		t.Errorf("the half is not kept, %v", err)
	}
}

func TestHeadsThatAContactRefuses(t *testing.T) {
	o := newOwner(t)
	o.devices[2] = newKey(t)
	d := contactDevice(t, o)
	if err := d.trustOwner(o.account, "owner", o.devices[1].PublicKey().Bytes()); err != nil {
		t.Fatal(err)
	}
	h := ledger.Hash{1}
	good := &recordv1.ProvedHead{Device: o.attestation(1, 1, 20, h), Server: o.attestation(0, 1, 20, h)}
	o.hold(d, 1, o.envelope(1, 1, nil, nil), good)
	otherServer := &testOwner{t: t, account: o.account, server: newKey(t)}
	stranger := newOwner(t)
	for _, tt := range []struct {
		name string
		head *recordv1.ProvedHead
	}{
		{"by an unknown device", &recordv1.ProvedHead{Device: o.attestation(2, 1, 30, h), Server: o.attestation(0, 1, 30, h)}},
		{"another server's", &recordv1.ProvedHead{Device: o.attestation(1, 1, 30, h), Server: otherServer.attestation(0, 1, 30, h)}},
		{"two different heads", &recordv1.ProvedHead{Device: o.attestation(1, 1, 30, h), Server: o.attestation(0, 1, 31, h)}},
		{"two different epochs", &recordv1.ProvedHead{Device: o.attestation(1, 2, 30, h), Server: o.attestation(0, 1, 30, h)}},
		{"the device twice", &recordv1.ProvedHead{Device: o.attestation(1, 1, 30, h), Server: o.attestation(1, 1, 30, h)}},
		{"the server alone", &recordv1.ProvedHead{Server: o.attestation(0, 1, 30, h)}},
		{"of an account that nobody knows here", &recordv1.ProvedHead{Device: stranger.attestation(1, 1, 30, h), Server: stranger.attestation(0, 1, 30, h)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := must[[]byte](t)(canonical.Marshal(&recordv1.OwnerHead{Head: tt.head}))
			if err := d.deal(context.Background(), &apiv1.Message{Kind: apiv1.Message_KIND_OWNER_HEAD, Body: body}, &SyncResult{}); !errors.Is(err, errWorthless) {
				t.Errorf("%v", err)
			}
			kept, err := d.held(home.HeldID{Account: o.account, Epoch: 1, Member: 1})
			if err != nil || string(kept.HeadDevice) != string(good.Device) {
				t.Errorf("the head was replaced, %v", err)
			}
		})
	}
	t.Run("an older one", func(t *testing.T) {
		body := must[[]byte](t)(canonical.Marshal(&recordv1.OwnerHead{Head: &recordv1.ProvedHead{Device: o.attestation(1, 1, 10, h), Server: o.attestation(0, 1, 10, h)}}))
		if err := d.deal(context.Background(), &apiv1.Message{Kind: apiv1.Message_KIND_OWNER_HEAD, Body: body}, &SyncResult{}); err != nil {
			t.Error(err)
		}
		kept, err := d.held(home.HeldID{Account: o.account, Epoch: 1, Member: 1})
		if err != nil || string(kept.HeadDevice) != string(good.Device) {
			t.Errorf("the newer head was replaced, %v", err)
		}
	})
	t.Run("another history", func(t *testing.T) {
		other := ledger.Hash{2}
		body := must[[]byte](t)(canonical.Marshal(&recordv1.OwnerHead{Head: &recordv1.ProvedHead{Device: o.attestation(1, 1, 20, other), Server: o.attestation(0, 1, 20, other)}}))
		result := &SyncResult{}
		if err := d.deal(context.Background(), &apiv1.Message{Kind: apiv1.Message_KIND_OWNER_HEAD, Body: body}, result); err != nil {
			t.Error(err)
		}
		if names, err := d.home.EvidenceNames(); err != nil || len(names) == 0 || len(result.Notes) != 1 {
			t.Errorf("evidence %q, notes %q, %v", names, result.Notes, err)
		}
	})
}
