package sheet

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"image"
	_ "image/png" // what pdftoppm writes
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	"pgregory.net/rapid"

	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/slip39"
)

// poppler runs one of its programs over a PDF and returns what it writes.
func poppler(t testing.TB, pdf []byte, program string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%v: run make test, which installs poppler-utils", err)
	}
	file := filepath.Join(t.TempDir(), "page.pdf")
	if err := os.WriteFile(file, pdf, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path, append([]string{file}, args...)...).Output()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	return out
}

var inOrder = regexp.MustCompile(`\b(\d+)\s+([a-z]{4,8})\b`)

// numbered returns the words beside the numbers 1, 2, 3 and so on, at most count.
func numbered(text string, count int) []string {
	var words []string
	for _, found := range inOrder.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(found[1])
		if n == 1 && len(words) == 1 {
			words = nil // "1 minute" is no beginning, because no 2 followed
		}
		if n == len(words)+1 && n <= count {
			words = append(words, found[2])
		}
	}
	return words
}

// A page that is printed and held before a camera gives the share back.
func TestPrintedCodeReadsBack(t *testing.T) {
	for name, s := range pages(t) {
		pdf, err := s.PDF()
		if err != nil {
			t.Fatal(err)
		}
		picture := poppler(t, pdf, "pdftoppm", "-png", "-gray", "-r", "200")
		img, _, err := image.Decode(strings.NewReader(string(picture)))
		if err != nil {
			t.Fatal(err)
		}
		bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
		if err != nil {
			t.Fatal(err)
		}
		read, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true})
		if err != nil || read.GetText() != s.QR {
			t.Fatalf("%s: read back as %v, %v", name, read, err)
		}
		if _, err := recovery.ParseShare(read.GetText()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// box is a word on the page, in points from its upper left.
type box struct {
	Left   float64 `xml:"xMin,attr"`
	Top    float64 `xml:"yMin,attr"`
	Right  float64 `xml:"xMax,attr"`
	Bottom float64 `xml:"yMax,attr"`
	Text   string  `xml:",chardata"`
}

func (b box) overlaps(c box) bool {
	// The boxes are as high as the font, which is a little more than its letters.
	slack := min(b.Bottom-b.Top, c.Bottom-c.Top) * 0.3
	return b.Left < c.Right-0.2 && c.Left < b.Right-0.2 && b.Top < c.Bottom-slack && c.Top < b.Bottom-slack
}

// layout returns the pages' words. poppler's XML has letters that XML has not.
func layout(t testing.TB, pdf []byte) (pages int, words []box) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(string(poppler(t, pdf, "pdftotext", "-raw", "-bbox", "-"))))
	decoder.Strict = false
	for {
		token, err := decoder.Token()
		if err != nil {
			return pages, words
		}
		start, ok := token.(xml.StartElement)
		switch {
		case ok && start.Name.Local == "page":
			pages++
		case ok && start.Name.Local == "word":
			var b box
			if err := decoder.DecodeElement(&b, &start); err != nil {
				t.Fatal(err)
			}
			words = append(words, b)
		}
	}
}

// Whatever the names, the words and the numbers, there is one page, every word on
// it in order, and nothing over anything else or over the edge.
func TestPageHoldsAnything(t *testing.T) {
	list := wordlist(t)
	// A page takes a third of a second; more with -rapid.checks.
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("15"); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Value.Set(f.DefValue) }()
	}
	rapid.Check(t, func(r *rapid.T) {
		letters := rapid.SampledFrom([]*unicode.RangeTable{unicode.Latin, unicode.Greek, unicode.Cyrillic, unicode.Han, unicode.Space, unicode.Digit})
		name := ""
		for range rapid.IntRange(1, 64).Draw(r, "letters") {
			name += string(rapid.RuneFrom(nil, letters.Draw(r, "script")).Draw(r, "letter"))
		}
		count := rapid.SampledFrom([]int{59, 92}).Draw(r, "words")
		words := rapid.SliceOfN(rapid.SampledFrom(list), count, count).Draw(r, "word")
		s := &Sheet{
			Account: [32]byte{9}, Name: name, Epoch: rapid.Uint64().Draw(r, "epoch"), Quorum: rapid.IntRange(1, 16).Draw(r, "quorum"), Members: 16,
			Waiting: time.Duration(rapid.Int64Range(1, 365*24*3600).Draw(r, "waiting")) * time.Second,
			Server:  "https://" + strings.Repeat("server-", rapid.IntRange(0, 12).Draw(r, "server")) + ".example:8443/path",
			Printed: time.Unix(rapid.Int64Range(0, 1<<33).Draw(r, "printed"), 0), CountFrom: time.Unix(1<<33+1, 0),
			Words: strings.Join(words, " "),
		}
		s.QR = recovery.SheetQRText(s.Words)
		if count == 59 {
			s.Member, s.QR = uint64(rapid.IntRange(1, 16).Draw(r, "member")), strings.ToUpper(s.Words)
		}
		pdf, err := s.PDF()
		if err != nil {
			r.Fatal(err)
		}
		pages, boxes := layout(t, pdf)
		var text strings.Builder
		for _, b := range boxes {
			text.WriteString(b.Text + " ")
		}
		if got := numbered(text.String(), count); strings.Join(got, " ") != s.Words {
			r.Fatalf("%d of %d words are on the page in order", len(got), count)
		}
		if pages != 1 || len(boxes) < 2*count {
			r.Fatalf("%d pages, %d words", pages, len(boxes))
		}
		const point = 72 / 25.4
		for i, b := range boxes {
			if b.Left < (margin-1)*point || b.Right > (pageWidth-margin+1)*point || b.Top < (margin-3)*point || b.Bottom > (pageHeight-margin+3)*point {
				r.Fatalf("%q is over the margin: %+v", b.Text, b)
			}
			for _, c := range boxes[:i] {
				if b.overlaps(c) {
					r.Fatalf("%+v overlaps %+v", b, c)
				}
			}
		}
	})
}

// wordlist returns SLIP-39's words, from shares.
func wordlist(t *testing.T) []string {
	t.Helper()
	var list []string
	seen := map[string]bool{}
	for i := 0; i < 200 && len(list) < 900; i++ {
		shares, err := slip39.Split(strings.NewReader(fmt.Sprintf("%064d", i*7919)), []byte(fmt.Sprintf("%064d", i*104729)), nil, slip39.Params{
			Identifier: uint16(i), Extendable: true, GroupThreshold: 1, Groups: []slip39.Group{{Threshold: 1, Count: 1}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range strings.Fields(shares[0][0].Mnemonic()) {
			if !seen[word] {
				seen[word], list = true, append(list, word)
			}
		}
	}
	return list
}

func TestWriteTakesNoFilesPlace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sheet.pdf")
	if err := Write(path, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "first" {
		t.Errorf("%q, %v", b, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if err := Write(filepath.Join(dir, "none", "sheet.pdf"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without directory: %v", err)
	}
}
