package recovery

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// Numbers of words: of a share of a seed, 64 bytes, and of a sheet's approval key,
// 32 bytes.
const (
	shareWords    = 59
	sheetKeyWords = 33
)

// WordsError says what is wrong with words that were typed, and where. It repeats
// no word.
type WordsError struct {
	Words     int   // how many were given
	Want      int   // how many there should be
	Positions []int // of the words that are wrong, or most likely are; from 1
	Err       error // slip39's, nil if only the number of words is wrong
}

// Error says it for the person who types.
func (e *WordsError) Error() string {
	var parts []string
	if e.Words != e.Want {
		parts = append(parts, fmt.Sprintf("there are %d words where there should be %d", e.Words, e.Want))
	}
	switch {
	case errors.Is(e.Err, slip39.ErrUnknownWord):
		parts = append(parts, listed("word", e.Positions)+" of what was typed cannot be: compare with the original")
	case errors.Is(e.Err, slip39.ErrChecksum) && len(e.Positions) > 0 && e.Words == e.Want:
		parts = append(parts, listed("word", e.Positions)+" is probably wrong: compare it with the original")
	case errors.Is(e.Err, slip39.ErrChecksum) && e.Words == e.Want:
		parts = append(parts, "several words are wrong, or not in their order: compare all of them with the original")
	case e.Err != nil && e.Words == e.Want:
		parts = append(parts, e.Err.Error())
	}
	return fmt.Sprintf("%s: %s", ErrWords, strings.Join(parts, "; "))
}

// Unwrap returns [ErrWords] and the cause.
func (e *WordsError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrWords}
	}
	return []error{ErrWords, e.Err}
}

// listed returns "word 7" or "words 7, 9".
func listed(noun string, numbers []int) string {
	if len(numbers) != 1 {
		noun += "s"
	}
	return noun + " " + strings.Trim(strings.ReplaceAll(fmt.Sprint(numbers), " ", ", "), "[]")
}

// ParseShare reads a share from its words, as people type them or as its QR code
// holds them: in any case, separated by any white space, perhaps with numbers and
// punctuation between them. Of all the words of a sheet it takes the share. It
// returns a [*WordsError], or the other errors of [ParseSheet].
func ParseShare(text string) (*slip39.Share, error) {
	if !isSheet(text) {
		return parseWords(text, shareWords)
	}
	sheet, err := ParseSheet(text)
	if err != nil {
		return nil, err
	}
	sheet.Key.Erase()
	return sheet.Share, nil
}

// QRText returns the text of a share's QR code: its words in upper case, with
// single spaces between them. It is empty for an erased share.
func QRText(share *slip39.Share) string { return strings.ToUpper(share.Mnemonic()) }

func parseWords(text string, want int) (*slip39.Share, error) {
	words := splitWords(text)
	mnemonic := strings.Join(words, " ")
	share, err := slip39.Parse(mnemonic)
	if err == nil && len(words) == want {
		return share, nil
	}
	if share != nil {
		share.Erase()
	}
	wrong := &WordsError{Words: len(words), Want: want, Err: err}
	if len(words) == want || errors.Is(err, slip39.ErrUnknownWord) {
		wrong.Positions, _ = slip39.LocateError(mnemonic) // its error is err
	}
	return nil, wrong
}

// splitWords drops what people put around words: "12. acid," is the word acid. It
// never drops a part of a word, so that positions stay those of the original.
func splitWords(text string) []string {
	words := strings.Fields(text)
	for i, word := range words {
		words[i] = strings.TrimFunc(word, func(r rune) bool { return !unicode.IsLetter(r) })
	}
	return slices.DeleteFunc(words, func(word string) bool { return word == "" })
}

// SheetKeyWords returns a sheet's approval key in 33 words. share is the sheet's
// share. It returns slip39.ErrErased for an erased share.
func SheetKeyWords(key *signing.PrivateKey, share *slip39.Share) (string, error) {
	if share.Value() == nil {
		return "", slip39.ErrErased
	}
	secret := key.Bytes()
	defer clear(secret)
	// A set of 1 of 1 reads no randomness: one key has one text.
	shares, err := slip39.Split(strings.NewReader(""), secret, nil, slip39.Params{
		Identifier:     share.Identifier(),
		Extendable:     true,
		GroupThreshold: 1,
		Groups:         []slip39.Group{{Threshold: 1, Count: 1}},
	})
	if err != nil {
		return "", fmt.Errorf("recovery: words of the sheet's key: %w", err)
	}
	defer shares[0][0].Erase()
	return shares[0][0].Mnemonic(), nil
}

// ParseSheetKey reads what SheetKeyWords wrote, as ParseShare reads shares. It
// returns a [*WordsError], or an error that wraps [ErrWords] for the words of
// something else. That it is the sheet's key, the ledger shows: see
// ledger.Epoch.SheetKey.
func ParseSheetKey(text string) (*signing.PrivateKey, error) {
	share, err := parseWords(text, sheetKeyWords)
	if err != nil {
		return nil, err
	}
	defer share.Erase()
	secret, err := slip39.Combine([]*slip39.Share{share}, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: not a sheet's approval key: %w", ErrWords, err)
	}
	defer clear(secret)
	key, err := signing.NewPrivateKey(secret)
	if err != nil {
		return nil, fmt.Errorf("%w: not a sheet's approval key: %w", ErrWords, err)
	}
	return key, nil
}
