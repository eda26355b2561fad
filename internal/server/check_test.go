package server_test

import (
	"database/sql"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/server"
)

// findings are what a check of the world's store says about accounts.
func (w *world) findings() []string {
	w.t.Helper()
	var found []string
	done, err := server.Check(w.t.Context(), w.maintained(), w.keys, func(f server.Finding) {
		found = append(found, f.What)
	}, nil)
	w.ok(err)
	if done.Findings != len(found) {
		w.t.Errorf("%d findings are counted, %d reported", done.Findings, len(found))
	}
	return found
}

// Whatever is taken out of a store, put into it or changed there is found.
func TestCheck(t *testing.T) {
	w := newWorld(t)
	owner, _ := w.family()
	owner.store(1, 1, "one")
	owner.store(1, 2, "two")
	owner.store(2, 1, "three")
	owner.prepare(false) // waiting halves, a second epoch
	must(owner.reveal(owner.first(), owner.version(2, 1), owner.first().confirms(byConfirm)))
	if found := w.findings(); len(found) > 0 {
		t.Fatalf("in a sound store: %q", found)
	}
	sound := w.backup()
	for _, damage := range []struct{ statement, want string }{
		{`DELETE FROM shares WHERE kind = 1 AND version = 1 AND slot = (SELECT slot FROM shares WHERE version = 2)`, ""}, // not live
		{`DELETE FROM shares WHERE version = 2`, "is missing"},
		{`DELETE FROM shares WHERE member = 1 AND epoch = 2`, "the waiting half of member 1, epoch 2 is missing"},
		{`DELETE FROM shares WHERE kind = (SELECT MIN(kind) FROM shares WHERE version = 0 AND member = 0)`, "the seed share of epoch"},
		{`UPDATE shares SET sealed = (SELECT sealed FROM shares WHERE version = 1 LIMIT 1) WHERE version = 2`, "does not open"},
		{`UPDATE shares SET key = '00000000' WHERE version = 2`, "has no such encryption key"},
		{`UPDATE shares SET version = 7 WHERE version = 2`, "version 7, epoch 1 is in no entry of the ledger"},
		{`DELETE FROM entries WHERE sequence = 2`, "entry 2: "},
		{`DELETE FROM entries WHERE account = (SELECT owner FROM contacts LIMIT 1) AND sequence = (SELECT MAX(sequence) FROM entries)`, "its ledger lacks entry"},
		{`UPDATE entries SET entry = (SELECT entry FROM entries WHERE sequence = 3 LIMIT 1) WHERE sequence = 2`, "entry 2: "},
		{`UPDATE accounts SET head = x'00' || SUBSTR(head, 2)`, "and the account says"},
		{`UPDATE accounts SET name_key = name_key || '2'`, "it is not found by its name"},
		{`DELETE FROM activities WHERE sequence = 2`, "entry 2 of its activity log: "},
		{`UPDATE activities SET activity = (SELECT activity FROM activities WHERE sequence = 3 LIMIT 1) WHERE sequence = 2`, "entry 2 of its activity log: "},
	} {
		w.damage(damage.statement)
		found := strings.Join(w.findings(), "\n")
		if !strings.Contains(found, damage.want) || damage.want == "" && found != "" {
			t.Errorf("after %s:\n%s", damage.statement, found)
		}
		w.restore(sound)
	}
}

// damage changes the database behind the store's back.
func (w *world) damage(statement string) {
	w.t.Helper()
	w.stop()
	defer w.start()
	db := must(sql.Open("sqlite", w.database()))
	result, err := db.Exec(statement)
	w.ok(err)
	if must(result.RowsAffected()) == 0 {
		w.t.Fatalf("%s changes nothing", statement)
	}
	w.ok(db.Close())
}

// An account that the operator has locked is refused everything, and its contacts
// notice nothing but that.
func TestLockedAccount(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	owner.store(1, 1, "one")
	w.ok(w.maintained().Lock(t.Context(), owner.id, w.clock()))
	_, err := owner.reveal(owner.first(), owner.version(1, 1), owner.first().confirms(byConfirm))
	w.refused(err, api.ErrAccountLocked)
	w.refused(owner.write(3), api.ErrAccountLocked)
	_, err = owner.client().Recoveries(t.Context(), contacts[0].first().identity())
	w.ok(err)
	w.ok(w.maintained().Unlock(t.Context(), owner.id))
	w.ok(owner.write(3))
}

// An account that the operator has deleted does not come back with its devices.
func TestDeletedAccount(t *testing.T) {
	w := newWorld(t)
	a := w.create("ada")
	a.prepare(false)
	w.ok(w.maintained().Remove(t.Context(), a.id, w.clock()))
	w.refused(a.write(1), api.ErrUnknownAccount)
	_, _, err := w.client().CreateAccount(t.Context(), api.Identity{Key: a.first().sign}, &apiv1.CreateAccountRequest{Name: a.name, Entry: a.entries[0].Bytes()})
	w.refused(err, api.ErrAccountDeleted)
}
