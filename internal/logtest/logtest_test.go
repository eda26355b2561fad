package logtest

import (
	"bytes"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"testing"

	_ "modernc.org/sqlite"
)

//go:noinline
func stackWith(id [32]byte, deep int) []byte {
	if deep > 0 {
		return stackWith(id, deep-1)
	}
	return debug.Stack()
}

// Whatever way something stands in a text, it is found.
func TestFind(t *testing.T) {
	var id [32]byte
	if _, err := rand.Read(id[:]); err != nil {
		t.Fatal(err)
	}
	for i := range id {
		id[i] |= 0x10 // two digits, as a stack has them without leading zeros
	}
	file := filepath.Join(t.TempDir(), "data.db")
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{`CREATE TABLE accounts (account BLOB, name TEXT, sequence INTEGER)`, `CREATE TABLE outbox (kind TEXT)`, `INSERT INTO outbox VALUES ('recovery')`} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec(`INSERT INTO accounts VALUES (?, 'Ada, 1st Countess', 1234567)`, id[:]); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	values, err := read("sqlite", "file:"+file, sqliteTables)
	if err != nil || len(values) != 2 {
		t.Fatalf("%v, %v", values, err)
	}
	logged := func(v any) []byte {
		var text, asJSON bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("a request failed", "v", v)
		slog.New(slog.NewJSONHandler(&asJSON, nil)).Info("a request failed", "v", v)
		return append(text.Bytes(), asJSON.Bytes()...)
	}
	encoded, err := json.Marshal(struct{ ID []byte }{id[:]})
	if err != nil {
		t.Fatal(err)
	}
	for name, said := range map[string][]byte{
		"bytes": id[:], "inside": append([]byte("something"), append(id[3:], "and more"...)...), "text": logged(string(id[:])),
		"%v": fmt.Appendf(nil, "%v", id), "%q": fmt.Appendf(nil, "%q", id[:]), "%X": fmt.Appendf(nil, "%X", id),
		"hexadecimal": []byte(hex.EncodeToString(id[:])), "JSON": encoded, "stack": stackWith(id, 2),
		"base64": []byte(base64.RawURLEncoding.EncodeToString(append([]byte("a prefix"), id[:]...))),
		"name":   logged("Ada, 1st Countess"), "name in a sentence": logged("there is no Ada, 1st Countess."),
	} {
		if len(find(said, values)) == 0 {
			t.Errorf("%s: nothing is found in %q", name, said)
		}
	}
	for _, said := range []string{"recovery", "Ada", "1234567", "the Countesses", hex.EncodeToString(id[:4])} {
		if found := find([]byte(said), values); len(found) > 0 {
			t.Errorf("in %q there is %v", said, found)
		}
	}
}
