package server

import (
	"context"
	"time"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// propose collects the endorsements that an entry of other devices needs. Its
// answer changes nothing, so it may be asked for again until the request expires;
// whether the entry may stand is for Append to say.
func (s *Server) propose(ctx context.Context, a *asked, _ *apiv1.ProposeRequest) (*apiv1.ProposeAnswer, error) {
	acct, d, err := s.foldedDevice(ctx, a)
	if err != nil {
		return nil, err
	}
	p, err := proposalOf(a.Request)
	if err != nil {
		return nil, err
	}
	k, err := s.kept(ctx, a)
	if err != nil {
		return nil, err
	}
	if err := s.checkProposal(a, acct.state, p, d.Number); err != nil {
		return nil, err
	}
	endorsements, err := endorsementsOf(acct.state, p, d.Number, k)
	if err != nil {
		return nil, err
	}
	if !acct.state.Endorsed(d.Number, p.Records(), endorsements) {
		return nil, s.keep(ctx, a, acct.account, d, k, endorsers(acct.state, p, d.Number, k), p.Added().GetKeys().GetSignKey())
	}
	if k == nil {
		return nil, api.Refuse(api.ErrConfirmationMissing, "no other device is active: this one endorses with its confirm key")
	}
	answer := &apiv1.ProposeAnswer{Endorsements: endorsements}
	if k.State == store.KeptUsed {
		return answer, nil
	}
	return answer, s.logAnswer(ctx, a, acct.account, answer, store.Answer{Kept: &k.ID})
}

// proposalOf reads the proposal in a request.
func proposalOf(r *api.Request) (*ledger.Proposal, error) {
	q := &apiv1.ProposeRequest{}
	if err := r.Decode(q); err != nil {
		return nil, err
	}
	size := 0
	for _, record := range q.Records {
		size += len(record)
	}
	if size > ledger.MaxEntrySize {
		return nil, api.Refuse(api.ErrTooLarge, "records of %d bytes: an entry has at most %d", size, ledger.MaxEntrySize)
	}
	p, err := ledger.ParseProposal(q.Proposal, q.Records)
	if err != nil {
		return nil, api.RefuseRule(api.ErrEntryRefused, err)
	}
	return p, nil
}

// checkProposal refuses what no endorsement would make an entry. A proposal that
// lives long could be appended when everybody has forgotten it.
func (s *Server) checkProposal(a *asked, state *ledger.State, p *ledger.Proposal, author uint64) error {
	expiry := time.UnixMilli(int64(p.Message().Expiry))
	if !expiry.After(a.now.Add(-api.MaxClockSkew)) || expiry.After(a.now.Add(api.ProposalLife+api.MaxClockSkew)) {
		return api.Refuse(api.ErrEntryRefused, "the proposal expires at %s: within %s is right", expiry.UTC().Format(time.RFC3339), api.ProposalLife)
	}
	for _, record := range p.Records() {
		if changed := record.GetServerKeyChanged(); changed != nil {
			if err := s.isOwn(changed.Server); err != nil {
				return err
			}
		}
	}
	// By the author's clock, as the entry will be.
	if err := state.CheckProposal(p, author, a.Time); err != nil {
		return api.RefuseRule(api.ErrEntryRefused, err)
	}
	return nil
}

// endorsementsOf returns the endorsements that still count: not those of devices
// that were locked since.
func endorsementsOf(state *ledger.State, p *ledger.Proposal, author uint64, k *store.Kept) ([]*recordv1.Endorsement, error) {
	if k == nil {
		return nil, nil
	}
	var endorsements []*recordv1.Endorsement
	for _, reply := range k.Replies {
		e := &recordv1.Endorsement{}
		if err := canonical.Unmarshal(reply.Bytes, e); err != nil {
			return nil, err
		}
		if state.CheckEndorsement(p, author, e) == nil {
			endorsements = append(endorsements, e)
		}
	}
	return endorsements, nil
}

// endorsers returns who may still endorse: the other active devices that are no
// subject, and 0 for the one that is added.
func endorsers(state *ledger.State, p *ledger.Proposal, author uint64, k *store.Kept) []uint64 {
	has := map[uint64]bool{}
	if k != nil {
		for _, reply := range k.Replies {
			has[reply.Device] = true
		}
	}
	var devices []uint64
	if p.Added() != nil && !has[0] {
		devices = append(devices, 0)
	}
	for _, number := range othersOf(state, author) {
		if !has[number] && !p.IsSubject(number) {
			devices = append(devices, number)
		}
	}
	return devices
}
