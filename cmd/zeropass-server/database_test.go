package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
)

// Servers over one PostgreSQL database that wants a password.
func TestDatabase(t *testing.T) {
	const password = "a password of the database"
	dir := t.TempDir()
	database := postgrestest.Start(t, postgrestest.Options{Durable: true, Loopback: true})
	database.Exec(t, "postgres", `CREATE ROLE zeropass LOGIN PASSWORD '`+password+`'`)
	database.Exec(t, "postgres", `CREATE DATABASE zeropass OWNER zeropass`)
	url := database.LoopbackURL("zeropass", "zeropass")
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	args := func(keys, passwordFile string) []string {
		return []string{"--database", url, "--key-file", filepath.Join(dir, keys), "--database-password-file", passwordFile, loopback}
	}
	right := args("keys", write("password", password+"\n"))
	refused := func(want string, args ...string) {
		t.Helper()
		if code, stderr := ends(t, append([]string{"serve"}, args...)...); code != int(exitFailed) || !strings.Contains(stderr, want) || strings.Contains(stderr, password) {
			t.Errorf("it ends with %d, want %q:\n%s", code, want, stderr)
		}
	}
	refused("the database cannot be reached", args("keys", write("wrong", "another password"))...)
	if _, err := os.Stat(filepath.Join(dir, "keys")); !os.IsNotExist(err) {
		t.Errorf("a key file was made for a database that lets nobody in (%v)", err)
	}

	first := killWhileWriting(t, 3, func() *process { return startOver(t, right...) })

	// A second server with the same key file, and the password in a file of
	// PostgreSQL's.
	t.Setenv("PGPASSFILE", write("pgpass", "127.0.0.1:*:zeropass:zeropass:"+password+"\n"))
	second := startOver(t, "--database", url, "--key-file", filepath.Join(dir, "keys"), loopback)
	if second.KeyFileMade || second.Fingerprint != first.Fingerprint {
		t.Errorf("the second server says %+v, the first %+v", second.readyLine, first.readyLine)
	}
	o := newOwnerNamed(t, first.URL, "Bob")
	for i := range 4 {
		p := []*process{first, second}[i%2]
		next := o.put("note")
		if _, err := o.append(t.Context(), o.client(p.URL), next); err != nil {
			t.Fatal(err)
		}
		o.must(o.state.Apply(next.entry))
	}
	first.kill(t)
	state, missing := o.pull(o.client(second.URL))
	if state.Head() != o.state.Head() || len(missing) > 0 {
		t.Errorf("the second server has %v and lacks %v, the device has %v", state.Head(), missing, o.state.Head())
	}
	second.stop(t)

	refused("but their key file", args("missing", filepath.Join(dir, "password"))...)
	start(t, filepath.Join(dir, "other"), loopback).stop(t)
	refused("another key file", args("other/keys", filepath.Join(dir, "password"))...)
	database.Exec(t, "postgres", `ALTER ROLE zeropass SET synchronous_commit = off`)
	refused("synchronous_commit is off", right...)
}

// An operator who lets the connection be read is told.
func TestDatabaseWarning(t *testing.T) {
	t.Setenv("PGSSLMODE", "")
	for url, want := range map[string]bool{
		"": false, "postgres://database.example/zeropass": true, "postgres://database.example/zeropass?sslmode=verify-full": false,
	} {
		var log strings.Builder
		o := databaseOptions{url: url}
		if err := o.warn(slog.New(slog.NewTextHandler(&log, nil))); err != nil || strings.Contains(log.String(), "sslmode=verify-full") != want {
			t.Errorf("%q: %v, %s", url, err, &log)
		}
	}
}
