package device

import (
	"bytes"
	"context"
	"crypto/subtle"
	"fmt"

	"zeropass.dev/zeropass/aead"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
)

// checkSealedHere opens what proposed records seal to this device. The fold sees
// only that something is sealed to everybody; whoever made it could shut the others
// out with it, and with EpochPrepared, which seals the old generations again, from
// everything that is stored.
func (d *Device) checkSealedHere(s *ledger.State, author uint64, records []*recordv1.Record) error {
	for _, record := range records {
		var err error
		switch kind := record.Kind.(type) {
		case *recordv1.Record_EpochPrepared:
			err = d.checkPrepared(s, author, kind.EpochPrepared)
		case *recordv1.Record_DeviceRevoked:
			err = d.checkNewGeneration(s, author, kind.DeviceRevoked.Generation)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *Device) checkPrepared(s *ledger.State, author uint64, r *recordv1.EpochPrepared) error {
	share, err := seed.OpenDeviceShare(d.keys.Seal, s.Account(), r, author, d.keys.Device, sealedHere(r.SeedShares, d.keys.Device))
	if err != nil {
		return fmt.Errorf("the devices' share of the seed: %w", err)
	}
	share.Erase()
	known, err := d.generation(s, r.Generation)
	if err != nil {
		return err
	}
	master, err := seed.OpenMaster(known.Metadata, s.Account(), r, author)
	if err != nil {
		return err
	}
	for _, g := range r.Generations {
		if err := d.checkSameGeneration(s, author, g); err != nil {
			return err
		}
		if err := checkBackups(g, map[uint64]*seed.MasterPublicKey{r.Epoch: master}); err != nil {
			return err
		}
	}
	return nil
}

// checkSameGeneration wants the keys that this device has, sealed to it again.
func (d *Device) checkSameGeneration(s *ledger.State, author uint64, g *recordv1.KeyGeneration) error {
	known, err := d.generation(s, g.Number)
	if err != nil {
		return err
	}
	again, err := d.openSealedHere(s, author, g)
	if err != nil {
		return err
	}
	defer again.Erase()
	if !sameKey(known.Metadata, again.Metadata) || again.DeviceShare != nil && !sameKey(known.DeviceShare, again.DeviceShare) {
		return fmt.Errorf("key generation %d is sealed again with other keys", g.Number)
	}
	return nil
}

// checkNewGeneration wants keys that open here, backed up to the epochs' own keys.
func (d *Device) checkNewGeneration(s *ledger.State, author uint64, g *recordv1.KeyGeneration) error {
	fresh, err := d.openSealedHere(s, author, g)
	if err != nil {
		return err
	}
	fresh.Erase()
	masters := map[uint64]*seed.MasterPublicKey{}
	for _, e := range openEpochs(s) {
		if masters[e.Number], err = d.master(s, e); err != nil {
			return err
		}
	}
	return checkBackups(g, masters)
}

// openSealedHere opens a generation's keys as they are sealed to this device. The
// caller erases them.
func (d *Device) openSealedHere(s *ledger.State, author uint64, g *recordv1.KeyGeneration) (*seed.Generation, error) {
	opened := &seed.Generation{Number: g.Number}
	var err error
	opened.Metadata, err = seed.OpenMetadataKey(d.keys.Seal, s.Account(), g.Number, author, d.keys.Device, sealedHere(g.MetadataKeys, d.keys.Device))
	if err != nil {
		return nil, fmt.Errorf("the metadata key of generation %d: %w", g.Number, err)
	}
	if len(g.DeviceShareKeys) == 0 {
		return opened, nil
	}
	opened.DeviceShare, err = seed.OpenDeviceShareKey(d.keys.Seal, s.Account(), g.Number, author, d.keys.Device, sealedHere(g.DeviceShareKeys, d.keys.Device))
	if err != nil {
		opened.Erase()
		return nil, fmt.Errorf("the device-share key of generation %d: %w", g.Number, err)
	}
	return opened, nil
}

// opensAll opens everything that the ledger has sealed to this device: the fold
// takes any bytes.
func (d *Device) opensAll(s *ledger.State) error {
	if _, err := d.allGenerations(s); err != nil {
		return err
	}
	for _, e := range openEpochs(s) {
		sealed, author, ok := s.SeedShare(e.Number, d.keys.Device)
		if !ok {
			return fmt.Errorf("the devices' share of the seed of epoch %d is not sealed to this device", e.Number)
		}
		share, err := seed.OpenDeviceShare(d.keys.Seal, s.Account(), e.Record, author, d.keys.Device, sealed)
		if err != nil {
			return fmt.Errorf("the devices' share of the seed of epoch %d: %w", e.Number, err)
		}
		share.Erase()
	}
	return nil
}

// noteUnopened says so when something that is sealed to this device does not open,
// which whoever added or unlocked it, or made an epoch, can have done. It does not
// stop the device: it may have to lock that one.
func (d *Device) noteUnopened(_ context.Context, result *SyncResult) error {
	s := d.home.State()
	if err := d.opensAll(s); err != nil {
		result.note("something that is sealed to this device does not open, so it can help with no recovery and not read everything: %v; have another device revoke this one, and add it again", err)
	}
	return nil
}

func sealedHere(list []*recordv1.SealedToDevice, device uint64) []byte {
	for _, sealed := range list {
		if sealed.Device == device {
			return sealed.Sealed
		}
	}
	return nil
}

// checkBackups wants a generation backed up to keys of these epochs, so that a
// recovery finds it: what is in the ciphertext only a recovery can tell.
func checkBackups(g *recordv1.KeyGeneration, masters map[uint64]*seed.MasterPublicKey) error {
	for _, b := range g.Backups {
		master := masters[b.Epoch]
		if master == nil {
			return fmt.Errorf("key generation %d is backed up to epoch %d", g.Number, b.Epoch)
		}
		key, err := master.SlotKey(0, g.Number) // device number 0 is the account
		if err != nil {
			return err
		}
		if !bytes.Equal(key.Bytes(), b.PublicKey) {
			return fmt.Errorf("key generation %d is backed up to a key that is not epoch %d's", g.Number, b.Epoch)
		}
	}
	return nil
}

func sameKey(a, b *aead.Key) bool {
	if a == nil || b == nil {
		return false
	}
	x, y := a.Bytes(), b.Bytes()
	defer clear(x)
	defer clear(y)
	return subtle.ConstantTimeCompare(x, y) == 1
}
