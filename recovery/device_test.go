package recovery

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

var (
	passphrase        = []byte("correct horse battery staple")
	confirmPassphrase = []byte("another one altogether")
)

// homeWorld is an account whose first device has a directory.
func homeWorld(t *testing.T) (*world, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "home")
	h := must[*home.Home](t)(home.Create(dir, home.Creation{
		Passphrase: passphrase, ConfirmPassphrase: confirmPassphrase, WorkFactor: 1,
		Config: &recordv1.HomeConfig{Name: "Ada", Url: "https://zeropass.test"}, Rand: rand.Reader,
	}))
	keys := must[*home.Keys](t)(h.Keys())
	confirm := must[*signing.PrivateKey](t)(h.ConfirmKey(confirmPassphrase))
	w := newWorld(t, 80, &keyring{sign: keys.Sign.(*signing.PrivateKey), seal: keys.Seal.(*hpke.PrivateKey), confirm: confirm})
	w.prepare(2, 3, true)
	w.put(nil, titles(4)...)
	w.commit(1, 3)
	ok(t, h.SetIdentity(w.account(), 1))
	ok(t, h.Append(w.entries...))
	ok(t, h.Close())
	return w, dir
}

// The promise itself: a copied directory, its passphrase, and words.
func TestDirectoryPassphraseAndWords(t *testing.T) {
	w, dir := homeWorld(t)
	copied := filepath.Join(t.TempDir(), "copy")
	ok(t, os.CopyFS(copied, os.DirFS(dir)))
	h := must[*home.Home](t)(home.OpenReadOnly(copied))
	defer h.Close()
	if d, err := FromHome(h); d != nil || !errors.Is(err, home.ErrLocked) {
		t.Fatalf("without the passphrase: %v", err)
	}
	ok(t, h.Unlock(passphrase))
	device := must[*Device](t)(FromHome(h))
	defer device.Erase()
	if device.Number() != 1 || device.State().Head() != w.state.Head() {
		t.Fatalf("device %d", device.Number())
	}

	var shares []*slip39.Share
	for _, text := range []string{w.epochs[1].members[0].Mnemonic(), QRText(w.epochs[1].members[2])} {
		share := must[*slip39.Share](t)(ParseShare(text))
		place := must[Place](t)(Identify(share, device.State()))
		ok(t, place.In(1))
		shares = append(shares, share)
	}
	own := must[*slip39.Share](t)(device.SeedShare(1))
	keys, report, err := Rebuild(append(shares, own), device.State(), 1)
	if err != nil {
		t.Fatalf("%v\n%v", err, report)
	}
	backup := NewBackup(device.State(), 1, keys)
	w.wantOpened(Open(t.Context(), device.State(), 1, device, backup))
	backup.Erase()
	if opened, err := Open(t.Context(), device.State(), 1, device, backup); err != nil || opened[0].Secret != nil || opened[0].Err == nil {
		t.Errorf("with erased keys: %v", err)
	}
}

func TestFromHomeOfAnotherAccount(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	h := must[*home.Home](t)(home.Create(dir, home.Creation{
		Passphrase: passphrase, ConfirmPassphrase: confirmPassphrase, WorkFactor: 1,
		Config: &recordv1.HomeConfig{Name: "Eve", Url: "https://zeropass.test"}, Rand: rand.Reader,
	}))
	defer h.Close()
	if d, err := FromHome(h); d != nil || !errors.Is(err, ErrDevice) {
		t.Errorf("before there is a ledger: %v", err)
	}
	w := newAccount(t, 81, "one")
	ok(t, h.Append(w.entries...))
	if d, err := FromHome(h); d != nil || !errors.Is(err, ErrDevice) {
		t.Errorf("a stranger's ledger: %v", err)
	}
}

func TestNewDeviceRefuses(t *testing.T) {
	w := newAccount(t, 82, "one")
	for name, test := range map[string]struct {
		number uint64
		key    *keyring
	}{
		"no such device": {2, w.devices[1]},
		"another key":    {1, w.keyring()},
	} {
		if d, err := NewDevice(w.state, test.number, test.key.seal); d != nil || !errors.Is(err, ErrDevice) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := w.device(1)
	if share, err := d.SeedShare(2); share != nil || !errors.Is(err, ErrNoEpoch) {
		t.Errorf("an epoch to come: %v", err)
	}
	if key, err := d.MetadataKey(2); key != nil || !errors.Is(err, ErrNoKey) {
		t.Errorf("a generation to come: %v", err)
	}
	put := w.state.LiveSlots()[0].Put(1)
	ok(t, d.CheckSlotKey(put))
	put.SlotKey = w.keyring().sign.PublicKey().Bytes()
	if err := d.CheckSlotKey(put); !errors.Is(err, seed.ErrSlotKey) {
		t.Errorf("another slot key: %v", err)
	}
	d.Erase()
	if share, err := d.Share(put); share != nil || !errors.Is(err, ErrNoKey) {
		t.Errorf("erased: %v", err)
	}
}

// A device that a recovery added has no part in earlier epochs.
func TestSeedShareOfAnEarlierEpoch(t *testing.T) {
	w := newAccount(t, 83, "one")
	w.newEpoch()
	r := w.recover()
	record, _ := r.record()
	ok(t, r.finish(record))
	d := w.device(2)
	if share, err := d.SeedShare(1); share != nil || !errors.Is(err, ErrNoShare) {
		t.Errorf("%v", err)
	}
	if share, err := d.SeedShare(2); err != nil || !share.Equal(w.epochs[2].device) {
		t.Errorf("%v", err)
	}
}

// What was made while a device was locked opens to it when it is unlocked, and
// not before.
func TestDeviceThatWasLocked(t *testing.T) {
	w := newAccount(t, 84, "one")
	for number := uint64(2); number <= 3; number++ {
		w.devices[number] = w.keyring()
		generations, shares := w.missing(number)
		w.apply(&recordv1.DeviceAdded{
			Device: number, Generations: generations, SeedShares: shares,
			Keys: &recordv1.DeviceKeys{
				SignKey:    w.devices[number].sign.PublicKey().Bytes(),
				SealKey:    w.devices[number].seal.PublicKey().Bytes(),
				ConfirmKey: w.devices[number].confirm.PublicKey().Bytes(),
				Generation: 1,
				SealedName: []byte("name"),
			},
		})
		w.apply(&recordv1.DeviceLocked{Device: number})
		w.now = w.now.Add(73 * time.Hour)
	}
	w.prepare(2, 3, false)
	next := must[*seed.Generation](t)(seed.NewGeneration(w.rand, 2))
	epochs := []seed.EpochKey{{Epoch: 1, Master: w.epochs[1].master}, {Epoch: 2, Master: w.epochs[2].master}}
	w.apply(&recordv1.DeviceRevoked{Device: 3, Generation: must[*recordv1.KeyGeneration](t)(
		next.Seal(w.rand, w.account(), 1, w.state.ActiveDevices(), epochs...))})
	earlier := w.generation
	w.generation = next

	d := w.device(2)
	if share, err := d.SeedShare(2); share != nil || !errors.Is(err, ErrNoShare) {
		t.Errorf("locked: %v", err)
	}
	if key, err := d.MetadataKey(2); key != nil || !errors.Is(err, ErrNoKey) {
		t.Errorf("locked: %v", err)
	}
	generations, shares := w.missing(2)
	w.apply(&recordv1.DeviceUnlocked{Device: 2, Generations: generations, SeedShares: shares})
	d = w.device(2)
	for epoch := uint64(1); epoch <= 2; epoch++ {
		if share, err := d.SeedShare(epoch); err != nil || !share.Equal(w.epochs[epoch].device) {
			t.Errorf("unlocked, share of epoch %d: %v", epoch, err)
		}
	}
	for _, g := range []*seed.Generation{earlier, next} {
		if key, err := d.MetadataKey(g.Number); err != nil || !bytes.Equal(key.Bytes(), g.Metadata.Bytes()) {
			t.Errorf("unlocked, generation %d: %v", g.Number, err)
		}
	}
	put := w.state.LiveSlots()[0].Put(1)
	if _, err := d.Share(put); err != nil {
		t.Errorf("unlocked: %v", err)
	}
}

// missing seals to a device what the ledger has not sealed to it.
func (w *world) missing(device uint64) (generations []*recordv1.GenerationKeys, shares []*recordv1.SealedToEpoch) {
	w.t.Helper()
	to := &ledger.Device{Number: device, SealKey: w.devices[device].seal.PublicKey()}
	numbers, epochs := w.state.Missing(device)
	for _, number := range numbers {
		if number != w.generation.Number {
			w.t.Fatalf("generation %d is missing to device %d", number, device)
		}
		generations = append(generations, must[*recordv1.GenerationKeys](w.t)(w.generation.SealTo(w.rand, w.account(), 1, to)))
	}
	for _, epoch := range epochs {
		sealed := must[[]byte](w.t)(seed.SealDeviceShare(w.rand, w.account(), epoch, 1, to, w.epochs[epoch].device))
		shares = append(shares, &recordv1.SealedToEpoch{Epoch: epoch, Sealed: sealed})
	}
	return generations, shares
}
