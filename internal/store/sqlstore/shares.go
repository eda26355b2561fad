package sqlstore

import (
	"context"
	"slices"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

const (
	shareColumns = `kind, epoch, slot, version, member, key, sealed, position`
	shareNamed   = `account = $1 AND kind = $2 AND epoch = $3 AND slot = $4 AND version = $5 AND member = $6`
)

// nameOf returns the arguments of shareNamed.
func nameOf(account ledger.AccountID, id ledger.ShareID) []any {
	slot := []byte{}
	if id.Kind == recordv1.SealedServerShare_KIND_SLOT {
		slot = id.Slot[:]
	}
	return []any{account[:], int32(id.Kind), id.Epoch, slot, id.Version, id.Member}
}

func scanShare(rows interface{ Scan(...any) error }) (store.Share, error) {
	var share store.Share
	var slot []byte
	err := rows.Scan(&share.Kind, &share.Epoch, &slot, &share.Version, &share.Member, &share.Key, &share.Sealed, &share.Position)
	copy(share.Slot[:], slot)
	return share, err
}

func putShares(ctx context.Context, tx Tx, account ledger.AccountID, shares []store.Share) error {
	if len(shares) == 0 {
		return nil
	}
	var position uint64
	if err := tx.QueryRowContext(ctx, `SELECT position FROM accounts WHERE account = $1`, account[:]).Scan(&position); err != nil {
		return found(err)
	}
	for i, share := range shares {
		args := append(nameOf(account, share.ShareID), share.Key, share.Sealed, position+uint64(i)+1)
		if err := tx.Later(ctx, nil,
			`INSERT INTO shares (account, kind, epoch, slot, version, member, key, sealed, position)
			 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			 ON CONFLICT (account, kind, epoch, slot, version, member)
			 DO UPDATE SET key = excluded.key, sealed = excluded.sealed, position = excluded.position`,
			args...); err != nil {
			return err
		}
	}
	return tx.Later(ctx, nil, `UPDATE accounts SET position = $1 WHERE account = $2`, position+uint64(len(shares)), account[:])
}

func destroyShares(ctx context.Context, tx Tx, a store.Append) error {
	for _, id := range a.Destroy {
		if err := tx.Later(ctx, nil, `DELETE FROM shares WHERE `+shareNamed, nameOf(a.Account, id)...); err != nil {
			return err
		}
	}
	if len(a.Epochs) == 0 {
		return nil
	}
	var epochs []uint64
	rows, err := tx.QueryContext(ctx, `SELECT DISTINCT epoch FROM shares WHERE account = $1`, a.Account[:])
	if err := collect(rows, err, func(rows Rows) (bool, error) {
		var epoch uint64
		err := rows.Scan(&epoch)
		epochs = append(epochs, epoch)
		return false, err
	}); err != nil {
		return err
	}
	for _, epoch := range epochs {
		if slices.Contains(a.Epochs, epoch) {
			continue
		}
		if err := tx.Later(ctx, nil, `DELETE FROM shares WHERE account = $1 AND epoch = $2`, a.Account[:], epoch); err != nil {
			return err
		}
	}
	return nil
}

// Shares implements [store.Store].
func (s *Store) Shares(ctx context.Context, account ledger.AccountID, names []ledger.ShareID) ([]store.Share, error) {
	var shares []store.Share
	all := func(ctx context.Context, q Querier) error {
		shares = nil
		for _, id := range names {
			rows, err := q.QueryContext(ctx, `SELECT `+shareColumns+` FROM shares WHERE `+shareNamed, nameOf(account, id)...)
			if err := collect(rows, err, func(rows Rows) (bool, error) {
				share, err := scanShare(rows)
				shares = append(shares, share)
				return true, err
			}); err != nil {
				return err
			}
		}
		return nil
	}
	var err error
	if len(names) == 1 {
		err = s.db.ReadOnce(ctx, all)
	} else {
		err = s.db.Read(ctx, func(ctx context.Context, tx Tx) error { return all(ctx, tx) })
	}
	if err != nil {
		return nil, err
	}
	return shares, nil
}

// ShareIDs implements [store.Store].
func (s *Store) ShareIDs(ctx context.Context, account ledger.AccountID) ([]ledger.ShareID, error) {
	var ids []ledger.ShareID
	err := s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT kind, epoch, slot, version, member FROM shares WHERE account = $1`, account[:])
		return collect(rows, err, func(rows Rows) (bool, error) {
			var id ledger.ShareID
			var slot []byte
			err := rows.Scan(&id.Kind, &id.Epoch, &slot, &id.Version, &id.Member)
			copy(id.Slot[:], slot)
			ids = append(ids, id)
			return false, err
		})
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// SlotShares implements [store.Store].
func (s *Store) SlotShares(ctx context.Context, account ledger.AccountID, epoch, after uint64, size int) ([]store.Share, bool, error) {
	var shares []store.Share
	more := false
	err := s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		rows, err := tx.QueryContext(ctx,
			`SELECT `+shareColumns+` FROM shares WHERE account = $1 AND position > $2 AND kind = $3 AND epoch = $4 ORDER BY position`,
			account[:], after, int32(recordv1.SealedServerShare_KIND_SLOT), epoch)
		return collect(rows, err, func(rows Rows) (bool, error) {
			if size <= 0 {
				more = true
				return true, nil
			}
			share, err := scanShare(rows)
			shares = append(shares, share)
			size -= len(share.Sealed)
			return false, err
		})
	})
	if err != nil {
		return nil, false, err
	}
	return shares, more, nil
}
