package sheet

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
)

// split makes a sheet and member 2's share of one seed.
func split(t *testing.T) (printed *seed.Sheet, sheetWords, memberWords string) {
	t.Helper()
	half := make([]byte, seed.HalfSize)
	_, _ = rand.Read(half)
	s, err := seed.New(half, half)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := s.Split(rand.Reader, 2, 3, true)
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	printed = &seed.Sheet{Share: parts.Sheet, Key: key}
	if sheetWords, err = recovery.SheetText(printed); err != nil {
		t.Fatal(err)
	}
	return printed, sheetWords, parts.Members[1].Mnemonic()
}

// pages returns a printed sheet and a share on paper.
func pages(t *testing.T) map[string]*Sheet {
	t.Helper()
	_, sheetWords, memberWords := split(t)
	base := Sheet{
		Account: [32]byte{0xa1, 0xb2, 31: 0xff}, Name: "Zoë Ångström, Ελένη и Женя", Epoch: 3, Quorum: 2, Members: 3,
		Waiting: 72 * time.Hour, Server: "https://zeropass.example", Printed: time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC),
		CountFrom: time.Date(2026, 11, 25, 9, 30, 0, 0, time.UTC),
	}
	printed, paper := base, base
	printed.Words, printed.QR = sheetWords, recovery.SheetQRText(sheetWords)
	paper.Member, paper.Words, paper.QR = 2, memberWords, strings.ToUpper(memberWords)
	return map[string]*Sheet{"printed sheet": &printed, "share on paper": &paper}
}

func TestTextSaysEverything(t *testing.T) {
	for name, s := range pages(t) {
		text := string(s.Text())
		warning, words := strings.Index(text, "alone opens nothing"), strings.Index(text, "The words")
		if warning < 0 || warning > words {
			t.Errorf("%s: the warning does not come first", name)
		}
		for _, want := range []string{s.Name, "a1b2", "3 days", "https://zeropass.example", "zeropass-recover", "22 November 2026", "25 November 2026"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", name, want, text)
			}
		}
		for _, line := range strings.Split(text, "\n") {
			if len([]rune(line)) > 80 {
				t.Errorf("%s: a line of %d characters: %s", name, len([]rune(line)), line)
			}
		}
	}
}

// What stands beside numbers in the text, in their order, is the share.
func TestTextReadsBack(t *testing.T) {
	for name, s := range pages(t) {
		words := numbered(string(s.Text()), 92)
		if got := strings.Join(words, " "); got != s.Words {
			t.Fatalf("%s: %d words read back otherwise", name, len(words))
		}
		share, err := recovery.ParseShare(strings.Join(words, "\n"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := seed.GroupContacts
		if s.Member == 0 {
			want = seed.GroupSheet
		}
		if share.GroupIndex() != want {
			t.Errorf("%s: a share of group %d", name, share.GroupIndex())
		}
	}
}

func TestPDFHasNoMetadata(t *testing.T) {
	s := pages(t)["printed sheet"]
	pdf, err := s.PDF()
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"/Author", "/Title", "/Subject", "/Keywords", "/Creator", "zeropass.example"} {
		if bytes.Contains(pdf, []byte(tag)) {
			t.Errorf("the file has %s", tag)
		}
	}
	if !bytes.Contains(pdf, []byte("D:20261122000000")) {
		t.Error("the file is not of that day")
	}
}
