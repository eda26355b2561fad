package device

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/internal/entropy"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
)

// epochOptions is what an epoch starts from.
type epochOptions struct {
	quorum, members int
	waiting         time.Duration
	sheet           bool               // with a printed sheet
	generations     []*seed.Generation // in use, in ascending order
	pool            *entropy.Pool      // may be nil
}

// newEpoch is a prepared epoch that no ledger has yet.
type newEpoch struct {
	record  *recordv1.EpochPrepared
	shares  []*recordv1.SealedServerShare
	sources []string // of the server's half
}

// prepareEpoch makes a Private Master Seed from its two halves, splits it, and
// erases it.
func (d *Device) prepareEpoch(ctx context.Context, s *ledger.State, o epochOptions) (*newEpoch, error) {
	for {
		half, sources, err := d.serverHalf(ctx)
		if err != nil {
			return nil, err
		}
		made, err := d.splitSeed(s, o, half)
		clear(half)
		if errors.Is(err, seed.ErrStartOver) {
			continue
		}
		if err != nil {
			return nil, err
		}
		made.sources = sources
		return made, nil
	}
}

// serverHalf asks the server for its half of a seed.
func (d *Device) serverHalf(ctx context.Context) (half []byte, sources []string, err error) {
	nonce, err := d.nonce()
	if err != nil {
		return nil, nil, err
	}
	answer, err := d.client.SeedHalf(ctx, d.identity(), &apiv1.SeedHalfRequest{Nonce: nonce})
	if err != nil {
		return nil, nil, err
	}
	half, err = seed.OpenServerHalf(d.keys.Seal, d.keys.Account, [16]byte(nonce), d.keys.Device, answer.Sealed)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: its half of the seed does not open: %w", client.ErrDishonest, err)
	}
	return half, answer.Sources, nil
}

func (d *Device) splitSeed(s *ledger.State, o epochOptions, serverHalf []byte) (*newEpoch, error) {
	var pool []byte
	if o.pool != nil {
		pool = o.pool.Bytes()
		defer clear(pool)
	}
	local, err := seed.LocalHalf(d.o.Rand, pool)
	if err != nil {
		return nil, err
	}
	defer clear(local)
	master, err := seed.New(local, serverHalf)
	if err != nil {
		return nil, err
	}
	sealKey, err := serverSealKey(s)
	if err != nil {
		return nil, err
	}
	record, shares, prepared, err := seed.Prepare(d.o.Rand, seed.Preparation{
		Seed:          master,
		Account:       d.keys.Account,
		Epoch:         s.NextEpoch(),
		Author:        d.keys.Device,
		Quorum:        o.quorum,
		Members:       o.members,
		Sheet:         o.sheet,
		WaitingPeriod: o.waiting,
		Devices:       s.ActiveDevices(),
		ServerSealKey: sealKey,
		Generations:   o.generations,
	})
	if err != nil {
		return nil, err
	}
	if prepared.Sheet != nil {
		defer prepared.Sheet.Erase()
		if err := d.keepSheet(prepared.Sheet); err != nil {
			return nil, err
		}
	}
	return &newEpoch{record: record, shares: shares}, nil
}

// keepReceipts takes the server's receipts that the ledger does not have.
func (d *Device) keepReceipts(list [][]byte) error {
	s := d.home.State()
	for _, b := range list {
		r := &recordv1.ShareReceipt{}
		if err := canonical.Unmarshal(b, r); err != nil {
			return fmt.Errorf("%w: its receipt cannot be read: %w", client.ErrDishonest, err)
		}
		d.keepReceipt(s, r)
	}
	return nil
}

// keepReceipt takes a receipt that may be appended now, and says whether it may.
func (d *Device) keepReceipt(s *ledger.State, r *recordv1.ShareReceipt) bool {
	if s.CheckReceipt(r) != nil {
		return false
	}
	for _, known := range d.receipts {
		if proto.Equal(known, r) {
			return true
		}
	}
	d.receipts = append(d.receipts, r)
	return true
}

// serverReceipts asks for the server's receipts that are missing, and appends
// all that were taken.
func (d *Device) serverReceipts(ctx context.Context) error {
	for _, e := range openEpochs(d.home.State()) {
		if !e.ServerReceipt && len(d.receipts) == 0 {
			// A known entry, sent again, changes nothing and is answered with the
			// receipts.
			s := d.home.State()
			b, err := d.home.Entries(s.Head().Sequence-1, 1)
			if err != nil {
				return err
			}
			if err := d.appendAgain(ctx, &apiv1.AppendRequest{Entries: b}); err != nil {
				return err
			}
		}
	}
	return d.appendReceipts(ctx)
}

// openEpochs returns the epoch in use and the prepared one, if any.
func openEpochs(s *ledger.State) []*ledger.Epoch {
	var open []*ledger.Epoch
	if e := s.InUse(); e != nil {
		open = append(open, e)
	}
	if e := s.Prepared(); e != nil {
		open = append(open, e)
	}
	return open
}

// appendReceipts puts the receipts that were taken into the ledger.
func (d *Device) appendReceipts(ctx context.Context) error {
	err := d.append(ctx, func(s *ledger.State) ([]transaction, error) {
		var t transaction
		for _, r := range d.receipts {
			if s.CheckReceipt(r) == nil {
				t.records = append(t.records, r)
			}
		}
		if len(t.records) == 0 {
			return nil, nil
		}
		return []transaction{t}, nil
	})
	if err != nil {
		return err
	}
	d.receipts = nil
	return errors.Join(d.home.PruneServerShares(), d.pruneSheets())
}

// commit commits every epoch that can be, and says which.
func (d *Device) commit(ctx context.Context) (committed []uint64, err error) {
	err = d.append(ctx, func(s *ledger.State) ([]transaction, error) {
		committed = nil
		for _, e := range openEpochs(s) {
			if s.CheckCommit(e.Number, d.entryTime(s)) == nil {
				committed = []uint64{e.Number}
				return []transaction{{records: []proto.Message{&recordv1.EpochCommitted{Epoch: e.Number}}}}, nil
			}
		}
		return nil, nil
	})
	return committed, err
}
