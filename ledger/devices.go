package ledger

import (
	"fmt"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/signing"
)

// Status says what a device may do.
type Status int

// Statuses of a device. Only an active device counts anywhere.
const (
	Active Status = iota + 1
	Locked
	Revoked
)

// String returns the status in one word.
func (s Status) String() string {
	switch s {
	case Active:
		return "active"
	case Locked:
		return "locked"
	case Revoked:
		return "revoked"
	}
	return fmt.Sprintf("status %d", int(s))
}

// Device is a device of the account, once and for all times: its number is never
// given again.
type Device struct {
	Number     uint64
	Keys       *recordv1.DeviceKeys
	SignKey    *signing.PublicKey
	SealKey    *hpke.PublicKey
	ConfirmKey *signing.PublicKey
	Status     Status
	Name       DeviceName
	Added      Event
	Changed    Event  // newest change of the status
	ChangedBy  uint64 // device that made it
}

// DeviceName is a device's newest name, which only devices of the account open.
type DeviceName struct {
	Version    uint64 // 0 for the one that it was added with, then counted by renamings
	Generation uint64 // of the metadata key that seals it
	Sealed     []byte
	Since      uint64 // sequence of the entry that gave it
}

// Device returns the device with this number.
func (s *State) Device(number uint64) (*Device, bool) {
	d, ok := s.devices[number]
	return d, ok
}

// Devices returns all devices that the account ever had, by number.
func (s *State) Devices() []*Device { return sorted(s.devices) }

// ActiveDevices returns the devices that are neither locked nor revoked, by
// number.
func (s *State) ActiveDevices() []*Device { return activeOf(s.Devices()) }

func activeOf(devices []*Device) []*Device {
	var active []*Device
	for _, d := range devices {
		if d.Status == Active {
			active = append(active, d)
		}
	}
	return active
}

// NextDevice returns the number that the next device takes.
func (s *State) NextDevice() uint64 { return s.lastDevice + 1 }

// DeviceListContext returns what the root key signs when an epoch is prepared:
// the active devices in the order of their numbers.
func DeviceListContext(account AccountID, epoch uint64, active []*Device) *signing.Context {
	c := signing.NewContext("device-list").Bytes(account[:]).Uint(epoch).Count(len(active))
	for _, d := range active {
		c.Uint(d.Number).Bytes(d.Keys.SignKey).Bytes(d.Keys.SealKey).Bytes(d.Keys.ConfirmKey)
	}
	return c
}

// setDevice adds an active device, whose keys were checked for their form and
// must be new to the account.
func (s *State) setDevice(tx *transaction, number uint64, keys *recordv1.DeviceKeys) error {
	if err := s.newKeys(keys.SignKey, keys.SealKey, keys.ConfirmKey); err != nil {
		return err
	}
	d := &Device{
		Number: number, Keys: keys, Status: Active, Added: tx.event(), Changed: tx.event(), ChangedBy: tx.author,
		Name: DeviceName{Generation: keys.Generation, Sealed: keys.SealedName, Since: tx.sequence},
	}
	var err error
	if d.SignKey, err = signing.NewPublicKey(keys.SignKey); err != nil {
		return err
	}
	if d.SealKey, err = hpke.NewPublicKey(keys.SealKey); err != nil {
		return err
	}
	if d.ConfirmKey, err = signing.NewPublicKey(keys.ConfirmKey); err != nil {
		return err
	}
	put(s, s.devices, number, d)
	assign(s, &s.lastDevice, number)
	assign(s, &s.listSince, tx.sequence)
	return nil
}

// newKeys takes keys that no device or server of the account had before. A key
// of two parties would let one's signature stand for the other's.
func (s *State) newKeys(keys ...[]byte) error {
	for _, key := range keys {
		if s.keys[string(key)] {
			return refuse(RuleKeyReused, "%x", key)
		}
		put(s, s.keys, string(key), true)
	}
	return nil
}

func (s *State) setStatus(tx *transaction, d *Device, status Status) {
	changed := *d
	changed.Status = status
	changed.Changed = tx.event()
	changed.ChangedBy = tx.author
	put(s, s.devices, d.Number, &changed)
	assign(s, &s.listSince, tx.sequence)
}

func (s *State) deviceAdded(tx *transaction, r *recordv1.DeviceAdded) error {
	if r.Device != s.NextDevice() {
		return refuse(RuleDevice, "device %d is added where %d is next", r.Device, s.NextDevice())
	}
	if r.Keys.Generation != s.generation {
		return refuse(RuleGeneration, "the name is sealed under generation %d, not %d", r.Keys.Generation, s.generation)
	}
	if err := s.bring(tx, r.Device, r.Generations, r.SeedShares); err != nil {
		return err
	}
	return s.setDevice(tx, r.Device, r.Keys)
}

// Missing returns what is not sealed to a device: key generations, and epochs of
// those in use and prepared whose group 1's share it has not got. Of an active
// device that is nothing; of a locked one what DeviceUnlocked must bring it; of
// [State.NextDevice] what DeviceAdded must. Both ascend.
func (s *State) Missing(device uint64) (generations, epochs []uint64) {
	if s.inUse == 0 {
		return nil, nil
	}
	for g := uint64(1); g <= s.generation; g++ {
		if _, ok := s.deviceKeys[generationDevice{g, device}]; !ok {
			generations = append(generations, g)
		}
	}
	for _, epoch := range s.writtenEpochs() {
		if _, ok := s.seedShares[epochDevice{epoch, device}]; !ok {
			epochs = append(epochs, epoch)
		}
	}
	return generations, epochs
}

// bring takes the keys and shares that are missing to a device, exactly those,
// with the device-share key of generations where somebody still has it.
func (s *State) bring(tx *transaction, device uint64, generations []*recordv1.GenerationKeys, shares []*recordv1.SealedToEpoch) error {
	missing, epochs := s.Missing(device)
	if len(generations) != len(missing) {
		return refuse(RuleGeneration, "%d generations are sealed to device %d, not %d", len(generations), device, len(missing))
	}
	for i, g := range generations {
		if g.Number != missing[i] {
			return refuse(RuleGeneration, "generation %d is sealed to device %d, not %d", g.Number, device, missing[i])
		}
		if (len(g.DeviceShareKey) > 0) != (g.Number >= s.openSince) {
			return refuse(RuleGeneration, "generation %d is not sealed as it is in use", g.Number)
		}
		put(s, s.deviceKeys, generationDevice{g.Number, device}, sealedKeys{g.MetadataKey, g.DeviceShareKey, tx.author})
	}
	if len(shares) != len(epochs) {
		return refuse(RuleSealedTo, "%d seed shares are sealed to device %d, not %d", len(shares), device, len(epochs))
	}
	for i, share := range shares {
		if share.Epoch != epochs[i] {
			return refuse(RuleSealedTo, "the seed share of epoch %d is sealed to device %d, not that of epoch %d", share.Epoch, device, epochs[i])
		}
		put(s, s.seedShares, epochDevice{share.Epoch, device}, sealedShare{share.Sealed, tx.author})
	}
	return nil
}

// subject returns another device than the author, in one of the statuses.
func (s *State) subject(tx *transaction, number uint64, statuses ...Status) (*Device, error) {
	if number == tx.author {
		return nil, refuse(RuleOwnDevice, "device %d", number)
	}
	d, ok := s.devices[number]
	if !ok {
		return nil, refuse(RuleDevice, "there is no device %d", number)
	}
	for _, status := range statuses {
		if d.Status == status {
			return d, nil
		}
	}
	return nil, refuse(RuleDevice, "device %d is %v", number, d.Status)
}

func (s *State) deviceLocked(tx *transaction, r *recordv1.DeviceLocked) error {
	d, err := s.subject(tx, r.Device, Active)
	if err != nil {
		return err
	}
	s.setStatus(tx, d, Locked)
	return nil
}

func (s *State) deviceUnlocked(tx *transaction, r *recordv1.DeviceUnlocked) error {
	d, err := s.subject(tx, r.Device, Locked)
	if err != nil {
		return err
	}
	if err := s.bring(tx, r.Device, r.Generations, r.SeedShares); err != nil {
		return err
	}
	s.setStatus(tx, d, Active)
	return nil
}

func (s *State) deviceRevoked(tx *transaction, r *recordv1.DeviceRevoked) error {
	d, err := s.subject(tx, r.Device, Active, Locked)
	if err != nil {
		return err
	}
	s.setStatus(tx, d, Revoked)
	s.markRevocation()
	if r.Generation.Number != s.generation+1 {
		return refuse(RuleGeneration, "generation %d is made where %d is next", r.Generation.Number, s.generation+1)
	}
	assign(s, &s.generation, r.Generation.Number)
	return s.sealGeneration(tx, r.Generation, s.writtenEpochs())
}

// deviceRenamed gives a device another name: its own, or with the second factor
// another one's. The device list, which is about keys, stays as it is.
func (s *State) deviceRenamed(tx *transaction, r *recordv1.DeviceRenamed) error {
	d, ok := s.devices[r.Device]
	if !ok {
		return refuse(RuleDevice, "there is no device %d", r.Device)
	}
	if d.Status == Revoked {
		return refuse(RuleDevice, "device %d is %v", r.Device, d.Status)
	}
	if r.Generation != s.generation {
		return refuse(RuleGeneration, "the name is sealed under generation %d, not %d", r.Generation, s.generation)
	}
	changed := *d
	changed.Name = DeviceName{Version: d.Name.Version + 1, Generation: r.Generation, Sealed: r.SealedName, Since: tx.sequence}
	put(s, s.devices, d.Number, &changed)
	return nil
}

// sealGeneration takes the keys of a generation, sealed to exactly the active
// devices and backed up to exactly these epochs. A locked device may be a thief's:
// it gets nothing new until DeviceUnlocked brings it what it missed.
func (s *State) sealGeneration(tx *transaction, g *recordv1.KeyGeneration, epochs []uint64) error {
	if err := s.sealedToActive(g.MetadataKeys); err != nil {
		return fmt.Errorf("metadata key of generation %d: %w", g.Number, err)
	}
	shares := g.DeviceShareKeys
	if g.Number < s.openSince {
		if len(shares) > 0 {
			return refuse(RuleGeneration, "nobody has the device-share key of generation %d any more", g.Number)
		}
	} else if err := s.sealedToActive(shares); err != nil {
		return fmt.Errorf("device-share key of generation %d: %w", g.Number, err)
	}
	for i, k := range g.MetadataKeys {
		keys := sealedKeys{metadata: k.Sealed, author: tx.author}
		if len(shares) > 0 {
			keys.deviceShare = shares[i].Sealed // of the same device: both lists are the active ones
		}
		put(s, s.deviceKeys, generationDevice{g.Number, k.Device}, keys)
	}
	if len(g.Backups) != len(epochs) {
		return refuse(RuleBackup, "generation %d is backed up to %d epochs, not %d", g.Number, len(g.Backups), len(epochs))
	}
	for i, b := range g.Backups {
		if b.Epoch != epochs[i] {
			return refuse(RuleBackup, "generation %d is backed up to epoch %d, not %d", g.Number, b.Epoch, epochs[i])
		}
		put(s, s.backups, generationEpoch{g.Number, b.Epoch}, sealedBackup{b, tx.author})
	}
	return nil
}

// sealedToActive wants a ciphertext for every active device, in the order of
// their numbers, and for no other.
func (s *State) sealedToActive(list []*recordv1.SealedToDevice) error {
	active := s.ActiveDevices()
	for _, sealed := range list {
		d, ok := s.devices[sealed.Device]
		if !ok {
			return refuse(RuleSealedTo, "there is no device %d", sealed.Device)
		}
		if d.Status != Active {
			return refuse(RuleSealedTo, "device %d is %v", sealed.Device, d.Status)
		}
	}
	// Numbers ascend, so as many as there are active devices are all of them.
	if len(list) != len(active) {
		return refuse(RuleSealedTo, "%d active devices, not all %d", len(list), len(active))
	}
	return nil
}
