package crashtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// machine is one device with its keys.
type machine struct {
	number        uint64
	sign, confirm *signing.PrivateKey
	seal          *hpke.PrivateKey
}

func newMachine(number uint64) (*machine, error) {
	m := &machine{number: number}
	var err error
	if m.sign, err = signing.GenerateKey(rand.Reader); err != nil {
		return nil, err
	}
	if m.confirm, err = signing.GenerateKey(rand.Reader); err != nil {
		return nil, err
	}
	m.seal, err = hpke.GenerateKey(rand.Reader)
	return m, err
}

func (m *machine) keys() *recordv1.DeviceKeys {
	return &recordv1.DeviceKeys{
		SignKey: m.sign.PublicKey().Bytes(), SealKey: m.seal.PublicKey().Bytes(), ConfirmKey: m.confirm.PublicKey().Bytes(),
		Generation: 1, SealedName: []byte("name"),
	}
}

// party is an account as its device knows it, with all that the server has
// acknowledged to it. What it was not told, it asks for again, as devices do.
type party struct {
	w          *wire
	id         ledger.AccountID
	name       string
	device     *machine
	others     []*machine // further devices
	state      *ledger.State
	generation *seed.Generation
	master     *seed.MasterPublicKey
	doubt      *doubt // sent and not acknowledged
	proof      []byte // the server's newest attestation

	held *slip39.Share // of the owner, if this is its contact

	entries  []*ledger.Entry               // acknowledged
	shares   []*recordv1.SealedServerShare // acknowledged, and not looked for since
	spent    *sent                         // newest acknowledged request that changed something
	requests []logged                      // acknowledged, and not found in the activity log yet
	activity *ledger.Activity              // newest that was found there
	attested uint64                        // sequence number that the device attested
}

// logged is requests of which one is in the activity log: the same thing was asked
// until it was acknowledged.
type logged struct {
	what   string
	hashes map[[32]byte]bool
}

// doubt is an entry whose fate is not known.
type doubt struct {
	procedure procedure
	entry     *ledger.Entry
	shares    []*recordv1.SealedServerShare
	hashes    map[[32]byte]bool
}

const waitingPeriod = 72 * time.Hour

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = io.ReadFull(rand.Reader, b) // it does not fail
	return b
}

func (p *party) identity() api.Identity {
	return api.Identity{Account: &p.id, Device: p.device.number, Key: p.device.sign}
}

// newParty makes the keys and Genesis of an account, which is not created yet.
func newParty(w *wire, name string) (*party, error) {
	device, err := newMachine(1)
	if err != nil {
		return nil, err
	}
	record, err := ledger.NewRecord(&recordv1.Genesis{
		Server: &recordv1.Server{Url: "http://localhost", SignKey: w.sign.Bytes(), SealKey: w.seal.Bytes()},
		Device: device.keys(), Policy: &recordv1.Policy{RevealsPerHour: 1 << 20, RevealsPerDay: 1 << 20},
	})
	if err != nil {
		return nil, err
	}
	entry, err := ledger.Draft{Time: time.Now(), Author: 1, Records: [][]byte{record}}.Sign(device.sign)
	if err != nil {
		return nil, err
	}
	p := &party{w: w, name: fmt.Sprintf("%s %x", name, random(8)), device: device, doubt: &doubt{procedure: createAccount, entry: entry}}
	p.id, _ = entry.Account()
	p.generation, err = seed.NewGeneration(rand.Reader, 1)
	return p, err
}

// settle sends what is in doubt again, until it is acknowledged.
func (p *party) settle(ctx context.Context) error {
	d := p.doubt
	if d == nil {
		return nil
	}
	var s *sent
	var attestation []byte
	var err error
	if d.procedure.name == createAccount.name {
		answer := &apiv1.CreateAccountAnswer{}
		s, err = p.w.ask(ctx, createAccount, api.Identity{Key: p.device.sign}, &apiv1.CreateAccountRequest{Name: p.name, Entry: d.entry.Bytes()}, answer, nil)
		attestation = answer.Attestation
	} else {
		answer := &apiv1.AppendAnswer{}
		s, err = p.w.ask(ctx, appendEntries, p.identity(), &apiv1.AppendRequest{Entries: [][]byte{d.entry.Bytes()}, Shares: d.shares}, answer, nil)
		attestation = answer.Attestation
	}
	if s != nil {
		if d.hashes == nil {
			d.hashes = map[[32]byte]bool{}
		}
		d.hashes[s.hash] = true
	}
	if err != nil {
		return err
	}
	return p.accepted(d, s, attestation)
}

// accepted keeps what the server acknowledged.
func (p *party) accepted(d *doubt, s *sent, proof []byte) error {
	var err error
	if p.state == nil {
		p.state, err = ledger.Fold(d.entry)
	} else {
		err = p.state.Apply(d.entry)
	}
	if err != nil {
		return err
	}
	attestation, err := ledger.ParseAttestation(proof)
	if err != nil {
		return err
	}
	if attestation.Verify(p.w.sign) != nil || attestation.Head() != p.state.Head() {
		return fmt.Errorf("the server attests %v, and acknowledged %v", attestation.Head(), p.state.Head())
	}
	p.doubt, p.proof = nil, proof
	p.entries = append(p.entries, d.entry)
	p.shares = append(p.shares, d.shares...)
	p.wrote(fmt.Sprintf("entry %d", d.entry.Sequence()), s, d.hashes)
	if len(d.hashes) > 1 {
		p.spent = nil // the last one may have changed nothing
	}
	return nil
}

// wrote notes that a write was acknowledged.
func (p *party) wrote(what string, s *sent, hashes map[[32]byte]bool) {
	p.w.acknowledged()
	p.spent = s
	if hashes == nil {
		hashes = map[[32]byte]bool{s.hash: true}
	}
	p.requests = append(p.requests, logged{what, hashes})
}

// add appends an entry with these records, with the device's second factor where
// they need one.
func (p *party) add(ctx context.Context, shares []*recordv1.SealedServerShare, records ...proto.Message) error {
	var encoded [][]byte
	var parsed []*recordv1.Record
	for _, r := range records {
		b, err := ledger.NewRecord(r)
		if err != nil {
			return err
		}
		record, err := ledger.ParseRecord(b)
		if err != nil {
			return err
		}
		encoded, parsed = append(encoded, b), append(parsed, record)
	}
	draft := ledger.Draft{Account: &p.id, Previous: p.state.Head(), Time: time.Now(), Author: p.device.number, Records: encoded}
	if p.state.NeedsSecondFactor(p.device.number, parsed) {
		draft.Proposal = p.endorsed(encoded)
	}
	entry, err := draft.Sign(p.device.sign)
	if err != nil {
		return err
	}
	p.doubt = &doubt{procedure: appendEntries, entry: entry, shares: shares}
	return p.settle(ctx)
}

// endorsed is a proposal with the endorsements of all other devices that may give one,
// those among them that are being added too. A device that is alone endorses with its
// confirm key.
func (p *party) endorsed(records [][]byte) *recordv1.Proposal {
	head := p.state.Head()
	q := &recordv1.Proposal{Nonce: random(api.NonceSize), BaseSequence: head.Sequence, BaseHash: head.Hash[:], Expiry: uint64(time.Now().Add(time.Hour).UnixMilli())}
	endorse := func(role recordv1.Endorsement_Role, device uint64, key *signing.PrivateKey) {
		q.Endorsements = append(q.Endorsements, &recordv1.Endorsement{Role: role, Device: device,
			Signature: key.Sign(ledger.ProposalContext(p.id, q, p.device.number, records, role, device))})
	}
	if len(p.state.ActiveDevices()) == 1 {
		endorse(recordv1.Endorsement_ROLE_CONFIRM, p.device.number, p.device.confirm)
	}
	for _, m := range p.others {
		switch d, ok := p.state.Device(m.number); {
		case !ok:
			endorse(recordv1.Endorsement_ROLE_NEW_DEVICE, m.number, m.sign)
		case d.Status == ledger.Active:
			endorse(recordv1.Endorsement_ROLE_DEVICE, m.number, m.sign)
		}
	}
	return q
}

// prepare makes epoch 1, with one contact.
func (p *party) prepare(ctx context.Context) error {
	nonce := random(api.NonceSize)
	answer := &apiv1.SeedHalfAnswer{}
	if _, err := p.w.ask(ctx, seedHalf, p.identity(), &apiv1.SeedHalfRequest{Nonce: nonce}, answer, nil); err != nil {
		return err
	}
	server, err := seed.OpenServerHalf(p.device.seal, p.id, [16]byte(nonce), p.device.number, answer.Sealed)
	if err != nil {
		return err
	}
	local, err := seed.LocalHalf(rand.Reader, nil)
	if err != nil {
		return err
	}
	whole, err := seed.New(local, server)
	if err != nil {
		return err
	}
	record, shares, prepared, err := seed.Prepare(rand.Reader, seed.Preparation{
		Seed: whole, Account: p.id, Epoch: p.state.NextEpoch(), Author: p.device.number, Quorum: 1, Members: 1, WaitingPeriod: waitingPeriod,
		Devices: p.state.ActiveDevices(), ServerSealKey: p.w.seal, Generations: []*seed.Generation{p.generation},
	})
	if err != nil {
		return err
	}
	p.master = prepared.Master
	return p.add(ctx, shares, record)
}

// addDevices adds so many devices to those that there are.
func (p *party) addDevices(ctx context.Context, count int) error {
	own := p.device.number
	sealed, author, _ := p.state.SeedShare(1, own)
	share, err := seed.OpenDeviceShare(p.device.seal, p.id, p.state.InUse().Record, author, own, sealed)
	if err != nil {
		return err
	}
	var records []proto.Message
	for n := range uint64(count) {
		m, err := newMachine(p.state.NextDevice() + n)
		if err != nil {
			return err
		}
		to := &ledger.Device{Number: m.number, Keys: m.keys(), SignKey: m.sign.PublicKey(), SealKey: m.seal.PublicKey(), ConfirmKey: m.confirm.PublicKey()}
		keys, err := p.generation.SealTo(rand.Reader, p.id, own, to)
		if err != nil {
			return err
		}
		half, err := seed.SealDeviceShare(rand.Reader, p.id, 1, own, to, share)
		if err != nil {
			return err
		}
		p.others = append(p.others, m)
		records = append(records, &recordv1.DeviceAdded{
			Device: m.number, Keys: to.Keys, Generations: []*recordv1.GenerationKeys{keys}, SeedShares: []*recordv1.SealedToEpoch{{Epoch: 1, Sealed: half}},
		})
	}
	return p.add(ctx, nil, records...)
}

// bind makes another account the contact.
func (p *party) bind(ctx context.Context, contact *party) error {
	return p.add(ctx, nil, &recordv1.ContactBound{
		Epoch: 1, Member: 1, Generation: p.generation.Number, SealedName: make([]byte, ledger.ContactNameSize),
		Contact: &recordv1.Contact{Account: contact.id[:], Devices: []*recordv1.ContactDevice{
			{SignKey: contact.device.sign.PublicKey().Bytes(), SealKey: contact.device.seal.PublicKey().Bytes()},
		}},
	})
}

// receipt has the contact put its share together, and proves it.
func (p *party) receipt(ctx context.Context, contact *party) error {
	half, err := contact.openHalf(ctx, p)
	if err != nil {
		return err
	}
	e := p.state.Prepared()
	if e == nil {
		e = p.state.InUse()
	}
	binding := credential.WaitingBinding(p.id, e.Number, 1, e.Author)
	split := e.Record.Members[0].Waiting
	own, err := credential.OpenDeviceHalf(p.generation.DeviceShare, binding, split)
	if err != nil {
		return err
	}
	binary, err := credential.Combine(binding, split, own, half)
	if err != nil {
		return err
	}
	if contact.held, err = slip39.ParseBinary(binary); err != nil {
		return err
	}
	key, err := seed.ShareKey(contact.held, p.id, e.Number, 1)
	if err != nil {
		return err
	}
	holder := &recordv1.Holder{Kind: recordv1.Holder_KIND_MEMBER, Number: 1}
	return p.add(ctx, nil, &recordv1.ShareReceipt{Epoch: e.Number, Holder: holder,
		Signature: key.Sign(ledger.ReceiptContext(p.id, e.Number, holder, key.PublicKey().Bytes()))})
}

// openHalf takes the server's half of the owner's share out of the inbox.
func (p *party) openHalf(ctx context.Context, owner *party) ([]byte, error) {
	answer := &apiv1.InboxAnswer{}
	if _, err := p.w.ask(ctx, inbox, p.identity(), &apiv1.InboxRequest{}, answer, nil); err != nil {
		return nil, err
	}
	for _, m := range answer.Messages {
		signed, half := &recordv1.SignedServerHalf{}, &recordv1.ServerHalf{}
		if m.Kind != apiv1.Message_KIND_SERVER_HALF || canonical.Unmarshal(m.Body, signed) != nil || canonical.Unmarshal(signed.Half, half) != nil {
			continue
		}
		if string(half.Account) == string(owner.id[:]) {
			place := credential.ContactHalf{Account: owner.id, Epoch: half.Epoch, Member: 1, Contact: p.id, Party: credential.Server}
			return place.Open(p.device.seal, half.Halves[0].Sealed)
		}
	}
	return nil, fmt.Errorf("the server's half for %s is lost: its inbox has %d messages", p.name, len(answer.Messages))
}

// commit commits the epoch with the server's receipt.
func (p *party) serverReceipt(ctx context.Context) error {
	answer := &apiv1.AppendAnswer{}
	if _, err := p.w.ask(ctx, appendEntries, p.identity(), &apiv1.AppendRequest{}, answer, nil); err != nil {
		return err
	}
	if len(answer.Receipts) != 1 {
		return fmt.Errorf("the server gives %d receipts", len(answer.Receipts))
	}
	receipt := &recordv1.ShareReceipt{}
	if err := canonical.Unmarshal(answer.Receipts[0], receipt); err != nil {
		return err
	}
	return p.add(ctx, nil, receipt)
}
