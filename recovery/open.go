package recovery

import (
	"context"
	"errors"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
)

// Opened is one live slot, opened as far as it opens. Printed or marshalled to
// JSON it says [secret]; its two parts, which are plain messages, do not.
type Opened struct {
	Slot    ledger.SlotID
	Version uint64 // the one that was opened
	Epoch   uint64

	Metadata *recordv1.SlotMetadata // nil if it did not open
	Secret   *recordv1.Secret       // nil if it did not open

	// Err says what did not open and why, nil if everything did. It wraps
	// [ErrOtherSplit] for a slot whose newest version is not split in the epoch;
	// an older version that is, is opened in its place.
	Err error
	// NotBackedUp says why the version can be opened by device and server alone;
	// it wraps seed.ErrSlotKey. nil if contacts can open it too.
	NotBackedUp error
}

// Open opens every live slot of the account from the shares of two parties of an
// epoch, at least one of them an [Opener], on all cores. The result has every live
// slot, in the order of their ids, also those that did not open.
//
// It returns an error that wraps [ErrSources] or [ErrNoEpoch], or ctx's.
func Open(ctx context.Context, state *ledger.State, epoch uint64, a, b Source) ([]Opened, error) {
	return nil, errors.ErrUnsupported
}
