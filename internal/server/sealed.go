package server

import (
	"context"

	"zeropass.dev/zeropass/credential"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
)

// sealedAtOnce is how many shares are read at a time: one may have megabytes.
const sealedAtOnce = 8

// sealedShares gives a device shares that it has not got, because it was added
// after them or another device wrote them: sealed to this server's own key, as
// devices keep them for a server that is restored from an older copy. The device
// gains nothing by them, so this is not logged, and costs nothing of the policy's
// limits; what one request costs the server is bounded by the page.
func (s *Server) sealedShares(ctx context.Context, a *asked, q *apiv1.SealedSharesRequest) (*apiv1.SealedSharesAnswer, error) {
	acct, _, err := s.foldedDevice(ctx, a)
	if err != nil {
		return nil, err
	}
	if len(q.Shares) > api.MaxSealedShares {
		return nil, api.Refuse(api.ErrTooLarge, "%d shares, at most %d are given at once", len(q.Shares), api.MaxSealedShares)
	}
	required := map[ledger.ShareID]ledger.ServerShare{}
	for _, share := range acct.state.RequiredShares() {
		required[share.ShareID] = share
	}
	answer := &apiv1.SealedSharesAnswer{}
	for size := 0; size < api.PageSize && answer.Dealt < uint64(len(q.Shares)); {
		asked := q.Shares[answer.Dealt:min(answer.Dealt+sealedAtOnce, uint64(len(q.Shares)))]
		found, err := s.requiredShares(ctx, acct.id, required, asked)
		if err != nil {
			return nil, err
		}
		var fit []store.Share
		for _, share := range found {
			if size >= api.PageSize {
				break
			}
			answer.Dealt++
			if share != nil {
				fit = append(fit, *share)
				size += len(share.Sealed)
			}
		}
		sealed, err := s.seal(ctx, acct.id, required, fit)
		if err != nil {
			return nil, err
		}
		answer.Shares = append(answer.Shares, sealed...)
	}
	return answer, nil
}

// requiredShares reads the shares that are asked for, in that order, nil for each
// that the ledger does not require or the store has not: the device's ledger may be
// older.
func (s *Server) requiredShares(ctx context.Context, id ledger.AccountID, required map[ledger.ShareID]ledger.ServerShare, asked []*recordv1.SealedServerShare) ([]*store.Share, error) {
	place := map[ledger.ShareID]int{}
	var names []ledger.ShareID
	for i, share := range asked {
		name, err := ledger.SealedShareID(share)
		if err != nil {
			return nil, api.RefuseRule(api.ErrMalformed, err)
		}
		if _, ok := required[name]; ok {
			place[name] = i
			names = append(names, name)
		}
	}
	stored, err := s.store.Shares(ctx, id, names)
	if err != nil {
		return nil, err
	}
	found := make([]*store.Share, len(asked))
	for i := range stored {
		found[place[stored[i].ShareID]] = &stored[i]
	}
	return found, nil
}

// seal seals shares to this server.
func (s *Server) seal(ctx context.Context, id ledger.AccountID, required map[ledger.ShareID]ledger.ServerShare, stored []store.Share) ([]*recordv1.SealedServerShare, error) {
	return credential.Map(ctx, stored, func(_ context.Context, share store.Share) (*recordv1.SealedServerShare, error) {
		plain, err := s.decryptShare(id, share)
		if err != nil {
			return nil, err
		}
		defer clear(plain)
		sealed := namedShare(share.ShareID)
		sealed.Sealed, err = seed.SealForServer(s.rand, s.keys.SealKey(), id, required[share.ShareID], plain)
		return sealed, err
	})
}

// namedShare is a share's name as it travels.
func namedShare(id ledger.ShareID) *recordv1.SealedServerShare {
	share := &recordv1.SealedServerShare{Kind: id.Kind, Epoch: id.Epoch, Version: id.Version, Member: id.Member}
	if id.Kind == recordv1.SealedServerShare_KIND_SLOT {
		share.Slot = id.Slot[:]
	}
	return share
}
