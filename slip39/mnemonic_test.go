package slip39_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
	"zeropass.dev/zeropass/slip39"
)

func TestWordList(t *testing.T) {
	data, err := os.ReadFile("wordlist.txt")
	if err != nil {
		t.Fatal(err)
	}
	const want = "bcc4555340332d169718aed8bf31dd9d5248cb7da6e5d355140ef4f1e601eec3"
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != want {
		t.Errorf("the word list has changed: SHA-256 %x", sum)
	}
	if len(slip39.WordList) != 1024 || !slices.IsSorted(slip39.WordList) {
		t.Errorf("%d words, or out of order", len(slip39.WordList))
	}
	prefixes := map[string]bool{}
	for _, w := range slip39.WordList {
		if len(w) < 4 || len(w) > 8 || prefixes[w[:4]] {
			t.Errorf("%q breaks the rules for words", w)
		}
		prefixes[w[:4]] = true
	}
}

// aShare returns the words of a share of a 64-byte secret.
func aShare(t testing.TB) []string {
	_, shares := newSet(t, layout)
	return strings.Fields(shares[2][0].Mnemonic())
}

func TestParseTolerance(t *testing.T) {
	words := aShare(t)
	lower := strings.Join(words, " ")
	for name, mnemonic := range map[string]string{
		"upper case":  strings.ToUpper(lower),
		"mixed case":  strings.ToUpper(lower[:100]) + lower[100:],
		"white space": "\n\t " + strings.Join(words, " \r\n\u00a0\t") + "\n",
		"one a line":  strings.Join(words, "\n"),
	} {
		s, err := slip39.Parse(mnemonic)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if s.Mnemonic() != lower {
			t.Errorf("%s: read as another share", name)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	words := aShare(t)
	changed := func(i int, word string) []string {
		c := slices.Clone(words)
		c[i] = word
		return c
	}
	tests := []struct {
		name     string
		words    []string
		want     error
		position int
	}{
		{"nothing", nil, slip39.ErrTooShort, 0},
		{"19 words", words[:19], slip39.ErrTooShort, 0},
		{"a word missing", words[1:], slip39.ErrLength, 0},
		{"a word too many", append(words[:59:59], "zero"), slip39.ErrChecksum, 0},
		{"two words too many", append(words[:59:59], "zero", "zero"), slip39.ErrLength, 0},
		{"longer than the code", slices.Repeat(words, 18), slip39.ErrLength, 0},
		{"first word unknown", changed(0, "bitcoin"), slip39.ErrUnknownWord, 1},
		{"last word unknown", changed(58, "long-unknown-word"), slip39.ErrUnknownWord, 59},
		{"abbreviation", changed(7, words[7][:3]), slip39.ErrUnknownWord, 8},
		{"Kelvin sign", changed(3, "bra\u212Ae"), slip39.ErrUnknownWord, 4},
		{"zero byte", changed(3, "acid\x00"), slip39.ErrUnknownWord, 4},
		{"comma", changed(9, words[9]+","), slip39.ErrUnknownWord, 10},
		{"unknown before too short", []string{"acid", "nonsense"}, slip39.ErrUnknownWord, 2},
		{"two words swapped", swapped(words), slip39.ErrChecksum, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, err := slip39.Parse(strings.Join(test.words, " "))
			if !errors.Is(err, test.want) || s != nil {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			var unknown *slip39.WordError
			if errors.As(err, &unknown) != (test.position > 0) || unknown != nil && unknown.Position != test.position {
				t.Errorf("error %v, want position %d", err, test.position)
			}
			if unknown != nil && err.Error() != fmt.Sprintf("slip39: word %d is not in the word list: check its spelling", test.position) {
				t.Errorf("error %q says more than the position", err)
			}
		})
	}
}

// swapped exchanges the first two neighbours that differ.
func swapped(words []string) []string {
	c := slices.Clone(words)
	for i := range c {
		if c[i] != c[i+1] {
			c[i], c[i+1] = c[i+1], c[i]
			return c
		}
	}
	return nil
}

// TestLocateOneWord replaces each word in turn: the checksum finds the place, the
// header included.
func TestLocateOneWord(t *testing.T) {
	words := aShare(t)
	for i := range words {
		for _, shift := range []int{1, 2, 16, 17, 512, 1023} { // 16 flips the extendable flag alone
			c := slices.Clone(words)
			at := slices.Index(slip39.WordList, c[i])
			c[i] = slip39.WordList[at^shift]
			positions, err := slip39.LocateError(strings.Join(c, " "))
			if !errors.Is(err, slip39.ErrChecksum) {
				t.Fatalf("word %d, difference %d: %v", i+1, shift, err)
			}
			if !slices.Contains(positions, i+1) {
				t.Errorf("word %d, difference %d: located at %v", i+1, shift, positions)
			}
			// If the wrong word claims the other customization string, another
			// place may fit by accident; otherwise the code has but one.
			if len(positions) != 1 && (i != 1 || shift&16 == 0) {
				t.Errorf("word %d, difference %d: ambiguous: %v", i+1, shift, positions)
			}
		}
	}
}

func TestLocateError(t *testing.T) {
	words := aShare(t)
	valid := strings.Join(words, " ")
	if positions, err := slip39.LocateError(valid); positions != nil || err != nil {
		t.Errorf("valid mnemonic: %v, %v", positions, err)
	}
	unknown := slices.Clone(words)
	unknown[3], unknown[20] = "foo", "bar"
	positions, err := slip39.LocateError(strings.Join(unknown, " "))
	if !slices.Equal(positions, []int{4, 21}) || !errors.Is(err, slip39.ErrUnknownWord) {
		t.Errorf("unknown words: %v, %v", positions, err)
	}
	if positions, err := slip39.LocateError(strings.Join(words[1:], " ")); positions != nil || !errors.Is(err, slip39.ErrLength) {
		t.Errorf("a word missing: %v, %v", positions, err)
	}
}

// TestChecksumDetects: any error in up to three words is detected. That is the
// code's minimum distance, so no draw can fail.
func TestChecksumDetects(t *testing.T) {
	words := aShare(t)
	rapid.Check(t, func(t *rapid.T) {
		c := slices.Clone(words)
		places := rapid.SliceOfNDistinct(rapid.IntRange(0, len(c)-1), 1, 3, rapid.ID).Draw(t, "places")
		for _, i := range places {
			shift := rapid.IntRange(1, 1023).Draw(t, "difference")
			if i == 1 {
				shift &^= 16 // the flag selects another code
				if shift == 0 {
					shift = 1
				}
			}
			c[i] = slip39.WordList[slices.Index(slip39.WordList, c[i])^shift]
		}
		if _, err := slip39.Parse(strings.Join(c, " ")); !errors.Is(err, slip39.ErrChecksum) {
			t.Fatalf("error %v after changing words at %v", err, places)
		}
	})
}

func TestParseBinaryRefuses(t *testing.T) {
	_, shares := newSet(t, layout)
	packed, err := shares[0][0].MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	changed := func(i int, bit byte) []byte {
		c := slices.Clone(packed)
		c[i] ^= bit
		return c
	}
	for name, test := range map[string]struct {
		packed []byte
		want   error
	}{
		"nothing":           {nil, slip39.ErrTooShort},
		"a byte missing":    {packed[:73], slip39.ErrLength},
		"a byte too many":   {append(packed[:74:74], 0), slip39.ErrChecksum},
		"7 too many":        {append(packed[:74:74], make([]byte, 7)...), slip39.ErrLength},
		"1 more than words": {make([]byte, 76), slip39.ErrLength},
		"last bit":          {changed(73, 1), slip39.ErrPadding},
		"last but one":      {changed(73, 2), slip39.ErrPadding},
		"checksum":          {changed(73, 4), slip39.ErrChecksum},
		"value":             {changed(40, 128), slip39.ErrChecksum},
		"too long":          {make([]byte, 1<<16), slip39.ErrLength},
	} {
		if s, err := slip39.ParseBinary(test.packed); !errors.Is(err, test.want) || s != nil {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// FuzzParse: what is accepted is written as the same words; what is refused gives
// no share; LocateError agrees.
func FuzzParse(f *testing.F) {
	words := aShare(f)
	f.Add(strings.Join(words, " "))
	f.Add(strings.ToUpper(strings.Join(words, "\n")))
	f.Add(strings.Join(words[:30], " ") + " typo " + strings.Join(words[31:], " "))
	f.Add("duckling enlarge academic academic agency result length solution fridge kidney coal piece deal husband erode duke ajar critical decision keyboard")
	f.Fuzz(func(t *testing.T, mnemonic string) {
		s, err := slip39.Parse(mnemonic)
		positions, located := slip39.LocateError(mnemonic)
		if (err == nil) != (located == nil) || err != nil && err.Error() != located.Error() {
			t.Errorf("Parse says %v, LocateError %v", err, located)
		}
		for _, p := range positions {
			if p < 1 || p > len(strings.Fields(mnemonic)) {
				t.Errorf("no word %d", p)
			}
		}
		if err != nil {
			if s != nil {
				t.Error("a share was returned together with an error")
			}
			return
		}
		if s.Mnemonic() != strings.ToLower(strings.Join(strings.Fields(mnemonic), " ")) {
			t.Error("accepted words are written differently")
		}
	})
}

// FuzzParseBinary: the same for bytes.
func FuzzParseBinary(f *testing.F) {
	for _, size := range []int{16, 32, 64} {
		shares, err := slip39.Split(rand.Reader, make([]byte, size), nil, layout)
		if err != nil {
			f.Fatal(err)
		}
		packed, err := shares[2][0].MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		s, err := slip39.ParseBinary(packed)
		if err != nil {
			if s != nil {
				t.Error("a share was returned together with an error")
			}
			return
		}
		again, err := s.MarshalBinary()
		if err != nil || !slices.Equal(again, packed) {
			t.Errorf("accepted bytes are written differently: %v", err)
		}
	})
}
