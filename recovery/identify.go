package recovery

import (
	"errors"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/slip39"
)

// Place says whose share of an epoch's seed a share is.
type Place struct {
	Epoch  uint64
	Holder recordv1.Holder_Kind // device, server, member or sheet
	Member uint64               // from 1, with KIND_MEMBER
	Paper  bool                 // whether the member is paper
}

// String says it in words, like "the share of contact 2 in epoch 1".
func (p Place) String() string { return "" }

// In returns nil if the share is of this epoch, and an error that wraps
// [ErrOtherEpoch] if it is of another one.
func (p Place) In(epoch uint64) error { return errors.ErrUnsupported }

// Identify finds out whose share of which epoch of the account a share is, by its
// SLIP-39 identifier, group and member, and proves its value by what the ledger
// has of it: a member's share key, or the hash of the server's or the devices'
// share. A sheet's share has nothing to be proved by until the seed is rebuilt.
//
// It returns an error that wraps [ErrOtherAccount], or, with the place,
// [ErrWrongShare].
func Identify(share *slip39.Share, state *ledger.State) (Place, error) {
	return Place{}, errors.ErrUnsupported
}
