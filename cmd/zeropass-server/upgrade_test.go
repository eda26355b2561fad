package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/store/postgres"
	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
	"zeropass.dev/zeropass/internal/store/sqlite"
)

// nextMigrations are what versions to come might do to the schema, in SQLite and in
// PostgreSQL. The first leaves alone what this version uses, as a migration must.
var nextMigrations = []string{`-- +goose Up
ALTER TABLE accounts ADD COLUMN next_number BIGINT NOT NULL DEFAULT 0;
ALTER TABLE entries ADD COLUMN next_text TEXT NOT NULL DEFAULT 'of before';
ALTER TABLE shares ADD COLUMN next_bytes BYTEA NOT NULL DEFAULT '';
CREATE INDEX entries_by_next ON entries (next_text);
CREATE TABLE next_things (account BYTEA PRIMARY KEY REFERENCES accounts (account) ON DELETE CASCADE);
`, `-- +goose Up
ALTER TABLE accounts DROP COLUMN next_number;
`}

// buildNext builds the program of so many versions later: this one, with so many
// migrations more embedded.
func buildNext(t testing.TB, versions int) string {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for _, store := range []string{"postgres", "sqlite"} {
		migrations := must[string](t)(filepath.Abs("../../internal/store/" + store + "/migrations"))
		have := must[[]os.DirEntry](t)(os.ReadDir(migrations))
		for i, text := range nextMigrations[:versions] {
			added := filepath.Join(dir, fmt.Sprint("migration ", i))
			replace[filepath.Join(migrations, fmt.Sprintf("%05d_next.sql", len(have)+i+1))] = added
			if err := os.WriteFile(added, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "overlay"), overlay, 0o600)); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "zeropass-server")
	build := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay"), "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// fleet are servers of some versions over one database, with owners who write to
// whichever answers.
type fleet struct {
	t      *testing.T
	flags  []string
	owners []*owner
	stop   chan struct{}
	group  sync.WaitGroup

	mu      sync.Mutex
	servers []*process
	turn    int
	answers map[*process]int // appends that it has acknowledged
	resent  atomic.Int64
}

// next returns the server whose turn it is.
func (f *fleet) next() *process {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn++
	return f.servers[f.turn%len(f.servers)]
}

// replace starts a server of a program, and stops the one in whose place it comes
// as a system does, or kills it.
func (f *fleet) replace(i int, program string, kill bool) {
	f.t.Helper()
	p := startProgram(f.t, program, append([]string{loopback}, f.flags...)...)
	f.mu.Lock()
	old := f.servers[i]
	f.servers[i] = p
	f.mu.Unlock()
	if kill {
		old.kill(f.t)
	} else {
		old.stop(f.t)
	}
	f.wait()
}

// wait waits until every server has acknowledged something.
func (f *fleet) wait() {
	f.t.Helper()
	f.mu.Lock()
	f.answers = map[*process]int{}
	f.mu.Unlock()
	for until := time.Now().Add(3 * time.Minute); !f.t.Failed(); time.Sleep(5 * time.Millisecond) {
		f.mu.Lock()
		all := true
		for _, p := range f.servers {
			all = all && f.answers[p] >= 4
		}
		f.mu.Unlock()
		if all {
			return
		}
		if time.Now().After(until) {
			f.t.Fatal("a server acknowledges nothing")
		}
	}
	f.t.FailNow()
}

// write has an owner write until the end. What was not acknowledged is sent again,
// byte for byte, to the next server.
func (f *fleet) write(o *owner) {
	for n := 0; ; n++ {
		s := o.put(fmt.Sprint("note ", n))
		for {
			p := f.next()
			_, err := o.append(context.Background(), o.client(p.URL), s)
			if err == nil {
				f.mu.Lock()
				f.answers[p]++
				f.mu.Unlock()
				break
			}
			if f.resent.Add(1); !errors.Is(err, api.ErrUnreachable) && !errors.Is(err, api.ErrUnavailable) {
				f.t.Errorf("an append fails: %v", err)
				return
			}
		}
		o.must(o.state.Apply(s.entry))
		select {
		case <-f.stop:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// wakes wants a stream at one server to hear of changes at the others.
func (f *fleet) wakes(at int) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	heard := 0
	err := f.owners[0].client(f.servers[at].URL).Watch(ctx, f.owners[0].identity(), func(kind apiv1.Hint_Kind) {
		if kind == apiv1.Hint_KIND_LEDGER {
			if heard++; heard == 4 {
				cancel()
			}
		}
	})
	if heard < 4 {
		f.t.Errorf("a stream at server %d heard %d times of changes: %v", at, heard, err)
	}
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	next := buildNext(t, 1)
	for program, later := range map[string]int64{os.Args[0]: 0, next: 1} {
		cmd := exec.Command(program, "version")
		cmd.Env = append(os.Environ(), asProgram+"=1")
		if out := must[[]byte](t)(cmd.Output()); !strings.Contains(string(out), fmt.Sprintf("schema %d in PostgreSQL, %d in ", postgres.Schema()+later, sqlite.Schema()+later)) {
			t.Errorf("%d versions later the program says %s", later, out)
		}
	}
	t.Run("directory", func(t *testing.T) { testUpgradeDirectory(t, os.Args[0], next) })
	t.Run("database", func(t *testing.T) { testUpgradeDatabase(t, os.Args[0], next, buildNext(t, 2)) })
}

const (
	olderHint = "hint: Start the newer server, or run zeropass-server migrate"
	newerHint = "hint: Use the newer program"
	nobody    = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
)

// A newer program's commands leave the directory of an older server alone; the newer
// server takes it over, and the older one is refused then.
func testUpgradeDirectory(t *testing.T, this, next string) {
	m, p, o := newMaintained(t)
	ends := func(want exitCode, text, program string, args ...string) {
		t.Helper()
		code, stderr := programEnds(t, program, append(args, m.data...)...)
		if m.wantText(stderr, text); code != int(want) {
			t.Errorf("%v ends with %d, not %d:\n%s", args, code, want, stderr)
		}
	}
	o.write(p.URL, "before")
	for _, args := range [][]string{{"account", "list"}, {"token", "list"}, {"check"}, {"keys", "rotate"}} {
		ends(exitFailed, olderHint, next, args...)
		ends(exitDone, "", this, args...)
	}
	o.write(p.URL, "beside the newer program")
	ends(exitBusy, "is in use", next, "migrate")
	p.stop(t)
	p = startProgram(t, next, append([]string{loopback}, m.data...)...)
	o.write(p.URL, "after")
	ends(exitDone, "", next, "check")
	p.stop(t)
	for _, args := range [][]string{{"serve", loopback}, {"migrate"}, {"account", "list"}, {"check"}} {
		ends(exitNewer, newerHint, this, args...)
	}
}

// Servers over one database are replaced by those of the next version one by one,
// and by those of the version before again, while owners write. Nothing that was
// acknowledged is lost, and nothing that they send is refused.
func testUpgradeDatabase(t *testing.T, this, next, afterNext string) {
	dir := t.TempDir()
	database := postgrestest.Start(t, postgrestest.Options{Durable: true})
	url := []string{"--database", database.URL(database.Database(t))}
	f := &fleet{t: t, flags: append(url, "--key-file", filepath.Join(dir, "keys")), stop: make(chan struct{}), answers: map[*process]int{}}
	ends := func(want exitCode, text, program string, args ...string) {
		t.Helper()
		m := &maintained{t: t}
		if code, stderr := programEnds(t, program, append(args, f.flags...)...); code != int(want) {
			t.Errorf("%v ends with %d, not %d:\n%s", args, code, want, stderr)
		} else {
			m.wantText(stderr, text)
		}
	}
	backup := []string{"backup", "--output", filepath.Join(dir, "backup.age"), "--recipient", nobody}

	ends(exitFailed, "there are no data of a server", this, "account", "list")
	for range 3 {
		f.servers = append(f.servers, startProgram(t, this, append([]string{loopback}, f.flags...)...))
	}
	for i := range 3 {
		f.owners = append(f.owners, newOwnerNamed(t, f.servers[i].URL, fmt.Sprint("owner ", i)))
	}
	for _, o := range f.owners {
		f.group.Go(func() { f.write(o) })
	}
	defer f.group.Wait()
	ended := sync.OnceFunc(func() { close(f.stop) })
	defer ended()
	f.wait()

	// The newer program's commands do not touch what older servers serve.
	for _, args := range [][]string{{"account", "list"}, {"token", "list"}, {"check"}, {"keys", "list"}, {"keys", "rotate"}, backup} {
		ends(exitFailed, olderHint, next, args...)
	}
	f.replace(0, next, false) // migrates
	f.wakes(0)
	f.wakes(1)
	for _, args := range [][]string{{"account", "list"}, {"token", "list"}} {
		ends(exitDone, "", this, args...)
		ends(exitDone, "", next, args...)
	}
	for _, args := range [][]string{{"check"}, {"keys", "list"}, {"keys", "rotate"}, {"account", "delete", "owner 0"}, backup} {
		ends(exitNewer, newerHint, this, args...)
	}
	f.replace(1, next, true)
	f.replace(2, next, false)

	// Back to the version before, over the schema of the next one.
	f.replace(0, this, false)
	f.wakes(0)
	f.wakes(1)
	f.replace(1, this, true)
	f.replace(2, this, false)
	f.replace(0, next, false)
	ended()
	f.group.Wait()
	for i, p := range f.servers {
		for _, o := range f.owners {
			if state, missing := o.pull(o.client(p.URL)); state.Head() != o.state.Head() || len(missing) > 0 {
				t.Errorf("server %d has %v and lacks %v; %v was acknowledged", i, state.Head(), missing, o.state.Head())
			}
		}
		p.stop(t)
	}

	ends(exitDone, "", next, "check")
	ends(exitDone, "", afterNext, "migrate")
	ends(exitNewer, newerHint, this, "serve", loopback)
	ends(exitNewer, newerHint, this, "account", "list")
	startProgram(t, next, append([]string{loopback}, f.flags...)...).stop(t)
	ends(exitDone, "", afterNext, "check")
	var entries uint64
	for _, o := range f.owners {
		entries += o.state.Head().Sequence
	}
	t.Logf("%d owners wrote %d entries while servers were replaced 7 times; %d were sent again", len(f.owners), entries, f.resent.Load())
}
