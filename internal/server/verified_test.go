package server_test

import (
	"crypto/rand"
	"database/sql"
	"strings"
	"testing"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// noted is what the world's server notes beside a head.
func (w *world) noted(id ledger.AccountID, head ledger.Head) [32]byte {
	return server.NoteVerified(w.keys, ledger.RulesVersion, id, head)
}

// sql changes the database while the server runs.
func (w *world) sql(statement string, args ...any) {
	w.t.Helper()
	db := must(sql.Open("sqlite", w.database()+"?_pragma=busy_timeout(10000)"))
	defer func() { w.ok(db.Close()) }()
	result, err := db.Exec(statement, args...)
	w.ok(err)
	if n := must(result.RowsAffected()); n == 0 {
		w.t.Fatalf("%s changes nothing", statement)
	}
}

// looks asks the server for something that it answers by the account's ledger.
func (a *account) looks() error {
	_, err := a.client().Alarms(a.w.t.Context(), a.first().identity(), &apiv1.AlarmsRequest{})
	return err
}

// Every head that the server sets has its note, from Genesis on; a head that has
// none, because an older server set it, is verified and gets one with the next append.
func TestHeadsAreNoted(t *testing.T) {
	w := newWorld(t)
	noted := func(a *account, want bool) {
		t.Helper()
		stored := must(w.store.Account(t.Context(), a.id))
		if stored.Head != a.state.Head() {
			t.Fatalf("the head is %v, want %v", stored.Head, a.state.Head())
		}
		if got := stored.Verified == w.noted(a.id, stored.Head); got != want {
			t.Errorf("head %v is noted: %v", stored.Head, got)
		}
	}
	noted(w.create("ada"), true)
	owner, _ := w.family()
	noted(owner, true)
	for _, old := range []string{
		`UPDATE accounts SET verified = x''`,
		// A server that knows no notes has moved the head.
		`UPDATE accounts SET verified = (SELECT verified FROM accounts ORDER BY sequence LIMIT 1)`,
	} {
		w.sql(old)
		w.restart()
		w.ok(owner.looks())
		noted(owner, false)
		w.ok(owner.write(byte(owner.state.Head().Sequence)))
		noted(owner, true)
		w.restart()
		w.ok(owner.looks())
	}
	// Shares that come again move no head, and leave its note.
	records, shares := owner.put(1, 1, "one")
	entries := []*ledger.Entry{owner.draft(owner.first(), records...)}
	w.ok(owner.send(owner.first(), entries, shares))
	w.sql(`DELETE FROM shares WHERE position = (SELECT MAX(position) FROM shares) AND account = $1`, owner.id[:])
	w.ok(owner.send(owner.first(), entries, shares))
	noted(owner, true)
}

// Who writes the database, but has not the server's keys, makes no server believe an
// entry: neither one that has the account in memory nor one that has not.
func TestForgedHeads(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	owner.store(1, 1, "one")
	records, _ := owner.put(2, 1, "forged")
	honest := owner.first().sign
	owner.first().sign = must(signing.GenerateKey(rand.Reader))
	entry := owner.draft(owner.first(), records...)
	owner.first().sign = honest
	forged, before := entry.Head(), owner.state.Head()
	hash := func(h ledger.Hash) []byte { return h[:] }
	others := must(server.GenerateKeys(rand.Reader))

	sound := w.backup()
	for name, test := range map[string]struct {
		note     [32]byte
		believed bool
	}{
		"the note of the head before": {note: w.noted(owner.id, before)},
		"no note":                     {},
		"of another account":          {note: w.noted(contacts[0].id, forged)},
		"of another number":           {note: w.noted(owner.id, ledger.Head{Sequence: forged.Sequence + 1, Hash: forged.Hash})},
		"of another hash":             {note: w.noted(owner.id, ledger.Head{Sequence: forged.Sequence, Hash: before.Hash})},
		"by another server":           {note: server.NoteVerified(others, ledger.RulesVersion, owner.id, forged)},
		"under other rules":           {note: server.NoteVerified(w.keys, ledger.RulesVersion+1, owner.id, forged)},
		// Only this says that signatures are not verified again.
		"the server's own": {w.noted(owner.id, forged), true},
	} {
		for _, inMemory := range []bool{false, true} {
			if inMemory {
				w.ok(owner.looks())
			}
			w.sql(`INSERT INTO entries (account, sequence, entry) VALUES ($1, $2, $3)`, owner.id[:], forged.Sequence, entry.Bytes())
			w.sql(`UPDATE accounts SET sequence = $1, head = $2, verified = $3 WHERE account = $4`, forged.Sequence, hash(forged.Hash), test.note[:], owner.id[:])
			if err := owner.looks(); test.believed {
				w.ok(err)
			} else {
				w.refused(err, api.ErrUnavailable)
			}
			// A check of the store believes no note.
			if found := w.findings(); len(found) != 1 || !strings.Contains(found[0], "the signature is not the author's") {
				t.Errorf("%s: a check finds %q", name, found)
			}
			w.restore(sound)
		}
	}
	w.ok(owner.looks())
}

// The note is of a head. That the entries are those which lead to it is proved by
// themselves.
func TestNotedHeadWithOtherEntries(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	owner.store(1, 1, "one")
	owner.store(2, 1, "two")
	other := contacts[0]
	last := owner.state.Head().Sequence
	sound := w.backup()
	for _, statement := range []string{
		`DELETE FROM entries WHERE account = $1 AND sequence = $2`,
		`UPDATE entries SET entry = (SELECT entry FROM entries WHERE account = $1 AND sequence = $2 - 1) WHERE account = $1 AND sequence = $2`,
		`UPDATE entries SET entry = SUBSTR(entry, 1, LENGTH(entry) - 1) || x'00' WHERE account = $1 AND sequence = $2 - 1`, // the author's signature
		`UPDATE entries SET entry = x'' WHERE account = $1 AND sequence = $2`,
		`UPDATE accounts SET sequence = sequence - 1 WHERE account = $1 AND sequence = $2`,
	} {
		w.sql(statement, owner.id[:], last)
		w.refused(owner.looks(), api.ErrUnavailable)
		w.restore(sound)
	}
	// Another account's whole ledger with its note.
	w.sql(`DELETE FROM entries WHERE account = $1`, owner.id[:])
	w.sql(`INSERT INTO entries SELECT $1, sequence, entry FROM entries WHERE account = $2`, owner.id[:], other.id[:])
	w.sql(`UPDATE accounts SET (sequence, head, verified) = (SELECT sequence, head, verified FROM accounts WHERE account = $2) WHERE account = $1`, owner.id[:], other.id[:])
	w.refused(owner.looks(), api.ErrUnavailable)
	w.restore(sound)
	w.ok(owner.looks())
}
