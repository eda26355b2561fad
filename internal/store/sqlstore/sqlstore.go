// Package sqlstore is a [store.Store] in the SQL that SQLite and PostgreSQL share.
//
// What they differ in stands behind [Database]: how a transaction is run, and
// whether others run beside it. Where they do, each statement must see what was
// committed before it (READ COMMITTED), and a transaction begins with locking the
// rows of the accounts that it is about; whatever it reads afterwards about them
// stays as it is until it ends. Nothing is locked that accounts share, and locks
// are taken in one order: the nonce, accounts by id, a key that asks for something
// in any account, inboxes by recipient.
package sqlstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// Database runs transactions.
type Database interface {
	// Change runs f in a transaction, and returns nil when what it did is durable.
	// It goes on when ctx is cancelled: whoever asked may be gone, but a
	// transaction is worth finishing. It may run f again after an attempt that
	// failed, and even after one of which it could not learn how it ended; so f
	// sets what it returns, and adds to nothing.
	Change(ctx context.Context, f func(context.Context, Tx) error) error
	// ChangeOne is Change for an f that locks a nonce and this account, and nothing that
	// changes of other accounts lock. It may be made together with such changes.
	ChangeOne(ctx context.Context, account ledger.AccountID, f func(context.Context, Tx) error) error
	// Read runs f, which only reads, on one state of the database.
	Read(ctx context.Context, f func(context.Context, Tx) error) error
	// ReadOnce runs f, which only reads, and with one statement: a transaction would
	// take longer than that. It may run f again after it failed, so f sets what it
	// returns.
	ReadOnce(ctx context.Context, f func(context.Context, Querier) error) error
	// ChangeWhole and ReadWhole are the same for what concerns all accounts and may
	// take hours. ChangeWhole makes one attempt.
	ChangeWhole(ctx context.Context, f func(context.Context, Tx) error) error
	ReadWhole(ctx context.Context, f func(context.Context, Tx) error) error
	// LocksRows says whether changes run beside each other, so that they must lock
	// what they decide on.
	LocksRows() bool
	// Changed keeps changes for those who follow, if servers share the database, and
	// Follow follows them, or returns nil.
	Changed(ctx context.Context, tx Tx, changes []store.Change) error
	Follow() store.Follower
	// Commits returns how many commits have made changes durable since the database
	// was opened. Changes that are made at the same time may share one.
	Commits() uint64
	// Destroyed is called after shares were destroyed.
	Destroyed(ctx context.Context)
	// Close waits for what runs and closes the database.
	Close() error
}

// Store is a [store.Store] in a [Database].
type Store struct {
	db    Database
	spent atomic.Uint64 // nonces
}

var _ store.Store = (*Store)(nil)

// New returns a store in a database that has the tables for it.
func New(db Database) *Store { return &Store{db: db} }

// Close implements [store.Store].
func (s *Store) Close() error { return s.db.Close() }

// Follow implements [store.Store].
func (s *Store) Follow() store.Follower { return s.db.Follow() }

// change runs f in a transaction that also spends the nonce and logs the request.
//
// The nonce is spent with a token of this call. If the database lost the
// connection while it committed, and the transaction is run again, then finding
// the token says that it did commit; and since a nonce that others are spending is
// waited for, not finding it says that it never will.
func (s *Store) change(ctx context.Context, spend store.Spend, about []ledger.AccountID, f func(context.Context, Tx) error) error {
	return s.spending(ctx, s.db.Change, spend, about, func(ctx context.Context, tx Tx) error {
		if err := f(ctx, tx); err != nil {
			return err
		}
		return s.record(ctx, tx, spend, nil)
	})
}

// changer is [Database.Change] or what runs changes like it.
type changer func(ctx context.Context, f func(context.Context, Tx) error) error

// spending is change for an f that calls record itself.
func (s *Store) spending(ctx context.Context, run changer, spend store.Spend, about []ledger.AccountID, f func(context.Context, Tx) error) error {
	token := make([]byte, 16)
	_, _ = rand.Read(token) // it never fails
	err := run(ctx, func(ctx context.Context, tx Tx) error {
		err := s.spendNonce(ctx, tx, spend, token)
		if err == nil {
			err = s.lock(ctx, tx, spend, about...)
		}
		if err == nil {
			err = f(ctx, tx)
		}
		if err == nil {
			err = tx.Settle(ctx) // whether the nonce was spent is known at the latest now
		}
		if errors.Is(err, errSpent) {
			return whoSpent(ctx, tx, spend, token)
		}
		return err
	})
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

var (
	// errSpent: the nonce was spent before, by whomever.
	errSpent = errors.New("store: the nonce is there")
	// errDone: an earlier attempt was committed. What was done again with this one is
	// undone.
	errDone = errors.New("store: the change was made by an earlier attempt")
)

// record keeps what a change leaves behind besides what it changes. at is how an
// account stood before, or nil where nobody has asked.
func (s *Store) record(ctx context.Context, tx Tx, spend store.Spend, at *standing) error {
	if err := logActivity(ctx, tx, spend, at); err != nil {
		return err
	}
	if err := raise(ctx, tx, spend.Now, spend.Alarms); err != nil {
		return err
	}
	if err := meet(ctx, tx, spend.Now, spend.Origin, at); err != nil {
		return err
	}
	return s.db.Changed(ctx, tx, spend.Changes)
}

// Every so many changes one removes so many expired nonces: more than were added
// since, and few enough to make nobody wait.
const (
	sweepEvery = 16
	sweep      = 64
)

// spendNonce has what comes after it fail with errSpent if the nonce was spent before.
func (s *Store) spendNonce(ctx context.Context, tx Tx, spend store.Spend, token []byte) error {
	if s.spent.Add(1)%sweepEvery == 0 {
		if err := tx.Later(ctx, nil,
			`DELETE FROM nonces WHERE (expires, key, nonce) IN
			   (SELECT expires, key, nonce FROM nonces WHERE expires < $1 ORDER BY expires LIMIT $2`+s.skipLocked()+`)`,
			spend.Now.UnixMilli(), sweep); err != nil {
			return err
		}
	}
	return tx.Later(ctx, errSpent,
		`INSERT INTO nonces (expires, key, nonce, token) VALUES ($1, $2, $3, $4) ON CONFLICT (expires, key, nonce) DO NOTHING`,
		spend.Expires.UnixMilli(), spend.Key, spend.Nonce, token)
}

// whoSpent returns errDone if an earlier attempt with this token was committed, or else
// [store.ErrReplayed].
func whoSpent(ctx context.Context, tx Tx, spend store.Spend, token []byte) error {
	var have []byte
	if err := tx.QueryRowContext(ctx, `SELECT token FROM nonces WHERE expires = $1 AND key = $2 AND nonce = $3`,
		spend.Expires.UnixMilli(), spend.Key, spend.Nonce).Scan(&have); err != nil {
		return err
	}
	if !bytes.Equal(have, token) {
		return store.ErrReplayed
	}
	return errDone
}

// lock locks the accounts that a transaction is about. Those that do not exist
// have nothing to decide on.
func (s *Store) lock(ctx context.Context, tx Tx, spend store.Spend, about ...ledger.AccountID) error {
	if !s.db.LocksRows() {
		return nil
	}
	about = slices.Clone(about)
	if spend.Log != nil {
		about = append(about, spend.Log.Account)
	}
	for _, alarm := range spend.Alarms {
		about = append(about, alarm.Account)
	}
	if spend.Origin != nil {
		about = append(about, spend.Origin.Account)
	}
	slices.SortFunc(about, func(a, b ledger.AccountID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range slices.Compact(about) {
		if err := tx.Later(ctx, nil, `SELECT 1 FROM accounts WHERE account = $1 FOR NO KEY UPDATE`, id[:]); err != nil {
			return err
		}
	}
	return nil
}

// lockKey locks a device's key, which may ask for something in any account.
func (s *Store) lockKey(ctx context.Context, tx Tx, key []byte) error {
	if !s.db.LocksRows() {
		return nil
	}
	return tx.Later(ctx, nil, `SELECT pg_advisory_xact_lock(hashtextextended(encode($1, 'hex'), 0))`, key)
}

// skipLocked ends a selection of rows that any transaction may take, so that each
// takes others.
func (s *Store) skipLocked() string {
	if s.db.LocksRows() {
		return ` FOR UPDATE SKIP LOCKED`
	}
	return ``
}

// one wants a statement to change exactly one row, or else returns the error.
func one(otherwise error) func(sql.Result, error) error {
	return func(result sql.Result, err error) error {
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n != 1 {
			return errors.Join(otherwise, err)
		}
		return nil
	}
}

// checkHead wants the account's ledger to end as the caller saw it.
func checkHead(ctx context.Context, tx Tx, id ledger.AccountID, head ledger.Head) error {
	have, err := headOf(ctx, tx, id)
	if err == nil && have != head {
		return store.ErrHeadMoved
	}
	return err
}

func headOf(ctx context.Context, tx Tx, id ledger.AccountID) (ledger.Head, error) {
	var head ledger.Head
	var hash []byte
	err := tx.QueryRowContext(ctx, `SELECT sequence, head FROM accounts WHERE account = $1`, id[:]).Scan(&head.Sequence, &hash)
	if err != nil {
		return ledger.Head{}, found(err)
	}
	copy(head.Hash[:], hash)
	return head, nil
}

// found turns the database's word for nothing into the store's.
func found(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotFound
	}
	return err
}

// collect reads rows until scan says that it has enough.
func collect(rows Rows, err error, scan func(Rows) (enough bool, err error)) error {
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if enough, err := scan(rows); err != nil || enough {
			return err
		}
	}
	return rows.Err()
}

func timeOf(milliseconds int64) time.Time { return time.UnixMilli(milliseconds).UTC() }
