package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"zeropass-recover": main})
}

// TestScripts runs the program on the frozen account of package recovery, which
// every version must open.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			// What is in a repository has lost its modes.
			fixture := filepath.Join(env.WorkDir, "fixture")
			if err := os.CopyFS(fixture, os.DirFS("../../recovery/testdata/fixture-v1")); err != nil {
				return err
			}
			if err := typed(env.WorkDir, fixture); err != nil {
				return err
			}
			return filepath.WalkDir(fixture, func(path string, d os.DirEntry, err error) error {
				if err != nil {
					return err
				}
				if d.IsDir() {
					return os.Chmod(path, 0o700)
				}
				return os.Chmod(path, 0o600)
			})
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":    cmdCode,
			"secret":  cmdSecret,
			"damage":  cmdDamage,
			"subset":  cmdSubset,
			"reword":  cmdReword,
			"private": cmdPrivate,
		},
	})
}

// typed writes what a person types: the passphrase and two contacts' words, each
// with an empty line behind; and once more with a slip in the first, and the
// word again.
func typed(dir, fixture string) error {
	var text [3]string
	for i, name := range []string{"passphrase.txt", "words/contact-1.txt", "words/contact-3.txt"} {
		b, err := os.ReadFile(filepath.Join(fixture, name))
		if err != nil {
			return err
		}
		text[i] = string(b)
	}
	right := text[0] + text[1] + "\n" + text[2] + "\n"
	words := strings.Fields(text[1])
	twentieth := words[19]
	words[19] = "zzz"
	slip := text[0] + strings.Join(words, " ") + "\n\n" + twentieth + "\n" + text[2] + "\n"
	stops := text[0] + text[1] + "\n\n"
	for name, content := range map[string]string{"typed.txt": right, "slip.txt": slip, "stops.txt": stops} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// cmdCode runs a program that must end with an exit code: code N program args...
func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N program args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// cmdSecret checks that nothing of the account's secrets is in a file: secret FILE
func cmdSecret(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile(args[0])
	words := strings.Fields(ts.ReadFile("fixture/words/contact-1.txt") + ts.ReadFile("fixture/words/contact-2.txt"))
	for _, secret := range append(words, "pässwörd", "no network here", "battery") {
		for _, field := range strings.FieldsFunc(text, func(r rune) bool { return r != 'ä' && r != 'ö' && (r < 'a' || r > 'z') }) {
			if len(secret) > 5 && field == secret {
				ts.Fatalf("%s has a secret: %s", args[0], secret)
			}
		}
	}
}

// cmdDamage changes a byte of a file: damage FILE OFFSET, from the end if negative.
func cmdDamage(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	i, err := strconv.Atoi(args[1])
	ts.Check(err)
	if i < 0 {
		i += len(b)
	}
	b[i] ^= 0xff
	ts.Check(os.WriteFile(path, b, 0o600))
}

// cmdSubset checks that a Bitwarden file has the items of another one, without
// those named: subset FILE OF NAME...
func cmdSubset(ts *testscript.TestScript, neg bool, args []string) {
	got, want := itemsOf(ts, args[0]), itemsOf(ts, args[1])
	for _, name := range args[2:] {
		if _, ok := want[name]; !ok {
			ts.Fatalf("%s has no item %q", args[1], name)
		}
		delete(want, name)
	}
	if len(got) != len(want) {
		ts.Fatalf("%d items, want %d", len(got), len(want))
	}
	for name, item := range want {
		if !bytes.Equal(got[name], item) {
			ts.Fatalf("item %q:\n%s\nwant\n%s", name, got[name], item)
		}
	}
}

// itemsOf returns the items of an export by name, without what the export
// chooses anew.
func itemsOf(ts *testscript.TestScript, file string) map[string][]byte {
	var export struct {
		Items []map[string]any `json:"items"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(file)), &export))
	items := make(map[string][]byte)
	for _, item := range export.Items {
		delete(item, "id")
		delete(item, "folderId")
		b, err := json.Marshal(item)
		ts.Check(err)
		items[item["name"].(string)] = b
	}
	return items
}

// cmdReword replaces a word of a file: reword FROM N WORD TO
func cmdReword(ts *testscript.TestScript, neg bool, args []string) {
	words := strings.Fields(ts.ReadFile(args[0]))
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	if words[n-1] == args[2] {
		ts.Fatalf("word %d is %q already", n, args[2])
	}
	words[n-1] = args[2]
	ts.Check(os.WriteFile(ts.MkAbs(args[3]), []byte(strings.Join(words, "\n")), 0o600))
}

// cmdPrivate checks that only the owner may read and write a file.
func cmdPrivate(ts *testscript.TestScript, neg bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if info.Mode().Perm() != 0o600 {
		ts.Fatalf("%s has mode %v", args[0], info.Mode())
	}
}
