package recovery

import (
	"errors"
	"fmt"
	"strings"

	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/slip39"
)

const (
	// SheetWords is how many words a printed sheet has: the 59 of its share, then
	// the 33 of its approval key.
	SheetWords = shareWords + sheetKeyWords

	// sheetPrefix starts the text of a sheet's QR code, with the version of what
	// follows.
	sheetName   = "ZEROPASS-SHEET:"
	sheetPrefix = sheetName + "1"
)

// SheetText returns the words of a sheet in the order in which they are printed,
// with single spaces. It returns slip39.ErrErased for an erased sheet.
func SheetText(sheet *seed.Sheet) (string, error) {
	key, err := SheetKeyWords(sheet.Key, sheet.Share)
	if err != nil {
		return "", err
	}
	return sheet.Share.Mnemonic() + " " + key, nil
}

// SheetQRText returns the text of a sheet's QR code: "ZEROPASS-SHEET:1" and the
// words in upper case, with single spaces between all.
func SheetQRText(words string) string { return sheetPrefix + " " + strings.ToUpper(words) }

// ParseSheet reads a sheet from its 92 words, as people type them or as its QR code
// holds them. It returns a [*WordsError], whose positions are those on the sheet,
// or an error that wraps [ErrWords] for the words of something else. That it is
// the account's sheet, the ledger shows: see ledger.Epoch.SheetKey. The caller
// erases the sheet.
func ParseSheet(text string) (*seed.Sheet, error) {
	text, _, err := cutSheetPrefix(text)
	if err != nil {
		return nil, err
	}
	words := splitWords(text)
	if len(words) != SheetWords {
		return nil, &WordsError{Words: len(words), Want: SheetWords}
	}
	share, err := parseWords(strings.Join(words[:shareWords], " "), shareWords)
	if err != nil {
		return nil, onSheet(err, 0)
	}
	keyText := strings.Join(words[shareWords:], " ")
	key, err := ParseSheetKey(keyText)
	if err != nil {
		share.Erase()
		return nil, onSheet(err, shareWords)
	}
	sheet := &seed.Sheet{Share: share, Key: key}
	carrier, err := slip39.Parse(keyText)
	if err == nil && share.GroupIndex() == seed.GroupSheet && carrier.Identifier() == share.Identifier() {
		carrier.Erase()
		return sheet, nil
	}
	if carrier != nil {
		carrier.Erase()
	}
	sheet.Erase()
	return nil, fmt.Errorf("%w: words %d to %d do not belong to the %d before them", ErrWords, shareWords+1, SheetWords, shareWords)
}

// onSheet makes of what is wrong with a part of the words what is wrong with all.
func onSheet(err error, before int) error {
	var wrong *WordsError
	if !errors.As(err, &wrong) {
		return err
	}
	wrong.Words, wrong.Want = SheetWords, SheetWords
	for i := range wrong.Positions {
		wrong.Positions[i] += before
	}
	return wrong
}

// cutSheetPrefix takes the beginning of a sheet's QR code away, and says whether
// it was there.
func cutSheetPrefix(text string) (rest string, cut bool, err error) {
	text = strings.TrimSpace(text)
	if len(text) < len(sheetName) || !strings.EqualFold(text[:len(sheetName)], sheetName) {
		return text, false, nil
	}
	version, rest, _ := strings.Cut(text[len(sheetName):], " ")
	if version != "1" {
		return "", true, fmt.Errorf("%w: the sheet has another form than this program knows: a newer program is needed", ErrWords)
	}
	return rest, true, nil
}

// isSheet says whether text has all words of a sheet, perhaps with some missing or
// too many: whether it is nearer to a sheet than to a share.
func isSheet(text string) bool {
	_, cut, _ := cutSheetPrefix(text)
	return cut || len(splitWords(text)) > (shareWords+SheetWords)/2
}
