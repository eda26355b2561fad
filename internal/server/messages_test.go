package server_test

import (
	"crypto/rand"
	"errors"
	"slices"
	"testing"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

func (a *account) send1(kind apiv1.Message_Kind, to *account, body string) error {
	return a.client().SendMessage(a.w.t.Context(), a.first().identity(), &apiv1.Message{To: to.id[:], Kind: kind, Body: []byte(body)})
}

// ownHead is a head of the account as its device with a number attests it, by
// another one's key if a key is given.
func (a *account) ownHead(number uint64, key *signing.PrivateKey) string {
	a.w.t.Helper()
	h := a.state.Head()
	if key == nil {
		key = a.device(number).sign
	}
	return string(must(canonical.Marshal(&recordv1.OwnerHead{Head: &recordv1.ProvedHead{Server: a.proof, Device: must(ledger.NewAttestation(&recordv1.Attestation{
		Account: a.id[:], Epoch: 1, Sequence: h.Sequence, Head: h.Hash[:], Nonce: nonce(),
		Holder: &recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: number},
	}, key))}})))
}

// A device relays what it attests itself, and nothing of a device that the ledger
// does not have.
func TestHeadsOfOthersAreNotRelayed(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	contact := contacts[0]
	second := owner.addDevice()
	w.ok(owner.send1(apiv1.Message_KIND_OWNER_HEAD, contact, owner.ownHead(1, nil)))
	for name, body := range map[string]string{
		"another device's":             owner.ownHead(2, nil),
		"of a device that is none":     owner.ownHead(3, must(signing.GenerateKey(rand.Reader))),
		"by another key":               owner.ownHead(1, second.sign),
		"another account's":            contact.ownHead(1, owner.device(1).sign),
		"a head without a device":      string(must(canonical.Marshal(&recordv1.OwnerHead{Head: &recordv1.ProvedHead{Server: owner.proof}}))),
		"the server's in its place":    string(must(canonical.Marshal(&recordv1.OwnerHead{Head: &recordv1.ProvedHead{Server: owner.proof, Device: owner.proof}}))),
		"no head":                      string(must(canonical.Marshal(&recordv1.OwnerHead{Introductions: [][]byte{{1}}}))),
		"something that is no message": "garbage",
	} {
		if err := owner.send1(apiv1.Message_KIND_OWNER_HEAD, contact, body); !errors.Is(err, api.ErrMalformed) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestMessages(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	contact, stranger := contacts[0], contacts[2]
	const (
		answer   = apiv1.Message_KIND_INVITATION_ANSWER
		envelope = apiv1.Message_KIND_SHARE_ENVELOPE
		receipt  = apiv1.Message_KIND_SHARE_RECEIPT
		head     = apiv1.Message_KIND_OWNER_HEAD
		attests  = apiv1.Message_KIND_CONTACT_ATTESTATION
	)
	w.ok(stranger.send1(answer, owner, "answer"))
	w.ok(contact.send1(receipt, owner, "receipt"))
	w.ok(contact.send1(attests, owner, "old"))
	w.ok(contact.send1(attests, owner, "new"))
	w.ok(owner.send1(envelope, contact, "envelope"))
	first := owner.ownHead(1, nil)
	w.ok(owner.send1(head, contact, first))

	got := owner.inbox(1)
	if len(got) != 3 || string(got[2].Body) != "new" || string(got[0].From) != string(stranger.id[:]) || got[0].FromName != stranger.name {
		t.Fatalf("got %v", got)
	}
	for _, wrong := range []struct {
		from, to *account
		kind     apiv1.Message_Kind
	}{
		{stranger, owner, receipt}, {stranger, owner, attests}, {owner, stranger, envelope}, {owner, stranger, head},
		{contact, owner, envelope}, {owner, contact, receipt},
	} {
		w.refused(wrong.from.send1(wrong.kind, wrong.to, "body"), api.ErrNotAContact)
	}
	w.refused(stranger.send1(apiv1.Message_KIND_SERVER_HALF, owner, "half"), api.ErrMalformed)
	w.refused(stranger.send1(answer, &account{}, "to nobody"), api.ErrUnknownAccount)
	w.refused(stranger.send1(answer, owner, ""), api.ErrTooLarge)
	w.refused(stranger.send1(answer, owner, string(make([]byte, api.MessageLimit(answer)+1))), api.ErrTooLarge)
	lie := &apiv1.Message{To: owner.id[:], Kind: answer, Body: []byte("x"), FromName: "your bank"}
	w.refused(w.client().SendMessage(t.Context(), stranger.first().identity(), lie), api.ErrMalformed)
	for range 15 {
		w.ok(stranger.send1(answer, owner, "again"))
	}
	w.refused(stranger.send1(answer, owner, "too often"), api.ErrRateLimited)

	// Every device has its own inbox.
	second := owner.addDevice()
	w.ok(w.client().Acknowledge(t.Context(), owner.device(1).identity(), []uint64{got[0].Id, got[1].Id, 1 << 63}))
	if n := len(owner.inbox(1)); n != 16 {
		t.Errorf("%d messages for device 1", n)
	}
	if n := len(owner.inbox(2)); n != 18 {
		t.Errorf("%d messages for device 2", n)
	}
	// The head of one displaces that of no other.
	older, newer := owner.ownHead(2, nil), owner.ownHead(2, nil)
	for _, body := range []string{older, newer} {
		w.ok(w.client().SendMessage(t.Context(), second.identity(), &apiv1.Message{To: contact.id[:], Kind: head, Body: []byte(body)}))
	}
	var heads []string
	for _, m := range contact.inbox(1) {
		if m.Kind == head {
			heads = append(heads, string(m.Body))
		}
	}
	if !slices.Equal(heads, []string{first, newer}) {
		t.Errorf("the contact gets the heads %q", heads)
	}
	w.ok(w.client().Acknowledge(t.Context(), second.identity(), []uint64{got[0].Id}))
	w.ok(stranger.send1(answer, owner, "there is room again"))
	if err := w.client().Acknowledge(t.Context(), second.identity(), make([]uint64, 1<<12)); err == nil {
		t.Error("thousands are acknowledged at once")
	}
}
