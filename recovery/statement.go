package recovery

import (
	"context"
	"errors"
	"io"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/slip39"
)

// Recovery is everything that a Recovered record is made from.
type Recovery struct {
	State     *ledger.State
	Request   *ledger.RecoveryRequest
	Approvals []*ledger.Approval // by a quorum, or the sheet: Heads.Kept
	Now       time.Time          // that the entry will have

	DeviceShare *slip39.Share // group 1's: from RestoreDeviceShare
	Backup      *Backup       // of the epoch in use
	Server      Source        // the released shares
	Name        string        // the new device's, for people; sealed
}

// Lost is a live slot whose secret the recovery could not bring over.
type Lost struct {
	Slot    ledger.SlotID
	Version uint64
	Err     error
}

// NewRecovered makes the record that hands the account to the new device: the next
// key generation, the earlier metadata keys, group 1's share, and every live
// slot's device share, interpolated from the server's and the backup share; signed
// by the root key. It works on all cores, where rand must allow several readers.
//
// A slot that does not open does not keep the others from being recovered: it is
// listed, and in the place of its device share stands a ciphertext of nothing.
//
// Errors wrap [ErrStatement], or are the ledger's for an approval that does not
// count, rand's or ctx's.
func NewRecovered(ctx context.Context, rand io.Reader, r Recovery) (*recordv1.Recovered, []Lost, error) {
	return nil, nil, errors.ErrUnsupported
}
