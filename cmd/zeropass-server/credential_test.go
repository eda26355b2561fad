package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The key file as systemd hands it to a service: in a directory that only the
// service may read, with a mode that shows the mask of its access control list.
func TestKeyFileIsCredential(t *testing.T) {
	m := &maintained{t: t, dir: t.TempDir()}
	m.data = []string{"--data", m.path("data")}
	stdout, _ := m.run(exitDone, "", "keys", "create", "--key-file", m.path("source"))
	m.wantText(stdout, "made "+m.path("source"), "key fingerprint ")
	before := must[[]byte](t)(os.ReadFile(m.path("source")))
	_, stderr := m.run(exitFailed, "", "keys", "create", "--key-file", m.path("source"))
	m.wantText(stderr, "is there already, and is not overwritten")
	if after := must[[]byte](t)(os.ReadFile(m.path("source"))); string(after) != string(before) {
		t.Error("a second keys create has changed the file")
	}

	place := filepath.Join(m.path("credentials"), keyCredential)
	t.Setenv(credentialsVariable, m.path("credentials"))
	if err := os.Mkdir(m.path("credentials"), 0o700); err != nil {
		t.Fatal(err)
	}
	// As a start of the service, or a reload that renews credentials.
	give := func(mode os.FileMode) {
		t.Helper()
		made := m.path("given")
		if err := os.WriteFile(made, must[[]byte](t)(os.ReadFile(m.path("source"))), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(made, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(made, place); err != nil {
			t.Fatal(err)
		}
	}
	serve := []string{"serve", loopback, "--data", m.path("data")}
	_, stderr = m.run(exitUsage, "", serve...)
	m.wantText(stderr, "serve needs --key-file")
	_, stderr = m.run(exitFailed, "", append(serve, "--key-file", place)...)
	m.wantText(stderr, "the credential "+place+" is missing", "keys create")
	give(0o444)
	_, stderr = m.run(exitFailed, "", serve...)
	m.wantText(stderr, "can be read by other users")

	give(0o440)
	p := startOver(t, loopback, "--data", m.path("data"))
	if p.KeyFileMade {
		t.Error("the server says that it made the key file")
	}
	o := newOwner(t, p.URL)
	o.write(p.URL, "first")
	_, stderr = m.run(exitUsage, "", "keys", "add", "--key-file", place)
	m.wantText(stderr, "a credential cannot be changed", "the file that the credential is made from")

	// The key changes in the source; the server takes it up when it is renewed.
	m.run(exitDone, "", "keys", "add", "--key-file", m.path("source"))
	give(0o440)
	o.must(p.cmd.Process.Signal(syscall.SIGHUP))
	o.write(p.URL, "second")
	m.on(exitDone, "keys", "rotate")
	m.wantText(m.on(exitDone, "keys", "list", "--key-file", m.path("source")), "opens, 0 things stand under it")
	m.wantText(m.on(exitDone, "check"), "0 findings")
	p.stop(t)
	again := startOver(t, loopback, "--data", m.path("data"))
	o.write(again.URL, "third")
	again.stop(t)

	var left []string
	for _, e := range must[[]os.DirEntry](t)(os.ReadDir(m.path("credentials"))) {
		left = append(left, e.Name())
	}
	if strings.Join(left, " ") != keyCredential {
		t.Errorf("in the directory of credentials there are %v", left)
	}
}
