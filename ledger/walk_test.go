package ledger

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// walk takes random steps, most of which are refused, and checks after each that
// a refused one changed nothing and that what must always hold does. It returns
// the history that was accepted.
func walk(w *world, pick func(n int) int, steps int) string {
	w.t.Helper()
	var accepted []string
	defer func() {
		if w.t.Failed() {
			w.t.Log(strings.Join(accepted, " "))
		}
	}()
	history(w, []string{"G E", recoverable}[pick(2)])
	for i := range steps {
		for step := range strings.FieldsSeq(randomSteps(w, pick)) {
			err := w.step(step)
			var rule *RuleError
			if err != nil && !errors.As(err, &rule) {
				w.t.Fatalf("step %s: %v", step, err)
			}
			if err == nil {
				accepted = append(accepted, step)
				spoilOne(w, pick)
				checkState(w)
			}
			// Go on as a device that can do something.
			if d, ok := w.state.Device(w.author); !ok || d.Status != Active {
				w.author = w.state.ActiveDevices()[0].Number
			}
		}
		if i%50 == 49 {
			checkInvariants(w)
		}
	}
	return strings.Join(accepted, " ")
}

// randomSteps returns one step, or the few that together commit an epoch.
func randomSteps(w *world, pick func(n int) int) string {
	device := func(usual Status) string {
		for _, d := range w.state.Devices() {
			if d.Status == usual && d.Number != w.author && pick(2) == 0 {
				return fmt.Sprint(d.Number)
			}
		}
		return fmt.Sprint(1 + pick(int(w.state.NextDevice())))
	}
	slot := func() string { return string(rune('a' + pick(4))) }
	request := func() string { return string(rune('q' + pick(3))) }
	switch pick(26) {
	case 0:
		return []string{"E", "E:1of1", "E:3of3", "E+sheet", "E~1h"}[pick(5)]
	case 1, 2, 3:
		return fmt.Sprintf("B%d", 1+pick(3))
	case 4:
		return fmt.Sprintf("B%d=%s", 1+pick(3), []string{"paper", "eve"}[pick(2)])
	case 5, 6, 7:
		return fmt.Sprintf("R%d", 1+pick(3))
	case 8:
		return []string{"RS", "RS", "RH"}[pick(3)]
	case 9, 10:
		return "C"
	case 11:
		return "D"
	case 12:
		return []string{"L" + device(Active), "U" + device(Locked), "X" + device(Locked)}[pick(3)]
	case 13, 14, 15:
		return "P:" + slot()
	case 16:
		return "T"
	case 17:
		return "W:" + slot()
	case 18:
		return []string{"Y:5", "Y:50", "S"}[pick(3)]
	case 19:
		return "V:" + request()
	case 20:
		return "Q:" + request() + "/" + []string{"12", "13", "23", "123", "1", "H", "2H"}[pick(7)]
	case 21:
		return "+" + []string{"1h", "24h", "72h"}[pick(3)]
	case 22:
		return "B1 B2 R1 R2 RS T C"
	case 23:
		return "N" + device(Active)
	default:
		if n := w.state.ActiveDevices(); len(n) > 0 {
			return fmt.Sprintf("@%d", n[pick(len(n))].Number)
		}
		return "@1"
	}
}

// spoilOne changes one byte of the newest entry, which must then be refused in
// the state before it.
func spoilOne(w *world, pick func(n int) int) {
	w.t.Helper()
	if len(w.entries) < 2 {
		return
	}
	b := slices.Clone(w.entries[len(w.entries)-1].Bytes())
	i, bit := pick(len(b)), pick(8)
	b[i] ^= 1 << bit
	e, err := ParseEntry(b)
	if err != nil {
		if e != nil {
			w.t.Fatal("a refused entry is not nil")
		}
		return
	}
	if w.before.Clone().Apply(e) == nil {
		w.t.Fatalf("entry %d with bit %d of byte %d changed is accepted", e.Sequence(), bit, i)
	}
}

func TestRandomWalk(t *testing.T) {
	steps, walks := 150, 8
	kinds := map[string]bool{}
	for seed := range walks {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 1))
			w := newWorld(t, byte(seed))
			walk(w, r.IntN, steps)
			checkReplay(w)
			for _, e := range w.entries {
				for _, record := range e.Records() {
					kinds[string(record.ProtoReflect().WhichOneof(kindOneof).Name())] = true
				}
			}
		})
	}
	if want := kindOneof.Fields().Len(); len(kinds) != want {
		t.Errorf("the walks met %d kinds of records, not all %d", len(kinds), want)
	}
}

// TestClone lets a state and its clone go different ways.
func TestClone(t *testing.T) {
	w := play(t, recoverable+"D P:a P:b E")
	before := w.state.Clone()
	clone := w.state.Clone()
	history(w, "T P:a W:b V:r @2 L1 @2 +72h X1 S Y:2")
	if !equalStates(before, clone) {
		t.Fatal("a clone follows its original")
	}
	original := w.state.Clone()
	w.state, w.entries, w.author = clone, nil, 1
	history(w, "P:c W:a D B1 B2")
	if equalStates(before, clone) {
		t.Fatal("the clone did not change")
	}
	w.state = original
	history(w, "@2 P:d")
	if h, _ := clone.Hash(before.Head().Sequence + 1); original.Contains(Head{before.Head().Sequence + 1, h}) {
		t.Error("the original has an entry of the clone's")
	}
}

// TestExtendIsAllOrNothing refuses the last of several entries.
func TestExtendIsAllOrNothing(t *testing.T) {
	w := play(t, recoverable+"D P:a P:b P:a")
	entries := w.entries
	s, err := Fold(entries[:3]...)
	must(t, err)
	before := s.Clone()
	broken := append(slices.Clone(entries[3:]), entries[5])
	if err := s.Extend(broken...); !errors.Is(err, &RuleError{Rule: RuleSequence}) {
		t.Fatal(err)
	}
	if !equalStates(before, s) {
		t.Error("a refused extension left something behind")
	}
	must(t, s.Extend(entries[3:]...))
	if !equalStates(s, w.state) {
		t.Error("Extend and Apply come to different states")
	}
	if s, err := Fold(broken...); err == nil || s != nil {
		t.Error("a ledger without Genesis folds")
	}
	if s, err := Fold(); err != nil || s.Head() != (Head{}) {
		t.Errorf("an empty ledger: %v", err)
	}
}

// TestProveGuessesWrong folds entries whose signatures prove looks up under
// wrong keys: an author's number that two Genesis-like claims fight over must
// not make a bad signature good.
func TestProveGuessesWrong(t *testing.T) {
	w := play(t, "G E D P:a")
	d := w.draft(w.slotPuts("b")...)
	d.author, d.key = 2, w.devices[1].sign
	bad, err := d.sign()
	must(t, err)
	// A DeviceAdded for device 2 with device 1's keys would make prove accept.
	added := w.deviceAdded()
	added.Device, added.Keys = 2, w.devices[1].deviceKeys(1)
	claim := w.draft(w.slotPuts("c")...)
	claim.records[0], err = NewRecord(added)
	must(t, err)
	claim.previous = Head{Sequence: w.state.Head().Sequence + 1}
	later, err := claim.sign()
	must(t, err)
	for _, entries := range [][]*Entry{{bad, later}, {later, bad}} {
		s := w.state.Clone()
		if err := s.Extend(entries...); err == nil {
			t.Error("accepted")
		}
	}
	s := w.state.Clone()
	if err := s.Extend(bad, later); !errors.Is(err, &RuleError{Rule: RuleSignature}) {
		t.Errorf("refused by %v", err)
	}
}
