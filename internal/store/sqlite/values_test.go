package sqlite

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

type (
	named      string
	namedBytes []byte
	namedBool  bool
)

// What is given is what is stored, of every type that arguments have.
func TestArguments(t *testing.T) {
	_, q := single(t)
	large := strings.Repeat("x", 3*mostMemory)
	for _, test := range []struct {
		argument any
		want     string // typeof and quote
	}{
		{nil, "null NULL"},
		{[]byte(nil), "null NULL"},
		{namedBytes(nil), "null NULL"},
		{[]byte{}, "blob X''"},
		{[]byte{0, 1, 255}, "blob X'0001FF'"},
		{namedBytes{7}, "blob X'07'"},
		{"", "text ''"},
		{"it's", "text 'it''s'"},
		{named("ada"), "text 'ada'"},
		{large, "text '" + large + "'"},
		{true, "integer 1"},
		{false, "integer 0"},
		{namedBool(true), "integer 1"},
		{math.MinInt64, "integer -9223372036854775808"},
		{int64(math.MaxInt64), "integer 9223372036854775807"},
		{uint64(math.MaxInt64), "integer 9223372036854775807"},
		{int8(-8), "integer -8"},
		{int32(-32), "integer -32"},
		{uint8(200), "integer 200"},
		{uint32(math.MaxUint32), "integer 4294967295"},
		{recordv1.SealedServerShare_KIND_SLOT, fmt.Sprintf("integer %d", recordv1.SealedServerShare_KIND_SLOT)},
	} {
		var kind, quoted string
		err := q.QueryRowContext(t.Context(), `SELECT typeof($1), quote($1)`, test.argument).Scan(&kind, &quoted)
		if got := kind + " " + quoted; err != nil || got != test.want {
			t.Errorf("%T %.20v: %.40s, %v, want %.40s", test.argument, test.argument, got, err, test.want)
		}
	}
	number := 1
	for _, wrong := range []any{uint64(math.MaxInt64 + 1), uint(math.MaxUint64), 1.5, time.Now(), &number, struct{}{}, [2]byte{}, []int{1}} {
		if _, err := q.ExecContext(t.Context(), `SELECT $1`, wrong); err == nil {
			t.Errorf("%T %v is taken", wrong, wrong)
		}
	}
}

// Arguments go where their numbers are, and there are as many as a statement takes.
func TestArgumentNumbers(t *testing.T) {
	_, q := single(t)
	var got string
	if err := q.QueryRowContext(t.Context(), `SELECT $3 || $1 || $2 || $3 || '$4'`, "one", "two", "three").Scan(&got); err != nil || got != "threeonetwothree$4" {
		t.Errorf("%q, %v", got, err)
	}
	if err := q.QueryRowContext(t.Context(), `SELECT $12 || $2`, 1, "b", 3, 4, 5, 6, 7, 8, 9, 10, 11, "l").Scan(&got); err != nil || got != "lb" {
		t.Errorf("%q, %v", got, err)
	}
	for query, args := range map[string][]any{
		`SELECT $1, $2`:         {1},
		`SELECT $1`:             {1, 2},
		`SELECT 1`:              {1},
		`SELECT $1 `:            {},
		`SELECT ?`:              {1},
		`SELECT ?1`:             {1},
		`SELECT :a`:             {1},
		`SELECT $0`:             {1},
		`SELECT $1, $01`:        {1},
		`SELECT $1; SELECT $1`:  {1},
		`SELECT`:                {},
		``:                      {},
		`-- nothing`:            {},
		`UPDATE no SET one = 1`: {},
	} {
		if _, err := q.ExecContext(t.Context(), query, args...); err == nil {
			t.Errorf("%q takes %d arguments", query, len(args))
		}
	}
	if _, err := q.ExecContext(t.Context(), "SELECT 1\n"); err != nil {
		t.Error(err)
	}
}

// What a column has goes into every place that it fits into, and into no other.
func TestScan(t *testing.T) {
	_, q := single(t)
	for _, test := range []struct {
		column string
		place  any
		want   any // nil for an error
	}{
		{`x'0102'`, new([]byte), []byte{1, 2}},
		{`'ab'`, new([]byte), []byte("ab")},
		{`x''`, new([]byte), []byte(nil)},
		{`''`, new([]byte), []byte(nil)},
		{`NULL`, &[]byte{7}, []byte(nil)},
		{`1`, new([]byte), nil},
		{`1.5`, new([]byte), nil},
		{`'ab'`, new(string), "ab"},
		{`''`, new(string), ""},
		{`'a' || x'00' || 'b'`, new(string), "a\x00b"},
		{`x'6162'`, new(string), "ab"},
		{`'ab'`, new(named), named("ab")},
		{`NULL`, new(string), nil},
		{`1`, new(string), nil},
		{`1`, new(named), nil},
		{`-9223372036854775808`, new(int64), int64(math.MinInt64)},
		{`9223372036854775807`, new(uint64), uint64(math.MaxInt64)},
		{`-1`, new(int), -1},
		{`-1`, new(uint64), nil},
		{`-1`, new(uint32), nil},
		{`2147483647`, new(int32), int32(math.MaxInt32)},
		{`2147483648`, new(int32), nil},
		{`-2147483649`, new(int32), nil},
		{`4294967296`, new(uint32), nil},
		{`255`, new(uint8), uint8(255)},
		{`256`, new(uint8), nil},
		{`128`, new(int8), nil},
		{`2`, new(recordv1.SealedServerShare_Kind), recordv1.SealedServerShare_Kind(2)},
		{`4294967298`, new(recordv1.SealedServerShare_Kind), nil},
		{`NULL`, new(int64), nil},
		{`NULL`, new(uint64), nil},
		{`'1'`, new(int64), nil},
		{`x'01'`, new(int64), nil},
		{`1.0`, new(int64), nil},
		{`1`, new(bool), true},
		{`0`, new(bool), false},
		{`2`, new(bool), nil},
		{`-1`, new(namedBool), nil},
		{`1`, new(namedBool), namedBool(true)},
		{`NULL`, new(bool), nil},
		{`'true'`, new(bool), nil},
		{`7`, new(sql.Null[uint64]), sql.Null[uint64]{V: 7, Valid: true}},
		{`NULL`, new(sql.Null[uint64]), sql.Null[uint64]{}},
		{`-7`, new(sql.Null[uint64]), nil},
		{`'ab'`, new(sql.NullString), sql.NullString{String: "ab", Valid: true}},
		{`x'07'`, new(sql.RawBytes), nil},
		{`1.5`, new(sql.Null[float64]), nil},
		{`1.5`, new(float64), nil},
		{`1`, new(float64), nil},
		{`1`, new(any), nil},
		{`1`, new(*int), nil},
		{`1`, new(time.Time), nil},
		{`1`, (*int)(nil), nil},
		{`1`, 0, nil},
		{`1`, nil, nil},
	} {
		err := q.QueryRowContext(t.Context(), `SELECT `+test.column).Scan(test.place)
		if test.want == nil {
			if err == nil {
				t.Errorf("%s goes into a %T", test.column, test.place)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s into a %T: %v", test.column, test.place, err)
			continue
		}
		if got := reflect.ValueOf(test.place).Elem().Interface(); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s into a %T: %#v, want %#v", test.column, test.place, got, test.want)
		}
	}
	var n int
	if err := q.QueryRowContext(t.Context(), `SELECT 1, 2`).Scan(&n); err == nil {
		t.Error("two columns go into one place")
	}
	if err := q.QueryRowContext(t.Context(), `SELECT 1`).Scan(&n, &n); err == nil {
		t.Error("one column goes into two places")
	}
	if err := q.QueryRowContext(t.Context(), `SELECT 1 WHERE 0`).Scan(&n); err != sql.ErrNoRows {
		t.Errorf("no row: %v", err)
	}
}

// What was scanned stays when SQLite goes on, and when the arguments are used again.
func TestScannedIsCopied(t *testing.T) {
	_, q := single(t)
	rows, err := q.QueryContext(t.Context(), `SELECT $1 UNION ALL SELECT $2`, bytes.Repeat([]byte{1}, 100), bytes.Repeat([]byte{2}, 100))
	if err != nil {
		t.Fatal(err)
	}
	var all [2][]byte
	for i := range all {
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		if err := rows.Scan(&all[i]); err != nil {
			t.Fatal(err)
		}
	}
	if rows.Next() || rows.Err() != nil || rows.Close() != nil {
		t.Error(rows.Err())
	}
	if err := rows.Scan(&all[0]); !errors.Is(err, errNoRow) {
		t.Errorf("after the last row: %v", err)
	}
	if _, err := q.ExecContext(t.Context(), `SELECT $1 UNION ALL SELECT $2`, bytes.Repeat([]byte{3}, 100), bytes.Repeat([]byte{4}, 100)); err != nil {
		t.Fatal(err)
	}
	for i, b := range all {
		if !bytes.Equal(b, bytes.Repeat([]byte{byte(i + 1)}, 100)) {
			t.Errorf("row %d is %x now", i, b)
		}
	}
}

// How many rows changed is known.
func TestChanged(t *testing.T) {
	_, q := single(t)
	for _, step := range []struct {
		query   string
		changed int64
	}{
		{`CREATE TABLE numbers (n INTEGER PRIMARY KEY)`, 0},
		{`INSERT INTO numbers (n) VALUES (1), (2), (3)`, 3},
		{`INSERT INTO numbers (n) VALUES (1) ON CONFLICT (n) DO NOTHING`, 0},
		{`UPDATE numbers SET n = n + 10 WHERE n > 1`, 2},
		{`DELETE FROM numbers WHERE n = 99`, 0},
		{`DELETE FROM numbers WHERE n = 1 RETURNING n`, 1},
	} {
		result, err := q.ExecContext(t.Context(), step.query)
		if err != nil {
			t.Fatalf("%s: %v", step.query, err)
		}
		if n, err := result.RowsAffected(); err != nil || n != step.changed {
			t.Errorf("%s changed %d rows, %v, want %d", step.query, n, err, step.changed)
		}
	}
	otherwise := errors.New("otherwise")
	for _, step := range []struct {
		query string
		want  error
	}{
		{`INSERT INTO numbers (n) VALUES (5)`, nil},
		{`INSERT INTO numbers (n) VALUES (12) ON CONFLICT DO NOTHING`, otherwise},
		{`UPDATE numbers SET n = n + 100`, otherwise},
	} {
		if err := q.Later(t.Context(), otherwise, step.query); err != step.want {
			t.Errorf("%s: %v, want %v", step.query, err, step.want)
		}
	}
}
