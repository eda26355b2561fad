package sqlstore

import (
	"cmp"
	"context"
	"slices"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// Join implements [store.Store].
func (s *Store) Join(ctx context.Context, j store.Joining) error {
	join := j.Join
	return s.change(ctx, j.Spend, []ledger.AccountID{join.Account}, func(ctx context.Context, tx Tx) error {
		if err := checkHead(ctx, tx, join.Account, j.Head); err != nil {
			return err
		}
		if err := s.lockKey(ctx, tx, join.Key); err != nil {
			return err
		}
		if err := tx.Later(ctx, nil, `DELETE FROM joins WHERE key = $1`, join.Key); err != nil {
			return err
		}
		if err := tx.Later(ctx, nil, `DELETE FROM joins WHERE key IN (SELECT key FROM joins WHERE expires <= $1`+s.skipLocked()+`)`,
			j.Spend.Now.UnixMilli()); err != nil {
			return err
		}
		others, err := joins(ctx, tx, join.Account, j.Spend.Now)
		if err != nil {
			return err
		}
		if len(others) >= j.Limit {
			if err := forgetJoin(ctx, tx, others, join); err != nil {
				return err
			}
		}
		return tx.Later(ctx, nil,
			`INSERT INTO joins (key, id, account, request, received, expires, source) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			join.Key, join.ID[:], join.Account[:], join.Request, join.Received.UnixMilli(), join.Expires.UnixMilli(),
			append([]byte{}, join.Source...)) // empty, not NULL
	})
}

// forgetJoin makes room as forgetOne does: whoever floods an account forgets what
// is theirs.
func forgetJoin(ctx context.Context, tx Tx, others []store.Join, fresh store.Join) error {
	count := map[string]int{string(fresh.Source): 1}
	for _, other := range others {
		count[string(other.Source)]++
	}
	goes := slices.MaxFunc(others, func(a, b store.Join) int { // the first, which is the oldest
		return cmp.Compare(count[string(a.Source)], count[string(b.Source)])
	})
	return tx.Later(ctx, nil, `DELETE FROM joins WHERE key = $1`, goes.Key)
}

// Joins implements [store.Store].
func (s *Store) Joins(ctx context.Context, id ledger.AccountID, now time.Time) (all []store.Join, err error) {
	err = s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		all, err = joins(ctx, tx, id, now)
		return err
	})
	return all, err
}

func joins(ctx context.Context, tx Tx, id ledger.AccountID, now time.Time) ([]store.Join, error) {
	var all []store.Join
	rows, err := tx.QueryContext(ctx,
		`SELECT id, key, request, received, expires, source FROM joins WHERE account = $1 AND expires > $2 ORDER BY received, id`,
		id[:], now.UnixMilli())
	err = collect(rows, err, func(rows Rows) (bool, error) {
		join := store.Join{Account: id}
		var b []byte
		var received, expires int64
		err := rows.Scan(&b, &join.Key, &join.Request, &received, &expires, &join.Source)
		copy(join.ID[:], b)
		join.Received, join.Expires = timeOf(received), timeOf(expires)
		all = append(all, join)
		return false, err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
