package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
	"zeropass.dev/zeropass/internal/store/sqlstore"
)

// testValues sends values to PostgreSQL and scans them, and compares what comes back
// with what package pgx makes of the same.
func testValues(t *testing.T, server *postgrestest.Server) {
	s := open(t, Config{URL: server.URL(server.Database(t)), AllowLoss: true})
	defer closed(t, s)
	type kind int32
	for _, test := range []struct {
		cast  string
		value any
		place func() any
	}{
		{"bytea", []byte("bytes"), func() any { return new([]byte) }},
		{"bytea", []byte{}, func() any { return new([]byte) }},
		{"bytea", []byte(nil), func() any { b := []byte("before"); return &b }},
		{"bytea", nil, func() any { return new([]byte) }},
		{"bytea", []byte("bytes"), func() any { return new(string) }},
		{"text", "text", func() any { return new(string) }},
		{"text", "", func() any { return new(string) }},
		{"text", nil, func() any { return new(string) }},
		{"text", nil, func() any { return new(*string) }},
		{"text", "text", func() any { return new([]byte) }},
		{"text", []byte("text"), func() any { return new(string) }},
		{"text", uint64(7), func() any { return new(string) }},
		{"varchar", "text", func() any { return new(string) }},
		{"bigint", int64(-7), func() any { return new(int64) }},
		{"bigint", -7, func() any { return new(int) }},
		{"bigint", uint64(7), func() any { return new(uint64) }},
		{"bigint", uint64(math.MaxInt64), func() any { return new(uint64) }},
		{"bigint", uint64(math.MaxUint64), func() any { return new(uint64) }},
		{"bigint", int64(-7), func() any { return new(uint64) }},
		{"bigint", int64(1 << 40), func() any { return new(int32) }},
		{"bigint", int32(7), func() any { return new(int64) }},
		{"bigint", kind(7), func() any { return new(kind) }},
		{"bigint", nil, func() any { return new(int64) }},
		{"bigint", "7", func() any { return new(int64) }},
		{"integer", int32(-7), func() any { return new(int32) }},
		{"integer", int64(7), func() any { return new(int64) }},
		{"integer", kind(7), func() any { return new(kind) }},
		{"integer", 1 << 40, func() any { return new(int) }},
		{"boolean", true, func() any { return new(bool) }},
		{"boolean", false, func() any { b := true; return &b }},
		{"boolean", nil, func() any { return new(bool) }},
		{"timestamptz", now, func() any { return new(time.Time) }},
	} {
		query := `SELECT $1::` + test.cast
		ours, theirs, all := test.place(), test.place(), test.place()
		var err, theirErr, allErr error
		if connectErr := s.db.connected(deadline(t), func(c *connection) error {
			err = single{c}.QueryRowContext(t.Context(), query, test.value).Scan(ours)
			theirErr = c.conn.QueryRow(t.Context(), query, test.value).Scan(theirs)
			rows, err := single{c}.QueryContext(t.Context(), query, test.value)
			if allErr = err; err != nil {
				return nil
			}
			for rows.Next() {
				allErr = rows.Scan(all)
			}
			allErr = errors.Join(allErr, rows.Err(), rows.Close())
			return nil
		}); connectErr != nil {
			t.Fatal(connectErr)
		}
		name := fmt.Sprintf("%T(%v) as %s in %T", test.value, test.value, test.cast, ours)
		if (err == nil) != (theirErr == nil) || (allErr == nil) != (theirErr == nil) {
			t.Errorf("%s: %v and %v, but %v of pgx", name, err, allErr, theirErr)
		} else if err == nil && (!reflect.DeepEqual(ours, theirs) || !reflect.DeepEqual(all, theirs)) {
			t.Errorf("%s: %v and %v, but %v of pgx", name, reflect.ValueOf(ours).Elem(), reflect.ValueOf(all).Elem(), reflect.ValueOf(theirs).Elem())
		}
	}
	if err := s.db.connected(deadline(t), func(c *connection) error {
		var n, m int64
		for _, wrong := range []struct {
			query  string
			args   []any
			places []any
		}{
			{`SELECT 1::bigint`, nil, []any{&n, &m}},
			{`SELECT 1::bigint, 2::bigint`, nil, []any{&n}},
			{`SELECT $1::bigint`, nil, []any{&n}},
			{`SELECT $1::bigint`, []any{1, 2}, []any{&n}},
			{`SELECT 1 / $1::bigint`, []any{0}, []any{&n}},
		} {
			if err := (single{c}).QueryRowContext(t.Context(), wrong.query, wrong.args...).Scan(wrong.places...); err == nil || errors.Is(err, sql.ErrNoRows) {
				t.Errorf("%s with %v in %d places: %v", wrong.query, wrong.args, len(wrong.places), err)
			}
		}
		if err := (single{c}).QueryRowContext(t.Context(), `SELECT 1::bigint WHERE FALSE`).Scan(&n); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("no row: %v", err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// deadline is a context with one, as every use of a connection has.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), changeTime)
	t.Cleanup(cancel)
	return ctx
}

// testStatements lets PostgreSQL forget or refuse what was prepared, and prepares too
// much. A connection that this happens to is given up, and the next one works.
func testStatements(t *testing.T, server *postgrestest.Server) {
	s := open(t, Config{URL: server.URL(server.Database(t)), AllowLoss: true})
	defer closed(t, s)
	s.db.pool.SetMaxOpenConns(1)
	var last *pgx.Conn
	ask := func(query string) error {
		var n int64
		return s.db.connected(deadline(t), func(c *connection) error {
			last = c.conn
			return single{c}.QueryRowContext(t.Context(), query).Scan(&n)
		})
	}
	change := func(query string) error {
		return s.db.Change(t.Context(), func(ctx context.Context, tx sqlstore.Tx) error { return tx.Later(ctx, nil, query) })
	}
	exec := func(query string) {
		t.Helper()
		if err := s.db.connected(deadline(t), func(c *connection) error {
			_, err := c.conn.Exec(t.Context(), query, pgx.QueryExecModeSimpleProtocol)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	works := func(when string, other bool) {
		t.Helper()
		before := last
		if err := ask(`SELECT n FROM (SELECT 1::bigint AS n) AS one`); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if (last != before) != other {
			t.Errorf("%s: another connection is %v, want %v", when, last != before, other)
		}
	}
	works("first", true)
	works("again", false)

	exec(`DEALLOCATE ALL`)
	if err := ask(`SELECT n FROM (SELECT 1::bigint AS n) AS one`); !hasCode(err, invalidStatementName) {
		t.Errorf("a statement that PostgreSQL forgot: %v", err)
	}
	works("after what was forgotten", true)
	if err := change(`DELETE FROM removed`); err != nil {
		t.Fatal(err)
	}
	exec(`DEALLOCATE ALL`)
	if err := change(`DELETE FROM removed`); !hasCode(err, invalidStatementName) {
		t.Errorf("a change that PostgreSQL forgot: %v", err)
	}
	works("after a change that was forgotten", true)

	exec(`CREATE TABLE columns AS SELECT 1::bigint AS n`)
	if err := ask(`SELECT * FROM columns`); err != nil {
		t.Fatal(err)
	}
	exec(`ALTER TABLE columns ALTER COLUMN n TYPE INTEGER`)
	if err := ask(`SELECT * FROM columns`); !hasCode(err, featureNotSupported) {
		t.Errorf("other columns: %v", err)
	}
	works("after other columns", true)
	if err := ask(`SELECT * FROM columns`); err != nil {
		t.Error(err)
	}

	if err := ask(`SELECT n FROM nowhere`); err == nil {
		t.Error("asked a table that is not there")
	}
	works("after what cannot be prepared", true)
	if err := change(`DELETE FROM nowhere`); err == nil {
		t.Error("changed a table that is not there")
	}
	works("after a change that cannot be prepared", true)

	if err := s.db.connected(deadline(t), func(c *connection) error {
		for i := range mostStatements {
			if err := c.prepare([]question{{query: fmt.Sprint(`SELECT `, i)}}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	works("after too many", true)
}
