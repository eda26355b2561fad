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
// what it has: the keys in the envelope of a share that it holds; after a
// recovery, the list of devices that the root key of that share's epoch signed;
// and the entries with which devices that it knows have added others.
//
// Such an entry says that a device which the contact believes wanted the new one.
// It does not say that the entry stands in the ledger: a device that was stolen,
// or revoked since, signs what it likes. That it stands is the server's to see to,
// which relays a head only from the device that attests it, while that device is
// active. So a device that is none speaks to a contact only if one that the contact
// knows and the server both lie, and these two together could say as much without
// it.

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
// recovery, or was added by one of these, or by one that was.
func leadsTo(old *recordv1.ShareEnvelope, signed []byte) bool {
	e, err := recovery.ParseEnvelope(signed)
	if err != nil || !bytes.Equal(e.Account, old.Account) {
		return false
	}
	outer := &recordv1.SignedShareEnvelope{}
	if err := canonical.Unmarshal(signed, outer); err != nil {
		return false
	}
	known := append(namedBy(old), listedBy(old, outer.Recovered)...)
	known = follow(ledger.AccountID(e.Account), known, outer.Introductions)
	return (&knownOwner{Devices: known}).trusts(e.Device, signerOf(e))
}

// namedBy returns the devices that an envelope names.
func namedBy(e *recordv1.ShareEnvelope) []pinnedDevice {
	var named []pinnedDevice
	for _, own := range e.Devices {
		named = append(named, pinnedDevice{Number: own.Device, Key: own.SignKey})
	}
	return named
}

// follow adds to the devices of an account that are known here those that they
// have added, by the entries with DeviceAdded, the oldest first.
func follow(account ledger.AccountID, known []pinnedDevice, introductions [][]byte) []pinnedDevice {
	known = slices.Clone(known)
	for _, b := range introductions {
		e, err := ledger.ParseEntry(b)
		if err != nil {
			continue
		}
		if id, named := e.Account(); !named || id != account {
			continue
		}
		if !slices.ContainsFunc(known, func(p pinnedDevice) bool {
			return (p.Number == 0 || p.Number == e.Author()) && signedEntry(b, p.Key)
		}) {
			continue
		}
		for _, record := range e.Records() {
			added := record.GetDeviceAdded()
			if added == nil || slices.ContainsFunc(known, func(p pinnedDevice) bool { return p.Number == added.Device }) {
				continue // a number is never given again
			}
			known = append(known, pinnedDevice{Number: added.Device, Key: added.Keys.SignKey})
		}
	}
	return known
}

// signedEntry says whether a key signed an entry.
func signedEntry(entry, key []byte) bool {
	signed := &recordv1.SignedEntry{}
	if err := canonical.Unmarshal(entry, signed); err != nil {
		return false
	}
	k, err := signing.NewPublicKey(key)
	return err == nil && k.Verify(signing.NewContext("entry").Bytes(signed.Entry), signed.Signature)
}

// maxIntroductions is how many bytes of entries lead a contact to a device. One of
// those that it knows is among the newest.
const maxIntroductions = 48 << 10

// introductions returns the entries that lead to this device: the one that added
// it, the one that added that one's author, and so on, the oldest first. They end
// at a device that nobody added: the first one, or one that recovered the account.
func (d *Device) introductions(s *ledger.State) ([][]byte, error) {
	var entries [][]byte
	size := 0
	for number := d.keys.Device; ; {
		own, ok := s.Device(number)
		if !ok {
			break
		}
		list, err := d.home.Entries(own.Added.Sequence-1, 1)
		if err != nil || len(list) == 0 {
			return nil, err
		}
		e, err := ledger.ParseEntry(list[0])
		if err != nil {
			return nil, err
		}
		adds := slices.ContainsFunc(e.Records(), func(r *recordv1.Record) bool { return r.GetDeviceAdded().GetDevice() == number })
		if size += len(list[0]); !adds || size > maxIntroductions {
			break
		}
		entries = append(entries, list[0])
		number = e.Author()
	}
	slices.Reverse(entries)
	return entries, nil
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

// listedBy returns the devices of a list that the root key of this envelope's epoch
// signed, none if it did not.
func listedBy(old *recordv1.ShareEnvelope, list *recordv1.DeviceList) []pinnedDevice {
	if list == nil || list.Epoch != old.Epoch || len(old.Account) != len(ledger.AccountID{}) {
		return nil
	}
	root, err := signing.NewPublicKey(old.RootKey)
	if err != nil || !root.Verify(recoveredListContext(ledger.AccountID(old.Account), list), list.Signature) {
		return nil
	}
	var listed []pinnedDevice
	for _, l := range list.Devices {
		listed = append(listed, pinnedDevice{Number: l.GetDevice(), Key: l.GetSignKey()})
	}
	return listed
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
