package ledger

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

func exactBytes(entries []*Entry) [][]byte {
	var all [][]byte
	for _, e := range entries {
		all = append(all, e.Bytes())
	}
	return all
}

// checkReplay replays the world's ledger, at once and in two parts, and comes to the
// state that Apply came to.
func checkReplay(w *world) {
	w.t.Helper()
	all := exactBytes(w.entries)
	for _, part := range []int{1, len(all) / 2, len(all)} {
		s := &State{}
		must(w.t, s.Replay(w.entries[part-1].Head(), all[:part]...))
		must(w.t, s.Replay(w.state.Head(), all[part:]...))
		if !equalStates(s, w.state) {
			w.t.Errorf("after %d of %d entries Replay and Apply come to different states", part, len(all))
		}
	}
}

// TestReplayWantsTheChain gives Replay anything but the entries that lead to a head.
func TestReplayWantsTheChain(t *testing.T) {
	w := play(t, recoverable+"D P:a P:b P:a")
	all, head := exactBytes(w.entries), w.state.Head()
	other := exactBytes(play(t, "G E P:a").entries)
	changed := func(i int, change func(*recordv1.SignedEntry)) [][]byte {
		outer := &recordv1.SignedEntry{}
		must(t, read(all[i], outer))
		change(outer)
		b, err := marshal(outer)
		must(t, err)
		return slices.Concat(all[:i], [][]byte{b}, all[i+1:])
	}
	forged := w.draft(w.slotPuts("c")...)
	forged.key = w.signKey()
	last, err := forged.sign()
	must(t, err)
	empty, half := &State{}, &State{}
	must(t, half.Extend(w.entries[:4]...))
	for name, test := range map[string]struct {
		state  *State
		head   Head
		signed [][]byte
	}{
		"nothing":                   {empty, head, nil},
		"an entry is missing":       {empty, head, slices.Concat(all[:3], all[4:])},
		"Genesis is missing":        {empty, head, all[1:]},
		"the last is missing":       {empty, head, all[:len(all)-1]},
		"one more":                  {empty, head, append(slices.Clone(all), last.Bytes())},
		"one twice":                 {empty, head, slices.Concat(all[:3], all[2:])},
		"two exchanged":             {empty, head, slices.Concat(all[:3], all[4:5], all[3:4], all[5:])},
		"no bytes":                  {empty, head, append(slices.Clone(all), nil)},
		"another ledger's":          {empty, head, other},
		"on another ledger's state": {half, w.state.Head(), other[2:]},
		"what the state has":        {half, head, all},
		"less than the state has":   {half, half.Head(), all[:4]},
		"another number":            {empty, Head{head.Sequence + 1, head.Hash}, all},
		"another hash":              {empty, Head{head.Sequence, Hash{1}}, all},
		"no head":                   {empty, Head{}, all},
		"another author's signature": {empty, head, changed(len(all)-1, func(e *recordv1.SignedEntry) {
			e.Signature = w.signKey().Sign(entryContext(e.Entry))
		})},
		"another signature in the middle": {empty, head, changed(4, func(e *recordv1.SignedEntry) { e.Signature[63] ^= 1 })},
		"another endorsement": {empty, head, changed(len(all)-1, func(e *recordv1.SignedEntry) {
			body := &recordv1.Entry{}
			must(t, read(e.Entry, body))
			body.Proposal.Endorsements[0].Signature[0] ^= 1
			e.Entry, err = marshal(body)
			must(t, err)
		})},
	} {
		s := test.state.Clone()
		if err := s.Replay(test.head, test.signed...); !errors.Is(err, ErrOtherChain) {
			t.Errorf("%s: refused by %v", name, err)
		}
		if !equalStates(s, test.state) {
			t.Errorf("%s: something was left behind", name)
		}
	}
	for i := range all {
		b := bytes.Clone(all[i])
		b[rand.IntN(len(b))] ^= 1 << rand.IntN(8)
		if err := (&State{}).Replay(head, slices.Concat(all[:i], [][]byte{b}, all[i+1:])...); !errors.Is(err, ErrOtherChain) {
			t.Errorf("a bit of entry %d changed: %v", i+1, err)
		}
	}
	// And what follows a replay is verified.
	must(t, empty.Replay(head, all...))
	if err := empty.Apply(last); !errors.Is(err, &RuleError{Rule: RuleSignature}) {
		t.Errorf("after a replay: %v", err)
	}
	must(t, half.Replay(half.Head()))
}

// checkForgedReplay makes the head of a forged entry, which Apply refuses so, a
// verified one. It returns whether the entry is then believed: nothing but its
// signatures is not asked for, so that every rule counts that does not need them.
func checkForgedReplay(t *testing.T, w *world, e *Entry, refused error) bool {
	t.Helper()
	err := w.state.Clone().Replay(e.Head(), e.Bytes())
	rule := &RuleError{}
	switch {
	case err == nil:
		return true
	case errors.Is(refused, &RuleError{Rule: RulePrevious}), errors.Is(refused, &RuleError{Rule: RuleSequence}):
		if !errors.Is(err, ErrOtherChain) {
			t.Errorf("replayed, it is refused by %v", err)
		}
	case errors.Is(refused, &RuleError{Rule: RuleSignature}) && errors.As(err, &rule):
		// It breaks another rule, too, which comes later.
	case !errors.As(refused, &rule) || !errors.Is(err, &RuleError{Rule: rule.Rule}):
		t.Errorf("replayed, it is refused by %v, not by %v", err, refused)
	}
	return false
}

// signatureRules are the rules that a wrong signature in an entry breaks.
var signatureRules = []Rule{RuleSignature, RuleEndorsement, RuleDeviceList, RuleReceipt, RuleRootSignature, RuleApproval}

// TestReplayNewer leaves to a newer program what only that can judge, verified or not.
func TestReplayNewer(t *testing.T) {
	w := play(t, "G E")
	before := w.state.Clone()
	history(w, "P:a")
	d := w.draft(w.slotPuts("b")...)
	d.records[0] = append(d.records[0], 0xfa, 0x07, 0) // field 127
	body, err := marshal(&recordv1.Entry{Account: d.account[:], Sequence: 4, Previous: d.previous.Hash[:], Time: uint64(d.time.UnixMilli()), Author: 1, Records: d.records})
	must(t, err)
	b, err := marshal(&recordv1.SignedEntry{Entry: body, Signature: d.key.Sign(entryContext(body))})
	must(t, err)
	s := before.Clone()
	if err := s.Replay(Head{4, entryHash(b)}, w.entries[2].Bytes(), b); !errors.Is(err, ErrNewer) {
		t.Error(err)
	}
	if !equalStates(before, s) {
		t.Error("something was left behind")
	}
}

// BenchmarkReplay folds a ledger of 200 secrets from its bytes, and says how many
// times as long it takes where every signature is verified, on one core.
func BenchmarkReplay(b *testing.B) {
	w := play(b, "G E")
	for range 200 {
		put := w.slotPut(SlotID(w.bytes(idSize)), 1, 1, w.state.Counter(1)+1)
		put.SlotKey = w.sealKey().PublicKey().Bytes()
		put.SealedMetadata, put.SealedBackupShare = w.bytes(284), w.bytes(178)
		must(b, w.state.Apply(signed(b, w.draft(put), w)))
	}
	all, head := exactBytes(w.entries), w.state.Head()
	var replay, whole time.Duration
	for b.Loop() {
		start := time.Now()
		must(b, (&State{}).Replay(head, all...))
		replay += time.Since(start)
		start = time.Now()
		s := &State{}
		for _, one := range all {
			e, err := ParseEntry(one)
			must(b, err)
			must(b, s.Apply(e))
		}
		whole += time.Since(start)
	}
	b.ReportMetric(float64(whole)/float64(replay), "x-when-verified")
	b.ReportMetric(float64(replay.Microseconds())/float64(b.N)/float64(len(all)), "µs/entry-replayed")
}
