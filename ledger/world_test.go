package ledger

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/signing"
)

// world has an account with the private keys of everybody in it, and makes valid
// entries for it. Everything random in it comes from its seed, so that one
// history always has the same bytes.
type world struct {
	t        testing.TB
	rand     *rand.ChaCha8
	state    *State
	before   *State // before the newest entry
	entries  []*Entry
	now      time.Time
	author   uint64
	server   *keys
	devices  map[uint64]*keys
	epochs   map[uint64]*epochKeys
	contacts map[string]*recordv1.Contact
	slots    map[string]SlotID
	slotKey  []byte
	requests map[string]*recovering
}

type keys struct {
	sign, confirm *signing.PrivateKey
	seal          *hpke.PrivateKey
}

type epochKeys struct {
	root   *signing.PrivateKey
	sheet  *signing.PrivateKey
	shares []*signing.PrivateKey
}

type recovering struct {
	keys    *keys
	request *RecoveryRequest
}

func newWorld(t testing.TB, seed byte) *world {
	w := &world{
		t:        t,
		rand:     rand.NewChaCha8([32]byte{seed}),
		state:    &State{},
		now:      time.UnixMilli(1_790_000_000_000),
		author:   1,
		devices:  map[uint64]*keys{},
		epochs:   map[uint64]*epochKeys{},
		contacts: map[string]*recordv1.Contact{},
		slots:    map[string]SlotID{},
		requests: map[string]*recovering{},
	}
	w.server = w.keys()
	w.slotKey = w.sealKey().PublicKey().Bytes()
	return w
}

func (w *world) bytes(n int) []byte {
	b := make([]byte, n)
	w.rand.Read(b)
	return b
}

// sealed stands for a ciphertext: the fold must never look into one.
func (w *world) sealed() []byte { return w.bytes(8) }

func (w *world) signKey() *signing.PrivateKey {
	key, err := signing.GenerateKey(w.rand)
	must(w.t, err)
	return key
}

func (w *world) sealKey() *hpke.PrivateKey {
	key, err := hpke.NewPrivateKey(w.signKey().Bytes())
	must(w.t, err)
	return key
}

func (w *world) keys() *keys {
	return &keys{sign: w.signKey(), confirm: w.signKey(), seal: w.sealKey()}
}

func (k *keys) deviceKeys(generation uint64) *recordv1.DeviceKeys {
	return &recordv1.DeviceKeys{
		SignKey:    k.sign.PublicKey().Bytes(),
		SealKey:    k.seal.PublicKey().Bytes(),
		ConfirmKey: k.confirm.PublicKey().Bytes(),
		Generation: generation,
		SealedName: []byte("name"),
	}
}

func (k *keys) server() *recordv1.Server {
	return &recordv1.Server{Url: "https://zeropass.test", SignKey: k.sign.PublicKey().Bytes(), SealKey: k.seal.PublicKey().Bytes()}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// draft is an entry before it is signed, with all signatures that it should
// have. Tests spoil it before they sign it.
type draft struct {
	w         *world
	key       *signing.PrivateKey
	author    uint64
	account   *AccountID
	previous  Head
	time      time.Time
	records   [][]byte
	proposal  *recordv1.Proposal // without endorsements; nil if none is needed
	endorsers []endorser
}

type endorser struct {
	role   recordv1.Endorsement_Role
	device uint64
	key    *signing.PrivateKey
}

func (w *world) draft(kinds ...proto.Message) *draft {
	d := &draft{w: w, author: w.author, previous: w.state.Head(), time: w.now}
	if k := w.devices[w.author]; k != nil {
		d.key = k.sign
	}
	if w.state.Head().Sequence > 0 {
		account := w.state.Account()
		d.account = &account
	}
	var records []*recordv1.Record
	for _, kind := range kinds {
		b, err := NewRecord(kind)
		must(w.t, err)
		record, err := parseRecord(b)
		must(w.t, err)
		d.records = append(d.records, b)
		records = append(records, record)
	}
	if _, genesis := kinds[0].(*recordv1.Genesis); !genesis && w.state.NeedsSecondFactor(d.author, records) {
		d.propose(records)
	}
	return d
}

// propose adds a proposal with everybody's endorsement who can give one.
func (d *draft) propose(records []*recordv1.Record) {
	w := d.w
	head := w.state.Head()
	d.proposal = &recordv1.Proposal{
		Nonce:        w.bytes(idSize),
		BaseSequence: head.Sequence,
		BaseHash:     head.Hash[:],
		Expiry:       uint64(w.now.Add(time.Hour).UnixMilli()),
	}
	for _, device := range w.state.ActiveDevices() {
		if device.Number != d.author && !isSubject(records, device.Number) {
			d.endorse(recordv1.Endorsement_ROLE_DEVICE, device.Number, w.devices[device.Number].sign)
		}
	}
	if len(d.endorsers) == 0 {
		d.endorse(recordv1.Endorsement_ROLE_CONFIRM, d.author, w.devices[d.author].confirm)
	}
	for _, record := range records {
		if added := record.GetDeviceAdded(); added != nil {
			d.endorse(recordv1.Endorsement_ROLE_NEW_DEVICE, added.Device, w.devices[added.Device].sign)
		}
	}
}

func (d *draft) endorse(role recordv1.Endorsement_Role, device uint64, key *signing.PrivateKey) {
	d.endorsers = append(d.endorsers, endorser{role, device, key})
}

func (d *draft) without(role recordv1.Endorsement_Role, device uint64) {
	d.endorsers = slices.DeleteFunc(d.endorsers, func(e endorser) bool { return e.role == role && e.device == device })
	if len(d.endorsers) == 0 {
		d.proposal = nil
	}
}

func (d *draft) sign() (*Entry, error) {
	proposal := d.proposal
	if proposal != nil {
		proposal = proto.CloneOf(proposal)
		for _, e := range d.endorsers {
			c := ProposalContext(d.w.state.Account(), proposal, d.author, d.records, e.role, e.device)
			proposal.Endorsements = append(proposal.Endorsements, &recordv1.Endorsement{Role: e.role, Device: e.device, Signature: e.key.Sign(c)})
		}
	}
	return Draft{
		Account:  d.account,
		Previous: d.previous,
		Time:     d.time,
		Author:   d.author,
		Records:  d.records,
		Proposal: proposal,
	}.Sign(d.key)
}

// apply signs a draft and applies it, and wants a refused one to leave the state
// as it was.
func (w *world) apply(d *draft) error {
	e, err := d.sign()
	if err != nil {
		return err
	}
	return w.applyEntry(e)
}

func (w *world) applyEntry(e *Entry) error {
	w.t.Helper()
	before := w.state.Clone()
	if err := w.state.Apply(e); err != nil {
		if !equalStates(before, w.state) {
			w.t.Fatalf("a refused entry (%v) changed the state", err)
		}
		return err
	}
	w.entries = append(w.entries, e)
	w.before = before
	return nil
}

// equalStates compares all fields but the scratch ones.
func equalStates(a, b *State) bool {
	x, y := *a, *b
	x.undo, y.undo = nil, nil
	x.proved, y.proved = nil, nil
	return reflect.DeepEqual(x, y)
}
