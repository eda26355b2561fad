package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// logActivity appends the request to the account's activity log. at is how the
// account stands, or nil where nobody has asked.
func logActivity(ctx context.Context, tx Tx, spend store.Spend, at *standing) error {
	log := spend.Log
	if log == nil {
		return nil
	}
	var end ledger.ActivityEnd
	if at != nil && at.account == log.Account {
		end = at.end
	} else {
		var err error
		if end, err = endOfLog(ctx, tx, log.Account); err != nil {
			return err
		}
	}
	// The log's times never run backwards, whatever the server's clock does.
	now := spend.Now
	if now.Before(end.Time()) {
		now = end.Time()
	}
	a, err := ledger.NewActivity(log.Account, end, now, log.Request, log.Answer)
	if err != nil {
		return err
	}
	return tx.Later(ctx, nil, `INSERT INTO activities (account, sequence, activity) VALUES ($1, $2, $3)`,
		log.Account[:], a.Sequence(), a.Bytes())
}

// endOfLog returns where the account's activity log ends.
func endOfLog(ctx context.Context, tx Tx, id ledger.AccountID) (ledger.ActivityEnd, error) {
	var b []byte
	err := tx.QueryRowContext(ctx, `SELECT activity FROM activities WHERE account = $1 ORDER BY sequence DESC LIMIT 1`, id[:]).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return ledger.ActivityEnd{}, nil
	}
	if err != nil {
		return ledger.ActivityEnd{}, err
	}
	return ledger.ParseActivityEnd(b)
}

// Log implements [store.Store].
func (s *Store) Log(ctx context.Context, a store.Answer) error {
	run := s.db.Change
	if concernsOne(a) {
		run = func(ctx context.Context, f func(context.Context, Tx) error) error {
			return s.db.ChangeOne(ctx, a.Account, f)
		}
	}
	return s.spending(ctx, run, a.Spend, []ledger.AccountID{a.Account}, func(ctx context.Context, tx Tx) error {
		at, err := stand(ctx, tx, a.Spend, a.Account, a.Head, a.Reveal)
		if err != nil {
			return err
		}
		if a.Reveal != nil {
			if err := countReveal(ctx, tx, a.Spend.Now, at, a.Reveal); err != nil {
				return err
			}
		}
		if a.Alarms != nil {
			if err := setAlarms(ctx, tx, a); err != nil {
				return err
			}
		}
		if a.Kept != nil {
			if err := useKept(ctx, tx, *a.Kept); err != nil {
				return err
			}
		}
		if a.Released != nil {
			if err := one(store.ErrNotFound)(tx.ExecContext(ctx, `UPDATE recoveries SET released = TRUE WHERE id = $1`, a.Released[:])); err != nil {
				return err
			}
		}
		return s.record(ctx, tx, a.Spend, at)
	})
}

// concernsOne says whether an answer changes nothing that other accounts' changes
// could, as most do.
func concernsOne(a store.Answer) bool {
	other := func(c store.Change) bool { return c.Account != a.Account }
	return a.Alarms == nil && a.Kept == nil && a.Released == nil && len(a.Spend.Alarms) == 0 && !slices.ContainsFunc(a.Spend.Changes, other) &&
		(a.Spend.Log == nil || a.Spend.Log.Account == a.Account) && (a.Spend.Origin == nil || a.Spend.Origin.Account == a.Account)
}

// ActivityLog implements [store.Store].
func (s *Store) ActivityLog(ctx context.Context, id ledger.AccountID, after uint64, size int) ([][]byte, store.Activity, error) {
	var entries [][]byte
	var end store.Activity
	err := s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		last, err := endOfLog(ctx, tx, id)
		if err != nil || last.Sequence == 0 {
			return err
		}
		end = store.Activity{Sequence: last.Sequence, Hash: last.Hash}
		rows, err := tx.QueryContext(ctx, `SELECT activity FROM activities WHERE account = $1 AND sequence > $2 ORDER BY sequence`, id[:], after)
		return collect(rows, err, func(rows Rows) (bool, error) {
			var b []byte
			err := rows.Scan(&b)
			entries = append(entries, b)
			size -= len(b)
			return size <= 0, err
		})
	})
	if err != nil {
		return nil, store.Activity{}, err
	}
	return entries, end, nil
}

// Attest implements [store.Store].
func (s *Store) Attest(ctx context.Context, a store.Attestation) error {
	return s.change(ctx, a.Spend, []ledger.AccountID{a.Account}, func(ctx context.Context, tx Tx) error {
		return tx.Later(ctx, nil,
			`INSERT INTO attestations (account, device, sequence, attestation) VALUES ($1, $2, $3, $4)
			 ON CONFLICT (account, device) DO UPDATE SET sequence = excluded.sequence, attestation = excluded.attestation
			 WHERE excluded.sequence >= attestations.sequence`,
			a.Account[:], a.Device, a.Sequence, a.Bytes)
	})
}

// Attestations implements [store.Store].
func (s *Store) Attestations(ctx context.Context, id ledger.AccountID) ([][]byte, error) {
	var attestations [][]byte
	err := s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT attestation FROM attestations WHERE account = $1 ORDER BY device`, id[:])
		return collect(rows, err, func(rows Rows) (bool, error) {
			var b []byte
			err := rows.Scan(&b)
			attestations = append(attestations, b)
			return false, err
		})
	})
	if err != nil {
		return nil, err
	}
	return attestations, nil
}
