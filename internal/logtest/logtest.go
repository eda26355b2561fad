// Package logtest finds what stands in a server's data in what the server tells its
// operator: logs, traces, metrics, last words.
package logtest

import (
	"bytes"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"zeropass.dev/zeropass/internal/server"
)

// Queries for the names of all tables.
const (
	sqliteTables   = `SELECT name FROM sqlite_master WHERE type = 'table'`
	postgresTables = `SELECT tablename FROM pg_tables WHERE schemaname = 'public'`
)

// told are columns that an operator may see: ids of encryption keys, words from fixed
// lists, and numbers that PostgreSQL gives.
var told = []string{"changes.transaction", "shares.key", "kept.key", "outbox.key", "alarm_settings.key", "outbox.kind", "outbox.channel"}

// window is how many bytes of a value are looked for, its first ones and its last.
const window = 12

// CheckSQLite wants nothing of what is in a server's file in what it said, nor any of
// more.
func CheckSQLite(t testing.TB, said []byte, file string, more ...string) {
	t.Helper()
	u := url.URL{Scheme: "file", Path: file}
	check(t, said, "sqlite", strings.Replace(u.String(), "file://", "file:", 1), sqliteTables, more)
}

// CheckPostgres is CheckSQLite for servers over a PostgreSQL database.
func CheckPostgres(t testing.TB, said []byte, url string, more ...string) {
	t.Helper()
	check(t, said, "pgx", url, postgresTables, more)
}

func check(t testing.TB, said []byte, driver, place, tables string, more []string) {
	t.Helper()
	values, err := read(driver, place, tables)
	if err != nil {
		t.Fatalf("what the server has cannot be read: %v", err)
	}
	for _, text := range more {
		values = append(values, value{"what it must not know", []byte(text), true})
	}
	for _, found := range find(said, values) {
		t.Errorf("the server tells its operator %s", found)
	}
}

// Keys returns the private keys of a server.
func Keys(t testing.TB, keys *server.Keys) (all []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys")
	if err := server.WriteKeys(file, keys); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		words := strings.Fields(line)
		if key, err := base64.StdEncoding.DecodeString(words[len(words)-1]); err == nil && len(key) == 32 {
			all = append(all, string(key))
		}
	}
	return all
}

// value is something of somebody's.
type value struct {
	where string
	bytes []byte
	text  bool
}

// read returns all values of all columns, each once.
func read(driver, place, tables string) (values []value, err error) {
	db, err := sql.Open(driver, place)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }() // it was only read
	names, err := column(db, tables)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, name := range names {
		if name == "goose_db_version" || strings.HasPrefix(name, "sqlite_") {
			continue
		}
		if err := scan(db, name, func(v value) {
			if !seen[string(v.bytes)] {
				seen[string(v.bytes)] = true
				values = append(values, v)
			}
		}); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func column(db *sql.DB, query string) (all []string, err error) {
	rows, err := db.Query(query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

func scan(db *sql.DB, table string, each func(value)) error {
	rows, err := db.Query(`SELECT * FROM ` + table)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	row := make([]any, len(columns))
	for i := range row {
		row[i] = new(any)
	}
	for rows.Next() {
		if err := rows.Scan(row...); err != nil {
			return err
		}
		for i, name := range columns {
			where := table + "." + name
			if slices.Contains(told, where) {
				continue
			}
			switch v := (*row[i].(*any)).(type) {
			case []byte:
				each(value{where, v, false})
			case string:
				each(value{where, []byte(v), true})
			}
		}
	}
	return rows.Err()
}

// find says which values are in the text, and how.
func find(said []byte, values []value) (found []string) {
	for _, v := range values {
		if v.text && len(v.bytes) > 2 && hasWord(said, v.bytes) {
			found = append(found, fmt.Sprintf("%s: %q", v.where, v.bytes))
		}
		if len(v.bytes) < window {
			continue
		}
		for _, part := range [][]byte{v.bytes[:window], v.bytes[len(v.bytes)-window:]} {
			if len(bytes.Trim(part, "\x00")) < window/2 {
				continue // zeros are in everything
			}
			for how, form := range forms(part) {
				if bytes.Contains(said, []byte(form)) {
					found = append(found, fmt.Sprintf("%s as %s: %x", v.where, how, part))
				}
			}
		}
	}
	return found
}

// hasWord wants no letter or digit beside it.
func hasWord(said, word []byte) bool {
	for rest := said; ; {
		i := bytes.Index(rest, word)
		if i < 0 {
			return false
		}
		before, after := bytes.Runes(rest[max(0, i-4):i]), bytes.Runes(rest[i+len(word):min(len(rest), i+len(word)+4)])
		if (len(before) == 0 || !isWord(before[len(before)-1])) && (len(after) == 0 || !isWord(after[0])) {
			return true
		}
		rest = rest[i+1:]
	}
}

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// forms are the ways in which bytes may stand in a text. Quoted ones come out of
// "%q", numbers out of "%v", and words out of the arguments in a stack.
func forms(b []byte) map[string]string {
	quoted := fmt.Sprintf("%q", b)
	all := map[string]string{
		"bytes":       string(b),
		"hexadecimal": hex.EncodeToString(b),
		"HEXADECIMAL": strings.ToUpper(hex.EncodeToString(b)),
		"quoted":      quoted[1 : len(quoted)-1],
		"numbers":     strings.Trim(fmt.Sprint(b), "[]"),
		"arguments":   strings.ReplaceAll(strings.Trim(fmt.Sprintf("%#x", []any{b[0], b[1], b[2], b[3], b[4], b[5]}), "[]"), " ", ", "),
	}
	for cut := range 3 { // in the middle of something else
		whole := b[cut : cut+(len(b)-cut)/3*3]
		all[fmt.Sprint("base64 from ", cut)] = base64.StdEncoding.EncodeToString(whole)
		all[fmt.Sprint("base64url from ", cut)] = base64.URLEncoding.EncodeToString(whole)
	}
	return all
}
