package recovery

import (
	"errors"

	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/slip39"
)

// Finding is what is known about one of the shares given to [Rebuild].
type Finding struct {
	Place  Place // zero for a share of another account
	Status slip39.Status
	Err    error // why it is of no use; nil for a right one
}

// String says it in words, like "the share of contact 2 in epoch 1 is wrong".
func (f Finding) String() string { return "" }

// Report says what [Rebuild] found out about the shares, in their order.
type Report struct {
	Epoch   uint64
	Shares  []Finding
	Missing string // what would suffice, in words; empty if nothing is missing
}

// Wrong returns the findings of shares that are of no use.
func (r Report) Wrong() []Finding { return nil }

// String has a line for each share and one for what is missing.
func (r Report) String() string { return "" }

// Rebuild finds the keys of an epoch in whatever shares there are, right and wrong
// ones, in any order: those of two of the server, the devices and a quorum of
// contacts, or the sheet, are needed. The right keys are those of the epoch's root
// key in the ledger.
//
// The report comes with errors too, which wrap [ErrNoEpoch], [ErrNotEnough] or
// slip39's. The caller erases the keys.
func Rebuild(shares []*slip39.Share, state *ledger.State, epoch uint64) (*seed.Keys, Report, error) {
	return nil, Report{}, errors.ErrUnsupported
}

// RestoreDeviceShare makes group 1's share of an epoch, which was lost with all
// devices, from the same shares that [Rebuild] takes, and compares it with its
// hash in the ledger. Its errors are those of Rebuild. The caller erases the
// share.
func RestoreDeviceShare(shares []*slip39.Share, state *ledger.State, epoch uint64) (*slip39.Share, error) {
	return nil, errors.ErrUnsupported
}
