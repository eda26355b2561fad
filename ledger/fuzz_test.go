package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func addGolden(f *testing.F, pattern string) {
	files, err := filepath.Glob("testdata/golden/" + pattern)
	must(f, err)
	if len(files) == 0 {
		f.Fatal("no golden files")
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		must(f, err)
		f.Add(unannotate(f, string(text)))
	}
}

// FuzzParseEntry: what is read is written back as the same bytes, and what is
// refused is nil and has a reason.
func FuzzParseEntry(f *testing.F) {
	addGolden(f, "[0-9]*.txt")
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEntry(b)
		if err != nil {
			checkRefusal(t, e == nil, err)
			return
		}
		body, err := marshal(e.message)
		must(t, err)
		if !bytes.Equal(body, e.body) || !bytes.Equal(e.Bytes(), b) {
			t.Fatal("read, and not the same when written back")
		}
		for i, r := range e.records {
			if record, err := marshal(r); err != nil || !bytes.Equal(record, e.message.Records[i]) {
				t.Fatalf("record %d is not the same when written back: %v", i+1, err)
			}
		}
		if err := (&State{}).Apply(e); err != nil {
			checkRefusal(t, true, err)
		}
	})
}

// FuzzStatements is the same for the statements beside the ledger.
func FuzzStatements(f *testing.F) {
	addGolden(f, "[a-z]*.txt")
	w := play(f, recoverable)
	request := w.request("r").request
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := ParseAttestation(b); err != nil {
			checkRefusal(t, a == nil, err)
		} else if w.state.CheckAttestation(a); !bytes.Equal(a.Bytes(), b) {
			t.Fatal("attestation")
		}
		end, ended := ParseActivityEnd(b)
		if a, err := ParseActivity(b); err != nil {
			checkRefusal(t, a == nil, err)
		} else if a.Follows(w.state.Account(), a) == nil || !bytes.Equal(a.Bytes(), b) || ended != nil || end != a.End() {
			t.Fatal("activity")
		}
		if r, err := ParseRecoveryRequest(b); err != nil {
			checkRefusal(t, r == nil, err)
		} else if !bytes.Equal(r.Bytes(), b) {
			t.Fatal("request")
		}
		if r, err := ParseDeviceRequest(b); err != nil {
			checkRefusal(t, r == nil, err)
		} else if w.state.CheckDeviceRequest(r); !bytes.Equal(r.Bytes(), b) {
			t.Fatal("device request")
		}
		if a, err := ParseApproval(b); err != nil {
			checkRefusal(t, a == nil, err)
		} else if w.state.CheckApproval(a, request, w.now) == nil || !bytes.Equal(a.Bytes(), b) {
			t.Fatal("approval")
		}
	})
}

// FuzzWalk takes the fuzzer's bytes as the choices of a random walk.
func FuzzWalk(f *testing.F) {
	for seed := range byte(4) {
		b := make([]byte, 120)
		newWorld(f, seed).rand.Read(b)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		choices = choices[:min(len(choices), 600)]
		steps := len(choices) / 3
		walk(newWorld(t, 1), func(n int) int {
			if len(choices) == 0 {
				return 0
			}
			c := int(choices[0])
			choices = choices[1:]
			return c % n
		}, steps)
	})
}

// FuzzFold reads frames of entries: whatever they are, Fold and Apply agree.
func FuzzFold(f *testing.F) {
	for _, line := range []string{"G E", recoverable + "D P:a", "G E D @2 L1 P:a +72h X1 P:a W:a"} {
		var b []byte
		for _, e := range play(f, line).entries {
			b = binary.BigEndian.AppendUint32(b, uint32(len(e.Bytes())))
			b = append(b, e.Bytes()...)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var entries []*Entry
		for len(b) >= 4 {
			size := binary.BigEndian.Uint32(b)
			if b = b[4:]; uint64(size) > uint64(len(b)) {
				break
			}
			if e, err := ParseEntry(b[:size]); err == nil {
				entries = append(entries, e)
			}
			b = b[size:]
		}
		one := &State{}
		var want error
		for _, e := range entries {
			if want = one.Apply(e); want != nil {
				break
			}
		}
		s, err := Fold(entries...)
		if (err == nil) != (want == nil) || err != nil && s != nil {
			t.Fatalf("Fold: %v, Apply: %v", err, want)
		}
		if err == nil && !equalStates(s, one) {
			t.Fatal("Fold and Apply come to different states")
		}
	})
}

// checkRefusal wants nil and one of the two kinds of errors.
func checkRefusal(t *testing.T, isNil bool, err error) {
	t.Helper()
	var rule *RuleError
	if !isNil || !errors.As(err, &rule) && !errors.Is(err, ErrNewer) {
		t.Fatalf("refused without a rule: %v", err)
	}
	if rule != nil && ruleTexts[rule.Rule] == "" {
		t.Fatalf("rule %s has no text", rule.Rule)
	}
}
