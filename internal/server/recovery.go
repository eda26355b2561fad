package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"

	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

const (
	// openRecoveries is how many requests may be open for an account. Whoever
	// knows its name can make one, so an attacker must not be able to fill this
	// up: one more takes the place of the oldest, of those that no contact has
	// approved, from the network that has most of them. The owner's stays, unless
	// strangers ask from as many networks. What no contact has approved is
	// forgotten this long after its waiting period.
	openRecoveries = 256
	staleRecovery  = 30 * 24 * time.Hour

	maxSealedShare = 4 << 10 // bytes of a member share for the new device
)

// startRecovery tells a new device which account has a name, and then takes its
// request.
func (s *Server) startRecovery(ctx context.Context, a *asked, q *apiv1.StartRecoveryRequest) (*apiv1.StartRecoveryAnswer, error) {
	if len(q.Request) == 0 {
		return s.named(ctx, q.Name)
	}
	acct, err := s.foldedAsker(ctx, a)
	if err != nil {
		return nil, err
	}
	request, err := s.checkRequest(a, acct, q.Request)
	if err != nil {
		return nil, err
	}
	all, err := s.store.Recoveries(ctx, acct.id)
	if err != nil {
		return nil, err
	}
	started := store.Recovery{
		ID: request.ID(), Account: acct.id, Request: q.Request, Key: a.Key.Bytes(),
		Started: a.now, Sequence: acct.state.Head().Sequence, Source: s.source(a.remote),
	}
	known := false
	op := store.Start{Head: acct.state.Head(), Limit: openRecoveries, Stale: a.now.Add(-acct.state.InUse().WaitingPeriod() - staleRecovery)}
	for _, r := range all {
		if isOver(acct.state, r) {
			op.Over = append(op.Over, r.ID)
		}
		if r.ID == started.ID {
			started, known = r, true // asked again: nothing starts anew
		}
	}
	op.Recovery = started
	if !known {
		if wait := s.starters.wait(a.remote, a.now); wait > 0 {
			refusal := api.Refuse(api.ErrRateLimited, "too many recoveries were started from this address; wait, or ask from another network")
			refusal.RetryAfter = wait
			return nil, refusal
		}
	}

	answer := &apiv1.StartRecoveryAnswer{Account: acct.id[:], Request: started.ID[:]}
	st, err := s.stand(ctx, acct, started, a.now)
	if err != nil {
		return nil, err
	}
	if answer.Recovery, err = s.describe(ctx, a, acct, started, st); err != nil {
		return nil, err
	}
	if op.Spend, err = a.logged(acct.account, answer); err != nil {
		return nil, err
	}
	if !known {
		op.Spend.Alarms = []store.Alarm{s.alarmByAnybody(a, acct.account, notify.RecoveryRequested)}
		op.Spend.Origin = s.origin(a, acct.account, false)
	}
	op.Spend.Changes = append(recoveryChanges(acct.state), change(acct.id, apiv1.Hint_KIND_ACTIVITY))
	err = s.store.Start(ctx, op)
	switch {
	case errors.Is(err, store.ErrOpen):
		return nil, api.Refuse(api.ErrRecoveryOpen, "go on with that one")
	case errors.Is(err, store.ErrFull):
		return nil, api.Refuse(api.ErrRateLimited, "%d recoveries that contacts have approved are open for the account", openRecoveries)
	}
	if err != nil {
		return nil, err
	}
	s.hint(op.Spend.Changes...)
	return answer, nil
}

func (s *Server) named(ctx context.Context, name string) (*apiv1.StartRecoveryAnswer, error) {
	id, err := s.accountNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	return &apiv1.StartRecoveryAnswer{Account: id[:]}, nil
}

// accountNamed tells a device that is in no ledger which account has a name.
func (s *Server) accountNamed(ctx context.Context, name string) (ledger.AccountID, error) {
	key, err := nameKey(name)
	if err != nil {
		return ledger.AccountID{}, err
	}
	id, err := s.store.Named(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return ledger.AccountID{}, api.Refuse(api.ErrUnknownAccount, "no account has this name: check its spelling, and the server's address")
	}
	return id, err
}

// checkRequest wants a request that a recovery of the account may begin with.
func (s *Server) checkRequest(a *asked, acct *folded, b []byte) (*ledger.RecoveryRequest, error) {
	request, err := ledger.ParseRecoveryRequest(b)
	if err != nil {
		return nil, api.RefuseRule(api.ErrMalformed, err)
	}
	if !request.SignKey().Equal(a.Key) || a.Header.Device != 0 {
		return nil, api.Refuse(api.ErrUnknownDevice, "the new device asks for itself, without a number")
	}
	if _, ok := acct.state.Recovered(request.ID()); ok {
		return nil, api.Refuse(api.ErrRecoveryOver, "this request has recovered the account")
	}
	if err := acct.state.CheckRequest(request); err != nil {
		return nil, api.RefuseRule(api.ErrMalformed, err)
	}
	if off := a.now.Sub(request.Time()).Abs(); off > staleRecovery {
		return nil, api.Refuse(api.ErrClock, "the request was made %s ago: make a new one", off.Round(time.Hour))
	}
	if !acct.state.Committed() {
		return nil, api.Refuse(api.ErrNotRecoverable, "no quorum of contacts has ever proved its shares")
	}
	return request, nil
}

// isOver says whether a recovery that came later than the request's start has
// ended it, or its own.
func isOver(state *ledger.State, r store.Recovery) bool {
	for _, done := range state.Recoveries() {
		if done.Sequence > r.Sequence {
			return true
		}
	}
	return false
}

// recovery returns a request that was started here.
func (s *Server) recovery(ctx context.Context, id ledger.Hash) (store.Recovery, error) {
	r, err := s.store.Recovery(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Recovery{}, api.Refuse(api.ErrUnknownRecovery, "start it anew")
	}
	return r, err
}

// standing is how far a recovery has come.
type standing struct {
	request *ledger.RecoveryRequest
	vetoes  []ledger.Veto
	counted []store.Approval // that count now
	members []uint64         // whose they are, in ascending order
	sheet   bool             // the sheet's is among them
	quorum  int
	ends    time.Time
	over    bool
}

// enough says whether the approvals make a quorum.
func (st *standing) enough() bool { return st.sheet || len(st.members) >= st.quorum }

// stand finds out how far a recovery has come, by the ledger as it is now: an
// approval that a veto, a new epoch or time has voided does not count. just are
// approvals that are about to be stored.
func (s *Server) stand(ctx context.Context, acct *folded, r store.Recovery, now time.Time, just ...store.Approval) (*standing, error) {
	request, err := ledger.ParseRecoveryRequest(r.Request)
	if err != nil {
		return nil, err
	}
	e := acct.state.InUse()
	st := &standing{request: request, vetoes: acct.state.Vetoes(r.ID), quorum: e.Quorum(), over: isOver(acct.state, r)}
	// A veto starts the whole period again.
	from := r.Started
	for _, veto := range st.vetoes {
		if veto.Time.After(from) {
			from = veto.Time
		}
	}
	st.ends = from.Add(e.WaitingPeriod())
	stored, err := s.store.Approvals(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	approvals := append(just, stored...)
	for member := range e.Record.Members {
		st.count(acct.state, approvals, memberHolder(uint64(member)+1), now)
	}
	st.count(acct.state, approvals, &recordv1.Holder{Kind: recordv1.Holder_KIND_SHEET}, now)
	return st, nil
}

// count counts a holder's first approval in the list, if it counts.
func (st *standing) count(state *ledger.State, approvals []store.Approval, holder *recordv1.Holder, now time.Time) {
	for _, stored := range approvals {
		if stored.Holder != holderName(holder) {
			continue
		}
		a, err := ledger.ParseApproval(stored.Approval)
		if err != nil || checkApproval(state, a, st.request, now) != nil {
			return
		}
		st.counted = append(st.counted, stored)
		if holder.Kind == recordv1.Holder_KIND_SHEET {
			st.sheet = true
		} else {
			st.members = append(st.members, holder.Number)
		}
	}
}

func memberHolder(member uint64) *recordv1.Holder {
	return &recordv1.Holder{Kind: recordv1.Holder_KIND_MEMBER, Number: member}
}

func holderName(h *recordv1.Holder) string {
	if h.Kind == recordv1.Holder_KIND_SHEET {
		return "sheet"
	}
	return fmt.Sprintf("member/%d", h.Number)
}

// describe says how far a recovery has come, to whoever may know.
func (s *Server) describe(ctx context.Context, a *asked, acct *folded, r store.Recovery, st *standing) (*apiv1.Recovery, error) {
	asker, _ := a.Account()
	d := &apiv1.Recovery{
		Request:       r.Request,
		Name:          acct.name,
		Started:       uint64(r.Started.UnixMilli()),
		Ends:          uint64(st.ends.UnixMilli()),
		Approvals:     uint64(len(st.members)),
		Quorum:        uint64(st.quorum),
		Approved:      st.members,
		SheetApproved: st.sheet,
		Over:          st.over,
		Epoch:         acct.state.InUse().Number,
		Owner:         asker == acct.id && a.Header.Device != 0,
		Released:      r.Released,
	}
	for _, veto := range st.vetoes {
		entry, err := s.entry(ctx, acct.id, veto.Sequence)
		if err != nil {
			return nil, err
		}
		d.Vetoes = append(d.Vetoes, entry)
	}
	return d, nil
}

// entry returns one entry's exact bytes.
func (s *Server) entry(ctx context.Context, id ledger.AccountID, sequence uint64) ([]byte, error) {
	entries, err := s.store.Entries(ctx, id, sequence-1, sequence, 1)
	if err != nil {
		return nil, err
	}
	if len(entries) != 1 {
		return nil, fmt.Errorf("server: the store lacks entry %d of a ledger", sequence)
	}
	return entries[0], nil
}

// recoveryStatus tells the new device, the account's devices and its contacts how
// far a recovery has come.
func (s *Server) recoveryStatus(ctx context.Context, a *asked, q *apiv1.RecoveryStatusRequest) (*apiv1.RecoveryStatusAnswer, error) {
	r, acct, _, err := s.concerned(ctx, a, q.Request)
	if err != nil {
		return nil, err
	}
	st, err := s.stand(ctx, acct, r, a.now)
	if err != nil {
		return nil, err
	}
	d, err := s.describe(ctx, a, acct, r, st)
	if err != nil {
		return nil, err
	}
	return &apiv1.RecoveryStatusAnswer{Recovery: d}, nil
}

// party is what an asker is to a recovery.
type party int

const (
	newDevice party = iota + 1
	ownDevice
	contactDevice
)

// concerned returns the recovery that a request names, its account, and what the
// asker is to it. For strangers the recovery does not exist.
func (s *Server) concerned(ctx context.Context, a *asked, id []byte) (store.Recovery, *folded, party, error) {
	none := store.Recovery{}
	if len(id) != len(ledger.Hash{}) {
		return none, nil, 0, api.Refuse(api.ErrMalformed, "a recovery's id has %d bytes", len(id))
	}
	asker, err := s.asker(ctx, a)
	if err != nil {
		return none, nil, 0, err
	}
	r, err := s.recovery(ctx, ledger.Hash(id))
	if err != nil {
		return none, nil, 0, err
	}
	acct, err := s.foldedAccount(ctx, r.Account)
	if err != nil {
		return none, nil, 0, err
	}
	if a.Header.Device == 0 {
		if asker.id == acct.id && string(r.Key) == string(a.Key.Bytes()) {
			return r, acct, newDevice, nil
		}
		return none, nil, 0, api.Refuse(api.ErrUnknownRecovery, "start it anew")
	}
	if _, err := activeDevice(a, asker.now); err != nil {
		return none, nil, 0, err
	}
	if asker.id == acct.id {
		return r, acct, ownDevice, nil
	}
	if boundIn(acct.state.InUse(), asker.id) {
		return r, acct, contactDevice, nil
	}
	return none, nil, 0, api.Refuse(api.ErrUnknownRecovery, "the account is no contact's of yours")
}

// shownRecoveries is how many bytes of recoveries are shown at a time. Those of
// many accounts fit that somebody floods, and of more that nobody does.
const shownRecoveries = api.MaxBody / 2

// asking are an account's requests to recover it.
type asking struct {
	acct     *folded
	requests []store.Recovery
}

// recoveries tells a device the open recoveries of its own account, and of those
// whose contact its account is. Anybody's account may name it as its contact, and
// anybody may ask for a recovery: where they are too many to be shown, those of the
// accounts that have most are left out.
func (s *Server) recoveries(ctx context.Context, a *asked, _ *apiv1.RecoveriesRequest) (*apiv1.RecoveriesAnswer, error) {
	own, _, err := s.device(ctx, a)
	if err != nil {
		return nil, err
	}
	all, err := s.askingContact(ctx, own.id)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b asking) int { return cmp.Compare(len(a.requests), len(b.requests)) })
	requests, err := s.store.Recoveries(ctx, own.id)
	if err != nil {
		return nil, err
	}
	if len(requests) > 0 {
		acct, err := s.fold(ctx, own)
		if err != nil {
			return nil, err
		}
		all = slices.Insert(all, 0, asking{acct, requests})
	}
	answer := &apiv1.RecoveriesAnswer{}
	size := 0
	for _, of := range all {
		for _, r := range of.requests {
			st, err := s.stand(ctx, of.acct, r, a.now)
			if err != nil {
				return nil, err
			}
			if st.over {
				continue
			}
			d, err := s.describe(ctx, a, of.acct, r, st)
			if err != nil {
				return nil, err
			}
			if size += proto.Size(d); size > s.shown {
				return answer, nil
			}
			answer.Recoveries = append(answer.Recoveries, d)
		}
	}
	return answer, nil
}

// askingContact returns the requests to recover accounts whose contact this one is.
func (s *Server) askingContact(ctx context.Context, contact ledger.AccountID) ([]asking, error) {
	owners, err := s.store.Owners(ctx, contact)
	if err != nil {
		return nil, err
	}
	var all []asking
	for _, id := range owners {
		requests, err := s.store.Recoveries(ctx, id)
		if err != nil {
			return nil, err
		}
		if len(requests) == 0 {
			continue
		}
		owner, err := s.foldedAccount(ctx, id)
		if errors.Is(err, api.ErrAccountLocked) || errors.Is(err, api.ErrUnknownAccount) {
			continue // nothing is approved there, or it was deleted just now
		}
		if err != nil {
			return nil, err
		}
		if boundIn(owner.state.InUse(), contact) {
			all = append(all, asking{owner, requests})
		}
	}
	return all, nil
}

// approve takes a contact's approval from one of the contact's devices, and one
// that was typed in words from the new device.
func (s *Server) approve(ctx context.Context, a *asked, q *apiv1.ApproveRequest) (*apiv1.ApproveAnswer, error) {
	approval, err := ledger.ParseApproval(q.Approval)
	if err != nil {
		return nil, api.RefuseRule(api.ErrApprovalRefused, err)
	}
	if len(q.SealedShare) > maxSealedShare {
		return nil, api.Refuse(api.ErrTooLarge, "a sealed share of %d bytes", len(q.SealedShare))
	}
	id := approval.Request()
	r, acct, asker, err := s.concerned(ctx, a, id[:])
	if err != nil {
		return nil, err
	}
	if isOver(acct.state, r) {
		return nil, api.Refuse(api.ErrRecoveryOver, "another device has recovered the account")
	}
	if err := mayApprove(a, acct.state, q, approval, asker); err != nil {
		return nil, err
	}
	request, err := ledger.ParseRecoveryRequest(r.Request)
	if err != nil {
		return nil, err
	}
	if err := checkApproval(acct.state, approval, request, a.now); err != nil {
		return nil, err
	}

	op := store.Approval{
		Account: acct.id, Head: acct.state.Head(), Recovery: r.ID,
		Holder: holderName(approval.Holder()), Approval: q.Approval, SealedShare: q.SealedShare,
	}
	st, err := s.stand(ctx, acct, r, a.now, op)
	if err != nil {
		return nil, err
	}
	answer := &apiv1.ApproveAnswer{}
	if answer.Recovery, err = s.describe(ctx, a, acct, r, st); err != nil {
		return nil, err
	}
	if op.Spend, err = a.logged(acct.account, answer); err != nil {
		return nil, err
	}
	op.Spend.Alarms = []store.Alarm{s.alarm(a, acct.account, notify.RecoveryApproved, notify.Data{})}
	op.Spend.Changes = append(recoveryChanges(acct.state), change(acct.id, apiv1.Hint_KIND_ACTIVITY))
	if err := s.store.Approve(ctx, op); err != nil {
		return nil, err
	}
	s.hint(op.Spend.Changes...)
	return answer, nil
}

// mayApprove wants an approval to come from a device of the contact that holds
// the member, with the share that goes with it, or from the new device, where
// words were typed.
func mayApprove(a *asked, state *ledger.State, q *apiv1.ApproveRequest, approval *ledger.Approval, asker party) error {
	if asker == newDevice {
		return nil
	}
	member, ok := state.InUse().Member(approval.Holder().Number)
	if asker != contactDevice || !ok || member.Contact == nil || string(member.Contact.Account) != string(a.Header.Account) {
		return api.Refuse(api.ErrApprovalRefused, "it comes from neither its holder nor the new device")
	}
	if len(q.SealedShare) == 0 {
		return api.Refuse(api.ErrApprovalRefused, "the share did not come with it")
	}
	return nil
}

// checkApproval wants an approval to count now, and the head that it names to be
// proved. A head that the server has signed itself but lacks is one that it lost:
// then it cannot judge which device signed too, and leaves it to the new device,
// which stops at such a ledger.
func checkApproval(state *ledger.State, approval *ledger.Approval, request *ledger.RecoveryRequest, now time.Time) error {
	if err := state.CheckApproval(approval, request, now); err != nil {
		return api.RefuseRule(api.ErrApprovalRefused, err)
	}
	head, named := approval.Head()
	if !named {
		return nil
	}
	if _, server := approval.Attestations(); state.CheckAttestation(server) != nil {
		return api.Refuse(api.ErrApprovalRefused, "this server did not sign the head that it names")
	}
	if head.Sequence > state.Head().Sequence {
		return nil
	}
	if _, proved := state.ProvedHead(approval); !proved {
		return api.Refuse(api.ErrApprovalRefused, "no device of the account signed the head that it names")
	}
	return nil
}
