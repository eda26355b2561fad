package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
)

// Nothing is found wrong while owners write all the time and keys change, and
// what a backup has is whole.
func TestCheckWhileServing(t *testing.T) {
	t.Parallel()
	t.Run("directory", func(t *testing.T) {
		testCheckWhileServing(t, "--data", filepath.Join(t.TempDir(), "data"))
	})
	t.Run("database", func(t *testing.T) {
		database := postgrestest.Start(t, postgrestest.Options{Durable: true})
		testCheckWhileServing(t, "--database", database.URL(database.Database(t)))
	})
}

func testCheckWhileServing(t *testing.T, data ...string) {
	m := &maintained{t: t, dir: t.TempDir()}
	m.data = append(data, "--key-file", m.path("keys"))
	p := startOver(t, append([]string{loopback}, m.data...)...)
	f := &fleet{t: t, flags: m.data, stop: make(chan struct{}), servers: []*process{p}, answers: map[*process]int{}}
	for i := range 2 {
		o := newOwnerNamed(t, p.URL, fmt.Sprint("owner ", i))
		f.owners = append(f.owners, o)
		f.group.Go(func() { f.write(o) })
	}
	ended := sync.OnceFunc(func() { close(f.stop); f.group.Wait() })
	defer ended()
	for range 3 {
		f.wait()
		m.on(exitDone, "keys", "add")
		m.wantText(m.on(exitDone, "check"), "checked 2 accounts", " 0 findings")
		m.on(exitDone, "keys", "rotate")
		m.wantText(m.on(exitDone, "check"), " 0 findings")
	}
	passphrase := m.path("passphrase")
	if err := os.WriteFile(passphrase, []byte("a passphrase of this test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.run(exitDone, "", append([]string{"backup", "--output", m.path("backup.age"), "--passphrase-file", passphrase}, data...)...)
	ended()
	stdout, _ := m.run(exitDone, "", "restore", "--input", m.path("backup.age"), "--passphrase-file", passphrase, "--data", m.path("restored"), "--key-file", m.path("keys"))
	if !strings.Contains(stdout, "restored 2 accounts") {
		t.Error(stdout)
	}
	p.stop(t)
}
