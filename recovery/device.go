package recovery

import (
	"fmt"
	"io"
	"log/slog"
	"sync"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/slip39"
)

// Device is a device's part: its seal key, and what the ledger has sealed to it.
type Device struct {
	state  *ledger.State
	number uint64
	secret func() *deviceSecret // hidden from reflection, as in package signing
}

type deviceSecret struct {
	seal        hpke.Opener
	generations map[uint64]generation

	mu      sync.Mutex
	masters map[uint64]*seed.MasterPublicKey // by epoch
}

// generation is a key generation as far as it opens.
type generation struct {
	metadata, deviceShare       *aead.Key
	metadataErr, deviceShareErr error
}

// FromHome returns the part of an unlocked home's device, which needs no server.
// The home keeps the seal key: use the Device before the home is closed. It
// returns home's errors, or one that wraps [ErrDevice].
func FromHome(h *home.Home) (*Device, error) {
	keys, err := h.Keys()
	if err != nil {
		return nil, err
	}
	state := h.State()
	if state == nil {
		return nil, fmt.Errorf("%w: the directory has no ledger yet", ErrDevice)
	}
	// The directory's own note of the number may be older than its ledger.
	for _, d := range state.Devices() {
		if d.SealKey.Equal(keys.Seal.PublicKey()) {
			return NewDevice(state, d.Number, keys.Seal)
		}
	}
	return nil, fmt.Errorf("%w: the ledger has no device with the directory's keys", ErrDevice)
}

// NewDevice returns the part of the device with this number and seal key, which it
// does not erase. It returns an error that wraps [ErrDevice].
//
// A key that is not the device's in the ledger, or what is sealed wrongly to it,
// is no error here: what needs it says so.
func NewDevice(state *ledger.State, number uint64, key hpke.Opener) (*Device, error) {
	d, ok := state.Device(number)
	if !ok || !d.SealKey.Equal(key.PublicKey()) {
		return nil, fmt.Errorf("%w: the ledger has no device %d with this seal key", ErrDevice, number)
	}
	secret := &deviceSecret{seal: key, generations: map[uint64]generation{}, masters: map[uint64]*seed.MasterPublicKey{}}
	for g := uint64(1); g <= state.Generation(); g++ {
		secret.generations[g] = openGeneration(state, g, number, key)
	}
	return &Device{state: state, number: number, secret: func() *deviceSecret { return secret }}, nil
}

func openGeneration(state *ledger.State, number, device uint64, key hpke.Opener) generation {
	var g generation
	metadata, deviceShare, author, ok := state.GenerationKeys(number, device)
	if !ok {
		err := fmt.Errorf("%w: key generation %d was never sealed to device %d", ErrNoKey, number, device)
		return generation{metadataErr: err, deviceShareErr: err}
	}
	g.metadata, g.metadataErr = seed.OpenMetadataKey(key, state.Account(), number, author, device, metadata)
	if deviceShare == nil {
		g.deviceShareErr = fmt.Errorf("%w: since a recovery nobody has the device-share key of generation %d", ErrNoKey, number)
		return g
	}
	g.deviceShare, g.deviceShareErr = seed.OpenDeviceShareKey(key, state.Account(), number, author, device, deviceShare)
	return g
}

// State returns the ledger's state.
func (d *Device) State() *ledger.State { return d.state }

// Number returns the device's number.
func (d *Device) Number() uint64 { return d.number }

// SeedShare returns group 1's share of an epoch. It returns an error that wraps
// [ErrNoEpoch], [ErrNoShare], seed.ErrOpen or seed.ErrShare. The caller erases
// the share.
func (d *Device) SeedShare(epoch uint64) (*slip39.Share, error) {
	e, ok := d.state.Epoch(epoch)
	if !ok {
		return nil, fmt.Errorf("%w: epoch %d", ErrNoEpoch, epoch)
	}
	sealed, author, ok := d.state.SeedShare(epoch, d.number)
	if !ok {
		return nil, fmt.Errorf("the seed of epoch %d: device %d %w", epoch, d.number, ErrNoShare)
	}
	return seed.OpenDeviceShare(d.secret().seal, d.state.Account(), e.Record, author, d.number, sealed)
}

// Party returns credential.Device.
func (d *Device) Party() credential.Party { return credential.Device }

// Share opens the device share of a slot version. It returns an error that wraps
// [ErrNoKey], credential.ErrOpen, or a *credential.WrongShareError.
func (d *Device) Share(put *recordv1.SlotPut) ([]byte, error) {
	sealed, number, sealer := put.GetSecret().GetSealedDeviceShare(), put.GetSecret().GetGeneration(), put.GetDevice()
	// What a recovery sealed anew stands elsewhere than in the slot's record.
	if len(put.GetSlot()) == len(ledger.SlotID{}) {
		id := ledger.SlotID(put.GetSlot())
		if slot, ok := d.state.Slot(id); ok && slot.Version == put.GetVersion() && slot.Put(put.GetEpoch()) != nil {
			sealed, number, sealer, _ = d.state.DeviceShare(id, put.GetEpoch())
		}
	}
	g, err := d.generation(number)
	if err != nil {
		return nil, err
	}
	if g.deviceShareErr != nil {
		return nil, g.deviceShareErr
	}
	return credential.OpenDeviceShare(g.deviceShare, d.state.Account(), put, sealed, number, sealer)
}

// MetadataKey returns the metadata key of a generation. It returns an error that
// wraps [ErrNoKey] or seed.ErrOpen.
func (d *Device) MetadataKey(generation uint64) (*aead.Key, error) {
	g, err := d.generation(generation)
	if err != nil {
		return nil, err
	}
	return g.metadata, g.metadataErr
}

func (d *Device) generation(number uint64) (generation, error) {
	g, ok := d.secret().generations[number]
	if !ok {
		return g, fmt.Errorf("%w: there is no key generation %d", ErrNoKey, number)
	}
	return g, nil
}

// CheckSlotKey says whether contacts can open a slot version.
func (d *Device) CheckSlotKey(put *recordv1.SlotPut) error {
	master, err := d.master(put.GetEpoch())
	if err != nil {
		return err
	}
	return master.CheckSlotKey(put.GetDevice(), put.GetCounter(), put.GetSlotKey())
}

// master opens an epoch's master public key, once.
func (d *Device) master(epoch uint64) (*seed.MasterPublicKey, error) {
	s := d.secret()
	s.mu.Lock()
	defer s.mu.Unlock()
	if master := s.masters[epoch]; master != nil {
		return master, nil
	}
	e, ok := d.state.Epoch(epoch)
	if !ok {
		return nil, fmt.Errorf("%w: epoch %d", ErrNoEpoch, epoch)
	}
	key, err := d.MetadataKey(e.Record.Generation)
	if err != nil {
		return nil, err
	}
	master, err := seed.OpenMaster(key, d.state.Account(), e.Record, e.Author)
	if err != nil {
		return nil, err
	}
	s.masters[epoch] = master
	return master, nil
}

// Erase erases the symmetric keys that were opened.
func (d *Device) Erase() {
	for _, g := range d.secret().generations {
		for _, key := range []*aead.Key{g.metadata, g.deviceShare} {
			if key != nil {
				key.Erase()
			}
		}
	}
	clear(d.secret().generations)
}

// Format writes "[secret]" for every verb.
func (d Device) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[secret]".
func (d Device) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]".
func (d Device) MarshalText() ([]byte, error) { return []byte(redacted), nil }
