package slip39

import (
	"errors"
	"fmt"
)

// What can be wrong with one share, as Parse and ParseBinary report it.
var (
	// ErrUnknownWord: a word is not in the word list. The error is a *WordError.
	ErrUnknownWord = errors.New("slip39: unknown word")
	// ErrTooShort: fewer than 20 words, the length for the smallest secret.
	ErrTooShort = errors.New("slip39: share is too short")
	// ErrLength: no secret of an even number of bytes, or none within
	// MaxSecretSize, has shares of this length.
	ErrLength = errors.New("slip39: share has an impossible length")
	// ErrChecksum: the RS1024 checksum fails.
	ErrChecksum = errors.New("slip39: checksum does not match")
	// ErrPadding: bits that must be zero are not.
	ErrPadding = errors.New("slip39: padding is not zero")
	// ErrGroupThreshold: the group threshold exceeds the number of groups.
	ErrGroupThreshold = errors.New("slip39: group threshold exceeds the number of groups")
	// ErrErased: the share was erased, or never made.
	ErrErased = errors.New("slip39: share is erased")
)

// Why shares cannot be combined, as Combine and Recover report it.
var (
	ErrNoShares = errors.New("slip39: no shares given")

	// ErrMixedSets: the shares do not belong together. Each of the errors below
	// it wraps it.
	ErrMixedSets              = errors.New("slip39: shares of different sets")
	ErrIdentifierMismatch     = fmt.Errorf("%w: identifiers differ", ErrMixedSets)
	ErrExtendableMismatch     = fmt.Errorf("%w: extendable flags differ", ErrMixedSets)
	ErrExponentMismatch       = fmt.Errorf("%w: iteration exponents differ", ErrMixedSets)
	ErrGroupThresholdMismatch = fmt.Errorf("%w: group thresholds differ", ErrMixedSets)
	ErrGroupCountMismatch     = fmt.Errorf("%w: numbers of groups differ", ErrMixedSets)
	ErrValueLengthMismatch    = fmt.Errorf("%w: lengths differ", ErrMixedSets)
	ErrThresholdMismatch      = fmt.Errorf("%w: member thresholds within a group differ", ErrMixedSets)

	ErrDuplicateMember = errors.New("slip39: two shares of the same member")
	ErrTooFewGroups    = errors.New("slip39: too few groups")
	ErrTooManyGroups   = errors.New("slip39: more groups than the threshold")
	ErrTooFewMembers   = errors.New("slip39: too few shares in a group")
	ErrTooManyMembers  = errors.New("slip39: more shares in a group than its threshold")

	// ErrDigest: the shares have the right form, but at least one value is wrong.
	ErrDigest = errors.New("slip39: shares do not fit together")

	// ErrRejected: shares fit together, but the caller's check accepts none of
	// the secrets that they give.
	ErrRejected = errors.New("slip39: shares give another secret than the expected one")
	// ErrAmbiguous: the shares give more than one secret, and no check was given.
	ErrAmbiguous = errors.New("slip39: shares give more than one secret")
	// ErrSearchTooLarge: Recover's bounds are exceeded; leave out some shares.
	ErrSearchTooLarge = errors.New("slip39: too many contradicting shares to search")
)

// What callers can do wrong.
var (
	// ErrParams: Params that the standard does not allow.
	ErrParams = errors.New("slip39: invalid parameters")
	// ErrSecretLength: a secret of an odd number of bytes, shorter than
	// MinSecretSize or longer than MaxSecretSize.
	ErrSecretLength = errors.New("slip39: invalid secret length")
	// ErrPassphrase: a passphrase with other than printable ASCII characters.
	ErrPassphrase = errors.New("slip39: passphrase has characters other than printable ASCII")
)

// A WordError says which word of a mnemonic is not in the word list, without
// repeating it: it may be a slip of one letter from part of a secret.
type WordError struct {
	Position int // 1 for the first word
}

func (e *WordError) Error() string {
	return fmt.Sprintf("slip39: word %d is not in the word list: check its spelling", e.Position)
}

// Unwrap returns ErrUnknownWord.
func (e *WordError) Unwrap() error { return ErrUnknownWord }
