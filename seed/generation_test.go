package seed

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"zeropass.dev/zeropass/aead"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
)

var testAccount = [32]byte{0xac}

func mustGeneration(t testing.TB, number uint64) *Generation {
	t.Helper()
	g, err := NewGeneration(rand.Reader, number)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func recipient(t testing.TB, number uint64) (*ledger.Device, *hpke.PrivateKey) {
	t.Helper()
	key := privateKey(t, byte(0x40+number))
	return &ledger.Device{Number: number, SealKey: key.PublicKey()}, key
}

func sameKey(a, b *aead.Key) bool {
	return a != nil && b != nil && bytes.Equal(a.Bytes(), b.Bytes())
}

func TestGenerationOpens(t *testing.T) {
	keys := newTestKeys(t, newSeed(t, ascending(0, Size)))
	later := newTestKeys(t, newSeed(t, ascending(1, Size)))
	g := mustGeneration(t, 5)
	one, oneKey := recipient(t, 1)
	two, twoKey := recipient(t, 2)
	sealed, err := g.Seal(rand.Reader, testAccount, 7, []*ledger.Device{one, two}, EpochKey{3, keys.Master()}, EpochKey{4, later.Master()})
	if err != nil {
		t.Fatal(err)
	}
	if sealed.Number != 5 || len(sealed.MetadataKeys) != 2 || len(sealed.DeviceShareKeys) != 2 || len(sealed.Backups) != 2 {
		t.Fatalf("%v", sealed)
	}
	for i, key := range []*hpke.PrivateKey{oneKey, twoKey} {
		device := uint64(i) + 1
		if sealed.MetadataKeys[i].Device != device || sealed.DeviceShareKeys[i].Device != device {
			t.Errorf("place %d is for device %d", i, sealed.MetadataKeys[i].Device)
		}
		metadata, err := OpenMetadataKey(key, testAccount, 5, 7, device, sealed.MetadataKeys[i].Sealed)
		if err != nil || !sameKey(metadata, g.Metadata) {
			t.Errorf("metadata key of device %d: %v", device, err)
		}
		deviceShare, err := OpenDeviceShareKey(key, testAccount, 5, 7, device, sealed.DeviceShareKeys[i].Sealed)
		if err != nil || !sameKey(deviceShare, g.DeviceShare) {
			t.Errorf("device-share key of device %d: %v", device, err)
		}
	}
	for i, k := range []*Keys{keys, later} {
		backup := sealed.Backups[i]
		if backup.Epoch != uint64(3+i) || k.Master().CheckSlotKey(0, 5, backup.PublicKey) != nil {
			t.Errorf("backup %d: %v", i, backup)
		}
		metadata, err := k.OpenMetadataKeyBackup(testAccount, 5, 7, backup)
		if err != nil || !sameKey(metadata, g.Metadata) {
			t.Errorf("backup in epoch %d: %v", backup.Epoch, err)
		}
	}
}

func TestGenerationOpensNowhereElse(t *testing.T) {
	keys := newTestKeys(t, newSeed(t, ascending(0, Size)))
	g := mustGeneration(t, 5)
	to, key := recipient(t, 2)
	sealed, err := g.Seal(rand.Reader, testAccount, 7, []*ledger.Device{to}, EpochKey{3, keys.Master()})
	if err != nil {
		t.Fatal(err)
	}
	metadata, deviceShare, backup := sealed.MetadataKeys[0].Sealed, sealed.DeviceShareKeys[0].Sealed, sealed.Backups[0]
	moved := &recordv1.KeyBackup{Epoch: 4, PublicKey: backup.PublicKey, Sealed: backup.Sealed}
	_, other := recipient(t, 3)
	slotKey, err := keys.SlotKey(0, 5)
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() (*aead.Key, error){
		"another account":    func() (*aead.Key, error) { return OpenMetadataKey(key, [32]byte{}, 5, 7, 2, metadata) },
		"another generation": func() (*aead.Key, error) { return OpenMetadataKey(key, testAccount, 6, 7, 2, metadata) },
		"another author":     func() (*aead.Key, error) { return OpenMetadataKey(key, testAccount, 5, 8, 2, metadata) },
		"another device":     func() (*aead.Key, error) { return OpenMetadataKey(key, testAccount, 5, 7, 3, metadata) },
		"another key":        func() (*aead.Key, error) { return OpenMetadataKey(other, testAccount, 5, 7, 2, metadata) },
		"the device-share key as metadata key": func() (*aead.Key, error) {
			return OpenMetadataKey(key, testAccount, 5, 7, 2, deviceShare)
		},
		"the metadata key as device-share key": func() (*aead.Key, error) {
			return OpenDeviceShareKey(key, testAccount, 5, 7, 2, metadata)
		},
		"the backup as a device's": func() (*aead.Key, error) {
			return OpenMetadataKey(slotKey, testAccount, 5, 7, 2, backup.Sealed)
		},
		"nothing":           func() (*aead.Key, error) { return OpenDeviceShareKey(key, testAccount, 5, 7, 2, nil) },
		"backup, account":   func() (*aead.Key, error) { return keys.OpenMetadataKeyBackup([32]byte{}, 5, 7, backup) },
		"backup, author":    func() (*aead.Key, error) { return keys.OpenMetadataKeyBackup(testAccount, 5, 8, backup) },
		"backup, epoch":     func() (*aead.Key, error) { return keys.OpenMetadataKeyBackup(testAccount, 5, 7, moved) },
		"backup, number":    func() (*aead.Key, error) { return keys.OpenMetadataKeyBackup(testAccount, 6, 7, backup) },
		"no backup":         func() (*aead.Key, error) { return keys.OpenMetadataKeyBackup(testAccount, 5, 7, nil) },
		"a key of 31 bytes": func() (*aead.Key, error) { return openShort(t, key) },
	} {
		if got, err := open(); got != nil || !errors.Is(err, ErrOpen) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if got, err := keys.OpenMetadataKeyBackup(testAccount, 0, 7, backup); got != nil || !errors.Is(err, ErrInput) {
		t.Errorf("backup of generation 0: %v, %v", got, err)
	}
}

// openShort opens a ciphertext that is right in all but its length.
func openShort(t *testing.T, key *hpke.PrivateKey) (*aead.Key, error) {
	t.Helper()
	c := generationToDevice(kindMetadataKey, testAccount, 5, 7, 2).Context()
	sealed, err := hpke.Seal(rand.Reader, key.PublicKey(), c.Encode(), nil, make([]byte, 31))
	if err != nil {
		t.Fatal(err)
	}
	return OpenMetadataKey(key, testAccount, 5, 7, 2, sealed)
}

// After a recovery nobody has the device-share keys of earlier generations.
func TestGenerationWithoutDeviceShareKey(t *testing.T) {
	g := mustGeneration(t, 5)
	g.DeviceShare = nil
	to, _ := recipient(t, 2)
	sealed, err := g.Seal(rand.Reader, testAccount, 7, []*ledger.Device{to})
	if err != nil || len(sealed.MetadataKeys) != 1 || sealed.DeviceShareKeys != nil || sealed.Backups != nil {
		t.Errorf("%v, %v", sealed, err)
	}
	keys, err := g.SealTo(rand.Reader, testAccount, 7, to)
	if err != nil || len(keys.MetadataKey) == 0 || keys.DeviceShareKey != nil || keys.Number != 5 {
		t.Errorf("%v, %v", keys, err)
	}
	g.Erase()
	if !erased(func() { g.Metadata.Bytes() }) {
		t.Error("the metadata key was not erased")
	}
}

// erased says whether use panics, as the use of an erased key does.
func erased(use func()) (panicked bool) {
	defer func() { panicked = recover() != nil }()
	use()
	return false
}

func TestGenerationErase(t *testing.T) {
	g := mustGeneration(t, 1)
	g.Erase()
	if !erased(func() { g.Metadata.Bytes() }) || !erased(func() { g.DeviceShare.Bytes() }) {
		t.Error("a key was not erased")
	}
}

func TestGenerationRefuses(t *testing.T) {
	master := newTestKeys(t, newSeed(t, ascending(0, Size))).Master()
	to, _ := recipient(t, 2)
	g := mustGeneration(t, 5)
	for name, seal := range map[string]func() (*recordv1.KeyGeneration, error){
		"a device without number": func() (*recordv1.KeyGeneration, error) {
			return g.Seal(rand.Reader, testAccount, 7, []*ledger.Device{{SealKey: to.SealKey}})
		},
		"a device without key": func() (*recordv1.KeyGeneration, error) {
			return g.Seal(rand.Reader, testAccount, 7, []*ledger.Device{{Number: 2}})
		},
		"epoch 0": func() (*recordv1.KeyGeneration, error) {
			return g.Seal(rand.Reader, testAccount, 7, nil, EpochKey{0, master})
		},
		"an epoch without key": func() (*recordv1.KeyGeneration, error) {
			return g.Seal(rand.Reader, testAccount, 7, nil, EpochKey{3, nil})
		},
		"a generation beyond BIP32": func() (*recordv1.KeyGeneration, error) {
			return (&Generation{Number: 1 << 31, Metadata: g.Metadata}).Seal(rand.Reader, testAccount, 7, nil, EpochKey{3, master})
		},
		"generation 0": func() (*recordv1.KeyGeneration, error) {
			return (&Generation{Metadata: g.Metadata}).Seal(rand.Reader, testAccount, 7, []*ledger.Device{to})
		},
		"no metadata key": func() (*recordv1.KeyGeneration, error) {
			return (&Generation{Number: 5}).Seal(rand.Reader, testAccount, 7, []*ledger.Device{to})
		},
	} {
		if sealed, err := seal(); sealed != nil || !errors.Is(err, ErrInput) {
			t.Errorf("%s: %v, %v", name, sealed, err)
		}
	}
	if g, err := NewGeneration(rand.Reader, 0); g != nil || !errors.Is(err, ErrInput) {
		t.Errorf("generation 0: %v, %v", g, err)
	}
	for reads := range 2 {
		if g, err := NewGeneration(&failing{fixed(1), reads}, 1); g != nil || !errors.Is(err, errSource) {
			t.Errorf("after %d reads: %v, %v", reads, g, err)
		}
	}
	for reads := range 3 {
		sealed, err := g.Seal(&failing{fixed(1), reads}, testAccount, 7, []*ledger.Device{to}, EpochKey{3, master})
		if sealed != nil || !errors.Is(err, errSource) {
			t.Errorf("after %d reads: %v, %v", reads, sealed, err)
		}
	}
}
