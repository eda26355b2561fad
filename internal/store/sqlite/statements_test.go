package sqlite

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
)

// A statement is compiled once for each connection, runs beside itself, and is not
// used again after it failed.
func TestStatementsAreKept(t *testing.T) {
	ctx := t.Context()
	s, err := Open(ctx, filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	db := s.db.write // one connection
	run := func(query string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(ctx, query, args...); err != nil {
			t.Fatal(err)
		}
	}
	keeps := func() (texts, statements int) {
		t.Helper()
		c, err := db.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if err := c.Raw(func(driver any) error {
			for _, all := range driver.(*conn).free {
				texts, statements = texts+1, statements+len(all)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return texts, statements
	}
	run(`CREATE TABLE numbers (n INTEGER PRIMARY KEY)`)
	before, _ := keeps()
	const insert = `INSERT INTO numbers (n) VALUES ($1)`
	for n := range 5 {
		run(insert, n)
	}
	if texts, _ := keeps(); texts != before+1 {
		t.Errorf("it keeps %d texts, before it were %d", texts, before)
	}
	if _, err := db.ExecContext(ctx, insert, 1); err == nil {
		t.Error("the same number twice")
	}
	if texts, _ := keeps(); texts != before+1 {
		t.Errorf("%d texts", texts)
	}
	run(insert, 5)

	// The same text again, while its rows are being read.
	const from = `SELECT n FROM numbers WHERE n >= $1 ORDER BY n`
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	var seen []int
	var each func(at int)
	each = func(at int) {
		rows, err := tx.QueryContext(ctx, from, at)
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
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(seen); got != "[0 1 2 3 4 5 4 5]" {
		t.Errorf("read %s", got)
	}

	// What a change of the schema makes stale is compiled again.
	run(`ALTER TABLE numbers ADD COLUMN more TEXT`)
	const all = `SELECT * FROM numbers WHERE n = $1`
	for range 2 {
		var n int
		var more sql.NullString
		if err := db.QueryRowContext(ctx, all, 5).Scan(&n, &more); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 * maxStatements {
		run(fmt.Sprintf(`UPDATE numbers SET more = '%d' WHERE n = $1`, i), 5)
	}
	if texts, statements := keeps(); texts > maxStatements || statements > texts+1 {
		t.Errorf("it keeps %d texts and %d statements", texts, statements)
	}
}
