package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/sqlstore"
	"zeropass.dev/zeropass/ledger"
)

const (
	// lookBack is how much older a change may be than what a follower has read and
	// still be new to it, where it cannot ask which transactions it has seen: longer
	// than a transaction takes from its first statement, which dates its changes, to
	// its end (changeTime), with the time that a server that is cut off has its
	// transaction open, and the difference of two database servers' clocks.
	lookBack = 2 * time.Minute
	// forgetful is after how long a follower does not know any more what it missed.
	// The table has changes of the last fifteen minutes.
	forgetful = 10 * time.Minute
	// nextTime is how long one look may take.
	nextTime = 10 * time.Second
)

// Changed implements [sqlstore.Database]. The rows are written in the transaction
// of what they tell of, under its number. They have no row or counter in common
// with those of other accounts. Like nonces, each change removes a few old ones.
func (d *database) Changed(ctx context.Context, tx sqlstore.Tx, changes []store.Change) error {
	kinds := map[ledger.AccountID]uint64{}
	for _, c := range changes {
		kinds[c.Account] |= c.Kinds
	}
	if len(kinds) == 0 {
		return nil
	}
	var rows []string
	var values []any
	for id, k := range kinds {
		values = append(values, id[:], int64(k&store.AllKinds))
		rows = append(rows, fmt.Sprintf(`($%d, $%d)`, len(values)-1, len(values)))
	}
	return tx.Later(ctx, nil,
		`WITH old AS (DELETE FROM changes WHERE (transaction, account) IN
		   (SELECT transaction, account FROM changes WHERE time < now() - interval '15 minutes' ORDER BY time LIMIT 8 FOR UPDATE SKIP LOCKED))
		 INSERT INTO changes (account, kinds) VALUES `+strings.Join(rows, ", "), values...)
}

// Follow implements [sqlstore.Database].
func (d *database) Follow() store.Follower { return &follower{pool: d.pool, begun: time.Now()} }

// follower reads the table of changes.
//
// Transactions end in another order than they began, so no row's number or time
// says that all before it are there. A follower keeps PostgreSQL's own answer to
// which are: the snapshot that it last read on. The next one reads what was not
// visible on that and is now. So every row is read once, in the first look after
// its commit, however late that is. A snapshot names the oldest transaction that
// had not ended, and no row of an older one can be new: that is the low-water
// mark, from which the index is read.
//
// This holds as long as the database goes on counting transactions where it was,
// and so as long as one connection lasts. A database that has crashed, or whose
// standby took over, may give numbers again. So over a new connection a follower
// goes by the time instead, and reads again what is not much older than its last
// look.
type follower struct {
	pool     *sql.DB
	conn     *sql.Conn // nil where there is none
	snapshot string    // that was read on over this connection, or empty
	begun    time.Time
	at       time.Time // when it was read on, by the database's clock; zero before
}

// Next implements [store.Follower].
func (f *follower) Next(ctx context.Context) (changes []store.Change, all bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, nextTime)
	defer cancel()
	if f.conn == nil {
		if f.conn, err = f.pool.Conn(ctx); err != nil {
			f.conn = nil
			return nil, false, err
		}
		f.snapshot = ""
	}
	if changes, all, err = f.next(ctx); err != nil {
		return nil, false, errors.Join(err, f.Close())
	}
	return changes, all, nil
}

func (f *follower) next(ctx context.Context) (changes []store.Change, all bool, err error) {
	tx, err := f.conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = tx.Rollback() }() // it has changed nothing
	var snapshot, off string
	var at time.Time
	// The planner's guess is that a third of a table is newer than something: then it
	// would read all of it.
	if err := tx.QueryRowContext(ctx, `SELECT pg_current_snapshot()::TEXT, now(), set_config('enable_seqscan', 'off', TRUE)`).Scan(&snapshot, &at, &off); err != nil {
		return nil, false, err
	}
	since := time.Since(f.begun)
	if !f.at.IsZero() {
		since = at.Sub(f.at)
	}
	switch {
	case since > forgetful:
		all = true
	case f.snapshot != "":
		changes, err = read(tx.QueryContext(ctx,
			`SELECT DISTINCT account, kinds FROM changes
			 WHERE transaction >= pg_snapshot_xmin($1::pg_snapshot) AND NOT pg_visible_in_snapshot(transaction, $1::pg_snapshot)`, f.snapshot))
	default:
		changes, err = read(tx.QueryContext(ctx, `SELECT DISTINCT account, kinds FROM changes WHERE time >= $1`, at.Add(-since-lookBack)))
	}
	if err != nil {
		return nil, false, err
	}
	f.snapshot, f.at = snapshot, at
	return changes, all, nil
}

func read(rows *sql.Rows, err error) ([]store.Change, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var changes []store.Change
	for rows.Next() {
		var id []byte
		var c store.Change
		if err := rows.Scan(&id, &c.Kinds); err != nil {
			return nil, err
		}
		copy(c.Account[:], id)
		changes = append(changes, c)
	}
	return changes, rows.Err()
}

// Close implements [store.Follower].
func (f *follower) Close() error {
	if f.conn == nil {
		return nil
	}
	err := f.conn.Close()
	f.conn = nil
	if errors.Is(err, sql.ErrConnDone) {
		return nil
	}
	return err
}
