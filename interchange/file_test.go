package interchange

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func writes(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		// In two parts, the way an encoder does.
		_, err := io.WriteString(w, text[:len(text)/2])
		if err == nil {
			_, err = io.WriteString(w, text[len(text)/2:])
		}
		return err
	}
}

// byName is WriteFile where files always have a name.
func byName(path string, write func(io.Writer) error) error {
	if err := RemoveUnfinished(path); err != nil {
		return err
	}
	return writeNamed(path, write, giveName)
}

func TestWriteFile(t *testing.T) {
	for name, put := range map[string]func(string, func(io.Writer) error) error{"unnamed": WriteFile, "named": byName, "replace": ReplaceFile} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "all.json")
			// What a killed process left.
			if err := os.WriteFile(path+unfinished, []byte("half"), 0o644); err != nil {
				t.Fatal(err)
			}
			full := errors.New("no room")
			err := put(path, func(w io.Writer) error { return errors.Join(writes("secret")(w), full) })
			if !errors.Is(err, full) {
				t.Errorf("a failed write: %v", err)
			}
			wantFiles(t, dir)
			if err := put(path, writes("secret")); err != nil {
				t.Fatal(err)
			}
			wantFiles(t, dir, "all.json")
			if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			err = put(path, writes("other"))
			want := "secret"
			if name == "replace" {
				want = "other"
			} else if !errors.Is(err, fs.ErrExist) {
				t.Errorf("over another file: %v", err)
			}
			if b, err := os.ReadFile(path); string(b) != want {
				t.Errorf("%q, %v", b, err)
			}
			wantFiles(t, dir, "all.json")
		})
	}
}

func TestKeepFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "all.json")
	long := string(bytes.Repeat([]byte("0123456789"), 3000))
	if err := KeepFile(path, writes(long)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := WriteFile(path, writes(long)); err != nil {
		t.Fatal(err)
	}
	if err := KeepFile(path, writes(long)); err != nil {
		t.Errorf("the same: %v", err)
	}
	for name, text := range map[string]string{"empty": "", "shorter": long[1:], "cut": long[:len(long)-1], "longer": long + "x", "one byte": long[:29999] + "x", "first byte": "x" + long[1:]} {
		if err := KeepFile(path, writes(text)); !errors.Is(err, ErrDiffers) {
			t.Errorf("%s: %v", name, err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := KeepFile(link, writes(long)); !errors.Is(err, ErrDiffers) {
		t.Errorf("a link: %v", err)
	}
	broken := errors.New("broken")
	if err := KeepFile(path, func(io.Writer) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("a writer that fails: %v", err)
	}
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if len(got) != len(want) || len(want) > 0 && got[0] != want[0] {
		t.Errorf("the directory has %q, want %q", got, want)
	}
}
