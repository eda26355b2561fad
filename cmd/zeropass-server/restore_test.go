package main

import (
	"crypto/rand"
	"database/sql"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store/sqlite"
	"zeropass.dev/zeropass/ledger"
)

// opening is a copy of a store, and opens the database that is made of it.
type opening struct {
	io.Reader
	t    *testing.T
	file string
	also *sqlite.Store
}

func (o *opening) Read(b []byte) (int, error) {
	if o.also == nil {
		var err error
		if o.also, err = sqlite.OpenBeside(o.t.Context(), o.file); err != nil {
			return 0, err
		}
	}
	return o.Reader.Read(b)
}

// A database that somebody else has open keeps what was restored in its log, which
// has another name: it is not put in place without it.
func TestRestoreWithoutItsLog(t *testing.T) {
	keys, err := server.GenerateKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o := restoreOptions{stdout: io.Discard, stderr: io.Discard}
	o.data.dir, o.data.keyFile = filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "keys")
	const empty = "zeropass-store v1\nE\x00"
	busy := &opening{Reader: strings.NewReader(empty), t: t, file: filepath.Join(o.data.dir, restoringFile)}
	err = o.intoDir(t.Context(), busy, keys)
	if busy.also == nil || err == nil || !strings.Contains(err.Error(), "could not be completed") {
		t.Errorf("restored with %v", err)
	}
	if err := busy.also.Close(); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(o.data.dir)
	if err != nil || len(left) != 1 || left[0].Name() != lockFile {
		t.Errorf("%v is left, %v", left, err)
	}
	if err := o.intoDir(t.Context(), strings.NewReader(empty), keys); err != nil {
		t.Error(err)
	}
}

// A recovery that waits begins to wait again when it is restored, but for a server that
// was stopped before the backup.
func TestRestoreBeginsPeriodsAgain(t *testing.T) {
	m, p, o := newMaintained(t)
	o.write(p.URL, "note")
	p.stop(t)
	account, before := o.state.Account(), time.Now().Add(-1000*time.Hour).UnixMilli()
	recoveries := func(dir string, f func(db *sql.DB)) {
		db := must[*sql.DB](t)(sql.Open("sqlite", filepath.Join(m.path(dir), databaseFile)))
		f(db)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	waits, released := ledger.Hash{1}, ledger.Hash{2}
	recoveries("data", func(db *sql.DB) {
		for _, id := range []ledger.Hash{waits, released} {
			must[sql.Result](t)(db.Exec(`INSERT INTO recoveries (id, account, request, key, started, sequence, released, source) VALUES ($1, $2, x'', x'', $3, 1, $4, x'')`,
				id[:], account[:], before, id == released))
		}
	})
	if err := os.WriteFile(m.path("passphrase"), []byte("a passphrase of this test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.run(exitDone, "", "backup", "--data", m.path("data"), "--output", m.path("backup.age"), "--passphrase-file", m.path("passphrase"))
	restored := func(dir string, more ...string) (stdout string, started map[ledger.Hash]int64) {
		stdout, _ = m.run(exitDone, "", append([]string{"restore", "--input", m.path("backup.age"), "--passphrase-file", m.path("passphrase"),
			"--data", m.path(dir), "--key-file", m.path("keys")}, more...)...)
		started = map[ledger.Hash]int64{}
		recoveries(dir, func(db *sql.DB) {
			for _, id := range []ledger.Hash{waits, released} {
				var at int64
				if err := db.QueryRow(`SELECT started FROM recoveries WHERE id = $1`, id[:]).Scan(&at); err != nil {
					t.Fatal(err)
				}
				started[id] = at
			}
		})
		return stdout, started
	}

	begun := time.Now().UnixMilli()
	stdout, started := restored("again", "--json")
	m.wantText(stdout, `"accounts":1`, `"begun_again":1`)
	if started[waits] < begun || started[waits] > time.Now().UnixMilli() || started[released] != before {
		t.Errorf("they have started at %v, and not the first in the restore", started)
	}
	stdout, started = restored("moved", "--nothing-since")
	m.wantText(stdout, "begins again for 0 recoveries")
	if started[waits] != before || started[released] != before {
		t.Errorf("they have started at %v, not at %d", started, before)
	}
}
