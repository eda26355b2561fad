package sqlstore

import (
	"context"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// AddToken implements [store.Operation].
func (s *Store) AddToken(ctx context.Context, t store.Token) error {
	return s.db.Change(ctx, func(ctx context.Context, tx Tx) error {
		return tx.Later(ctx, nil,
			`INSERT INTO tokens (hash, note, uses, used, created, expires) VALUES ($1, $2, $3, 0, $4, $5) ON CONFLICT DO NOTHING`,
			t.Hash[:], t.Note, t.Uses, t.Created.UnixMilli(), t.Expires.UnixMilli())
	})
}

// Tokens implements [store.Operation].
func (s *Store) Tokens(ctx context.Context) ([]store.Token, error) {
	var tokens []store.Token
	err := s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		tokens = nil
		rows, err := tx.QueryContext(ctx, `SELECT hash, note, uses, used, created, expires FROM tokens ORDER BY created, hash`)
		return collect(rows, err, func(rows Rows) (bool, error) {
			var t store.Token
			var hash []byte
			var created, expires int64
			err := rows.Scan(&hash, &t.Note, &t.Uses, &t.Used, &created, &expires)
			copy(t.Hash[:], hash)
			t.Created, t.Expires = timeOf(created), timeOf(expires)
			tokens = append(tokens, t)
			return false, err
		})
	})
	if err != nil {
		return nil, err
	}
	return tokens, nil
}

// RevokeToken implements [store.Operation].
func (s *Store) RevokeToken(ctx context.Context, hash [32]byte) error {
	return s.db.Change(ctx, func(ctx context.Context, tx Tx) error {
		return one(store.ErrNotFound)(tx.ExecContext(ctx, `DELETE FROM tokens WHERE hash = $1`, hash[:]))
	})
}

// useToken counts an account that a token registers.
func useToken(ctx context.Context, tx Tx, hash *[32]byte, now time.Time) error {
	if hash == nil {
		return nil
	}
	return one(store.ErrToken)(tx.ExecContext(ctx,
		`UPDATE tokens SET used = used + 1 WHERE hash = $1 AND used < uses AND expires > $2`, hash[:], now.UnixMilli()))
}

// Backlog implements [store.Operation].
func (s *Store) Backlog(ctx context.Context) (store.Backlog, error) {
	var b store.Backlog
	err := s.db.ReadOnce(ctx, func(ctx context.Context, q Querier) error {
		var oldest int64
		err := q.QueryRowContext(ctx, `SELECT COUNT(*), COALESCE(MIN(created), 0) FROM outbox WHERE done = FALSE`).Scan(&b.Deliveries, &oldest)
		if b.Oldest = (time.Time{}); oldest != 0 {
			b.Oldest = timeOf(oldest)
		}
		return err
	})
	return b, err
}

// CountAccounts implements [store.Operation].
func (s *Store) CountAccounts(ctx context.Context) (n uint64, err error) {
	err = s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		return tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM accounts`).Scan(&n)
	})
	return n, err
}

// Commits implements [store.Operation].
func (s *Store) Commits() uint64 { return s.db.Commits() }

// Observe implements [store.Operation].
func (s *Store) Observe(seen func(change bool, took time.Duration, err error)) {
	s.db = observed{Database: s.db, seen: seen}
}

// observed tells about the transactions of a database.
type observed struct {
	Database
	seen func(change bool, took time.Duration, err error)
}

func (o observed) Change(ctx context.Context, f func(context.Context, Tx) error) error {
	begun := time.Now()
	err := o.Database.Change(ctx, f)
	o.seen(true, time.Since(begun), err)
	return err
}

func (o observed) ChangeOne(ctx context.Context, account ledger.AccountID, f func(context.Context, Tx) error) error {
	begun := time.Now()
	err := o.Database.ChangeOne(ctx, account, f)
	o.seen(true, time.Since(begun), err)
	return err
}

func (o observed) Read(ctx context.Context, f func(context.Context, Tx) error) error {
	begun := time.Now()
	err := o.Database.Read(ctx, f)
	o.seen(false, time.Since(begun), err)
	return err
}

func (o observed) ReadOnce(ctx context.Context, f func(context.Context, Querier) error) error {
	begun := time.Now()
	err := o.Database.ReadOnce(ctx, f)
	o.seen(false, time.Since(begun), err)
	return err
}
