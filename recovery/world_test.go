package recovery

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// world is an account with everybody's keys and shares. It has no server and no
// network: what would travel stands in its fields. Everything random in it comes
// from its seed, so that one story always has the same bytes.
type world struct {
	t       testing.TB
	rand    io.Reader
	now     time.Time
	state   *ledger.State
	entries []*ledger.Entry

	server   *keyring
	devices  map[uint64]*keyring
	contacts [17]*keyring // by member

	generation *seed.Generation
	epochs     map[uint64]*epochShares
	released   *Released
	slots      map[string]ledger.SlotID // by title
}

// keyring is the private keys of a device or the server.
type keyring struct {
	sign, confirm *signing.PrivateKey
	seal          *hpke.PrivateKey
}

// epochShares is the seed of an epoch, in everybody's shares.
type epochShares struct {
	server, device *slip39.Share
	members        []*slip39.Share
	sheet          *seed.Sheet
	master         *seed.MasterPublicKey
}

// locked lets many goroutines read one generator.
type locked struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *locked) Read(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(b)
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newWorld opens an account whose first device has the given keys, or new ones.
func newWorld(t testing.TB, number byte, first *keyring) *world {
	t.Helper()
	w := &world{
		t:        t,
		rand:     &locked{r: rand.NewChaCha8([32]byte{number})},
		now:      time.UnixMilli(1_790_000_000_000),
		devices:  map[uint64]*keyring{},
		epochs:   map[uint64]*epochShares{},
		released: NewReleased(),
		slots:    map[string]ledger.SlotID{},
	}
	if first == nil {
		first = w.keyring()
	}
	w.devices[1] = first
	w.server = w.keyring()
	for member := range w.contacts {
		w.contacts[member] = w.keyring()
	}
	w.generation = must[*seed.Generation](t)(seed.NewGeneration(w.rand, 1))
	genesis := must[[]byte](t)(ledger.NewRecord(&recordv1.Genesis{
		Server: &recordv1.Server{Url: "https://zeropass.test", SignKey: w.server.sign.PublicKey().Bytes(), SealKey: w.server.seal.PublicKey().Bytes()},
		Device: &recordv1.DeviceKeys{
			SignKey:    first.sign.PublicKey().Bytes(),
			SealKey:    first.seal.PublicKey().Bytes(),
			ConfirmKey: first.confirm.PublicKey().Bytes(),
			Generation: 1,
			SealedName: []byte("name"),
		},
		Policy: &recordv1.Policy{RevealsPerHour: 10, RevealsPerDay: 50},
	}))
	entry := must[*ledger.Entry](t)(ledger.Draft{Time: w.now, Author: 1, Records: [][]byte{genesis}}.Sign(first.sign))
	w.state = must[*ledger.State](t)(ledger.Fold(entry))
	w.entries = append(w.entries, entry)
	return w
}

func (w *world) signKey() *signing.PrivateKey {
	return must[*signing.PrivateKey](w.t)(signing.GenerateKey(w.rand))
}

func (w *world) keyring() *keyring {
	return &keyring{
		sign:    w.signKey(),
		confirm: w.signKey(),
		seal:    must[*hpke.PrivateKey](w.t)(hpke.GenerateKey(w.rand)),
	}
}

func (w *world) bytes(n int) []byte {
	b := make([]byte, n)
	_ = must[int](w.t)(io.ReadFull(w.rand, b))
	return b
}

func (w *world) account() ledger.AccountID { return w.state.Account() }

// draft makes an entry by the newest device, with its confirm key as the second
// factor where one is needed. A device that is added endorses.
func (w *world) draft(author uint64, kinds ...proto.Message) *ledger.Entry {
	w.t.Helper()
	account, head := w.account(), w.state.Head()
	d := ledger.Draft{Account: &account, Previous: head, Time: w.now, Author: author}
	var records []*recordv1.Record
	for _, kind := range kinds {
		b := must[[]byte](w.t)(ledger.NewRecord(kind))
		d.Records = append(d.Records, b)
		records = append(records, must[*recordv1.Record](w.t)(ledger.ParseRecord(b)))
	}
	if w.state.NeedsSecondFactor(author, records) {
		d.Proposal = &recordv1.Proposal{
			Nonce:        w.bytes(16),
			BaseSequence: head.Sequence,
			BaseHash:     head.Hash[:],
			Expiry:       uint64(w.now.Add(time.Hour).UnixMilli()),
		}
		c := ledger.ProposalContext(account, d.Proposal, author, d.Records, recordv1.Endorsement_ROLE_CONFIRM, author)
		d.Proposal.Endorsements = []*recordv1.Endorsement{
			{Role: recordv1.Endorsement_ROLE_CONFIRM, Device: author, Signature: w.devices[author].confirm.Sign(c)},
		}
		for _, record := range records {
			if added := record.GetDeviceAdded(); added != nil {
				role := recordv1.Endorsement_ROLE_NEW_DEVICE
				c := ledger.ProposalContext(account, d.Proposal, author, d.Records, role, added.Device)
				signature := w.devices[added.Device].sign.Sign(c)
				d.Proposal.Endorsements = append(d.Proposal.Endorsements, &recordv1.Endorsement{Role: role, Device: added.Device, Signature: signature})
			}
		}
	}
	return must[*ledger.Entry](w.t)(d.Sign(w.devices[author].sign))
}

// apply appends an entry by device 1.
func (w *world) apply(kinds ...proto.Message) {
	w.t.Helper()
	e := w.draft(1, kinds...)
	ok(w.t, w.state.Apply(e))
	w.entries = append(w.entries, e)
}

// prepare prepares the next epoch and takes its shares from what is sealed.
func (w *world) prepare(quorum, members int, sheet bool) uint64 {
	w.t.Helper()
	number := w.state.NextEpoch()
	s := must[*seed.Seed](w.t)(seed.New(w.bytes(seed.HalfSize), w.bytes(seed.HalfSize)))
	record, forServer, prepared, err := seed.Prepare(w.rand, seed.Preparation{
		Seed: s, Account: w.account(), Epoch: number, Author: 1, Quorum: quorum, Members: members, Sheet: sheet,
		WaitingPeriod: 72 * time.Hour,
		Devices:       w.state.ActiveDevices(),
		ServerSealKey: w.server.seal.PublicKey(),
		Generations:   []*seed.Generation{w.generation},
	})
	ok(w.t, err)
	shares := &epochShares{sheet: prepared.Sheet, master: prepared.Master}
	w.epochs[number] = shares
	shares.server = must[*slip39.Share](w.t)(seed.OpenServerShare(w.server.seal, w.account(), record, 1, forServer[0].Sealed))
	shares.device = must[*slip39.Share](w.t)(seed.OpenDeviceShare(w.devices[1].seal, w.account(), record, 1, 1, record.SeedShares[0].Sealed))
	for i, m := range record.Members {
		place := credential.WaitingBinding(w.account(), number, uint64(i)+1, 1)
		deviceHalf := must[[]byte](w.t)(credential.OpenDeviceHalf(w.generation.DeviceShare, place, m.Waiting))
		serverHalf := must[[]byte](w.t)(credential.OpenServerHalf(w.server.seal, place, m.Waiting, forServer[i+1].Sealed))
		whole := must[[]byte](w.t)(credential.Combine(place, m.Waiting, deviceHalf, serverHalf))
		shares.members = append(shares.members, must[*slip39.Share](w.t)(slip39.ParseBinary(whole)))
	}
	w.apply(record)
	return number
}

func (w *world) contact(member uint64) *recordv1.Contact {
	k := w.contacts[member]
	hash := signing.NewContext("test").Bytes(k.sign.PublicKey().Bytes()).Hash()
	return &recordv1.Contact{Account: hash[:], Devices: []*recordv1.ContactDevice{
		{SignKey: k.sign.PublicKey().Bytes(), SealKey: k.seal.PublicKey().Bytes()},
	}}
}

// bind gives members to contacts, those listed as paper to paper, takes everybody's
// receipt, and commits the epoch.
func (w *world) commit(epoch uint64, paper ...uint64) {
	w.t.Helper()
	shares := w.epochs[epoch]
	e, _ := w.state.Epoch(epoch)
	for i := range shares.members {
		number := uint64(i) + 1
		bound := &recordv1.ContactBound{Epoch: epoch, Member: number, Contact: w.contact(number), Generation: w.state.Generation()}
		for _, p := range paper {
			if p == number {
				bound.Contact = nil
			}
		}
		bound.SealedName = make([]byte, ledger.ContactNameSize)
		w.apply(bound)
		key := w.shareKey(epoch, number)
		w.receipt(epoch, member(number), key.PublicKey().Bytes(), key)
	}
	w.receipt(epoch, &recordv1.Holder{Kind: recordv1.Holder_KIND_SERVER}, e.Record.ServerShareHash, w.server.sign)
	w.now = w.now.Add(73 * time.Hour)
	w.apply(&recordv1.EpochCommitted{Epoch: epoch})
	w.now = w.now.Add(73 * time.Hour)
}

func (w *world) receipt(epoch uint64, holder *recordv1.Holder, proof []byte, key *signing.PrivateKey) {
	w.t.Helper()
	w.apply(&recordv1.ShareReceipt{Epoch: epoch, Holder: holder, Signature: key.Sign(ledger.ReceiptContext(w.account(), epoch, holder, proof))})
}

func (w *world) shareKey(epoch, number uint64) *signing.PrivateKey {
	share := w.epochs[epoch].members[number-1]
	return must[*signing.PrivateKey](w.t)(seed.ShareKey(share, w.account(), epoch, number))
}

func login(title string) (*recordv1.SlotMetadata, *recordv1.Secret) {
	return &recordv1.SlotMetadata{Kind: recordv1.SlotMetadata_KIND_LOGIN, Title: title, UserName: "ada"},
		&recordv1.Secret{Kind: &recordv1.Secret_Login{Login: &recordv1.Login{Password: "password of " + title}}}
}

// split makes one version of a slot in an epoch, with the counter after used, and
// keeps the server's share as released.
func (w *world) split(title string, version, epoch, counter uint64, change func(*credential.Put)) *recordv1.SlotPut {
	w.t.Helper()
	id, known := w.slots[title]
	if !known {
		id = ledger.SlotID(w.bytes(16))
		w.slots[title] = id
	}
	metadata, secret := login(title)
	p := credential.Put{
		Account: w.account(), Slot: id, Version: version, Epoch: epoch, Device: 1, Counter: counter,
		SlotKey:       must[*hpke.PublicKey](w.t)(w.epochs[epoch].master.SlotKey(1, counter)),
		ServerSealKey: w.server.seal.PublicKey(),
		Generation:    w.generation.Number, MetadataKey: w.generation.Metadata, DeviceShareKey: w.generation.DeviceShare,
		Metadata: metadata, Secret: secret,
	}
	if change != nil {
		change(&p)
	}
	put, forServer, err := credential.NewPut(w.rand, p)
	ok(w.t, err)
	share := must[[]byte](w.t)(credential.OpenServerShare(w.server.seal, w.account(), put, forServer.Sealed))
	w.released.Add(epoch, id, version, share)
	return put
}

// put stores first versions of slots in the epoch in use, in one entry. Those that
// change names are changed before they are split.
func (w *world) put(change map[string]func(*credential.Put), titles ...string) {
	w.t.Helper()
	w.putDamaged(change, nil, titles...)
}

// putDamaged is put, with records that are changed after they were split.
func (w *world) putDamaged(change map[string]func(*credential.Put), damage map[string]func(*recordv1.SlotPut), titles ...string) {
	w.t.Helper()
	counter, epoch := w.state.Counter(1), w.state.InUse().Number
	var puts []proto.Message
	for _, title := range titles {
		counter++
		put := w.split(title, 1, epoch, counter, change[title])
		if damage[title] != nil {
			damage[title](put)
		}
		puts = append(puts, put)
	}
	w.apply(puts...)
}

// stage splits every live slot in the prepared epoch.
func (w *world) stage() {
	w.t.Helper()
	counter, epoch := w.state.Counter(1), w.state.Prepared().Number
	titles := map[ledger.SlotID]string{}
	for title, id := range w.slots {
		titles[id] = title
	}
	var puts []proto.Message
	for _, slot := range w.state.LiveSlots() {
		counter++
		puts = append(puts, w.split(titles[slot.ID], slot.Version, epoch, counter, nil))
	}
	w.apply(puts...)
}

// newAccount is a recoverable account with two contacts and a paper, a sheet, and
// these slots.
func newAccount(t testing.TB, number byte, titles ...string) *world {
	t.Helper()
	w := newWorld(t, number, nil)
	epoch := w.prepare(2, 3, true)
	w.put(nil, titles...)
	w.commit(epoch, 3)
	return w
}

// newEpoch puts another epoch in the place of the one in use.
func (w *world) newEpoch() uint64 {
	w.t.Helper()
	epoch := w.prepare(2, 3, true)
	w.stage()
	w.commit(epoch, 3)
	return epoch
}

func (w *world) device(number uint64) *Device {
	w.t.Helper()
	return must[*Device](w.t)(NewDevice(w.state, number, w.devices[number].seal))
}

func (w *world) backup(epoch uint64, shares ...*slip39.Share) *Backup {
	w.t.Helper()
	keys, report, err := Rebuild(shares, w.state, epoch)
	if err != nil {
		w.t.Fatalf("%v\n%v", err, report)
	}
	return NewBackup(w.state, epoch, keys)
}

// envelope is what a contact got with its share.
func (w *world) envelope(epoch, number uint64) *recordv1.ShareEnvelope {
	e, _ := w.state.Epoch(epoch)
	account := w.account()
	return &recordv1.ShareEnvelope{
		Account: account[:], Epoch: epoch, Member: number, Contact: w.contact(number),
		ShareKey: e.Members[number-1].ShareKey.Bytes(), RootKey: e.RootKey.Bytes(),
		Identifier: e.Record.Identifier, Quorum: e.Record.Quorum, Members: uint64(len(e.Members)), WaitingPeriod: e.Record.WaitingPeriod,
		Devices: []*recordv1.OwnerDevice{{Device: 1, SignKey: w.devices[1].sign.PublicKey().Bytes()}},
		Device:  1,
		Server:  w.state.Server(),
	}
}

func (w *world) signEnvelope(e *recordv1.ShareEnvelope) []byte {
	b := must[[]byte](w.t)(canonical.Marshal(e))
	return must[[]byte](w.t)(canonical.Marshal(&recordv1.SignedShareEnvelope{
		Envelope:  b,
		Signature: w.devices[1].sign.Sign(signing.NewContext("share-envelope").Bytes(b)),
	}))
}

// stored is what a contact holds, with the newest head.
func (w *world) stored(epoch, number uint64) *recordv1.StoredShare {
	return &recordv1.StoredShare{
		Envelope:   w.signEnvelope(w.envelope(epoch, number)),
		Share:      must[[]byte](w.t)(w.epochs[epoch].members[number-1].MarshalBinary()),
		Owner:      "Ada",
		HeadDevice: w.attest(w.state.Head(), &recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: 1}, w.devices[1].sign),
		HeadServer: w.attest(w.state.Head(), &recordv1.Holder{Kind: recordv1.Holder_KIND_SERVER}, w.server.sign),
	}
}

func (w *world) attest(head ledger.Head, holder *recordv1.Holder, key *signing.PrivateKey) []byte {
	account := w.account()
	return must[[]byte](w.t)(ledger.NewAttestation(&recordv1.Attestation{
		Account: account[:], Epoch: w.state.InUse().Number, Sequence: head.Sequence, Head: head.Hash[:],
		Time: uint64(w.now.UnixMilli()), Nonce: make([]byte, 16), Holder: holder,
	}, key))
}

// request is that of a new device.
func (w *world) request(k *keyring) *ledger.RecoveryRequest {
	w.t.Helper()
	keys := &home.Keys{Sign: k.sign, Seal: k.seal, Confirm: k.confirm.PublicKey()}
	return must[*ledger.RecoveryRequest](w.t)(NewRequest(w.account(), keys, w.server.sign.PublicKey(), [16]byte(w.bytes(16)), w.now))
}

func (w *world) terms(request *ledger.RecoveryRequest) Terms {
	t := Terms{NotBefore: w.now, Expiry: w.now.Add(24 * time.Hour)}
	for _, veto := range w.state.Vetoes(request.ID()) {
		t.Vetoes = append(t.Vetoes, veto.Entry)
	}
	return t
}

func (w *world) approve(epoch, number uint64, request *ledger.RecoveryRequest) *ledger.Approval {
	w.t.Helper()
	return must[*ledger.Approval](w.t)(Approve(w.stored(epoch, number), request, w.terms(request)))
}

// wantOpened wants every slot of the account to have opened to what was stored.
func (w *world) wantOpened(opened []Opened, err error) {
	w.t.Helper()
	ok(w.t, err)
	if len(opened) != len(w.slots) {
		w.t.Fatalf("%d slots opened, want %d", len(opened), len(w.slots))
	}
	byID := map[ledger.SlotID]Opened{}
	for _, o := range opened {
		byID[o.Slot] = o
	}
	for title, id := range w.slots {
		w.wantSlot(byID[id], title)
	}
}

func (w *world) wantSlot(o Opened, title string) {
	w.t.Helper()
	metadata, secret := login(title)
	if o.Err != nil || o.NotBackedUp != nil || !proto.Equal(o.Metadata, metadata) || !proto.Equal(o.Secret, secret) {
		w.t.Errorf("%s: %v, %v", title, o.Err, o.NotBackedUp)
	}
}

// find returns the opened slot with this title.
func (w *world) find(opened []Opened, title string) Opened {
	w.t.Helper()
	for _, o := range opened {
		if o.Slot == w.slots[title] {
			return o
		}
	}
	w.t.Fatalf("no slot %s", title)
	return Opened{}
}

func titles(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("site %d", i)
	}
	return names
}
