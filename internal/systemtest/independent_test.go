package systemtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/slip39"
)

// independent is a program that knows ZeroPass from docs/specification.md alone.
const independent = "../../testdata/independent"

// RecoverIndependently recovers a device's directory with the program in
// testdata/independent, from the words of a quorum or of the sheet, and compares
// what comes back, field by field, with what package recovery opens. It returns how
// many slots that were, and how many secrets that the server never accepted.
func RecoverIndependently(t *testing.T, dir, passphrase string, words ...string) (slots, pending int) {
	t.Helper()
	output, complaint, err := runIndependent(t, dir, passphrase, words...)
	if err != nil {
		t.Fatalf("the independent program: %v\n%s", err, complaint)
	}
	var theirs recoveredAccount
	decoder := json.NewDecoder(bytes.NewReader(output))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&theirs); err != nil {
		t.Fatalf("what the independent program wrote: %v", err)
	}
	ours := recoverHere(t, dir, passphrase, words...)
	if theirs.Account != ours.Account || theirs.Epoch != ours.Epoch {
		t.Errorf("account %s in epoch %d, want %s in %d", theirs.Account, theirs.Epoch, ours.Account, ours.Epoch)
	}
	compareItems(t, "slot", theirs.Slots, ours.Slots)
	compareItems(t, "pending", theirs.Pending, ours.Pending)
	if !slices.Equal(theirs.Contacts, ours.Contacts) {
		t.Errorf("contacts %+v, want %+v", theirs.Contacts, ours.Contacts)
	}
	return len(theirs.Slots), len(theirs.Pending)
}

// recoveredAccount is what the independent program writes.
type recoveredAccount struct {
	Account string          `json:"account"`
	Epoch   uint64          `json:"epoch"`
	Slots   []recoveredItem `json:"slots"`
	Pending []recoveredItem `json:"pending"`

	Contacts []recoveredContact `json:"contacts"`
}

// recoveredContact is a contact, or paper, with the name that the owner gave it.
type recoveredContact struct {
	Member  uint64 `json:"member"`
	Account string `json:"account"`
	Name    string `json:"name"`
}

// recoveredItem has its messages in protobuf's JSON form.
type recoveredItem struct {
	Slot     string          `json:"slot"`
	Version  uint64          `json:"version"` // of a slot
	Base     uint64          `json:"base"`    // of a pending write
	Metadata json.RawMessage `json:"metadata"`
	Secret   json.RawMessage `json:"secret"`
}

func compareItems(t *testing.T, kind string, theirs, ours []recoveredItem) {
	t.Helper()
	if len(theirs) != len(ours) {
		t.Fatalf("%d items of the kind %s, want %d", len(theirs), kind, len(ours))
	}
	for i, got := range theirs {
		want := ours[i]
		if got.Slot != want.Slot || got.Version != want.Version || got.Base != want.Base {
			t.Errorf("%s %d: %s version %d base %d, want %s version %d base %d",
				kind, i+1, got.Slot, got.Version, got.Base, want.Slot, want.Version, want.Base)
		}
		compareMessages(t, kind+" "+got.Slot, got.Metadata, want.Metadata, &recordv1.SlotMetadata{}, &recordv1.SlotMetadata{})
		compareMessages(t, kind+" "+got.Slot, got.Secret, want.Secret, &recordv1.Secret{}, &recordv1.Secret{})
	}
}

func compareMessages(t *testing.T, what string, got, want []byte, gotMessage, wantMessage proto.Message) {
	t.Helper()
	if err := protojson.Unmarshal(got, gotMessage); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := protojson.Unmarshal(want, wantMessage); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(gotMessage, wantMessage) {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

// recoverHere recovers with package recovery.
func recoverHere(t *testing.T, dir, passphrase string, words ...string) recoveredAccount {
	t.Helper()
	h := need[*home.Home](t)(home.OpenReadOnly(dir))
	defer func() { _ = h.Close() }()
	if err := h.Unlock([]byte(passphrase)); err != nil {
		t.Fatal(err)
	}
	own := need[*recovery.Device](t)(recovery.FromHome(h))
	defer own.Erase()
	state := own.State()
	var shares []*slip39.Share
	var epoch uint64
	for _, text := range words {
		share := need[*slip39.Share](t)(recovery.ParseShare(text))
		// A sheet's place is known, though nothing proves it yet.
		place := need[recovery.Place](t)(recovery.Identify(share, state))
		shares, epoch = append(shares, share), place.Epoch
	}
	shares = append(shares, need[*slip39.Share](t)(own.SeedShare(epoch)))
	keys, report, err := recovery.Rebuild(shares, state, epoch)
	if err != nil {
		t.Fatalf("%v\n%v", err, report)
	}
	backup := recovery.NewBackup(state, epoch, keys)
	defer backup.Erase()

	account := recoveredAccount{Account: state.Account().String(), Epoch: epoch}
	for _, o := range need[[]recovery.Opened](t)(recovery.Open(context.Background(), state, epoch, own, backup)) {
		if o.Err != nil {
			t.Fatalf("slot %v: %v", o.Slot, o.Err)
		}
		account.Slots = append(account.Slots, itemOf(t, o.Slot[:], o.Metadata, o.Secret, o.Version, 0))
	}
	e, _ := state.Epoch(epoch)
	for _, m := range e.Members {
		if !m.Bound {
			continue
		}
		key := need[*aead.Key](t)(backup.MetadataKey(m.Binding.Generation))
		account.Contacts = append(account.Contacts, recoveredContact{
			Member: m.Number, Account: hex.EncodeToString(m.Contact.GetAccount()),
			Name: need[string](t)(credential.OpenContactName(key, state.Account(), m.Binding)),
		})
	}
	for _, name := range need[[]string](t)(h.PendingNames()) {
		for _, w := range need[[]home.Write](t)(home.ParseWrites(need[[]byte](t)(h.Pending(name)))) {
			account.Pending = append(account.Pending, itemOf(t, w.Slot[:], w.Metadata, w.Secret, 0, w.Base))
		}
	}
	return account
}

func itemOf(t *testing.T, slot []byte, metadata, secret proto.Message, version, base uint64) recoveredItem {
	t.Helper()
	return recoveredItem{
		Slot: hex.EncodeToString(slot), Version: version, Base: base,
		Metadata: need[[]byte](t)(protojson.Marshal(metadata)),
		Secret:   need[[]byte](t)(protojson.Marshal(secret)),
	}
}

// need fails the test if a call failed.
func need[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// runIndependent runs the independent program and returns what it wrote, and what
// it says if it failed.
func runIndependent(t *testing.T, dir, passphrase string, words ...string) (output, complaint []byte, err error) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("%v: run make test", err)
	}
	for _, name := range []string{"slip39", "@noble/curves", "@noble/hashes", "@noble/ciphers", "age-encryption", "protobufjs"} {
		if _, err := os.Stat(filepath.Join(independent, "node_modules", name)); err != nil {
			t.Fatalf("%v: run make test", err)
		}
	}
	files := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(files, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	written := filepath.Join(files, "recovered.json")
	args := []string{
		filepath.Join(independent, "recover.mjs"),
		"--home", dir, "--passphrase-file", write("passphrase", passphrase+"\n"), "--output", written,
	}
	for i, text := range words {
		args = append(args, "--words", write(fmt.Sprintf("words-%d", i), text))
	}
	command := exec.Command(node, args...)
	var complaints bytes.Buffer
	command.Stderr = &complaints
	err = command.Run()
	output, readErr := os.ReadFile(written)
	if (err == nil) != (readErr == nil) || readErr != nil && !errors.Is(readErr, fs.ErrNotExist) {
		t.Fatalf("it ended with %v, and its output with %v; %s", err, readErr, &complaints)
	}
	return output, complaints.Bytes(), err
}

// The account in recovery/testdata/fixture-v1.
const fixtureDir = "../../recovery/testdata/fixture-v1"

const fixturePassphrase = "correct horse battery staple"

func fixtureWords(t *testing.T, names ...string) []string {
	t.Helper()
	var words []string
	for _, name := range names {
		words = append(words, string(need[[]byte](t)(os.ReadFile(filepath.Join(fixtureDir, "words", name+".txt")))))
	}
	return words
}

func TestSpecificationRecoversTheFixture(t *testing.T) {
	t.Parallel()
	for name, words := range map[string][]string{
		"contacts":          {"contact-1", "contact-2"},
		"QR code and paper": {"contact-3", "contact-1-qr"},
		"more than needed":  {"contact-1", "contact-2", "contact-3"},
		"sheet":             {"sheet"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slots, pending := RecoverIndependently(t, filepath.Join(fixtureDir, "home"), fixturePassphrase, fixtureWords(t, words...)...)
			if slots != 6 || pending != 1 {
				t.Errorf("%d slots and %d pending, want 6 and 1", slots, pending)
			}
		})
	}
}

// The directories that devices write open in every stage of an account: before a
// recovery, after it in the old epoch, whose device shares the recovery sealed
// anew, and in the next one.
func TestSpecificationRecoversWhatDevicesWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, contacts := w.household("ann")
	ann.add("one", "first secret")
	ann.add("two", strings.Repeat("a longer secret ", 100))
	recovered := func(p *person, words []string, want int) {
		t.Helper()
		if slots, pending := RecoverIndependently(t, p.dir, passphrase, words...); slots != want || pending != 0 {
			t.Errorf("%d slots and %d pending, want %d and none", slots, pending, want)
		}
	}
	old := heldWords(t, contacts[:2])
	recovered(ann, old, 2)
	ann.close()

	anew, started := w.newDevice("ann")
	w.approveAll(started.Phrase, contacts[:2]...)
	w.wait(waiting + time.Minute)
	contacts[0].sync()
	contacts[1].sync()
	anew.finish()
	anew.add("three", "while the next epoch is prepared")
	recovered(anew, old, 3)

	for _, c := range contacts {
		c.sync()
	}
	anew.sync()
	anew.add("four", "in the next epoch alone")
	for _, c := range contacts {
		c.sync()
	}
	recovered(anew, heldWords(t, contacts[1:]), 4)
}

// heldWords are the words of the newest share that each contact keeps.
func heldWords(t *testing.T, contacts []*person) []string {
	t.Helper()
	var words []string
	for _, c := range contacts {
		held := need[[]device.HeldShare](t)(c.Held(context.Background()))
		words = append(words, held[len(held)-1].Words)
	}
	return words
}

func TestSpecificationRefuses(t *testing.T) {
	t.Parallel()
	good := []string{"contact-1", "contact-2"}
	for name, tt := range map[string]struct {
		passphrase string // the right one if empty
		words      []string
		wrongWord  bool
		home       string // "home" if empty
		ledger     func(t *testing.T, b []byte) []byte
		want       string
	}{
		"one wrong word":              {words: good, wrongWord: true, want: "checksum"},
		"a share with a wrong value":  {words: []string{"contact-1", "wrong-value"}, want: "not all of one epoch"},
		"another account's words":     {words: []string{"contact-1", "other-account"}, want: "not all of one epoch"},
		"words of two epochs":         {words: []string{"contact-1", "epoch-1-contact-2"}, want: "not all of one epoch"},
		"words of the replaced epoch": {words: []string{"epoch-1-contact-1", "epoch-1-contact-2"}, want: "the words are of another epoch"},
		"one contact":                 {words: good[:1], want: "2 are needed"},
		"nobody":                      {want: "not all of one epoch"},
		"wrong passphrase":            {passphrase: "another one for confirming", words: good, want: "wrong passphrase"},
		"a wrong backup share":        {words: good, home: "home-damaged", want: "backup share"},
		"a damaged ledger":            {words: good, ledger: flip(3, false), want: "damaged"},
		"a changed signature":         {words: good, ledger: flip(3, true), want: "signature"},
		"an entry left out":           {words: good, ledger: drop(3), want: "sequence"},
		"no ledger":                   {words: good, ledger: func(_ *testing.T, b []byte) []byte { return b[:0] }, want: "does not start as it must"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(fixtureDir, "home")
			if tt.home != "" {
				dir = filepath.Join(fixtureDir, tt.home)
			}
			if tt.ledger != nil {
				dir = copyWithLedger(t, dir, tt.ledger)
			}
			passphrase := fixturePassphrase
			if tt.passphrase != "" {
				passphrase = tt.passphrase
			}
			words := fixtureWords(t, tt.words...)
			if tt.wrongWord {
				fields := strings.Fields(words[0])
				fields[20] = map[bool]string{true: "acid", false: "academic"}[fields[20] == "academic"]
				words[0] = strings.Join(fields, " ")
			}
			_, complaint, err := runIndependent(t, dir, passphrase, words...)
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(complaint), tt.want) || !strings.HasPrefix(string(complaint), "error: ") {
				t.Errorf("it ended with %v and %q, want status 1 and %q", err, complaint, tt.want)
			}
		})
	}
}

// copyWithLedger returns a copy of a home with a changed ledger.
func copyWithLedger(t *testing.T, dir string, change func(*testing.T, []byte) []byte) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "home")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(to, "ledger")
	b := need[[]byte](t)(os.ReadFile(path))
	if err := os.WriteFile(path, change(t, b), 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// flip changes the last byte of an entry, which is its signature's, and repairs
// the checksum or not.
func flip(entry int, repair bool) func(*testing.T, []byte) []byte {
	return func(t *testing.T, b []byte) []byte {
		start, end := frameOf(t, b, entry)
		b[end-1] ^= 1
		if repair {
			sum := crc32.Checksum(b[start+8:end], crc32.MakeTable(crc32.Castagnoli))
			binary.BigEndian.PutUint32(b[start+4:], sum)
		}
		return b
	}
}

// drop removes an entry.
func drop(entry int) func(*testing.T, []byte) []byte {
	return func(t *testing.T, b []byte) []byte {
		start, end := frameOf(t, b, entry)
		return append(b[:start:start], b[end:]...)
	}
}

// frameOf returns where the frame of an entry, from 1, starts and ends.
func frameOf(t *testing.T, b []byte, entry int) (start, end int) {
	t.Helper()
	end = bytes.IndexByte(b, '\n') + 1
	for range entry {
		if end+8 > len(b) {
			t.Fatalf("the ledger has less than %d entries", entry)
		}
		start = end
		end += 8 + int(binary.BigEndian.Uint32(b[start:]))
	}
	return start, end
}
