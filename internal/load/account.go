package load

import (
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
)

// Account is a simulated account, as small as it can be kept.
type Account struct {
	ID      ledger.AccountID
	Name    string
	devices []*device // number N at N-1
	keys    *seed.Generation
	head    ledger.Head
	counter uint64 // of the newest slot key
	slot    []byte // exact bytes of the SlotPut that is revealed
}

// device is one of its devices.
type device struct {
	number        uint64
	sign, confirm *signing.PrivateKey
	seal          *hpke.PrivateKey
}

func newDevice(rand io.Reader, number uint64) (*device, error) {
	d := &device{number: number}
	var err error
	if d.sign, err = signing.GenerateKey(rand); err != nil {
		return nil, err
	}
	if d.confirm, err = signing.GenerateKey(rand); err != nil {
		return nil, err
	}
	d.seal, err = hpke.GenerateKey(rand)
	return d, err
}

// public are the device's keys for a record. Names of simulated devices are no
// real ciphertext: nobody reads them.
func (d *device) public() *recordv1.DeviceKeys {
	return &recordv1.DeviceKeys{
		SignKey: d.sign.PublicKey().Bytes(), SealKey: d.seal.PublicKey().Bytes(), ConfirmKey: d.confirm.PublicKey().Bytes(),
		Generation: 1, SealedName: make([]byte, 40),
	}
}

// entered is the device as the ledger has it.
func (d *device) entered() *ledger.Device {
	return &ledger.Device{Number: d.number, Keys: d.public(), SignKey: d.sign.PublicKey(), SealKey: d.seal.PublicKey(), ConfirmKey: d.confirm.PublicKey()}
}

func (a *Account) who(d *device) api.Identity {
	return api.Identity{Account: &a.ID, Device: d.number, Key: d.sign}
}

// entry signs the next entry of the ledger, and takes it for accepted.
func (a *Account) entry(d *device, now time.Time, proposal *recordv1.Proposal, records ...proto.Message) (*ledger.Entry, error) {
	draft := ledger.Draft{Account: &a.ID, Previous: a.head, Time: now, Author: d.number, Proposal: proposal}
	for _, r := range records {
		b, err := ledger.NewRecord(r)
		if err != nil {
			return nil, err
		}
		draft.Records = append(draft.Records, b)
	}
	e, err := draft.Sign(d.sign)
	if err != nil {
		return nil, err
	}
	a.head = e.Head()
	return e, nil
}

// confirmed proposes records by the only device, with its own second factor.
func (a *Account) confirmed(rand io.Reader, d *device, now time.Time, records ...proto.Message) (*recordv1.Proposal, [][]byte, error) {
	p := &recordv1.Proposal{Nonce: make([]byte, 16), BaseSequence: a.head.Sequence, BaseHash: a.head.Hash[:], Expiry: uint64(now.Add(api.ProposalLife).UnixMilli())}
	if _, err := io.ReadFull(rand, p.Nonce); err != nil {
		return nil, nil, err
	}
	var encoded [][]byte
	for _, r := range records {
		b, err := ledger.NewRecord(r)
		if err != nil {
			return nil, nil, err
		}
		encoded = append(encoded, b)
	}
	p.Endorsements = []*recordv1.Endorsement{{
		Role: recordv1.Endorsement_ROLE_CONFIRM, Device: d.number,
		Signature: d.confirm.Sign(ledger.ProposalContext(a.ID, p, d.number, encoded, recordv1.Endorsement_ROLE_CONFIRM, d.number)),
	}}
	return p, encoded, nil
}

// policy allows what a campaign does in an hour.
var policy = &recordv1.Policy{RevealsPerHour: 1 << 20, RevealsPerDay: 1 << 20}

// genesis makes the account.
func genesis(rand io.Reader, server *recordv1.Server, name string, now time.Time) (*Account, *ledger.Entry, error) {
	d, err := newDevice(rand, 1)
	if err != nil {
		return nil, nil, err
	}
	record, err := ledger.NewRecord(&recordv1.Genesis{Server: server, Device: d.public(), Policy: policy})
	if err != nil {
		return nil, nil, err
	}
	e, err := ledger.Draft{Time: now, Author: 1, Records: [][]byte{record}}.Sign(d.sign)
	if err != nil {
		return nil, nil, err
	}
	id, _ := e.Account()
	keys, err := seed.NewGeneration(rand, 1)
	if err != nil {
		return nil, nil, err
	}
	return &Account{ID: id, Name: name, devices: []*device{d}, keys: keys, head: e.Head()}, e, nil
}

// put makes the first version of a new slot.
func (a *Account) put(rand io.Reader, o *origin, server *hpke.PublicKey) (*recordv1.SlotPut, *recordv1.SealedServerShare, error) {
	var id [16]byte
	if _, err := io.ReadFull(rand, id[:]); err != nil {
		return nil, nil, err
	}
	a.counter++
	key, err := o.master.SlotKey(1, a.counter)
	if err != nil {
		return nil, nil, err
	}
	return credential.NewPut(rand, credential.Put{
		Account: a.ID, Slot: id, Version: 1, Epoch: 1, Device: 1, Counter: a.counter,
		SlotKey: key, ServerSealKey: server, Generation: 1, MetadataKey: a.keys.Metadata, DeviceShareKey: a.keys.DeviceShare,
		Metadata: &recordv1.SlotMetadata{Kind: recordv1.SlotMetadata_KIND_LOGIN, Title: "site", UserName: a.Name, Uris: []*recordv1.Uri{{Uri: "https://site.example/login"}}},
		Secret:   secretOf(a),
	})
}

// secretOf is what every slot of an account holds.
func secretOf(a *Account) *recordv1.Secret {
	return &recordv1.Secret{Kind: &recordv1.Secret_Login{Login: &recordv1.Login{Password: "password of " + a.Name}}}
}

// combine opens the device's share of the account's slot and wants the secret that
// it makes with the server's.
func (a *Account) combine(serverShare []byte) error {
	put := &recordv1.SlotPut{}
	if err := canonical.Unmarshal(a.slot, put); err != nil {
		return err
	}
	own, err := credential.OpenDeviceShare(a.keys.DeviceShare, a.ID, put, put.Secret.SealedDeviceShare, 1, 1)
	if err != nil {
		return err
	}
	secret, err := credential.OpenSecret(a.ID, put, own, serverShare)
	if err != nil {
		return err
	}
	if !proto.Equal(secret, secretOf(a)) {
		return fmt.Errorf("load: %s got another secret", a.Name)
	}
	return nil
}
