package device

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// ownerBook is what a contact remembers of those whose shares it keeps.
type ownerBook struct {
	Owners map[string]*knownOwner // by account, in hexadecimal
}

// knownOwner is an account with those of its devices that this one believes: the
// devices in the envelope of its newest whole share. Before there is one, and
// after another invitation was accepted, also the inviting device, whose key came
// from person to person.
type knownOwner struct {
	Name    string
	Epoch   uint64 // of that envelope, 0 before the first
	Devices []pinnedDevice
}

type pinnedDevice struct {
	Number uint64 // 0 for a device that invited, because invitations name none
	Key    []byte // 33 bytes
}

const ownersFile = "owners"

func (d *Device) owners() (*ownerBook, error) {
	book, err := load[ownerBook](d, ownersFile)
	if err != nil {
		return nil, err
	}
	if book == nil || book.Owners == nil {
		book = &ownerBook{Owners: map[string]*knownOwner{}}
	}
	return book, nil
}

// trustOwner pins the key of a device that invited this one.
func (d *Device) trustOwner(account ledger.AccountID, name string, key []byte) error {
	return d.changeOwner(account, name, func(o *knownOwner) {
		if !o.trusts(0, key) {
			o.Devices = append(o.Devices, pinnedDevice{Key: bytes.Clone(key)})
		}
	})
}

// followOwner believes the devices of an envelope, whose share is whole, and no
// others any more: a device that was revoked since must not speak for the owner.
func (d *Device) followOwner(account ledger.AccountID, name string, e *recordv1.ShareEnvelope) error {
	return d.changeOwner(account, name, func(o *knownOwner) {
		if e.Epoch < o.Epoch {
			return
		}
		o.Epoch, o.Devices = e.Epoch, nil
		for _, own := range e.Devices {
			o.Devices = append(o.Devices, pinnedDevice{Number: own.Device, Key: bytes.Clone(own.SignKey)})
		}
	})
}

func (d *Device) changeOwner(account ledger.AccountID, name string, change func(*knownOwner)) error {
	book, err := d.owners()
	if err != nil {
		return err
	}
	o := book.get(account)
	if o == nil {
		o = &knownOwner{Name: name}
		book.Owners[account.String()] = o
	}
	change(o)
	return d.save(ownersFile, book)
}

func (b *ownerBook) get(account ledger.AccountID) *knownOwner { return b.Owners[account.String()] }

// trusts says whether the device with this number has this key. Numbers are never
// given again, so a known key under another number is somebody's forgery. Without
// a number, 0, it asks for the key of a device that invited.
func (o *knownOwner) trusts(number uint64, key []byte) bool {
	return o != nil && slices.ContainsFunc(o.Devices, func(p pinnedDevice) bool {
		return bytes.Equal(p.Key, key) && (p.Number == 0 || p.Number == number)
	})
}

// signerTrusted says whether the device that signed an envelope, whose signature
// was checked, is one that this device believes.
func signerTrusted(o *knownOwner, e *recordv1.ShareEnvelope) bool {
	return o.trusts(e.Device, signerOf(e))
}

// takeEnvelope keeps an owner's half of a share for somebody else.
func (d *Device) takeEnvelope(ctx context.Context, m *apiv1.Message, result *SyncResult) error {
	e, err := recovery.ParseEnvelope(m.Body)
	if err != nil {
		return fmt.Errorf("%w: %w", errWorthless, err)
	}
	account := ledger.AccountID(e.Account)
	book, err := d.owners()
	if err != nil {
		return err
	}
	o := book.get(account)
	switch {
	case o == nil:
		return fmt.Errorf("%w: a share of an account whose invitation was not accepted here", errWorthless)
	case !bytes.Equal(e.GetContact().GetAccount(), d.keys.Account[:]):
		return fmt.Errorf("%w: a share for somebody else", errWorthless)
	case !bytes.Equal(e.GetServer().GetSignKey(), d.server.Bytes()):
		return fmt.Errorf("%w: a share at another server", errWorthless)
	}
	trusted := signerTrusted(o, e)
	if !trusted {
		if trusted, err = d.traced(m.Body); err != nil {
			return err
		}
	}
	if !trusted {
		result.note("%s sends a share with a device that is not known here; if %s has a new device, ask for a new invitation and accept it", o.Name, o.Name)
		return errLater
	}
	stored, err := d.held(home.HeldID{Account: account, Epoch: e.Epoch, Member: e.Member})
	if err != nil {
		return err
	}
	if stored != nil && len(stored.Share) > 0 {
		// The owner sends it again, so the receipt did not arrive.
		return d.sendReceipt(ctx, result, stored, e)
	}
	half, err := d.openHalf(e, e.Halves, credential.Device)
	if errors.Is(err, home.ErrLocked) {
		return err // which says nothing of the envelope
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errWorthless, err)
	}
	defer clear(half)
	next := &recordv1.StoredShare{Envelope: m.Body, DeviceHalf: half, Owner: o.Name}
	if stored != nil && credential.CheckShare(splitOf(e), credential.Server, stored.ServerHalf) == nil {
		next.ServerHalf = stored.ServerHalf
	}
	if err := d.home.PutHeld(next); err != nil {
		return err
	}
	return d.makeWhole(ctx, next, result)
}

// openHalf opens the half that was sealed to this device and compares its hash.
func (d *Device) openHalf(e *recordv1.ShareEnvelope, halves []*recordv1.SealedHalf, party credential.Party) ([]byte, error) {
	place := credential.ContactHalf{
		Account: [32]byte(e.Account), Epoch: e.Epoch, Member: e.Member, Contact: d.keys.Account, Party: party,
	}
	if party == credential.Device {
		place.Device = e.Device
	}
	own := d.keys.Seal.PublicKey().Bytes()
	for _, sealed := range halves {
		if !bytes.Equal(sealed.SealKey, own) {
			continue
		}
		half, err := place.Open(d.keys.Seal, sealed.Sealed)
		if err != nil {
			return nil, err
		}
		return half, credential.CheckShare(splitOf(e), party, half)
	}
	return nil, fmt.Errorf("the %v's half is not sealed to this device", party)
}

// splitOf is what an envelope says of the member's split secret.
func splitOf(e *recordv1.ShareEnvelope) *recordv1.SplitSecret {
	return &recordv1.SplitSecret{Tag: e.Tag, DeviceShareHash: e.DeviceHalfHash, ServerShareHash: e.ServerHalfHash}
}

// takeServerHalf keeps the server's half of a share, once the owner's envelope
// says what it must be.
func (d *Device) takeServerHalf(ctx context.Context, m *apiv1.Message, result *SyncResult) error {
	outer, half := &recordv1.SignedServerHalf{}, &recordv1.ServerHalf{}
	if err := canonical.Unmarshal(m.Body, outer); err != nil {
		return fmt.Errorf("%w: %w", errWorthless, err)
	}
	if err := canonical.Unmarshal(outer.Half, half); err != nil {
		return fmt.Errorf("%w: %w", errWorthless, err)
	}
	if !d.server.Verify(signing.NewContext("server-half").Bytes(outer.Half), outer.Signature) {
		return fmt.Errorf("%w: half of a share that the server did not sign", errWorthless)
	}
	if len(half.Account) != 32 || !bytes.Equal(half.Contact, d.keys.Account[:]) {
		return fmt.Errorf("%w: half of a share for somebody else", errWorthless)
	}
	stored, err := d.held(home.HeldID{Account: ledger.AccountID(half.Account), Epoch: half.Epoch, Member: half.Member})
	if err != nil {
		return err
	}
	if stored == nil {
		return errLater
	}
	if len(stored.Share) > 0 {
		return nil
	}
	e, err := recovery.ParseEnvelope(stored.Envelope)
	if err != nil {
		return err
	}
	// The server signs which share this is, not only its half of it: that is one of
	// the two signatures by which an old share has its successor. What does not fit
	// waits: the envelope may be a thief's, and the owner's still to come.
	if !bytes.Equal(half.ShareKey, e.ShareKey) {
		return errLater
	}
	stored.ServerHalf, err = d.openHalf(e, half.Halves, credential.Server)
	if errors.Is(err, home.ErrLocked) {
		return err
	}
	if err != nil {
		result.note("the server's half of %s's share does not fit what %s sent", stored.Owner, stored.Owner)
		return errLater
	}
	if err := d.home.PutHeld(stored); err != nil {
		return err
	}
	return d.makeWhole(ctx, stored, result)
}

// held returns a share that is kept for somebody, nil if there is none.
func (d *Device) held(id home.HeldID) (*recordv1.StoredShare, error) {
	all, err := d.home.Held()
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if other, err := home.ParseHeldID(s); err == nil && other == id {
			return s, nil
		}
	}
	return nil, nil
}

// makeWhole puts both halves together, once they are here: the share is checked
// against the envelope, kept durably, kept again as a slot of this account, and
// only then acknowledged, because the receipt ends both halves.
func (d *Device) makeWhole(ctx context.Context, stored *recordv1.StoredShare, result *SyncResult) error {
	if len(stored.DeviceHalf) == 0 || len(stored.ServerHalf) == 0 {
		return nil
	}
	e, err := recovery.ParseEnvelope(stored.Envelope)
	if err != nil {
		return err
	}
	place := credential.WaitingBinding([32]byte(e.Account), e.Epoch, e.Member, e.Author)
	binary, err := credential.Combine(place, splitOf(e), stored.DeviceHalf, stored.ServerHalf)
	if err != nil {
		return fmt.Errorf("%w: the halves of %s's share do not fit: %w", errWorthless, stored.Owner, err)
	}
	defer clear(binary)
	if err := checkMemberShare(e, binary); err != nil {
		return fmt.Errorf("%w: %w", errWorthless, err)
	}
	stored.Share, stored.DeviceHalf, stored.ServerHalf = binary, nil, nil
	if err := d.home.PutHeld(stored); err != nil {
		return err
	}
	if err := d.followOwner(ledger.AccountID(e.Account), stored.Owner, e); err != nil {
		return err
	}
	if err := d.keepAsSlot(stored, e); err != nil {
		return err
	}
	result.Held = append(result.Held, stored.Owner)
	return d.sendReceipt(ctx, result, stored, e)
}

// checkMemberShare wants the share that the envelope is about.
func checkMemberShare(e *recordv1.ShareEnvelope, binary []byte) error {
	share, err := slip39.ParseBinary(binary)
	if err != nil {
		return fmt.Errorf("the share is none: %w", err)
	}
	defer share.Erase()
	key, err := seed.ShareKey(share, [32]byte(e.Account), e.Epoch, e.Member)
	if err != nil {
		return err
	}
	defer key.Erase()
	if !bytes.Equal(key.PublicKey().Bytes(), e.ShareKey) {
		return fmt.Errorf("the share is not the one whose key the envelope names")
	}
	return nil
}

// heldSource is by what the slot of a held share is found again.
func heldSource(e *recordv1.ShareEnvelope) string {
	return fmt.Sprintf("held/%s/%d/%d", hex.EncodeToString(e.Account), e.Epoch, e.Member)
}

// keepAsSlot stores the share as an ordinary slot of this account too, so that
// it comes back when this account is recovered.
func (d *Device) keepAsSlot(stored *recordv1.StoredShare, e *recordv1.ShareEnvelope) error {
	source := heldSource(e)
	known, err := d.knownSources()
	if err != nil {
		return err
	}
	if len(known[source]) > 0 {
		return nil
	}
	now := d.o.Now().UnixMilli()
	_, err = d.keepWrites([]Item{{
		Metadata: &recordv1.SlotMetadata{
			Kind:     recordv1.SlotMetadata_KIND_HELD_SHARE,
			Title:    "Share held for " + stored.Owner,
			Created:  now,
			Revised:  now,
			SourceId: source,
		},
		Secret: &recordv1.Secret{Kind: &recordv1.Secret_HeldShare{HeldShare: &recordv1.HeldShare{
			Envelope: stored.Envelope, Share: stored.Share, Owner: stored.Owner,
		}}},
	}}, nil)
	return err
}

// sendReceipt proves to the owner that the share is whole here.
func (d *Device) sendReceipt(ctx context.Context, result *SyncResult, stored *recordv1.StoredShare, e *recordv1.ShareEnvelope) error {
	key, err := shareKey(stored, e)
	if err != nil {
		return err
	}
	defer key.Erase()
	holder := &recordv1.Holder{Kind: recordv1.Holder_KIND_MEMBER, Number: e.Member}
	account := ledger.AccountID(e.Account)
	receipt, err := canonical.Marshal(&recordv1.ShareReceipt{
		Epoch:     e.Epoch,
		Holder:    holder,
		Signature: key.Sign(ledger.ReceiptContext(account, e.Epoch, holder, e.ShareKey)),
	})
	if err != nil {
		return err
	}
	_, err = d.deliver(ctx, account, apiv1.Message_KIND_SHARE_RECEIPT, receipt, result)
	return err
}

// shareKey is the key that a held share implies. The caller erases it.
func shareKey(stored *recordv1.StoredShare, e *recordv1.ShareEnvelope) (*signing.PrivateKey, error) {
	share, err := slip39.ParseBinary(stored.Share)
	if err != nil {
		return nil, err
	}
	defer share.Erase()
	return seed.ShareKey(share, [32]byte(e.Account), e.Epoch, e.Member)
}
