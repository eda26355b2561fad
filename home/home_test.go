package home

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

func create(t *testing.T) *Home {
	t.Helper()
	h := must[*Home](t)(Create(filepath.Join(t.TempDir(), "a", "home"), testCreation()))
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func reopen(t *testing.T, h *Home) *Home {
	t.Helper()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	again := must[*Home](t)(Open(h.Dir()))
	t.Cleanup(func() { _ = again.Close() })
	if err := again.Unlock(testPassphrase); err != nil {
		t.Fatal(err)
	}
	return again
}

// withAccount gives a home an account of n entries.
func withAccount(t *testing.T, h *Home, n int) (*Keys, *signing.PrivateKey) {
	t.Helper()
	keys := must[*Keys](t)(h.Keys())
	confirm := must[*signing.PrivateKey](t)(h.ConfirmKey(testConfirm))
	if err := h.Append(must[*ledger.Entry](t)(genesis(keys))); err != nil {
		t.Fatal(err)
	}
	if err := h.SetIdentity(h.State().Account(), 1); err != nil {
		t.Fatal(err)
	}
	if n == 1 {
		return keys, confirm
	}
	if err := h.Append(must[*ledger.Entry](t)(epochEntry(h.State(), keys))); err != nil {
		t.Fatal(err)
	}
	if err := h.Append(must[[]*ledger.Entry](t)(policyEntries(h.State(), keys, confirm, n-2, 0))...); err != nil {
		t.Fatal(err)
	}
	return keys, confirm
}

func TestCreate(t *testing.T) {
	h := create(t)
	for path, want := range map[string]os.FileMode{"": 0o700, pendingDir: 0o700, privateDir: 0o700, evidenceDir: 0o700,
		passphraseFile: 0o600, confirmFile: 0o600, confirmKeyFile: 0o600, configFile: 0o600, keysFile: 0o600, ledgerFile: 0o600,
		serverSharesFile: 0o600, activityFile: 0o600, proofsFile: 0o600, heldFile: 0o600, lockFile: 0o600} {
		info, err := os.Stat(filepath.Join(h.Dir(), path))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: %v, %v, want %v", path, info, err, want)
		}
	}
	if h.State() != nil {
		t.Error("a new home has a ledger")
	}
	if c := h.Config(); c.Name != "Ada" || c.Account != nil || c.Device != 0 {
		t.Errorf("config %v", c)
	}
	keys := must[*Keys](t)(h.Keys())
	if keys.Account != (ledger.AccountID{}) || keys.Device != 0 {
		t.Error("new keys belong to an account")
	}
	sign, seal, confirm := keys.Sign.PublicKey(), keys.Seal.PublicKey(), keys.Confirm
	if sign.Equal(confirm) || bytes.Equal(sign.Bytes(), seal.Bytes()) {
		t.Error("two keys are one")
	}
	h = reopen(t, h)
	again := must[*Keys](t)(h.Keys())
	if !again.Sign.PublicKey().Equal(sign) || !again.Seal.PublicKey().Equal(seal) || !again.Confirm.Equal(confirm) {
		t.Error("the keys changed")
	}
	if key := must[*signing.PrivateKey](t)(h.ConfirmKey(testConfirm)); !key.PublicKey().Equal(confirm) {
		t.Error("the confirm key changed")
	}
}

func TestCreateRefuses(t *testing.T) {
	change := func(f func(*Creation)) Creation {
		c := testCreation()
		f(&c)
		return c
	}
	occupied := t.TempDir()
	if err := os.WriteFile(filepath.Join(occupied, "letter"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	for _, test := range []struct {
		name string
		dir  string
		c    Creation
		want error
	}{
		{"occupied", occupied, testCreation(), ErrExists},
		{"a file", filepath.Join(occupied, "letter"), testCreation(), ErrExists},
		{"empty passphrase", parent + "/a", change(func(c *Creation) { c.Passphrase = nil }), ErrPassphrase},
		{"empty confirm passphrase", parent + "/a", change(func(c *Creation) { c.ConfirmPassphrase = []byte{} }), ErrPassphrase},
		{"one passphrase", parent + "/a", change(func(c *Creation) { c.ConfirmPassphrase = c.Passphrase }), ErrSamePassphrase},
		{"work factor", parent + "/a", change(func(c *Creation) { c.WorkFactor = MaxWorkFactor + 1 }), ErrWorkFactor},
		{"negative work factor", parent + "/a", change(func(c *Creation) { c.WorkFactor = -1 }), ErrWorkFactor},
		{"account", parent + "/a", change(func(c *Creation) { c.Config.Device = 1 }), ErrAccount},
		{"no randomness", parent + "/a", change(func(c *Creation) { c.Rand = bytes.NewReader(make([]byte, 40)) }), io.EOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, err := Create(test.dir, test.c)
			if !errors.Is(err, test.want) && !(test.want == io.EOF && errors.Is(err, io.ErrUnexpectedEOF)) || h != nil {
				t.Errorf("%v, %v, want %v", h, err, test.want)
			}
		})
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestCreateIntoEmptyDirectory(t *testing.T) {
	dir := t.TempDir()
	stale := dir + ".new-1"
	if err := os.MkdirAll(filepath.Join(stale, "private"), 0o700); err != nil {
		t.Fatal(err)
	}
	h := must[*Home](t)(Create(dir, testCreation()))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a crash left behind is still there: %v", err)
	}
}

func TestUnlock(t *testing.T) {
	h := create(t)
	secret := must[[]byte](t)(h.DeviceSecret())
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Keys(); !errors.Is(err, ErrLocked) {
		t.Errorf("closed: %v", err)
	}
	h = must[*Home](t)(Open(h.Dir()))
	defer func() { _ = h.Close() }()
	for name, use := range map[string]func() error{
		"Keys":         func() error { _, err := h.Keys(); return err },
		"DeviceSecret": func() error { _, err := h.DeviceSecret(); return err },
		"Held":         func() error { _, err := h.Held(); return err },
		"Private":      func() error { _, err := h.Private("a"); return err },
		"PutPrivate":   func() error { return h.PutPrivate("a", nil) },
		"PutPending":   func() error { return h.PutPending("a", nil) },
		"SetIdentity":  func() error { return h.SetIdentity(ledger.AccountID{1}, 1) },
	} {
		if err := use(); !errors.Is(err, ErrLocked) {
			t.Errorf("%s while locked: %v", name, err)
		}
	}
	for _, wrong := range [][]byte{nil, []byte("wrong"), testConfirm} {
		if err := h.Unlock(wrong); !errors.Is(err, ErrPassphrase) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	for _, wrong := range [][]byte{nil, secret[:31], make([]byte, 32)} {
		if err := h.UnlockWithSecret(wrong); !errors.Is(err, ErrPassphrase) {
			t.Errorf("a wrong secret of %d bytes: %v", len(wrong), err)
		}
	}
	if _, err := h.ConfirmKey(testPassphrase); !errors.Is(err, ErrPassphrase) {
		t.Errorf("confirm key: %v", err)
	}
	if err := h.UnlockWithSecret(secret); err != nil {
		t.Error(err)
	}
}

func TestChangePassphrases(t *testing.T) {
	h := create(t)
	if err := h.ChangePassphrase(testConfirm, 1); !errors.Is(err, ErrSamePassphrase) {
		t.Errorf("the confirm passphrase: %v", err)
	}
	if err := h.ChangeConfirmPassphrase(testConfirm, testPassphrase, 1); !errors.Is(err, ErrSamePassphrase) {
		t.Errorf("the passphrase: %v", err)
	}
	if err := h.ChangePassphrase(nil, 1); !errors.Is(err, ErrPassphrase) {
		t.Errorf("an empty one: %v", err)
	}
	if err := h.ChangeConfirmPassphrase([]byte("wrong"), []byte("new confirm"), 1); !errors.Is(err, ErrPassphrase) {
		t.Errorf("a wrong old one: %v", err)
	}
	if err := h.ChangePassphrase([]byte("new"), 1); err != nil {
		t.Fatal(err)
	}
	if err := h.ChangeConfirmPassphrase(testConfirm, []byte("new confirm"), 1); err != nil {
		t.Fatal(err)
	}
	if err := h.CheckPassphrase(testPassphrase); !errors.Is(err, ErrPassphrase) {
		t.Errorf("the old one: %v", err)
	}
	if err := h.CheckPassphrase([]byte("new")); err != nil {
		t.Error(err)
	}
	if _, err := h.ConfirmKey([]byte("new confirm")); err != nil {
		t.Error(err)
	}
}

func TestWorkFactorLimit(t *testing.T) {
	h := create(t)
	path := filepath.Join(h.Dir(), passphraseFile)
	file := must[[]byte](t)(os.ReadFile(path))
	// A file that would take four hours: "-> scrypt SALT 1" becomes 30.
	lines := bytes.SplitN(file, []byte("\n"), 3)
	lines[1] = append(bytes.TrimSuffix(lines[1], []byte(" 1")), " 30"...)
	if err := os.WriteFile(path, bytes.Join(lines, []byte("\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := h.CheckPassphrase(testPassphrase); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "work factor") {
		t.Errorf("got %v", err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "nothing")); !errors.Is(err, ErrMissing) {
		t.Errorf("nothing there: %v", err)
	}
	if _, err := Open(t.TempDir()); !errors.Is(err, ErrMissing) {
		t.Errorf("an empty directory: %v", err)
	}
	h := create(t)
	if _, err := Open(h.Dir()); !errors.Is(err, ErrBusy) {
		t.Errorf("open twice: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(h.Dir(), 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(h.Dir()); !errors.Is(err, ErrPermissions) || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("a shared directory: %v", err)
	}
	readOnly, err := OpenReadOnly(h.Dir())
	if err != nil {
		t.Fatalf("a copy with other permissions: %v", err)
	}
	defer func() { _ = readOnly.Close() }()
	if err := readOnly.Unlock(testPassphrase); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]error{
		"Append":           readOnly.Append(),
		"PutPrivate":       readOnly.PutPrivate("a", nil),
		"SetConfig":        readOnly.SetConfig(readOnly.Config()),
		"RemoveJournal":    readOnly.RemoveJournal(),
		"ChangePassphrase": readOnly.ChangePassphrase([]byte("new"), 1),
		"PutHeld":          readOnly.PutHeld(storedShare(1, "share")),
	} {
		if !errors.Is(change, ErrReadOnly) {
			t.Errorf("%s: %v", name, change)
		}
	}
}

func TestLedger(t *testing.T) {
	h := create(t)
	keys, confirm := withAccount(t, h, 30)
	account := h.State().Account()
	all := must[[][]byte](t)(h.Entries(0, 100))
	if len(all) != 30 || len(must[[][]byte](t)(h.Entries(28, 100))) != 2 || len(must[[][]byte](t)(h.Entries(3, 5))) != 5 {
		t.Fatalf("%d entries", len(all))
	}
	before := h.State()
	more := must[[]*ledger.Entry](t)(policyEntries(before, keys, confirm, 2, 0))
	other := must[[]*ledger.Entry](t)(policyEntries(before, keys, confirm, 2, 1))
	if err := h.Append(more[1]); !errors.Is(err, ErrGap) {
		t.Errorf("a gap: %v", err)
	}
	var refused *ledger.RuleError
	if err := h.Append(more[0], other[1]); !errors.As(err, &refused) {
		t.Errorf("two that do not fit: %v", err)
	}
	if err := h.Append(more...); err != nil {
		t.Fatal(err)
	}
	if before.Head().Sequence != 30 || h.State().Head().Sequence != 32 {
		t.Error("a state that was handed out changed, or the new one did not")
	}
	if err := h.Append(more...); err != nil {
		t.Errorf("repeated: %v", err)
	}
	if err := h.Append(other...); !errors.Is(err, ErrFork) {
		t.Errorf("a fork: %v", err)
	}

	h = reopen(t, h)
	if h.State().Head() != more[1].Head() || h.State().Account() != account {
		t.Errorf("reopened at %v", h.State().Head())
	}
	branch := parsed(t, all)
	if err := h.ReplaceLedger(append(branch, other...)...); err != nil {
		t.Fatal(err)
	}
	h = reopen(t, h)
	if h.State().Head() != other[1].Head() {
		t.Errorf("replaced: %v", h.State().Head())
	}
	names := must[[]string](t)(h.EvidenceNames())
	if len(names) != 1 || !strings.HasPrefix(names[0], "ledger-32-") {
		t.Fatalf("evidence %v", names)
	}
	if b := must[[]byte](t)(h.Evidence(names[0])); !bytes.Contains(b, more[1].Bytes()) {
		t.Error("the evidence lacks the entry that was replaced")
	}
}

func parsed(t *testing.T, all [][]byte) []*ledger.Entry {
	t.Helper()
	return must[[]*ledger.Entry](t)(parseEntries(all))
}

func TestAnotherAccount(t *testing.T) {
	h, other := create(t), create(t)
	withAccount(t, h, 1)
	withAccount(t, other, 1)
	foreign := parsed(t, must[[][]byte](t)(other.Entries(0, 1)))
	if err := h.Append(foreign...); !errors.Is(err, ErrFork) {
		t.Errorf("append: %v", err)
	}
	if err := h.ReplaceLedger(foreign...); !errors.Is(err, ErrAccount) {
		t.Errorf("replace: %v", err)
	}
	if err := h.SetIdentity(other.State().Account(), 1); !errors.Is(err, ErrAccount) {
		t.Errorf("identity: %v", err)
	}
	config := h.Config()
	config.Account = foreign[0].Bytes()[:32]
	if err := h.SetConfig(config); !errors.Is(err, ErrAccount) {
		t.Errorf("config: %v", err)
	}
	joining := create(t)
	if err := joining.SetIdentity(h.State().Account(), 2); err != nil {
		t.Fatal(err)
	}
	if err := joining.Append(foreign...); !errors.Is(err, ErrAccount) {
		t.Errorf("a new device takes another ledger than the one compared: %v", err)
	}
}

// The keys are written before the configuration. A crash in between shows as a
// configuration without account.
func TestIdentityHalfWritten(t *testing.T) {
	h := create(t)
	old := must[[]byte](t)(os.ReadFile(filepath.Join(h.Dir(), configFile)))
	withAccount(t, h, 1)
	account := h.State().Account()
	if err := os.WriteFile(filepath.Join(h.Dir(), configFile), old, 0o600); err != nil {
		t.Fatal(err)
	}
	h = reopen(t, h)
	if c := h.Config(); !bytes.Equal(c.Account, account[:]) || c.Device != 1 {
		t.Errorf("config %v", c)
	}
}

func TestJournal(t *testing.T) {
	h := create(t)
	if a := must[*Append](t)(h.Journal()); a != nil {
		t.Fatal("a new home has a journal")
	}
	first := must[*ledger.Entry](t)(genesis(must[*Keys](t)(h.Keys())))
	a := &Append{Entries: []*ledger.Entry{first}, Shares: []*recordv1.SealedServerShare{serverShare(1, 10)}, Note: []byte{}}
	if err := h.PutJournal(a); err != nil {
		t.Fatal(err)
	}
	if err := h.PutJournal(a); !errors.Is(err, ErrInFlight) {
		t.Errorf("a second one: %v", err)
	}
	h = reopen(t, h)
	got := must[*Append](t)(h.Journal())
	if len(got.Entries) != 1 || !bytes.Equal(got.Entries[0].Bytes(), first.Bytes()) || len(got.Shares) != 1 || got.Note == nil || len(got.Note) != 0 {
		t.Errorf("got %+v", got)
	}
	for range 2 {
		if err := h.AcceptJournal(); err != nil {
			t.Fatal(err)
		}
	}
	if h.State().Head() != first.Head() || must[*Append](t)(h.Journal()) != nil {
		t.Error("not accepted")
	}
	if _, err := h.ServerShare(ledger.ShareID{Kind: recordv1.SealedServerShare_KIND_SLOT, Epoch: 1, Slot: ledger.SlotID(bytes.Repeat([]byte{7}, 16)), Version: 1}); err != nil {
		t.Error(err)
	}
	if err := h.PutJournal(a); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(h.Dir(), pendingDir, appendFile)
	b := must[[]byte](t)(os.ReadFile(path))
	for cut := range len(b) {
		if err := os.WriteFile(path, b[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := h.Journal()
		if err == nil && len(got.Shares) == 1 && got.Note == nil {
			continue // cut exactly before the last frame, the note
		}
		if err == nil && len(got.Shares) == 0 {
			continue // before the share
		}
		if !errors.Is(err, ErrDamaged) || got != nil {
			t.Fatalf("cut to %d: %v, %v", cut, got, err)
		}
	}
	if err := h.RemoveJournal(); err != nil || must[*Append](t)(h.Journal()) != nil {
		t.Error("not removed", err)
	}
}

func TestServerShares(t *testing.T) {
	h := create(t)
	id := func(version uint64) ledger.ShareID {
		id, err := ledger.SealedShareID(serverShare(version, 1))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	var many []*recordv1.SealedServerShare
	for v := range uint64(20) {
		many = append(many, serverShare(v+1, 5))
	}
	if err := h.PutServerShares(many...); err != nil {
		t.Fatal(err)
	}
	size := h.shares.end
	if err := h.PutServerShares(many...); err != nil || h.shares.end != size {
		t.Errorf("the same ones were stored again: %v", err)
	}
	if err := h.PutServerShares(serverShare(3, 9)); err != nil {
		t.Fatal(err)
	}
	h = reopen(t, h)
	for v, want := range map[uint64]int{1: 5, 3: 9, 20: 5} {
		if s, err := h.ServerShare(id(v)); err != nil || len(s.Sealed) != want {
			t.Errorf("version %d: %v, %v", v, s, err)
		}
	}
	if s, err := h.ServerShare(id(21)); !errors.Is(err, ErrNotFound) || s != nil {
		t.Errorf("got %v, %v", s, err)
	}
	withAccount(t, h, 1)
	if err := h.PruneServerShares(); err != nil {
		t.Fatal(err)
	}
	h = reopen(t, h)
	if _, err := h.ServerShare(id(1)); !errors.Is(err, ErrNotFound) {
		t.Errorf("a share that no ledger names is still there: %v", err)
	}
}

func TestHeld(t *testing.T) {
	h := create(t)
	for _, s := range []*recordv1.StoredShare{storedShare(1, "one"), storedShare(2, "two"), storedShare(1, "one again")} {
		if err := h.PutHeld(s); err != nil {
			t.Fatal(err)
		}
	}
	h = reopen(t, h)
	held := must[[]*recordv1.StoredShare](t)(h.Held())
	if len(held) != 2 || string(held[0].Share) != "two" || string(held[1].Share) != "one again" {
		t.Errorf("held %v", held)
	}
	if b := must[[]byte](t)(os.ReadFile(filepath.Join(h.Dir(), heldFile))); bytes.Contains(b, []byte("one again")) {
		t.Error("a held share lies open")
	}
	if err := h.RemoveHeld(HeldID{Account: ledger.AccountID(bytes.Repeat([]byte{9}, 32)), Epoch: 1, Member: 2}); err != nil {
		t.Fatal(err)
	}
	if held := must[[]*recordv1.StoredShare](t)(h.Held()); len(held) != 1 || string(held[0].Share) != "one again" {
		t.Errorf("held %v", held)
	}
	path := filepath.Join(h.Dir(), heldFile)
	b := must[[]byte](t)(os.ReadFile(path))
	for _, damaged := range [][]byte{b[:len(b)-1], nil, append(bytes.Clone(b), 1), flip(b, len(b)-1)} {
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if held, err := h.Held(); !errors.Is(err, ErrDamaged) || held != nil {
			t.Errorf("%d of %d bytes: %v", len(damaged), len(b), err)
		}
		if err := h.PutHeld(storedShare(3, "three")); !errors.Is(err, ErrDamaged) {
			t.Errorf("a damaged file was overwritten: %v", err)
		}
	}
}

func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 1
	return b
}

func TestProofs(t *testing.T) {
	h := create(t)
	account := ledger.AccountID{1}
	server := &recordv1.Holder{Kind: recordv1.Holder_KIND_SERVER}
	member := &recordv1.Holder{Kind: recordv1.Holder_KIND_MEMBER, Number: 2}
	later := testTime.Add(time.Minute)
	for _, a := range []*ledger.Attestation{
		attestation(t, account, 1, 5, testTime, server),
		attestation(t, account, 1, 4, later, server), // an older head
		attestation(t, account, 1, 5, later, server), // the same head, later
		attestation(t, account, 1, 5, testTime, member),
		attestation(t, account, 2, 3, testTime, member), // somebody else
	} {
		if err := h.PutProof(a); err != nil {
			t.Fatal(err)
		}
	}
	h = reopen(t, h)
	var got []string
	for _, a := range h.Proofs() {
		got = append(got, fmt.Sprint(a.Holder().GetKind().Number(), a.Epoch(), a.Head().Sequence, a.Time().Equal(later)))
	}
	if want := []string{"2 1 5 true", "3 1 5 false", "3 2 3 false"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestActivity(t *testing.T) {
	h := create(t)
	withAccount(t, h, 1)
	account := h.State().Account()
	var log []*ledger.Activity
	var last *ledger.Activity
	for i := range 12 {
		last = must[*ledger.Activity](t)(ledger.NewActivity(account, last, testTime.Add(time.Duration(i)*time.Second), []byte("request"), [32]byte{1}))
		log = append(log, last)
	}
	if err := h.AppendActivity(log[:2]...); err != nil {
		t.Fatal(err)
	}
	if err := h.AppendActivity(log[3]); err == nil {
		t.Error("a gap was accepted")
	}
	if err := h.AppendActivity(log[2:]...); err != nil {
		t.Fatal(err)
	}
	h = reopen(t, h)
	got := must[[]*ledger.Activity](t)(h.Activity(10, 10))
	if len(got) != 2 || got[1].Hash() != last.Hash() || h.LastActivity().Hash() != last.Hash() {
		t.Errorf("%d activities", len(got))
	}
}

func TestPrivate(t *testing.T) {
	h := create(t)
	for _, name := range []string{"", ".hidden", "a/b", "..", "A", "ü", "x.new", strings.Repeat("a", 101)} {
		if err := h.PutPrivate(name, nil); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := h.Private("nothing"); !errors.Is(err, ErrNotFound) {
		t.Errorf("nothing: %v", err)
	}
	for name, text := range map[string]string{"b": "first", "a.1": "text", "b-2": ""} {
		if err := h.PutPrivate(name, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := h.PutPending(name, []byte("pending "+text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.PutPrivate("b", []byte("second")); err != nil {
		t.Fatal(err)
	}
	h = reopen(t, h)
	if names := must[[]string](t)(h.PrivateNames()); !slices.Equal(names, []string{"a.1", "b", "b-2"}) {
		t.Errorf("names %q", names)
	}
	if names := must[[]string](t)(h.PendingNames()); !slices.Equal(names, []string{"a.1", "b", "b-2"}) {
		t.Errorf("pending %q", names)
	}
	if b := must[[]byte](t)(h.Private("b")); string(b) != "second" {
		t.Errorf("got %q", b)
	}
	if b := must[[]byte](t)(h.Pending("b")); string(b) != "pending first" {
		t.Errorf("got %q", b)
	}
	// A sealed file belongs to its name.
	if err := os.Rename(filepath.Join(h.Dir(), "private/a.1"), filepath.Join(h.Dir(), "private/b")); err != nil {
		t.Fatal(err)
	}
	if b, err := h.Private("b"); !errors.Is(err, ErrDamaged) || b != nil {
		t.Errorf("another file's content: %q, %v", b, err)
	}
	for range 2 {
		if err := h.RemovePrivate("b"); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.RemovePending("b"); err != nil {
		t.Fatal(err)
	}
	if names := must[[]string](t)(h.PendingNames()); !slices.Equal(names, []string{"a.1", "b-2"}) {
		t.Errorf("pending %q", names)
	}
}

func TestNothingSecretIsPrinted(t *testing.T) {
	h := create(t)
	keys := must[*Keys](t)(h.Keys())
	secret := must[[]byte](t)(h.DeviceSecret())
	held := h.holder.(*SecretKeys)
	var out strings.Builder
	write := Write{Metadata: &recordv1.SlotMetadata{Title: "the title"}, Secret: &recordv1.Secret{Notes: "the notes"}}
	for _, v := range []any{h, keys, *keys, held, *held, held.secret, write, &write, []Write{write}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
			_, _ = fmt.Fprintf(&out, verb, v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
	}
	for _, b := range [][]byte{secret, held.sign.Bytes(), held.seal.Bytes(), []byte("the title"), []byte("the notes")} {
		for _, form := range []string{fmt.Sprintf("%x", b), fmt.Sprintf("%X", b), fmt.Sprint(b[:8]), string(b), fmt.Sprintf("%q", b)} {
			if strings.Contains(out.String(), strings.Trim(form, "[]\"")) {
				t.Errorf("a secret was printed: %s", form)
			}
		}
	}
}

func TestDamagedHome(t *testing.T) {
	h := create(t)
	withAccount(t, h, 12)
	if err := h.PutServerShares(serverShare(1, 100), serverShare(2, 100)); err != nil {
		t.Fatal(err)
	}
	offset := h.entries.offsets[6]
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(h.Dir(), ledgerFile)
	b := must[[]byte](t)(os.ReadFile(path))
	if err := os.WriteFile(path, flip(b, int(offset)+100), 0o600); err != nil {
		t.Fatal(err)
	}
	var damage *DamageError
	if _, err := Open(h.Dir()); !errors.As(err, &damage) || damage.File != ledgerFile || damage.Offset != offset {
		t.Fatalf("got %v", err)
	}
	if _, err := OpenReadOnly(h.Dir()); !errors.Is(err, ErrDamaged) {
		t.Fatalf("got %v", err)
	}
	damaged := must[*Home](t)(OpenDamaged(h.Dir()))
	if damaged.State().Head().Sequence != 6 || len(damaged.Damage()) != 1 {
		t.Errorf("%v, %v", damaged.State().Head(), damaged.Damage())
	}
	if err := damaged.Close(); err != nil {
		t.Fatal(err)
	}
	if found, err := Salvage(h.Dir()); err != nil || len(found) != 1 {
		t.Fatalf("salvage: %v, %v", found, err)
	}
	h = reopen(t, h)
	if h.State().Head().Sequence != 6 {
		t.Errorf("salvaged: %v", h.State().Head())
	}
	name := fmt.Sprintf("damaged-ledger-%d", offset)
	if kept := must[[]byte](t)(h.Evidence(name)); len(kept) != len(b) {
		t.Errorf("the damaged file was not kept")
	}
	if err := h.Append(parsed(t, framesOf(t, b))...); err != nil {
		t.Errorf("what was lost does not come back: %v", err)
	}
}

func framesOf(t *testing.T, file []byte) (frames [][]byte) {
	t.Helper()
	_, err := scan(bytes.NewReader(file), int64(len(file)), ledgerFile, func(_ int64, b []byte) error {
		frames = append(frames, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return frames
}

// Frames that are intact and hold what is no ledger are damage too, and not
// folded.
func TestLedgerThatIsNone(t *testing.T) {
	h := create(t)
	withAccount(t, h, 4)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(h.Dir(), ledgerFile)
	frames := framesOf(t, must[[]byte](t)(os.ReadFile(path)))
	frames[2], frames[3] = frames[3], frames[2]
	file := []byte(magic(ledgerFile))
	for _, b := range frames {
		file = appendFrame(file, b)
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(h.Dir()); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
	if _, err := Salvage(h.Dir()); err != nil {
		t.Fatal(err)
	}
	if h = reopen(t, h); h.State().Head().Sequence != 2 {
		t.Errorf("salvaged: %v", h.State().Head())
	}
}

// Every prefix of the ledger file is a home whose ledger is a prefix.
func TestHomeWithTornLedger(t *testing.T) {
	h := create(t)
	withAccount(t, h, 3)
	offsets := append(slices.Clone(h.entries.offsets), h.entries.end)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(h.Dir(), ledgerFile)
	b := must[[]byte](t)(os.ReadFile(path))
	for size := int(offsets[1]); size < len(b); size += 13 {
		if err := os.WriteFile(path, b[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := Open(h.Dir())
		if err != nil {
			t.Fatal(err)
		}
		i := h.State().Head().Sequence
		if offsets[i] > int64(size) || i+1 < uint64(len(offsets)) && offsets[i+1] <= int64(size) {
			t.Fatalf("%d bytes: %v", size, h.State().Head())
		}
		if cut := int64(size) - offsets[i]; cut > 0 && (len(h.Repairs()) != 1 || h.Repairs()[0] != (Repair{ledgerFile, cut})) {
			t.Fatalf("%d bytes: %v", size, h.Repairs())
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
