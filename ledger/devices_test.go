package ledger

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// TestLockedDeviceGetsNothing: what is made while a device is locked is not
// sealed to it, for it may be in a thief's hands.
func TestLockedDeviceGetsNothing(t *testing.T) {
	w := play(t, recoverable+"D D D P:a L2 X3 P:b E B1 B2 R1 R2 RS T C E T")
	s := w.state
	if generations, epochs := s.Missing(2); !slices.Equal(generations, []uint64{2}) || !slices.Equal(epochs, []uint64{2, 3}) {
		t.Errorf("device 2 misses generations %v and shares of epochs %v", generations, epochs)
	}
	if _, _, _, ok := s.GenerationKeys(2, 2); ok {
		t.Error("generation 2 is sealed to device 2")
	}
	for epoch := uint64(2); epoch <= 3; epoch++ {
		if _, _, ok := s.SeedShare(epoch, 2); ok {
			t.Errorf("the share of epoch %d is sealed to device 2", epoch)
		}
	}
	if opened := s.OpenedBy(2); len(opened) != 0 {
		t.Errorf("device 2 opens %d slots of epoch 2", len(opened))
	}
	// It has what it had.
	if _, _, author, ok := s.GenerationKeys(1, 2); !ok || author != 1 {
		t.Errorf("generation 1 is sealed to device 2 by device %d", author)
	}
	if _, _, ok := s.SeedShare(1, 2); !ok {
		t.Error("the share of epoch 1 is not sealed to device 2")
	}
	// A new device gets everything, and one that is not locked misses nothing.
	if generations, epochs := s.Missing(s.NextDevice()); !slices.Equal(generations, []uint64{1, 2}) || !slices.Equal(epochs, []uint64{2, 3}) {
		t.Errorf("a new device misses generations %v and shares of epochs %v", generations, epochs)
	}
	if generations, epochs := s.Missing(4); generations != nil || epochs != nil {
		t.Errorf("device 4 misses generations %v and shares of epochs %v", generations, epochs)
	}
	if generations, epochs := play(t, "G").state.Missing(1); generations != nil || epochs != nil {
		t.Errorf("before epoch 1 device 1 misses generations %v and shares of epochs %v", generations, epochs)
	}
}

// TestUnlockedDeviceGetsWhatItMissed: DeviceUnlocked brings it, sealed by its
// author, and the device does then what every device does.
func TestUnlockedDeviceGetsWhatItMissed(t *testing.T) {
	w := play(t, recoverable+"D D D P:a L2 X3 P:b E B1 B2 R1 R2 RS T C E T @4")
	r := w.deviceUnlocked(2)
	must(t, w.apply(w.draft(r)))
	s := w.state
	metadata, deviceShare, author, ok := s.GenerationKeys(2, 2)
	if !ok || author != 4 || !bytes.Equal(metadata, r.Generations[0].MetadataKey) || !bytes.Equal(deviceShare, r.Generations[0].DeviceShareKey) {
		t.Errorf("generation 2, sealed by device %d: %x %x", author, metadata, deviceShare)
	}
	for i, epoch := range []uint64{2, 3} {
		if sealed, author, ok := s.SeedShare(epoch, 2); !ok || author != 4 || !bytes.Equal(sealed, r.SeedShares[i].Sealed) {
			t.Errorf("share of epoch %d, sealed by device %d: %x", epoch, author, sealed)
		}
	}
	if _, _, author, ok := s.GenerationKeys(1, 2); !ok || author != 1 {
		t.Errorf("generation 1 is sealed to device 2 by device %d", author)
	}
	if generations, epochs := s.Missing(2); generations != nil || epochs != nil {
		t.Errorf("device 2 still misses generations %v and shares of epochs %v", generations, epochs)
	}
	if opened := s.OpenedBy(2); len(opened) != 2 {
		t.Errorf("device 2 opens %d slots", len(opened))
	}
	device2, _ := s.Device(2)
	list := DeviceListContext(s.Account(), 4, s.ActiveDevices()).Encode()
	if device2.Status != Active || !bytes.Contains(list, device2.Keys.SignKey) {
		t.Errorf("device 2 is %v and not on the list", device2.Status)
	}
	// The next epoch is sealed to it again, by its author.
	history(w, "@2 E @4 P:c")
	if _, author, ok := s.SeedShare(4, 2); !ok || author != 2 {
		t.Errorf("share of epoch 4, sealed by device %d", author)
	}
	if _, _, author, _ := s.GenerationKeys(2, 2); author != 2 {
		t.Errorf("generation 2 is sealed to device 2 by device %d", author)
	}
	checkInvariants(w)
}

// TestLockedAndUnlockedMissingNothing: where nothing was made in between,
// DeviceUnlocked names the device alone.
func TestLockedAndUnlockedMissingNothing(t *testing.T) {
	w := play(t, recoverable+"D D P:a E L2 P:a P:b")
	r := w.deviceUnlocked(2)
	if len(r.Generations)+len(r.SeedShares) > 0 {
		t.Errorf("%d generations and %d shares were made", len(r.Generations), len(r.SeedShares))
	}
	history(w, "U2 @2 P:b")
	checkInvariants(w)
}

// TestUnlockedAndRevokedInOneEntry: what one record makes, a later one brings.
func TestUnlockedAndRevokedInOneEntry(t *testing.T) {
	const start = "G E D D D L2"
	w := play(t, start)
	if err := w.apply(w.draft(w.deviceRevoked(3), w.deviceUnlocked(2))); !errors.Is(err, &RuleError{Rule: RuleGeneration}) {
		t.Errorf("device 2 is active without generation 2: %v", err)
	}
	unlocked := w.deviceUnlocked(2)
	unlocked.Generations = append(unlocked.Generations, &recordv1.GenerationKeys{Number: 2, MetadataKey: w.sealed(), DeviceShareKey: w.sealed()})
	must(t, w.apply(w.draft(w.deviceRevoked(3), unlocked)))
	checkInvariants(w)
	// In the other order device 2 is one of the active ones.
	w = play(t, start)
	revoked := w.deviceRevoked(3)
	revoked.Generation = w.generation(2, true, []*Device{{Number: 1}, {Number: 2}, {Number: 4}}, 1)
	must(t, w.apply(w.draft(w.deviceUnlocked(2), revoked)))
	checkInvariants(w)
}

// TestRenamed: the newest name counts, a device names itself alone, and neither
// the device list nor what it was added with changes.
func TestRenamed(t *testing.T) {
	w := play(t, recoverable+"D D @2 N2 @1 N2 N1")
	d, _ := w.state.Device(2)
	if d.Name.Version != 2 || d.Name.Generation != 1 || d.Name.Since != w.state.Head().Sequence-1 {
		t.Errorf("%+v", d.Name)
	}
	newest := w.entries[len(w.entries)-2]
	if r := newest.Records()[0].GetDeviceRenamed(); !bytes.Equal(r.SealedName, d.Name.Sealed) || newest.Proposal() == nil {
		t.Error("the newest name is another one, or device 1 gave it alone")
	}
	if own := w.entries[len(w.entries)-1]; own.Proposal() != nil {
		t.Error("a device's own name took a second factor")
	}
	if d.Added.Sequence != d.Changed.Sequence || w.state.listSince != w.state.devices[3].Added.Sequence || string(d.Keys.SealedName) != "name" {
		t.Errorf("%+v", d)
	}
	history(w, "L2 N2 X2 N2!device")
	if d, _ = w.state.Device(2); d.Name.Version != 3 || d.ChangedBy != 1 {
		t.Errorf("%+v", d)
	}
	checkInvariants(w)
}
