package sqlstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// standing is how an account stands before a change, as far as most changes need to
// know. It takes one statement to read.
type standing struct {
	account   ledger.AccountID
	head      ledger.Head
	last      *ledger.Activity // nil where the log is empty
	countries int              // that the account has met
	met       bool             // the spend's among them
	reveals   revealNumbers    // if they were asked for
}

// stand wants the account's ledger to end as the caller saw it, and the account not to
// be locked, and returns how it stands. It reads the numbers of reveals if there is a limit.
func stand(ctx context.Context, tx Tx, spend store.Spend, id ledger.AccountID, head ledger.Head, limit *store.RevealLimit) (*standing, error) {
	at := &standing{account: id}
	country := ""
	if spend.Origin != nil && spend.Origin.Account == id {
		country = spend.Origin.Country
	}
	var hash, activity []byte
	var locked int64
	query, args := standingColumns, []any{id[:]}
	places := []any{&at.head.Sequence, &hash, &locked, &activity}
	if limit != nil {
		query, args = query+revealColumns, append(args, limit.Device)
		places = append(places, &at.reveals.ofAccount, &at.reveals.ofDevice)
	}
	if country != "" {
		args = append(args, country)
		query += fmt.Sprintf(countryColumns, len(args))
		places = append(places, &at.countries, &at.met)
	}
	if err := tx.QueryRowContext(ctx, query+` FROM accounts WHERE account = $1`, args...).Scan(places...); err != nil {
		return nil, found(err)
	}
	if copy(at.head.Hash[:], hash); at.head != head || locked != 0 {
		return nil, store.ErrHeadMoved
	}
	if activity != nil {
		var err error
		if at.last, err = ledger.ParseActivity(activity); err != nil {
			return nil, err
		}
	}
	return at, nil
}

const (
	standingColumns = `SELECT sequence, head, locked,
		(SELECT activity FROM activities WHERE account = $1 ORDER BY sequence DESC LIMIT 1)`
	revealColumns = `,
		COALESCE((SELECT MAX(of_account) FROM reveals WHERE account = $1), 0),
		COALESCE((SELECT MAX(of_device) FROM reveals WHERE account = $1 AND device = $2), 0)`
	countryColumns = `,
		(SELECT COUNT(*) FROM countries WHERE account = $1),
		EXISTS (SELECT 1 FROM countries WHERE account = $1 AND country = $%d)`
)

// revealNumbers are the newest numbers of an account's reveals. There may be many
// within a day, and a limit is reached where the one with the right number is there
// and young enough: so none are counted.
type revealNumbers struct{ ofAccount, ofDevice uint64 }

const (
	day = 24 * time.Hour
	// deletedTogether is how many that count no more are deleted at a time, at most, with
	// every deletedEvery-th of a device: more than come, and few enough to make nobody
	// wait.
	deletedTogether = 256
	deletedEvery    = 16
)

// countReveal counts one more reveal, or refuses it.
func countReveal(ctx context.Context, tx Tx, now time.Time, at *standing, r *store.RevealLimit) error {
	if err := checkReveals(ctx, tx, now, at, r); err != nil {
		return err
	}
	if at.reveals.ofDevice%deletedEvery == deletedEvery-1 {
		if err := tx.Later(ctx, nil,
			`DELETE FROM reveals WHERE account = $1 AND time <= $2
			 AND of_account < $3 + (SELECT MIN(of_account) FROM reveals WHERE account = $1)`,
			at.account[:], now.Add(-day).UnixMilli(), deletedTogether); err != nil {
			return err
		}
	}
	ofAccount := at.reveals.ofAccount
	if !r.Failed {
		ofAccount++
	}
	return tx.Later(ctx, nil, `INSERT INTO reveals (account, time, device, failed, of_account, of_device) VALUES ($1, $2, $3, $4, $5, $6)`,
		at.account[:], now.UnixMilli(), r.Device, r.Failed, ofAccount, at.reveals.ofDevice+1)
}

// checkReveals returns a [store.LimitError] if as many reveals were made as may be. It
// asks for all that it needs to know in one statement.
func checkReveals(ctx context.Context, tx Tx, now time.Time, at *standing, r *store.RevealLimit) error {
	limits := []struct {
		made, most uint64
		period     time.Duration
		query      string
	}{
		{at.reveals.ofDevice, r.DevicePerHour, time.Hour, deviceReveal},
		{at.reveals.ofDevice, r.DevicePerDay, day, deviceReveal},
		{at.reveals.ofAccount, r.PerHour, time.Hour, accountReveal},
		{at.reveals.ofAccount, r.PerDay, day, accountReveal},
	}
	var made [4]int64 // when, 0 for one that is not there
	var places []any
	var periods []time.Duration
	var columns []string
	args := []any{at.account[:]}
	for _, l := range limits {
		ofDevice := l.query == deviceReveal
		if ofDevice && l.most == 0 || !ofDevice && r.Failed || l.made < l.most {
			continue
		}
		if l.most == 0 {
			return &store.LimitError{RetryAfter: l.period}
		}
		// When this one is older than the period, there are fewer than may be.
		args = append(args, l.made-l.most+1)
		parameters := []any{len(args)}
		if ofDevice {
			args = append(args, r.Device)
			parameters = append(parameters, len(args))
		}
		places = append(places, &made[len(places)])
		periods = append(periods, l.period)
		columns = append(columns, fmt.Sprintf(l.query, parameters...))
	}
	if len(columns) == 0 {
		return nil
	}
	if err := tx.QueryRowContext(ctx, `SELECT `+strings.Join(columns, `, `), args...).Scan(places...); err != nil {
		return err
	}
	for i, period := range periods {
		if retry := timeOf(made[i]).Add(period).Sub(now); made[i] != 0 && retry > 0 {
			return &store.LimitError{RetryAfter: retry}
		}
	}
	return nil
}

const (
	deviceReveal  = `COALESCE((SELECT time FROM reveals WHERE account = $1 AND of_device = $%d AND device = $%d LIMIT 1), 0)`
	accountReveal = `COALESCE((SELECT time FROM reveals WHERE account = $1 AND of_account = $%d AND failed = FALSE LIMIT 1), 0)`
)
