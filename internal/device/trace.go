package device

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/signing"
)

// A contact does not see the owner's ledger. It follows the owner's devices from
// what it has: the keys in the envelope of a share that it holds, and, after a
// recovery, the list of devices that the root key of that share's epoch signed.

// deviceListFile keeps the list that this device's recovery of the account left.
const deviceListFile = "device-list"

// keepDeviceList signs and keeps the list of this device alone, as a recovery
// leaves it, with the root key of the epoch in which the account was recovered.
// It goes to contacts in the envelopes of later epochs. The root key is gone
// afterwards, so this comes before the Recovered record is sent.
func (d *Device) keepDeviceList(root *signing.PrivateKey, epoch, number uint64) error {
	keys := d.deviceKeys(0, nil)
	list := &recordv1.DeviceList{
		Epoch: epoch,
		Devices: []*recordv1.ListedDevice{{
			Device: number, SignKey: keys.SignKey, SealKey: keys.SealKey, ConfirmKey: keys.ConfirmKey,
		}},
	}
	list.Signature = root.Sign(recoveredListContext(d.keys.Account, list))
	b, err := canonical.Marshal(list)
	if err != nil {
		return fmt.Errorf("device: list after a recovery: %w", err)
	}
	return d.home.PutPrivate(deviceListFile, b)
}

// recoveredList is what keepDeviceList kept, nil on a device that recovered
// nothing.
func (d *Device) recoveredList() (*recordv1.DeviceList, error) {
	b, err := d.home.Private(deviceListFile)
	if errors.Is(err, home.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list := &recordv1.DeviceList{}
	if err := canonical.Unmarshal(b, list); err != nil {
		return nil, fmt.Errorf("device: private/%s: %w", deviceListFile, err)
	}
	return list, nil
}

// leadsTo says whether the device that signed an envelope can be traced from the
// envelope of a share that is held: it is one of the devices that the older
// envelope names, or the only one that the older epoch's root key left after a
// recovery.
func leadsTo(old *recordv1.ShareEnvelope, signed []byte) bool {
	e, err := recovery.ParseEnvelope(signed)
	if err != nil || !bytes.Equal(e.Account, old.Account) {
		return false
	}
	signer := signerOf(e)
	for _, known := range old.Devices {
		if known.Device == e.Device && bytes.Equal(known.SignKey, signer) {
			return true
		}
	}
	outer := &recordv1.SignedShareEnvelope{}
	if err := canonical.Unmarshal(signed, outer); err != nil {
		return false
	}
	return listedBy(old, outer.Recovered, e.Device, signer)
}

// signerOf returns the key that an envelope gives for the device that signs it.
func signerOf(e *recordv1.ShareEnvelope) []byte {
	for _, own := range e.Devices {
		if own.Device == e.Device {
			return own.SignKey
		}
	}
	return nil
}

// listedBy says whether a list that the root key of this envelope's epoch signed
// has the device with this key.
func listedBy(old *recordv1.ShareEnvelope, list *recordv1.DeviceList, device uint64, key []byte) bool {
	if list == nil || list.Epoch != old.Epoch || len(old.Account) != len(ledger.AccountID{}) {
		return false
	}
	root, err := signing.NewPublicKey(old.RootKey)
	if err != nil {
		return false
	}
	listed := slices.ContainsFunc(list.Devices, func(l *recordv1.ListedDevice) bool {
		return l.GetDevice() == device && bytes.Equal(l.GetSignKey(), key)
	})
	return listed && root.Verify(recoveredListContext(ledger.AccountID(old.Account), list), list.Signature)
}

// recoveredListContext is what the root key signs for contacts after a recovery.
// It is no list that an EpochPrepared takes, nor is that one of these: a root key
// that signs the one has not said the other.
func recoveredListContext(account ledger.AccountID, list *recordv1.DeviceList) *signing.Context {
	c := signing.NewContext("recovered-device-list").Bytes(account[:]).Uint(list.Epoch).Count(len(list.Devices))
	for _, l := range list.Devices {
		c.Uint(l.GetDevice()).Bytes(l.GetSignKey()).Bytes(l.GetSealKey()).Bytes(l.GetConfirmKey())
	}
	return c
}

// traced says whether the device that signed an envelope can be traced from any
// whole share of that account that is held here.
func (d *Device) traced(signed []byte) (bool, error) {
	e, err := recovery.ParseEnvelope(signed)
	if err != nil {
		return false, nil // what is no envelope leads nowhere
	}
	shares, err := d.wholeShares(ledger.AccountID(e.Account))
	if err != nil {
		return false, err
	}
	defer eraseHeld(shares)
	for _, s := range shares {
		if leadsTo(s.envelope, signed) {
			return true, nil
		}
	}
	return false, nil
}
