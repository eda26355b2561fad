package keystore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

func tpmMessage() *recordv1.HomeKeystore {
	return &recordv1.HomeKeystore{
		Kind: recordv1.HomeKeystore_KIND_TPM, Parent: make([]byte, 34),
		Public: []byte{1}, Private: []byte{2}, Pin: true,
	}
}

func keyringMessage() *recordv1.HomeKeystore {
	return &recordv1.HomeKeystore{
		Kind: recordv1.HomeKeystore_KIND_KEYRING, Entry: make([]byte, 16),
		WrappingKey: []byte("a wrapping key that nobody sees!"),
	}
}

func TestParse(t *testing.T) {
	for _, m := range []*recordv1.HomeKeystore{tpmMessage(), keyringMessage()} {
		b := must[[]byte](t)(canonical.Marshal(m))
		r := must[*Record](t)(Parse(b))
		if again := must[[]byte](t)(r.Bytes()); !bytes.Equal(again, b) {
			t.Errorf("%v: other bytes come out", r.Kind())
		}
	}
}

func TestParseRefuses(t *testing.T) {
	changed := func(m *recordv1.HomeKeystore, change func(*recordv1.HomeKeystore)) *recordv1.HomeKeystore {
		change(m)
		return m
	}
	for name, m := range map[string]*recordv1.HomeKeystore{
		"nothing":            {},
		"short name":         changed(tpmMessage(), func(m *recordv1.HomeKeystore) { m.Parent = m.Parent[1:] }),
		"no public area":     changed(tpmMessage(), func(m *recordv1.HomeKeystore) { m.Public = nil }),
		"large public area":  changed(tpmMessage(), func(m *recordv1.HomeKeystore) { m.Public = make([]byte, 1025) }),
		"no private area":    changed(tpmMessage(), func(m *recordv1.HomeKeystore) { m.Private = nil }),
		"large private area": changed(tpmMessage(), func(m *recordv1.HomeKeystore) { m.Private = make([]byte, 1025) }),
		"TPM with an entry":  changed(tpmMessage(), func(m *recordv1.HomeKeystore) { m.Entry = make([]byte, 16) }),
		"TPM with a key":     changed(tpmMessage(), func(m *recordv1.HomeKeystore) { m.WrappingKey = make([]byte, 32) }),
		"short entry":        changed(keyringMessage(), func(m *recordv1.HomeKeystore) { m.Entry = m.Entry[1:] }),
		"short key":          changed(keyringMessage(), func(m *recordv1.HomeKeystore) { m.WrappingKey = m.WrappingKey[1:] }),
		"keyring with PIN":   changed(keyringMessage(), func(m *recordv1.HomeKeystore) { m.Pin = true }),
		"keyring and object": changed(keyringMessage(), func(m *recordv1.HomeKeystore) { m.Private = []byte{1} }),
	} {
		if r, err := Parse(must[[]byte](t)(canonical.Marshal(m))); !errors.Is(err, ErrRecord) || r != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := must[[]byte](t)(canonical.Marshal(tpmMessage()))
	if _, err := Parse(append(good, 0xf8, 1, 1)); !errors.Is(err, ErrRecord) {
		t.Errorf("with a field that is not known: %v", err)
	}
}

func TestRecordIsRedacted(t *testing.T) {
	m := keyringMessage()
	key := bytes.Clone(m.WrappingKey)
	r := must[*Record](t)(Parse(must[[]byte](t)(canonical.Marshal(m))))
	var text strings.Builder
	slog.New(slog.NewTextHandler(&text, nil)).Info("record", "r", r)
	slog.New(slog.NewJSONHandler(&text, nil)).Info("record", "r", *r)
	asJSON := must[[]byte](t)(json.Marshal(r))
	all := text.String() + string(asJSON) + fmt.Sprintf("%v %+v %#v %s %x %d", r, r, *r, *r, r, *r)
	if strings.Contains(all, string(key)) || strings.Contains(all, fmt.Sprintf("%x", key)) || strings.Count(all, redacted) != 9 {
		t.Errorf("printed as %s", all)
	}
	r.Erase()
	if !bytes.Equal(r.m.WrappingKey, make([]byte, 32)) {
		t.Error("Erase leaves the wrapping key")
	}
}

func FuzzParse(f *testing.F) {
	for _, m := range []*recordv1.HomeKeystore{tpmMessage(), keyringMessage(), {}} {
		f.Add(must[[]byte](f)(canonical.Marshal(m)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if err != nil {
			if r != nil {
				t.Fatal("an error with a record")
			}
			return
		}
		if again := must[[]byte](t)(r.Bytes()); !bytes.Equal(again, b) {
			t.Fatalf("%x is read, and written as %x", b, again)
		}
	})
}
