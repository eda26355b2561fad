package credential

import (
	"fmt"
	"io"
	"math"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
)

// maxNumber is the greatest number that records count to: that of BIP32's indices
// that are not hardened, which devices and counters are.
const maxNumber = math.MaxInt32

// countable says whether all numbers are 1 to 2^31-1.
func countable(numbers ...uint64) bool {
	for _, n := range numbers {
		if n == 0 || n > maxNumber {
			return false
		}
	}
	return true
}

// Put is one version of a slot on its way into an epoch. Its numbers are 1 to
// 2^31-1.
type Put struct {
	Account [32]byte
	Slot    [16]byte
	Version uint64
	Epoch   uint64
	Device  uint64 // number of the device that makes the split
	Counter uint64 // of the slot key; no other Put ever has it

	SlotKey       *hpke.PublicKey // m/1'/Device/Counter of Epoch
	ServerSealKey *hpke.PublicKey

	Generation     uint64 // of both keys
	MetadataKey    *aead.Key
	DeviceShareKey *aead.Key

	Metadata *recordv1.SlotMetadata
	Secret   *recordv1.Secret
}

func (p *Put) check() error {
	switch {
	case !countable(p.Version, p.Epoch, p.Device, p.Counter, p.Generation):
		return fmt.Errorf("%w: version %d, epoch %d, device %d, counter %d, generation %d; each is 1 to 2^31-1",
			ErrInput, p.Version, p.Epoch, p.Device, p.Counter, p.Generation)
	case p.SlotKey == nil || p.ServerSealKey == nil || p.MetadataKey == nil || p.DeviceShareKey == nil:
		return fmt.Errorf("%w: a key is missing", ErrInput)
	case p.Metadata == nil || p.Secret == nil:
		return fmt.Errorf("%w: metadata or secret is missing", ErrInput)
	}
	return nil
}

// NewPut pads, splits and seals one version of a slot. It returns the record for
// the ledger and the server's share, sealed to the server. It keeps nothing and
// changes none of its arguments.
//
// It returns an error that wraps [ErrInput] for a Put that is incomplete or out
// of range, canonical's for a message without canonical form, or rand's.
func NewPut(rand io.Reader, p Put) (*recordv1.SlotPut, *recordv1.SealedServerShare, error) {
	if err := p.check(); err != nil {
		return nil, nil, err
	}
	put := &recordv1.SlotPut{
		Slot:       p.Slot[:],
		Version:    p.Version,
		Epoch:      p.Epoch,
		Device:     p.Device,
		Counter:    p.Counter,
		SlotKey:    p.SlotKey.Bytes(),
		Generation: p.Generation,
	}
	var err error
	if put.SealedMetadata, err = sealMetadata(rand, p, put); err != nil {
		return nil, nil, fmt.Errorf("credential: metadata of %s: %w", place(put), err)
	}
	sealedServerShare, err := sealSecret(rand, p, put)
	if err != nil {
		return nil, nil, fmt.Errorf("credential: secret of %s: %w", place(put), err)
	}
	return put, &recordv1.SealedServerShare{
		Kind:    recordv1.SealedServerShare_KIND_SLOT,
		Epoch:   p.Epoch,
		Slot:    p.Slot[:],
		Version: p.Version,
		Sealed:  sealedServerShare,
	}, nil
}

func sealMetadata(rand io.Reader, p Put, put *recordv1.SlotPut) ([]byte, error) {
	record, err := canonical.Marshal(p.Metadata)
	if err != nil {
		return nil, err
	}
	defer clear(record)
	padded := Pad(record)
	defer clear(padded)
	return p.MetadataKey.Seal(rand, metadataContext(p.Account, put), padded)
}

// sealSecret writes the split secret and the backup share to put and returns the
// server's share, sealed.
func sealSecret(rand io.Reader, p Put, put *recordv1.SlotPut) ([]byte, error) {
	record, err := canonical.Marshal(p.Secret)
	if err != nil {
		return nil, err
	}
	defer clear(record)
	b := SlotBinding(p.Account, put)
	shares, err := Split(rand, record, b)
	if err != nil {
		return nil, err
	}
	defer shares.Erase()

	split, sealedServerShare, err := sealHalves(rand, b, shares, p.Generation, p.DeviceShareKey, p.ServerSealKey)
	if err != nil {
		return nil, err
	}
	split.BackupShareHash = shares.Hash(Backup)
	put.SealedBackupShare, err = hpke.Seal(rand, p.SlotKey, b.backup(p.Device, p.Counter).Encode(), nil, shares.Share(Backup))
	if err != nil {
		return nil, err
	}
	put.Secret = split
	return sealedServerShare, nil
}

// sealHalves seals the device's and the server's share.
func sealHalves(rand io.Reader, b Binding, shares *Shares, generation uint64, deviceShareKey *aead.Key, serverSealKey *hpke.PublicKey) (*recordv1.SplitSecret, []byte, error) {
	sealedDeviceShare, err := deviceShareKey.Seal(rand, b.device(generation, b.Sender), shares.Share(Device))
	if err != nil {
		return nil, nil, err
	}
	sealedServerShare, err := hpke.Seal(rand, serverSealKey, b.server().Encode(), nil, shares.Share(Server))
	if err != nil {
		return nil, nil, err
	}
	return &recordv1.SplitSecret{
		SealedDeviceShare: sealedDeviceShare,
		Tag:               shares.Tag[:],
		DeviceShareHash:   shares.Hash(Device),
		ServerShareHash:   shares.Hash(Server),
		Generation:        generation,
	}, sealedServerShare, nil
}

// NewSlotShare seals a slot version's device share, restored by [ThirdShare] in a
// recovery, under a new device-share key. sealer is the number of the new device.
// A share that is not the device's is a [*WrongShareError]; other errors are
// rand's.
func NewSlotShare(rand io.Reader, key *aead.Key, account [32]byte, put *recordv1.SlotPut, share []byte, generation, sealer uint64) (*recordv1.SlotShare, error) {
	if err := CheckShare(put.GetSecret(), Device, share); err != nil {
		return nil, fmt.Errorf("%s: %w", place(put), err)
	}
	sealed, err := key.Seal(rand, SlotBinding(account, put).device(generation, sealer), share)
	if err != nil {
		return nil, fmt.Errorf("credential: device share of %s: %w", place(put), err)
	}
	return &recordv1.SlotShare{
		Slot:              put.GetSlot(),
		Version:           put.GetVersion(),
		SealedDeviceShare: sealed,
	}, nil
}

// place names a slot version in an error.
func place(put *recordv1.SlotPut) string {
	return fmt.Sprintf("slot %x, version %d, epoch %d", put.GetSlot(), put.GetVersion(), put.GetEpoch())
}

// unmarshalPadded reads a message from its padded canonical bytes, which it
// erases.
func unmarshalPadded(padded []byte, m proto.Message) error {
	defer clear(padded)
	record, err := Unpad(padded)
	if err != nil {
		return err
	}
	return canonical.Unmarshal(record, m)
}
