package sqlite

import (
	"context"
	"database/sql"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

func insertMessage(ctx context.Context, tx *sql.Tx, m store.Message) (id uint64, err error) {
	err = tx.QueryRowContext(ctx,
		`INSERT INTO messages (sender, recipient, kind, topic, body, time) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id`,
		senderOf(m), m.To[:], m.Kind, m.Topic, m.Body, m.Time.UnixMilli()).Scan(&id)
	return id, err
}

func senderOf(m store.Message) []byte {
	if m.From == nil {
		return []byte{}
	}
	return m.From[:]
}

// Send implements [store.Store].
func (s *Store) Send(ctx context.Context, sending store.Sending) (id uint64, err error) {
	m := sending.Message
	err = s.change(ctx, sending.Spend, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := headOf(ctx, tx, m.To); err != nil {
			return err
		}
		if sending.Replace {
			if _, err := tx.ExecContext(ctx, `DELETE FROM messages WHERE recipient = $1 AND sender = $2 AND kind = $3 AND topic = $4`,
				m.To[:], senderOf(m), m.Kind, m.Topic); err != nil {
				return err
			}
		}
		var pair, box int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM messages WHERE recipient = $1 AND sender = $2 AND kind = $3`,
			m.To[:], senderOf(m), m.Kind).Scan(&pair); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM messages WHERE recipient = $1`, m.To[:]).Scan(&box); err != nil {
			return err
		}
		if pair >= sending.PerPair || box >= sending.PerBox {
			return store.ErrFull
		}
		id, err = insertMessage(ctx, tx, m)
		return err
	})
	return id, err
}

// Inbox implements [store.Store].
func (s *Store) Inbox(ctx context.Context, account ledger.AccountID, device, after uint64, size int) ([]store.Message, bool, error) {
	var messages []store.Message
	more := false
	err := s.reading(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx,
			`SELECT m.id, m.sender, COALESCE(a.name, ''), m.kind, m.body, m.time
			 FROM messages m LEFT JOIN accounts a ON a.account = m.sender
			 WHERE m.recipient = $1 AND m.id > $2
			 AND NOT EXISTS (SELECT 1 FROM acknowledgements k WHERE k.message = m.id AND k.device = $3)
			 ORDER BY m.id`,
			account[:], after, device)
		return collect(rows, err, func(rows *sql.Rows) (bool, error) {
			if size <= 0 {
				more = true
				return true, nil
			}
			m := store.Message{To: account}
			var sender []byte
			var at int64
			err := rows.Scan(&m.ID, &sender, &m.FromName, &m.Kind, &m.Body, &at)
			if len(sender) == len(account) {
				from := ledger.AccountID(sender)
				m.From = &from
			}
			m.Time = timeOf(at)
			messages = append(messages, m)
			size -= len(m.Body)
			return false, err
		})
	})
	if err != nil {
		return nil, false, err
	}
	return messages, more, nil
}

// Acknowledge implements [store.Store].
func (s *Store) Acknowledge(ctx context.Context, a store.Acknowledgement) error {
	return s.change(ctx, a.Spend, func(ctx context.Context, tx *sql.Tx) error {
		for _, id := range a.IDs {
			if err := acknowledge(ctx, tx, a, id); err != nil {
				return err
			}
		}
		return nil
	})
}

func acknowledge(ctx context.Context, tx *sql.Tx, a store.Acknowledgement, id uint64) error {
	if _, err := tx.ExecContext(ctx,
		`INSERT INTO acknowledgements (message, device)
		 SELECT id, $1 FROM messages WHERE id = $2 AND recipient = $3 ON CONFLICT DO NOTHING`,
		a.Device, id, a.Account[:]); err != nil {
		return err
	}
	for _, device := range a.Active {
		var seen int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM acknowledgements WHERE message = $1 AND device = $2`, id, device).Scan(&seen); err != nil {
			return err
		}
		if seen == 0 {
			return nil
		}
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM messages WHERE id = $1 AND recipient = $2`, id, a.Account[:])
	return err
}
