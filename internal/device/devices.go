package device

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
)

// maxDeviceName is how long a device's name may be, in bytes.
const maxDeviceName = 64

// DeviceInfo is one device that the account has or had.
type DeviceInfo struct {
	Number    uint64
	Name      string
	This      bool
	Status    ledger.Status
	Added     time.Time
	Changed   time.Time // newest change of the status
	ChangedBy uint64    // device that made it
	Proof     Proof     // of its copy of the ledger
	// SaidLocked says of this device that the server has signed that it is locked: a
	// locked device is not shown the entry.
	SaidLocked bool
	Confirms   time.Time // of a locked device that leaves this one alone: when this one confirms by itself
	Opens      int       // of a revoked device: secrets that it still opens together with the server, until a new epoch commits
}

// Devices lists the devices that the account has and had, as this device's ledger
// knows them. It does not ask the server.
func (d *Device) Devices(ctx context.Context) ([]DeviceInfo, error) {
	if err := d.readable(); err != nil {
		return nil, err
	}
	s := d.home.State()
	var all []DeviceInfo
	locked, err := load[lockedState](d, lockedFile)
	if err != nil {
		return nil, explain(err, "read what the server has said")
	}
	for _, own := range s.Devices() {
		info := d.deviceInfo(s, own)
		info.SaidLocked = info.This && locked != nil && own.Status == ledger.Active
		all = append(all, info)
	}
	return all, ctx.Err()
}

func (d *Device) deviceInfo(s *ledger.State, own *ledger.Device) DeviceInfo {
	info := DeviceInfo{
		Number: own.Number, Name: d.nameOf(s, own), This: own.Number == d.keys.Device, Status: own.Status,
		Added: own.Added.Time, Changed: own.Changed.Time, ChangedBy: own.ChangedBy, Proof: d.copyProof(s, own.Number),
	}
	if from, _ := d.confirmsFrom(s); own.Status == ledger.Locked && len(d.othersActive(s)) == 0 {
		info.Confirms = from
	}
	if own.Status == ledger.Revoked {
		info.Opens = len(s.OpenedBy(own.Number))
	}
	return info
}

// nameOf opens a device's newest name. One that does not open is no reason to fail:
// the device is then known by its number.
func (d *Device) nameOf(s *ledger.State, own *ledger.Device) string {
	g, err := d.generation(s, own.Name.Generation)
	if err != nil {
		return ""
	}
	account := s.Account()
	place := account[:]
	if own.Added.Sequence == 1 {
		place = nil // Genesis makes the account
	}
	c := deviceNameContext(place, own.SignKey, own.Name.Generation)
	if own.Name.Version > 0 {
		c = renamedContext(account, own.SignKey, own.Name.Generation, own.Name.Version)
	}
	name, err := g.Metadata.Open(c, own.Name.Sealed)
	if err != nil {
		return ""
	}
	return printableName(name)
}

// renamedContext is what a name is sealed under that a device is given later: the
// first one that it is renamed to is version 1.
func renamedContext(account ledger.AccountID, key *signing.PublicKey, generation, version uint64) *signing.Context {
	s := deviceNameSealing(account[:], key, generation)
	s.Version = version
	return s.Context()
}

func checkDeviceName(name string) error {
	if len(name) == 0 || len(name) > maxDeviceName || !utf8.ValidString(name) || strings.ContainsFunc(name, unprintable) {
		return failure(CodeUsage, nil, "choose another one", "a device's name has 1 to %d bytes and no control characters", maxDeviceName)
	}
	return nil
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// printableName is what is shown of a name that some device's program sealed, which
// need not have checked it.
func printableName(name []byte) string {
	name = name[:min(len(name), maxDeviceName)]
	return strings.Map(func(r rune) rune {
		if unprintable(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(string(name), "?"))
}

// RenameDevice gives a device another name: this one alone, another one with the
// second factor of a third, or of this device while it is alone.
func (d *Device) RenameDevice(ctx context.Context, number uint64, name string) (*DeviceInfo, error) {
	if err := checkDeviceName(name); err != nil {
		return nil, err
	}
	return d.changeDevice(ctx, number, "rename", func(s *ledger.State, own *ledger.Device) (proto.Message, error) {
		if own.Status == ledger.Revoked {
			return nil, failure(CodeUsage, nil, "", "device %d was revoked", number)
		}
		if d.nameOf(s, own) == name {
			return nil, nil
		}
		if number != d.keys.Device {
			if err := d.secondFactorFor(s, own, "rename"); err != nil {
				return nil, err
			}
		}
		g, err := d.generation(s, s.Generation())
		if err != nil {
			return nil, err
		}
		sealed, err := g.Metadata.Seal(d.o.Rand, renamedContext(s.Account(), own.SignKey, g.Number, own.Name.Version+1), []byte(name))
		return &recordv1.DeviceRenamed{Device: number, Generation: g.Number, SealedName: sealed}, err
	})
}

// LockDevice locks another device, at once and alone: it can ask for nothing any
// more until it is unlocked.
func (d *Device) LockDevice(ctx context.Context, number uint64) (*DeviceInfo, error) {
	return d.changeDevice(ctx, number, "lock", func(_ *ledger.State, own *ledger.Device) (proto.Message, error) {
		switch {
		case number == d.keys.Device:
			return nil, failure(CodeUsage, nil, "lock it from another device", "a device cannot lock itself")
		case own.Status == ledger.Locked:
			return nil, nil
		case own.Status == ledger.Revoked:
			return nil, failure(CodeUsage, nil, "", "device %d was revoked: it can ask for nothing any more", number)
		}
		return &recordv1.DeviceLocked{Device: number}, nil
	})
}

// UnlockDevice unlocks a device, with the second factor, and brings it what was
// made while it was locked.
func (d *Device) UnlockDevice(ctx context.Context, number uint64) (*DeviceInfo, error) {
	return d.changeDevice(ctx, number, "unlock", func(s *ledger.State, own *ledger.Device) (proto.Message, error) {
		switch {
		case own.Status == ledger.Active:
			return nil, nil
		case own.Status == ledger.Revoked:
			return nil, failure(CodeUsage, nil, "add it again as a new device, in a directory of its own: zeropass device add", "device %d was revoked for good", number)
		}
		if err := d.secondFactorFor(s, own, "unlock"); err != nil {
			return nil, err
		}
		generations, shares, err := d.bring(s, own)
		return &recordv1.DeviceUnlocked{Device: number, Generations: generations, SeedShares: shares}, err
	})
}

// RevokeDevice takes a device out of the account for good, with the second factor,
// and makes a key generation for those that stay. What the device still opens with
// a second party, it opens until a new epoch commits: see [Device.Suspects].
func (d *Device) RevokeDevice(ctx context.Context, number uint64) (*DeviceInfo, error) {
	return d.changeDevice(ctx, number, "revoke", func(s *ledger.State, own *ledger.Device) (proto.Message, error) {
		switch {
		case number == d.keys.Device:
			return nil, failure(CodeUsage, nil, "revoke it from another device", "a device cannot revoke itself")
		case own.Status == ledger.Revoked:
			return nil, nil
		}
		if err := d.secondFactorFor(s, own, "revoke"); err != nil {
			return nil, err
		}
		return d.revocation(s, own)
	})
}

// changeDevice appends one record about a device, unless there is nothing to
// change.
func (d *Device) changeDevice(ctx context.Context, number uint64, doing string, record func(*ledger.State, *ledger.Device) (proto.Message, error)) (*DeviceInfo, error) {
	doing = fmt.Sprintf("%s device %d", doing, number)
	if err := d.refresh(ctx); err != nil {
		return nil, d.noticeRevoked(err, doing)
	}
	err := d.append(ctx, func(s *ledger.State) ([]transaction, error) {
		own, ok := s.Device(number)
		if !ok {
			return nil, failure(CodeNotFound, nil, "zeropass device list shows the devices", "there is no device %d", number)
		}
		made, err := record(s, own)
		if err != nil || made == nil {
			return nil, err
		}
		return []transaction{{records: []proto.Message{made}}}, nil
	})
	if err != nil {
		return nil, explain(err, doing)
	}
	d.forgetKeys()
	s := d.home.State()
	own, _ := s.Device(number)
	info := d.deviceInfo(s, own)
	return &info, nil
}

// secondFactorFor explains, before anybody is asked, why a record about a device
// could not get its second factor now: nobody but the device itself is there to
// give it, or this device is alone because it locked the others.
func (d *Device) secondFactorFor(s *ledger.State, subject *ledger.Device, doing string) error {
	others := slices.DeleteFunc(d.othersActive(s), func(o *ledger.Device) bool { return o.Number == subject.Number })
	if len(others) > 0 {
		return nil
	}
	if subject.Status == ledger.Active && doing == "rename" {
		return failure(CodeUsage, nil, "rename it there, where it needs nobody else: zeropass device rename NAME",
			"no other device than device %d itself could confirm this", subject.Number)
	}
	if subject.Status == ledger.Active && subject.Number != d.keys.Device {
		return failure(CodeUsage, nil,
			fmt.Sprintf("if it is lost or stolen: zeropass device lock %d now, and when %s have passed zeropass device %s %d", subject.Number, inWords(s.InUse().WaitingPeriod()), doing, subject.Number),
			"no other device than device %d itself could confirm this", subject.Number)
	}
	return d.confirmsAlready(s)
}

// confirmsAlready returns an error, which says when, while this device is alone
// because others are locked and its own confirm key does not count yet.
func (d *Device) confirmsAlready(s *ledger.State) error {
	from, locked := d.confirmsFrom(s)
	if locked == nil || !d.entryTime(s).Before(from) {
		return nil
	}
	return failure(CodeNotYet, &ledger.RuleError{Rule: ledger.RuleConfirmWait},
		fmt.Sprintf("run the command again after %s; a recovery by your contacts does not wait for it", from.Local().Format(time.DateTime)),
		"device %d was locked on %s; as the only active one left, this device confirms by itself from %s on",
		locked.Number, locked.Changed.Time.Local().Format(time.DateTime), from.Local().Format(time.DateTime))
}

// confirmsFrom returns when the confirm key of a device that is alone counts, and
// the device whose lock makes it wait; nil if none does.
func (d *Device) confirmsFrom(s *ledger.State) (from time.Time, locked *ledger.Device) {
	for _, other := range s.Devices() {
		if other.Status == ledger.Locked && (locked == nil || other.Changed.Time.After(locked.Changed.Time)) {
			locked = other
		}
	}
	if locked == nil {
		return time.Time{}, nil
	}
	return locked.Changed.Time.Add(s.InUse().WaitingPeriod()), locked
}

// bring seals to a device what it has not got: key generations, and group 1's
// share of open epochs.
func (d *Device) bring(s *ledger.State, to *ledger.Device) ([]*recordv1.GenerationKeys, []*recordv1.SealedToEpoch, error) {
	missing, epochs := s.Missing(to.Number)
	var generations []*recordv1.GenerationKeys
	for _, number := range missing {
		g, err := d.generation(s, number)
		if err != nil {
			return nil, nil, err
		}
		sealed, err := g.SealTo(d.o.Rand, s.Account(), d.keys.Device, to)
		if err != nil {
			return nil, nil, err
		}
		generations = append(generations, sealed)
	}
	var shares []*recordv1.SealedToEpoch
	for _, number := range epochs {
		sealed, err := d.seedShareFor(s, number, to)
		if err != nil {
			return nil, nil, err
		}
		shares = append(shares, &recordv1.SealedToEpoch{Epoch: number, Sealed: sealed})
	}
	return generations, shares, nil
}

// seedShareFor seals group 1's share of an epoch to another device.
func (d *Device) seedShareFor(s *ledger.State, number uint64, to *ledger.Device) ([]byte, error) {
	sealed, author, ok := s.SeedShare(number, d.keys.Device)
	epoch, known := s.Epoch(number)
	if !ok || !known {
		return nil, fmt.Errorf("device: the seed share of epoch %d is not sealed to device %d", number, d.keys.Device)
	}
	share, err := seed.OpenDeviceShare(d.keys.Seal, s.Account(), epoch.Record, author, d.keys.Device, sealed)
	if err != nil {
		return nil, err
	}
	defer share.Erase()
	return seed.SealDeviceShare(d.o.Rand, s.Account(), number, d.keys.Device, to, share)
}

// revocation makes the record that revokes a device, with the next key generation
// for those that stay.
func (d *Device) revocation(s *ledger.State, revoked *ledger.Device) (*recordv1.DeviceRevoked, error) {
	g, err := seed.NewGeneration(d.o.Rand, s.Generation()+1)
	if err != nil {
		return nil, err
	}
	defer g.Erase()
	stay := slices.DeleteFunc(s.ActiveDevices(), func(o *ledger.Device) bool { return o.Number == revoked.Number })
	var epochs []seed.EpochKey
	for _, e := range openEpochs(s) {
		master, err := d.master(s, e)
		if err != nil {
			return nil, err
		}
		epochs = append(epochs, seed.EpochKey{Epoch: e.Number, Master: master})
	}
	sealed, err := g.Seal(d.o.Rand, s.Account(), d.keys.Device, stay, epochs...)
	if err != nil {
		return nil, err
	}
	return &recordv1.DeviceRevoked{Device: revoked.Number, Generation: sealed}, nil
}

// lockedFile remembers that the server has signed that this device is locked. A
// locked device is not shown the entry that says so.
const lockedFile = "locked"

type lockedState struct {
	Seen time.Time // by this device's clock
	Text string    // the server's
}

// noticeLocked remembers a lock, and explains it.
func (d *Device) noticeLocked(err error) error {
	var refusal *api.Refusal
	if !errors.As(err, &refusal) {
		return err
	}
	known, failed := load[lockedState](d, lockedFile)
	if failed != nil {
		return failed
	}
	if known == nil {
		known = &lockedState{Seen: d.o.Now()}
	}
	known.Text = refusal.Message
	if failed := d.save(lockedFile, known); failed != nil {
		return failed
	}
	return d.lockedError(known, err)
}

// lockedError is what a locked device says.
func (d *Device) lockedError(l *lockedState, cause error) error {
	return failure(CodeRefused, errors.Join(api.ErrDeviceLocked, cause),
		"if you locked it yourself, unlock it from another device with zeropass device unlock, and run zeropass sync here; if it was not you, somebody has another device of yours: look at zeropass device list there, or ask your contacts for a recovery, which no lock stops",
		"device %d of %s is locked; the server says: %s", d.keys.Device, d.Name(), l.Text)
}
