package recovery

import (
	"errors"
	"time"

	"zeropass.dev/zeropass/ledger"
)

// Heads is what approvals prove about the ledger that the server has shown.
type Heads struct {
	Kept      []*ledger.Approval // that still count, in their order
	Discarded []DiscardedApproval
	Missing   []MissingHead // without those that the ledger has
}

// DiscardedApproval is an approval that names a head without a valid signature by
// an owner's device and the server.
type DiscardedApproval struct {
	Approval *ledger.Approval
	Reason   string
}

// MissingHead is a head that the ledger lacks although the server signed it.
type MissingHead struct {
	Member uint64 // whose approval names it
	Head   ledger.Head
	Device uint64    // number of the owner's device that attested it
	Known  bool      // whether the ledger shown has that device
	Time   time.Time // when the server signed it, by its clock
}

// MissingHeadError lists the heads that a ledger lacks.
type MissingHeadError struct {
	Shown   ledger.Head // the newest of the ledger
	Missing []MissingHead
}

func (e *MissingHeadError) Error() string { return ErrMissingHead.Error() }

// Unwrap returns [ErrMissingHead].
func (e *MissingHeadError) Unwrap() error { return ErrMissingHead }

// CheckHeads says whether the ledger that the server has shown is the whole one,
// as far as the approvals of a request prove it: it must have every head that an
// approval names and that an owner's device and the server signed. The error is a
// [*MissingHeadError] if it has not; the owner may insist on going on, shown the
// gap, with Heads.Kept.
//
// An approval whose head lacks either signature is discarded. A head attested by a
// device that the ledger does not know, and signed by the server that the request
// names, is missing: the server has signed what it does not show. Paper and sheet
// name no head.
func CheckHeads(state *ledger.State, request *ledger.RecoveryRequest, approvals []*ledger.Approval) (Heads, error) {
	return Heads{}, errors.ErrUnsupported
}
