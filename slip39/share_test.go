package slip39_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"zeropass.dev/zeropass/slip39"
)

func TestShareShowsNothing(t *testing.T) {
	_, shares := newSet(t, layout)
	s := shares[2][1]
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "share", s, "value", *s)
	asJSON, err := json.Marshal(map[string]any{"p": s, "v": *s})
	if err != nil {
		t.Fatal(err)
	}
	asText, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{log.String(), string(asJSON), string(asText), s.String(), s.GoString()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		shown = append(shown, fmt.Sprintf(verb, s), fmt.Sprintf(verb, *s), fmt.Sprintf(verb, []*slip39.Share{s}))
	}
	for _, text := range shown {
		if !strings.Contains(text, "[secret]") {
			t.Errorf("shown as %q", text)
		}
		for _, leak := range []string{fmt.Sprintf("%x", s.Value()[:4]), strings.Trim(fmt.Sprint(s.Value()[:4]), "[]"), fmt.Sprint(s.Identifier())} {
			if strings.Contains(text, leak) {
				t.Errorf("%q shows part of the share", text)
			}
		}
	}
}

func TestErase(t *testing.T) {
	_, shares := newSet(t, layout)
	s := shares[0][0]
	s.Erase()
	s.Erase()
	if s.Value() != nil || s.Mnemonic() != "" {
		t.Error("an erased share still has a value")
	}
	for name, err := range map[string]error{
		"MarshalBinary": second(s.MarshalBinary()),
		"Combine":       second(slip39.Combine([]*slip39.Share{s, shares[1][0]}, nil)),
		"Combine nil":   second(slip39.Combine([]*slip39.Share{nil}, nil)),
		"zero Share":    second(new(slip39.Share).MarshalBinary()),
	} {
		if !errors.Is(err, slip39.ErrErased) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := slip39.Recover([]*slip39.Share{shares[1][0], s}, nil, nil); !errors.Is(err, slip39.ErrErased) {
		t.Errorf("Recover: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestEqualAndCopies(t *testing.T) {
	_, shares := newSet(t, layout)
	a, b := shares[2][0], shares[2][1]
	again, err := slip39.Parse(a.Mnemonic())
	if err != nil {
		t.Fatal(err)
	}
	var none *slip39.Share
	if !a.Equal(again) || a.Equal(b) || a.Equal(a.WithThreshold(3)) || a.Equal(none) || none.Equal(a) || !none.Equal(nil) {
		t.Error("Equal is wrong")
	}
	clear(a.Value())
	if !a.Equal(again) {
		t.Error("Value returned the share's own memory")
	}
}

func TestAccessors(t *testing.T) {
	p := slip39.Params{
		Identifier: 0x7ffe, Extendable: true, IterationExponent: 1, GroupThreshold: 2,
		Groups: []slip39.Group{{Threshold: 1, Count: 1}, {Threshold: 1, Count: 1}, {Threshold: 1, Count: 1}, {Threshold: 3, Count: 5}},
	}
	_, shares := newSet(t, p)
	for g, members := range shares {
		if len(members) != p.Groups[g].Count {
			t.Fatalf("group %d has %d shares", g, len(members))
		}
		for m, s := range members {
			got := fmt.Sprint(s.Identifier(), s.Extendable(), s.IterationExponent(), s.GroupThreshold(), s.GroupCount(),
				s.GroupIndex(), s.MemberIndex(), s.MemberThreshold(), len(s.Value()))
			want := fmt.Sprint(0x7ffe, true, 1, 2, 4, g, m, p.Groups[g].Threshold, 64)
			if got != want {
				t.Errorf("share has %s, want %s", got, want)
			}
		}
	}
}

// TestSizes fixes the lengths that the documentation gives.
func TestSizes(t *testing.T) {
	for size, want := range map[int]struct{ words, packed int }{
		16:                   {20, 25},
		32:                   {33, 42},
		64:                   {59, 74},
		slip39.MaxSecretSize: {1006, 1258},
	} {
		p := slip39.Params{Extendable: true, GroupThreshold: 1, Groups: []slip39.Group{{Threshold: 1, Count: 1}}}
		shares, err := slip39.Split(bytes.NewReader(nil), make([]byte, size), nil, p)
		if err != nil {
			t.Fatal(err)
		}
		packed, err := shares[0][0].MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		words := len(strings.Fields(shares[0][0].Mnemonic()))
		if words != want.words || len(packed) != want.packed {
			t.Errorf("%d bytes: %d words and %d bytes, want %+v", size, words, len(packed), want)
		}
		for name, parse := range map[string]func() (*slip39.Share, error){
			"words":  func() (*slip39.Share, error) { return slip39.Parse(shares[0][0].Mnemonic()) },
			"binary": func() (*slip39.Share, error) { return slip39.ParseBinary(packed) },
		} {
			if s, err := parse(); err != nil || !s.Equal(shares[0][0]) {
				t.Errorf("%d bytes, %s: reading back: %v", size, name, err)
			}
		}
	}
}
