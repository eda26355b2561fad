package server

import (
	"context"
	"fmt"
	"slices"

	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
)

// openedShares are shares that came with an append, each checked against the
// hash that the ledger names, in the order in which they came.
type openedShares struct {
	opened []openedShare
	byID   map[ledger.ShareID][]byte
}

type openedShare struct {
	id    ledger.ShareID
	share []byte
}

func (o *openedShares) erase() {
	for _, share := range o.opened {
		clear(share.share)
	}
}

// takeShares opens the shares that came and are needed. New entries must bring
// theirs. Beyond that it takes what the store lacks, so that devices can mend a
// restored server, and passes over the rest.
func (s *Server) takeShares(ctx context.Context, id ledger.AccountID, after *ledger.State, fresh []*ledger.Entry, excused uint64, sent []*recordv1.SealedServerShare) (*openedShares, error) {
	wanted := newShares(after, fresh, excused)
	required := len(wanted)
	if len(sent) > required {
		lacking, err := s.lacking(ctx, id, after)
		if err != nil {
			return nil, err
		}
		for name, share := range lacking {
			if _, ok := wanted[name]; !ok {
				wanted[name] = share
			}
		}
	}
	type job struct {
		ledger.ServerShare
		sealed []byte
	}
	var jobs []job
	for _, share := range sent {
		name, err := ledger.SealedShareID(share)
		if err != nil {
			return nil, api.RefuseRule(api.ErrMalformed, err)
		}
		if want, ok := wanted[name]; ok {
			jobs = append(jobs, job{want, share.Sealed})
			delete(wanted, name)
		}
	}
	for name := range newShares(after, fresh, excused) {
		if _, missing := wanted[name]; missing {
			return nil, api.Refuse(api.ErrShareMissing, "the entries name %s", shareName(name))
		}
	}
	opened, err := credential.Map(ctx, jobs, func(_ context.Context, j job) (openedShare, error) {
		share, err := seed.OpenForServer(s.keys.seal, id, j.ServerShare, j.sealed)
		if err != nil {
			return openedShare{}, api.Refuse(api.ErrShareWrong, "%s", shareName(j.ShareID))
		}
		return openedShare{j.ShareID, share}, nil
	})
	if err != nil {
		return nil, err
	}
	shares := &openedShares{opened: opened, byID: map[ledger.ShareID][]byte{}}
	for _, share := range opened {
		shares.byID[share.id] = share.share
	}
	return shares, nil
}

// newShares returns the shares that new entries must bring. Of entries that stood
// here before, some were destroyed since.
func newShares(after *ledger.State, fresh []*ledger.Entry, excused uint64) map[ledger.ShareID]ledger.ServerShare {
	shares := map[ledger.ShareID]ledger.ServerShare{}
	kept := epochsKept(after)
	for _, e := range fresh {
		if e.Sequence() <= excused {
			continue
		}
		for _, share := range e.ServerShares() {
			if slices.Contains(kept, share.Epoch) {
				shares[share.ShareID] = share
			}
		}
	}
	return shares
}

// lacking returns the shares that the server must hold and the store has not.
func (s *Server) lacking(ctx context.Context, id ledger.AccountID, state *ledger.State) (map[ledger.ShareID]ledger.ServerShare, error) {
	lacking := map[ledger.ShareID]ledger.ServerShare{}
	for _, share := range state.RequiredShares() {
		lacking[share.ShareID] = share
	}
	have, err := s.store.ShareIDs(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, name := range have {
		delete(lacking, name)
	}
	return lacking, nil
}

// shareName names a share in a refusal.
func shareName(id ledger.ShareID) string {
	switch id.Kind {
	case recordv1.SealedServerShare_KIND_SLOT:
		return fmt.Sprintf("the share of slot %v, version %d, epoch %d", id.Slot, id.Version, id.Epoch)
	case recordv1.SealedServerShare_KIND_SEED:
		return fmt.Sprintf("the seed share of epoch %d", id.Epoch)
	default:
		return fmt.Sprintf("the waiting half of member %d, epoch %d", id.Member, id.Epoch)
	}
}

// encryptShares encrypts shares for the store.
func (s *Server) encryptShares(id ledger.AccountID, shares *openedShares) ([]store.Share, error) {
	with := s.keys.ring.first()
	encrypted := make([]store.Share, 0, len(shares.opened))
	for _, share := range shares.opened {
		sealed, err := with.key.Seal(s.rand, storedContext(id, share.id, with.id), share.share)
		if err != nil {
			return nil, err
		}
		encrypted = append(encrypted, store.Share{ShareID: share.id, Key: with.id, Sealed: sealed})
	}
	return encrypted, nil
}

// decryptShare decrypts a share from the store. The caller erases it.
func (s *Server) decryptShare(id ledger.AccountID, share store.Share) ([]byte, error) {
	key, err := s.keys.ring.key(share.Key)
	if err != nil {
		return nil, err
	}
	plain, err := key.Open(storedContext(id, share.ShareID, share.Key), share.Sealed)
	if err != nil {
		return nil, fmt.Errorf("server: %s in the store: %w", shareName(share.ShareID), err)
	}
	return plain, nil
}

// storedContext binds an encrypted share to its place in the store.
func storedContext(account ledger.AccountID, id ledger.ShareID, key string) *signing.Context {
	return signing.NewContext("stored-share").
		Bytes(account[:]).
		Uint(uint64(id.Kind)).
		Uint(id.Epoch).
		Bytes(id.Slot[:]).
		Uint(id.Version).
		Uint(id.Member).
		Text(key)
}

// share returns a copy of one share, from what just came or from the store, nil
// if it is in neither. The caller erases it.
func (s *Server) share(ctx context.Context, account ledger.AccountID, id ledger.ShareID, just *openedShares) ([]byte, error) {
	if share, ok := just.byID[id]; ok {
		return slices.Clone(share), nil
	}
	stored, err := s.store.Shares(ctx, account, []ledger.ShareID{id})
	if err != nil || len(stored) == 0 {
		return nil, err
	}
	return s.decryptShare(account, stored[0])
}
