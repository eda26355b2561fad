package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// logActivity appends the request to the account's activity log.
func logActivity(ctx context.Context, tx *sql.Tx, spend store.Spend) error {
	log := spend.Log
	if log == nil {
		return nil
	}
	previous, err := lastActivity(ctx, tx, log.Account)
	if err != nil {
		return err
	}
	// The log's times never run backwards, whatever the server's clock does.
	now := spend.Now
	if previous != nil && now.Before(previous.Time()) {
		now = previous.Time()
	}
	a, err := ledger.NewActivity(log.Account, previous, now, log.Request, log.Answer)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO activities (account, sequence, activity) VALUES ($1, $2, $3)`,
		log.Account[:], a.Sequence(), a.Bytes())
	return err
}

// lastActivity returns the end of the log, nil if it is empty.
func lastActivity(ctx context.Context, tx *sql.Tx, id ledger.AccountID) (*ledger.Activity, error) {
	var b []byte
	err := tx.QueryRowContext(ctx, `SELECT activity FROM activities WHERE account = $1 ORDER BY sequence DESC LIMIT 1`, id[:]).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ledger.ParseActivity(b)
}

// Log implements [store.Store].
func (s *Store) Log(ctx context.Context, a store.Answer) error {
	return s.change(ctx, a.Spend, []ledger.AccountID{a.Account}, func(ctx context.Context, tx *sql.Tx) error {
		if err := checkHead(ctx, tx, a.Account, a.Head); err != nil {
			return err
		}
		if a.Reveal != nil {
			if err := countReveal(ctx, tx, a); err != nil {
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
			return one(store.ErrNotFound)(tx.ExecContext(ctx, `UPDATE recoveries SET released = TRUE WHERE id = $1`, a.Released[:]))
		}
		return nil
	})
}

func countReveal(ctx context.Context, tx *sql.Tx, a store.Answer) error {
	now := a.Spend.Now
	if _, err := tx.ExecContext(ctx, `DELETE FROM reveals WHERE account = $1 AND time <= $2`, a.Account[:], now.Add(-24*time.Hour).UnixMilli()); err != nil {
		return err
	}
	r := a.Reveal
	limits := []revealLimit{{r.DevicePerHour, time.Hour, true}, {r.DevicePerDay, 24 * time.Hour, true}}
	if !r.Failed {
		limits = append(limits, revealLimit{r.PerHour, time.Hour, false}, revealLimit{r.PerDay, 24 * time.Hour, false})
	}
	for _, limit := range limits {
		if err := limit.check(ctx, tx, a); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO reveals (account, time, device, failed) VALUES ($1, $2, $3, $4)`,
		a.Account[:], now.UnixMilli(), r.Device, r.Failed)
	return err
}

type revealLimit struct {
	most      uint64
	period    time.Duration
	ofADevice bool
}

func (l revealLimit) check(ctx context.Context, tx *sql.Tx, a store.Answer) error {
	if l.ofADevice && l.most == 0 {
		return nil
	}
	var count uint64
	var oldest sql.NullInt64
	err := tx.QueryRowContext(ctx,
		`SELECT COUNT(*), MIN(time) FROM reveals WHERE account = $1 AND time > $2
		 AND CASE WHEN $3 THEN device = $4 ELSE failed = FALSE END`,
		a.Account[:], a.Spend.Now.Add(-l.period).UnixMilli(), l.ofADevice, a.Reveal.Device).Scan(&count, &oldest)
	if err == nil && count >= l.most {
		err = &store.LimitError{RetryAfter: timeOf(oldest.Int64).Add(l.period).Sub(a.Spend.Now)}
	}
	return err
}

// ActivityLog implements [store.Store].
func (s *Store) ActivityLog(ctx context.Context, id ledger.AccountID, after uint64, size int) ([][]byte, store.Activity, error) {
	var entries [][]byte
	var end store.Activity
	err := s.db.Read(ctx, func(ctx context.Context, tx *sql.Tx) error {
		last, err := lastActivity(ctx, tx, id)
		if err != nil || last == nil {
			return err
		}
		end = store.Activity{Sequence: last.Sequence(), Hash: last.Hash()}
		rows, err := tx.QueryContext(ctx, `SELECT activity FROM activities WHERE account = $1 AND sequence > $2 ORDER BY sequence`, id[:], after)
		return collect(rows, err, func(rows *sql.Rows) (bool, error) {
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
	return s.change(ctx, a.Spend, []ledger.AccountID{a.Account}, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx,
			`INSERT INTO attestations (account, device, sequence, attestation) VALUES ($1, $2, $3, $4)
			 ON CONFLICT (account, device) DO UPDATE SET sequence = excluded.sequence, attestation = excluded.attestation
			 WHERE excluded.sequence >= attestations.sequence`,
			a.Account[:], a.Device, a.Sequence, a.Bytes)
		return err
	})
}

// Attestations implements [store.Store].
func (s *Store) Attestations(ctx context.Context, id ledger.AccountID) ([][]byte, error) {
	var attestations [][]byte
	err := s.db.Read(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT attestation FROM attestations WHERE account = $1 ORDER BY device`, id[:])
		return collect(rows, err, func(rows *sql.Rows) (bool, error) {
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
