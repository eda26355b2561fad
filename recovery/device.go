package recovery

import (
	"errors"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/slip39"
)

// Device is a device's part: its seal key, and what the ledger has sealed to it.
type Device struct{}

// FromHome returns the part of an unlocked home's device, which needs no server.
// The home keeps the seal key: use the Device before the home is closed. It
// returns home's errors, or one that wraps [ErrDevice].
func FromHome(h *home.Home) (*Device, error) { return nil, errors.ErrUnsupported }

// NewDevice returns the part of the device with this number and seal key, which it
// does not erase. It returns an error that wraps [ErrDevice].
func NewDevice(state *ledger.State, number uint64, key *hpke.PrivateKey) (*Device, error) {
	return nil, errors.ErrUnsupported
}

// State returns the ledger's state.
func (d *Device) State() *ledger.State { return nil }

// Number returns the device's number.
func (d *Device) Number() uint64 { return 0 }

// SeedShare returns group 1's share of an epoch. It returns an error that wraps
// [ErrNoEpoch], [ErrNoShare], seed.ErrOpen or seed.ErrShare. The caller erases
// the share.
func (d *Device) SeedShare(epoch uint64) (*slip39.Share, error) { return nil, errors.ErrUnsupported }

// Party returns credential.Device.
func (d *Device) Party() credential.Party { return credential.Device }

// Share opens the device share of a slot version.
func (d *Device) Share(put *recordv1.SlotPut) ([]byte, error) { return nil, errors.ErrUnsupported }

// MetadataKey returns the metadata key of a generation.
func (d *Device) MetadataKey(generation uint64) (*aead.Key, error) {
	return nil, errors.ErrUnsupported
}

// CheckSlotKey says whether a slot version was backed up.
func (d *Device) CheckSlotKey(put *recordv1.SlotPut) error { return errors.ErrUnsupported }

// Erase erases the symmetric keys that were opened.
func (d *Device) Erase() {}
