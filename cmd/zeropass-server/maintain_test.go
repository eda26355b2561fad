package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
)

// maintained are a server's files, and how commands are told of them.
type maintained struct {
	t    *testing.T
	dir  string
	data []string // flags
}

func (m *maintained) path(name string) string { return filepath.Join(m.dir, name) }

// run runs a command to its end, with text on standard input.
func (m *maintained) run(want exitCode, stdin string, args ...string) (stdout, stderr string) {
	m.t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	_ = cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != int(want) {
		m.t.Fatalf("%v ends with %d, not %d:\n%s%s", args, got, want, &out, &errs)
	}
	return out.String(), errs.String()
}

// on runs a command on the data.
func (m *maintained) on(want exitCode, args ...string) string {
	m.t.Helper()
	stdout, stderr := m.run(want, "", append(args, m.data...)...)
	return stdout + stderr
}

func (m *maintained) wantText(text string, parts ...string) {
	m.t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			m.t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

// newMaintained starts a server with one account.
func newMaintained(t *testing.T) (*maintained, *process, *owner) {
	t.Helper()
	m := &maintained{t: t, dir: t.TempDir()}
	m.data = []string{"--data", m.path("data"), "--key-file", m.path("keys")}
	p := start(t, m.dir, loopback)
	return m, p, newOwner(t, p.URL)
}

// write has the owner store a note, and returns what its device has journalled.
func (o *owner) write(url, note string) sent {
	o.t.Helper()
	s := o.put(note)
	must[[][]byte](o.t)(o.append(o.t.Context(), o.client(url), s))
	o.must(o.state.Apply(s.entry))
	return s
}

// A backup that is made while the server runs is restored elsewhere, and is complete
// again when the device has sent what it wrote since.
func TestBackupIsRestored(t *testing.T) {
	m, p, o := newMaintained(t)
	o.write(p.URL, "before")
	identity := must[*age.X25519Identity](t)(age.GenerateX25519Identity())
	if err := os.WriteFile(m.path("identity"), []byte(identity.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	backup := []string{"backup", "--data", m.path("data"), "--output", m.path("backup.age"), "--recipient", identity.Recipient().String(), "--json"}
	stdout, _ := m.run(exitDone, "", backup...)
	var header backupHeader
	if err := json.Unmarshal([]byte(stdout), &header); err != nil || header.Accounts != 1 || header.Format != backupFormat {
		t.Errorf("the backup says %s", stdout)
	}
	whole := must[[]byte](t)(os.ReadFile(m.path("backup.age")))
	if info, err := os.Stat(m.path("backup.age")); err != nil || info.Mode() != 0o600 || !bytes.HasPrefix(whole, []byte("age-encryption.org/v1\n")) {
		t.Errorf("the backup is no age file of its owner's: %v", err)
	}
	_, taken := m.run(exitFailed, "", backup...)
	m.wantText(taken, "is there already, and is not overwritten")
	if again := must[[]byte](t)(os.ReadFile(m.path("backup.age"))); !bytes.Equal(again, whole) {
		t.Error("a second backup has changed the first")
	}
	since := []sent{o.write(p.URL, "after"), o.write(p.URL, "after that")}
	m.wantText(m.on(exitDone, "check"), "checked 1 accounts", "0 findings")
	p.stop(t)

	restore := func(want exitCode, input, dir string, more ...string) string {
		t.Helper()
		_, stderr := m.run(want, "", append([]string{"restore", "--input", m.path(input), "--data", m.path(dir), "--key-file", m.path("keys"), "--identity", m.path("identity")}, more...)...)
		return stderr
	}
	m.wantText(restore(exitFailed, "backup.age", "data"), "is not empty")
	for name, b := range map[string][]byte{
		"cut":     whole[:len(whole)-20],
		"changed": append(append(bytes.Clone(whole[:len(whole)/2]), whole[len(whole)/2]^1), whole[len(whole)/2+1:]...),
		"none":    []byte("no backup"),
	} {
		if err := os.WriteFile(m.path("bad.age"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		restore(exitFailed, "bad.age", name)
		if left, _ := filepath.Glob(m.path(name + "/*.db*")); len(left) > 0 {
			t.Errorf("%s: there are %v", name, left)
		}
	}
	restore(exitDone, "backup.age", "elsewhere")
	m.data[1] = m.path("elsewhere")
	m.wantText(m.on(exitDone, "check"), "0 findings")

	again := startOver(t, append([]string{loopback}, m.data...)...)
	for _, s := range since {
		must[[][]byte](t)(o.append(t.Context(), o.client(again.URL), s))
	}
	if state, missing := o.pull(o.client(again.URL)); state.Head() != o.state.Head() || len(missing) > 0 {
		t.Errorf("after the restore the ledger ends with %v, not %v; shares are missing: %v", state.Head(), o.state.Head(), missing)
	}
	m.wantText(m.on(exitDone, "check", "--json"), `"accounts":1`, `"findings":0`)
	again.stop(t)
}

// A backup of either store is restored into the other.
func TestBackupChangesStores(t *testing.T) {
	m, p, o := newMaintained(t)
	o.write(p.URL, "note")
	p.stop(t)
	if err := os.WriteFile(m.path("passphrase"), []byte("a passphrase of this test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := postgrestest.Start(t, postgrestest.Options{Durable: true})
	database := []string{"--database", server.URL(server.Database(t))}
	passphrase := []string{"--passphrase-file", m.path("passphrase")}
	keys := []string{"--key-file", m.path("keys")}
	run := func(want exitCode, command string, args ...[]string) string {
		all := []string{command}
		for _, some := range args {
			all = append(all, some...)
		}
		stdout, stderr := m.run(want, "", all...)
		return stdout + stderr
	}
	run(exitDone, "backup", []string{"--data", m.path("data"), "--output", m.path("1.age")}, passphrase)
	run(exitDone, "restore", []string{"--input", m.path("1.age")}, database, passphrase, keys)
	m.wantText(run(exitFailed, "restore", []string{"--input", m.path("1.age")}, database, passphrase, keys), "there are data already")
	m.wantText(run(exitDone, "check", database, keys), "checked 1 accounts", "0 findings")
	run(exitDone, "backup", []string{"--output", m.path("2.age")}, database, passphrase)
	run(exitDone, "restore", []string{"--input", m.path("2.age"), "--data", m.path("back")}, passphrase, keys)
	again := startOver(t, "--data", m.path("back"), "--key-file", m.path("keys"), loopback)
	if state, missing := o.pull(o.client(again.URL)); state.Head() != o.state.Head() || len(missing) > 0 {
		t.Errorf("after two restores the ledger ends with %v, not %v; missing: %v", state.Head(), o.state.Head(), missing)
	}
	again.stop(t)
}

// The encryption key changes while the server runs and the owner goes on writing.
func TestKeysChangeWhileServing(t *testing.T) {
	m, p, o := newMaintained(t)
	o.write(p.URL, "first")
	list := func() []keyView {
		t.Helper()
		var views []keyView
		if err := json.Unmarshal([]byte(m.on(exitDone, "keys", "list", "--json")), &views); err != nil {
			t.Fatal(err)
		}
		return views
	}
	before := list()
	if len(before) != 1 || !before[0].Encrypts || *before[0].Things == 0 {
		t.Fatalf("keys %+v", before)
	}
	old := before[0].ID
	m.wantText(m.on(exitFailed, "keys", "retire", old), "the key file was changed just now")
	m.wantText(m.on(exitDone, "keys", "add"), "encrypts from now on", "the key file as it was is")
	m.on(exitDone, "keys", "rotate")
	o.write(p.URL, "second")
	after := list()
	if len(after) != 2 || after[0].ID == old || *after[1].Things != 0 || *after[0].Things <= *before[0].Things {
		t.Errorf("after the rotation keys are %+v", after)
	}
	m.wantText(m.on(exitDone, "check"), "0 findings")
	earlier := time.Now().Add(-2 * settled)
	if err := os.Chtimes(m.path("keys"), earlier, earlier); err != nil {
		t.Fatal(err)
	}
	m.wantText(m.on(exitFailed, "keys", "retire", after[0].ID), "the key encrypts what the server stores next")
	m.wantText(m.on(exitFailed, "keys", "retire", "00000000"), "no such encryption key")
	m.wantText(m.on(exitDone, "keys", "retire", old), "is retired")
	o.write(p.URL, "third")
	if err := os.WriteFile(m.path("keys.bad"), []byte("no keys"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := m.path("keys.good")
	o.must(os.Rename(m.path("keys"), good))
	o.must(os.Rename(m.path("keys.bad"), m.path("keys")))
	o.must(p.cmd.Process.Signal(syscall.SIGHUP))
	o.write(p.URL, "with the keys from before")
	p.stop(t)
	o.must(os.Rename(good, m.path("keys")))
	m.wantText(p.stderr.String(), "the keys that were read before go on")
	again := start(t, m.dir, loopback)
	o.write(again.URL, "fourth")
	again.stop(t)
	m.wantText(m.on(exitDone, "check"), "0 findings")
}

func TestAccountsAreLockedAndDeleted(t *testing.T) {
	m, p, _ := newMaintained(t)
	const name = "Ada, Countess of Lovelace"
	o := newOwnerNamed(t, p.URL, name)
	id := o.state.Account().String()
	m.wantText(m.on(exitDone, "account", "list"), id, name)
	m.wantText(m.on(exitDone, "account", "show", strings.ToLower(name)), "ledger: ", "shares: 4, ")
	m.wantText(m.on(exitDone, "account", "lock", id), "locked since")
	refused := func(want string) {
		t.Helper()
		if _, err := o.append(t.Context(), o.client(p.URL), o.put("note")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	refused("the server's operator has locked the account")
	m.on(exitDone, "account", "unlock", name)
	written := o.write(p.URL, "note").entry.Bytes()
	m.wantText(m.on(exitFailed, "account", "show", "Bob"), `there is no account "Bob"`)
	m.wantText(m.on(exitUsage, "account", "delete", name), "needs --yes")
	remove := append([]string{"account", "delete", "--yes", id}, m.data...)
	_, stderr := m.run(exitUsage, "Bob\n", remove...)
	m.wantText(stderr, "that is not the name")
	stdout, _ := m.run(exitDone, name+"\n", remove...)
	m.wantText(stdout, fmt.Sprintf("account %s is deleted", id))
	refused("the server knows no such account")
	p.stop(t)
	m.wantText(m.on(exitDone, "check"), "checked 1 accounts", "0 findings")
	b := must[[]byte](t)(os.ReadFile(m.path("data/zeropass.db")))
	if bytes.Contains(b, []byte(name)) || bytes.Contains(b, written[len(written)-64:]) {
		t.Error("the database still has something of the account")
	}
}

// Damage is found, and said with the account that it is in.
func TestCheckSaysWhatIsWrong(t *testing.T) {
	m, p, o := newMaintained(t)
	o.write(p.URL, "note")
	p.stop(t)
	start(t, filepath.Join(m.dir, "other"), loopback).stop(t)
	m.wantText(m.on(exitDone, "migrate"), "the schema is up to date")
	stdout, stderr := m.run(exitFailed, "", "check", "--data", m.path("data"), "--key-file", m.path("other/keys"))
	m.wantText(stdout+stderr, "the data belong to a server with another key file")
	m.wantText(m.on(exitDone, "keys", "add"), "encrypts")
	damaged := bytes.Replace(must[[]byte](t)(os.ReadFile(m.path("keys"))), []byte("\nencrypt "), []byte("\nencrypt z"), 2)
	if err := os.WriteFile(m.path("keys"), damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	m.wantText(m.on(exitFailed, "check"), "account "+o.state.Account().String()+": ", "has no such encryption key", "error: ", "things are wrong")
	_, stderr = m.run(exitFailed, "", "check", "--data", m.path("nowhere"), "--key-file", m.path("keys"))
	m.wantText(stderr, "there are no data of a server in")
}
