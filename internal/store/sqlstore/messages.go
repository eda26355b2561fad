package sqlstore

import (
	"bytes"
	"context"
	"slices"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// insertMessages gives messages to their recipients, whose inboxes are locked in
// the order of their ids.
func insertMessages(ctx context.Context, tx Tx, messages []store.Message) error {
	sorted := slices.Clone(messages)
	slices.SortStableFunc(sorted, func(a, b store.Message) int { return bytes.Compare(a.To[:], b.To[:]) })
	for _, m := range sorted {
		id, err := nextMessage(ctx, tx, m.To)
		if err != nil {
			return err
		}
		if err := insertMessage(ctx, tx, id, m); err != nil {
			return err
		}
	}
	return nil
}

// nextMessage numbers the next message of an inbox, and locks the inbox: a message
// with a lower number is there by now, or never comes, so that no device reads past
// one.
func nextMessage(ctx context.Context, tx Tx, recipient ledger.AccountID) (id uint64, err error) {
	err = tx.QueryRowContext(ctx,
		`INSERT INTO inboxes (recipient, last) VALUES ($1, 1)
		 ON CONFLICT (recipient) DO UPDATE SET last = inboxes.last + 1 RETURNING last`, recipient[:]).Scan(&id)
	return id, err
}

func insertMessage(ctx context.Context, tx Tx, id uint64, m store.Message) error {
	return tx.Later(ctx, nil,
		`INSERT INTO messages (id, sender, recipient, kind, topic, body, time) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		id, senderOf(m), m.To[:], m.Kind, m.Topic, m.Body, m.Time.UnixMilli())
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
	err = s.change(ctx, sending.Spend, nil, func(ctx context.Context, tx Tx) (err error) {
		if _, err := headOf(ctx, tx, m.To); err != nil {
			return err
		}
		if id, err = nextMessage(ctx, tx, m.To); err != nil {
			return err
		}
		if sending.Replace {
			if err := tx.Later(ctx, nil, `DELETE FROM messages WHERE recipient = $1 AND sender = $2 AND kind = $3 AND topic = $4`,
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
		return insertMessage(ctx, tx, id, m)
	})
	if err != nil {
		return 0, err
	}
	return id, nil
}

// Inbox implements [store.Store].
func (s *Store) Inbox(ctx context.Context, account ledger.AccountID, device, after uint64, size int) ([]store.Message, bool, error) {
	var messages []store.Message
	more := false
	err := s.db.Read(ctx, func(ctx context.Context, tx Tx) error {
		rows, err := tx.QueryContext(ctx,
			`SELECT m.id, m.sender, COALESCE(a.name, ''), m.kind, m.body, m.time
			 FROM messages m LEFT JOIN accounts a ON a.account = m.sender
			 WHERE m.recipient = $1 AND m.id > $2
			 AND NOT EXISTS (SELECT 1 FROM acknowledgements k WHERE k.recipient = m.recipient AND k.message = m.id AND k.device = $3)
			 ORDER BY m.id`,
			account[:], after, device)
		return collect(rows, err, func(rows Rows) (bool, error) {
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
	return s.change(ctx, a.Spend, nil, func(ctx context.Context, tx Tx) error {
		// Nobody else looks who has acknowledged, or replaces a message, meanwhile.
		if err := tx.Later(ctx, nil, `UPDATE inboxes SET last = last WHERE recipient = $1`, a.Account[:]); err != nil {
			return err
		}
		for _, id := range a.IDs {
			if err := acknowledge(ctx, tx, a, id); err != nil {
				return err
			}
		}
		return nil
	})
}

func acknowledge(ctx context.Context, tx Tx, a store.Acknowledgement, id uint64) error {
	if err := tx.Later(ctx, nil,
		`INSERT INTO acknowledgements (recipient, message, device)
		 SELECT recipient, id, $1 FROM messages WHERE id = $2 AND recipient = $3 ON CONFLICT DO NOTHING`,
		a.Device, id, a.Account[:]); err != nil {
		return err
	}
	for _, device := range a.Active {
		var seen int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM acknowledgements WHERE recipient = $1 AND message = $2 AND device = $3`,
			a.Account[:], id, device).Scan(&seen); err != nil {
			return err
		}
		if seen == 0 {
			return nil
		}
	}
	return tx.Later(ctx, nil, `DELETE FROM messages WHERE id = $1 AND recipient = $2`, id, a.Account[:])
}
