package seed

import (
	"crypto/rand"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/bip32"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/slip39"
)

func TestSeedSharesOpenNowhereElse(t *testing.T) {
	f := newFixture(t, 2, 4)
	record, forServer, _ := mustPrepare(t, rand.Reader, f.preparation)
	sealed, toServer := record.SeedShares[1].Sealed, forServer[0].Sealed
	another := proto.CloneOf(record)
	another.Epoch++
	for name, open := range map[string]func() (*slip39.Share, error){
		"device, account": func() (*slip39.Share, error) {
			return OpenDeviceShare(f.devices[4], [32]byte{}, record, 2, 4, sealed)
		},
		"device, epoch": func() (*slip39.Share, error) {
			return OpenDeviceShare(f.devices[4], testAccount, another, 2, 4, sealed)
		},
		"device, author": func() (*slip39.Share, error) {
			return OpenDeviceShare(f.devices[4], testAccount, record, 4, 4, sealed)
		},
		"device, device": func() (*slip39.Share, error) {
			return OpenDeviceShare(f.devices[4], testAccount, record, 2, 2, sealed)
		},
		"device, key": func() (*slip39.Share, error) {
			return OpenDeviceShare(f.devices[2], testAccount, record, 2, 4, sealed)
		},
		"server, account": func() (*slip39.Share, error) {
			return OpenServerShare(f.server, [32]byte{}, record, 2, toServer)
		},
		"server, epoch": func() (*slip39.Share, error) {
			return OpenServerShare(f.server, testAccount, another, 2, toServer)
		},
		"server, author": func() (*slip39.Share, error) {
			return OpenServerShare(f.server, testAccount, record, 4, toServer)
		},
		"server, key": func() (*slip39.Share, error) {
			return OpenServerShare(f.devices[2], testAccount, record, 2, toServer)
		},
		"a waiting half": func() (*slip39.Share, error) {
			return OpenServerShare(f.server, testAccount, record, 2, forServer[1].Sealed)
		},
		"no record": func() (*slip39.Share, error) {
			return OpenServerShare(f.server, testAccount, nil, 2, toServer)
		},
	} {
		if share, err := open(); share != nil || !errors.Is(err, ErrOpen) {
			t.Errorf("%s: %v, %v", name, share, err)
		}
	}
	for _, c := range []struct {
		name           string
		account        [32]byte
		record         *recordv1.EpochPrepared
		author         uint64
		generationKeys *Generation
	}{
		{"account", [32]byte{}, record, 2, f.preparation.Generations[1]},
		{"epoch", testAccount, another, 2, f.preparation.Generations[1]},
		{"author", testAccount, record, 4, f.preparation.Generations[1]},
		{"key", testAccount, record, 2, f.preparation.Generations[0]},
	} {
		if master, err := OpenMaster(c.generationKeys.Metadata, c.account, c.record, c.author); master != nil || !errors.Is(err, ErrOpen) {
			t.Errorf("master public key, another %s: %v", c.name, err)
		}
	}
}

// A share that opens but is not the one in the ledger is refused: its sealer may be
// wrong or lie.
func TestSeedSharesMustBeTheEpochs(t *testing.T) {
	f := newFixture(t, 2)
	record, _, _ := mustPrepare(t, rand.Reader, f.preparation)
	other := mustSplit(t, newSeed(t, ascending(0, Size)), 2, 3, true)
	otherHash, err := ShareHash(other.Server)
	if err != nil {
		t.Fatal(err)
	}
	wrongGroup := proto.CloneOf(record)
	wrongGroup.DeviceShareHash = otherHash[:]
	seal := func(share *slip39.Share) []byte {
		t.Helper()
		sealed, err := SealDeviceShare(rand.Reader, testAccount, 3, 2, f.preparation.Devices[0], share)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	noShare, err := hpke.Seal(rand.Reader, f.devices[2].PublicKey(), shareToDevice(testAccount, 3, 2, 2).Context().Encode(), nil, []byte("no share"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		record *recordv1.EpochPrepared
		sealed []byte
	}{
		{"a share of another split", record, seal(other.Device)},
		{"a share of another group", wrongGroup, seal(other.Server)},
		{"no share", record, noShare},
	} {
		if share, err := OpenDeviceShare(f.devices[2], testAccount, c.record, 2, 2, c.sealed); share != nil || !errors.Is(err, ErrShare) {
			t.Errorf("%s: %v, %v", c.name, share, err)
		}
	}

	notMaster := proto.CloneOf(record)
	key := f.preparation.Generations[1].Metadata
	notMaster.SealedMasterKey, err = key.Seal(rand.Reader, masterContext(testAccount, 3, 2, 2), []byte("no key"))
	if err != nil {
		t.Fatal(err)
	}
	if master, err := OpenMaster(key, testAccount, notMaster, 2); master != nil || !errors.Is(err, bip32.ErrLength) {
		t.Errorf("no master public key: %v", err)
	}
}

func TestSealDeviceShareRefuses(t *testing.T) {
	split := mustSplit(t, newSeed(t, ascending(0, Size)), 2, 3, false)
	to, _ := recipient(t, 2)
	for name, device := range map[string]*ledger.Device{"no number": {SealKey: to.SealKey}, "no key": {Number: 2}} {
		if sealed, err := SealDeviceShare(rand.Reader, testAccount, 3, 2, device, split.Device); sealed != nil || !errors.Is(err, ErrInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if sealed, err := SealDeviceShare(&failing{}, testAccount, 3, 2, to, split.Device); sealed != nil || !errors.Is(err, errSource) {
		t.Errorf("%v", err)
	}
	split.Erase()
	if sealed, err := SealDeviceShare(rand.Reader, testAccount, 3, 2, to, split.Device); sealed != nil || !errors.Is(err, slip39.ErrErased) {
		t.Errorf("an erased share: %v", err)
	}
	if _, err := ShareHash(split.Device); !errors.Is(err, slip39.ErrErased) {
		t.Errorf("the hash of an erased share: %v", err)
	}
}

func TestOpenForServerRefuses(t *testing.T) {
	f := newFixture(t, 2)
	record, forServer, _ := mustPrepare(t, rand.Reader, f.preparation)
	share := ledger.ServerShare{
		ShareID: ledger.ShareID{Kind: recordv1.SealedServerShare_KIND_SEED, Epoch: 3},
		Hash:    [32]byte(record.ServerShareHash),
		Device:  2,
	}
	for _, c := range []struct {
		name   string
		change func(*ledger.ServerShare)
		want   error
	}{
		{"another hash", func(s *ledger.ServerShare) { s.Hash[0]++ }, ErrShare},
		{"another epoch", func(s *ledger.ServerShare) { s.Epoch++ }, ErrOpen},
		{"another device", func(s *ledger.ServerShare) { s.Device++ }, ErrOpen},
		{"a slot's", func(s *ledger.ServerShare) { s.Kind = recordv1.SealedServerShare_KIND_SLOT }, ErrOpen},
		{"a waiting half", func(s *ledger.ServerShare) { s.Kind = recordv1.SealedServerShare_KIND_WAITING }, ErrOpen},
		{"no kind", func(s *ledger.ServerShare) { s.Kind = 0 }, ErrInput},
	} {
		changed := share
		c.change(&changed)
		if got, err := OpenForServer(f.server, testAccount, changed, forServer[0].Sealed); got != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %x, %v", c.name, got, err)
		}
	}
	got, err := OpenForServer(f.server, testAccount, share, forServer[0].Sealed)
	if err != nil || len(got) == 0 {
		t.Error(err)
	}
	wrong, unknown := share, share
	wrong.Hash[0]++
	unknown.Kind = 0
	for _, s := range []ledger.ServerShare{wrong, unknown} {
		if sealed, err := SealForServer(rand.Reader, f.server.PublicKey(), testAccount, s, got); sealed != nil || !errors.Is(err, ErrInput) {
			t.Errorf("%x, %v", sealed, err)
		}
	}
}
