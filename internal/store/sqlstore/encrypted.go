package sqlstore

import (
	"context"
	"database/sql"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// encrypted reads one kind of what is encrypted. Its condition starts with the
// account as $1.
type encrypted struct {
	query string
	scan  func(Rows, *store.Encrypted) error
}

var (
	encryptedShares = encrypted{`SELECT ` + shareColumns + ` FROM shares WHERE account = $1`, scanEncryptedShare}
	encryptedBeside = []encrypted{
		{`SELECT id, key, request FROM kept WHERE account = $1 AND LENGTH(request) > 0`, scanEncryptedRequest},
		{`SELECT key, secret FROM alarm_settings WHERE account = $1 AND LENGTH(secret) > 0`, scanEncryptedSettings},
		{`SELECT id, key, secret FROM outbox WHERE account = $1 AND LENGTH(secret) > 0`, scanEncryptedDelivery},
	}
)

// Encrypted implements [store.Maintenance].
func (s *Store) Encrypted(ctx context.Context, id ledger.AccountID, except string, most int) ([]store.Encrypted, error) {
	return s.readEncrypted(ctx, id, append([]encrypted{encryptedShares}, encryptedBeside...), ` AND key <> $2 LIMIT $3`, except, most)
}

// EncryptedBeside implements [store.Maintenance].
func (s *Store) EncryptedBeside(ctx context.Context, id ledger.AccountID) ([]store.Encrypted, error) {
	return s.readEncrypted(ctx, id, encryptedBeside, ``)
}

func (s *Store) readEncrypted(ctx context.Context, id ledger.AccountID, kinds []encrypted, condition string, args ...any) ([]store.Encrypted, error) {
	var things []store.Encrypted
	err := s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		for _, of := range kinds {
			rows, err := tx.QueryContext(ctx, of.query+condition, append([]any{id[:]}, args...)...)
			if err := collect(rows, err, func(rows Rows) (bool, error) {
				e := store.Encrypted{Account: id}
				err := of.scan(rows, &e)
				things = append(things, e)
				return false, err
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return things, nil
}

func scanEncryptedShare(rows Rows, e *store.Encrypted) error {
	share, err := scanShare(rows)
	e.Kind, e.Share, e.Key, e.Sealed = store.EncryptedShare, share.ShareID, share.Key, share.Sealed
	return err
}

func scanEncryptedRequest(rows Rows, e *store.Encrypted) error {
	var id []byte
	err := rows.Scan(&id, &e.Key, &e.Sealed)
	e.Kind = store.EncryptedRequest
	copy(e.Request[:], id)
	return err
}

func scanEncryptedSettings(rows Rows, e *store.Encrypted) error {
	e.Kind = store.EncryptedAlarmSettings
	return rows.Scan(&e.Key, &e.Sealed)
}

func scanEncryptedDelivery(rows Rows, e *store.Encrypted) error {
	e.Kind = store.EncryptedDelivery
	return rows.Scan(&e.Delivery, &e.Key, &e.Sealed)
}

// Reencrypt implements [store.Maintenance].
func (s *Store) Reencrypt(ctx context.Context, id ledger.AccountID, things []store.Reencryption) (int, error) {
	var changed int
	err := s.db.Change(ctx, func(ctx context.Context, tx Tx) error {
		changed = 0
		// Settings that a change copies into a delivery stay as they are until it ends.
		if err := s.lock(ctx, tx, store.Spend{}, id); err != nil {
			return err
		}
		for _, r := range things {
			n, err := reencrypt(ctx, tx, id, r)
			if err != nil {
				return err
			}
			changed += int(n)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return changed, nil
}

// reencrypt is one compare-and-swap.
func reencrypt(ctx context.Context, tx Tx, id ledger.AccountID, r store.Reencryption) (int64, error) {
	swap := []any{r.NewKey, r.NewSealed, r.Key, r.Sealed, id[:]}
	var result sql.Result
	var err error
	switch r.Kind {
	case store.EncryptedShare:
		result, err = tx.ExecContext(ctx,
			`UPDATE shares SET key = $1, sealed = $2 WHERE key = $3 AND sealed = $4
			 AND account = $5 AND kind = $6 AND epoch = $7 AND slot = $8 AND version = $9 AND member = $10`,
			append(swap, nameOf(id, r.Share)[1:]...)...)
	case store.EncryptedRequest:
		result, err = tx.ExecContext(ctx, `UPDATE kept SET key = $1, request = $2 WHERE key = $3 AND request = $4 AND account = $5 AND id = $6`,
			append(swap, r.Request[:])...)
	case store.EncryptedAlarmSettings:
		result, err = tx.ExecContext(ctx, `UPDATE alarm_settings SET key = $1, secret = $2 WHERE key = $3 AND secret = $4 AND account = $5`, swap...)
	case store.EncryptedDelivery:
		result, err = tx.ExecContext(ctx, `UPDATE outbox SET key = $1, secret = $2 WHERE key = $3 AND secret = $4 AND account = $5 AND id = $6`,
			append(swap, r.Delivery)...)
	default:
		return 0, store.ErrNotFound
	}
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// KeyUse implements [store.Maintenance].
func (s *Store) KeyUse(ctx context.Context) (map[string]int64, error) {
	uses := map[string]int64{}
	err := s.db.ReadWhole(ctx, func(ctx context.Context, tx Tx) error {
		rows, err := tx.QueryContext(ctx,
			`SELECT key, COUNT(*) FROM shares GROUP BY key
			 UNION ALL SELECT key, COUNT(*) FROM kept WHERE LENGTH(request) > 0 GROUP BY key
			 UNION ALL SELECT key, COUNT(*) FROM alarm_settings WHERE LENGTH(secret) > 0 GROUP BY key
			 UNION ALL SELECT key, COUNT(*) FROM outbox WHERE LENGTH(secret) > 0 GROUP BY key`)
		return collect(rows, err, func(rows Rows) (bool, error) {
			var key string
			var n int64
			err := rows.Scan(&key, &n)
			uses[key] += n
			return false, err
		})
	})
	if err != nil {
		return nil, err
	}
	return uses, nil
}
