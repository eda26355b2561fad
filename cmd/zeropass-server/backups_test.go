package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"filippo.io/age"
)

// A directory keeps the newest backups, the one that was made just now among them
// however late others say they are, and whatever else is in it.
func TestBackupsAreKept(t *testing.T) {
	m, _, _ := newMaintained(t)
	identity := must[*age.X25519Identity](t)(age.GenerateX25519Identity())
	dir := m.path("backups")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	others := []string{"notes.age", "zeropass-2026.age", "zeropass-20260101T000000Z.age.part", "zeropass-20261301T000000Z.age"}
	for _, name := range append(others, "zeropass-20260101T000000Z.age", "zeropass-20260102T000000Z.age", "zeropass-20260103T000000Z.age", "zeropass-20980101T000000Z.age", "zeropass-20990101T000000Z.age") {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(m.path("recipients"), []byte("# of nobody\n"+identity.Recipient().String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.run(exitDone, "", "backup", "--data", m.path("data"), "--directory", dir, "--keep", "2", "--recipients-file", m.path("recipients"))
	var left []string
	for _, e := range must[[]os.DirEntry](t)(os.ReadDir(dir)) {
		if !slices.Contains(others, e.Name()) {
			left = append(left, e.Name())
		}
	}
	if len(left) != 2 || left[1] != "zeropass-20990101T000000Z.age" || left[0] <= "zeropass-20260103T000000Z.age" || left[0] >= "zeropass-2098" {
		t.Fatalf("the directory has %v", left)
	}
	if all := must[[]os.DirEntry](t)(os.ReadDir(dir)); len(all) != len(others)+2 {
		t.Errorf("the directory has %v", all)
	}
	f := must[*os.File](t)(os.Open(filepath.Join(dir, left[0])))
	defer f.Close()
	if _, err := age.Decrypt(f, identity); err != nil {
		t.Error(err)
	}
}
