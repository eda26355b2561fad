package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

const recoveryColumns = `id, account, request, key, started, sequence, released, source`

func scanRecovery(row interface{ Scan(...any) error }) (store.Recovery, error) {
	var r store.Recovery
	var id, account []byte
	var started int64
	if err := row.Scan(&id, &account, &r.Request, &r.Key, &started, &r.Sequence, &r.Released, &r.Source); err != nil {
		return store.Recovery{}, found(err)
	}
	copy(r.ID[:], id)
	copy(r.Account[:], account)
	r.Started = timeOf(started)
	return r, nil
}

// Start implements [store.Store].
func (s *Store) Start(ctx context.Context, start store.Start) error {
	r := start.Recovery
	return s.change(ctx, start.Spend, []ledger.AccountID{r.Account}, func(ctx context.Context, tx Tx) error {
		if err := checkHead(ctx, tx, r.Account, start.Head); err != nil {
			return err
		}
		if err := s.lockKey(ctx, tx, r.Key); err != nil {
			return err
		}
		if err := tx.Later(ctx, nil,
			`DELETE FROM recoveries WHERE account = $1 AND started < $2
			 AND NOT EXISTS (SELECT 1 FROM approvals WHERE approvals.recovery = recoveries.id)`,
			r.Account[:], start.Stale.UnixMilli()); err != nil {
			return err
		}
		open, err := openRecoveries(ctx, tx, start)
		if err != nil {
			return err
		}
		for _, other := range open {
			if other.ID == r.ID {
				return nil
			}
			if string(other.Key) == string(r.Key) {
				return store.ErrOpen
			}
		}
		if len(open) >= start.Limit {
			if err := forgetOne(ctx, tx, open, r); err != nil {
				return err
			}
		}
		return tx.Later(ctx, nil,
			`INSERT INTO recoveries (id, account, request, key, started, sequence, released, source)
			 VALUES ($1, $2, $3, $4, $5, $6, FALSE, $7) ON CONFLICT DO NOTHING`,
			r.ID[:], r.Account[:], r.Request, r.Key, r.Started.UnixMilli(), r.Sequence, append([]byte{}, r.Source...)) // empty, not NULL
	})
}

func openRecoveries(ctx context.Context, tx Tx, start store.Start) ([]store.Recovery, error) {
	var open []store.Recovery
	rows, err := tx.QueryContext(ctx, `SELECT `+recoveryColumns+` FROM recoveries WHERE account = $1 OR key = $2 ORDER BY started, id`,
		start.Recovery.Account[:], start.Recovery.Key)
	err = collect(rows, err, func(rows Rows) (bool, error) {
		r, err := scanRecovery(rows)
		if err == nil && !slices.Contains(start.Over, r.ID) {
			open = append(open, r)
		}
		return false, err
	})
	return open, err
}

// forgetOne makes room for a request. Whoever floods an account forgets what is
// theirs: of the source with most requests, the new one counted, the oldest goes.
// What a contact has approved, or the server released, stays.
func forgetOne(ctx context.Context, tx Tx, open []store.Recovery, fresh store.Recovery) error {
	approved := map[ledger.Hash]bool{}
	rows, err := tx.QueryContext(ctx,
		`SELECT DISTINCT recovery FROM approvals JOIN recoveries ON recoveries.id = approvals.recovery WHERE account = $1`, fresh.Account[:])
	if err := collect(rows, err, func(rows Rows) (bool, error) {
		var id []byte
		err := rows.Scan(&id)
		if len(id) == len(ledger.Hash{}) {
			approved[ledger.Hash(id)] = true
		}
		return false, err
	}); err != nil {
		return err
	}
	open = slices.DeleteFunc(open, func(r store.Recovery) bool { return r.Released || approved[r.ID] })
	if len(open) == 0 {
		return store.ErrFull
	}
	count := map[string]int{string(fresh.Source): 1}
	for _, r := range open {
		count[string(r.Source)]++
	}
	goes := slices.MaxFunc(open, func(a, b store.Recovery) int { // the first, which is the oldest
		return cmp.Compare(count[string(a.Source)], count[string(b.Source)])
	})
	return tx.Later(ctx, nil, `DELETE FROM recoveries WHERE id = $1`, goes.ID[:])
}

// Recovery implements [store.Store].
func (s *Store) Recovery(ctx context.Context, id ledger.Hash) (r store.Recovery, err error) {
	err = s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		r, err = scanRecovery(tx.QueryRowContext(ctx, `SELECT `+recoveryColumns+` FROM recoveries WHERE id = $1`, id[:]))
		return err
	})
	return r, err
}

// Recoveries implements [store.Store].
func (s *Store) Recoveries(ctx context.Context, id ledger.AccountID) ([]store.Recovery, error) {
	var recoveries []store.Recovery
	err := s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT `+recoveryColumns+` FROM recoveries WHERE account = $1 ORDER BY started, id`, id[:])
		return collect(rows, err, func(rows Rows) (bool, error) {
			r, err := scanRecovery(rows)
			recoveries = append(recoveries, r)
			return false, err
		})
	})
	if err != nil {
		return nil, err
	}
	return recoveries, nil
}

// Owners implements [store.Store].
func (s *Store) Owners(ctx context.Context, contact ledger.AccountID) ([]ledger.AccountID, error) {
	var owners []ledger.AccountID
	err := s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		rows, err := tx.QueryContext(ctx,
			`SELECT owner FROM contacts WHERE contact = $1
			 AND EXISTS (SELECT 1 FROM recoveries WHERE recoveries.account = contacts.owner) ORDER BY owner`, contact[:])
		return collect(rows, err, func(rows Rows) (bool, error) {
			var b []byte
			if err := rows.Scan(&b); err != nil {
				return false, err
			}
			if len(b) != len(ledger.AccountID{}) {
				return false, errors.New("store: an account's id in contacts is damaged")
			}
			owners = append(owners, ledger.AccountID(b))
			return false, nil
		})
	})
	if err != nil {
		return nil, err
	}
	return owners, nil
}

// Approve implements [store.Store].
func (s *Store) Approve(ctx context.Context, a store.Approval) error {
	return s.change(ctx, a.Spend, []ledger.AccountID{a.Account}, func(ctx context.Context, tx Tx) error {
		if err := checkHead(ctx, tx, a.Account, a.Head); err != nil {
			return err
		}
		return tx.Later(ctx, nil,
			`INSERT INTO approvals (recovery, holder, approval, sealed_share) VALUES ($1, $2, $3, $4)
			 ON CONFLICT (recovery, holder) DO UPDATE SET approval = excluded.approval, sealed_share = excluded.sealed_share`,
			a.Recovery[:], a.Holder, a.Approval, append([]byte{}, a.SealedShare...)) // empty, not NULL
	})
}

// Approvals implements [store.Store].
func (s *Store) Approvals(ctx context.Context, id ledger.Hash) ([]store.Approval, error) {
	var approvals []store.Approval
	err := s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT holder, approval, sealed_share FROM approvals WHERE recovery = $1 ORDER BY holder`, id[:])
		return collect(rows, err, func(rows Rows) (bool, error) {
			a := store.Approval{Recovery: id}
			err := rows.Scan(&a.Holder, &a.Approval, &a.SealedShare)
			approvals = append(approvals, a)
			return false, err
		})
	})
	if err != nil {
		return nil, err
	}
	return approvals, nil
}
