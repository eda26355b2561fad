package server_test

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/signing"
)

// From losing every device to having the account again, with each refusal on the
// way.
func TestRecovery(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	owner.store(1, 1, "secret")
	n := w.recover(owner)

	w.refused(n.release(), api.ErrUnknownRecovery)
	named, err := w.client().StartRecovery(t.Context(), api.Identity{Key: n.sign}, &apiv1.StartRecoveryRequest{Name: strings.ToUpper(owner.name)})
	if w.ok(err); string(named.Account) != string(owner.id[:]) || named.Recovery != nil {
		t.Errorf("the name gives %v", named)
	}
	begun, err := n.start()
	w.ok(err)
	if want := w.clock().Add(waitingPeriod); begun.Ends != uint64(want.UnixMilli()) || begun.Quorum != 2 || begun.Approvals != 0 || begun.Name != owner.name {
		t.Errorf("started: %v", begun)
	}
	w.wait(time.Hour)
	if again, err := n.start(); err != nil || again.Ends != begun.Ends {
		t.Errorf("asked again: %v, %v", again, err)
	}

	refusal := w.refused(n.release(), api.ErrNotEnoughApprovals)
	if refusal.Quorum != 2 || refusal.Approvals != 0 || refusal.RetryAfter != waitingPeriod-time.Hour {
		t.Errorf("refused with %+v", refusal)
	}
	w.ok(n.approve(contacts[0], 1))
	w.ok(n.approve(contacts[0], 1)) // the same holder counts once
	w.wait(waitingPeriod)
	if refusal := w.refused(n.release(), api.ErrNotEnoughApprovals); refusal.Approvals != 1 {
		t.Errorf("one approval counts as %d", refusal.Approvals)
	}
	_, err = n.ledger()
	w.refused(err, api.ErrNotEnoughApprovals)

	second := w.recover(owner) // a second device, whose period has only begun
	_, err = second.start()
	w.ok(err)
	w.ok(second.approve(contacts[0], 1))
	w.ok(second.approve(contacts[1], 2))
	if refusal := w.refused(second.release(), api.ErrPeriodNotOver); refusal.RetryAfter != waitingPeriod {
		t.Errorf("retry after %v", refusal.RetryAfter)
	}
	w.restart()

	w.ok(n.approve(contacts[1], 2))
	state, err := n.ledger()
	w.ok(err)
	if state.Head() != owner.state.Head() {
		t.Errorf("the ledger ends with %v, want %v", state.Head(), owner.state.Head())
	}
	w.ok(n.release())
	w.ok(n.release()) // again, as after a crash
	if s := n.status(); !s.Released || s.Approvals != 2 || s.Over {
		t.Errorf("released: %v", s)
	}
	taken := n.recovered(state)
	w.ok(n.takeOver(taken))
	w.ok(n.owner.send(n.device, []*ledger.Entry{taken}, nil)) // again

	w.refused(owner.send(owner.device(1), nil, nil), api.ErrDeviceRevoked)
	n.number = 0 // as the newcomer that it was
	w.refused(n.release(), api.ErrRecoveryOver)
	w.wait(waitingPeriod)
	w.refused(second.release(), api.ErrRecoveryOver)
	w.refused(second.approve(contacts[0], 1), api.ErrRecoveryOver)
	if _, err := n.start(); !errors.Is(err, api.ErrRecoveryOver) {
		t.Errorf("started again with the same request: %v", err)
	}
	// The epoch is still in use, so everything can be lost and recovered again.
	if owner.holds(seedShare, 1) != 1 || owner.holds(slotShare, 1) != 1 {
		t.Error("the recovery took the server's shares away")
	}
	third := w.recover(owner)
	_, err = third.start()
	w.ok(err)
	w.ok(third.approve(contacts[0], 1))
	w.ok(third.approve(contacts[1], 2))
	w.wait(waitingPeriod)
	w.ok(third.release())
	state, err = third.ledger()
	w.ok(err)
	w.ok(third.takeOver(third.recovered(state)))
}

// Nothing is released, and nothing counted, for an approval that is not exactly
// for this request.
func TestApprovalsRefused(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	n, other := w.recover(owner), w.recover(owner)
	for _, starting := range []*newcomer{n, other} {
		_, err := starting.start()
		w.ok(err)
	}
	contact, key := contacts[0].first(), owner.shareKeys[1]
	stranger := must(signing.GenerateKey(rand.Reader))
	unproved := func(a *recordv1.Approval) { // a head that the server never signed
		h := owner.state.Head()
		attest := func(key *signing.PrivateKey, holder *recordv1.Holder) []byte {
			return must(ledger.NewAttestation(&recordv1.Attestation{
				Account: owner.id[:], Epoch: 1, Sequence: h.Sequence, Head: h.Hash[:], Nonce: nonce(), Holder: holder,
			}, key))
		}
		a.Head = &recordv1.ProvedHead{
			Device: attest(owner.device(1).sign, &recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: 1}),
			Server: attest(stranger, &recordv1.Holder{Kind: recordv1.Holder_KIND_SERVER}),
		}
	}
	for name, change := range map[string]func(*recordv1.Approval){
		"another device's sign key": func(a *recordv1.Approval) { a.SignKey = other.sign.PublicKey().Bytes() },
		"another device's seal key": func(a *recordv1.Approval) { a.SealKey = other.seal.PublicKey().Bytes() },
		"another account":           func(a *recordv1.Approval) { a.Account = contacts[1].id[:] },
		"another epoch":             func(a *recordv1.Approval) { a.Epoch = 2 },
		"another member":            func(a *recordv1.Approval) { a.Holder.Number = 2 },
		"a veto that is none":       func(a *recordv1.Approval) { a.Vetoes = [][]byte{random(32)} },
		"not yet":                   func(a *recordv1.Approval) { a.NotBefore += 1000 },
		"expired":                   func(a *recordv1.Approval) { a.NotBefore, a.Expiry = a.NotBefore-2000, a.NotBefore-1000 },
		"a head without the server": unproved,
	} {
		_, err := n.bring(contact, n.approval(1, key, change), 1)
		if !errors.Is(err, api.ErrApprovalRefused) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// A head that the server signed, and no device of the owner's.
	proof := must(ledger.ParseAttestation(owner.proof))
	forged := func(a *recordv1.Approval) {
		h := proof.Head()
		a.Head = &recordv1.ProvedHead{Server: owner.proof, Device: must(ledger.NewAttestation(&recordv1.Attestation{
			Account: owner.id[:], Epoch: 1, Sequence: h.Sequence, Head: h.Hash[:], Nonce: nonce(),
			Holder: &recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: 1},
		}, stranger))}
	}
	_, err := n.bring(contact, n.approval(1, key, forged), 1)
	w.refused(err, api.ErrApprovalRefused)

	for name, by := range map[string]*device{"the other contact": contacts[1].first(), "the owner": owner.first(), "the other new device": other.device} {
		_, err := n.bring(by, n.approval(1, key, nil), 1)
		if !errors.Is(err, api.ErrApprovalRefused) && !errors.Is(err, api.ErrUnknownRecovery) {
			t.Errorf("brought by %s: got %v", name, err)
		}
	}
	_, err = n.bring(contacts[2].first(), n.approval(1, key, nil), 1)
	w.refused(err, api.ErrUnknownRecovery)
	_, err = n.bring(contact, n.approval(1, stranger, nil), 1)
	w.refused(err, api.ErrApprovalRefused)
	_, err = w.client().Approve(t.Context(), contact.identity(), &apiv1.ApproveRequest{Approval: n.approval(1, key, nil)})
	w.refused(err, api.ErrApprovalRefused) // without the share
	_, err = w.client().Approve(t.Context(), contact.identity(), &apiv1.ApproveRequest{Approval: n.approval(1, key, nil), SealedShare: make([]byte, 5<<10)})
	w.refused(err, api.ErrTooLarge)
	_, err = w.client().Approve(t.Context(), contact.identity(), &apiv1.ApproveRequest{Approval: []byte{0}})
	w.refused(err, api.ErrApprovalRefused)
	if s := n.status(); s.Approvals != 0 {
		t.Errorf("%d approvals count", s.Approvals)
	}
	// With proof of its head, from the contact, it counts; for the other request
	// it still does not.
	proved := func(a *recordv1.Approval) {
		forged(a)
		h := proof.Head()
		a.Head.Device = must(ledger.NewAttestation(&recordv1.Attestation{
			Account: owner.id[:], Epoch: 1, Sequence: h.Sequence, Head: h.Hash[:], Nonce: nonce(),
			Holder: &recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: 1},
		}, owner.device(1).sign))
	}
	r, err := n.bring(contact, n.approval(1, key, proved), 1)
	if w.ok(err); r.Approvals != 1 || len(r.Approved) != 1 || r.Approved[0] != 1 {
		t.Errorf("the answer says %v", r)
	}
	if s := other.status(); s.Approvals != 0 {
		t.Errorf("%d approvals count for another request", s.Approvals)
	}
}

// A contact whose share was replaced by a new epoch approves nothing.
func TestReplacedShareDoesNotApprove(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	n := w.approved(owner, contacts)
	old := n.approval(1, owner.shareKeys[1], nil)
	oldShare := owner.shares[1]
	owner.prepare(false)
	w.ok(n.release()) // prepared is not committed
	owner.commit(contacts[:2]...)
	w.refused(n.release(), api.ErrNotEnoughApprovals)
	owner.shares[1] = oldShare
	_, err := n.bring(contacts[0].first(), old, 1)
	w.refused(err, api.ErrApprovalRefused)
}

func TestVeto(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	n := w.released(owner, contacts)
	state, err := n.ledger()
	w.ok(err)
	late := n.recovered(state)

	owner.add(&recordv1.RecoveryVetoed{Request: n.id()})
	w.refused(n.release(), api.ErrVetoed)
	_, err = n.ledger()
	w.refused(err, api.ErrVetoed)
	w.refused(n.takeOver(late), api.ErrHeadMoved)
	s := n.status()
	if len(s.Vetoes) != 1 || string(s.Vetoes[0]) != string(owner.entries[len(owner.entries)-1].Bytes()) || s.Approvals != 0 ||
		s.Ends != uint64(w.clock().Add(waitingPeriod).UnixMilli()) {
		t.Errorf("after the veto: %v", s)
	}
	_, err = n.bring(contacts[0].first(), n.approval(1, owner.shareKeys[1], func(a *recordv1.Approval) { a.Vetoes = nil }), 1)
	w.refused(err, api.ErrApprovalRefused)
	// Only a quorum that names the veto, and a full new period, go on.
	w.ok(n.approve(contacts[0], 1))
	w.refused(n.release(), api.ErrVetoed)
	w.ok(n.approve(contacts[1], 2))
	w.refused(n.release(), api.ErrPeriodNotOver)
	w.wait(waitingPeriod - time.Second)
	w.refused(n.release(), api.ErrPeriodNotOver)
	w.wait(time.Second)
	w.ok(n.release())
}

// Lockdown never blocks a recovery by quorum.
func TestLockdownDoesNotBlockRecovery(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	second := owner.addDevice()
	record := &recordv1.DeviceLocked{Device: 1}
	w.ok(owner.send(second, []*ledger.Entry{owner.draft(second, record)}, nil))
	w.released(owner, contacts)
}

func TestStartRefused(t *testing.T) {
	w := newWorld(t)
	owner := w.create("owner")
	n := w.recover(owner)
	_, err := n.start()
	w.refused(err, api.ErrNotRecoverable)
	owner.prepare(false)
	_, err = n.start()
	w.refused(err, api.ErrNotRecoverable)
	owner.commit(w.create("carla"), w.create("charly"))

	_, err = w.client().StartRecovery(t.Context(), api.Identity{Key: n.sign}, &apiv1.StartRecoveryRequest{Name: "nobody"})
	w.refused(err, api.ErrUnknownAccount)
	_, err = w.client().StartRecovery(t.Context(), owner.first().identity(), &apiv1.StartRecoveryRequest{Request: n.request.Bytes()})
	w.refused(err, api.ErrUnknownDevice)
	_, err = w.client().StartRecovery(t.Context(), n.identity(), &apiv1.StartRecoveryRequest{Request: []byte{0}})
	w.refused(err, api.ErrMalformed)

	known := w.recover(owner) // the keys of a device that the account has
	known.sign = owner.first().sign
	known.request = known.newRequest()
	_, err = known.start()
	w.refused(err, api.ErrMalformed)

	_, err = n.start()
	w.ok(err)
	first := n.request
	n.request = n.newRequest()
	_, err = n.start()
	w.refused(err, api.ErrRecoveryOpen)
	n.request = first
	w.wait(2 * 30 * 24 * time.Hour)
	_, err = n.start()
	w.refused(err, api.ErrClock)
}

// Owner, contacts and the new device see a recovery; for strangers there is none.
func TestWhoSeesRecoveries(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	n := w.recover(owner)
	_, err := n.start()
	w.ok(err)
	for i, a := range []*account{owner, contacts[0], contacts[1], contacts[2]} {
		all, err := w.client().Recoveries(t.Context(), a.first().identity())
		w.ok(err)
		_, statusErr := w.client().RecoveryStatus(t.Context(), a.first().identity(), &apiv1.RecoveryStatusRequest{Request: n.id()})
		if i == 3 {
			w.refused(statusErr, api.ErrUnknownRecovery)
			if len(all) != 0 {
				t.Error("a stranger sees the recovery")
			}
			continue
		}
		w.ok(statusErr)
		if len(all) != 1 || string(all[0].Request) != string(n.request.Bytes()) || all[0].Owner != (i == 0) {
			t.Errorf("%s sees %v", a.name, all)
		}
		_, err = w.client().Release(t.Context(), a.first().identity(), &apiv1.ReleaseRequest{Request: n.id()})
		w.refused(err, api.ErrUnknownDevice)
	}
	stranger := w.recover(owner)
	_, err = w.client().RecoveryStatus(t.Context(), stranger.identity(), &apiv1.RecoveryStatusRequest{Request: n.id()})
	w.refused(err, api.ErrUnknownRecovery)
	_, err = w.client().RecoveryStatus(t.Context(), n.identity(), &apiv1.RecoveryStatusRequest{Request: []byte("short")})
	w.refused(err, api.ErrMalformed)
	log, _ := activityOf(owner)
	request, _, err := api.ParseLogged(log[len(log)-1].Request())
	if w.ok(err); string(request.Header.SignKey) != string(n.sign.PublicKey().Bytes()) {
		t.Error("the owner's activity log does not end with the recovery's start")
	}
}

// The sheet is worth a quorum; paper gets its half only at the device that chose it.
func TestSheetAndPaper(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	second := owner.addDevice()
	owner.add(&recordv1.ContactBound{Epoch: 1, Member: 3, Generation: 1, SealedName: make([]byte, ledger.ContactNameSize)})
	ask := func(d *device, epoch, member uint64) (*apiv1.PaperHalfAnswer, error) {
		return w.client().PaperHalf(t.Context(), d.identity(), &apiv1.PaperHalfRequest{Epoch: epoch, Member: member})
	}
	answer, err := ask(owner.device(1), 1, 3)
	w.ok(err)
	owner.combine(owner.state.InUse(), 3, owner.openPaperHalf(answer.Sealed, 3))
	for _, wrong := range []struct {
		d             *device
		epoch, member uint64
	}{{second, 1, 3}, {owner.device(1), 1, 1}, {owner.device(1), 1, 4}, {owner.device(1), 2, 3}} {
		_, err := ask(wrong.d, wrong.epoch, wrong.member)
		w.refused(err, api.ErrNotAContact)
	}
	owner.add(owner.receipt(3))
	_, err = ask(owner.device(1), 1, 3)
	w.refused(err, api.ErrNotAContact)

	n := w.recover(owner)
	_, err = n.start()
	w.ok(err)
	sheet := func(a *recordv1.Approval) { a.Holder = &recordv1.Holder{Kind: recordv1.Holder_KIND_SHEET} }
	_, err = w.client().Approve(t.Context(), contacts[0].first().identity(), &apiv1.ApproveRequest{Approval: n.approval(0, owner.sheet.Key, sheet)})
	w.refused(err, api.ErrApprovalRefused)
	r, err := w.client().Approve(t.Context(), n.identity(), &apiv1.ApproveRequest{Approval: n.approval(0, owner.sheet.Key, sheet)})
	if w.ok(err); !r.SheetApproved || r.Approvals != 0 {
		t.Errorf("the sheet gives %v", r)
	}
	w.refused(n.release(), api.ErrPeriodNotOver)
	w.wait(waitingPeriod)
	w.ok(n.release())
	state, err := n.ledger()
	w.ok(err)
	w.ok(n.takeOver(n.recovered(state)))

	// Paper: one contact and the words, typed on the new device.
	m := w.recover(owner)
	_, err = m.start()
	w.ok(err)
	w.wait(waitingPeriod)
	w.ok(m.approve(contacts[0], 1))
	approval := must(recovery.ApproveOnPaper(owner.shares[3], 1, m.request, recovery.Terms{NotBefore: w.clock(), Expiry: w.clock().Add(time.Hour)}))
	r, err = m.bring(m.device, approval.Bytes(), 3)
	if w.ok(err); r.Approvals != 2 {
		t.Errorf("paper and a contact count as %d", r.Approvals)
	}
	w.ok(m.release())
}

// Recovered is taken from the device that the server released its share to, and
// from nobody else.
func TestRecoveredWithoutRelease(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	n := w.released(owner, contacts)

	// A device that got everything else elsewhere.
	other := w.recover(owner)
	_, err := other.start()
	w.ok(err)
	w.ok(other.approve(contacts[0], 1))
	w.ok(other.approve(contacts[1], 2))
	other.shares, other.server = n.shares, n.server
	for member := range uint64(2) {
		other.approvals = append(other.approvals, must(ledger.ParseApproval(other.approval(member+1, owner.shareKeys[member+1], nil))))
	}
	w.refused(other.takeOver(other.recovered(owner.state)), api.ErrEntryRefused)
	never := w.recover(owner)
	never.shares, never.server = n.shares, n.server
	for member := range uint64(2) {
		never.approvals = append(never.approvals, must(ledger.ParseApproval(never.approval(member+1, owner.shareKeys[member+1], nil))))
	}
	w.refused(never.takeOver(never.recovered(owner.state)), api.ErrUnknownRecovery)

	// Two that were both released to: the second comes too late.
	w.wait(waitingPeriod)
	w.ok(other.release())
	state, err := n.ledger()
	w.ok(err)
	w.ok(n.takeOver(n.recovered(state)))
	w.refused(other.takeOver(other.recovered(owner.state)), api.ErrRecoveryOver)
}

func TestReleaseInPages(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	for i := range 3 {
		owner.store(byte(i), 1, strings.Repeat("x", api.PageSize*2/3))
	}
	n := w.recover(owner)
	_, err := n.start()
	w.ok(err)
	w.ok(n.approve(contacts[0], 1))
	w.ok(n.approve(contacts[1], 2))
	w.wait(waitingPeriod)
	first, err := n.page(0)
	w.ok(err)
	if !first.More {
		t.Error("all fits into one page, so this tests nothing")
	}
	n.last = first.Last
	w.ok(n.release())
	if n.server.Len() != 3 {
		t.Errorf("%d shares were released", n.server.Len())
	}
	// What the old device still writes comes after it.
	owner.store(9, 1, "late")
	w.ok(n.release())
	if n.server.Len() != 4 {
		t.Errorf("%d shares after one more was stored", n.server.Len())
	}
}
