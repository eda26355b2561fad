package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/device"
)

func note(title string) device.Item {
	return device.Item{
		Metadata: &recordv1.SlotMetadata{Kind: recordv1.SlotMetadata_KIND_NOTE, Title: title},
		Secret:   &recordv1.Secret{Kind: &recordv1.Secret_Note{Note: &recordv1.Note{}}, Notes: "canary"},
	}
}

// A recovery that is killed after it wrote everything is run again with the same
// file: that stands if it holds just this, and is never written over if not.
func TestWriteOnce(t *testing.T) {
	for _, format := range []string{formatBitwarden, formatText} {
		path := filepath.Join(t.TempDir(), "all")
		o := output{path, format}
		items := []device.Item{note("one"), note("two")}
		read := func() string {
			t.Helper()
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		if err := o.writeOnce(items, false); err != nil {
			t.Fatal(err)
		}
		first := read()
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.writeOnce(items, false); err != nil {
			t.Errorf("%s: the same again: %v", format, err)
		}
		if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s: the file was written again: %v", format, err)
		}
		if err := o.writeOnce(items[:1], false); err == nil || !strings.Contains(err.Error(), "something else") || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: something else: %v", format, err)
		}
		if read() != first {
			t.Errorf("%s: a file of the user's was written over", format)
		}
		if err := o.writeOnce(items[:1], true); err != nil || read() == first {
			t.Errorf("%s: what this run wrote is not replaced: %v", format, err)
		}
	}
}
