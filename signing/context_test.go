package signing

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// unhex decodes lines of hexadecimal with spaces between and comments after #.
func unhex(t *testing.T, s string) []byte {
	t.Helper()
	var digits string
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		digits += strings.Join(strings.Fields(line), "")
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sequence returns n bytes that count up from 0.
func sequence(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// The encodings of this table were written by hand, from the documentation.
func TestContextEncoding(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    *Context
		want string // hexadecimal, after "zeropass/v1/"
	}{
		{"no parts", NewContext("entry"), "656e747279 00"},
		{"every character", NewContext("az-09"), "617a2d3039 00"},
		{"bytes", NewContext("a").Bytes([]byte{0xff, 0}), "61 00 00000002 ff00"},
		{"nil bytes", NewContext("a").Bytes(nil), "61 00 00000000"},
		{"empty bytes", NewContext("a").Bytes([]byte{}), "61 00 00000000"},
		{"text", NewContext("a").Text("é/1"), "61 00 00000004 c3a92f31"},
		{"empty text", NewContext("a").Text(""), "61 00 00000000"},
		{"uint", NewContext("a").Uint(258), "61 00 00000008 0000000000000102"},
		{"greatest uint", NewContext("a").Uint(1<<64 - 1), "61 00 00000008 ffffffffffffffff"},
		{"count", NewContext("a").Count(2).Text("x").Text("y"),
			"61 00 00000008 0000000000000002 00000001 78 00000001 79"},
		{"long part", NewContext("a").Bytes(bytes.Repeat([]byte{7}, 256)),
			"61 00 00000100" + strings.Repeat("07", 256)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := append([]byte("zeropass/v1/"), unhex(t, tt.want)...)
			if got := tt.c.Encode(); !bytes.Equal(got, want) {
				t.Errorf("got  %x\nwant %x", got, want)
			}
		})
	}
}

func TestSealingEncoding(t *testing.T) {
	sealing := Sealing{
		Kind:      "slot-metadata",
		Account:   sequence(32),
		Epoch:     3,
		Object:    sequence(16),
		Version:   2,
		Role:      "metadata",
		Sender:    "device/1",
		Recipient: "devices",
	}
	want := unhex(t, `
		7a65726f706173732f76312f          # zeropass/v1/
		736c6f742d6d65746164617461 00     # slot-metadata
		00000008 0000000000000001         # suite
		00000020 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
		00000008 0000000000000003         # epoch
		00000010 000102030405060708090a0b0c0d0e0f
		00000008 0000000000000002         # version
		00000008 6d65746164617461         # metadata
		00000008 6465766963652f31         # device/1
		00000007 64657669636573           # devices
	`)
	if got := sealing.Context().Encode(); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	wantHash := unhex(t, "cef8e2a8c753e2a6bfc5f7ec1cd4c0d6119ed56d1be37690bfedf217c07ac0c2")
	if got := sealing.Context().Hash(); !bytes.Equal(got[:], wantHash) {
		t.Errorf("hash: got %x, want %x", got, wantHash)
	}
}

// Each member of a Sealing counts: no two sealings that differ share a context.
func TestSealingBindsEveryMember(t *testing.T) {
	sealings := []Sealing{
		{Kind: "k"},
		{Kind: "l"},
		{Kind: "k", Account: []byte{1}},
		{Kind: "k", Epoch: 1},
		{Kind: "k", Object: []byte{1}},
		{Kind: "k", Version: 1},
		{Kind: "k", Role: "r"},
		{Kind: "k", Sender: "r"},
		{Kind: "k", Recipient: "r"},
	}
	seen := map[string]int{}
	for i, s := range sealings {
		encoded := string(s.Context().Encode())
		if j, ok := seen[encoded]; ok {
			t.Errorf("sealings %d and %d have the same context", j, i)
		}
		seen[encoded] = i
	}
}

func TestContextPanics(t *testing.T) {
	for name, f := range map[string]func(){
		"no kind":         func() { NewContext("") },
		"upper case":      func() { NewContext("Entry") },
		"zero byte":       func() { NewContext("a\x00") },
		"slash":           func() { NewContext("a/b") },
		"space":           func() { NewContext("a b") },
		"not ASCII":       func() { NewContext("é") },
		"underscore":      func() { NewContext("a_b") },
		"negative count":  func() { NewContext("a").Count(-1) },
		"kind of sealing": func() { Sealing{Kind: "A"}.Context() },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

func TestEncodeCopies(t *testing.T) {
	c := NewContext("a").Uint(1)
	want := c.Hash()
	clear(c.Encode())
	if c.Hash() != want {
		t.Error("writing to what Encode returned changes the context")
	}
	first := c.Encode()
	before := slices.Clone(first)
	c.Uint(2)
	if !bytes.Equal(first, before) {
		t.Error("adding a part changes what Encode returned before")
	}
}

// split reads a context back, which only an injective encoding allows.
func split(t *rapid.T, encoded []byte) (kind string, parts [][]byte) {
	rest, ok := bytes.CutPrefix(encoded, []byte("zeropass/v1/"))
	if !ok {
		t.Fatalf("%x does not start with the prefix", encoded)
	}
	name, rest, ok := bytes.Cut(rest, []byte{0})
	if !ok {
		t.Fatalf("%x has no zero byte after the kind", encoded)
	}
	for len(rest) > 0 {
		n := binary.BigEndian.Uint32(rest)
		parts = append(parts, rest[4:4+n])
		rest = rest[4+n:]
	}
	return string(name), parts
}

func TestContextIsInjective(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.StringMatching(`[a-z0-9-]{1,20}`).Draw(t, "kind")
		parts := rapid.SliceOf(rapid.SliceOf(rapid.Byte())).Draw(t, "parts")
		c := NewContext(kind)
		for i, part := range parts {
			switch {
			case i%3 == 0:
				c.Text(string(part))
			case len(part) == 8:
				c.Uint(binary.BigEndian.Uint64(part))
			default:
				c.Bytes(part)
			}
		}
		gotKind, gotParts := split(t, c.Encode())
		if gotKind != kind || !slices.EqualFunc(gotParts, parts, bytes.Equal) {
			t.Fatalf("%q %x reads back as %q %x", kind, parts, gotKind, gotParts)
		}
	})
}
