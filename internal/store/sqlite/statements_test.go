package sqlite

import (
	"fmt"
	"path/filepath"
	"testing"
)

// single returns a connection to a file of its own, without tables.
func single(t *testing.T) (*conn, querier) {
	t.Helper()
	c, err := openConn(filepath.Join(t.TempDir(), "db"), readerCache)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.running != 0 {
			t.Errorf("%d statements run", c.running)
		}
		if err := c.close(); err != nil {
			t.Error(err)
		}
	})
	return c, querier{c}
}

// A statement is compiled once for each connection, runs beside itself, and is not
// used again after it failed.
func TestStatementsAreKept(t *testing.T) {
	ctx := t.Context()
	c, q := single(t)
	run := func(query string, args ...any) {
		t.Helper()
		if _, err := q.ExecContext(ctx, query, args...); err != nil {
			t.Fatal(err)
		}
	}
	keeps := func() (texts, statements int) {
		for _, all := range c.free {
			texts, statements = texts+1, statements+len(all)
		}
		return texts, statements
	}
	run(`CREATE TABLE numbers (n INTEGER PRIMARY KEY)`)
	if texts, _ := keeps(); texts != 0 {
		t.Errorf("it keeps %d texts", texts)
	}
	const insert = `INSERT INTO numbers (n) VALUES ($1)`
	for n := range 5 {
		run(insert, n)
	}
	if texts, _ := keeps(); texts != 1 {
		t.Errorf("it keeps %d texts", texts)
	}
	if _, err := q.ExecContext(ctx, insert, 1); err == nil {
		t.Error("the same number twice")
	}
	if _, statements := keeps(); statements != 0 {
		t.Errorf("it keeps %d statements, after one failed", statements)
	}
	run(insert, 5)

	// The same text again, while its rows are being read.
	const from = `SELECT n FROM numbers WHERE n >= $1 ORDER BY n`
	var seen []int
	var each func(at int)
	each = func(at int) {
		rows, err := q.QueryContext(ctx, from, at)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var n int
			if err := rows.Scan(&n); err != nil {
				t.Fatal(err)
			}
			if seen = append(seen, n); at == 0 && n == 3 {
				each(4)
			}
		}
	}
	each(0)
	if got := fmt.Sprint(seen); got != "[0 1 2 3 4 5 4 5]" {
		t.Errorf("read %s", got)
	}

	// What a change of the schema makes stale is compiled again.
	const all = `SELECT * FROM numbers WHERE n = $1`
	var n int
	if err := q.QueryRowContext(ctx, all, 5).Scan(&n); err != nil {
		t.Fatal(err)
	}
	run(`ALTER TABLE numbers ADD COLUMN more TEXT`)
	for range 2 {
		var more []byte
		if err := q.QueryRowContext(ctx, all, 5).Scan(&n, &more); err != nil || n != 5 || more != nil {
			t.Fatal(n, more, err)
		}
	}
	for i := range 2 * maxStatements {
		run(fmt.Sprintf(`UPDATE numbers SET more = '%d' WHERE n = $1`, i), 5)
	}
	if texts, statements := keeps(); texts > maxStatements || statements > texts+1 {
		t.Errorf("it keeps %d texts and %d statements", texts, statements)
	}
}
