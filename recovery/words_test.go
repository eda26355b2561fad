package recovery

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

func TestParseShareAsPeopleType(t *testing.T) {
	w := newWorld(t, 10, nil)
	w.prepare(2, 3, true)
	share := w.epochs[1].members[1]
	words := strings.Fields(share.Mnemonic())
	numbered := ""
	for i, word := range words {
		numbered += fmt.Sprintf("%2d. %s,\r\n", i+1, strings.ToUpper(word[:1])+word[1:])
	}
	for name, text := range map[string]string{
		"as written": share.Mnemonic(),
		"QR text":    QRText(share),
		"lines":      "\n\t" + strings.Join(words, "\n") + "\n",
		"numbered":   numbered,
		"no space":   strings.ReplaceAll(numbered, ". ", "."),
	} {
		if got, err := ParseShare(text); err != nil || !got.Equal(share) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A QR code stores text of these characters in 5.5 bits each (ISO/IEC 18004,
// alphanumeric mode).
func TestQRTextIsAlphanumeric(t *testing.T) {
	w := newWorld(t, 11, nil)
	w.prepare(2, 2, false)
	text := QRText(w.epochs[1].members[0])
	if strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ ") != "" || len(strings.Split(text, " ")) != shareWords {
		t.Error("not upper-case words with single spaces")
	}
}

func TestWrongWordsArePointedAt(t *testing.T) {
	w := newWorld(t, 12, nil)
	w.prepare(2, 3, true)
	share := w.epochs[1].members[0]
	words := strings.Fields(share.Mnemonic())
	with := func(change func([]string) []string) string { return strings.Join(change(slices.Clone(words)), " ") }
	other := func(word string) string {
		if word == "academic" {
			return "acid"
		}
		return "academic"
	}
	for name, test := range map[string]struct {
		text      string
		positions []int
		cause     error
		says      string
	}{
		"another word": {with(func(s []string) []string { s[11] = other(s[11]); return s }), []int{12}, slip39.ErrChecksum, "word 12 is probably wrong"},
		"no such words": {with(func(s []string) []string { s[6], s[40] = "zero1pass", "pässe"; return s }), []int{7, 41}, slip39.ErrUnknownWord,
			"words 7, 41 of what was typed cannot be"},
		"three words": {with(func(s []string) []string {
			s[1], s[20], s[50] = other(s[1]), other(s[20]), other(s[50])
			return s
		}), nil, slip39.ErrChecksum, "several words are wrong"},
		"one missing":  {with(func(s []string) []string { return s[:58] }), nil, slip39.ErrLength, "there are 58 words where there should be 59"},
		"one too many": {with(func(s []string) []string { return append(s, "acid") }), nil, slip39.ErrChecksum, "there are 60 words where there should be 59"},
		"nothing":      {" 1. 2. 3. ", nil, slip39.ErrTooShort, "there are 0 words where there should be 59"},
		"short and unknown": {with(func(s []string) []string { s[2] = "acadmic"; return s[:50] }), []int{3}, slip39.ErrUnknownWord,
			"there are 50 words where there should be 59; word 3 of what was typed cannot be"},
	} {
		got, err := ParseShare(test.text)
		var wrong *WordsError
		if got != nil || !errors.As(err, &wrong) || !errors.Is(err, ErrWords) || !errors.Is(err, test.cause) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !slices.Equal(wrong.Positions, test.positions) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: positions %v, %v", name, wrong.Positions, err)
		}
		repeated := strings.Fields(strings.NewReplacer(",", " ", ";", " ", ":", " ").Replace(err.Error()))
		for _, word := range words {
			if slices.Contains(repeated, word) && word != "share" {
				t.Errorf("%s: the error repeats %q", name, word)
			}
		}
	}
}

func TestSheetKeyWords(t *testing.T) {
	w := newWorld(t, 13, nil)
	w.prepare(2, 3, true)
	sheet := w.epochs[1].sheet
	text := must[string](t)(SheetKeyWords(sheet.Key, sheet.Share))
	if again := must[string](t)(SheetKeyWords(sheet.Key, sheet.Share)); again != text || len(strings.Fields(text)) != sheetKeyWords {
		t.Error("one key has not one text")
	}
	key := must[*signing.PrivateKey](t)(ParseSheetKey(strings.ToUpper(text)))
	if !key.PublicKey().Equal(sheet.Key.PublicKey()) {
		t.Error("another key came back")
	}
	// Each text is refused in the place of the other, with its number of words.
	if got, err := ParseSheetKey(sheet.Share.Mnemonic()); got != nil || !errors.Is(err, ErrWords) || !strings.Contains(err.Error(), "59 words where there should be 33") {
		t.Errorf("a share for a key: %v", err)
	}
	if got, err := ParseShare(text); got != nil || !errors.Is(err, ErrWords) || !strings.Contains(err.Error(), "33 words where there should be 59") {
		t.Errorf("a key for a share: %v", err)
	}
	// A share of 32 bytes that is one of two is no key by itself.
	half, err := slip39.Split(w.rand, w.bytes(32), nil, slip39.Params{Extendable: true, GroupThreshold: 1, Groups: []slip39.Group{{Threshold: 2, Count: 2}}})
	ok(t, err)
	if got, err := ParseSheetKey(half[0][0].Mnemonic()); got != nil || !errors.Is(err, ErrWords) {
		t.Errorf("half a key: %v", err)
	}
	sheet.Share.Erase()
	if text, err := SheetKeyWords(sheet.Key, sheet.Share); text != "" || !errors.Is(err, slip39.ErrErased) {
		t.Errorf("an erased share: %v", err)
	}
}

func FuzzParseShare(f *testing.F) {
	w := newWorld(f, 14, nil)
	w.prepare(2, 3, true)
	f.Add(w.epochs[1].members[0].Mnemonic())
	f.Add(QRText(w.epochs[1].sheet.Share))
	f.Add("1. academic 2. acid")
	f.Fuzz(func(t *testing.T, text string) {
		share, err := ParseShare(text)
		if err != nil {
			if share != nil || !errors.Is(err, ErrWords) {
				t.Fatalf("%v with an error", err)
			}
			return
		}
		again, err := ParseShare(QRText(share))
		if err != nil || !again.Equal(share) {
			t.Fatalf("%v", err)
		}
	})
}
