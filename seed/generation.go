package seed

import (
	"errors"
	"fmt"
	"io"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// Kinds of contexts for a generation's keys.
const (
	kindMetadataKey    = "metadata-key"
	kindDeviceShareKey = "device-share-key"
)

// Generation is a key generation: the two symmetric keys that all active devices
// of an account share until one of them is revoked. Erase it after use. Its keys
// print as [secret].
type Generation struct {
	Number      uint64 // from 1
	Metadata    *aead.Key
	DeviceShare *aead.Key // nil if nobody has it any more, after a recovery
}

// EpochKey is an epoch's number and master public key.
type EpochKey struct {
	Epoch  uint64 // from 1
	Master *MasterPublicKey
}

// NewGeneration makes the two keys of a generation from 64 bytes of rand. Its
// only errors are rand's, and one that wraps [ErrInput] for the number 0.
func NewGeneration(rand io.Reader, number uint64) (*Generation, error) {
	if number == 0 {
		return nil, fmt.Errorf("%w: key generations count from 1", ErrInput)
	}
	metadata, err := aead.GenerateKey(rand)
	if err != nil {
		return nil, fmt.Errorf("seed: key generation %d: %w", number, err)
	}
	deviceShare, err := aead.GenerateKey(rand)
	if err != nil {
		metadata.Erase()
		return nil, fmt.Errorf("seed: key generation %d: %w", number, err)
	}
	return &Generation{Number: number, Metadata: metadata, DeviceShare: deviceShare}, nil
}

// Erase erases both keys.
func (g *Generation) Erase() {
	g.Metadata.Erase()
	if g.DeviceShare != nil {
		g.DeviceShare.Erase()
	}
}

// Seal seals the generation's keys to devices, and its metadata key to
// m/1'/0/number of epochs, for EpochPrepared, DeviceRevoked and Recovered. author
// is the number of the device that will append the record. The device-share key
// is sealed to devices alone, and left out if nobody has it. The ledger wants the
// devices to be exactly the active ones, in the order of their numbers; only
// Number and SealKey are read.
//
// Its errors are rand's, and ones that wrap [ErrInput].
func (g *Generation) Seal(rand io.Reader, account [32]byte, author uint64, devices []*ledger.Device, epochs ...EpochKey) (*recordv1.KeyGeneration, error) {
	sealed := &recordv1.KeyGeneration{Number: g.Number}
	for _, device := range devices {
		keys, err := g.SealTo(rand, account, author, device)
		if err != nil {
			return nil, err
		}
		sealed.MetadataKeys = append(sealed.MetadataKeys, &recordv1.SealedToDevice{Device: device.Number, Sealed: keys.MetadataKey})
		if g.DeviceShare != nil {
			sealed.DeviceShareKeys = append(sealed.DeviceShareKeys, &recordv1.SealedToDevice{Device: device.Number, Sealed: keys.DeviceShareKey})
		}
	}
	for _, epoch := range epochs {
		backup, err := g.backUp(rand, account, author, epoch)
		if err != nil {
			return nil, err
		}
		sealed.Backups = append(sealed.Backups, backup)
	}
	return sealed, nil
}

// SealTo seals the generation's keys to one device, for DeviceAdded,
// DeviceUnlocked and Recovered. Its errors are those of [Generation.Seal].
func (g *Generation) SealTo(rand io.Reader, account [32]byte, author uint64, to *ledger.Device) (*recordv1.GenerationKeys, error) {
	if g.Number == 0 || g.Metadata == nil {
		return nil, fmt.Errorf("%w: key generation %d is incomplete", ErrInput, g.Number)
	}
	if to.Number == 0 || to.SealKey == nil {
		return nil, fmt.Errorf("%w: device %d has no seal key", ErrInput, to.Number)
	}
	sealed := &recordv1.GenerationKeys{Number: g.Number}
	var err error
	sealed.MetadataKey, err = sealKey(rand, to.SealKey, generationToDevice(kindMetadataKey, account, g.Number, author, to.Number), g.Metadata)
	if err != nil {
		return nil, fmt.Errorf("seed: metadata key for device %d: %w", to.Number, err)
	}
	if g.DeviceShare == nil {
		return sealed, nil
	}
	sealed.DeviceShareKey, err = sealKey(rand, to.SealKey, generationToDevice(kindDeviceShareKey, account, g.Number, author, to.Number), g.DeviceShare)
	if err != nil {
		return nil, fmt.Errorf("seed: device-share key for device %d: %w", to.Number, err)
	}
	return sealed, nil
}

// backUp seals the metadata key to m/1'/0/number of an epoch.
func (g *Generation) backUp(rand io.Reader, account [32]byte, author uint64, epoch EpochKey) (*recordv1.KeyBackup, error) {
	if epoch.Epoch == 0 || epoch.Master == nil {
		return nil, fmt.Errorf("%w: epoch %d for the backup of key generation %d is incomplete", ErrInput, epoch.Epoch, g.Number)
	}
	to, err := epoch.Master.SlotKey(accountDevice, g.Number)
	if err != nil {
		return nil, err
	}
	sealed, err := sealKey(rand, to, generationToBackup(account, epoch.Epoch, g.Number, author), g.Metadata)
	if err != nil {
		return nil, fmt.Errorf("seed: backup of metadata key %d in epoch %d: %w", g.Number, epoch.Epoch, err)
	}
	return &recordv1.KeyBackup{Epoch: epoch.Epoch, PublicKey: to.Bytes(), Sealed: sealed}, nil
}

// OpenMetadataKey opens a generation's metadata key with the seal key of the
// device that it was sealed to; author is the device that appended the record. It
// returns an error that wraps [ErrOpen].
func OpenMetadataKey(key hpke.Opener, account [32]byte, generation, author, device uint64, sealed []byte) (*aead.Key, error) {
	return openKey(key, generationToDevice(kindMetadataKey, account, generation, author, device), sealed)
}

// OpenDeviceShareKey does for the device-share key what [OpenMetadataKey] does
// for the metadata key.
func OpenDeviceShareKey(key hpke.Opener, account [32]byte, generation, author, device uint64, sealed []byte) (*aead.Key, error) {
	return openKey(key, generationToDevice(kindDeviceShareKey, account, generation, author, device), sealed)
}

// OpenMetadataKeyBackup opens a generation's metadata key from its backup in an
// epoch, with the recovered keys of that epoch. author is the device that
// appended the record. It returns an error that wraps [ErrOpen], or one of
// [Keys.SlotKey].
func (k *Keys) OpenMetadataKeyBackup(account [32]byte, generation, author uint64, backup *recordv1.KeyBackup) (*aead.Key, error) {
	key, err := k.SlotKey(accountDevice, generation)
	if err != nil {
		return nil, err
	}
	defer key.Erase()
	return openKey(key, generationToBackup(account, backup.GetEpoch(), generation, author), backup.GetSealed())
}

func generationToDevice(kind string, account [32]byte, generation, author, device uint64) signing.Sealing {
	return signing.Sealing{
		Kind:      kind,
		Account:   account[:],
		Object:    []byte(credential.GenerationName(generation)),
		Role:      "device",
		Sender:    credential.DeviceName(author),
		Recipient: credential.DeviceName(device),
	}
}

func generationToBackup(account [32]byte, epoch, generation, author uint64) signing.Sealing {
	return signing.Sealing{
		Kind:      kindMetadataKey,
		Account:   account[:],
		Epoch:     epoch,
		Object:    []byte(credential.GenerationName(generation)),
		Role:      "backup",
		Sender:    credential.DeviceName(author),
		Recipient: credential.SlotKeyName(accountDevice, generation),
	}
}

func sealKey(rand io.Reader, to *hpke.PublicKey, s signing.Sealing, key *aead.Key) ([]byte, error) {
	b := key.Bytes()
	defer clear(b)
	return hpke.Seal(rand, to, s.Context().Encode(), nil, b)
}

// openError is ErrOpen for what does not open; a key in another process has other
// errors too.
func openError(err error) error {
	if errors.Is(err, hpke.ErrOpen) {
		return ErrOpen
	}
	return err
}

func openKey(key hpke.Opener, s signing.Sealing, sealed []byte) (*aead.Key, error) {
	b, err := key.Open(s.Context().Encode(), nil, sealed)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", s.Kind, s.Object, openError(err))
	}
	defer clear(b)
	opened, err := aead.NewKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", s.Kind, s.Object, ErrOpen)
	}
	return opened, nil
}
