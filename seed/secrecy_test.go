package seed

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// shown is everything that printing, logging and marshalling make of a value.
func shown(t *testing.T, v any) string {
	t.Helper()
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q", "%z"} { // the last is none
		fmt.Fprintf(&out, verb+" ", v)
		fmt.Fprintf(&out, verb+" ", []any{v})
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("shown", "value", v)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("shown", "value", v)
	js, err := json.Marshal(map[string]any{"value": v})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(js)
	return out.String()
}

func TestSecretsAreSilent(t *testing.T) {
	s := newSeed(t, ascending(0x80, Size))
	keys := newTestKeys(t, s)
	branch := keys.branch().Bytes()
	root := keys.Root().Bytes()
	chainCode := keys.Master().branch.ChainCode()
	hidden := struct {
		s Seed
		k Keys
	}{*s, *keys} // fmt calls no methods of unexported fields
	for name, v := range map[string]any{
		"seed": s, "seed by value": *s, "keys": keys, "keys by value": *keys,
		"master": keys.Master(), "master by value": *keys.Master(), "hidden": hidden, "hidden pointer": &hidden,
		"generation": mustGeneration(t, 1), "split": mustSplit(t, s, 2, 3, true),
	} {
		text := shown(t, v)
		for _, secret := range [][]byte{s.secret().bytes[:], branch, root, chainCode} {
			for _, form := range []string{fmt.Sprintf("%x", secret[:4]), strings.Trim(fmt.Sprint(secret[:4]), "[]"), fmt.Sprintf("%q", secret[:4])} {
				if strings.Contains(text, form) {
					t.Errorf("%s shows %s: %s", name, form, text)
				}
			}
		}
		if (strings.HasPrefix(name, "seed") || strings.HasPrefix(name, "keys")) && strings.Count(text, "[secret]") < 15 {
			t.Errorf("%s: %s", name, text)
		}
		if strings.HasPrefix(name, "master") && strings.Count(text, "[master public key]") < 15 {
			t.Errorf("%s: %s", name, text)
		}
	}
	for _, text := range []func() ([]byte, error){s.MarshalText, keys.MarshalText} {
		if b, err := text(); err != nil || string(b) != "[secret]" {
			t.Errorf("%s, %v", b, err)
		}
	}
	if keys.Master().String() != "[master public key]" || s.String() != "[secret]" || s.GoString() != "[secret]" || keys.String() != "[secret]" || keys.GoString() != "[secret]" {
		t.Errorf("%s, %s", s.String(), keys.String())
	}
}

func TestErase(t *testing.T) {
	s := newSeed(t, ascending(0, Size))
	keys := newTestKeys(t, s)
	root := keys.Root()
	keys.Erase()
	if !erased(func() { root.Bytes() }) {
		t.Error("the root key is left")
	}
	if key, err := keys.SlotKey(1, 1); key != nil || err == nil {
		t.Error("the branch is left")
	}

	hidden := s.secret()
	s.Erase()
	s.Erase()
	if hidden.bytes != [Size]byte{} {
		t.Errorf("%x", hidden.bytes)
	}
	for name, none := range map[string]*Seed{"erased": s, "zero": {}, "nil": nil} {
		if keys, err := none.Keys(); keys != nil || !errors.Is(err, ErrErased) {
			t.Errorf("%s: %v, %v", name, keys, err)
		}
		if split, err := none.Split(rand.Reader, 2, 3, false); split != nil || !errors.Is(err, ErrErased) {
			t.Errorf("%s: %v, %v", name, split, err)
		}
	}

	split := mustSplit(t, newSeed(t, ascending(0, Size)), 2, 3, true)
	split.Erase()
	for _, share := range append(split.Members, split.Server, split.Device, split.Sheet) {
		if share.Value() != nil {
			t.Error("a share is left")
		}
	}
}

func TestNewCopies(t *testing.T) {
	local, server := ascending(0, HalfSize), ascending(32, HalfSize)
	s, err := New(local, server)
	if err != nil {
		t.Fatal(err)
	}
	clear(local)
	clear(server)
	if !bytes.Equal(s.secret().bytes[:], ascending(0, Size)) {
		t.Errorf("%x", s.secret().bytes)
	}
}
