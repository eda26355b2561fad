package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
	"zeropass.dev/zeropass/internal/store/sqlstore"
	"zeropass.dev/zeropass/internal/store/storetest"
	"zeropass.dev/zeropass/ledger"
)

// testRoundTrips counts how often operations wait for PostgreSQL, when a connection
// knows their statements.
func testRoundTrips(t *testing.T, server *postgrestest.Server) {
	var trips atomic.Int64
	s := open(t, Config{AllowLoss: true, URL: postgrestest.Between(t, server.URL(server.Database(t)), func(client, server net.Conn) {
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			_, _ = io.Copy(client, server)
		}()
		sent := pgproto3.NewBackend(io.TeeReader(client, server), nil)
		_, err := sent.ReceiveStartupMessage()
		for err == nil {
			var message pgproto3.FrontendMessage
			message, err = sent.Receive()
			switch message.(type) {
			case *pgproto3.Sync, *pgproto3.Query:
				trips.Add(1)
			}
		}
		_ = server.Close()
		<-answered
	})})
	defer closed(t, s)
	s.db.pool.SetMaxOpenConns(1)
	entry, key := storetest.Genesis()
	id, _ := entry.Account()
	if err := s.Create(t.Context(), store.Creation{Spend: spend("create"), Name: "ada", NameKey: "ada", Genesis: entry}); err != nil {
		t.Fatal(err)
	}
	head, at, count := entry.Head(), now, 0
	next := func(kind string) store.Spend {
		count++
		sp := spend(fmt.Sprint(kind, count), id)
		sp.Now, sp.Expires = at, at.Add(time.Minute)
		sp.Origin = &store.Origin{Account: id, Country: "NZ", Learn: true}
		return sp
	}
	log := func(limit *store.RevealLimit) error {
		return s.Log(t.Context(), store.Answer{Spend: next("log"), Account: id, Head: head, Reveal: limit})
	}
	grow := func(shares int) error {
		entry := storetest.Next(id, key, head)
		op := store.Append{Spend: next("append"), Account: id, Head: head, Entries: []*ledger.Entry{entry}}
		for n := range shares {
			op.Shares = append(op.Shares, store.Share{ShareID: ledger.ShareID{Epoch: uint64(count), Member: uint64(n)}, Sealed: []byte("s")})
		}
		head = entry.Head()
		return s.Append(t.Context(), op)
	}
	limit := store.RevealLimit{PerHour: 2, PerDay: 3, Device: 1, DevicePerHour: 2, DevicePerDay: 3}
	for _, operation := range []struct {
		name string
		most int64
		run  func() error
	}{
		{"account", 1, func() error { _, err := s.Account(t.Context(), id); return err }},
		{"shares", 1, func() error { _, err := s.Shares(t.Context(), id, make([]ledger.ShareID, 1)); return err }},
		{"log", 2, func() error { return log(nil) }},
		{"reveal at the limit", 3, func() error { at = at.Add(9 * time.Hour); return log(&limit) }},
		{"reveal", 2, func() error { return log(&store.RevealLimit{PerHour: 99, PerDay: 99, Device: 2}) }},
		{"append", 4, func() error { return grow(0) }},
		{"append with shares", 5, func() error { return grow(20) }},
	} {
		for range 8 { // some learn of rows that make the next one ask for more, or are old enough to go
			if err := operation.run(); err != nil {
				t.Fatalf("%s: %v", operation.name, err)
			}
		}
		before := trips.Load()
		if err := operation.run(); err != nil {
			t.Fatalf("%s: %v", operation.name, err)
		}
		if took := trips.Load() - before; took != operation.most {
			t.Errorf("%s took %d round trips, want %d", operation.name, took, operation.most)
		}
	}
}

// testPipeline lets statements fail that nobody waits for, first, last and between.
// Nothing is left of the change then, also of what came before and behind.
func testPipeline(t *testing.T, server *postgrestest.Server) {
	s := open(t, Config{URL: server.URL(server.Database(t)), AllowLoss: true})
	defer closed(t, s)
	errWrong := errors.New("wrong")
	const insert = `INSERT INTO removed (account, time) VALUES ($1, 1) ON CONFLICT DO NOTHING`
	const one = `SELECT 1`
	later := func(wrong error, query string, args ...any) func(context.Context, sqlstore.Tx) error {
		return func(ctx context.Context, tx sqlstore.Tx) error { return tx.Later(ctx, wrong, query, args...) }
	}
	add := func(b byte, wrong error) func(context.Context, sqlstore.Tx) error {
		return later(wrong, insert, []byte{b})
	}
	ask := func(ctx context.Context, tx sqlstore.Tx) error {
		var n int
		return tx.QueryRowContext(ctx, one).Scan(&n)
	}
	all := func(ctx context.Context, tx sqlstore.Tx) error {
		rows, err := tx.QueryContext(ctx, one)
		if err != nil {
			return err
		}
		for rows.Next() {
		}
		return errors.Join(rows.Err(), rows.Close())
	}
	exec := func(ctx context.Context, tx sqlstore.Tx) error { _, err := tx.ExecContext(ctx, one); return err }
	refuses := func(context.Context, sqlstore.Tx) error { return errWrong }
	fails := later(nil, `SELECT 1 / (SELECT COUNT(*) - COUNT(*) FROM removed)`)
	unfit := later(nil, insert, struct{}{})
	badly := errors.New("any other error")
	for name, test := range map[string]struct {
		steps []func(context.Context, sqlstore.Tx) error
		want  error
		left  int
	}{
		"nothing":                       {},
		"one":                           {steps: []func(context.Context, sqlstore.Tx) error{add(1, nil)}, left: 1},
		"twice":                         {steps: []func(context.Context, sqlstore.Tx) error{add(1, nil), ask, add(1, nil), all}, left: 1},
		"wrong at the end":              {steps: []func(context.Context, sqlstore.Tx) error{add(1, errWrong), add(1, errWrong)}, want: errWrong},
		"wrong before a row":            {steps: []func(context.Context, sqlstore.Tx) error{add(1, nil), add(1, errWrong), add(2, nil), ask}, want: errWrong},
		"wrong before rows":             {steps: []func(context.Context, sqlstore.Tx) error{add(1, nil), add(1, errWrong), add(2, nil), all}, want: errWrong},
		"wrong before a statement":      {steps: []func(context.Context, sqlstore.Tx) error{add(1, nil), add(1, errWrong), add(2, nil), exec}, want: errWrong},
		"refused after":                 {steps: []func(context.Context, sqlstore.Tx) error{add(1, nil), ask, add(2, nil), refuses}, want: errWrong},
		"failed at the end":             {steps: []func(context.Context, sqlstore.Tx) error{add(1, nil), ask, fails}, want: badly},
		"failed before the end":         {steps: []func(context.Context, sqlstore.Tx) error{add(1, nil), fails, add(2, nil)}, want: badly},
		"failed first":                  {steps: []func(context.Context, sqlstore.Tx) error{fails, add(2, nil), ask}, want: badly},
		"failed first of what is asked": {steps: []func(context.Context, sqlstore.Tx) error{fails, add(2, nil), all}, want: badly},
		"failed after what was wrong":   {steps: []func(context.Context, sqlstore.Tx) error{add(1, nil), add(1, errWrong), fails, ask}, want: badly},
		"not sent":                      {steps: []func(context.Context, sqlstore.Tx) error{add(1, nil), ask, add(2, nil), unfit}, want: badly},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := s.db.pool.Exec(`DELETE FROM removed`); err != nil {
				t.Fatal(err)
			}
			begun, commits, attempts := time.Now(), s.Commits(), 0
			err := s.db.Change(t.Context(), func(ctx context.Context, tx sqlstore.Tx) error {
				attempts++
				for _, step := range test.steps {
					if err := step(ctx, tx); err != nil {
						return err
					}
				}
				return nil
			})
			got := err
			if err != nil && !errors.Is(err, errWrong) && !errors.Is(err, store.ErrUnknown) {
				got = badly
			}
			if !errors.Is(got, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if attempts != 1 {
				t.Errorf("%d attempts in %v", attempts, time.Since(begun))
			}
			var left int
			if err := s.db.pool.QueryRow(`SELECT COUNT(*) FROM removed`).Scan(&left); err != nil || left != test.left {
				t.Errorf("%d rows are left, %v, want %d", left, err, test.left)
			}
			if made := s.Commits() - commits; (made == 1) != (err == nil) {
				t.Errorf("%d commits, %v", made, err)
			}
		})
	}
}
