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

// sealedAtOnce is how many shares are in memory at a time.
const sealedAtOnce = 32

// sealedShares gives a device shares that it has not got, because it was added
// after them or another device wrote them: sealed to this server's own key, as
// devices keep them for a server that is restored from an older copy. The device
// gains nothing by them, so this is not logged, and costs nothing of the policy's
// limits; what one request costs the server is bounded by the page.
func (s *Server) sealedShares(ctx context.Context, a *asked, q *apiv1.SealedSharesRequest) (*apiv1.SealedSharesAnswer, error) {
	acct, _, err := s.device(ctx, a)
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
		var names []ledger.ShareID
		for _, share := range asked {
			name, err := ledger.SealedShareID(share)
			if err != nil {
				return nil, api.RefuseRule(api.ErrMalformed, err)
			}
			if _, ok := required[name]; ok { // the device's ledger may be older
				names = append(names, name)
			}
		}
		sealed, err := s.seal(ctx, acct.id, required, names)
		if err != nil {
			return nil, err
		}
		for _, share := range sealed {
			size += len(share.Sealed)
		}
		answer.Shares = append(answer.Shares, sealed...)
		answer.Dealt += uint64(len(asked))
	}
	return answer, nil
}

// seal seals to this server those of the named shares that the store has.
func (s *Server) seal(ctx context.Context, id ledger.AccountID, required map[ledger.ShareID]ledger.ServerShare, names []ledger.ShareID) ([]*recordv1.SealedServerShare, error) {
	stored, err := s.store.Shares(ctx, id, names)
	if err != nil {
		return nil, err
	}
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
