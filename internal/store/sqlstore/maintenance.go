package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

var _ store.Maintained = (*Store)(nil)

// Owner implements [store.Maintenance].
func (s *Store) Owner(ctx context.Context) (keys []byte, err error) {
	err = s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		keys, err = owner(ctx, tx)
		return err
	})
	return keys, err
}

func owner(ctx context.Context, tx Tx) (keys []byte, err error) {
	err = tx.QueryRowContext(ctx, `SELECT keys FROM server WHERE id = 1`).Scan(&keys)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return keys, err
}

// Accounts implements [store.Maintenance].
func (s *Store) Accounts(ctx context.Context, after ledger.AccountID, most int) ([]store.Account, error) {
	var accounts []store.Account
	err := s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT `+accountColumns+` FROM accounts WHERE account > $1 ORDER BY account LIMIT $2`, after[:], most)
		return collect(rows, err, func(rows Rows) (bool, error) {
			a, err := scanAccount(rows)
			accounts = append(accounts, a)
			return false, err
		})
	})
	if err != nil {
		return nil, err
	}
	return accounts, nil
}

// Usage implements [store.Maintenance].
func (s *Store) Usage(ctx context.Context, id ledger.AccountID) (store.Usage, error) {
	var u store.Usage
	err := s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		for _, of := range []struct {
			query string
			into  []any
		}{
			{`SELECT COALESCE(SUM(LENGTH(entry)), 0) FROM entries WHERE account = $1`, []any{&u.EntryBytes}},
			{`SELECT COUNT(*), COALESCE(SUM(LENGTH(sealed)), 0) FROM shares WHERE account = $1`, []any{&u.Shares, &u.ShareBytes}},
			{`SELECT COUNT(*) FROM activities WHERE account = $1`, []any{&u.Activities}},
			{`SELECT COUNT(*) FROM messages WHERE recipient = $1`, []any{&u.Waiting}},
			{`SELECT COUNT(*) FROM recoveries WHERE account = $1`, []any{&u.Recoveries}},
		} {
			if err := tx.QueryRowContext(ctx, of.query, id[:]).Scan(of.into...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return store.Usage{}, err
	}
	return u, nil
}

// Lock implements [store.Maintenance].
func (s *Store) Lock(ctx context.Context, id ledger.AccountID, at time.Time) error {
	return s.setLocked(ctx, id, at.UnixMilli())
}

// Unlock implements [store.Maintenance].
func (s *Store) Unlock(ctx context.Context, id ledger.AccountID) error {
	return s.setLocked(ctx, id, 0)
}

func (s *Store) setLocked(ctx context.Context, id ledger.AccountID, at int64) error {
	return s.db.Change(ctx, func(ctx context.Context, tx Tx) error {
		if err := one(store.ErrNotFound)(tx.ExecContext(ctx, `UPDATE accounts SET locked = $1 WHERE account = $2`, at, id[:])); err != nil {
			return err
		}
		return s.db.Changed(ctx, tx, []store.Change{{Account: id, Kinds: store.AllKinds}})
	})
}

// Remove implements [store.Maintenance].
func (s *Store) Remove(ctx context.Context, id ledger.AccountID, at time.Time) error {
	err := s.db.ChangeWhole(ctx, func(ctx context.Context, tx Tx) error {
		lock := `SELECT 1 FROM accounts WHERE account = $1`
		if s.db.LocksRows() {
			lock += ` FOR UPDATE`
		}
		var there int
		if err := tx.QueryRowContext(ctx, lock, id[:]).Scan(&there); err != nil {
			return found(err)
		}
		// What others refer to comes after them.
		for _, of := range []string{
			`approvals WHERE recovery IN (SELECT id FROM recoveries WHERE account = $1)`,
			`recoveries WHERE account = $1`,
			`replies WHERE kept IN (SELECT id FROM kept WHERE account = $1)`,
			`kept WHERE account = $1`,
			`joins WHERE account = $1`,
			`outbox WHERE account = $1`,
			`alarm_settings WHERE account = $1`,
			`countries WHERE account = $1`,
			`attestations WHERE account = $1`,
			`activities WHERE account = $1`,
			`reveals WHERE account = $1`,
			`messages WHERE recipient = $1 OR sender = $1`,
			`inboxes WHERE recipient = $1`,
			`contacts WHERE owner = $1 OR contact = $1`,
			`shares WHERE account = $1`,
			`entries WHERE account = $1`,
			`accounts WHERE account = $1`,
		} {
			if err := tx.Later(ctx, nil, `DELETE FROM `+of, id[:]); err != nil {
				return err
			}
		}
		if err := tx.Later(ctx, nil, `INSERT INTO removed (account, time) VALUES ($1, $2)`, id[:], at.UnixMilli()); err != nil {
			return err
		}
		return s.db.Changed(ctx, tx, []store.Change{{Account: id, Kinds: store.AllKinds}})
	})
	if err == nil {
		s.db.Destroyed(ctx)
	}
	return err
}

// Removed implements [store.Maintenance].
func (s *Store) Removed(ctx context.Context, id ledger.AccountID) (removed bool, err error) {
	err = s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		removed, err = isRemoved(ctx, tx, id)
		return err
	})
	return removed, err
}

// BeginAgain implements [store.Maintenance].
func (s *Store) BeginAgain(ctx context.Context, recovery ledger.Hash, then time.Time) error {
	return s.db.Change(ctx, func(ctx context.Context, tx Tx) error {
		return one(store.ErrNotFound)(tx.ExecContext(ctx,
			`UPDATE recoveries SET started = CASE WHEN started < $1 THEN $1 ELSE started END WHERE id = $2`, then.UnixMilli(), recovery[:]))
	})
}

func isRemoved(ctx context.Context, tx Tx, id ledger.AccountID) (removed bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM removed WHERE account = $1)`, id[:]).Scan(&removed)
	return removed, err
}
