package recovery_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/interchange"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// writeFixture makes the account that stands in testdata/fixture-v1. It was used
// once: what stands there must open for ever, so it is never made again. The
// test that uses it makes the same account in a directory that goes away.
var writeFixture = flag.String("write-fixture", "", "make the fixture's account in this new directory")

const (
	fixturePassphrase = "correct horse battery staple"
	fixtureConfirm    = "another one for confirming"
)

var fixtureStart = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// fixture is one device's account with everybody's keys, so that it can do what
// contacts and server do.
type fixture struct {
	t       testing.TB
	dir     string
	home    *home.Home
	keys    *home.Keys
	confirm *signing.PrivateKey
	now     time.Time

	serverSign *signing.PrivateKey
	serverSeal *hpke.PrivateKey
	generation *seed.Generation
	contacts   []*recordv1.Contact
	masters    map[uint64]*seed.MasterPublicKey
	shares     map[uint64][]*slip39.Share // of epochs' members
	counter    uint64
	nonce      byte
}

func ok[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (f *fixture) check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// makeFixture makes the account: two epochs, 2 of 3 contacts, of whom the third
// is paper, the second epoch with a sheet; slots of every kind, written in
// either epoch; one that was changed, one that was deleted, and one secret that
// the server never accepted.
func makeFixture(t testing.TB, dir string) {
	f := &fixture{t: t, dir: dir, now: fixtureStart, masters: map[uint64]*seed.MasterPublicKey{}, shares: map[uint64][]*slip39.Share{}}
	f.open()
	f.prepare(1, false)
	f.commit(1)
	items := fixtureItems()
	f.put(1, 1, items[0], 1)
	f.put(2, 1, items[1], 1)
	f.put(3, 1, interchange.Item{Metadata: items[2].Metadata, Secret: &recordv1.Secret{Notes: "the old text", Kind: &recordv1.Secret_Note{Note: &recordv1.Note{}}}}, 1)
	f.put(4, 1, items[3], 1)
	f.put(9, 1, items[0], 1)
	f.append(&recordv1.SlotDeleted{Slot: fixtureSlot(9)})

	f.prepare(2, true)
	f.put(1, 1, items[0], 2)
	f.put(2, 1, items[1], 2)
	f.put(3, 2, items[2], 1, 2) // a new version while an epoch is prepared
	f.put(4, 1, items[3], 2)
	f.now = f.now.Add(73 * time.Hour)
	f.commit(2)
	f.put(5, 1, items[4], 2)
	f.put(6, 1, items[5], 2)
	f.beside(items[6])
	f.write(items)
	f.damage(items[0])
}

// damage makes a second home, whose newest slot has a backup share that belongs
// elsewhere, as a device with a mistake in its program could have written it.
func (f *fixture) damage(item interchange.Item) {
	f.check(f.home.Close())
	dir := filepath.Join(f.dir, "home-damaged")
	f.check(os.CopyFS(dir, os.DirFS(filepath.Join(f.dir, "home"))))
	f.check(os.Chmod(dir, 0o700))
	f.home = ok[*home.Home](f.t)(home.Open(dir))
	f.check(f.home.Unlock([]byte(fixturePassphrase)))
	f.keys = ok[*home.Keys](f.t)(f.home.Keys())
	metadata := proto.CloneOf(item.Metadata)
	metadata.Title = "Damaged"
	put, _ := f.split(8, 1, interchange.Item{Metadata: metadata, Secret: item.Secret}, 2)
	put.SealedBackupShare[len(put.SealedBackupShare)-1] ^= 1
	f.append(put)
	f.check(f.home.Close())
}

func (f *fixture) tick() time.Time {
	f.now = f.now.Add(time.Minute)
	return f.now
}

func fixtureSlot(n byte) []byte {
	id := sha(n)
	return id[:16]
}

// sha gives slots ids whose order is not that of their creation.
func sha(n byte) [32]byte { return signing.NewContext("fixture").Uint(uint64(n)).Hash() }

// open makes the home and opens the account.
func (f *fixture) open() {
	t := f.t
	f.serverSign = ok[*signing.PrivateKey](t)(signing.GenerateKey(rand.Reader))
	f.serverSeal = ok[*hpke.PrivateKey](t)(hpke.GenerateKey(rand.Reader))
	f.generation = ok[*seed.Generation](t)(seed.NewGeneration(rand.Reader, 1))
	server := &recordv1.Server{
		Url:     "https://zeropass.example",
		SignKey: f.serverSign.PublicKey().Bytes(),
		SealKey: f.serverSeal.PublicKey().Bytes(),
	}
	for range 2 {
		account := make([]byte, 32)
		_, _ = rand.Read(account)
		f.contacts = append(f.contacts, &recordv1.Contact{Account: account, Devices: []*recordv1.ContactDevice{{
			SignKey: ok[*signing.PrivateKey](t)(signing.GenerateKey(rand.Reader)).PublicKey().Bytes(),
			SealKey: ok[*hpke.PrivateKey](t)(hpke.GenerateKey(rand.Reader)).PublicKey().Bytes(),
		}}})
	}
	f.home = ok[*home.Home](t)(home.Create(filepath.Join(f.dir, "home"), home.Creation{
		Passphrase:        []byte(fixturePassphrase),
		ConfirmPassphrase: []byte(fixtureConfirm),
		WorkFactor:        4,
		Config:            &recordv1.HomeConfig{Name: "Ada", Server: server, Url: server.Url},
		Rand:              rand.Reader,
	}))
	f.keys = ok[*home.Keys](t)(f.home.Keys())
	f.confirm = ok[*signing.PrivateKey](t)(f.home.ConfirmKey([]byte(fixtureConfirm)))
	context := signing.Sealing{Kind: "device-name", Object: f.keys.Sign.PublicKey().Bytes(), Role: "name", Recipient: "generation/1"}.Context()
	name := ok[[]byte](t)(f.generation.Metadata.Seal(rand.Reader, context, credential.Pad([]byte("laptop"))))
	f.append(&recordv1.Genesis{
		Server: server,
		Device: &recordv1.DeviceKeys{
			SignKey:    f.keys.Sign.PublicKey().Bytes(),
			SealKey:    f.keys.Seal.PublicKey().Bytes(),
			ConfirmKey: f.keys.Confirm.Bytes(),
			Generation: 1,
			SealedName: name,
		},
		Policy: &recordv1.Policy{RevealsPerHour: 60, RevealsPerDay: 600},
	})
	f.check(f.home.SetIdentity(f.home.State().Account(), 1))
	f.keys = ok[*home.Keys](t)(f.home.Keys())
}

// append appends one entry, confirmed where it must be.
func (f *fixture) append(kinds ...proto.Message) {
	f.t.Helper()
	draft := ledger.Draft{Time: f.tick(), Author: 1}
	var records []*recordv1.Record
	for _, kind := range kinds {
		b := ok[[]byte](f.t)(ledger.NewRecord(kind))
		draft.Records = append(draft.Records, b)
		records = append(records, ok[*recordv1.Record](f.t)(ledger.ParseRecord(b)))
	}
	if state := f.home.State(); state != nil {
		account := state.Account()
		draft.Account, draft.Previous = &account, state.Head()
		if state.NeedsSecondFactor(draft.Author, records) {
			f.nonce++
			p := &recordv1.Proposal{
				Nonce:        bytes.Repeat([]byte{f.nonce}, 16),
				BaseSequence: state.Head().Sequence,
				BaseHash:     draft.Previous.Hash[:],
				Expiry:       uint64(f.now.Add(time.Hour).UnixMilli()),
			}
			c := ledger.ProposalContext(account, p, draft.Author, draft.Records, recordv1.Endorsement_ROLE_CONFIRM, 1)
			p.Endorsements = []*recordv1.Endorsement{{Role: recordv1.Endorsement_ROLE_CONFIRM, Device: 1, Signature: f.confirm.Sign(c)}}
			draft.Proposal = p
		}
	}
	f.check(f.home.Append(ok[*ledger.Entry](f.t)(draft.Sign(f.keys.Sign))))
}

// prepare starts an epoch, and gives its members' shares to contacts and paper.
func (f *fixture) prepare(epoch uint64, sheet bool) {
	t := f.t
	local := ok[[]byte](t)(seed.LocalHalf(rand.Reader, nil))
	server := make([]byte, seed.HalfSize)
	_, _ = rand.Read(server)
	account := f.home.State().Account()
	record, shares, prepared, err := seed.Prepare(rand.Reader, seed.Preparation{
		Seed: ok[*seed.Seed](t)(seed.New(local, server)), Account: account, Epoch: epoch, Author: 1,
		Quorum: 2, Members: 3, Sheet: sheet, WaitingPeriod: 72 * time.Hour,
		Devices: f.home.State().ActiveDevices(), ServerSealKey: f.serverSeal.PublicKey(),
		Generations: []*seed.Generation{f.generation},
	})
	f.check(err)
	f.check(f.home.PutServerShares(shares...))
	f.append(record)
	f.masters[epoch] = prepared.Master
	for i, member := range record.Members {
		b := credential.WaitingBinding(account, epoch, uint64(i+1), 1)
		device := ok[[]byte](t)(credential.OpenDeviceHalf(f.generation.DeviceShare, b, member.Waiting))
		half := ok[[]byte](t)(credential.OpenServerHalf(f.serverSeal, b, member.Waiting, shares[1+i].Sealed))
		share := ok[[]byte](t)(credential.Combine(b, member.Waiting, device, half))
		f.shares[epoch] = append(f.shares[epoch], ok[*slip39.Share](t)(slip39.ParseBinary(share)))
	}
	if sheet {
		f.file("words/sheet.txt", wordLines(prepared.Sheet.Share))
	}
	f.append(
		f.named("Ben", &recordv1.ContactBound{Epoch: epoch, Member: 1, Contact: f.contacts[0]}),
		f.named("Cleo", &recordv1.ContactBound{Epoch: epoch, Member: 2, Contact: f.contacts[1]}),
		f.named("in the bank", &recordv1.ContactBound{Epoch: epoch, Member: 3}),
	)
}

// named gives a contact or paper its name.
func (f *fixture) named(name string, bound *recordv1.ContactBound) *recordv1.ContactBound {
	bound.Generation = f.generation.Number
	bound.SealedName = ok[[]byte](f.t)(credential.SealContactName(rand.Reader, f.generation.Metadata, f.home.State().Account(), bound, name))
	return bound
}

// commit appends everybody's receipts and commits the epoch.
func (f *fixture) commit(epoch uint64) {
	account := f.home.State().Account()
	e, _ := f.home.State().Epoch(epoch)
	server := &recordv1.Holder{Kind: recordv1.Holder_KIND_SERVER}
	receipts := []proto.Message{&recordv1.ShareReceipt{
		Epoch: epoch, Holder: server,
		Signature: f.serverSign.Sign(ledger.ReceiptContext(account, epoch, server, e.Record.ServerShareHash)),
	}}
	for i, share := range f.shares[epoch] {
		member := &recordv1.Holder{Kind: recordv1.Holder_KIND_MEMBER, Number: uint64(i + 1)}
		key := ok[*signing.PrivateKey](f.t)(seed.ShareKey(share, account, epoch, uint64(i+1)))
		receipts = append(receipts, &recordv1.ShareReceipt{
			Epoch: epoch, Holder: member,
			Signature: key.Sign(ledger.ReceiptContext(account, epoch, member, key.PublicKey().Bytes())),
		})
	}
	f.append(receipts...)
	f.append(&recordv1.EpochCommitted{Epoch: epoch})
}

// put writes a version of a slot, split in these epochs.
func (f *fixture) put(slot byte, version uint64, item interchange.Item, epochs ...uint64) {
	var records []proto.Message
	for _, epoch := range epochs {
		put, share := f.split(slot, version, item, epoch)
		f.check(f.home.PutServerShares(share))
		records = append(records, put)
	}
	f.append(records...)
}

func (f *fixture) split(slot byte, version uint64, item interchange.Item, epoch uint64) (*recordv1.SlotPut, *recordv1.SealedServerShare) {
	f.counter++
	key := ok[*hpke.PublicKey](f.t)(f.masters[epoch].SlotKey(1, f.counter))
	put, share, err := credential.NewPut(rand.Reader, credential.Put{
		Account: f.home.State().Account(), Slot: [16]byte(fixtureSlot(slot)), Version: version, Epoch: epoch, Device: 1, Counter: f.counter,
		SlotKey: key, ServerSealKey: f.serverSeal.PublicKey(),
		Generation: 1, MetadataKey: f.generation.Metadata, DeviceShareKey: f.generation.DeviceShare,
		Metadata: item.Metadata, Secret: item.Secret,
	})
	f.check(err)
	return put, share
}

// beside fills the rest of the home: what stands beside the ledger.
func (f *fixture) beside(pending interchange.Item) {
	t := f.t
	state := f.home.State()
	account := state.Account()
	b := ok[[]byte](t)(home.MarshalWrites([]home.Write{{Slot: ledger.SlotID(fixtureSlot(7)), Metadata: pending.Metadata, Secret: pending.Secret}}))
	f.check(f.home.PutPending(fmt.Sprintf("%x-1", fixtureSlot(7)), b))
	f.check(f.home.PutPrivate("generation-1", f.generation.Metadata.Bytes()))
	head := state.Head()
	proof := ok[[]byte](t)(ledger.NewAttestation(&recordv1.Attestation{
		Account: account[:], Epoch: 2, Sequence: head.Sequence, Head: head.Hash[:],
		Time: uint64(f.now.UnixMilli()), Nonce: make([]byte, 16), Holder: &recordv1.Holder{Kind: recordv1.Holder_KIND_SERVER},
	}, f.serverSign))
	f.check(f.home.PutProof(ok[*ledger.Attestation](t)(ledger.ParseAttestation(proof))))
	f.check(f.home.AppendActivity(ok[*ledger.Activity](t)(ledger.NewActivity(account, ledger.ActivityEnd{}, f.now, []byte("request"), [32]byte{1}))))
	envelope := ok[[]byte](t)(canonical.Marshal(&recordv1.ShareEnvelope{Account: f.contacts[0].Account, Epoch: 1, Member: 2}))
	signed := ok[[]byte](t)(canonical.Marshal(&recordv1.SignedShareEnvelope{Envelope: envelope, Signature: make([]byte, 64)}))
	f.check(f.home.PutHeld(&recordv1.StoredShare{Envelope: signed, Owner: "Ben", Share: ok[[]byte](t)(f.shares[1][0].MarshalBinary())}))
	f.check(f.home.PutEvidence("note", []byte("kept\n")))
}

// write writes everybody's words, and what recovery must give.
func (f *fixture) write(items []interchange.Item) {
	for i, share := range f.shares[2] {
		f.file(fmt.Sprintf("words/contact-%d.txt", i+1), wordLines(share))
	}
	f.file("words/contact-1-qr.txt", strings.ToUpper(f.shares[2][0].Mnemonic()))
	for i, share := range f.shares[1] {
		f.file(fmt.Sprintf("words/epoch-1-contact-%d.txt", i+1), wordLines(share))
	}
	foreign := ok[[][]*slip39.Share](f.t)(slip39.Split(rand.Reader, bytes.Repeat([]byte{7}, 64), nil, slip39.Params{
		Identifier: f.shares[2][0].Identifier(), Extendable: true, GroupThreshold: 2,
		Groups: []slip39.Group{{Threshold: 1, Count: 1}, {Threshold: 1, Count: 1}, {Threshold: 2, Count: 3}, {Threshold: 1, Count: 1}},
	}))
	f.file("words/wrong-value.txt", wordLines(foreign[2][1]))
	foreign = ok[[][]*slip39.Share](f.t)(slip39.Split(rand.Reader, bytes.Repeat([]byte{7}, 64), nil, slip39.Params{
		Identifier: f.shares[2][0].Identifier() ^ 1, Extendable: true, GroupThreshold: 2,
		Groups: []slip39.Group{{Threshold: 1, Count: 1}, {Threshold: 1, Count: 1}, {Threshold: 2, Count: 3}},
	}))
	f.file("words/other-account.txt", wordLines(foreign[2][0]))
	f.file("passphrase.txt", fixturePassphrase)

	var json, text bytes.Buffer
	f.check(interchange.WriteBitwarden(&json, items))
	f.check(interchange.WriteText(&text, items))
	f.file("expected.json", strings.TrimSuffix(json.String(), "\n"))
	f.file("expected.txt", strings.TrimSuffix(text.String(), "\n"))
}

func (f *fixture) file(name, text string) {
	path := filepath.Join(f.dir, name)
	f.check(os.MkdirAll(filepath.Dir(path), 0o700))
	f.check(os.WriteFile(path, []byte(text+"\n"), 0o600))
}

// wordLines writes words as a contact's sheet has them: ten to a line.
func wordLines(share *slip39.Share) string {
	var lines []string
	words := strings.Fields(share.Mnemonic())
	for i := 0; i < len(words); i += 10 {
		lines = append(lines, strings.Join(words[i:min(i+10, len(words))], " "))
	}
	return strings.Join(lines, "\n")
}

// fixtureItems are what recovery must give, in this order: one of each kind, the
// last not accepted by the server.
func fixtureItems() []interchange.Item {
	const day = 24 * 60 * 60 * 1000
	at := fixtureStart.UnixMilli()
	meta := func(kind recordv1.SlotMetadata_Kind, title, user, folder string, uris ...string) *recordv1.SlotMetadata {
		m := &recordv1.SlotMetadata{Kind: kind, Title: title, UserName: user, Folder: folder, Created: at - day, Revised: at}
		for _, u := range uris {
			m.Uris = append(m.Uris, &recordv1.Uri{Uri: u})
		}
		return m
	}
	return []interchange.Item{
		{
			Metadata: meta(recordv1.SlotMetadata_KIND_LOGIN, "Mail", "ada@example.org", "Work", "https://mail.example.org"),
			Secret: &recordv1.Secret{
				Notes:  "Recovery codes:\n1234-5678\n8765-4321",
				Fields: []*recordv1.Field{{Type: recordv1.Field_TYPE_HIDDEN, Name: "PIN", Value: "0042"}, {Type: recordv1.Field_TYPE_BOOLEAN, Name: "2FA", Value: "true"}},
				PasswordHistory: []*recordv1.PastPassword{
					{Password: "summer2019", LastUsed: "2020-01-01T00:00:00.000Z"},
				},
				Kind: &recordv1.Secret_Login{Login: &recordv1.Login{Password: "pässwörd 🔑", Totp: "otpauth://totp/Mail:ada?secret=JBSWY3DPEHPK3PXP"}},
			},
		},
		{
			Metadata: meta(recordv1.SlotMetadata_KIND_CARD, "Bank card", "", "Home"),
			Secret: &recordv1.Secret{Kind: &recordv1.Secret_Card{Card: &recordv1.Card{
				Holder: "Ada Example", Brand: "Visa", Number: "4111111111111111", ExpiryMonth: "12", ExpiryYear: "2030", Code: "123",
			}}},
		},
		{
			Metadata: meta(recordv1.SlotMetadata_KIND_NOTE, "Door code", "", ""),
			Secret:   &recordv1.Secret{Notes: "the new text", Kind: &recordv1.Secret_Note{Note: &recordv1.Note{}}},
		},
		{
			Metadata: meta(recordv1.SlotMetadata_KIND_IDENTITY, "Passport", "", "Home"),
			Secret: &recordv1.Secret{Kind: &recordv1.Secret_Identity{Identity: &recordv1.Identity{
				FirstName: "Ada", LastName: "Example", PassportNumber: "C01X00T47", Country: "DE",
			}}},
		},
		{
			Metadata: meta(recordv1.SlotMetadata_KIND_SSH_KEY, "Deploy key", "", "Work"),
			Secret: &recordv1.Secret{Kind: &recordv1.Secret_SshKey{SshKey: &recordv1.SshKey{
				PrivateKey: "-----BEGIN OPENSSH PRIVATE KEY-----\nnot a real one\n-----END OPENSSH PRIVATE KEY-----\n", PublicKey: "ssh-ed25519 AAAA ada", Fingerprint: "SHA256:abc",
			}}},
		},
		{
			Metadata: meta(recordv1.SlotMetadata_KIND_HELD_SHARE, "Share of Ben", "", ""),
			Secret: &recordv1.Secret{Kind: &recordv1.Secret_HeldShare{HeldShare: &recordv1.HeldShare{
				Envelope: []byte("envelope"), Share: []byte("share"), Owner: "Ben",
			}}},
		},
		{
			Metadata: meta(recordv1.SlotMetadata_KIND_LOGIN, "Written on a train", "ada", "", "https://train.example"),
			Secret:   &recordv1.Secret{Kind: &recordv1.Secret_Login{Login: &recordv1.Login{Password: "no network here"}}},
		},
	}
}

// TestFixtureIsMade makes the account anew, so that what made the fixture stays
// true, and opens it.
func TestFixtureIsMade(t *testing.T) {
	dir := t.TempDir()
	if *writeFixture != "" {
		dir = *writeFixture
	}
	makeFixture(t, dir)
	checkFixture(t, dir)
}

// TestFixtureOpens opens the account that was made once.
func TestFixtureOpens(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/fixture-v1")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "home"), 0o700); err != nil {
		t.Fatal(err)
	}
	checkFixture(t, dir)
}

// checkFixture opens everything that is in the directory.
func checkFixture(t *testing.T, dir string) {
	h := ok[*home.Home](t)(home.Open(filepath.Join(dir, "home")))
	defer func() { _ = h.Close() }()
	if err := h.Unlock([]byte(fixturePassphrase)); err != nil {
		t.Fatal(err)
	}
	state := h.State()
	if state.InUse().Number != 2 || !state.Committed() || len(state.LiveSlots()) != 6 || len(h.Repairs()) > 0 {
		t.Errorf("%d live slots, epoch %d, repairs %v", len(state.LiveSlots()), state.InUse().Number, h.Repairs())
	}
	keys := ok[*home.Keys](t)(h.Keys())
	confirm := ok[*signing.PrivateKey](t)(h.ConfirmKey([]byte(fixtureConfirm)))
	d, _ := state.Device(1)
	if !keys.Sign.PublicKey().Equal(d.SignKey) || !confirm.PublicKey().Equal(d.ConfirmKey) || keys.Account != state.Account() {
		t.Error("the keys are not those in the ledger")
	}
	for _, share := range state.RequiredShares() {
		if share.Kind == recordv1.SealedServerShare_KIND_WAITING {
			continue
		}
		if _, err := h.ServerShare(share.ShareID); err != nil {
			t.Errorf("%v: %v", share.ShareID, err)
		}
	}
	checkBeside(t, h)
	checkRecovery(t, h, dir)
}

func checkBeside(t *testing.T, h *home.Home) {
	held := ok[[]*recordv1.StoredShare](t)(h.Held())
	if len(held) != 1 || held[0].Owner != "Ben" {
		t.Errorf("held %d", len(held))
	} else if _, err := slip39.ParseBinary(held[0].Share); err != nil {
		t.Error(err)
	}
	proofs := h.Proofs()
	if len(proofs) != 1 || h.State().CheckAttestation(proofs[0]) != nil {
		t.Errorf("%d proofs", len(proofs))
	}
	if h.LastActivity() == nil || len(ok[[]*ledger.Activity](t)(h.Activity(0, 9))) != 1 {
		t.Error("no activity")
	}
	if b := ok[[]byte](t)(h.Private("generation-1")); len(b) != 32 {
		t.Errorf("%d private bytes", len(b))
	}
	if b := ok[[]byte](t)(h.Evidence("note")); string(b) != "kept\n" {
		t.Errorf("evidence %q", b)
	}
	names := ok[[]string](t)(h.PendingNames())
	if len(names) != 1 {
		t.Fatalf("pending %q", names)
	}
	writes := ok[[]home.Write](t)(home.ParseWrites(ok[[]byte](t)(h.Pending(names[0]))))
	if len(writes) != 1 || writes[0].Metadata.Title != "Written on a train" || writes[0].Secret.GetLogin().GetPassword() != "no network here" {
		t.Errorf("pending %v", names)
	}
}

// checkNames opens what the owner calls the contacts, with the backup alone.
func checkNames(t *testing.T, state *ledger.State, backup *recovery.Backup) {
	for epoch := uint64(1); epoch <= 2; epoch++ {
		e, _ := state.Epoch(epoch)
		for i, want := range []string{"Ben", "Cleo", "in the bank"} {
			bound := e.Members[i].Binding
			key := ok[*aead.Key](t)(backup.MetadataKey(bound.Generation))
			if name, err := credential.OpenContactName(key, state.Account(), bound); err != nil || name != want {
				t.Errorf("member %d of epoch %d is called %q, %v", i+1, epoch, name, err)
			}
		}
	}
}

// checkRecovery rebuilds the account from two contacts' words and the device.
func checkRecovery(t *testing.T, h *home.Home, dir string) {
	device := ok[*recovery.Device](t)(recovery.FromHome(h))
	defer device.Erase()
	shares := []*slip39.Share{ok[*slip39.Share](t)(device.SeedShare(2))}
	for _, name := range []string{"contact-2.txt", "contact-3.txt"} {
		text := ok[[]byte](t)(os.ReadFile(filepath.Join(dir, "words", name)))
		shares = append(shares, ok[*slip39.Share](t)(recovery.ParseShare(string(text))))
	}
	keys, _, err := recovery.Rebuild(shares, h.State(), 2)
	if err != nil {
		t.Fatal(err)
	}
	backup := recovery.NewBackup(h.State(), 2, keys)
	defer backup.Erase()
	checkNames(t, h.State(), backup)
	opened := ok[[]recovery.Opened](t)(recovery.Open(context.Background(), h.State(), 2, device, backup))
	got := make(map[string]*recordv1.Secret)
	for _, o := range opened {
		if o.Err != nil || o.NotBackedUp != nil {
			t.Errorf("slot %v: %v, %v", o.Slot, o.Err, o.NotBackedUp)
			continue
		}
		got[o.Metadata.Title] = o.Secret
	}
	want := fixtureItems()[:6]
	if len(got) != len(want) {
		t.Errorf("%d secrets, want %d", len(got), len(want))
	}
	for _, item := range want {
		if !proto.Equal(got[item.Metadata.Title], item.Secret) {
			t.Errorf("%s: another secret", item.Metadata.Title)
		}
	}
}
