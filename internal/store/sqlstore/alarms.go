package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// alarmSettings returns empty settings where there are none.
func alarmSettings(ctx context.Context, tx Tx, id ledger.AccountID) (store.AlarmSettings, error) {
	var s store.AlarmSettings
	err := tx.QueryRowContext(ctx, `SELECT mail, webhook, key, secret FROM alarm_settings WHERE account = $1`, id[:]).
		Scan(&s.Mail, &s.Webhook, &s.Key, &s.Secret)
	if errors.Is(err, sql.ErrNoRows) {
		return store.AlarmSettings{}, nil
	}
	return s, err
}

// raise puts alarms into the outbox, one delivery for each channel.
func raise(ctx context.Context, tx Tx, now time.Time, alarms []store.Alarm) error {
	for _, a := range alarms {
		settings, err := alarmSettings(ctx, tx, a.Account)
		if err != nil {
			return err
		}
		for _, to := range []struct{ channel, target, key string }{
			{store.ChannelMail, settings.Mail, ""},
			{store.ChannelWebhook, settings.Webhook, settings.Key},
		} {
			if to.target == "" {
				continue
			}
			secret := []byte{}
			if to.channel == store.ChannelWebhook {
				secret = append(secret, settings.Secret...)
			}
			due, counted, err := together(ctx, tx, now, a, to.channel, to.target)
			if err != nil {
				return err
			}
			if counted {
				continue
			}
			if full, err := isFull(ctx, tx, now, a, to.channel); err != nil || full {
				if err != nil {
					return err
				}
				continue
			}
			if err := tx.Later(ctx, nil,
				`INSERT INTO outbox (alarm, account, kind, channel, target, key, secret, body, created, due, id)
				 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, (SELECT COALESCE(MAX(id), 0) + 1 FROM outbox WHERE account = $2))
				 ON CONFLICT DO NOTHING`,
				a.ID, a.Account[:], a.Kind, to.channel, to.target, to.key, secret, a.Body, due.UnixMilli()); err != nil {
				return err
			}
		}
	}
	return nil
}

var errTried = errors.New("store: the delivery is under way")

// together counts an alarm with another one of its kind to the same place that has
// not been tried yet, and says so. Else it says when the alarm may leave.
func together(ctx context.Context, tx Tx, now time.Time, a store.Alarm, channel, target string) (due time.Time, counted bool, err error) {
	if a.Pause <= 0 {
		return now, false, nil
	}
	var id, last int64
	err = tx.QueryRowContext(ctx,
		`SELECT COALESCE(MAX(CASE WHEN done = FALSE AND attempt = 0 AND target = $1 AND alarm <> $2 THEN id END), 0), COALESCE(MAX(created), 0)
		 FROM outbox WHERE account = $3 AND channel = $4 AND kind = $5`,
		target, a.ID, a.Account[:], channel, a.Kind).Scan(&id, &last)
	if err != nil {
		return time.Time{}, false, err
	}
	if id != 0 {
		// Not if it is being tried by now.
		err = one(errTried)(tx.ExecContext(ctx, `UPDATE outbox SET times = times + 1 WHERE account = $1 AND id = $2 AND attempt = 0`, a.Account[:], id))
		if !errors.Is(err, errTried) {
			return time.Time{}, err == nil, err
		}
	}
	if next := timeOf(last).Add(a.Pause); last != 0 && next.After(now) {
		return next, false, nil
	}
	return now, false, nil
}

// isFull says whether as many alarms of this kind wait, or went out in the last
// hour, as may. This one itself does not count: new settings may name a second
// place for it.
func isFull(ctx context.Context, tx Tx, now time.Time, a store.Alarm, channel string) (bool, error) {
	perHour := store.AlarmsPerHour
	if a.PerHour > 0 {
		perHour = a.PerHour
	}
	var waiting, recent int
	err := tx.QueryRowContext(ctx,
		`SELECT COUNT(CASE WHEN done = FALSE THEN 1 END), COUNT(CASE WHEN created > $1 THEN 1 END)
		 FROM outbox WHERE account = $2 AND channel = $3 AND kind = $4 AND alarm <> $5`,
		now.Add(-time.Hour).UnixMilli(), a.Account[:], channel, a.Kind, a.ID).Scan(&waiting, &recent)
	return waiting >= store.WaitingPerKind || recent >= perHour, err
}

// meet raises the alarm about a country that is not among the account's, and
// learns it. The first country that is learned is what later ones are compared
// with.
func meet(ctx context.Context, tx Tx, now time.Time, o *store.Origin, at *standing) error {
	if o == nil || o.Country == "" {
		return nil
	}
	var known int
	var same bool
	if at != nil && at.account == o.Account {
		known, same = at.countries, at.met
	} else if err := tx.QueryRowContext(ctx, `SELECT COUNT(*), COUNT(CASE WHEN country = $1 THEN 1 END) > 0 FROM countries WHERE account = $2`,
		o.Country, o.Account[:]).Scan(&known, &same); err != nil {
		return err
	}
	if same {
		return nil
	}
	if o.Learn {
		if err := tx.Later(ctx, nil, `INSERT INTO countries (account, country) VALUES ($1, $2)`, o.Account[:], o.Country); err != nil {
			return err
		}
	}
	if known == 0 {
		return nil
	}
	return raise(ctx, tx, now, []store.Alarm{o.Alarm})
}

// AlarmSettings implements [store.Outbox].
func (s *Store) AlarmSettings(ctx context.Context, id ledger.AccountID) (store.AlarmSettings, int, error) {
	var settings store.AlarmSettings
	var waiting int
	err := s.db.Read(ctx, func(ctx context.Context, tx Tx) (err error) {
		if settings, err = alarmSettings(ctx, tx, id); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM outbox WHERE account = $1 AND done = FALSE`, id[:]).Scan(&waiting)
	})
	if err != nil {
		return store.AlarmSettings{}, 0, err
	}
	return settings, waiting, nil
}

// setAlarms changes where alarms go.
func setAlarms(ctx context.Context, tx Tx, a store.Answer) error {
	// To where alarms went before; change raises them by the new settings.
	if err := raise(ctx, tx, a.Spend.Now, a.Spend.Alarms); err != nil {
		return err
	}
	return tx.Later(ctx, nil,
		`INSERT INTO alarm_settings (account, mail, webhook, key, secret) VALUES ($1, $2, $3, $4, $5)
		 ON CONFLICT (account) DO UPDATE SET mail = excluded.mail, webhook = excluded.webhook, key = excluded.key, secret = excluded.secret`,
		a.Account[:], a.Alarms.Mail, a.Alarms.Webhook, a.Alarms.Key, append([]byte{}, a.Alarms.Secret...)) // empty, not NULL
}

// Raise implements [store.Outbox].
func (s *Store) Raise(ctx context.Context, now time.Time, alarms ...store.Alarm) error {
	return s.db.Change(ctx, func(ctx context.Context, tx Tx) error {
		if err := s.lock(ctx, tx, store.Spend{Alarms: alarms}); err != nil {
			return err
		}
		return raise(ctx, tx, now, alarms)
	})
}

// Begin implements [store.Outbox].
func (s *Store) Begin(ctx context.Context, now time.Time, lease time.Duration, most int, busy ...store.Place) ([]store.Delivery, error) {
	var begun []store.Delivery
	// Most of the time nothing is due, and that is found out without writing.
	var due int
	if err := s.db.ReadOnce(ctx, func(ctx context.Context, q Querier) error {
		return q.QueryRowContext(ctx, `SELECT COUNT(*) FROM outbox WHERE done = FALSE AND due <= $1`, now.UnixMilli()).Scan(&due)
	}); err != nil || due == 0 {
		return nil, err
	}
	err := s.db.Change(ctx, func(ctx context.Context, tx Tx) (err error) {
		if err := tx.Later(ctx, nil, `DELETE FROM outbox WHERE done = TRUE AND created <= $1`, now.Add(-time.Hour).UnixMilli()); err != nil {
			return err
		}
		if begun, err = s.deliveries(ctx, tx, now, most, busy); err != nil {
			return err
		}
		for i := range begun {
			begun[i].Attempt++
			if err := tx.Later(ctx, nil, `UPDATE outbox SET attempt = $1, due = $2 WHERE account = $3 AND id = $4`,
				begun[i].Attempt, now.Add(lease).UnixMilli(), begun[i].Alarm.Account[:], begun[i].ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return begun, nil
}

// deliveries returns what is due, first at its place, and nobody else is taking. A
// row that somebody else has taken meanwhile is due no more, which is asked again of
// the row itself.
func (s *Store) deliveries(ctx context.Context, tx Tx, now time.Time, most int, busy []store.Place) ([]store.Delivery, error) {
	var due []store.Delivery
	isBusy := func(channel string) bool { return slices.Contains(busy, store.Place{Channel: channel}) }
	rows, err := tx.QueryContext(ctx,
		`SELECT id, attempt, alarm, account, kind, body, channel, target, key, secret, created, times FROM outbox
		 WHERE done = FALSE AND due <= $1 AND (account, id) IN
		   (SELECT account, id FROM
		     (SELECT account, id, ROW_NUMBER() OVER (PARTITION BY account, channel ORDER BY due, id) AS place
		      FROM outbox WHERE done = FALSE AND due <= $1) AS waiting
		    WHERE place = 1)
		 AND NOT (CAST($3 AS BOOLEAN) AND channel = $4) AND NOT (CAST($5 AS BOOLEAN) AND channel = $6)
		 ORDER BY due, account, id LIMIT $2`+s.skipLocked(),
		now.UnixMilli(), most+len(busy), isBusy(store.ChannelMail), store.ChannelMail, isBusy(store.ChannelWebhook), store.ChannelWebhook)
	err = collect(rows, err, func(rows Rows) (bool, error) {
		var d store.Delivery
		var account []byte
		var created int64
		err := rows.Scan(&d.ID, &d.Attempt, &d.Alarm.ID, &account, &d.Alarm.Kind, &d.Alarm.Body, &d.Channel, &d.Target, &d.Key, &d.Secret, &created, &d.Times)
		copy(d.Alarm.Account[:], account)
		d.Created = timeOf(created)
		if !slices.Contains(busy, d.Place()) {
			due = append(due, d)
		}
		return len(due) == most, err
	})
	return due, err
}

// delivery tells one attempt of one delivery from all others, also from those
// that have its number after it is gone.
const delivery = `account = $1 AND id = $2 AND alarm = $3 AND attempt = $4 AND done = FALSE`

// End implements [store.Outbox].
func (s *Store) End(ctx context.Context, d store.Delivery) error {
	return s.db.Change(ctx, func(ctx context.Context, tx Tx) error {
		// Its id stands for the target, so that two of an alarm stay two.
		return one(store.ErrUnknownDelivery)(tx.ExecContext(ctx,
			`UPDATE outbox SET done = TRUE, target = CAST(id AS TEXT), key = '', secret = $5, body = $5 WHERE `+delivery,
			d.Alarm.Account[:], d.ID, d.Alarm.ID, d.Attempt, []byte{}))
	})
}

// PutOff implements [store.Outbox].
func (s *Store) PutOff(ctx context.Context, d store.Delivery, until time.Time) error {
	return s.db.Change(ctx, func(ctx context.Context, tx Tx) error {
		return one(store.ErrUnknownDelivery)(tx.ExecContext(ctx, `UPDATE outbox SET due = $5 WHERE `+delivery,
			d.Alarm.Account[:], d.ID, d.Alarm.ID, d.Attempt, until.UnixMilli()))
	})
}
