package recovery

import (
	"bytes"
	"strings"
	"testing"

	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// fuzzSheet is the same sheet in every run: its randomness is zero.
func fuzzSheet(f *testing.F) *seed.Sheet {
	f.Helper()
	zero := bytes.NewReader(make([]byte, 1<<16))
	s, err := seed.New(make([]byte, seed.HalfSize), make([]byte, seed.HalfSize))
	if err != nil {
		f.Fatal(err)
	}
	split, err := s.Split(zero, 2, 3, true)
	if err != nil {
		f.Fatal(err)
	}
	key, err := signing.NewPrivateKey(append(make([]byte, 31), 1))
	if err != nil {
		f.Fatal(err)
	}
	return &seed.Sheet{Share: split.Sheet, Key: key}
}

// A sheet that is read is written as words that give the same sheet; what is not
// read gives nothing.
func FuzzParseSheet(f *testing.F) {
	text, err := SheetText(fuzzSheet(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(SheetQRText(text))
	f.Add(strings.ReplaceAll(text, " ", "\n"))
	f.Fuzz(func(t *testing.T, text string) {
		sheet, err := ParseSheet(text)
		if err != nil {
			if sheet != nil {
				t.Fatal("a sheet and an error")
			}
			return
		}
		written, err := SheetText(sheet)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSheet(written)
		if err != nil || !again.Key.PublicKey().Equal(sheet.Key.PublicKey()) || !bytes.Equal(again.Share.Value(), sheet.Share.Value()) {
			t.Fatalf("the words of what was read give another sheet: %v", err)
		}
	})
}

// The same of the approval key alone.
func FuzzParseSheetKey(f *testing.F) {
	sheet := fuzzSheet(f)
	words, err := SheetKeyWords(sheet.Key, sheet.Share)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(words)
	f.Add(strings.ToUpper(words))
	f.Add(sheet.Share.Mnemonic())
	f.Fuzz(func(t *testing.T, text string) {
		key, err := ParseSheetKey(text)
		if err != nil {
			if key != nil {
				t.Fatal("a key and an error")
			}
			return
		}
		carrier, err := slip39.Parse(strings.Join(splitWords(text), " "))
		if err != nil {
			t.Fatalf("the key was read from words that are no SLIP-39: %v", err)
		}
		carrier.Erase()
	})
}
