package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// Keep implements [store.Store]. It spends no nonce, which [Store.change] would:
// until the request is answered its id stands for it, also if the database was
// lost while it committed and it is kept once more.
func (s *Store) Keep(ctx context.Context, k store.Keeping) (kept store.Kept, err error) {
	err = s.db.Change(ctx, func(ctx context.Context, tx Tx) error {
		if err := s.lock(ctx, tx, k.Spend, k.Kept.Account); err != nil {
			return err
		}
		kept, err = keptRequest(ctx, tx, k.Kept.ID)
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		over, err := roomFor(ctx, tx, k)
		if err != nil {
			return err
		}
		at, err := stand(ctx, tx, k.Spend, k.Kept.Account, k.Head, k.Reveal)
		if err != nil {
			return err
		}
		if over {
			if err := s.eraseKept(ctx, tx, k.Spend.Now); err != nil {
				return err
			}
		}
		if k.Reveal != nil {
			if err := countReveal(ctx, tx, k.Spend.Now, at, k.Reveal); err != nil {
				return err
			}
		}
		kept = k.Kept
		kept.State = store.KeptWaiting
		if err := tx.Later(ctx, nil,
			`INSERT INTO kept (id, account, device, adds, key, request, received, expires, state, refused_by)
			 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0)`,
			kept.ID[:], kept.Account[:], kept.Device, append([]byte{}, kept.Adds...), // empty, not NULL
			kept.Key, kept.Request, kept.Received.UnixMilli(), kept.Expires.UnixMilli(), kept.State); err != nil {
			return err
		}
		return s.record(ctx, tx, k.Spend, at)
	})
	if err != nil {
		return store.Kept{}, err
	}
	return kept, nil
}

// EraseKept implements [store.Store].
func (s *Store) EraseKept(ctx context.Context, now time.Time) error {
	var over bool
	if err := s.db.ReadOnce(ctx, func(ctx context.Context, q Querier) error {
		return q.QueryRowContext(ctx,
			`SELECT EXISTS (SELECT 1 FROM kept WHERE expires <= $1 AND LENGTH(request) > 0) OR EXISTS (SELECT 1 FROM kept WHERE expires < $2)`,
			now.UnixMilli(), store.Forgotten(now).UnixMilli()).Scan(&over)
	}); err != nil || !over {
		return err
	}
	return s.db.Change(ctx, func(ctx context.Context, tx Tx) error { return s.eraseKept(ctx, tx, now) })
}

// eraseKept forgets what is over for long, of all accounts, and of what is over
// everything but what became of it.
func (s *Store) eraseKept(ctx context.Context, tx Tx, now time.Time) error {
	if err := tx.Later(ctx, nil, `DELETE FROM kept WHERE id IN (SELECT id FROM kept WHERE expires < $1`+s.skipLocked()+`)`,
		store.Forgotten(now).UnixMilli()); err != nil {
		return err
	}
	return tx.Later(ctx, nil,
		`UPDATE kept SET request = $1 WHERE id IN (SELECT id FROM kept WHERE expires <= $2 AND LENGTH(request) > 0`+s.skipLocked()+`)`,
		[]byte{}, now.UnixMilli())
}

// eraseStopped forgets what waits for a device that the entries lock or revoke: it
// will have no answer, and would take the room of others.
func eraseStopped(ctx context.Context, tx Tx, a store.Append) error {
	for _, e := range a.Entries {
		for _, record := range e.Records() {
			device := max(record.GetDeviceLocked().GetDevice(), record.GetDeviceRevoked().GetDevice())
			if device == 0 {
				continue
			}
			if err := tx.Later(ctx, nil, `UPDATE kept SET state = $1, refused_by = $2, request = $3 WHERE account = $4 AND device = $5 AND state = $6`,
				store.KeptRefused, e.Author(), []byte{}, a.Account[:], device, store.KeptWaiting); err != nil {
				return err
			}
		}
	}
	return nil
}

// roomFor wants room for one more request, whose nonce is not spent, and says
// whether others are over.
func roomFor(ctx context.Context, tx Tx, k store.Keeping) (over bool, err error) {
	var all, own, size int
	var spent bool
	if err := tx.QueryRowContext(ctx,
		`SELECT COUNT(*), COUNT(CASE WHEN device = $1 THEN 1 END), COALESCE(SUM(LENGTH(request)), 0),
		   EXISTS (SELECT 1 FROM nonces WHERE expires = $8 AND key = $5 AND nonce = $6),
		   EXISTS (SELECT 1 FROM kept WHERE expires <= $3 AND LENGTH(request) > 0) OR EXISTS (SELECT 1 FROM kept WHERE expires < $7)
		 FROM kept WHERE account = $2 AND expires > $3 AND state = $4`,
		k.Kept.Device, k.Kept.Account[:], k.Spend.Now.UnixMilli(), store.KeptWaiting,
		k.Spend.Key, k.Spend.Nonce, store.Forgotten(k.Spend.Now).UnixMilli(), k.Spend.Expires.UnixMilli()).Scan(&all, &own, &size, &spent, &over); err != nil {
		return false, err
	}
	if spent {
		return false, store.ErrReplayed
	}
	if all >= k.PerAll || own >= k.PerDevice || size+len(k.Kept.Request) > k.Bytes {
		return false, store.ErrFull
	}
	return over, nil
}

const keptColumns = `id, account, device, adds, key, request, received, expires, state, refused_by`

func scanKept(row interface{ Scan(...any) error }, more ...any) (store.Kept, error) {
	var k store.Kept
	var id, account []byte
	var received, expires int64
	if err := row.Scan(append([]any{&id, &account, &k.Device, &k.Adds, &k.Key, &k.Request, &received, &expires, &k.State, &k.RefusedBy}, more...)...); err != nil {
		return store.Kept{}, err
	}
	copy(k.ID[:], id)
	copy(k.Account[:], account)
	k.Received, k.Expires = timeOf(received), timeOf(expires)
	return k, nil
}

// keptRequest returns a kept request with its replies, or [store.ErrNotFound].
func keptRequest(ctx context.Context, q Querier, id ledger.Hash) (store.Kept, error) {
	var k store.Kept
	there := false
	rows, err := q.QueryContext(ctx,
		`SELECT kept.id, account, kept.device, adds, key, request, received, expires, state, refused_by, replies.device, reply
		 FROM kept LEFT JOIN replies ON replies.kept = kept.id WHERE kept.id = $1 ORDER BY replies.device`, id[:])
	err = collect(rows, err, func(rows Rows) (bool, error) {
		var device sql.Null[uint64]
		var reply []byte
		kept, err := scanKept(rows, &device, &reply)
		if !there {
			k, there = kept, true
		}
		if device.Valid {
			k.Replies = append(k.Replies, store.Reply{Device: device.V, Bytes: reply})
		}
		return false, err
	})
	if err == nil && !there {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Kept{}, err
	}
	return k, nil
}

func replies(ctx context.Context, tx Tx, id ledger.Hash) ([]store.Reply, error) {
	var all []store.Reply
	rows, err := tx.QueryContext(ctx, `SELECT device, reply FROM replies WHERE kept = $1 ORDER BY device`, id[:])
	err = collect(rows, err, func(rows Rows) (bool, error) {
		var r store.Reply
		err := rows.Scan(&r.Device, &r.Bytes)
		all = append(all, r)
		return false, err
	})
	return all, err
}

// Kept implements [store.Store].
func (s *Store) Kept(ctx context.Context, id ledger.Hash) (k store.Kept, err error) {
	err = s.db.ReadOnce(ctx, func(ctx context.Context, q Querier) error {
		k, err = keptRequest(ctx, q, id)
		return err
	})
	return k, err
}

// Waiting implements [store.Store].
func (s *Store) Waiting(ctx context.Context, id ledger.AccountID, now time.Time) ([]store.Kept, error) {
	var waiting []store.Kept
	err := s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		rows, err := tx.QueryContext(ctx,
			`SELECT `+keptColumns+` FROM kept WHERE account = $1 AND expires > $2 AND state = $3 ORDER BY received, id`,
			id[:], now.UnixMilli(), store.KeptWaiting)
		if err := collect(rows, err, func(rows Rows) (bool, error) {
			k, err := scanKept(rows)
			waiting = append(waiting, k)
			return false, err
		}); err != nil {
			return err
		}
		for i := range waiting {
			if waiting[i].Replies, err = replies(ctx, tx, waiting[i].ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return waiting, nil
}

// Reply implements [store.Store].
func (s *Store) Reply(ctx context.Context, r store.Replying) error {
	return s.spending(ctx, s.db.Change, r.Spend, []ledger.AccountID{r.Account}, func(ctx context.Context, tx Tx) error {
		at, err := stand(ctx, tx, r.Spend, r.Account, r.Head, nil)
		if err != nil {
			return err
		}
		k, err := keptRequest(ctx, tx, r.ID)
		if err != nil {
			return err
		}
		switch {
		case k.State == store.KeptUsed:
			return store.ErrKeptUsed
		case k.State == store.KeptRefused:
			return store.ErrKeptRefused
		case !k.Expires.After(r.Spend.Now):
			return store.ErrKeptExpired
		}
		if r.Refuse {
			_, err = tx.ExecContext(ctx, `UPDATE kept SET state = $1, refused_by = $2, request = $3 WHERE id = $4`,
				store.KeptRefused, r.Reply.Device, []byte{}, r.ID[:])
		} else {
			err = one(store.ErrKeptReplied)(tx.ExecContext(ctx,
				`INSERT INTO replies (kept, device, reply) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
				r.ID[:], r.Reply.Device, r.Reply.Bytes))
		}
		if err != nil {
			return err
		}
		return s.record(ctx, tx, r.Spend, at)
	})
}

// useKept marks a kept request as answered.
func useKept(ctx context.Context, tx Tx, id ledger.Hash) error {
	return one(store.ErrReplayed)(tx.ExecContext(ctx, `UPDATE kept SET state = $1, request = $2 WHERE id = $3 AND state = $4`,
		store.KeptUsed, []byte{}, id[:], store.KeptWaiting))
}
