package device

import (
	"crypto/rand"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
)

// These tests show a contact's device what a dishonest server or owner could:
// they make an owner's statements from its keys, right and wrong ones.

func newKey(t *testing.T) *signing.PrivateKey {
	t.Helper()
	key, err := signing.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// testOwner is an account whose shares a contact keeps.
type testOwner struct {
	t       *testing.T
	account ledger.AccountID
	server  *signing.PrivateKey
	devices map[uint64]*signing.PrivateKey // sign keys
	epochs  map[uint64]*testEpoch
}

type testEpoch struct {
	root  *signing.PrivateKey
	share []byte // member 1's, binary
	key   *signing.PrivateKey
}

func newOwner(t *testing.T) *testOwner {
	o := &testOwner{t: t, server: newKey(t), devices: map[uint64]*signing.PrivateKey{1: newKey(t)}, epochs: map[uint64]*testEpoch{}}
	_, _ = rand.Read(o.account[:])
	return o
}

// epoch returns an epoch's keys and the share of its member 1, a real one.
func (o *testOwner) epoch(number uint64) *testEpoch {
	o.t.Helper()
	if e := o.epochs[number]; e != nil {
		return e
	}
	half := make([]byte, seed.HalfSize)
	_, _ = rand.Read(half)
	s := must[*seed.Seed](o.t)(seed.New(half, half))
	split := must[*seed.Split](o.t)(s.Split(rand.Reader, 2, 3, false))
	e := &testEpoch{root: newKey(o.t)}
	e.share = must[[]byte](o.t)(split.Members[0].MarshalBinary())
	e.key = must[*signing.PrivateKey](o.t)(seed.ShareKey(split.Members[0], o.account, number, 1))
	o.epochs[number] = e
	return e
}

// envelope is the signed envelope of member 1's share of an epoch, by a device.
// change, which may be nil, changes it before it is signed.
func (o *testOwner) envelope(number, device uint64, list *recordv1.DeviceList, change func(*recordv1.ShareEnvelope)) []byte {
	o.t.Helper()
	epoch := o.epoch(number)
	e := &recordv1.ShareEnvelope{
		Account: o.account[:], Epoch: number, Member: 1, ShareKey: epoch.key.PublicKey().Bytes(), RootKey: epoch.root.PublicKey().Bytes(),
		Quorum: 2, Members: 3, WaitingPeriod: 3600, Device: device, Author: device,
		Devices: []*recordv1.OwnerDevice{{Device: device, SignKey: o.devices[device].PublicKey().Bytes()}},
		Server:  &recordv1.Server{Url: "http://127.0.0.1:1", SignKey: o.server.PublicKey().Bytes(), SealKey: newKey(o.t).PublicKey().Bytes()},
	}
	if change != nil {
		change(e)
	}
	b := must[[]byte](o.t)(canonical.Marshal(e))
	return must[[]byte](o.t)(canonical.Marshal(&recordv1.SignedShareEnvelope{
		Envelope: b, Signature: o.devices[device].Sign(signing.NewContext("share-envelope").Bytes(b)), Recovered: list,
	}))
}

// list is a list of devices as a root key signs it after a recovery.
func (o *testOwner) list(epoch uint64, root *signing.PrivateKey, devices ...uint64) *recordv1.DeviceList {
	return o.listOfKind("recovered-device-list", epoch, root, devices...)
}

// listOfKind is a list signed as one of a kind, of the parts that the
// specification's table has.
func (o *testOwner) listOfKind(kind string, epoch uint64, root *signing.PrivateKey, devices ...uint64) *recordv1.DeviceList {
	o.t.Helper()
	l := &recordv1.DeviceList{Epoch: epoch}
	signed := signing.NewContext(kind).Bytes(o.account[:]).Uint(epoch).Count(len(devices))
	for _, n := range devices {
		key := o.devices[n].PublicKey().Bytes()
		l.Devices = append(l.Devices, &recordv1.ListedDevice{Device: n, SignKey: key, SealKey: key, ConfirmKey: key})
		signed.Uint(n).Bytes(key).Bytes(key).Bytes(key)
	}
	l.Signature = root.Sign(signed)
	return l
}

// attestation is a head as one of the owner's devices, or the server for device
// 0, attests it.
func (o *testOwner) attestation(device, epoch, sequence uint64, head ledger.Hash) []byte {
	o.t.Helper()
	key, holder := o.server, &recordv1.Holder{Kind: recordv1.Holder_KIND_SERVER}
	if device != 0 {
		key, holder = o.devices[device], &recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: device}
	}
	return must[[]byte](o.t)(ledger.NewAttestation(&recordv1.Attestation{
		Account: o.account[:], Epoch: epoch, Sequence: sequence, Head: head[:], Time: uint64(time.Now().UnixMilli()), Nonce: make([]byte, 16), Holder: holder,
	}, key))
}

// entry is an entry of the owner's ledger by a device, signed with any key.
func (o *testOwner) entry(author, sequence uint64, key *signing.PrivateKey, record proto.Message) []byte {
	o.t.Helper()
	b := must[[]byte](o.t)(ledger.NewRecord(record))
	account := o.account
	draft := ledger.Draft{Account: &account, Previous: ledger.Head{Sequence: sequence - 1, Hash: ledger.Hash{1}}, Time: time.Now(), Author: author, Records: [][]byte{b}}
	return must[*ledger.Entry](o.t)(draft.Sign(key)).Bytes()
}

// adds is the entry with which a device adds another one, signed with any key.
func (o *testOwner) adds(author, device uint64, key *signing.PrivateKey) []byte {
	o.t.Helper()
	sealed := func(n int) []byte { return make([]byte, n) }
	return o.entry(author, 10+device, key, &recordv1.DeviceAdded{
		Device: device,
		Keys: &recordv1.DeviceKeys{
			SignKey: o.devices[device].PublicKey().Bytes(), SealKey: newKey(o.t).PublicKey().Bytes(), ConfirmKey: newKey(o.t).PublicKey().Bytes(),
			Generation: 1, SealedName: sealed(100),
		},
		Generations: []*recordv1.GenerationKeys{{Number: 1, MetadataKey: sealed(81), DeviceShareKey: sealed(81)}},
		SeedShares:  []*recordv1.SealedToEpoch{{Epoch: 1, Sealed: sealed(150)}},
	})
}

// request is what a new device asks with.
func (o *testOwner) request() *ledger.RecoveryRequest {
	o.t.Helper()
	key := newKey(o.t)
	seal := must[*hpke.PrivateKey](o.t)(hpke.GenerateKey(rand.Reader))
	b := must[[]byte](o.t)(ledger.NewRecoveryRequest(&recordv1.RecoveryRequest{
		Account: o.account[:], Nonce: make([]byte, 16), SignKey: key.PublicKey().Bytes(), SealKey: seal.PublicKey().Bytes(),
		ConfirmKey: newKey(o.t).PublicKey().Bytes(), Time: uint64(time.Now().UnixMilli()), Server: o.server.PublicKey().Bytes(),
	}, key))
	return must[*ledger.RecoveryRequest](o.t)(ledger.ParseRecoveryRequest(b))
}

// contactDevice makes a device of another account at the owner's server, which no
// program answers.
func contactDevice(t *testing.T, o *testOwner) *Device {
	t.Helper()
	h, err := home.Create(filepath.Join(t.TempDir(), "contact"), home.Creation{
		Passphrase: []byte("passphrase"), ConfirmPassphrase: []byte("confirm passphrase"), WorkFactor: 1, Rand: rand.Reader,
		Config: &recordv1.HomeConfig{Name: "contact", Url: "http://127.0.0.1:1", Server: &recordv1.Server{
			Url: "http://127.0.0.1:1", SignKey: o.server.PublicKey().Bytes(), SealKey: newKey(t).PublicKey().Bytes(),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SetIdentity(ledger.AccountID{7}, 1); err != nil {
		t.Fatal(err)
	}
	d, err := unlock(h, []byte("passphrase"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// hold has the contact hold the share of an epoch, with the head that was proved
// last and what leads to its device.
func (o *testOwner) hold(d *Device, number uint64, envelope []byte, head *recordv1.ProvedHead, introductions ...[]byte) {
	o.t.Helper()
	s := &recordv1.StoredShare{Envelope: envelope, Share: o.epoch(number).share, Owner: "owner", Introductions: introductions}
	if head != nil {
		s.HeadDevice, s.HeadServer = head.Device, head.Server
	}
	if err := d.home.PutHeld(s); err != nil {
		o.t.Fatal(err)
	}
}
