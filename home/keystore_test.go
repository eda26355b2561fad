package home

import (
	"bytes"
	"errors"
	"testing"
)

func TestKeystore(t *testing.T) {
	h := create(t)
	if _, err := h.Keystore(); !errors.Is(err, ErrNotFound) || HasKeystore(h.Dir()) {
		t.Fatalf("a new home has a keystore: %v", err)
	}
	if err := h.RemoveKeystore(); err != nil {
		t.Errorf("removing none: %v", err)
	}
	for _, content := range [][]byte{[]byte("first"), bytes.Repeat([]byte{1}, maxKeystore)} {
		if err := h.PutKeystore(content); err != nil {
			t.Fatal(err)
		}
		h = reopen(t, h)
		if got, err := h.Keystore(); err != nil || !bytes.Equal(got, content) || !HasKeystore(h.Dir()) {
			t.Fatalf("stored %d bytes, got %d, %v", len(content), len(got), err)
		}
	}
	if err := h.PutKeystore(make([]byte, maxKeystore+1)); !errors.Is(err, ErrWrite) {
		t.Errorf("too large a file: %v", err)
	}

	copied := must[*Home](t)(OpenReadOnly(h.Dir()))
	defer copied.Close()
	if _, err := copied.Keystore(); err != nil {
		t.Errorf("read only: %v", err)
	}
	if err := copied.PutKeystore(nil); !errors.Is(err, ErrReadOnly) {
		t.Errorf("PutKeystore of a copy: %v", err)
	}
	if err := copied.RemoveKeystore(); !errors.Is(err, ErrReadOnly) {
		t.Errorf("RemoveKeystore of a copy: %v", err)
	}

	if err := h.RemoveKeystore(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Keystore(); !errors.Is(err, ErrNotFound) || HasKeystore(h.Dir()) {
		t.Errorf("after it was removed: %v", err)
	}
}
