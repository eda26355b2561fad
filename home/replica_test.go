package home

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
)

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
