package home

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
)

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
		last = must[*ledger.Activity](t)(ledger.NewActivity(account, last.End(), testTime.Add(time.Duration(i)*time.Second), []byte("request"), [32]byte{1}))
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

// After a branch, the log goes on with the server's entries, and what the server
// lost stays. What it shows again later is lost no more.
func TestActivityThatTheServerLost(t *testing.T) {
	h := create(t)
	withAccount(t, h, 1)
	chain := func(after *ledger.Activity, request string, n int) (log []*ledger.Activity) {
		for range n {
			after = must[*ledger.Activity](t)(ledger.NewActivity(h.State().Account(), after.End(), testTime, []byte(request), [32]byte{}))
			log = append(log, after)
		}
		return log
	}
	ours := chain(nil, "ours", 12)
	if err := h.AppendActivity(ours...); err != nil {
		t.Fatal(err)
	}
	theirs := chain(ours[1], "theirs", 3)
	wants := func(name string, log, lost []*ledger.Activity) {
		t.Helper()
		for _, again := range []bool{false, true} {
			if again {
				h = reopen(t, h)
			}
			here, gone := must[[]*ledger.Activity](t)(h.Activity(0, 100)), must[[]*ledger.Activity](t)(h.LostActivity())
			same := func(a, b *ledger.Activity) bool { return a.Hash() == b.Hash() }
			if !slices.EqualFunc(here, log, same) || !slices.EqualFunc(gone, lost, same) || h.LastActivity().Hash() != log[len(log)-1].Hash() {
				t.Fatalf("%s, opened again %v: %d entries and %d lost ones", name, again, len(here), len(gone))
			}
		}
	}
	var rule *ledger.RuleError
	if err := h.BranchActivity(3, theirs...); !errors.As(err, &rule) {
		t.Fatalf("a branch that follows another entry: %v", err)
	}
	if err := h.BranchActivity(13); !errors.Is(err, ErrGap) {
		t.Fatalf("a branch beyond the end: %v", err)
	}
	wants("nothing happened", ours, nil)
	if err := h.BranchActivity(4); err != nil {
		t.Fatal(err)
	}
	wants("a shorter log", ours[:4], ours[4:])
	branched := slices.Concat(ours[:2], theirs)
	for range 2 {
		if err := h.BranchActivity(2, theirs...); err != nil {
			t.Fatal(err)
		}
		wants("a branch", branched, slices.Concat(ours[4:], ours[2:4]))
	}
	more := chain(theirs[2], "more", 1)
	if err := h.AppendActivity(more...); err != nil {
		t.Fatal(err)
	}
	wants("it goes on", slices.Concat(branched, more), slices.Concat(ours[4:], ours[2:4]))
	if err := h.BranchActivity(2, ours[2:]...); err != nil {
		t.Fatal(err)
	}
	wants("the first log again", ours, slices.Concat(theirs, more))
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
