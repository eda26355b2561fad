package credential

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
)

// fixture is a put with every key that opens a part of it.
type fixture struct {
	put         Put
	slotKey     *hpke.PrivateKey
	serverKey   *hpke.PrivateKey
	metadata    *aead.Key
	deviceShare *aead.Key
}

func privateKey(t testing.TB, fill byte) *hpke.PrivateKey {
	t.Helper()
	key, err := hpke.NewPrivateKey(bytes.Repeat([]byte{fill}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func symmetricKey(t testing.TB, fill byte) *aead.Key {
	t.Helper()
	key, err := aead.NewKey(bytes.Repeat([]byte{fill}, aead.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newFixture(t testing.TB) fixture {
	f := fixture{
		slotKey:     privateKey(t, 0x11),
		serverKey:   privateKey(t, 0x22),
		metadata:    symmetricKey(t, 0x33),
		deviceShare: symmetricKey(t, 0x44),
	}
	f.put = Put{
		Account:        [32]byte{0xac},
		Slot:           [16]byte{0x51},
		Version:        2,
		Epoch:          3,
		Device:         7,
		Counter:        40,
		SlotKey:        f.slotKey.PublicKey(),
		ServerSealKey:  f.serverKey.PublicKey(),
		Generation:     5,
		MetadataKey:    f.metadata,
		DeviceShareKey: f.deviceShare,
		Metadata:       &recordv1.SlotMetadata{Kind: recordv1.SlotMetadata_KIND_LOGIN, Title: "Bank", UserName: "ada"},
		Secret: &recordv1.Secret{
			Notes: "branch office",
			Kind:  &recordv1.Secret_Login{Login: &recordv1.Login{Password: "correct horse"}},
		},
	}
	return f
}

func mustPut(t testing.TB, rand io.Reader, p Put) (*recordv1.SlotPut, *recordv1.SealedServerShare) {
	t.Helper()
	put, server, err := NewPut(rand, p)
	if err != nil {
		t.Fatal(err)
	}
	return put, server
}

// must returns a share, or ends the test.
func must(t testing.TB, share []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return share
}

// open opens all three shares.
func (f fixture) open(t testing.TB, put *recordv1.SlotPut, sealed *recordv1.SealedServerShare) (device, server, backup []byte) {
	t.Helper()
	device, err := OpenDeviceShare(f.deviceShare, f.put.Account, put, put.GetSecret().GetSealedDeviceShare(), put.GetGeneration(), put.GetDevice())
	must(t, device, err)
	server, err = OpenServerShare(f.serverKey, f.put.Account, put, sealed.GetSealed())
	must(t, server, err)
	backup, err = OpenBackupShare(f.slotKey, f.put.Account, put)
	must(t, backup, err)
	return device, server, backup
}

func TestPutOpens(t *testing.T) {
	f := newFixture(t)
	put, sealed := mustPut(t, rand.Reader, f.put)

	metadata, err := OpenMetadata(f.metadata, f.put.Account, put)
	if err != nil || !proto.Equal(metadata, f.put.Metadata) {
		t.Errorf("metadata %v, %v", metadata, err)
	}
	device, server, backup := f.open(t, put, sealed)
	for _, shares := range [][][]byte{{device, server}, {server, backup}, {backup, device}, {device, server, backup}} {
		secret, err := OpenSecret(f.put.Account, put, shares...)
		if err != nil || !proto.Equal(secret, f.put.Secret) {
			t.Errorf("secret %v, %v", secret, err)
		}
	}

	if !bytes.Equal(put.Slot, f.put.Slot[:]) || put.Version != 2 || put.Epoch != 3 || put.Device != 7 || put.Counter != 40 ||
		put.Generation != 5 || put.Secret.Generation != 5 || !bytes.Equal(put.SlotKey, f.slotKey.PublicKey().Bytes()) {
		t.Errorf("%v", put)
	}
	if sealed.Kind != recordv1.SealedServerShare_KIND_SLOT || sealed.Epoch != 3 || !bytes.Equal(sealed.Slot, f.put.Slot[:]) || sealed.Version != 2 || sealed.Member != 0 {
		t.Errorf("%v", sealed)
	}
}

// The empty secret is a secret too: a title may be all that somebody wants kept.
func TestPutOfEmptyMessages(t *testing.T) {
	f := newFixture(t)
	f.put.Metadata, f.put.Secret = &recordv1.SlotMetadata{}, &recordv1.Secret{}
	put, sealed := mustPut(t, rand.Reader, f.put)
	device, server, _ := f.open(t, put, sealed)
	secret, err := OpenSecret(f.put.Account, put, device, server)
	if err != nil || !proto.Equal(secret, f.put.Secret) {
		t.Errorf("secret %v, %v", secret, err)
	}
	if metadata, err := OpenMetadata(f.metadata, f.put.Account, put); err != nil || !proto.Equal(metadata, f.put.Metadata) {
		t.Errorf("metadata %v, %v", metadata, err)
	}
}

// What others see of a slot does not tell secrets or titles of one size step apart.
func TestPutHidesLengths(t *testing.T) {
	f := newFixture(t)
	sizes := map[int]bool{}
	for n := range 50 {
		f.put.Secret = &recordv1.Secret{Notes: strings.Repeat("n", n)}
		f.put.Metadata = &recordv1.SlotMetadata{Title: strings.Repeat("t", n)}
		put, sealed := mustPut(t, rand.Reader, f.put)
		sizes[proto.Size(put)] = true
		sizes[proto.Size(put)+proto.Size(sealed)] = true
	}
	if len(sizes) != 2 {
		t.Errorf("sizes %v", sizes)
	}
}

func TestPutOpensNowhereElse(t *testing.T) {
	f := newFixture(t)
	put, sealed := mustPut(t, rand.Reader, f.put)
	for _, c := range []struct {
		name   string
		change func(account *[32]byte, put *recordv1.SlotPut)
	}{
		{"account", func(account *[32]byte, _ *recordv1.SlotPut) { account[0]++ }},
		{"slot", func(_ *[32]byte, put *recordv1.SlotPut) { put.Slot[15]++ }},
		{"version", func(_ *[32]byte, put *recordv1.SlotPut) { put.Version++ }},
		{"epoch", func(_ *[32]byte, put *recordv1.SlotPut) { put.Epoch++ }},
		{"device", func(_ *[32]byte, put *recordv1.SlotPut) { put.Device++ }},
	} {
		account, moved := f.put.Account, proto.CloneOf(put)
		c.change(&account, moved)
		if got, err := OpenMetadata(f.metadata, account, moved); got != nil || !errors.Is(err, ErrOpen) {
			t.Errorf("metadata, another %s: %v, %v", c.name, got, err)
		}
		share, err := OpenDeviceShare(f.deviceShare, account, moved, moved.Secret.SealedDeviceShare, moved.Generation, moved.Device)
		if share != nil || !errors.Is(err, ErrOpen) {
			t.Errorf("device share, another %s: %x, %v", c.name, share, err)
		}
		if share, err := OpenServerShare(f.serverKey, account, moved, sealed.Sealed); share != nil || !errors.Is(err, ErrOpen) {
			t.Errorf("server share, another %s: %x, %v", c.name, share, err)
		}
		if share, err := OpenBackupShare(f.slotKey, account, moved); share != nil || !errors.Is(err, ErrOpen) {
			t.Errorf("backup share, another %s: %x, %v", c.name, share, err)
		}
		device, server, _ := f.open(t, put, sealed)
		if secret, err := OpenSecret(account, moved, device, server); secret != nil || !errors.Is(err, ErrTag) {
			t.Errorf("secret, another %s: %v, %v", c.name, secret, err)
		}
	}
}

func TestPutOpensWithNoOtherKey(t *testing.T) {
	f := newFixture(t)
	put, sealed := mustPut(t, rand.Reader, f.put)
	split, account := put.Secret, f.put.Account
	for name, open := range map[string]func() ([]byte, error){
		"device share under the metadata key": func() ([]byte, error) {
			return OpenDeviceShare(f.metadata, account, put, split.SealedDeviceShare, 5, 7)
		},
		"device share of another generation": func() ([]byte, error) {
			return OpenDeviceShare(f.deviceShare, account, put, split.SealedDeviceShare, 6, 7)
		},
		"device share by another sealer": func() ([]byte, error) {
			return OpenDeviceShare(f.deviceShare, account, put, split.SealedDeviceShare, 5, 8)
		},
		"server share with the slot key": func() ([]byte, error) {
			return OpenServerShare(f.slotKey, account, put, sealed.Sealed)
		},
		"backup share with the server's key": func() ([]byte, error) {
			return OpenBackupShare(f.serverKey, account, put)
		},
		"backup share for the server's": func() ([]byte, error) {
			return OpenServerShare(f.slotKey, account, put, put.SealedBackupShare)
		},
		"backup share of another counter": func() ([]byte, error) {
			moved := proto.CloneOf(put)
			moved.Counter++
			return OpenBackupShare(f.slotKey, account, moved)
		},
		"metadata for a device share": func() ([]byte, error) {
			return OpenDeviceShare(f.metadata, account, put, put.SealedMetadata, 5, 7)
		},
	} {
		if share, err := open(); share != nil || !errors.Is(err, ErrOpen) {
			t.Errorf("%s: %x, %v", name, share, err)
		}
	}
	moved := proto.CloneOf(put)
	moved.Generation = 6
	if got, err := OpenMetadata(f.metadata, account, moved); got != nil || !errors.Is(err, ErrOpen) {
		t.Errorf("metadata of another generation: %v, %v", got, err)
	}
}

// A share that opens but is not the one in the record is named when it is opened:
// the server may seal what it likes.
func TestOpenNamesTheWrongShare(t *testing.T) {
	f := newFixture(t)
	put, sealed := mustPut(t, rand.Reader, f.put)
	for name, change := range map[string]func(share []byte){
		"another value":   func(share []byte) { share[0] ^= 1 },
		"another party":   func(share []byte) { share[len(share)-1] = byte(Device) },
		"no party at all": func(share []byte) { share[len(share)-1] = 0 },
	} {
		_, share, _ := f.open(t, put, sealed)
		change(share)
		forged, err := hpke.Seal(rand.Reader, f.put.ServerSealKey, SlotBinding(f.put.Account, put).server().Encode(), nil, share)
		must(t, forged, err)
		got, err := OpenServerShare(f.serverKey, f.put.Account, put, forged)
		if wrong := wrongParties(err); got != nil || len(wrong) != 1 || wrong[0] != Server {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
}

func TestNewPutRefuses(t *testing.T) {
	for name, change := range map[string]func(p *Put){
		"version 0":           func(p *Put) { p.Version = 0 },
		"epoch 0":             func(p *Put) { p.Epoch = 0 },
		"generation 0":        func(p *Put) { p.Generation = 0 },
		"device 0":            func(p *Put) { p.Device = 0 },
		"counter 0":           func(p *Put) { p.Counter = 0 },
		"counter 2^31":        func(p *Put) { p.Counter = 1 << 31 },
		"device 2^31":         func(p *Put) { p.Device = 1 << 31 },
		"no slot key":         func(p *Put) { p.SlotKey = nil },
		"no server key":       func(p *Put) { p.ServerSealKey = nil },
		"no metadata key":     func(p *Put) { p.MetadataKey = nil },
		"no device-share key": func(p *Put) { p.DeviceShareKey = nil },
		"no metadata":         func(p *Put) { p.Metadata = nil },
		"no secret":           func(p *Put) { p.Secret = nil },
	} {
		p := newFixture(t).put
		change(&p)
		if put, sealed, err := NewPut(rand.Reader, p); put != nil || sealed != nil || !errors.Is(err, ErrInput) {
			t.Errorf("%s: %v, %v, %v", name, put, sealed, err)
		}
	}
	for name, change := range map[string]func(p *Put){
		"a title that is not UTF-8":    func(p *Put) { p.Metadata = &recordv1.SlotMetadata{Title: "\xff"} },
		"a password that is not UTF-8": func(p *Put) { p.Secret = &recordv1.Secret{Notes: "\xff"} },
	} {
		p := newFixture(t).put
		change(&p)
		if put, sealed, err := NewPut(rand.Reader, p); put != nil || sealed != nil || !errors.Is(err, canonical.ErrNotCanonical) {
			t.Errorf("%s: %v, %v, %v", name, put, sealed, err)
		}
	}
}

// A message that is right in all but its encoding is not shown.
func TestOpenRefusesOtherEncodings(t *testing.T) {
	f := newFixture(t)
	put, _ := mustPut(t, rand.Reader, f.put)
	odd := Pad([]byte{0x12, 0x00}) // an empty title, spelled out
	var err error
	put.SealedMetadata, err = f.metadata.Seal(rand.Reader, metadataContext(f.put.Account, put), odd)
	must(t, put.SealedMetadata, err)
	if got, err := OpenMetadata(f.metadata, f.put.Account, put); got != nil || !errors.Is(err, canonical.ErrNotCanonical) {
		t.Errorf("metadata: %v, %v", got, err)
	}
	put.SealedMetadata, err = f.metadata.Seal(rand.Reader, metadataContext(f.put.Account, put), make([]byte, 64))
	must(t, put.SealedMetadata, err)
	if got, err := OpenMetadata(f.metadata, f.put.Account, put); got != nil || !errors.Is(err, ErrPadding) {
		t.Errorf("unpadded metadata: %v, %v", got, err)
	}

	b := SlotBinding(f.put.Account, put)
	shares := mustSplit(t, rand.Reader, []byte{0x0a, 0x00}, b) // empty notes, spelled out
	put.Secret = public(shares)
	if got, err := OpenSecret(f.put.Account, put, shares.Share(Device), shares.Share(Server)); got != nil || !errors.Is(err, canonical.ErrNotCanonical) {
		t.Errorf("secret: %v, %v", got, err)
	}
}

func TestNewPutReportsRand(t *testing.T) {
	p := newFixture(t).put
	need := counting{rand: fixed(1)}
	mustPut(t, &need, p)
	for left := range need.read {
		put, sealed, err := NewPut(&failing{fixed(1), left}, p)
		if put != nil || sealed != nil || !errors.Is(err, errSource) {
			t.Fatalf("after %d of %d bytes: %v, %v, %v", left, need.read, put, sealed, err)
		}
	}
}

// counting counts what is read.
type counting struct {
	rand io.Reader
	read int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.rand.Read(p)
	c.read += n
	return n, err
}

// hexBytes is bytes that JSON shows in hexadecimal.
type hexBytes []byte

func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

// TestPutGolden reads a put of long ago, and makes it again byte for byte:
// records are forever.
func TestPutGolden(t *testing.T) {
	file, err := os.ReadFile("testdata/put.json")
	must(t, file, err)
	var golden struct {
		SlotPut           hexBytes `json:"slot_put"`
		SealedServerShare hexBytes `json:"sealed_server_share"`
	}
	if err := json.Unmarshal(file, &golden); err != nil {
		t.Fatal(err)
	}

	f := newFixture(t)
	put, sealed := new(recordv1.SlotPut), new(recordv1.SealedServerShare)
	if err := errors.Join(canonical.Unmarshal(golden.SlotPut, put), canonical.Unmarshal(golden.SealedServerShare, sealed)); err != nil {
		t.Fatal(err)
	}
	device, server, backup := f.open(t, put, sealed)
	secret, err := OpenSecret(f.put.Account, put, device, server, backup)
	if err != nil || !proto.Equal(secret, f.put.Secret) {
		t.Errorf("secret %v, %v", secret, err)
	}
	metadata, err := OpenMetadata(f.metadata, f.put.Account, put)
	if err != nil || !proto.Equal(metadata, f.put.Metadata) {
		t.Errorf("metadata %v, %v", metadata, err)
	}

	put, sealed = mustPut(t, fixed(1), f.put)
	putBytes, err := canonical.Marshal(put)
	if err != nil || !bytes.Equal(putBytes, golden.SlotPut) {
		t.Errorf("SlotPut is %x, %v, want %x", putBytes, err, []byte(golden.SlotPut))
	}
	sealedBytes, err := canonical.Marshal(sealed)
	if err != nil || !bytes.Equal(sealedBytes, golden.SealedServerShare) {
		t.Errorf("SealedServerShare is %x, %v, want %x", sealedBytes, err, []byte(golden.SealedServerShare))
	}
}

// A recovery restores a device share from the two others and seals it under a new
// key, by another device.
func TestSlotShare(t *testing.T) {
	f := newFixture(t)
	put, sealed := mustPut(t, rand.Reader, f.put)
	device, server, backup := f.open(t, put, sealed)
	restored, err := ThirdShare(backup, server, Device)
	must(t, restored, err)

	newKey := symmetricKey(t, 0x55)
	share, err := NewSlotShare(rand.Reader, newKey, f.put.Account, put, restored, 6, 9)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(share.Slot, put.Slot) || share.Version != put.Version {
		t.Errorf("%v", share)
	}
	got, err := OpenDeviceShare(newKey, f.put.Account, put, share.SealedDeviceShare, 6, 9)
	if err != nil || !bytes.Equal(got, device) {
		t.Errorf("%x, %v", got, err)
	}
	if got, err := OpenDeviceShare(newKey, f.put.Account, put, share.SealedDeviceShare, 6, 7); got != nil || !errors.Is(err, ErrOpen) {
		t.Errorf("as if device 7 had sealed it: %x, %v", got, err)
	}

	restored[0] ^= 1
	for name, wrong := range map[string][]byte{"a wrong share": restored, "the backup share": backup, "nothing": nil} {
		share, err := NewSlotShare(rand.Reader, newKey, f.put.Account, put, wrong, 6, 9)
		if parties := wrongParties(err); share != nil || len(parties) != 1 || parties[0] != Device {
			t.Errorf("%s: %v, %v", name, share, err)
		}
	}
	if share, err := NewSlotShare(&failing{}, newKey, f.put.Account, put, device, 6, 9); share != nil || !errors.Is(err, errSource) {
		t.Errorf("%v, %v", share, err)
	}
}
