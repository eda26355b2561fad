package keystore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/keystore/keystoretest"
)

var (
	testSecret = []byte("0123456789abcdef0123456789abcdef")
	testPIN    = []byte("1234")
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

func startTPM(t *testing.T) *keystoretest.TPM {
	t.Helper()
	tpm := must[*keystoretest.TPM](t)(keystoretest.StartTPM())
	t.Cleanup(func() {
		if err := tpm.Stop(); err != nil {
			t.Error(err)
		}
	})
	return tpm
}

// stored is the record as it comes back from the device's directory.
func stored(t *testing.T, r *Record) *Record {
	t.Helper()
	return must[*Record](t)(Parse(must[[]byte](t)(r.Bytes())))
}

func TestTPM(t *testing.T) {
	path := startTPM(t).Path
	for name, pin := range map[string][]byte{
		"no PIN":     nil,
		"PIN":        testPIN,
		"long PIN":   []byte(strings.Repeat("correct horse ", 50)),
		"PIN of NUL": {0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := stored(t, must[*Record](t)(SealTPM(path, testSecret, pin)))
			if r.Kind() != TPM || r.NeedsPIN() != (pin != nil) {
				t.Errorf("a record of kind %v, PIN %v", r.Kind(), r.NeedsPIN())
			}
			// More often than a TPM has room for what is not flushed.
			for range 5 {
				if got := must[[]byte](t)(r.Open(t.Context(), path, pin)); !bytes.Equal(got, testSecret) {
					t.Fatal("another secret came out")
				}
			}
			if b := must[[]byte](t)(r.Bytes()); bytes.Contains(b, testSecret) || len(pin) > 2 && bytes.Contains(b, pin) {
				t.Error("the record shows what it protects")
			}
			if err := r.Forget(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := SealTPM(path, testSecret[1:], nil); err == nil {
		t.Error("a secret of 31 bytes was sealed")
	}
}

// Nobody who guesses PINs gets far, and what has no PIN is not shut out.
func TestWrongPINs(t *testing.T) {
	path := startTPM(t).Path
	withPIN := must[*Record](t)(SealTPM(path, testSecret, testPIN))
	without := must[*Record](t)(SealTPM(path, testSecret, nil))
	if _, err := withPIN.Open(t.Context(), path, nil); !errors.Is(err, ErrPIN) {
		t.Errorf("without a PIN: %v", err)
	}
	guesses := 0
	for {
		secret, err := withPIN.Open(t.Context(), path, []byte("4321"))
		if secret != nil {
			t.Fatal("a wrong PIN opens")
		}
		if errors.Is(err, ErrLockedOut) {
			break
		}
		if guesses++; !errors.Is(err, ErrPIN) || guesses > 100 {
			t.Fatalf("guess %d: %v", guesses, err)
		}
	}
	if guesses == 0 {
		t.Error("the first wrong PIN locks the TPM")
	}
	if _, err := withPIN.Open(t.Context(), path, testPIN); !errors.Is(err, ErrLockedOut) {
		t.Errorf("the right PIN while the TPM is locked: %v", err)
	}
	if _, err := without.Open(t.Context(), path, nil); err != nil {
		t.Errorf("without a PIN while the TPM is locked: %v", err)
	}
}

// The record says that it needs no PIN; the TPM knows better.
func TestPINDenied(t *testing.T) {
	path := startTPM(t).Path
	r := must[*Record](t)(SealTPM(path, testSecret, testPIN))
	r.m.Pin = false
	if _, err := r.Open(t.Context(), path, nil); !errors.Is(err, ErrPIN) {
		t.Errorf("%v", err)
	}
}

func TestClearedTPM(t *testing.T) {
	tpm := startTPM(t)
	r := must[*Record](t)(SealTPM(tpm.Path, testSecret, testPIN))
	if err := tpm.Clear(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Open(t.Context(), tpm.Path, testPIN); !errors.Is(err, ErrOtherTPM) {
		t.Errorf("%v", err)
	}
}

func TestAnotherTPM(t *testing.T) {
	r := must[*Record](t)(SealTPM(startTPM(t).Path, testSecret, nil))
	other := startTPM(t).Path
	if _, err := r.Open(t.Context(), other, nil); !errors.Is(err, ErrOtherTPM) {
		t.Errorf("%v", err)
	}
	// Somebody writes the other TPM's key into the record: the object is still
	// encrypted to the first one.
	r.m.Parent = must[*Record](t)(SealTPM(other, testSecret, nil)).m.Parent
	if _, err := r.Open(t.Context(), other, nil); !errors.Is(err, ErrTPM) {
		t.Errorf("with the other's key: %v", err)
	}
}

// What was tampered with is refused, by the TPM.
func TestChangedObject(t *testing.T) {
	path := startTPM(t).Path
	for name, change := range map[string]func(m *recordv1.HomeKeystore){
		"private area":        func(m *recordv1.HomeKeystore) { m.Private[len(m.Private)-1] ^= 1 },
		"private area, short": func(m *recordv1.HomeKeystore) { m.Private = m.Private[:10] },
		"public area":         func(m *recordv1.HomeKeystore) { m.Public[len(m.Public)-1] ^= 1 },
		"no dictionary attack protection": func(m *recordv1.HomeKeystore) {
			m.Public[6] |= 4 // TPMA_OBJECT.noDA, bit 10
		},
		"public area, none": func(m *recordv1.HomeKeystore) { m.Public = []byte{0} },
	} {
		t.Run(name, func(t *testing.T) {
			r := must[*Record](t)(SealTPM(path, testSecret, testPIN))
			change(r.m)
			if secret, err := r.Open(t.Context(), path, testPIN); !errors.Is(err, ErrTPM) || secret != nil {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestNoTPM(t *testing.T) {
	path := startTPM(t).Path
	r := must[*Record](t)(SealTPM(path, testSecret, nil))
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "none"), file, dir, "/dev/null"} {
		if _, err := r.Open(context.Background(), path, nil); !errors.Is(err, ErrNoTPM) {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
		if _, err := SealTPM(path, testSecret, nil); !errors.Is(err, ErrNoTPM) {
			t.Errorf("seal in %s: %v", filepath.Base(path), err)
		}
	}
}
