package postgres

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
	"zeropass.dev/zeropass/internal/store/storetest"
	"zeropass.dev/zeropass/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFast is what needs no durable database.
func TestFast(t *testing.T) {
	server := postgrestest.Start(t, postgrestest.Options{})
	for _, test := range []struct {
		name string
		run  func(*testing.T, *postgrestest.Server)
	}{
		{"conformance", testConformance},
		{"it is not durable", testNotDurable},
		{"newer schema", testNewerSchema},
		{"beside servers", testOpenBeside},
		{"servers start together", testStartTogether},
		{"claimed", testClaimed},
		{"accounts are independent", testAccountsAreIndependent},
		{"the connection is cut", testCut},
		{"round trips", testRoundTrips},
		{"what waits is sent", testPipeline},
		{"changes are made together", testTogether},
		{"values", testValues},
		{"statements", testStatements},
		{"changes", testFollow},
		{"changes of many", testFollowMany},
		{"old changes", testChangesAreRemoved},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, server) })
	}
}

func testConformance(t *testing.T, server *postgrestest.Server) {
	database := server.Database(t)
	c := Config{URL: server.URL(database), AllowLoss: true}
	closed(t, open(t, c))
	storetest.Run(t, func(t *testing.T) func() store.Store {
		server.Exec(t, database, empty) // faster than another database
		return func() store.Store { return open(t, c) }
	})
}

// empty deletes everything but the schema.
const empty = `SET session_replication_role = replica; -- in any order
	DO $$ DECLARE name TEXT; BEGIN
		FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN ('goose_db_version', 'schema_lock') LOOP
			EXECUTE 'DELETE FROM ' || name;
		END LOOP;
	END $$`

func open(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closed(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// spend is a spend with a nonce that these bytes tell from others, which is logged
// if an account is given.
func spend(nonce string, log ...ledger.AccountID) store.Spend {
	s := store.Spend{Key: []byte("key"), Nonce: []byte(nonce), Now: now, Expires: now.Add(time.Minute)}
	if len(log) > 0 {
		s.Log = &store.Log{Account: log[0], Request: []byte(nonce)}
		s.Changes = []store.Change{{Account: log[0], Kinds: 1}}
	}
	return s
}

// create makes an account with this name.
func create(t *testing.T, s *Store, name string) (ledger.AccountID, ledger.Head) {
	t.Helper()
	entry, _ := storetest.Genesis()
	id, _ := entry.Account()
	if err := s.Create(t.Context(), store.Creation{Spend: spend("create " + name), Name: name, NameKey: name, Genesis: entry}); err != nil {
		t.Fatal(err)
	}
	return id, entry.Head()
}

func TestURL(t *testing.T) {
	for url, want := range map[string]error{
		"postgres://ada:secret@localhost/zeropass":        ErrPasswordInURL,
		"postgres://ada:@localhost/zeropass":              ErrPasswordInURL,
		"postgres:///zeropass?user=ada&password=secret":   ErrPasswordInURL,
		"postgresql:///zeropass?sslpassword=secret":       ErrPasswordInURL,
		"host=localhost password=secret":                  ErrURL,
		"mysql://localhost/zeropass":                      ErrURL,
		"postgres://localhost:port/zeropass":              ErrURL,
		"postgres://localhost/zeropass?sslmode=sometimes": ErrURL,
		"": ErrURL,
	} {
		if s, err := Open(t.Context(), Config{URL: url}); !errors.Is(err, want) || s != nil {
			t.Errorf("%s: %v, %v", url, s, err)
		}
	}
}

func testNotDurable(t *testing.T, server *postgrestest.Server) {
	if _, err := Open(t.Context(), Config{URL: server.URL(server.Database(t))}); !errors.Is(err, ErrNotDurable) {
		t.Errorf("a server without fsync: %v", err)
	}
}

// A database that may lose what it acknowledged is refused, however it came to
// that. From one that may not, nothing is lost when it crashes.
func TestDurable(t *testing.T) {
	server := postgrestest.Start(t, postgrestest.Options{Durable: true})
	testGather(t, server)
	name := server.Database(t)
	s := open(t, Config{URL: server.URL(name)})
	for _, value := range []string{"local", "remote_apply", "off"} {
		server.Exec(t, "postgres", `ALTER DATABASE `+name+` SET synchronous_commit = `+value)
		again, err := Open(t.Context(), Config{URL: server.URL(name)})
		if err == nil {
			closed(t, again)
		}
		if refused := errors.Is(err, ErrNotDurable); refused != (value == "off") || err != nil && !refused {
			t.Errorf("synchronous_commit = %s: %v", value, err)
		}
	}
	if _, err := Open(t.Context(), Config{URL: server.URL(name) + "&synchronous_commit=off"}); !errors.Is(err, ErrNotDurable) {
		t.Errorf("off in the URL: %v", err)
	}
	server.Exec(t, "postgres", `ALTER DATABASE `+name+` RESET synchronous_commit`)
	testCrash(t, server, s)
	server.Exec(t, "postgres", `ALTER DATABASE `+name+` SET synchronous_commit = off`)
	// Connections that a running server makes are looked at, too.
	s.db.pool.SetMaxIdleConns(0)
	if err := s.Claim(t.Context(), []byte("keys")); !errors.Is(err, ErrNotDurable) {
		t.Errorf("a later connection: %v", err)
	}
	closed(t, s)
}

// PostgreSQL waits for other commits if the role may have it wait, and as the operator
// says if he has said it.
func testGather(t *testing.T, server *postgrestest.Server) {
	name := server.Database(t)
	server.Exec(t, name, `CREATE ROLE served LOGIN`)
	server.Exec(t, name, `ALTER DATABASE `+name+` OWNER TO served`)
	url := strings.Replace(server.URL(name), "user=postgres", "user=served", 1)
	for _, step := range []struct{ first, want string }{
		{`GRANT CONNECT ON DATABASE ` + name + ` TO served`, "0"},
		{`GRANT SET ON PARAMETER commit_delay TO served`, "5000"},
		{`ALTER ROLE served SET commit_delay = 700`, "700"},
	} {
		server.Exec(t, name, step.first)
		s := open(t, Config{URL: url})
		var got string
		if err := s.db.pool.QueryRow(`SHOW commit_delay`).Scan(&got); err != nil || got != step.want {
			t.Errorf("after %s commit_delay is %q, %v, want %s", step.first, got, err, step.want)
		}
		closed(t, s)
	}
}

// A server goes on with the schema of the next version and refuses later ones.
func testNewerSchema(t *testing.T, server *postgrestest.Server) {
	name := server.Database(t)
	c := Config{URL: server.URL(name), AllowLoss: true}
	closed(t, open(t, c))
	newer := func(by int) {
		server.Exec(t, name, `INSERT INTO goose_db_version (version_id, is_applied) SELECT MAX(version_id) + $1, TRUE FROM goose_db_version`, by)
	}
	newer(1)
	closed(t, open(t, c))
	newer(1)
	if _, err := Open(t.Context(), c); !errors.Is(err, store.ErrNewerSchema) {
		t.Errorf("got %v, want ErrNewerSchema", err)
	}
}

// Who opens a database beside servers leaves its schema as it is, whatever it is.
func testOpenBeside(t *testing.T, server *postgrestest.Server) {
	name := server.Database(t)
	c := Config{URL: server.URL(name), AllowLoss: true}
	opens := func(want, wantWhole error) {
		t.Helper()
		for whole, want := range map[bool]error{false: want, true: wantWhole} {
			s, err := OpenBeside(t.Context(), c, whole)
			if !errors.Is(err, want) {
				t.Errorf("whole %v: got %v, want %v", whole, err, want)
			}
			if err == nil {
				closed(t, s)
			}
		}
	}
	opens(store.ErrNoData, store.ErrNoData)
	server.Exec(t, name, `DO $$ BEGIN
		IF EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = 'public') THEN RAISE 'there are tables'; END IF;
	END $$`)
	closed(t, open(t, c))
	opens(nil, nil)
	server.Exec(t, name, `INSERT INTO goose_db_version (version_id, is_applied) SELECT MAX(version_id) + 1, TRUE FROM goose_db_version`)
	opens(nil, store.ErrNewerSchema)
	server.Exec(t, name, `INSERT INTO goose_db_version (version_id, is_applied) SELECT MAX(version_id) + 1, TRUE FROM goose_db_version`)
	opens(store.ErrNewerSchema, store.ErrNewerSchema)
	server.Exec(t, name, `DELETE FROM goose_db_version WHERE version_id >= (SELECT MAX(version_id) - 2 FROM goose_db_version)`)
	opens(store.ErrOlderSchema, store.ErrOlderSchema)
}

// Servers that start at the same time make the tables once.
func testStartTogether(t *testing.T, server *postgrestest.Server) {
	for range 3 {
		url := server.URL(server.Database(t))
		var group sync.WaitGroup
		for range 6 {
			group.Go(func() {
				s, err := Open(t.Context(), Config{URL: url, AllowLoss: true})
				if err != nil {
					t.Error(err)
					return
				}
				closed(t, s)
			})
		}
		group.Wait()
	}
}

func testClaimed(t *testing.T, server *postgrestest.Server) {
	s := open(t, Config{URL: server.URL(server.Database(t)), AllowLoss: true})
	defer closed(t, s)
	for _, want := range []bool{false, true} {
		if got, err := s.Claimed(t.Context()); err != nil || got != want {
			t.Errorf("claimed: %v, %v, want %v", got, err, want)
		}
		if err := s.Claim(t.Context(), []byte("keys")); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever is done in one account, or stuck there, nobody waits for it in another.
func testAccountsAreIndependent(t *testing.T, server *postgrestest.Server) {
	s := open(t, Config{URL: server.URL(server.Database(t)), AllowLoss: true})
	defer closed(t, s)
	ada, adaHead := create(t, s, "ada")
	bob, bobHead := create(t, s, "bob")
	everything := func(ctx context.Context, nonce string, id ledger.AccountID, head ledger.Head) error {
		key := []byte("of " + nonce)
		alarm := store.Alarm{ID: nonce, Account: id, Kind: "kind", Body: []byte("{}")}
		settings := spend(nonce+" settings", id)
		settings.Alarms = []store.Alarm{alarm}
		settings.Origin = &store.Origin{Account: id, Country: "NZ", Learn: true, Alarm: alarm}
		hash := ledger.Hash([]byte(nonce + "................................")[:32])
		_, kept := s.Keep(ctx, store.Keeping{Spend: spend(nonce+" keep", id), Head: head, PerDevice: 9, PerAll: 9, Bytes: 99,
			Kept: store.Kept{ID: hash, Account: id, Device: 1, Request: []byte("r"), Received: now, Expires: now.Add(time.Minute)}})
		_, sent := s.Send(ctx, store.Sending{Spend: spend(nonce+" send", id), Message: store.Message{From: &id, To: id, Body: []byte("m"), Time: now}, PerPair: 9, PerBox: 9})
		_, begun := s.Begin(ctx, now, time.Minute, 9)
		return errors.Join(kept, sent, begun,
			s.Append(ctx, store.Append{Spend: spend(nonce+" append", id), Account: id, Head: head, Messages: []store.Message{{To: id, Body: []byte("m"), Time: now}}}),
			s.Log(ctx, store.Answer{Spend: settings, Account: id, Head: head, Reveal: &store.RevealLimit{Device: 1, PerHour: 9, PerDay: 9}, Alarms: &store.AlarmSettings{Mail: "mail"}}),
			s.Attest(ctx, store.Attestation{Spend: spend(nonce+" attest", id), Account: id, Device: 1, Bytes: []byte("a")}),
			s.Acknowledge(ctx, store.Acknowledgement{Spend: spend(nonce+" acknowledge", id), Account: id, Device: 1, Active: []uint64{1}, IDs: []uint64{1}}),
			s.Start(ctx, store.Start{Spend: spend(nonce+" start", id), Head: head, Limit: 3,
				Recovery: store.Recovery{ID: hash, Account: id, Request: []byte("r"), Key: key, Started: now}}),
			s.Approve(ctx, store.Approval{Spend: spend(nonce+" approve", id), Account: id, Head: head, Recovery: hash, Holder: "h", Approval: []byte("a")}),
			s.Reply(ctx, store.Replying{Spend: spend(nonce+" reply", id), Account: id, Head: head, ID: hash, Reply: store.Reply{Device: 2, Bytes: []byte("r")}}),
			s.Join(ctx, store.Joining{Spend: spend(nonce+" join", id), Head: head, Limit: 3,
				Join: store.Join{ID: hash, Account: id, Key: key, Request: []byte("r"), Received: now, Expires: now.Add(time.Minute)}}),
			s.Raise(ctx, now, alarm),
			s.EraseKept(ctx, now.Add(2*time.Minute)),
		)
	}
	// Everything happens in ada's account, in one transaction that does not end.
	if err := everything(t.Context(), "one", ada, adaHead); err != nil {
		t.Fatal(err)
	}
	stuck, err := s.db.pool.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"accounts", "shares", "nonces", "activities", "reveals", "attestations", "inboxes", "messages", "recoveries", "approvals", "kept", "replies", "joins", "alarm_settings", "outbox", "countries", "changes"} {
		if _, err := stuck.Exec(`SELECT 1 FROM ` + table + ` FOR UPDATE`); err != nil {
			t.Fatal(err)
		}
	}
	// bob's own rows are locked as well now, so a third account takes its part.
	cem, cemHead := create(t, s, "cem")
	begun := time.Now()
	if err := everything(t.Context(), "two", cem, cemHead); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if err := stuck.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := everything(t.Context(), "three", bob, bobHead); err != nil {
		t.Error(err)
	}
}
