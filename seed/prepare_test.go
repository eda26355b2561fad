package seed

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// fixture is a preparation with every key that opens a part of its result.
type fixture struct {
	preparation Preparation
	root        *signing.PublicKey
	server      *hpke.PrivateKey
	devices     map[uint64]*hpke.PrivateKey
}

func signKey(t testing.TB, fill byte) *signing.PrivateKey {
	t.Helper()
	key, err := signing.NewPrivateKey(bytes.Repeat([]byte{fill}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newDevice makes a device with keys of its number.
func newDevice(t testing.TB, number uint64) (*ledger.Device, *hpke.PrivateKey) {
	t.Helper()
	d, key := recipient(t, number)
	d.SignKey = signKey(t, byte(0x50+number)).PublicKey()
	d.ConfirmKey = signKey(t, byte(0x60+number)).PublicKey()
	d.Keys = &recordv1.DeviceKeys{
		SignKey:    d.SignKey.Bytes(),
		SealKey:    d.SealKey.Bytes(),
		ConfirmKey: d.ConfirmKey.Bytes(),
		Generation: 1,
		SealedName: []byte("name"),
	}
	return d, key
}

func newFixture(t testing.TB, devices ...uint64) fixture {
	t.Helper()
	f := fixture{server: privateKey(t, 0x22), devices: map[uint64]*hpke.PrivateKey{}}
	seed := newSeed(t, ascending(0, Size))
	f.root = newTestKeys(t, seed).Root().PublicKey()
	f.preparation = Preparation{
		Seed:          seed,
		Account:       testAccount,
		Epoch:         3,
		Author:        devices[0],
		Quorum:        2,
		Members:       3,
		Sheet:         true,
		WaitingPeriod: 72 * time.Hour,
		ServerSealKey: f.server.PublicKey(),
	}
	for _, number := range devices {
		device, key := newDevice(t, number)
		f.devices[number] = key
		f.preparation.Devices = append(f.preparation.Devices, device)
	}
	random := fixed(9)
	for number := range uint64(2) {
		g, err := NewGeneration(random, number+1)
		if err != nil {
			t.Fatal(err)
		}
		f.preparation.Generations = append(f.preparation.Generations, g)
	}
	f.preparation.Generations[0].DeviceShare = nil
	return f
}

func mustPrepare(t testing.TB, rand io.Reader, p Preparation) (*recordv1.EpochPrepared, []*recordv1.SealedServerShare, *Prepared) {
	t.Helper()
	record, forServer, prepared, err := Prepare(rand, p)
	if err != nil {
		t.Fatal(err)
	}
	return record, forServer, prepared
}

func TestPrepareMakesTheRecord(t *testing.T) {
	f := newFixture(t, 2, 4, 9)
	record, forServer, prepared := mustPrepare(t, rand.Reader, f.preparation)

	if record.Epoch != 3 || record.Quorum != 2 || len(record.Members) != 3 || record.WaitingPeriod != 72*60*60 || record.Generation != 2 ||
		record.Identifier >= 1<<15 || !bytes.Equal(record.RootKey, f.root.Bytes()) || len(record.Generations) != 2 {
		t.Errorf("%v", record)
	}
	if !f.root.Verify(ledger.DeviceListContext(testAccount, 3, f.preparation.Devices), record.DeviceListSignature) {
		t.Error("the root key did not sign the device list")
	}
	if f.root.Verify(ledger.DeviceListContext(testAccount, 3, f.preparation.Devices[1:]), record.DeviceListSignature) {
		t.Error("the root key signed a shorter device list")
	}
	if !bytes.Equal(prepared.Sheet.Key.PublicKey().Bytes(), record.SheetKey) {
		t.Error("the sheet's key is another one")
	}
	master, err := OpenMaster(f.preparation.Generations[1].Metadata, testAccount, record, 2)
	if err != nil || !master.Equal(prepared.Master) {
		t.Errorf("master public key: %v", err)
	}
	if len(forServer) != 4 || forServer[0].Kind != recordv1.SealedServerShare_KIND_SEED || forServer[0].Epoch != 3 {
		t.Fatalf("%v", forServer)
	}
	for i, waiting := range forServer[1:] {
		if waiting.Kind != recordv1.SealedServerShare_KIND_WAITING || waiting.Epoch != 3 || waiting.Member != uint64(i)+1 {
			t.Errorf("%v", waiting)
		}
	}
	for i, g := range record.Generations {
		if g.Number != uint64(i)+1 || len(g.MetadataKeys) != 3 || len(g.DeviceShareKeys) != 3*i || len(g.Backups) != 1 || g.Backups[0].Epoch != 3 {
			t.Errorf("generation %d: %v", i+1, g)
		}
	}
	if _, err := canonical.Marshal(record); err != nil {
		t.Error(err)
	}
}

// opened is every share that a prepared epoch hands out.
type opened struct {
	server, device *slip39.Share
	members        []*slip39.Share
}

func (f fixture) open(t *testing.T, record *recordv1.EpochPrepared, forServer []*recordv1.SealedServerShare) opened {
	t.Helper()
	author := f.preparation.Author
	var o opened
	var err error
	if o.server, err = OpenServerShare(f.server, testAccount, record, author, forServer[0].Sealed); err != nil {
		t.Fatal(err)
	}
	for i, sealed := range record.SeedShares {
		if sealed.Device != f.preparation.Devices[i].Number {
			t.Errorf("seed share %d is for device %d", i, sealed.Device)
		}
		if o.device, err = OpenDeviceShare(f.devices[sealed.Device], testAccount, record, author, sealed.Device, sealed.Sealed); err != nil {
			t.Fatal(err)
		}
	}
	for i, member := range record.Members {
		binding := credential.WaitingBinding(testAccount, record.Epoch, uint64(i)+1, author)
		deviceHalf, err := credential.OpenDeviceHalf(f.preparation.Generations[1].DeviceShare, binding, member.Waiting)
		if err != nil {
			t.Fatal(err)
		}
		serverHalf, err := credential.OpenServerHalf(f.server, binding, member.Waiting, forServer[i+1].Sealed)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := credential.Combine(binding, member.Waiting, deviceHalf, serverHalf)
		if err != nil {
			t.Fatal(err)
		}
		share, err := slip39.ParseBinary(whole)
		if err != nil {
			t.Fatal(err)
		}
		o.members = append(o.members, share)
	}
	return o
}

func TestPreparedSharesRecover(t *testing.T) {
	f := newFixture(t, 2, 4, 9)
	record, forServer, prepared := mustPrepare(t, rand.Reader, f.preparation)
	o := f.open(t, record, forServer)

	for i, share := range o.members {
		key, err := ShareKey(share, testAccount, 3, uint64(i)+1)
		if err != nil || !bytes.Equal(key.PublicKey().Bytes(), record.Members[i].ShareKey) {
			t.Errorf("share key of member %d: %v", i+1, err)
		}
	}
	for name, shares := range map[string][]*slip39.Share{
		"server and device":   {o.server, o.device},
		"server and contacts": {o.server, o.members[0], o.members[2]},
		"device and contacts": {o.members[1], o.members[2], o.device},
		"sheet and device":    {prepared.Sheet.Share, o.device},
	} {
		seed, _, err := Recover(shares, f.root)
		if err != nil || !bytes.Equal(seed.secret().bytes[:], ascending(0, Size)) {
			t.Fatalf("%s: %v", name, err)
		}
		keys := newTestKeys(t, seed)
		for i, g := range f.preparation.Generations {
			metadata, err := keys.OpenMetadataKeyBackup(testAccount, g.Number, 2, record.Generations[i].Backups[0])
			if err != nil || !sameKey(metadata, g.Metadata) {
				t.Errorf("%s: metadata key of generation %d: %v", name, g.Number, err)
			}
		}
	}
	if record.Identifier != uint64(o.server.Identifier()) {
		t.Errorf("identifier %d, in the shares %d", record.Identifier, o.server.Identifier())
	}
}

// The ledger takes what Prepare makes, and the server what goes with it.
func TestPreparedEpochFolds(t *testing.T) {
	f := newFixture(t, 1)
	device, sign, now := f.preparation.Devices[0], signKey(t, 0x51), time.UnixMilli(1_700_000_000_000)
	entry := func(d ledger.Draft, kind proto.Message) *ledger.Entry {
		t.Helper()
		record, err := ledger.NewRecord(kind)
		if err != nil {
			t.Fatal(err)
		}
		d.Time, d.Author, d.Records = now, 1, [][]byte{record}
		e, err := d.Sign(sign)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	genesis := entry(ledger.Draft{}, &recordv1.Genesis{
		Server: &recordv1.Server{SignKey: signKey(t, 0x23).PublicKey().Bytes(), SealKey: f.server.PublicKey().Bytes()},
		Device: device.Keys,
		Policy: &recordv1.Policy{RevealsPerHour: 1, RevealsPerDay: 1},
	})
	account, _ := genesis.Account()
	state, err := ledger.Fold(genesis)
	if err != nil {
		t.Fatal(err)
	}

	p := f.preparation
	p.Account, p.Epoch, p.Devices = account, state.NextEpoch(), state.ActiveDevices()
	p.Generations = p.Generations[1:]
	p.Generations[0].Number = 1
	record, forServer, _ := mustPrepare(t, rand.Reader, p)
	prepared := entry(ledger.Draft{Account: &account, Previous: state.Head()}, record)
	if err := state.Apply(prepared); err != nil {
		t.Fatal(err)
	}

	named := prepared.ServerShares()
	if len(named) != len(forServer) {
		t.Fatalf("%d server shares, the ledger names %d", len(forServer), len(named))
	}
	for i, sealed := range forServer {
		id, err := ledger.SealedShareID(sealed)
		if err != nil || id != named[i].ShareID {
			t.Errorf("server share %d is %v, %v, the ledger names %v", i, id, err, named[i].ShareID)
		}
		share, err := OpenForServer(f.server, account, named[i], sealed.Sealed)
		if hash := sha256.Sum256(share); err != nil || hash != named[i].Hash {
			t.Errorf("server share %d: %v", i, err)
		}
		again, err := SealForServer(rand.Reader, f.server.PublicKey(), account, named[i], share)
		if err != nil || bytes.Equal(again, sealed.Sealed) {
			t.Errorf("server share %d sealed again: %v", i, err)
		}
		if opened, err := OpenForServer(f.server, account, named[i], again); err != nil || !bytes.Equal(opened, share) {
			t.Errorf("server share %d sealed again and opened: %v", i, err)
		}
	}

	sealed, author, ok := state.SeedShare(1, 1)
	share, err := OpenDeviceShare(f.devices[1], account, record, author, 1, sealed)
	if !ok || err != nil || share.GroupIndex() != GroupDevices {
		t.Errorf("seed share: %v", err)
	}
	metadata, deviceShare, author, ok := state.GenerationKeys(1, 1)
	if key, err := OpenMetadataKey(f.devices[1], account, 1, author, 1, metadata); !ok || err != nil || !sameKey(key, p.Generations[0].Metadata) {
		t.Errorf("metadata key: %v", err)
	}
	if key, err := OpenDeviceShareKey(f.devices[1], account, 1, author, 1, deviceShare); err != nil || !sameKey(key, p.Generations[0].DeviceShare) {
		t.Errorf("device-share key: %v", err)
	}
}

func TestPrepareWithoutSheet(t *testing.T) {
	f := newFixture(t, 2)
	f.preparation.Sheet, f.preparation.Quorum, f.preparation.Members = false, 1, 1
	record, forServer, prepared := mustPrepare(t, rand.Reader, f.preparation)
	if prepared.Sheet != nil || record.SheetKey != nil || len(record.Members) != 1 {
		t.Errorf("%v", record)
	}
	o := f.open(t, record, forServer)
	if _, _, err := Recover([]*slip39.Share{o.members[0], o.server}, f.root); err != nil {
		t.Error(err)
	}
}

func TestPrepareErasesTheSeed(t *testing.T) {
	f := newFixture(t, 2)
	hidden := f.preparation.Seed.secret()
	_, _, prepared := mustPrepare(t, rand.Reader, f.preparation)
	if hidden.bytes != [Size]byte{} || !hidden.erased {
		t.Error("the seed is left")
	}
	if prepared.Sheet.Share.Value() == nil || erased(func() { prepared.Sheet.Key.Bytes() }) {
		t.Error("the sheet was erased before it could be printed")
	}
	prepared.Sheet.Erase()
	if prepared.Sheet.Share.Value() != nil || !erased(func() { prepared.Sheet.Key.Bytes() }) {
		t.Error("the sheet is left")
	}
	if _, _, _, err := Prepare(rand.Reader, f.preparation); !errors.Is(err, ErrErased) {
		t.Errorf("a second time: %v", err)
	}

	f = newFixture(t, 2)
	hidden = f.preparation.Seed.secret()
	f.preparation.Epoch = 0
	if _, _, _, err := Prepare(rand.Reader, f.preparation); err == nil || hidden.bytes != [Size]byte{} {
		t.Errorf("the seed is left after %v", err)
	}
}

func TestPrepareRefuses(t *testing.T) {
	for name, change := range map[string]func(p *Preparation){
		"epoch 0":                 func(p *Preparation) { p.Epoch = 0 },
		"no server key":           func(p *Preparation) { p.ServerSealKey = nil },
		"no generation":           func(p *Preparation) { p.Generations = nil },
		"generations in disorder": func(p *Preparation) { p.Generations[0].Number = 2 },
		"no metadata key":         func(p *Preparation) { p.Generations[0].Metadata = nil },
		"no device-share key":     func(p *Preparation) { p.Generations[1].DeviceShare = nil },
		"no devices":              func(p *Preparation) { p.Devices = nil },
		"the author missing":      func(p *Preparation) { p.Devices = p.Devices[1:] },
		"devices in disorder":     func(p *Preparation) { p.Devices[0], p.Devices[1] = p.Devices[1], p.Devices[0] },
		"a device twice":          func(p *Preparation) { p.Devices[1] = p.Devices[0] },
		"a device without keys":   func(p *Preparation) { p.Devices[1].Keys = nil },
		"no seal key":             func(p *Preparation) { p.Devices[1].SealKey = nil },
		"no waiting period":       func(p *Preparation) { p.WaitingPeriod = 0 },
		"half a second":           func(p *Preparation) { p.WaitingPeriod = 1500 * time.Millisecond },
		"a quorum of 1 of 3":      func(p *Preparation) { p.Quorum = 1 },
		"a quorum of 4 of 3":      func(p *Preparation) { p.Quorum = 4 },
		"17 members":              func(p *Preparation) { p.Members = 17 },
	} {
		f := newFixture(t, 2, 4)
		change(&f.preparation)
		record, forServer, prepared, err := Prepare(rand.Reader, f.preparation)
		if record != nil || forServer != nil || prepared != nil || !errors.Is(err, ErrInput) {
			t.Errorf("%s: %v, %v", name, record, err)
		}
	}
}

func TestPrepareReportsRand(t *testing.T) {
	need := counting{rand: fixed(1)}
	mustPrepare(t, &need, newFixture(t, 2, 4).preparation)
	for reads := range need.reads {
		p := newFixture(t, 2, 4).preparation
		hidden := p.Seed.secret()
		record, forServer, prepared, err := Prepare(&failing{fixed(1), reads}, p)
		if record != nil || forServer != nil || prepared != nil || !errors.Is(err, errSource) {
			t.Fatalf("after %d of %d reads: %v", reads, need.reads, err)
		}
		if hidden.bytes != [Size]byte{} {
			t.Fatalf("after %d of %d reads the seed is left", reads, need.reads)
		}
	}
}

// hexBytes is bytes that JSON shows in hexadecimal.
type hexBytes []byte

func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

// epochFile is testdata/epoch.json.
type epochFile struct {
	EpochPrepared hexBytes   `json:"epoch_prepared"`
	ServerShares  []hexBytes `json:"server_shares"`
}

// TestPrepareGolden reads an epoch of long ago, recovers its seed, and makes it
// again byte for byte: records are forever.
func TestPrepareGolden(t *testing.T) {
	file, err := os.ReadFile("testdata/epoch.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden epochFile
	if err := json.Unmarshal(file, &golden); err != nil {
		t.Fatal(err)
	}
	record := new(recordv1.EpochPrepared)
	if err := canonical.Unmarshal(golden.EpochPrepared, record); err != nil {
		t.Fatal(err)
	}
	var forServer []*recordv1.SealedServerShare
	for _, b := range golden.ServerShares {
		share := new(recordv1.SealedServerShare)
		if err := canonical.Unmarshal(b, share); err != nil {
			t.Fatal(err)
		}
		forServer = append(forServer, share)
	}
	f := newFixture(t, 2, 4)
	o := f.open(t, record, forServer)
	seed, _, err := Recover([]*slip39.Share{o.server, o.members[2], o.members[0]}, f.root)
	if err != nil || !bytes.Equal(seed.secret().bytes[:], ascending(0, Size)) {
		t.Fatal(err)
	}

	again, forServerAgain, _ := mustPrepare(t, fixed(1), f.preparation)
	if got := marshal(t, again); !bytes.Equal(got, golden.EpochPrepared) {
		t.Errorf("EpochPrepared is %x", got)
	}
	for i, share := range forServerAgain {
		if got := marshal(t, share); !bytes.Equal(got, golden.ServerShares[i]) {
			t.Errorf("server share %d is %x", i, got)
		}
	}
}

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := canonical.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
