package recovery

import (
	"errors"

	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// WordsError says what is wrong with the words of a share, and where. It repeats
// no word.
type WordsError struct {
	Words     int   // how many were given
	Positions []int // of the words that are wrong, or most likely are; from 1
	Err       error // slip39's, or nil for words of something else
}

func (e *WordsError) Error() string { return ErrWords.Error() }

// Unwrap returns [ErrWords] and the cause.
func (e *WordsError) Unwrap() []error { return []error{ErrWords, e.Err} }

// ParseShare reads a share from its words, as people type them or as its QR code
// holds them: in any case, separated by any white space, perhaps numbered. It
// returns a [*WordsError].
func ParseShare(text string) (*slip39.Share, error) { return nil, errors.ErrUnsupported }

// QRText returns the text of a share's QR code: its words in upper case, with
// single spaces between them.
func QRText(share *slip39.Share) string { return "" }

// SheetKeyWords returns a sheet's approval key in 33 words. share is the sheet's
// share. It returns slip39's errors.
func SheetKeyWords(key *signing.PrivateKey, share *slip39.Share) (string, error) {
	return "", errors.ErrUnsupported
}

// ParseSheetKey reads what SheetKeyWords wrote, as ParseShare reads shares. It
// returns a [*WordsError].
func ParseSheetKey(text string) (*signing.PrivateKey, error) { return nil, errors.ErrUnsupported }
