package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
	"zeropass.dev/zeropass/internal/store/sqlstore"
	"zeropass.dev/zeropass/ledger"
)

// together runs changes that come while another is made, so that they are tried in one
// transaction, and returns how each ended.
func together(t *testing.T, s *Store, changes []func() error) []error {
	t.Helper()
	g := &s.db.gathering
	g.mu.Lock()
	g.led, g.alone, g.last = true, 0, 0
	g.mu.Unlock()
	errs := make([]error, len(changes))
	var group sync.WaitGroup
	for i, change := range changes {
		group.Go(func() { errs[i] = change() })
		for queued := 0; queued <= i; time.Sleep(time.Millisecond) {
			g.mu.Lock()
			queued = len(g.queue)
			g.mu.Unlock()
		}
	}
	go s.db.lead()
	group.Wait()
	return errs
}

// testTogether makes changes of several accounts in one transaction, with one among
// them that cannot be. The others are made all the same, and nothing is left of it.
func testTogether(t *testing.T, server *postgrestest.Server) {
	direct := server.URL(server.Database(t))
	c, through := newCutter(t, direct)
	s := open(t, Config{URL: through, AllowLoss: true})
	defer closed(t, s)
	const accounts = 5
	var ids [accounts]ledger.AccountID
	var heads [accounts]ledger.Head
	for i := range ids {
		ids[i], heads[i] = create(t, s, fmt.Sprint("together ", i))
	}
	ends := func() (ends [accounts]uint64) {
		t.Helper()
		for i, id := range ids {
			_, end, err := s.ActivityLog(t.Context(), id, 0, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			ends[i] = end.Sequence
		}
		return ends
	}
	limit := &store.RevealLimit{PerHour: 99, PerDay: 99, Device: 1, DevicePerHour: 99, DevicePerDay: 99}
	answer := func(name string, i int) store.Answer {
		sp := spend(fmt.Sprint(name, " ", i), ids[i])
		sp.Origin = &store.Origin{Account: ids[i], Country: "NZ", Learn: true}
		return store.Answer{Spend: sp, Account: ids[i], Head: heads[i], Reveal: limit}
	}
	directly := func(f func(context.Context, sqlstore.Tx) error) func() error {
		return func() error { return s.db.ChangeOne(t.Context(), ids[2], f) }
	}
	insert := func(ctx context.Context, tx sqlstore.Tx, wrong error) error {
		return tx.Later(ctx, wrong, `INSERT INTO removed (account, time) VALUES ($1, 1) ON CONFLICT DO NOTHING`, []byte("together"))
	}
	errWrong := errors.New("wrong")
	var limited *store.LimitError
	if err := s.Log(t.Context(), answer("replayed", 2)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		change  func() error // of account 2
		before  func() func()
		wants   func(error) bool
		adds    uint64 // activities of account 2
		commits uint64
	}{
		{name: "all", commits: 1, adds: 1},
		{name: "limit", commits: accounts - 1, wants: func(err error) bool { return errors.As(err, &limited) }, change: func() error {
			a := answer("limit", 2)
			a.Reveal = &store.RevealLimit{Device: 1}
			return s.Log(t.Context(), a)
		}},
		{name: "head", commits: accounts - 1, wants: func(err error) bool { return errors.Is(err, store.ErrHeadMoved) }, change: func() error {
			a := answer("head", 2)
			a.Head.Sequence++
			return s.Log(t.Context(), a)
		}},
		{name: "replayed", commits: accounts - 1, wants: func(err error) bool { return errors.Is(err, store.ErrReplayed) }},
		{name: "refused late", commits: accounts - 1, wants: func(err error) bool { return errors.Is(err, errWrong) }, change: directly(func(ctx context.Context, tx sqlstore.Tx) error {
			return errors.Join(insert(ctx, tx, nil), insert(ctx, tx, errWrong))
		})},
		{name: "refused when it settles", commits: accounts - 1, wants: func(err error) bool { return errors.Is(err, errWrong) }, change: directly(func(ctx context.Context, tx sqlstore.Tx) error {
			return errors.Join(insert(ctx, tx, nil), insert(ctx, tx, errWrong), tx.Settle(ctx))
		})},
		{name: "fails", commits: accounts - 1, wants: func(err error) bool { return hasCode(err, "22012") }, change: directly(func(ctx context.Context, tx sqlstore.Tx) error {
			return errors.Join(insert(ctx, tx, nil), tx.Later(ctx, nil, `SELECT 1 / (SELECT COUNT(*) - COUNT(*) FROM removed)`))
		})},
		{name: "fails as it asks", commits: accounts - 1, wants: func(err error) bool { return hasCode(err, "22012") }, change: directly(func(ctx context.Context, tx sqlstore.Tx) error {
			var n int
			return errors.Join(insert(ctx, tx, nil), tx.QueryRowContext(ctx, `SELECT 1 / (SELECT COUNT(*) - COUNT(*) FROM removed)`).Scan(&n))
		})},
		{name: "unfit", commits: accounts - 1, wants: func(err error) bool { return err != nil }, change: directly(func(ctx context.Context, tx sqlstore.Tx) error {
			return errors.Join(insert(ctx, tx, nil), tx.Later(ctx, nil, `DELETE FROM removed WHERE account = $1`, struct{}{}))
		})},
		{name: "panics", commits: accounts - 1, wants: func(err error) bool { return errors.Is(err, errWrong) }, change: func() (err error) {
			defer func() { err, _ = recover().(error) }()
			return directly(func(ctx context.Context, tx sqlstore.Tx) error { _ = insert(ctx, tx, nil); panic(errWrong) })()
		}},
		{name: "many rows", commits: accounts, change: directly(func(ctx context.Context, tx sqlstore.Tx) error {
			rows, err := tx.QueryContext(ctx, `SELECT account FROM accounts`)
			if err != nil {
				return err
			}
			return rows.Close()
		})},
		{name: "one after the other", commits: 1, change: directly(func(ctx context.Context, tx sqlstore.Tx) error {
			for i := range 3 {
				var n int
				if err := tx.QueryRowContext(ctx, `SELECT $1::bigint`, i).Scan(&n); err != nil || n != i {
					return fmt.Errorf("%d, %w", n, err)
				}
			}
			return nil
		})},
		{name: "locked", commits: accounts, adds: 1, before: func() func() {
			tx, err := s.db.pool.Begin()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(`SELECT 1 FROM accounts WHERE account = $1 FOR UPDATE`, ids[2][:]); err != nil {
				t.Fatal(err)
			}
			before := s.Commits()
			go func() {
				// The others do not wait for it.
				for s.Commits() < before+accounts-1 {
					time.Sleep(time.Millisecond)
				}
				_ = tx.Rollback()
			}()
			return func() {}
		}},
		{name: "cut before the commit", commits: accounts, adds: 1, before: func() func() { c.before.Store(1); return func() {} }},
		{name: "cut after the commit", adds: 1, before: func() func() { c.after.Store(1); return func() {} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			began, commits, cuts := ends(), s.Commits(), c.cuts.Load()
			wantCut := int64(0)
			if test.before != nil {
				defer test.before()()
				wantCut = c.before.Load() + c.after.Load()
			}
			var changes []func() error
			for i := accounts - 1; i >= 0; i-- {
				if i == 2 && test.change != nil {
					changes = append(changes, test.change)
					continue
				}
				changes = append(changes, func() error { return s.Log(t.Context(), answer(test.name, i)) })
			}
			begun := time.Now()
			errs := together(t, s, changes)
			if took := time.Since(begun); took > 8*time.Second {
				t.Errorf("it took %v, as long as a lock is waited for", took)
			}
			after := ends()
			for i, err := range errs {
				account := accounts - 1 - i
				if account == 2 {
					if test.wants == nil && err != nil || test.wants != nil && !test.wants(err) {
						t.Errorf("it ended with %v", err)
					}
					if got := after[2] - began[2]; got != test.adds {
						t.Errorf("it added %d activities, want %d", got, test.adds)
					}
					continue
				}
				if err != nil || after[account] != began[account]+1 {
					t.Errorf("account %d has %d more activities: %v", account, after[account]-began[account], err)
				}
				if err := s.Log(t.Context(), answer(test.name, account)); !errors.Is(err, store.ErrReplayed) {
					t.Errorf("account %d, the same again: %v", account, err)
				}
			}
			if got := s.Commits() - commits; got != test.commits {
				t.Errorf("%d commits, want %d", got, test.commits)
			}
			if done := c.cuts.Load() - cuts; done != wantCut {
				t.Errorf("%d connections were cut, want %d", done, wantCut)
			}
			var left int
			if err := s.db.pool.QueryRow(`SELECT COUNT(*) FROM removed`).Scan(&left); err != nil || left != 0 {
				t.Errorf("%d rows are left, %v", left, err)
			}
		})
	}

	t.Run("the same account", func(t *testing.T) {
		began := ends()
		var changes []func() error
		for i := range 4 {
			changes = append(changes, func() error { return s.Log(t.Context(), answer(fmt.Sprint("same ", i/2), i%2)) })
		}
		if err := errors.Join(together(t, s, changes)...); err != nil {
			t.Error(err)
		}
		if after := ends(); after[0] != began[0]+2 || after[1] != began[1]+2 {
			t.Errorf("activities before %v and after %v", began, after)
		}
	})
	t.Run("the database is away", func(t *testing.T) {
		s.db.pool.SetMaxIdleConns(1) // the one that is cut
		s.db.retry = 50 * time.Millisecond
		c.gone.Store(true)
		c.after.Store(1)
		for i, err := range together(t, s, []func() error{
			func() error { return s.Log(t.Context(), answer("away", 0)) },
			func() error { return s.Log(t.Context(), answer("away", 1)) },
		}) {
			if !errors.Is(err, store.ErrUnknown) {
				t.Errorf("account %d, whose commit was not answered: %v", i, err)
			}
		}
		for i, err := range together(t, s, []func() error{
			func() error { return s.Log(t.Context(), answer("still away", 0)) },
			func() error { return s.Log(t.Context(), answer("still away", 1)) },
		}) {
			if err == nil || errors.Is(err, store.ErrUnknown) {
				t.Errorf("account %d, while the database is away: %v", i, err)
			}
		}
		c.gone.Store(false)
		for i := range 2 {
			if err := s.Log(t.Context(), answer("away", i)); !errors.Is(err, store.ErrReplayed) {
				t.Errorf("account %d, what was not known is found out: %v", i, err)
			}
			if err := s.Log(t.Context(), answer("still away", i)); err != nil {
				t.Errorf("account %d, what was not made: %v", i, err)
			}
		}
	})
}
