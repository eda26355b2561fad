package seed

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

const kindSeedShare = "seed-share"

// SealDeviceShare seals group 1's share to a device, of which only Number and
// SealKey are read, for EpochPrepared, DeviceAdded, DeviceUnlocked and Recovered.
// author is the device that will append the record. Its errors are rand's,
// slip39.ErrErased, and one that wraps [ErrInput].
func SealDeviceShare(rand io.Reader, account [32]byte, epoch, author uint64, to *ledger.Device, share *slip39.Share) ([]byte, error) {
	if to.Number == 0 || to.SealKey == nil {
		return nil, fmt.Errorf("%w: device %d has no seal key", ErrInput, to.Number)
	}
	return sealShare(rand, to.SealKey, shareToDevice(account, epoch, author, to.Number), share)
}

// OpenDeviceShare opens group 1's share of an epoch with the seal key of the
// device that it was sealed to. author is the device that appended the record
// which carries it. It returns an error that wraps [ErrOpen], or [ErrShare] for
// anything but the share that the epoch's record names.
func OpenDeviceShare(key hpke.Opener, account [32]byte, epoch *recordv1.EpochPrepared, author, device uint64, sealed []byte) (*slip39.Share, error) {
	share, err := openShare(key, shareToDevice(account, epoch.GetEpoch(), author, device), sealed)
	if err != nil {
		return nil, err
	}
	return checkShare(share, epoch, GroupDevices, epoch.GetDeviceShareHash())
}

// OpenServerShare opens group 0's share of an epoch with the server's seal key.
// author is the device that prepared the epoch. Its errors are those of
// [OpenDeviceShare].
func OpenServerShare(key hpke.Opener, account [32]byte, epoch *recordv1.EpochPrepared, author uint64, sealed []byte) (*slip39.Share, error) {
	share, err := openShare(key, shareToServer(account, epoch.GetEpoch(), author), sealed)
	if err != nil {
		return nil, err
	}
	return checkShare(share, epoch, GroupServer, epoch.GetServerShareHash())
}

func shareToDevice(account [32]byte, epoch, author, device uint64) signing.Sealing {
	return signing.Sealing{
		Kind:      kindSeedShare,
		Account:   account[:],
		Epoch:     epoch,
		Object:    []byte("group/1"),
		Role:      "device",
		Sender:    credential.DeviceName(author),
		Recipient: credential.DeviceName(device),
	}
}

func shareToServer(account [32]byte, epoch, author uint64) signing.Sealing {
	return signing.Sealing{
		Kind:      kindSeedShare,
		Account:   account[:],
		Epoch:     epoch,
		Object:    []byte("group/0"),
		Role:      "server",
		Sender:    credential.DeviceName(author),
		Recipient: credential.ServerName,
	}
}

func sealShare(rand io.Reader, to *hpke.PublicKey, s signing.Sealing, share *slip39.Share) ([]byte, error) {
	b, err := share.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("seed: seal the seed share: %w", err)
	}
	defer clear(b)
	sealed, err := hpke.Seal(rand, to, s.Context().Encode(), nil, b)
	if err != nil {
		return nil, fmt.Errorf("seed: seal the seed share: %w", err)
	}
	return sealed, nil
}

func openShare(key hpke.Opener, s signing.Sealing, sealed []byte) (*slip39.Share, error) {
	b, err := key.Open(s.Context().Encode(), nil, sealed)
	if err != nil {
		return nil, fmt.Errorf("seed share %s of epoch %d: %w", s.Object, s.Epoch, openError(err))
	}
	defer clear(b)
	share, err := slip39.ParseBinary(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrShare, err)
	}
	return share, nil
}

// checkShare returns the share if it is the one of a group of 1 of 1 that the
// record names, and erases it if not.
func checkShare(share *slip39.Share, epoch *recordv1.EpochPrepared, group int, want []byte) (*slip39.Share, error) {
	hash, err := ShareHash(share)
	if err == nil && share.GroupIndex() == group && bytes.Equal(hash[:], want) {
		return share, nil
	}
	share.Erase()
	return nil, fmt.Errorf("%w %d: its hash is not the one in the ledger", ErrShare, epoch.GetEpoch())
}

// ShareHash returns the SHA-256 of a binary share, which stands for it in
// records. It returns slip39.ErrErased for an erased share.
func ShareHash(share *slip39.Share) ([32]byte, error) {
	b, err := share.MarshalBinary()
	if err != nil {
		return [32]byte{}, err
	}
	defer clear(b)
	return sha256.Sum256(b), nil
}

// OpenMaster opens an epoch's master public key with the metadata key of
// epoch.Generation. author is the device that prepared the epoch. It returns an
// error that wraps [ErrOpen], or one of [ParseMasterPublicKey].
func OpenMaster(key *aead.Key, account [32]byte, epoch *recordv1.EpochPrepared, author uint64) (*MasterPublicKey, error) {
	b, err := key.Open(masterContext(account, epoch.GetEpoch(), author, epoch.GetGeneration()), epoch.GetSealedMasterKey())
	if err != nil {
		return nil, fmt.Errorf("master public key of epoch %d: %w", epoch.GetEpoch(), ErrOpen)
	}
	return ParseMasterPublicKey(b)
}

func masterContext(account [32]byte, epoch, author, generation uint64) *signing.Context {
	return signing.Sealing{
		Kind:      "master-key",
		Account:   account[:],
		Epoch:     epoch,
		Role:      "metadata",
		Sender:    credential.DeviceName(author),
		Recipient: credential.GenerationName(generation),
	}.Context()
}
