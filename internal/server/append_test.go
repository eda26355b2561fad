package server_test

import (
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

const (
	slotShare    = recordv1.SealedServerShare_KIND_SLOT
	seedShare    = recordv1.SealedServerShare_KIND_SEED
	waitingShare = recordv1.SealedServerShare_KIND_WAITING
)

func TestSeedHalf(t *testing.T) {
	w := newWorld(t)
	a := w.create("ada")
	first, sources, err := a.seedHalf(a.device(1))
	w.ok(err)
	second, _, err := a.seedHalf(a.device(1))
	w.ok(err)
	if len(first) != 32 || string(first) == string(second) {
		t.Errorf("halves of %d bytes, the same: %v", len(first), string(first) == string(second))
	}
	if len(sources) != 1 || sources[0] != "os" {
		t.Errorf("sources %v; this server may use no other", sources)
	}
	if ids := a.held(); len(ids) != 0 {
		t.Errorf("something was kept: %v", ids)
	}
}

func TestAppendRefused(t *testing.T) {
	w := newWorld(t)
	owner, _ := w.family()
	owner.prepare(false) // epoch 2 beside epoch 1
	owner.store(1, 1, "secret")
	d := owner.device(1)

	records, shares := owner.put(2, 1, "another")
	entry := []*ledger.Entry{owner.draft(d, records...)}
	w.refused(owner.send(d, entry, nil), api.ErrShareMissing)
	w.refused(owner.send(d, entry, shares[:1]), api.ErrShareMissing)
	_, others := owner.put(2, 1, "another one")
	w.refused(owner.send(d, entry, []*recordv1.SealedServerShare{shares[0], others[1]}), api.ErrShareWrong)
	swapped := []*recordv1.SealedServerShare{proto.CloneOf(shares[0]), proto.CloneOf(shares[1])}
	swapped[0].Sealed, swapped[1].Sealed = swapped[1].Sealed, swapped[0].Sealed
	w.refused(owner.send(d, entry, swapped), api.ErrShareWrong)
	w.refused(owner.send(d, entry, []*recordv1.SealedServerShare{{Kind: seedShare}}), api.ErrMalformed)

	w.wait(api.MaxClockSkew + time.Millisecond)
	w.refused(owner.send(d, entry, shares), api.ErrEntryTime)
	entry = []*ledger.Entry{owner.draft(d, records...)}
	w.ok(owner.send(d, entry, shares))

	// Anything that contradicts what stands, or leaves a gap.
	head := owner.state.Head()
	for name, previous := range map[string]ledger.Head{
		"an entry beside the head": {Sequence: head.Sequence - 1, Hash: entry[0].Previous()},
		"an entry after a gap":     {Sequence: head.Sequence + 1, Hash: ledger.Hash{1}},
		"another history":          {Sequence: head.Sequence, Hash: ledger.Hash{1}},
	} {
		record := must(ledger.NewRecord(&recordv1.RecoveryVetoed{Request: random(32)}))
		e := must(ledger.Draft{Account: &owner.id, Previous: previous, Time: w.clock(), Author: 1, Records: [][]byte{record}}.Sign(d.sign))
		err := owner.send(d, []*ledger.Entry{e}, nil)
		refusal := w.refused(err, api.ErrHeadMoved)
		attestation := must(ledger.ParseAttestation(refusal.Attestation))
		if attestation.Head() != head || owner.state.CheckAttestation(attestation) != nil {
			t.Errorf("%s: the refusal attests %v, the head is %v", name, attestation.Head(), head)
		}
		stranger := w.device()
		stranger.account, stranger.number = owner, 1
		w.refused(owner.send(stranger, []*ledger.Entry{e}, nil), api.ErrUnknownDevice)
	}
	w.refused(owner.send(d, []*ledger.Entry{owner.draft(d, &recordv1.SlotDeleted{Slot: random(16)})}, nil), api.ErrEntryRefused)
	foreign := &recordv1.ServerKeyChanged{Server: &recordv1.Server{Url: "http://x", SignKey: w.device().sign.PublicKey().Bytes(), SealKey: w.device().seal.PublicKey().Bytes()}}
	w.refused(owner.send(d, []*ledger.Entry{owner.draft(d, foreign)}, nil), api.ErrWrongServer)
	_, _, err := w.client().Append(t.Context(), d.identity(), &apiv1.AppendRequest{Entries: [][]byte{{1, 2}}})
	w.refused(err, api.ErrEntryRefused)
	if got := must(w.store.Account(t.Context(), owner.id)).Head; got != head {
		t.Errorf("the head is %v after refusals, it was %v", got, head)
	}
}

// Entries and shares that stand may come again, with new ones or alone.
func TestAppendAgain(t *testing.T) {
	w := newWorld(t)
	owner, _ := w.family()
	d := owner.device(1)
	records, shares := owner.put(1, 1, "secret")
	entry := owner.draft(d, records...)
	w.ok(owner.send(d, []*ledger.Entry{entry}, shares))
	w.wait(time.Hour)
	w.ok(owner.send(d, []*ledger.Entry{entry}, shares))
	w.ok(owner.send(d, owner.entries, nil))
	more, moreShares := owner.put(2, 1, "more")
	w.ok(owner.send(d, append(owner.entries[2:], owner.draft(d, more...)), append(shares, moreShares...)))
	w.ok(owner.send(d, nil, nil))
	w.restart()
	w.ok(owner.send(d, owner.entries, nil))
}

// Many devices' programs append at once: each entry stands once, and who is late
// learns the head.
func TestConcurrentAppend(t *testing.T) {
	w := newWorld(t)
	owner, _ := w.family()
	d := owner.device(1)
	c := w.client()
	const writers, each = 6, 4
	var mu sync.Mutex
	state := owner.state.Clone()
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				mu.Lock()
				previous := state.Head()
				mu.Unlock()
				record := must(ledger.NewRecord(&recordv1.RecoveryVetoed{Request: random(32)}))
				e := must(ledger.Draft{Account: &owner.id, Previous: previous, Time: w.clock(), Author: 1, Records: [][]byte{record}}.Sign(d.sign))
				_, _, err := c.Append(t.Context(), d.identity(), &apiv1.AppendRequest{Entries: [][]byte{e.Bytes()}})
				switch {
				case err == nil:
					mu.Lock()
					if err := state.Apply(e); err != nil {
						t.Errorf("the server took what does not follow: %v", err)
					}
					mu.Unlock()
					done++
				case !errors.Is(err, api.ErrHeadMoved):
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := must(w.store.Account(t.Context(), owner.id)).Head; got != state.Head() || got.Sequence != owner.state.Head().Sequence+writers*each {
		t.Errorf("the server's head is %v, all that was accepted ends with %v", got, state.Head())
	}
}

// Shares are destroyed when nothing needs them any more, and not before.
func TestDestroyedShares(t *testing.T) {
	w := newWorld(t)
	owner := w.create("owner")
	var contacts []*account
	for _, name := range []string{"carla", "charly"} {
		contacts = append(contacts, w.create(name))
	}
	owner.prepare(false)
	expect := func(when string, kind recordv1.SealedServerShare_Kind, epoch uint64, want int) {
		t.Helper()
		if got := owner.holds(kind, epoch); got != want {
			t.Errorf("%s: %d shares of kind %v, epoch %d, want %d", when, got, kind, epoch, want)
		}
	}
	expect("prepared", seedShare, 1, 1)
	expect("prepared", waitingShare, 1, 3)
	owner.store(1, 1, "one")
	owner.store(1, 2, "two")
	owner.serverReceipt()
	owner.bind(1, contacts[0])
	expect("bound", waitingShare, 1, 3)
	owner.add(owner.receipt(1))
	expect("one receipt", waitingShare, 1, 2)
	owner.bind(2, contacts[1])
	owner.add(owner.receipt(2))
	owner.add(&recordv1.EpochCommitted{Epoch: 1})
	expect("committed", waitingShare, 1, 1)
	expect("committed: an old version opens still", slotShare, 1, 2)

	owner.prepare(false)
	owner.split(2)
	expect("epoch 2 prepared", slotShare, 1, 2)
	expect("epoch 2 prepared", slotShare, 2, 1)
	owner.prepare(false)
	expect("epoch 3 voids epoch 2", slotShare, 2, 0)
	expect("epoch 3 voids epoch 2", seedShare, 2, 0)
	expect("epoch 3 voids epoch 2", waitingShare, 2, 0)
	owner.split(3)
	owner.commit(contacts...)
	for _, kind := range []recordv1.SealedServerShare_Kind{slotShare, seedShare, waitingShare} {
		expect("epoch 3 committed", kind, 1, 0)
	}
	expect("epoch 3 committed", seedShare, 3, 1)
	expect("epoch 3 committed", slotShare, 3, 1)
}

// A server that was put back to an older copy of its data takes what it lacks,
// however old, on its own word.
func TestRestoredServer(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	owner.store(1, 1, "old")
	older := w.backup()
	behind := owner.state.Head()
	owner.store(1, 2, "new")
	owner.prepare(false)
	owner.split(2)
	owner.bind(1, contacts[0]) // its receipt does not come before the loss
	second := owner.addDevice()
	w.ok(contacts[0].send(contacts[0].device(1), nil, nil)) // for the server's word on another account
	w.wait(24 * time.Hour)
	w.restore(older)

	resend := func(by *device, proof []byte, shares []*recordv1.SealedServerShare) error {
		request := &apiv1.AppendRequest{Attestation: proof, Shares: shares}
		for _, e := range owner.entries[1:] {
			request.Entries = append(request.Entries, e.Bytes())
		}
		_, _, err := w.client().Append(t.Context(), by.identity(), request)
		return err
	}
	page, err := w.client().Entries(t.Context(), owner.device(1).identity(), &apiv1.EntriesRequest{Nonce: nonce()})
	w.ok(err)
	if got := must(ledger.ParseAttestation(page.Attestation)).Head(); got != behind {
		t.Fatalf("the restored server is at %v, want %v", got, behind)
	}
	other := w.beside()
	page, err = other.Entries(t.Context(), owner.device(1).identity(), &apiv1.EntriesRequest{Nonce: nonce()})
	if w.ok(err); len(page.Missing) != 0 {
		t.Errorf("another server over the same data misses %v", page.Missing)
	}
	w.refused(resend(owner.device(1), nil, nil), api.ErrEntryTime)
	forged := must(ledger.NewAttestation(&recordv1.Attestation{
		Account: owner.id[:], Epoch: 1, Sequence: owner.state.Head().Sequence, Head: hashOf(owner), Nonce: nonce(),
		Holder: &recordv1.Holder{Kind: recordv1.Holder_KIND_SERVER},
	}, must(signing.GenerateKey(rand.Reader))))
	w.refused(resend(owner.device(1), forged, nil), api.ErrMalformed)
	w.refused(resend(owner.device(1), contacts[0].proof, nil), api.ErrMalformed)

	// The server does not know the second device yet; its own word brings it.
	w.ok(resend(second, owner.proof, nil))
	page, err = w.client().Entries(t.Context(), second.identity(), &apiv1.EntriesRequest{Nonce: nonce()})
	w.ok(err)
	var missing []ledger.ShareID
	for _, m := range page.Missing {
		missing = append(missing, must(ledger.SealedShareID(m)))
	}
	if len(missing) != 1+3+1+1 { // epoch 2: seed, waiting halves, slot; epoch 1: the new version
		t.Errorf("missing %v", missing)
	}
	page, err = other.Entries(t.Context(), second.identity(), &apiv1.EntriesRequest{Nonce: nonce()})
	if w.ok(err); len(page.Missing) != len(missing) {
		t.Errorf("another server over the same data misses %v, want %v", page.Missing, missing)
	}
	w.ok(owner.send(second, nil, sealedShares(owner.sealed, owner.state.RequiredShares())))
	page, err = w.client().Entries(t.Context(), second.identity(), &apiv1.EntriesRequest{Nonce: nonce()})
	if w.ok(err); len(page.Missing) != 0 {
		t.Errorf("still missing: %v", page.Missing)
	}
	// The half came after its binding, and goes to the contact all the same.
	owner.combine(owner.newest(), 1, contacts[0].openHalf(owner, 2, 1))
	owner.add(owner.receipt(1))
	if note, err := owner.reveal(owner.device(1), owner.version(1, 2), second.confirms(apiv1.Confirmation_KEY_SIGN)); err != nil || note != "new" {
		t.Errorf("reveal gives %q, %v", note, err)
	}
}

// A server that lost an account altogether gets it back, by any of its devices.
func TestLostAccount(t *testing.T) {
	w := newWorld(t)
	empty := w.backup()
	owner, _ := w.family()
	owner.store(1, 1, "secret")
	second := owner.addDevice()
	w.wait(time.Hour)
	w.restore(empty)

	genesis := owner.entries[0].Bytes()
	create := func(by *device, proof []byte) error {
		_, _, err := w.client().CreateAccount(t.Context(), api.Identity{Key: by.sign}, &apiv1.CreateAccountRequest{Name: owner.name, Entry: genesis, Attestation: proof})
		return err
	}
	w.refused(create(second, nil), api.ErrUnknownDevice)
	w.refused(create(owner.device(1), nil), api.ErrEntryTime)
	w.ok(create(second, owner.proof))
	request := &apiv1.AppendRequest{Attestation: owner.proof, Shares: sealedShares(owner.sealed, owner.state.RequiredShares())}
	for _, e := range owner.entries {
		request.Entries = append(request.Entries, e.Bytes())
	}
	_, _, err := w.client().Append(t.Context(), second.identity(), request)
	w.ok(err)
	if note, err := owner.reveal(second, owner.version(1, 1), owner.device(1).confirms(apiv1.Confirmation_KEY_SIGN)); err != nil || note != "secret" {
		t.Errorf("reveal gives %q, %v", note, err)
	}
}

// An attestation excuses what hashes to its head and nothing else.
func TestExcuseOfAnotherHistory(t *testing.T) {
	w := newWorld(t)
	owner, _ := w.family()
	older := w.backup()
	owner.store(1, 1, "secret")
	proof := owner.proof
	w.restore(older)
	thief := owner.device(1)
	record := must(ledger.NewRecord(&recordv1.RecoveryVetoed{Request: random(32)}))
	previous := owner.entries[len(owner.entries)-2].Head()
	e := must(ledger.Draft{Account: &owner.id, Previous: previous, Time: w.clock(), Author: 1, Records: [][]byte{record}}.Sign(thief.sign))
	w.wait(time.Hour)
	_, _, err := w.client().Append(t.Context(), thief.identity(), &apiv1.AppendRequest{Entries: [][]byte{e.Bytes()}, Attestation: proof})
	w.refused(err, api.ErrEntryTime)
}

// The contact gets its half again when the owner's device sends the binding
// again, but not twice.
func TestHalfAgain(t *testing.T) {
	w := newWorld(t)
	owner := w.create("owner")
	contact := w.create("carla")
	owner.prepare(false)
	owner.bind(1, contact)
	binding := owner.entries[len(owner.entries)-1]
	again := func() { w.ok(owner.send(owner.device(1), []*ledger.Entry{binding}, nil)) }
	again()
	if n := len(contact.inbox(1)); n != 1 {
		t.Fatalf("%d messages", n)
	}
	w.ok(w.client().Acknowledge(t.Context(), contact.device(1).identity(), []uint64{contact.inbox(1)[0].Id}))
	again()
	owner.combine(owner.newest(), 1, contact.openHalf(owner, 1, 1))
	owner.add(owner.receipt(1))
	w.ok(w.client().Acknowledge(t.Context(), contact.device(1).identity(), []uint64{contact.inbox(1)[0].Id}))
	again()
	if n := len(contact.inbox(1)); n != 0 {
		t.Errorf("%d messages after the receipt", n)
	}
}

func hashOf(a *account) []byte {
	h := a.state.Head().Hash
	return h[:]
}
