package recovery

import (
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"

	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

func newSheet(t *testing.T) *seed.Sheet {
	t.Helper()
	half := make([]byte, seed.HalfSize)
	_, _ = rand.Read(half)
	s, err := seed.New(half, half)
	if err != nil {
		t.Fatal(err)
	}
	split, err := s.Split(rand.Reader, 2, 3, true)
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &seed.Sheet{Share: split.Sheet, Key: key}
}

func sheetText(t *testing.T, sheet *seed.Sheet) string {
	t.Helper()
	text, err := SheetText(sheet)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestSheetComesBackFromItsWords(t *testing.T) {
	sheet := newSheet(t)
	text := sheetText(t, sheet)
	if n := len(strings.Fields(text)); n != SheetWords {
		t.Fatalf("%d words", n)
	}
	for name, typed := range map[string]string{
		"as printed":  text,
		"in a column": strings.ReplaceAll(text, " ", ",\n 7. "),
		"QR code":     SheetQRText(text),
		"scanned":     "  zeropass-sheet:1 " + text + "\n",
	} {
		read, err := ParseSheet(typed)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !read.Share.Equal(sheet.Share) || !read.Key.PublicKey().Equal(sheet.Key.PublicKey()) {
			t.Errorf("%s: another sheet", name)
		}
		share, err := ParseShare(typed)
		if err != nil || !share.Equal(sheet.Share) {
			t.Errorf("%s as a share: %v", name, err)
		}
	}
	if share, err := ParseShare(strings.Join(strings.Fields(text)[:59], " ")); err != nil || !share.Equal(sheet.Share) {
		t.Errorf("the share's words alone: %v", err)
	}
}

func TestSheetSaysWhichWordIsWrong(t *testing.T) {
	words := strings.Fields(sheetText(t, newSheet(t)))
	for _, at := range []int{1, 30, 59, 60, 75, 92} {
		typed := slices.Clone(words)
		typed[at-1] = "zeropass"
		_, err := ParseSheet(strings.Join(typed, " "))
		var wrong *WordsError
		if !errors.As(err, &wrong) || !slices.Equal(wrong.Positions, []int{at}) || wrong.Words != SheetWords {
			t.Errorf("word %d: %v", at, err)
		}
	}
}

func TestSheetRefusesOtherWords(t *testing.T) {
	sheet, other := newSheet(t), newSheet(t)
	words, others := strings.Fields(sheetText(t, sheet)), strings.Fields(sheetText(t, other))
	member := newMember(t)
	for name, typed := range map[string]string{
		"nothing":             "",
		"the share alone":     strings.Join(words[:59], " "),
		"the key alone":       strings.Join(words[59:], " "),
		"91 words":            strings.Join(words[:91], " "),
		"93 words":            strings.Join(append(slices.Clone(words), "acid"), " "),
		"another sheet's key": strings.Join(append(slices.Clone(words[:59]), others[59:]...), " "),
		"a contact's share":   member.Mnemonic() + " " + strings.Join(words[59:], " "),
		"a later form":        "ZEROPASS-SHEET:2 " + strings.Join(words, " "),
		"key first":           strings.Join(append(slices.Clone(words[59:]), words[:59]...), " "),
	} {
		if read, err := ParseSheet(typed); read != nil || !errors.Is(err, ErrWords) {
			t.Errorf("%s: %v", name, err)
		}
	}
	sheet.Erase()
	if _, err := SheetText(sheet); !errors.Is(err, slip39.ErrErased) {
		t.Errorf("an erased sheet: %v", err)
	}
}

func newMember(t *testing.T) *slip39.Share {
	t.Helper()
	half := make([]byte, seed.HalfSize)
	s, err := seed.New(half, half)
	if err != nil {
		t.Fatal(err)
	}
	split, err := s.Split(rand.Reader, 2, 3, true)
	if err != nil {
		t.Fatal(err)
	}
	return split.Members[0]
}
