package recovery

import (
	"context"
	"fmt"
	"io"
	"time"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
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

// Lost is a live slot whose device share the recovery could not bring over, or a
// key generation whose metadata key it could not.
type Lost struct {
	Slot       ledger.SlotID
	Version    uint64 // of the slot; 0 for a generation
	Generation uint64 // 0 for a slot
	Err        error
}

// NewRecovered makes the record that hands the account to the new device: the next
// key generation, the earlier metadata keys, group 1's share, and every live
// slot's device share, interpolated from the server's and the backup share; signed
// by the root key. The entry's author is the new device, State.NextDevice. It
// works on all cores, where rand must allow several readers.
//
// A slot that does not open does not keep the others from being recovered: it is
// listed, and in the place of its device share stands a ciphertext of nothing. A
// metadata key that does not open is listed likewise, and a new one that opens
// nothing stands in its place.
//
// Errors wrap [ErrStatement], or are the ledger's for a request or an approval
// that does not count, rand's or ctx's.
func NewRecovered(ctx context.Context, rand io.Reader, r Recovery) (*recordv1.Recovered, []Lost, error) {
	if err := r.check(); err != nil {
		return nil, nil, err
	}
	next, err := seed.NewGeneration(rand, r.State.Generation()+1)
	if err != nil {
		return nil, nil, err
	}
	defer next.Erase()
	s := stating{
		Recovery:  r,
		rand:      rand,
		account:   r.State.Account(),
		to:        &ledger.Device{Number: r.State.NextDevice(), SealKey: r.Request.SealKey()},
		next:      next,
		statement: &recordv1.RecoveredStatement{Epoch: r.State.InUse().Number, Request: r.Request.Bytes()},
	}
	s.statement.Device = s.to.Number
	for _, a := range r.Approvals {
		s.statement.Approvals = append(s.statement.Approvals, a.Bytes())
	}
	for _, step := range []func(context.Context) error{s.keys, s.generations, s.seedShare, s.deviceShares} {
		if err := step(ctx); err != nil {
			return nil, nil, err
		}
	}
	b, err := canonical.Marshal(s.statement)
	if err != nil {
		return nil, nil, err
	}
	signature := r.Backup.Keys().Root().Sign(ledger.RecoveredContext(s.account, b))
	return &recordv1.Recovered{Statement: b, RootSignature: signature}, s.lost, nil
}

// check finds out beforehand what the ledger would refuse.
func (r *Recovery) check() error {
	epoch := r.State.InUse()
	switch {
	case epoch == nil || !r.State.Committed():
		return fmt.Errorf("%w: no epoch of the account is committed", ErrStatement)
	case r.Backup.Epoch() != epoch.Number:
		return fmt.Errorf("%w: the keys are of epoch %d, in use is %d", ErrStatement, r.Backup.Epoch(), epoch.Number)
	case !r.Backup.Keys().Root().PublicKey().Equal(epoch.RootKey):
		return fmt.Errorf("%w: the keys are not those of epoch %d", ErrStatement, epoch.Number)
	case r.Server.Party() != credential.Server:
		return fmt.Errorf("%w: shares of the %s in the place of the server's", ErrStatement, r.Server.Party())
	}
	if place, err := Identify(r.DeviceShare, r.State); err != nil || place.Holder != recordv1.Holder_KIND_DEVICE || place.Epoch != epoch.Number {
		return fmt.Errorf("%w: what was restored is not the devices' share of epoch %d", ErrStatement, epoch.Number)
	}
	if err := r.State.CheckRequest(r.Request); err != nil {
		return err
	}
	return r.checkApprovals(epoch)
}

func (r *Recovery) checkApprovals(epoch *ledger.Epoch) error {
	members := map[uint64]bool{}
	sheet := false
	for _, a := range r.Approvals {
		if err := r.State.CheckApproval(a, r.Request, r.Now); err != nil {
			return err
		}
		if a.Holder().Kind == recordv1.Holder_KIND_SHEET {
			sheet = true
			continue
		}
		members[a.Holder().Number] = true
	}
	if !sheet && len(members) < epoch.Quorum() {
		return fmt.Errorf("%w: %d contacts of the %d needed have approved", ErrStatement, len(members), epoch.Quorum())
	}
	return nil
}

// stating fills a RecoveredStatement, one kind of field in each step.
type stating struct {
	Recovery
	rand      io.Reader
	account   ledger.AccountID
	to        *ledger.Device // the new one
	next      *seed.Generation
	statement *recordv1.RecoveredStatement
	lost      []Lost
}

// keys names the new device's keys, its name sealed under the new generation.
func (s *stating) keys(context.Context) error {
	m := s.Request.Message()
	c := signing.Sealing{
		Kind:      "device-name",
		Account:   s.account[:],
		Object:    m.SignKey,
		Role:      "name",
		Recipient: credential.GenerationName(s.next.Number),
	}.Context()
	name, err := s.next.Metadata.Seal(s.rand, c, []byte(s.Name))
	if err != nil {
		return err
	}
	s.statement.Keys = &recordv1.DeviceKeys{
		SignKey:    m.SignKey,
		SealKey:    m.SealKey,
		ConfirmKey: m.ConfirmKey,
		Generation: s.next.Number,
		SealedName: name,
	}
	return nil
}

// generations seals the next generation to the new device and to the epoch, and
// hands the earlier metadata keys on.
func (s *stating) generations(context.Context) (err error) {
	epoch := seed.EpochKey{Epoch: s.statement.Epoch, Master: s.Backup.Keys().Master()}
	s.statement.Generation, err = s.next.Seal(s.rand, s.account, s.to.Number, []*ledger.Device{s.to}, epoch)
	if err != nil {
		return err
	}
	for number := uint64(1); number < s.next.Number; number++ {
		sealed, err := s.earlier(number)
		if err != nil {
			return err
		}
		s.statement.Generations = append(s.statement.Generations, sealed)
	}
	return nil
}

func (s *stating) earlier(number uint64) (*recordv1.GenerationKeys, error) {
	key, err := s.Backup.MetadataKey(number)
	if err != nil {
		s.lost = append(s.lost, Lost{Generation: number, Err: err})
		if key, err = aead.GenerateKey(s.rand); err != nil {
			return nil, err
		}
		defer key.Erase()
	}
	g := seed.Generation{Number: number, Metadata: key}
	return g.SealTo(s.rand, s.account, s.to.Number, s.to)
}

func (s *stating) seedShare(context.Context) (err error) {
	s.statement.SeedShare, err = seed.SealDeviceShare(s.rand, s.account, s.statement.Epoch, s.to.Number, s.to, s.DeviceShare)
	return err
}

// brought is one slot's share, and why it is one of nothing.
type brought struct {
	share *recordv1.SlotShare
	lost  error
}

func (s *stating) deviceShares(ctx context.Context) error {
	live := s.State.LiveSlots()
	all, err := credential.Map(ctx, live, func(_ context.Context, slot *ledger.Slot) (brought, error) {
		return s.deviceShare(slot)
	})
	if err != nil {
		return err
	}
	for i, b := range all {
		s.statement.DeviceShares = append(s.statement.DeviceShares, b.share)
		if b.lost != nil {
			s.lost = append(s.lost, Lost{Slot: live[i].ID, Version: live[i].Version, Err: b.lost})
		}
	}
	return nil
}

func (s *stating) deviceShare(slot *ledger.Slot) (brought, error) {
	put := slot.Put(s.statement.Epoch)
	share, err := s.interpolate(put)
	if err != nil {
		return s.nothing(slot, put, err)
	}
	defer clear(share)
	sealed, err := credential.NewSlotShare(s.rand, s.next.DeviceShare, s.account, put, share, s.next.Number, s.to.Number)
	if err != nil {
		return brought{}, err
	}
	return brought{share: sealed}, nil
}

// interpolate returns a slot version's device share from the two others.
func (s *stating) interpolate(put *recordv1.SlotPut) ([]byte, error) {
	backup, err := s.Backup.Share(put)
	if err != nil {
		return nil, err
	}
	defer clear(backup)
	server, err := s.Server.Share(put)
	if err != nil {
		return nil, err
	}
	defer clear(server)
	share, err := credential.ThirdShare(server, backup, credential.Device)
	if err != nil {
		return nil, err
	}
	if err := credential.CheckShare(put.GetSecret(), credential.Device, share); err != nil {
		clear(share)
		return nil, err
	}
	return share, nil
}

// nothing seals no share: the ledger wants one of every live slot. A device that
// opens it finds that it is not the one that the slot's record names.
func (s *stating) nothing(slot *ledger.Slot, put *recordv1.SlotPut, why error) (brought, error) {
	place := credential.SlotBinding(s.account, put)
	place.Sender = s.to.Number
	c := place.Sealing(credential.Device.String(), credential.GenerationName(s.next.Number)).Context()
	sealed, err := s.next.DeviceShare.Seal(s.rand, c, nil)
	if err != nil {
		return brought{}, err
	}
	return brought{
		share: &recordv1.SlotShare{Slot: slot.ID[:], Version: slot.Version, SealedDeviceShare: sealed},
		lost:  why,
	}, nil
}
