package recovery

import (
	"errors"
	"fmt"
)

// Errors of this package. They come wrapped with what they are about; test with
// errors.Is. None contains a byte of a secret.
var (
	// ErrWords: a text is not the words of a share. It is a [*WordsError].
	ErrWords = errors.New("not the words of a share")

	// ErrOtherAccount: a share is of no epoch of this account.
	ErrOtherAccount = errors.New("the share is not of this account")
	// ErrOtherEpoch: a share is of another epoch of this account.
	ErrOtherEpoch = errors.New("the share is of another epoch")
	// ErrWrongShare: a share is at its place in an epoch, but its value is wrong.
	ErrWrongShare = errors.New("the share is wrong")
	// ErrNotEnough: the right shares do not suffice.
	ErrNotEnough = errors.New("not enough shares")
	// ErrNoEpoch: the ledger has no such epoch.
	ErrNoEpoch = errors.New("no such epoch in the ledger")

	// ErrDevice: a directory's device is not in the ledger with its keys.
	ErrDevice = errors.New("not a device of this account")
	// ErrNoShare: a party has no share of a slot version.
	ErrNoShare = errors.New("has no share of it")
	// ErrNoKey: a party has not the key that opens a part.
	ErrNoKey = errors.New("has no key for it")
	// ErrOtherSplit: a slot's newest version is not split in the epoch.
	ErrOtherSplit = errors.New("not split in this epoch")
	// ErrSources: two sources are not of different parties, or do not open
	// metadata.
	ErrSources = errors.New("not shares of two parties that open the account")

	// ErrEnvelope: a held share's envelope cannot be used.
	ErrEnvelope = errors.New("not the envelope of a held share")
	// ErrRequest: a recovery request is not one for the share that is held.
	ErrRequest = errors.New("not a request for this share")
	// ErrOtherServer: a request names another server than the envelope.
	ErrOtherServer = fmt.Errorf("%w: it names another server", ErrRequest)
	// ErrSealedShare: a share that was sealed to the new device does not open, or
	// is not the approving member's.
	ErrSealedShare = errors.New("the approval's share does not open")

	// ErrMissingHead: the ledger lacks a head that an approval proves. It is a
	// [*MissingHeadError].
	ErrMissingHead = errors.New("the ledger shown is not the whole one")
	// ErrStatement: a recovery cannot be stated with what is there.
	ErrStatement = errors.New("the recovery cannot be stated")
)
