package server_test

import (
	"crypto/rand"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// newcomer is a new device that recovers an account.
type newcomer struct {
	*device
	owner   *account
	request *ledger.RecoveryRequest

	approvals []*ledger.Approval // as released
	shares    []*slip39.Share    // the server's and the contacts'
	server    *recovery.Released
	last      uint64
}

// recover makes a new device's request for an account.
func (w *world) recover(owner *account) *newcomer {
	n := &newcomer{device: w.device(), owner: owner, server: recovery.NewReleased()}
	n.account = owner
	n.request = n.newRequest()
	return n
}

// approved is a recovery that a quorum has approved, and whose period is over.
func (w *world) approved(owner *account, contacts []*account) *newcomer {
	n := w.recover(owner)
	_, err := n.start()
	w.ok(err)
	w.ok(n.approve(contacts[0], 1))
	w.ok(n.approve(contacts[1], 2))
	w.wait(waitingPeriod)
	return n
}

// released is one that the server has released, too.
func (w *world) released(owner *account, contacts []*account) *newcomer {
	n := w.approved(owner, contacts)
	w.ok(n.release())
	return n
}

func (n *newcomer) newRequest() *ledger.RecoveryRequest {
	return must(ledger.ParseRecoveryRequest(must(ledger.NewRecoveryRequest(&recordv1.RecoveryRequest{
		Account: n.owner.id[:], Nonce: nonce(), SignKey: n.sign.PublicKey().Bytes(), SealKey: n.seal.PublicKey().Bytes(),
		ConfirmKey: n.confirm.PublicKey().Bytes(), Time: uint64(n.w.clock().UnixMilli()), Server: n.w.keys.SignKey().Bytes(),
	}, n.sign))))
}

func (n *newcomer) id() []byte {
	id := n.request.ID()
	return id[:]
}

func (n *newcomer) start() (*apiv1.Recovery, error) {
	answer, err := n.w.client().StartRecovery(n.w.t.Context(), n.identity(), &apiv1.StartRecoveryRequest{Request: n.request.Bytes()})
	return answer.GetRecovery(), err
}

// approval is a member's approval, changed and signed with a key.
func (n *newcomer) approval(member uint64, key *signing.PrivateKey, change func(*recordv1.Approval)) []byte {
	now := n.w.clock()
	a := &recordv1.Approval{
		Request: n.id(), Account: n.owner.id[:], Epoch: n.owner.state.InUse().Number,
		Holder:  &recordv1.Holder{Kind: recordv1.Holder_KIND_MEMBER, Number: member},
		SignKey: n.sign.PublicKey().Bytes(), SealKey: n.seal.PublicKey().Bytes(),
		NotBefore: uint64(now.UnixMilli()), Expiry: uint64(now.Add(30 * 24 * 3600e9).UnixMilli()),
	}
	for _, veto := range n.owner.state.Vetoes(n.request.ID()) {
		a.Vetoes = append(a.Vetoes, veto.Entry[:])
	}
	if change != nil {
		change(a)
	}
	return must(ledger.NewApproval(a, key))
}

// approve has a contact's device bring its approval and its share.
func (n *newcomer) approve(contact *account, member uint64) error {
	_, err := n.bring(contact.first(), n.approval(member, n.owner.shareKeys[member], nil), member)
	return err
}

func (n *newcomer) bring(by *device, approval []byte, member uint64) (*apiv1.Recovery, error) {
	sealed := must(recovery.SealShare(rand.Reader, n.owner.shares[member], n.owner.state.InUse().Number, n.request))
	return n.w.client().Approve(n.w.t.Context(), by.identity(), &apiv1.ApproveRequest{Approval: approval, SealedShare: sealed})
}

func (n *newcomer) status() *apiv1.Recovery {
	n.w.t.Helper()
	r, err := n.w.client().RecoveryStatus(n.w.t.Context(), n.identity(), &apiv1.RecoveryStatusRequest{Request: n.id()})
	n.w.ok(err)
	return r
}

// page asks for one page of the release and takes what is in it.
func (n *newcomer) page(after uint64) (*apiv1.ReleaseAnswer, error) {
	answer, err := n.w.client().Release(n.w.t.Context(), n.identity(), &apiv1.ReleaseRequest{Request: n.id(), After: after})
	if err != nil {
		return nil, err
	}
	epoch := n.owner.state.InUse().Number
	opened, err := api.OpenRelease(n.seal, api.ReleasePlace{Account: n.owner.id, Epoch: epoch, Recovery: n.request.ID(), After: after}, answer.Sealed)
	n.w.ok(err)
	if after == 0 {
		n.shares = []*slip39.Share{must(slip39.ParseBinary(opened.SeedShare))}
		n.approvals = nil
		for _, a := range answer.Approvals {
			approval := must(ledger.ParseApproval(a.Approval))
			n.approvals = append(n.approvals, approval)
			if len(a.SealedShare) > 0 {
				n.shares = append(n.shares, must(recovery.OpenShare(n.seal, n.request, approval, a.SealedShare)))
			}
		}
	}
	for _, share := range opened.Shares {
		n.server.Add(share.Slot.Epoch, ledger.SlotID(share.Slot.Slot), share.Slot.Version, share.Share)
	}
	return answer, nil
}

// release takes all pages.
func (n *newcomer) release() error {
	for {
		page, err := n.page(n.last)
		if err != nil {
			return err
		}
		n.last = page.Last
		if !page.More {
			return nil
		}
	}
}

// ledger takes the account's ledger from the server.
func (n *newcomer) ledger() (*ledger.State, error) {
	page, err := n.w.client().Entries(n.w.t.Context(), n.identity(), &apiv1.EntriesRequest{Nonce: nonce()})
	if err != nil {
		return nil, err
	}
	var entries []*ledger.Entry
	for _, b := range page.Entries {
		entries = append(entries, must(ledger.ParseEntry(b)))
	}
	return ledger.Fold(entries...)
}

// recovered makes the entry that hands the account over, from what was released.
func (n *newcomer) recovered(state *ledger.State) *ledger.Entry {
	n.w.t.Helper()
	epoch := state.InUse().Number
	shares := n.shares
	if n.owner.sheet != nil && len(shares) == 1 { // the sheet's words, typed here
		shares = append(shares, n.owner.sheet.Share)
	}
	keys, report, err := recovery.Rebuild(shares, state, epoch)
	if err != nil {
		n.w.t.Fatalf("%v: %v", err, report)
	}
	record, lost, err := recovery.NewRecovered(n.w.t.Context(), rand.Reader, recovery.Recovery{
		State: state, Request: n.request, Approvals: n.approvals, Now: n.w.clock(),
		DeviceShare: must(recovery.RestoreDeviceShare(shares, state, epoch)),
		Backup:      recovery.NewBackup(state, epoch, keys), Server: n.server, Name: "new",
	})
	n.w.ok(err)
	if len(lost) > 0 {
		n.w.t.Errorf("lost: %v", lost)
	}
	id, head := state.Account(), state.Head()
	return must(ledger.Draft{Account: &id, Previous: head, Time: n.w.clock(), Author: state.NextDevice(), Records: [][]byte{must(ledger.NewRecord(record))}}.Sign(n.sign))
}

// takeOver appends Recovered as the new device, whose number that gives.
func (n *newcomer) takeOver(e *ledger.Entry) error {
	who := api.Identity{Account: &n.owner.id, Device: e.Author(), Key: n.sign}
	_, _, err := n.w.client().Append(n.w.t.Context(), who, &apiv1.AppendRequest{Entries: [][]byte{e.Bytes()}})
	if err == nil {
		n.number = e.Author()
		n.w.ok(n.owner.state.Apply(e))
		n.owner.entries = append(n.owner.entries, e)
		n.owner.devices = append(n.owner.devices, n.device)
	}
	return err
}
