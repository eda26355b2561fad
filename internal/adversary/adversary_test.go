package adversary

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/interchange"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// party has these strings, as they were found.
func party(found ...[]byte) *Party {
	p := &Party{known: newKnowledge()}
	for _, b := range found {
		p.known.take(b, scope{})
	}
	return p
}

// note is an item with one secret.
func note(title, secret string) interchange.Item {
	return interchange.Item{
		Metadata: &recordv1.SlotMetadata{Kind: recordv1.SlotMetadata_KIND_NOTE, Title: title},
		Secret:   &recordv1.Secret{Notes: secret, Kind: &recordv1.Secret_Note{Note: &recordv1.Note{}}},
	}
}

const secret = "the secret that is looked for"

// opens says whether parties open the secret.
func opens(t *testing.T, parties ...*Party) bool {
	t.Helper()
	r := must[*Result](t)(Attack(context.Background(), Targets([]interchange.Item{note("a", secret), note("b", "and another secret")}), parties...))
	if slices.Contains(r.Opened, "2: b") {
		t.Fatal("a secret was opened that nobody had")
	}
	return len(r.Opened) == 1
}

func TestASecretIsFoundInEveryForm(t *testing.T) {
	encodings := map[string]func([]byte) []byte{
		"raw":       slices.Clone[[]byte],
		"hex":       func(b []byte) []byte { return []byte(hex.EncodeToString(b)) },
		"HEX":       func(b []byte) []byte { return []byte(strings.ToUpper(hex.EncodeToString(b))) },
		"base64":    func(b []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(b)) },
		"base64url": func(b []byte) []byte { return []byte(base64.RawURLEncoding.EncodeToString(b)) },
	}
	for name, encode := range encodings {
		for size := minNeedle; size < 20; size++ {
			for before := range 4 {
				value := random(size)
				text := append([]byte("\x00\xff text "), encode(slices.Concat(random(before), value, random(2)))...)
				opened := []bool{false, false}
				newIndex([]Target{{values: [][]byte{value}}, {values: [][]byte{random(size)}}}).search(text, opened)
				if !opened[0] || opened[1] {
					t.Fatalf("%s, %d bytes after %d: found %v", name, size, before, opened)
				}
			}
		}
	}
}

func TestTargetsHaveTheirSecretsAlone(t *testing.T) {
	item := note("title of an item", "short")
	item.Secret.Fields = []*recordv1.Field{{Name: "name of a field", Value: "title of an item"}, {Value: "hidden value"}}
	target := Targets([]interchange.Item{item})[0]
	record := must[[]byte](t)(canonical.Marshal(item.Secret))
	if want := [][]byte{[]byte("hidden value"), credential.Pad(record)}; !slices.EqualFunc(target.values, want, bytes.Equal) {
		t.Errorf("%q", target.values)
	}
	if got := fmt.Sprintf("%v %+v %#v %s", target, target, target, must[[]byte](t)(json.Marshal(target))); strings.Contains(got, "hidden") {
		t.Error(got)
	}
}

// Every ciphertext that packages of ours make opens here, where the keys lie
// about, and with no other key.
func TestEveryKeyIsTried(t *testing.T) {
	account, slot := [32]byte(random(32)), [16]byte(random(16))
	generation := must[*seed.Generation](t)(seed.NewGeneration(rand.Reader, 1))
	server := must[*hpke.PrivateKey](t)(hpke.GenerateKey(rand.Reader))
	backup := must[*hpke.PrivateKey](t)(hpke.GenerateKey(rand.Reader))
	item := note("a", secret)
	put, forServer, err := credential.NewPut(rand.Reader, credential.Put{
		Account: account, Slot: slot, Version: 3, Epoch: 2, Device: 4, Counter: 9,
		SlotKey: backup.PublicKey(), ServerSealKey: server.PublicKey(),
		Generation: 1, MetadataKey: generation.Metadata, DeviceShareKey: generation.DeviceShare,
		Metadata: item.Metadata, Secret: item.Secret,
	})
	if err != nil {
		t.Fatal(err)
	}
	ledger := func(p *Party) *Party {
		p.known.values.account(string(account[:])).devices[4] = true
		p.known.walk(put.ProtoReflect(), scope{account: string(account[:])})
		p.known.take(must[[]byte](t)(canonical.Marshal(put)), scope{})
		p.known.take(must[[]byte](t)(canonical.Marshal(forServer)), scope{})
		p.known.take(server.PublicKey().Bytes(), scope{})
		return p
	}
	keys := map[string][]byte{"device-share key": generation.DeviceShare.Bytes(), "server's seal key": server.Bytes(), "slot key": backup.Bytes()}
	for one, a := range keys {
		if opens(t, ledger(party(a))) {
			t.Errorf("the %s opens the secret alone", one)
		}
		for two, b := range keys {
			if one != two && !opens(t, ledger(party(a)), ledger(party(b))) {
				t.Errorf("%s and %s do not open the secret", one, two)
			}
		}
	}
	titles := Targets([]interchange.Item{note("", "the title that is looked for")})
	item.Metadata.Title = "the title that is looked for"
	sealed := must[[]byte](t)(generation.Metadata.Seal(rand.Reader, signing.Sealing{
		Kind: "slot-metadata", Account: account[:], Epoch: 2, Object: slot[:], Version: 3, Role: "metadata", Sender: "device/4", Recipient: "generation/1",
	}.Context(), must[[]byte](t)(canonical.Marshal(item.Metadata))))
	put.SealedMetadata = sealed
	for _, test := range []struct {
		key  []byte
		want int
	}{{generation.Metadata.Bytes(), 1}, {generation.DeviceShare.Bytes(), 0}} {
		r := must[*Result](t)(Attack(context.Background(), titles, ledger(party(test.key))))
		if len(r.Opened) != test.want {
			t.Errorf("found %q, want %d", r.Opened, test.want)
		}
	}
}

// A key that another one protects is found behind it, however many there are.
func TestWhatIsOpenedOpensMore(t *testing.T) {
	account := random(32)
	context := signing.Sealing{Kind: "invitation-answer", Account: account, Role: "contact"}.Context()
	first := must[*aead.Key](t)(aead.GenerateKey(rand.Reader))
	key, found := first, [][]byte{}
	for range 4 {
		next := must[*aead.Key](t)(aead.GenerateKey(rand.Reader))
		wrapped := must[[]byte](t)(json.Marshal(map[string][]byte{"key": next.Bytes()}))
		found, key = append(found, must[[]byte](t)(key.Seal(rand.Reader, context, wrapped))), next
	}
	found = append(found, must[[]byte](t)(key.Seal(rand.Reader, context, []byte(secret))))
	slices.Reverse(found)
	with := func(strings ...[]byte) *Party {
		p := party(strings...)
		p.known.values.account(string(account))
		return p
	}
	if opens(t, with(found...)) {
		t.Error("opened without a key")
	}
	if !opens(t, with(found...), party(first.Bytes())) {
		t.Error("not opened with the first key")
	}
	// A secret of 16 bytes derives a key of its own.
	invitation := random(16)
	derived := must[*aead.Key](t)(aead.DeriveKey(invitation, signing.NewContext("invitation").Bytes(account)))
	answer := must[[]byte](t)(derived.Seal(rand.Reader, context, []byte(secret)))
	if !opens(t, with(answer), party(invitation)) || opens(t, with(answer), party(random(16))) {
		t.Error("the invitation's key is not derived, or any secret gives it")
	}
}

// Shares of a seed are found in every form, and both halves of a seed too.
func TestSeedsAreRecovered(t *testing.T) {
	halves := random(seed.Size)
	keys := must[*seed.Keys](t)(must[*seed.Seed](t)(seed.New(slices.Clone(halves[:32]), slices.Clone(halves[32:]))).Keys())
	split := must[*seed.Split](t)(must[*seed.Seed](t)(seed.New(slices.Clone(halves[:32]), slices.Clone(halves[32:]))).Split(rand.Reader, 2, 3, true))
	to := must[*hpke.PublicKey](t)(keys.Master().SlotKey(0, 1))
	account := random(32)
	place := signing.Sealing{Kind: "metadata-key", Account: account, Epoch: 1, Object: []byte("generation/1"), Role: "backup", Sender: "device/1", Recipient: "slot/0/1"}
	sealed := must[[]byte](t)(hpke.Seal(rand.Reader, to, place.Context().Encode(), nil, []byte(secret)))
	ledger := func() *Party {
		p := party(sealed, to.Bytes(), keys.Root().PublicKey().Bytes())
		a := p.known.values.account(string(account))
		for _, set := range []map[uint64]bool{a.devices, a.epochs, a.generations} {
			set[1] = true
		}
		return p
	}
	binary := func(s *slip39.Share) []byte { return must[[]byte](t)(s.MarshalBinary()) }
	words := func(s *slip39.Share) []byte { return []byte(s.Mnemonic()) }
	half := func(b []byte) *Party {
		p := party()
		p.known.opened(b, scope{})
		return p
	}
	for _, test := range []struct {
		name    string
		parties []*Party
		want    bool
	}{
		{"nothing", nil, false},
		{"the server's and the device's", []*Party{party(binary(split.Server)), party(binary(split.Device))}, true},
		{"the server's alone", []*Party{party(binary(split.Server))}, false},
		{"the server's and one contact's", []*Party{party(binary(split.Server), binary(split.Members[0]))}, false},
		{"the server's and two contacts'", []*Party{party(binary(split.Server), binary(split.Members[0])), party(binary(split.Members[2]))}, true},
		{"three contacts'", []*Party{party(binary(split.Members[0]), binary(split.Members[1]), binary(split.Members[2]))}, false},
		{"the device's and the sheet's, in words", []*Party{party(slices.Concat([]byte("Device: "), words(split.Device), []byte("."))), party(bytes.ToUpper(words(split.Sheet)))}, true},
		{"in base64 and in the midst of other bytes", []*Party{party([]byte(`{"a":"` + base64.StdEncoding.EncodeToString(binary(split.Device)) + `"}`)), party(slices.Concat(random(13), binary(split.Sheet), random(7)))}, true},
		{"in hexadecimal", []*Party{party([]byte(hex.EncodeToString(binary(split.Device)))), party(binary(split.Sheet))}, true},
		{"the seed", []*Party{party(halves)}, true},
		{"another seed", []*Party{party(random(64))}, false},
		{"both halves", []*Party{half(halves[:32]), half(halves[32:])}, true},
		{"one half", []*Party{half(halves[:32])}, false},
	} {
		if got := opens(t, append([]*Party{ledger()}, test.parties...)...); got != test.want {
			t.Errorf("%s: opened %v, want %v", test.name, got, test.want)
		}
	}
}

func TestPartiesThatCannotBeTaken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	h := must[*home.Home](t)(home.Create(dir, home.Creation{
		Passphrase: []byte("a passphrase"), ConfirmPassphrase: []byte("another passphrase"), WorkFactor: 1, Rand: rand.Reader, Config: &recordv1.HomeConfig{Name: "ada"},
	}))
	if err := h.PutPrivate("notes", []byte(secret)); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if !opens(t, must[*Party](t)(Device(dir, []byte("a passphrase")))) {
		t.Error("what is sealed in a home was not opened")
	}
	for name, take := range map[string]struct {
		take func() (*Party, error)
		want error
	}{
		"the confirm passphrase": {func() (*Party, error) { return Device(dir, []byte("another passphrase")) }, home.ErrPassphrase},
		"no home":                {func() (*Party, error) { return Device(t.TempDir(), []byte("a passphrase")) }, home.ErrMissing},
		"no key file":            {func() (*Party, error) { return Server(filepath.Join(dir, "config"), filepath.Join(dir, "none")) }, fs.ErrNotExist},
		"no database":            {func() (*Party, error) { return Server(filepath.Join(dir, "none"), filepath.Join(dir, "config")) }, fs.ErrNotExist},
		"a word that is none":    {func() (*Party, error) { return Sheet(strings.Repeat("zebra ", 33)) }, slip39.ErrUnknownWord},
	} {
		if p, err := take.take(); p != nil || !errors.Is(err, take.want) {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
	if p, err := Server(filepath.Join(dir, "passphrase.age"), filepath.Join(dir, "config")); p != nil || err == nil {
		t.Error("took a file for a database that is none")
	}
}

func TestAttacksThatCannotBe(t *testing.T) {
	ctx := context.Background()
	targets := Targets([]interchange.Item{note("a", secret)})
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	erased := party([]byte(secret))
	erased.Erase()
	erased.Erase()
	for name, attack := range map[string]func() (*Result, error){
		"nobody":    func() (*Result, error) { return Attack(ctx, targets) },
		"too many":  func() (*Result, error) { return Attack(ctx, targets, make([]*Party, maxParties+1)...) },
		"erased":    func() (*Result, error) { return Attack(ctx, targets, party(), erased) },
		"cancelled": func() (*Result, error) { return Attack(cancelled, targets, party(random(32), random(40))) },
		"no values": func() (*Result, error) { return Attack(ctx, []Target{{}}, party()) },
	} {
		if r, err := attack(); r != nil || err == nil {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	p := party([]byte(secret))
	if !opens(t, p, party()) || !opens(t, p) {
		t.Error("a party is of no use after an attack")
	}
	if got := fmt.Sprintf("%v %+v %#v %s %s", p, p, p, p, must[[]byte](t)(json.Marshal(p))); strings.Contains(got, "known") || strings.Count(got, redacted) != 5 {
		t.Error(got)
	}
}

// Nothing that is found can stop an attack.
func FuzzTake(f *testing.F) {
	f.Add([]byte("zeropass/v1/held\n\x00\x00\x00\x02\x00\x00\x00\x00ab"), []byte{4})
	f.Add(must[[]byte](f)(canonical.Marshal(&recordv1.ShareEnvelope{Account: make([]byte, 32), Epoch: 1 << 60})), random(97))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		p := party(a, b)
		p.known.takeFile("held", a)
		p.known.takeRow(map[string]any{"account": b, "key": string(a), "epoch": int64(len(a)), "sealed": b})
		if _, err := Attack(context.Background(), Targets([]interchange.Item{note("a", secret)}), p, party(b)); err != nil {
			t.Error(err)
		}
	})
}
