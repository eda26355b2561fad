package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
	"go.uber.org/goleak"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/sqlstore"
	"zeropass.dev/zeropass/internal/store/storetest"
	"zeropass.dev/zeropass/ledger"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(asWriter); path != "" {
		write(path)
		return
	}
	goleak.VerifyTestMain(m)
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		path := filepath.Join(t.TempDir(), "server.db")
		return func() store.Store {
			s, err := Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}

// A program must not touch what a newer one wrote.
func TestNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.db")
	s := open(t, path)
	if _, err := beside(t, path).Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)`); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path); !errors.Is(err, store.ErrNewerSchema) {
		t.Errorf("got %v, want ErrNewerSchema", err)
	}
}

// What the pragmas promise is what the connections have.
func TestPragmas(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "with space & ?.db"))
	defer func() { _ = s.Close() }()
	var mode string
	if err := ask(t, s.db.write, `PRAGMA journal_mode`).Scan(&mode); err != nil || mode != "wal" {
		t.Errorf("journal_mode is %q (%v)", mode, err)
	}
	for name, test := range map[string]struct {
		pool  *pool
		cache int64
	}{"writer": {s.db.write, -writerCache}, "reader": {s.db.read, -readerCache}} {
		for pragma, want := range map[string]int64{"synchronous": 2, "secure_delete": 1, "foreign_keys": 1, "busy_timeout": 10_000,
			"wal_autocheckpoint": 4000, "cache_size": test.cache} {
			var got int64
			if err := ask(t, test.pool, `PRAGMA `+pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s of a %s is %d (%v), want %d", pragma, name, got, err, want)
			}
		}
	}
}

// After an error of the disk nothing more is answered.
func TestFailStop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.db")
	s := open(t, path)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < len(b); i++ { // every page but the first
		b[i] = 0xff
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	d := newDatabase(path)
	s = &Store{Store: sqlstore.New(d), db: d}
	defer func() { _ = s.Close() }()
	if _, err := s.Named(t.Context(), "ada"); !errors.Is(err, store.ErrFailed) {
		t.Fatalf("a damaged page gave %v, want ErrFailed", err)
	}
	if err := s.Claim(t.Context(), []byte("keys")); err != store.ErrFailed {
		t.Errorf("afterwards: %v, want ErrFailed itself", err)
	}
}

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// beside returns a connection of package database/sql.
func beside(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := connect(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// ask asks a connection.
func ask(t testing.TB, p *pool, query string, args ...any) sqlstore.Row {
	t.Helper()
	c, err := p.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return asked{p, c, querier{c}.QueryRowContext(t.Context(), query, args...)}
}

type asked struct {
	pool *pool
	conn *conn
	row  sqlstore.Row
}

func (a asked) Scan(places ...any) error {
	return errors.Join(a.row.Scan(places...), a.pool.put(a.conn))
}

// older makes a file with the schema of an earlier version.
func older(t *testing.T, path string, version int64) *sql.DB {
	t.Helper()
	db, err := connect(path)
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	return db
}

// Reveals that were made before they had numbers count.
func TestRevealsAreNumbered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.db")
	db := older(t, path, 11)
	entry, _ := storetest.Genesis()
	id, _ := entry.Account()
	now := time.UnixMilli(1e12)
	hash := entry.Hash()
	if _, err := db.Exec(`INSERT INTO accounts (account, name, name_key, sequence, head) VALUES ($1, 'ada', 'ada', 1, $2)`, id[:], hash[:]); err != nil {
		t.Fatal(err)
	}
	for i, failed := range []bool{false, true, false} {
		if _, err := db.Exec(`INSERT INTO reveals (account, time, device, failed) VALUES ($1, $2, $3, $4)`,
			id[:], now.Add(time.Duration(i)*time.Minute).UnixMilli(), 2-i%2, failed); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	defer func() { _ = s.Close() }()
	now = now.Add(3 * time.Minute)
	reveal := func(nonce string, limit store.RevealLimit) error {
		return s.Log(t.Context(), store.Answer{Account: id, Head: entry.Head(), Reveal: &limit,
			Spend: store.Spend{Key: []byte("key"), Nonce: []byte(nonce), Now: now, Expires: now.Add(time.Minute)}})
	}
	for name, test := range map[string]struct {
		limit store.RevealLimit
		retry time.Duration
	}{
		"two of the account": {store.RevealLimit{Device: 1, PerHour: 2, PerDay: 9}, 57 * time.Minute},
		"two of device 2":    {store.RevealLimit{PerHour: 9, PerDay: 9, Device: 2, DevicePerHour: 2, DevicePerDay: 9}, 57 * time.Minute},
		"one of device 1":    {store.RevealLimit{PerHour: 9, PerDay: 9, Device: 1, DevicePerHour: 1, DevicePerDay: 9}, 58 * time.Minute},
	} {
		var limit *store.LimitError
		if err := reveal(name, test.limit); !errors.As(err, &limit) || limit.RetryAfter != test.retry {
			t.Errorf("%s: %v, want a limit for %v", name, err, test.retry)
		}
	}
	if err := reveal("fewer", store.RevealLimit{PerHour: 3, PerDay: 3, Device: 2, DevicePerHour: 3, DevicePerDay: 3}); err != nil {
		t.Error(err)
	}
}

// Reveals that count no more do not pile up.
func TestOldRevealsGo(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "server.db"))
	defer func() { _ = s.Close() }()
	entry, _ := storetest.Genesis()
	id, _ := entry.Account()
	now := time.UnixMilli(1e12)
	spend := func(i int) store.Spend {
		return store.Spend{Key: []byte("key"), Nonce: fmt.Appendf(nil, "%d", i), Now: now, Expires: now.Add(time.Minute)}
	}
	if err := s.Create(t.Context(), store.Creation{Spend: spend(0), Name: "ada", NameKey: "ada", Genesis: entry}); err != nil {
		t.Fatal(err)
	}
	made := 1
	for day, most := range []int{2 * 20, 2 * (20 + 16), 2 * (20 + 16)} {
		for range 20 {
			if err := s.Log(t.Context(), store.Answer{Account: id, Head: entry.Head(), Spend: spend(made),
				Reveal: &store.RevealLimit{PerHour: 20, PerDay: 20, Device: 1, DevicePerHour: 20, DevicePerDay: 20}}); err != nil {
				t.Fatalf("day %d: %v", day, err)
			}
			made++
		}
		var kept int
		if err := ask(t, s.db.read, `SELECT COUNT(*) FROM reveals`).Scan(&kept); err != nil {
			t.Fatal(err)
		}
		if kept > most {
			t.Errorf("after day %d %d reveals are kept, want at most %d", day, kept, most)
		}
		now = now.Add(24*time.Hour + time.Millisecond)
	}
}

// Messages, who acknowledged them and deliveries keep their numbers when inboxes
// begin to count for themselves, and no number comes again.
func TestNumbersStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.db")
	db := older(t, path, 7)
	id := ledger.AccountID{1}
	for _, statement := range []string{
		`INSERT INTO accounts (account, name, name_key, sequence, head) VALUES ($1, 'ada', 'ada', 1, x'')`,
		`INSERT INTO messages (id, sender, recipient, kind, body, time) VALUES (7, x'', $1, 1, x'07', 0), (9, x'', $1, 1, x'09', 0)`,
		`INSERT INTO acknowledgements (message, device) VALUES (7, 1)`,
		`DELETE FROM messages WHERE id = 9`,
		`INSERT INTO outbox (id, alarm, account, kind, channel, target, key, secret, body, created, due) VALUES (4, 'alarm', $1, 'kind', 'mail', 'ada@here', '', x'', x'', 0, 0)`,
	} {
		args := []any{id[:]}
		if !strings.Contains(statement, "$1") {
			args = nil
		}
		if _, err := db.Exec(statement, args...); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	defer func() { _ = s.Close() }()
	if messages, _, err := s.Inbox(t.Context(), id, 1, 0, 1000); err != nil || len(messages) != 0 {
		t.Errorf("the device that acknowledged sees %v, %v", messages, err)
	}
	if messages, _, err := s.Inbox(t.Context(), id, 2, 0, 1000); err != nil || len(messages) != 1 || messages[0].ID != 7 {
		t.Errorf("another device sees %v, %v", messages, err)
	}
	spend := store.Spend{Key: []byte("key"), Nonce: []byte("nonce"), Now: time.Unix(1, 0), Expires: time.Unix(2, 0)}
	number, err := s.Send(t.Context(), store.Sending{Spend: spend, Message: store.Message{To: id, Body: []byte{1}}, PerPair: 9, PerBox: 9})
	if err != nil || number != 10 {
		t.Errorf("the next message is %d, %v", number, err)
	}
	if due, err := s.Begin(t.Context(), time.Unix(1, 0), time.Minute, 9); err != nil || len(due) != 1 || due[0].ID != 4 || due[0].Alarm.ID != "alarm" {
		t.Errorf("due are %v, %v", due, err)
	}
}
