package systemtest

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"testing"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// thief has an unlocked device of somebody and a program of its own, but no second
// factor.
type thief struct {
	w      *world
	home   *home.Home
	keys   *home.Keys
	state  *ledger.State
	server *client.Client
}

// thiefOf copies a device's directory and unlocks it.
func (w *world) thiefOf(p *person) *thief {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "stolen")
	copyDir(w.t, p.dir, dir)
	h, err := home.Open(dir)
	must(w.t, err)
	w.t.Cleanup(func() { _ = h.Close() })
	must(w.t, h.Unlock([]byte(passphrase)))
	keys, err := h.Keys()
	must(w.t, err)
	c, err := client.New(nil, w.url(), w.keys.SignKey(), rand.Reader, w.now)
	must(w.t, err)
	return &thief{w: w, home: h, keys: keys, state: h.State(), server: c}
}

func (th *thief) identity() api.Identity {
	return api.Identity{Account: &th.keys.Account, Device: th.keys.Device, Key: th.keys.Sign}
}

// send gives the server a message in the owner's name.
func (th *thief) send(to *person, kind apiv1.Message_Kind, body []byte) {
	th.w.t.Helper()
	account := to.Account()
	must(th.w.t, th.server.SendMessage(context.Background(), th.identity(), &apiv1.Message{To: account[:], Kind: kind, Body: body}))
}

// sendsNoHead wants the server not to relay this as a head that the device attests.
func (th *thief) sendsNoHead(to *person, body []byte) {
	th.w.t.Helper()
	account := to.Account()
	err := th.server.SendMessage(context.Background(), th.identity(), &apiv1.Message{To: account[:], Kind: apiv1.Message_KIND_OWNER_HEAD, Body: body})
	if !errors.Is(err, api.ErrMalformed) {
		th.w.t.Errorf("the server relays a head: %v", err)
	}
}

// envelope is one that looks as if it were about member 1's share of epoch 1,
// signed by any key as that of device 1.
func (th *thief) envelope(key *signing.PrivateKey, contact *person, change func(*recordv1.ShareEnvelope)) []byte {
	th.w.t.Helper()
	account := contact.Account()
	epoch := th.state.InUse()
	e := &recordv1.ShareEnvelope{
		Account: th.keys.Account[:], Epoch: 1, Member: 1, Contact: &recordv1.Contact{Account: account[:]},
		ShareKey: epoch.Members[0].ShareKey.Bytes(), RootKey: epoch.RootKey.Bytes(),
		Quorum: 2, Members: 3, WaitingPeriod: 1, Server: th.state.Server(), Device: 1,
		Devices: []*recordv1.OwnerDevice{{Device: 1, SignKey: key.PublicKey().Bytes()}},
	}
	if change != nil {
		change(e)
	}
	b, err := canonical.Marshal(e)
	must(th.w.t, err)
	signed, err := canonical.Marshal(&recordv1.SignedShareEnvelope{
		Envelope: b, Signature: key.Sign(signing.NewContext("share-envelope").Bytes(b)),
	})
	must(th.w.t, err)
	return signed
}

// What a stolen device sends to contacts does not keep them from helping: they go
// on syncing, and take the new shares after the recovery.
func TestAThiefsMessagesDoNotDisableContacts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, contacts := w.family("ann", "bob")
	w.befriend(owner, contacts...)
	owner.add("site", "secret")
	owner.sync()
	th := w.thiefOf(owner)
	own, unknown := th.keys.Sign.(*signing.PrivateKey), key(t)
	for _, c := range contacts {
		c.sync()
		for _, body := range [][]byte{
			th.envelope(own, c, func(e *recordv1.ShareEnvelope) { e.Contact = nil }),
			th.envelope(own, c, func(e *recordv1.ShareEnvelope) { e.Epoch = 7 }),
			th.envelope(own, c, func(e *recordv1.ShareEnvelope) {
				e.Epoch, e.Devices = 8, append(e.Devices, &recordv1.OwnerDevice{Device: 2, SignKey: []byte("no key")})
			}),
			[]byte("garbage"),
		} {
			th.send(c, apiv1.Message_KIND_SHARE_ENVELOPE, body)
		}
		th.sendsNoHead(c, []byte("garbage"))
		c.sync()
		// As many as the server lets wait, by a device that nobody can trace.
		for range 16 {
			th.send(c, apiv1.Message_KIND_SHARE_ENVELOPE, th.envelope(unknown, c, func(e *recordv1.ShareEnvelope) { e.Epoch = 2 }))
		}
		c.sync()
	}
	owner.close()
	fresh := w.recover("olivia", contacts...)
	for _, c := range contacts {
		if r := c.sync(); len(r.Held) != 1 {
			t.Errorf("%s does not get the new share: %q", c.name, r.Notes)
		}
	}
	if r := fresh.sync(); len(r.Committed) != 1 || r.Committed[0] != 2 {
		t.Errorf("committed %v: %q", r.Committed, r.Notes)
	}
	if _, err := fresh.Get(context.Background(), "site"); err != nil {
		t.Error(explained(err))
	}
	if th.server.SendMessage(context.Background(), th.identity(), &apiv1.Message{}) == nil {
		t.Error("the stolen device still sends messages")
	}
}

// A contact that sends its owner whatever it likes proves nothing by it, and keeps
// nobody from anything.
func TestAMaliciousContactsMessagesDoNotDisableTheOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, contacts := w.family("ann", "bob", "mallory")
	w.befriend(owner, contacts[0], contacts[2])
	accepted := w.accept(owner, contacts[1])
	w.confirm(owner, contacts[1], accepted.OwnPhrase) // has not proved its share
	mallory := w.thiefOf(contacts[2])
	head := owner.Head()
	account := owner.Account()
	member := func(n uint64) *recordv1.Holder { return &recordv1.Holder{Kind: recordv1.Holder_KIND_MEMBER, Number: n} }
	signature := make([]byte, 64)
	for _, receipt := range []*recordv1.ShareReceipt{
		{Epoch: 1}, {Epoch: 1, Signature: signature}, {Epoch: 1 << 62, Holder: member(1), Signature: signature},
		{Epoch: 1, Holder: member(1 << 62), Signature: signature}, {Epoch: 1, Holder: &recordv1.Holder{Kind: recordv1.Holder_KIND_SERVER}, Signature: signature},
		{Epoch: 1, Holder: &recordv1.Holder{Kind: recordv1.Holder_KIND_SHEET}, Signature: signature},
		{Epoch: 1, Holder: member(3), Signature: mallory.keys.Sign.(*signing.PrivateKey).Sign(ledger.ReceiptContext(account, 1, member(3), account[:]))},
	} {
		b, err := canonical.Marshal(receipt)
		must(t, err)
		mallory.send(owner, apiv1.Message_KIND_SHARE_RECEIPT, b)
	}
	for _, kind := range []apiv1.Message_Kind{apiv1.Message_KIND_SHARE_RECEIPT, apiv1.Message_KIND_CONTACT_ATTESTATION, apiv1.Message_KIND_INVITATION_ANSWER} {
		mallory.send(owner, kind, []byte("garbage"))
	}
	r := owner.sync()
	if len(r.Receipts) != 0 || len(r.Notes) < 7 {
		t.Errorf("receipts %q, notes %q", r.Receipts, r.Notes)
	}
	// Another's share is not proved by one's own key.
	forged, err := ledger.NewAttestation(&recordv1.Attestation{
		Account: account[:], Epoch: 1, Sequence: head.Sequence, Head: head.Hash[:], Time: uint64(w.now().UnixMilli()), Nonce: make([]byte, 16), Holder: member(3),
	}, mallory.keys.Sign)
	must(t, err)
	mallory.send(owner, apiv1.Message_KIND_CONTACT_ATTESTATION, forged)
	owner.sync()
	contacts[1].sync()
	if r := owner.sync(); len(r.Receipts) != 1 {
		t.Errorf("receipts %q, notes %q", r.Receipts, r.Notes)
	}
}

func key(t *testing.T) *signing.PrivateKey {
	t.Helper()
	k, err := signing.GenerateKey(rand.Reader)
	must(t, err)
	return k
}
