package server_test

import (
	"crypto/rand"
	"slices"
	"time"

	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"

	"google.golang.org/protobuf/proto"
)

// account is an account as its owner's devices know it.
type account struct {
	w       *world
	id      ledger.AccountID
	name    string
	state   *ledger.State
	entries []*ledger.Entry
	devices []*device // number N at N-1

	generation *seed.Generation
	master     *seed.MasterPublicKey
	sheet      *seed.Sheet
	sealed     map[ledger.ShareID]*recordv1.SealedServerShare // all that ever went to the server
	shareKeys  map[uint64]*signing.PrivateKey                 // of members, as their contacts have them
	shares     map[uint64]*slip39.Share                       // likewise
	receipts   [][]byte                                       // of the server
	proof      []byte                                         // the server's newest attestation
}

func (a *account) client() *client.Client { return a.w.client() }

func (a *account) device(number uint64) *device { return a.devices[number-1] }

// draft signs an entry of these records by a device, with the second factor of
// the only one where it is needed.
func (a *account) draft(by *device, records ...proto.Message) *ledger.Entry {
	var encoded [][]byte
	var parsed []*recordv1.Record
	for _, r := range records {
		b := must(ledger.NewRecord(r))
		encoded = append(encoded, b)
		parsed = append(parsed, must(ledger.ParseRecord(b)))
	}
	head := a.state.Head()
	draft := ledger.Draft{Account: &a.id, Previous: head, Time: a.w.clock(), Author: by.number, Records: encoded}
	if a.state.InUse() != nil && a.state.NeedsSecondFactor(by.number, parsed) {
		p := &recordv1.Proposal{Nonce: nonce(), BaseSequence: head.Sequence, BaseHash: head.Hash[:], Expiry: uint64(a.w.clock().Add(time.Hour).UnixMilli())}
		role, key, device := recordv1.Endorsement_ROLE_CONFIRM, by.confirm, by
		for _, other := range a.state.ActiveDevices() {
			if other.Number != by.number {
				role, device = recordv1.Endorsement_ROLE_DEVICE, a.device(other.Number)
				key = device.sign
			}
		}
		p.Endorsements = []*recordv1.Endorsement{{Role: role, Device: device.number,
			Signature: key.Sign(ledger.ProposalContext(a.id, p, by.number, encoded, role, device.number))}}
		draft.Proposal = p
	}
	return must(draft.Sign(by.sign))
}

// send sends entries and shares; what was accepted is folded.
func (a *account) send(by *device, entries []*ledger.Entry, shares []*recordv1.SealedServerShare) error {
	request := &apiv1.AppendRequest{Shares: shares}
	for _, e := range entries {
		request.Entries = append(request.Entries, e.Bytes())
	}
	answer, hash, err := a.client().Append(a.w.t.Context(), by.identity(), request)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Sequence() > a.state.Head().Sequence {
			a.w.ok(a.state.Apply(e))
			a.entries = append(a.entries, e)
		}
	}
	attestation := must(ledger.ParseAttestation(answer.Attestation))
	if attestation.Verify(a.w.keys.SignKey()) != nil || attestation.Head() != a.state.Head() || !attestation.Answers(api.AppendNonce(hash)) {
		a.w.t.Errorf("the server attests %v, the head is %v", attestation.Head(), a.state.Head())
	}
	a.receipts, a.proof = answer.Receipts, answer.Attestation
	for _, share := range shares {
		if a.sealed == nil {
			a.sealed = map[ledger.ShareID]*recordv1.SealedServerShare{}
		}
		a.sealed[must(ledger.SealedShareID(share))] = share
	}
	return nil
}

// add appends one entry of records by device 1, or fails the test.
func (a *account) add(records ...proto.Message) {
	a.w.t.Helper()
	a.w.ok(a.send(a.first(), []*ledger.Entry{a.draft(a.first(), records...)}, nil))
}

// first is the active device with the lowest number.
func (a *account) first() *device { return a.device(a.state.ActiveDevices()[0].Number) }

// seedHalf asks for the server's half and opens it.
func (a *account) seedHalf(d *device) ([]byte, []string, error) {
	n := nonce()
	answer, err := a.client().SeedHalf(a.w.t.Context(), d.identity(), &apiv1.SeedHalfRequest{Nonce: n})
	if err != nil {
		return nil, nil, err
	}
	half, err := seed.OpenServerHalf(d.seal, a.id, [16]byte(n), d.number, answer.Sealed)
	return half, answer.Sources, err
}

const waitingPeriod = 72 * time.Hour

// preparation makes the next epoch, 2 of 3.
func (a *account) preparation(sheet bool) (*recordv1.EpochPrepared, []*recordv1.SealedServerShare) {
	d := a.first()
	half, _, err := a.seedHalf(d)
	a.w.ok(err)
	p := seed.Preparation{
		Seed: must(seed.New(must(seed.LocalHalf(rand.Reader, nil)), half)), Account: a.id,
		Epoch: a.state.NextEpoch(), Author: d.number, Quorum: 2, Members: 3, Sheet: sheet, WaitingPeriod: waitingPeriod,
		Devices: a.state.ActiveDevices(), ServerSealKey: a.w.keys.SealKey(),
	}
	if a.generation == nil {
		a.generation = must(seed.NewGeneration(rand.Reader, 1))
	}
	p.Generations = []*seed.Generation{a.generation}
	record, shares, prepared, err := seed.Prepare(rand.Reader, p)
	a.w.ok(err)
	a.master, a.sheet = prepared.Master, prepared.Sheet
	a.shareKeys, a.shares = map[uint64]*signing.PrivateKey{}, map[uint64]*slip39.Share{}
	return record, shares
}

// prepare appends the next epoch.
func (a *account) prepare(sheet bool) {
	a.w.t.Helper()
	record, shares := a.preparation(sheet)
	a.w.ok(a.send(a.first(), []*ledger.Entry{a.draft(a.first(), record)}, shares))
}

// newest is the epoch that contacts are bound to: the prepared one, if any.
func (a *account) newest() *ledger.Epoch {
	if e := a.state.Prepared(); e != nil {
		return e
	}
	return a.state.InUse()
}

// contactOf is the record by which an account names its devices.
func (a *account) contact() *recordv1.Contact {
	c := &recordv1.Contact{Account: a.id[:]}
	for _, d := range a.state.ActiveDevices() {
		c.Devices = append(c.Devices, &recordv1.ContactDevice{SignKey: d.SignKey.Bytes(), SealKey: d.SealKey.Bytes()})
	}
	return c
}

// bind gives a member to a contact, which then has the whole share.
func (a *account) bind(member uint64, contact *account) {
	a.w.t.Helper()
	e := a.newest()
	a.add(&recordv1.ContactBound{Epoch: e.Number, Member: member, Contact: contact.contact(), Generation: a.state.Generation(), SealedName: make([]byte, ledger.ContactNameSize)})
	half := contact.openHalf(a, e.Number, member)
	a.combine(e, member, half)
}

// openHalf takes the server's half of an owner's share out of the inbox, or fails.
func (a *account) openHalf(owner *account, epoch, member uint64) []byte {
	a.w.t.Helper()
	for _, m := range a.inbox(1) {
		signed, half := &recordv1.SignedServerHalf{}, &recordv1.ServerHalf{}
		if m.Kind != apiv1.Message_KIND_SERVER_HALF {
			continue
		}
		a.w.ok(canonical.Unmarshal(m.Body, signed))
		a.w.ok(canonical.Unmarshal(signed.Half, half))
		if string(half.Account) != string(owner.id[:]) || half.Epoch != epoch || half.Member != member {
			continue
		}
		if !a.w.keys.SignKey().Verify(signing.NewContext("server-half").Bytes(signed.Half), signed.Signature) {
			a.w.t.Error("the server's half is not signed by the server")
		}
		e, _ := owner.state.Epoch(epoch)
		if string(half.ShareKey) != string(e.Members[member-1].ShareKey.Bytes()) || len(m.From) != 0 {
			a.w.t.Error("the server's half names another share, or a sender")
		}
		place := credential.ContactHalf{Account: owner.id, Epoch: epoch, Member: member, Contact: a.id, Party: credential.Server}
		return must(place.Open(a.device(1).seal, half.Halves[0].Sealed))
	}
	a.w.t.Fatalf("no half of member %d, epoch %d", member, epoch)
	return nil
}

// combine makes a member's share whole, as its contact does.
func (a *account) combine(e *ledger.Epoch, member uint64, serverHalf []byte) {
	a.w.t.Helper()
	binding := credential.WaitingBinding(a.id, e.Number, member, e.Author)
	split := e.Record.Members[member-1].Waiting
	deviceHalf := must(credential.OpenDeviceHalf(a.generation.DeviceShare, binding, split))
	share := must(slip39.ParseBinary(must(credential.Combine(binding, split, deviceHalf, serverHalf))))
	a.shares[member] = share
	a.shareKeys[member] = must(seed.ShareKey(share, a.id, e.Number, member))
}

// receipt is a member's proof of its share.
func (a *account) receipt(member uint64) *recordv1.ShareReceipt {
	e, key := a.newest().Number, a.shareKeys[member]
	holder := &recordv1.Holder{Kind: recordv1.Holder_KIND_MEMBER, Number: member}
	return &recordv1.ShareReceipt{Epoch: e, Holder: holder, Signature: key.Sign(ledger.ReceiptContext(a.id, e, holder, key.PublicKey().Bytes()))}
}

// serverReceipt appends the receipt that the server gave last.
func (a *account) serverReceipt() {
	a.w.t.Helper()
	if len(a.receipts) == 0 {
		a.w.ok(a.send(a.first(), nil, nil)) // whoever asks gets them
	}
	if len(a.receipts) != 1 {
		a.w.t.Fatalf("the server gives %d receipts", len(a.receipts))
	}
	receipt := &recordv1.ShareReceipt{}
	a.w.ok(canonical.Unmarshal(a.receipts[0], receipt))
	a.add(receipt)
}

// commit commits the newest epoch with these contacts as members 1, 2, ...
func (a *account) commit(contacts ...*account) {
	a.w.t.Helper()
	a.serverReceipt()
	for i, contact := range contacts {
		a.bind(uint64(i)+1, contact)
		a.add(a.receipt(uint64(i) + 1))
	}
	if a.state.Committed() && a.state.Prepared() != nil {
		if at := must(a.state.CommitFrom(a.newest().Number)); at.After(a.w.clock()) {
			a.w.wait(at.Sub(a.w.clock()))
		}
	}
	a.add(&recordv1.EpochCommitted{Epoch: a.newest().Number})
}

// put makes a version of a slot in the epoch in use, and in the prepared one.
func (a *account) put(slot byte, version uint64, note string) ([]proto.Message, []*recordv1.SealedServerShare) {
	epochs := []uint64{a.state.InUse().Number}
	if e := a.state.Prepared(); e != nil {
		epochs = append(epochs, e.Number)
	}
	d := a.first()
	var records []proto.Message
	var shares []*recordv1.SealedServerShare
	for i, epoch := range epochs {
		counter := a.state.Counter(d.number) + uint64(i) + 1
		record, share, err := credential.NewPut(rand.Reader, credential.Put{
			Account: a.id, Slot: [16]byte{slot}, Version: version, Epoch: epoch, Device: d.number, Counter: counter,
			SlotKey: must(a.master.SlotKey(d.number, counter)), ServerSealKey: a.w.keys.SealKey(),
			Generation: a.generation.Number, MetadataKey: a.generation.Metadata, DeviceShareKey: a.generation.DeviceShare,
			Metadata: &recordv1.SlotMetadata{Kind: recordv1.SlotMetadata_KIND_NOTE, Title: "title"},
			Secret:   &recordv1.Secret{Notes: note, Kind: &recordv1.Secret_Note{Note: &recordv1.Note{}}},
		})
		a.w.ok(err)
		records, shares = append(records, record), append(shares, share)
	}
	return records, shares
}

// store stores a version of a slot.
func (a *account) store(slot byte, version uint64, note string) {
	a.w.t.Helper()
	records, shares := a.put(slot, version, note)
	a.w.ok(a.send(a.first(), []*ledger.Entry{a.draft(a.first(), records...)}, shares))
}

// version names a slot version of the epoch in use.
func (a *account) version(slot byte, version uint64) *apiv1.SlotVersion {
	id := ledger.SlotID{slot}
	return &apiv1.SlotVersion{Slot: id[:], Version: version, Epoch: a.state.InUse().Number}
}

// reveal asks for a slot, opens the answer and combines it with the device share.
func (a *account) reveal(d *device, v *apiv1.SlotVersion, confirm func(*apiv1.SignedRequest)) (string, error) {
	answer, hash, err := a.client().Reveal(a.w.t.Context(), d.identity(), &apiv1.RevealRequest{Slots: []*apiv1.SlotVersion{v}, Purpose: api.PurposeGet}, confirm)
	if err != nil {
		return "", err
	}
	opened, err := api.OpenReveal(d.seal, api.RevealPlace{Account: a.id, Request: hash, Device: d.number}, answer.Sealed)
	a.w.ok(err)
	slot, _ := a.state.Slot(ledger.SlotID(v.Slot))
	p := slot.VersionPut(v.Version, v.Epoch)
	own := must(credential.OpenDeviceShare(a.generation.DeviceShare, a.id, p, p.Secret.SealedDeviceShare, p.Secret.Generation, p.Device))
	secret, err := credential.OpenSecret(a.id, p, own, opened.Shares[0].Share)
	a.w.ok(err)
	return secret.Notes, nil
}

// inbox returns what waits for a device.
func (a *account) inbox(device uint64) []*apiv1.Message {
	a.w.t.Helper()
	answer, err := a.client().Inbox(a.w.t.Context(), a.device(device).identity(), &apiv1.InboxRequest{})
	a.w.ok(err)
	return answer.Messages
}

// held returns the shares that the server has in its store.
func (a *account) held() []ledger.ShareID {
	return must(a.w.store.ShareIDs(a.w.t.Context(), a.id))
}

func (a *account) holds(kind recordv1.SealedServerShare_Kind, epoch uint64) int {
	n := 0
	for _, id := range a.held() {
		if id.Kind == kind && id.Epoch == epoch {
			n++
		}
	}
	return n
}

// addDevice adds a second device, which all of the keys are sealed to.
func (a *account) addDevice() *device {
	a.w.t.Helper()
	author, d := a.first(), a.newDevice()
	q := a.proposal(a.deviceAdded(author, d))
	endorsements := []*recordv1.Endorsement{
		author.endorses(q, recordv1.Endorsement_ROLE_CONFIRM), d.endorses(q, recordv1.Endorsement_ROLE_NEW_DEVICE),
	}
	a.w.ok(a.sendEndorsed(author, q, endorsements))
	a.devices = append(a.devices, d)
	return d
}

// newDevice is the next device of the account, which is not in the ledger yet.
func (a *account) newDevice() *device {
	d := a.w.device()
	d.account, d.number = a, a.state.NextDevice()
	return d
}

// deviceAdded is the record that adds a device.
func (a *account) deviceAdded(author, d *device) *recordv1.DeviceAdded {
	public := &ledger.Device{Number: d.number, SignKey: d.sign.PublicKey(), SealKey: d.seal.PublicKey(), ConfirmKey: d.confirm.PublicKey(), Keys: d.keys()}
	generation := must(a.generation.SealTo(rand.Reader, a.id, author.number, public))
	added := &recordv1.DeviceAdded{Device: d.number, Keys: d.keys(), Generations: []*recordv1.GenerationKeys{generation}}
	for _, e := range []*ledger.Epoch{a.state.InUse(), a.state.Prepared()} {
		if e == nil {
			continue
		}
		sealed, by, _ := a.state.SeedShare(e.Number, author.number)
		share := must(seed.OpenDeviceShare(author.seal, a.id, e.Record, by, author.number, sealed))
		added.SeedShares = append(added.SeedShares, &recordv1.SealedToEpoch{
			Epoch: e.Number, Sealed: must(seed.SealDeviceShare(rand.Reader, a.id, e.Number, author.number, public, share)),
		})
	}
	return added
}

// proposal asks others to endorse records.
func (a *account) proposal(records ...proto.Message) *apiv1.ProposeRequest {
	head := a.state.Head()
	q := &apiv1.ProposeRequest{Proposal: must(canonical.Marshal(&recordv1.Proposal{
		Nonce: nonce(), BaseSequence: head.Sequence, BaseHash: head.Hash[:], Expiry: uint64(a.w.clock().Add(api.ProposalLife).UnixMilli()),
	}))}
	for _, r := range records {
		q.Records = append(q.Records, must(ledger.NewRecord(r)))
	}
	return q
}

// endorses is the device's endorsement of a proposal by the first one.
func (d *device) endorses(q *apiv1.ProposeRequest, role recordv1.Endorsement_Role) *recordv1.Endorsement {
	p, key := &recordv1.Proposal{}, d.sign
	d.w.ok(canonical.Unmarshal(q.Proposal, p))
	if role == recordv1.Endorsement_ROLE_CONFIRM {
		key = d.confirm
	}
	return &recordv1.Endorsement{Role: role, Device: d.number,
		Signature: key.Sign(ledger.ProposalContext(d.account.id, p, d.account.first().number, q.Records, role, d.number))}
}

// sendEndorsed appends what was proposed.
func (a *account) sendEndorsed(by *device, q *apiv1.ProposeRequest, endorsements []*recordv1.Endorsement) error {
	p := &recordv1.Proposal{}
	a.w.ok(canonical.Unmarshal(q.Proposal, p))
	p.Endorsements = endorsements
	entry := must(ledger.Draft{Account: &a.id, Previous: a.state.Head(), Time: a.w.clock(), Author: by.number, Records: q.Records, Proposal: p}.Sign(by.sign))
	return a.send(by, []*ledger.Entry{entry}, nil)
}

// family makes an owner whose epoch 1 is committed with two contacts, and a third
// account that is none.
func (w *world) family() (owner *account, contacts []*account) {
	w.t.Helper()
	owner = w.create("owner")
	for _, name := range []string{"carla", "charly", "cleo"} {
		contacts = append(contacts, w.create(name))
	}
	owner.prepare(true)
	owner.commit(contacts[:2]...)
	return owner, contacts
}

func sealedShares(m map[ledger.ShareID]*recordv1.SealedServerShare, want []ledger.ServerShare) []*recordv1.SealedServerShare {
	var shares []*recordv1.SealedServerShare
	for _, w := range want {
		if share, ok := m[w.ShareID]; ok {
			shares = append(shares, share)
		}
	}
	return slices.Clip(shares)
}

// revoke revokes a locked device; those that stay get a new key generation.
func (a *account) revoke(d *device) {
	a.w.t.Helper()
	record, generation := a.revocation(d.number)
	a.w.ok(a.send(a.first(), []*ledger.Entry{a.draft(a.first(), record)}, nil))
	a.generation = generation
}

// revocation is the record that revokes a device, with the key generation that it
// makes.
func (a *account) revocation(device uint64) (*recordv1.DeviceRevoked, *seed.Generation) {
	generation := must(seed.NewGeneration(rand.Reader, a.state.Generation()+1))
	var stay []*ledger.Device
	for _, other := range a.state.ActiveDevices() {
		if other.Number != device {
			stay = append(stay, other)
		}
	}
	var epochs []seed.EpochKey
	for _, e := range []*ledger.Epoch{a.state.InUse(), a.state.Prepared()} {
		if e != nil {
			epochs = append(epochs, seed.EpochKey{Epoch: e.Number, Master: a.master})
		}
	}
	return &recordv1.DeviceRevoked{Device: device, Generation: must(generation.Seal(rand.Reader, a.id, a.first().number, stay, epochs...))}, generation
}

// split splits every live slot in a prepared epoch.
func (a *account) split(epoch uint64) {
	a.w.t.Helper()
	d := a.first()
	var records []proto.Message
	var shares []*recordv1.SealedServerShare
	for i, slot := range a.state.LiveSlots() {
		counter := a.state.Counter(d.number) + uint64(i) + 1
		record, share, err := credential.NewPut(rand.Reader, credential.Put{
			Account: a.id, Slot: slot.ID, Version: slot.Version, Epoch: epoch, Device: d.number, Counter: counter,
			SlotKey: must(a.master.SlotKey(d.number, counter)), ServerSealKey: a.w.keys.SealKey(),
			Generation: a.generation.Number, MetadataKey: a.generation.Metadata, DeviceShareKey: a.generation.DeviceShare,
			Metadata: &recordv1.SlotMetadata{Kind: recordv1.SlotMetadata_KIND_NOTE, Title: "title"},
			Secret:   &recordv1.Secret{Notes: "split anew", Kind: &recordv1.Secret_Note{Note: &recordv1.Note{}}},
		})
		a.w.ok(err)
		records, shares = append(records, record), append(shares, share)
	}
	a.w.ok(a.send(d, []*ledger.Entry{a.draft(d, records...)}, shares))
}

// openPaperHalf opens what the server gives for paper.
func (a *account) openPaperHalf(sealed []byte, member uint64) []byte {
	place := credential.ContactHalf{Account: a.id, Epoch: a.state.InUse().Number, Member: member, Contact: a.id, Party: credential.Server}
	return must(place.Open(a.device(1).seal, sealed))
}
