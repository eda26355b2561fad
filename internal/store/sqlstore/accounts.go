package sqlstore

import (
	"context"
	"errors"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// Claim implements [store.Store].
func (s *Store) Claim(ctx context.Context, keys []byte) error {
	return s.db.Change(ctx, func(ctx context.Context, tx Tx) error {
		if err := tx.Later(ctx, nil, `INSERT INTO server (id, keys) VALUES (1, $1) ON CONFLICT DO NOTHING`, keys); err != nil {
			return err
		}
		var have []byte
		if err := tx.QueryRowContext(ctx, `SELECT keys FROM server WHERE id = 1`).Scan(&have); err != nil {
			return err
		}
		if string(have) != string(keys) {
			return store.ErrOtherServer
		}
		return nil
	})
}

// Create implements [store.Store].
func (s *Store) Create(ctx context.Context, c store.Creation) error {
	id, _ := c.Genesis.Account()
	return s.change(ctx, c.Spend, []ledger.AccountID{id}, func(ctx context.Context, tx Tx) error {
		if removed, err := isRemoved(ctx, tx, id); err != nil || removed {
			return errors.Join(err, store.ErrRemoved)
		}
		hash := c.Genesis.Hash()
		if err := one(store.ErrNameTaken)(tx.ExecContext(ctx,
			`INSERT INTO accounts (account, name, name_key, sequence, head, verified) VALUES ($1, $2, $3, 1, $4, $5) ON CONFLICT DO NOTHING`,
			id[:], c.Name, c.NameKey, hash[:], c.Verified[:])); err != nil {
			if _, missing := headOf(ctx, tx, id); errors.Is(err, store.ErrNameTaken) && !errors.Is(missing, store.ErrNotFound) {
				return errors.Join(store.ErrAccountExists, missing)
			}
			return err
		}
		if err := useToken(ctx, tx, c.Token, c.Spend.Now); err != nil {
			return err
		}
		return insertEntry(ctx, tx, id, c.Genesis)
	})
}

func insertEntry(ctx context.Context, tx Tx, id ledger.AccountID, e *ledger.Entry) error {
	return tx.Later(ctx, nil, `INSERT INTO entries (account, sequence, entry) VALUES ($1, $2, $3)`, id[:], e.Sequence(), e.Bytes())
}

const accountColumns = `account, name, sequence, head, locked, paused, verified`

func scanAccount(row interface{ Scan(...any) error }) (store.Account, error) {
	var a store.Account
	var id, hash, verified []byte
	var locked, paused int64
	if err := row.Scan(&id, &a.Name, &a.Head.Sequence, &hash, &locked, &paused, &verified); err != nil {
		return store.Account{}, err
	}
	copy(a.ID[:], id)
	copy(a.Head.Hash[:], hash)
	copy(a.Verified[:], verified)
	if locked != 0 {
		a.Locked = timeOf(locked)
	}
	if paused != 0 {
		a.Paused = timeOf(paused)
	}
	return a, nil
}

// Account implements [store.Store].
func (s *Store) Account(ctx context.Context, id ledger.AccountID) (store.Account, error) {
	var a store.Account
	err := s.db.ReadOnce(ctx, func(ctx context.Context, q Querier) (err error) {
		a, err = scanAccount(q.QueryRowContext(ctx, `SELECT `+accountColumns+` FROM accounts WHERE account = $1`, id[:]))
		return found(err)
	})
	if err != nil {
		return store.Account{}, err
	}
	return a, nil
}

// Named implements [store.Store].
func (s *Store) Named(ctx context.Context, nameKey string) (id ledger.AccountID, err error) {
	err = s.db.ReadOnce(ctx, func(ctx context.Context, q Querier) error {
		var b []byte
		err := q.QueryRowContext(ctx, `SELECT account FROM accounts WHERE name_key = $1`, nameKey).Scan(&b)
		copy(id[:], b)
		return found(err)
	})
	return id, err
}

// Entries implements [store.Store].
func (s *Store) Entries(ctx context.Context, id ledger.AccountID, after, last uint64, size int) ([][]byte, error) {
	var entries [][]byte
	err := s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		rows, err := tx.QueryContext(ctx,
			`SELECT entry FROM entries WHERE account = $1 AND sequence > $2 AND sequence <= $3 ORDER BY sequence`,
			id[:], after, last)
		return collect(rows, err, func(rows Rows) (bool, error) {
			var entry []byte
			err := rows.Scan(&entry)
			entries = append(entries, entry)
			size -= len(entry)
			return size <= 0, err
		})
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// Append implements [store.Store].
func (s *Store) Append(ctx context.Context, a store.Append) error {
	err := s.change(ctx, a.Spend, []ledger.AccountID{a.Account}, func(ctx context.Context, tx Tx) error {
		if err := moveHead(ctx, tx, a); err != nil {
			return err
		}
		if a.Resume {
			if err := pause(ctx, tx, a.Account, 0); err != nil {
				return err
			}
		}
		for _, e := range a.Entries {
			if err := insertEntry(ctx, tx, a.Account, e); err != nil {
				return err
			}
		}
		if err := putShares(ctx, tx, a.Account, a.Shares); err != nil {
			return err
		}
		if err := destroyShares(ctx, tx, a); err != nil {
			return err
		}
		if err := eraseStopped(ctx, tx, a); err != nil {
			return err
		}
		if err := insertMessages(ctx, tx, a.Messages); err != nil {
			return err
		}
		for _, contact := range a.Contacts {
			if err := tx.Later(ctx, nil, `INSERT INTO contacts (contact, owner) VALUES ($1, $2) ON CONFLICT DO NOTHING`, contact[:], a.Account[:]); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && len(a.Destroy)+len(a.Epochs) > 0 {
		s.db.Destroyed(ctx)
	}
	return err
}

// Pause implements [store.Store].
func (s *Store) Pause(ctx context.Context, id ledger.AccountID, until time.Time) error {
	return s.db.Change(ctx, func(ctx context.Context, tx Tx) error { return pause(ctx, tx, id, until.UnixMilli()) })
}

func pause(ctx context.Context, tx Tx, id ledger.AccountID, until int64) error {
	return tx.Later(ctx, nil, `UPDATE accounts SET paused = $1 WHERE account = $2`, until, id[:])
}

// moveHead is the compare-and-swap.
func moveHead(ctx context.Context, tx Tx, a store.Append) error {
	head := a.Head
	if len(a.Entries) > 0 {
		head = a.Entries[len(a.Entries)-1].Head()
	}
	return one(store.ErrHeadMoved)(tx.ExecContext(ctx,
		`UPDATE accounts SET sequence = $1, head = $2, verified = $3 WHERE account = $4 AND sequence = $5 AND head = $6`,
		head.Sequence, head.Hash[:], a.Verified[:], a.Account[:], a.Head.Sequence, a.Head.Hash[:]))
}
