package home

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

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
