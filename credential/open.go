package credential

import (
	"fmt"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
)

// OpenMetadata returns a slot version's metadata. key is the metadata key of
// put.Generation. It returns an error that wraps [ErrOpen], [ErrPadding] or
// canonical's.
func OpenMetadata(key *aead.Key, account [32]byte, put *recordv1.SlotPut) (*recordv1.SlotMetadata, error) {
	padded, err := open(key, metadataContext(account, put), put.GetSealedMetadata())
	if err != nil {
		return nil, fmt.Errorf("metadata of %s: %w", place(put), err)
	}
	metadata := new(recordv1.SlotMetadata)
	if err := unmarshalPadded(padded, metadata); err != nil {
		return nil, fmt.Errorf("metadata of %s: %w", place(put), err)
	}
	return metadata, nil
}

// OpenDeviceShare returns a slot version's device share. sealed, the generation
// of the device-share key and the device that sealed it are those of put, or,
// once the account was recovered, those of the newest Recovered record.
//
// Like the other functions that open a share it returns an error that wraps
// [ErrOpen], or a [*WrongShareError] if the share is not as put names it.
func OpenDeviceShare(key *aead.Key, account [32]byte, put *recordv1.SlotPut, sealed []byte, generation, sealer uint64) ([]byte, error) {
	share, err := open(key, SlotBinding(account, put).device(generation, sealer), sealed)
	return opened(share, err, Device, put)
}

// OpenServerShare returns a slot version's server share, with the server's seal
// key.
func OpenServerShare(key *hpke.PrivateKey, account [32]byte, put *recordv1.SlotPut, sealed []byte) ([]byte, error) {
	share, err := openHPKE(key, SlotBinding(account, put).server(), sealed)
	return opened(share, err, Server, put)
}

// OpenBackupShare returns a slot version's backup share, with the slot key
// m/1'/put.Device/put.Counter of its epoch.
func OpenBackupShare(slotKey *hpke.PrivateKey, account [32]byte, put *recordv1.SlotPut) ([]byte, error) {
	share, err := openHPKE(slotKey, SlotBinding(account, put).backup(put.GetDevice(), put.GetCounter()), put.GetSealedBackupShare())
	return opened(share, err, Backup, put)
}

// opened checks a share of a slot version that was just opened.
func opened(share []byte, err error, party Party, put *recordv1.SlotPut) ([]byte, error) {
	if err == nil {
		err = CheckShare(put.GetSecret(), party, share)
	}
	if err != nil {
		clear(share)
		return nil, fmt.Errorf("%s share of %s: %w", party, place(put), err)
	}
	return share, nil
}

// OpenSecret combines two or three shares of a slot version to its secret. Its
// errors are those of [Combine], and canonical's.
func OpenSecret(account [32]byte, put *recordv1.SlotPut, shares ...[]byte) (*recordv1.Secret, error) {
	record, err := Combine(SlotBinding(account, put), put.GetSecret(), shares...)
	if err != nil {
		return nil, fmt.Errorf("secret of %s: %w", place(put), err)
	}
	defer clear(record)
	secret := new(recordv1.Secret)
	if err := canonical.Unmarshal(record, secret); err != nil {
		return nil, fmt.Errorf("secret of %s: %w", place(put), err)
	}
	return secret, nil
}
