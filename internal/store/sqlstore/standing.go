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
	end       ledger.ActivityEnd // of the log
	countries int                // that the account has met
	met       bool               // the spend's among them
	reveals   revealNumbers      // if they were asked for
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
		query, args = query+revealColumns, append(args, allDevices, limit.Device)
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
		if at.end, err = ledger.ParseActivityEnd(activity); err != nil {
			return nil, err
		}
	}
	return at, nil
}

const (
	standingColumns = `SELECT sequence, head, locked,
		(SELECT activity FROM activities WHERE account = $1 ORDER BY sequence DESC LIMIT 1)`
	revealColumns = `,
		COALESCE((SELECT MAX(number) FROM reveals WHERE account = $1 AND device = $2), 0),
		COALESCE((SELECT MAX(number) FROM reveals WHERE account = $1 AND device = $3), 0)`
	countryColumns = `,
		(SELECT COUNT(*) FROM countries WHERE account = $1),
		EXISTS (SELECT 1 FROM countries WHERE account = $1 AND country = $%d)`
)

// revealNumbers are the newest numbers of an account's reveals. There may be many
// within a day, and a limit is reached where the one with the right number is there
// and young enough: so none are counted.
type revealNumbers struct{ ofAccount, ofDevice uint64 }

// allDevices stands for all of an account's, which have higher numbers, where its
// reveals are numbered without those that failed. Beside those of each device they lie
// in the same page.
const allDevices = 0

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
	numbered := []any{at.account[:], now.UnixMilli(), r.Device, at.reveals.ofDevice + 1}
	insert := `INSERT INTO reveals (account, time, device, number) VALUES ($1, $2, $3, $4)`
	if !r.Failed {
		insert += `, ($1, $2, $5, $6)`
		numbered = append(numbered, allDevices, at.reveals.ofAccount+1)
	}
	if err := tx.Later(ctx, nil, insert, numbered...); err != nil {
		return err
	}
	if at.reveals.ofDevice%deletedEvery != deletedEvery-1 {
		return nil
	}
	for _, device := range []uint64{allDevices, r.Device} {
		if err := tx.Later(ctx, nil,
			`DELETE FROM reveals WHERE account = $1 AND device = $2 AND time <= $3
			 AND number < $4 + (SELECT MIN(number) FROM reveals WHERE account = $1 AND device = $2)`,
			at.account[:], device, now.Add(-day).UnixMilli(), deletedTogether); err != nil {
			return err
		}
	}
	return nil
}

// checkReveals returns a [store.LimitError] if as many reveals were made as may be. It
// asks for all that it needs to know in one statement.
func checkReveals(ctx context.Context, tx Tx, now time.Time, at *standing, r *store.RevealLimit) error {
	limits := []struct {
		device, made, most uint64
		period             time.Duration
	}{
		{r.Device, at.reveals.ofDevice, r.DevicePerHour, time.Hour},
		{r.Device, at.reveals.ofDevice, r.DevicePerDay, day},
		{allDevices, at.reveals.ofAccount, r.PerHour, time.Hour},
		{allDevices, at.reveals.ofAccount, r.PerDay, day},
	}
	var made [4]int64 // when, 0 for one that is not there
	var places []any
	var periods []time.Duration
	var columns []string
	args := []any{at.account[:]}
	for _, l := range limits {
		if l.device != allDevices && l.most == 0 || l.device == allDevices && r.Failed || l.made < l.most {
			continue
		}
		if l.most == 0 {
			return &store.LimitError{RetryAfter: l.period}
		}
		// When this one is older than the period, there are fewer than may be.
		args = append(args, l.device, l.made-l.most+1)
		columns = append(columns, fmt.Sprintf(numberedReveal, len(args)-1, len(args)))
		places = append(places, &made[len(places)])
		periods = append(periods, l.period)
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

const numberedReveal = `COALESCE((SELECT time FROM reveals WHERE account = $1 AND device = $%d AND number = $%d), 0)`
