package server_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zeropass.dev/zeropass/internal/server"
)

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keys")
	if _, err := server.ReadKeys(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	keys := must(server.GenerateKeys(rand.Reader))
	if err := server.WriteKeys(path, keys); err != nil {
		t.Fatal(err)
	}
	if mode := must(os.Stat(path)).Mode().Perm(); mode != 0o600 {
		t.Errorf("mode %04o", mode)
	}
	read := must(server.ReadKeys(path))
	if !read.SignKey().Equal(keys.SignKey()) || read.Fingerprint() != keys.Fingerprint() {
		t.Error("other keys came back")
	}
	before := must(os.ReadFile(path))
	if err := server.WriteKeys(path, must(server.GenerateKeys(rand.Reader))); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over another file: %v", err)
	}
	if string(must(os.ReadFile(path))) != string(before) {
		t.Error("a key file was overwritten")
	}
	if left := must(os.ReadDir(dir)); len(left) != 1 {
		t.Errorf("files are left: %v", left)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := server.ReadKeys(path); !errors.Is(err, server.ErrKeyFileAccess) {
		t.Errorf("readable by a group: %v", err)
	}
	if printed := fmt.Sprintf("%v %+v %#v %s", keys, keys, *keys, *keys); printed != "[secret] [secret] [secret] [secret]" {
		t.Errorf("keys print as %q", printed)
	}
}

func TestKeyFileIsStrict(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	if err := server.WriteKeys(path, must(server.GenerateKeys(rand.Reader))); err != nil {
		t.Fatal(err)
	}
	good := string(must(os.ReadFile(path)))
	lines := strings.SplitAfter(good, "\n")
	zero := "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	for name, bad := range map[string]string{
		"empty":                    "",
		"another version":          strings.Replace(good, "v1", "v2", 1),
		"a line is missing":        lines[0] + lines[1] + lines[2],
		"keys in another order":    lines[0] + lines[2] + lines[1] + lines[3],
		"no end of line":           strings.TrimSuffix(good, "\n"),
		"an empty line":            good + "\n",
		"text after it":            good + "more",
		"two keys with one id":     good + lines[3],
		"a sign key of zero":       lines[0] + "sign " + zero + lines[2] + lines[3],
		"a seal key of zero":       lines[0] + lines[1] + "seal " + zero + lines[3],
		"a short key":              strings.Replace(good, lines[1], "sign AAAA\n", 1),
		"base64 that is not exact": strings.Replace(good, "=\n", "\n", 1),
		"two spaces":               strings.Replace(good, "sign ", "sign  ", 1),
		"line ends of Windows":     strings.ReplaceAll(good, "\n", "\r\n"),
	} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := server.ReadKeys(path); !errors.Is(err, server.ErrKeyFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	second := strings.Replace(lines[3], "encrypt ", "encrypt x", 1)
	if err := os.WriteFile(path, []byte(good+second), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := server.ReadKeys(path); err != nil {
		t.Errorf("two encryption keys: %v", err)
	}
	if _, err := server.ReadKeys(filepath.Dir(path)); !errors.Is(err, server.ErrKeyFile) {
		t.Errorf("a directory: %v", err)
	}
}
