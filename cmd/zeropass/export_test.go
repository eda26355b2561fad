package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/ledger"
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

// An export that lacks something says what, how to be rid of it, and fails.
func TestExportInPart(t *testing.T) {
	lost := []device.LostItem{
		{Slot: ledger.SlotID{0xab, 0xcd}, Title: "bank\x1b[2J", Err: errors.New("its share is wrong")},
		{Slot: ledger.SlotID{0x12}},
	}
	for _, asJSON := range []bool{false, true} {
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		a := &app{out: out, err: out, json: asJSON}
		if err := a.showExport("all.json", 7, nil); err != nil {
			t.Errorf("everything: %v", err)
		}
		if err := out.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		f, ok := errors.AsType[*failure](a.showExport("all.json", 7, lost))
		if !ok || f.code != exitFailed || !strings.Contains(f.hint, "zeropass delete abcd0000; zeropass delete 12000000") {
			t.Fatalf("%+v", f)
		}
		b, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		if asJSON {
			var v struct {
				Items int
				Lost  []lostView
			}
			if err := json.Unmarshal(b, &v); err != nil || v.Items != 7 || len(v.Lost) != 2 || v.Lost[0].Why != "its share is wrong" {
				t.Errorf("%s: %v", b, err)
			}
		} else if !strings.Contains(string(b), "abcd0000): its share is wrong") || strings.Contains(string(b), "\x1b") {
			t.Errorf("%s", b)
		}
	}
}
