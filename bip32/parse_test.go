package bip32_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"zeropass.dev/zeropass/bip32"
)

// One character away from a key there is no key: Base58Check's checksum of 32
// bits, the length and the leading characters all hold.
func TestParseDamaged(t *testing.T) {
	xprv, xpub := testMaster(t).Encode(), testMaster(t).Public().Encode()
	for _, tt := range []struct {
		name   string
		change func(string) string
		err    error
	}{
		{"empty", func(string) string { return "" }, bip32.ErrLength},
		{"one missing", func(s string) string { return s[:len(s)-1] }, bip32.ErrLength},
		{"two more", func(s string) string { return s + "11" }, bip32.ErrLength},
		{"one more", func(s string) string { return s + "1" }, bip32.ErrLength},
		{"leading zero byte", func(s string) string { return "1" + s }, bip32.ErrVersion},
		{"leading zero byte, same length", func(s string) string { return "1" + s[1:] }, bip32.ErrVersion},
		{"leading space", func(s string) string { return " " + s }, bip32.ErrCharacter},
		{"trailing newline", func(s string) string { return s + "\n" }, bip32.ErrCharacter},
		{"zero", func(s string) string { return s[:50] + "0" + s[51:] }, bip32.ErrCharacter},
		{"capital O", func(s string) string { return s[:50] + "O" + s[51:] }, bip32.ErrCharacter},
		{"capital I", func(s string) string { return s[:50] + "I" + s[51:] }, bip32.ErrCharacter},
		{"small l", func(s string) string { return s[:50] + "l" + s[51:] }, bip32.ErrCharacter},
		{"letter outside ASCII", func(s string) string { return s[:50] + "é" + s[52:] }, bip32.ErrCharacter},
		{"largest number", func(s string) string { return strings.Repeat("z", 112) }, bip32.ErrLength},
		{"swapped characters", func(s string) string { return s[:109] + s[110:] + s[109:110] }, bip32.ErrChecksum},
		{"next character", func(s string) string { return s[:60] + next(s[60]) + s[61:] }, bip32.ErrChecksum},
	} {
		private, err := bip32.ParsePrivate(tt.change(xprv))
		if !errors.Is(nilOnError(t, private == nil, err), tt.err) {
			t.Errorf("xprv, %s: got %v, want %v", tt.name, err, tt.err)
		}
		public, err := bip32.ParsePublic(tt.change(xpub))
		if !errors.Is(nilOnError(t, public == nil, err), tt.err) {
			t.Errorf("xpub, %s: got %v, want %v", tt.name, err, tt.err)
		}
	}
}

// next is another character of the alphabet.
func next(c byte) string {
	if c == 'x' {
		return "y"
	}
	return "x"
}

func TestParseOtherKind(t *testing.T) {
	k := testMaster(t)
	private, err := bip32.ParsePrivate(k.Public().Encode())
	if !errors.Is(nilOnError(t, private == nil, err), bip32.ErrVersion) {
		t.Errorf("ParsePrivate of xpub: %v", err)
	}
	public, err := bip32.ParsePublic(k.Encode())
	if !errors.Is(nilOnError(t, public == nil, err), bip32.ErrVersion) {
		t.Errorf("ParsePublic of xprv: %v", err)
	}
}

func TestParseSerializedPublic(t *testing.T) {
	master := testMaster(t).Public().Serialize()
	// The field's prime (SEC 2, version 2.0, section 2.4.1).
	p, err := hex.DecodeString("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
		err    error
	}{
		{"as it is", func(b []byte) []byte { return b }, nil},
		{"77 bytes", func(b []byte) []byte { return b[:77] }, bip32.ErrLength},
		{"79 bytes", func(b []byte) []byte { return append(b, 0) }, bip32.ErrLength},
		{"82 bytes, as with a checksum", func(b []byte) []byte { return append(b, 0, 0, 0, 0) }, bip32.ErrLength},
		{"empty", func([]byte) []byte { return nil }, bip32.ErrLength},
		{"testnet version", func(b []byte) []byte { copy(b, "\x04\x35\x87\xcf"); return b }, bip32.ErrVersion},
		{"private version", func(b []byte) []byte { copy(b, "\x04\x88\xad\xe4"); return b }, bip32.ErrVersion},
		{"parent of a master", func(b []byte) []byte { b[8] = 1; return b }, bip32.ErrDepthZero},
		{"index of a master", func(b []byte) []byte { b[9] = 0x80; return b }, bip32.ErrDepthZero},
		{"prefix 00", func(b []byte) []byte { b[45] = 0; return b }, bip32.ErrMismatch},
		{"prefix 04", func(b []byte) []byte { b[45] = 4; return b }, bip32.ErrPrefix},
		{"hybrid prefix 06", func(b []byte) []byte { b[45] = 6; return b }, bip32.ErrPrefix},
		{"x = p", func(b []byte) []byte { copy(b[46:], p); return b }, bip32.ErrInvalidKey},
		{"x = p + 1, congruent to a point", func(b []byte) []byte { copy(b[46:], p); b[77]++; return b }, bip32.ErrInvalidKey},
		{"x = 5, no point", func(b []byte) []byte { clear(b[46:]); b[77] = 5; return b }, bip32.ErrInvalidKey},
		{"x = 1, a point", func(b []byte) []byte { clear(b[46:]); b[77] = 1; return b }, nil},
	} {
		b := tt.change(bytes.Clone(master))
		k, err := bip32.ParseSerializedPublic(b)
		if !errors.Is(nilOnError(t, k == nil, err), tt.err) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.err)
		}
		if err == nil && !bytes.Equal(k.Serialize(), b) {
			t.Errorf("%s: serializes to %x", tt.name, k.Serialize())
		}
	}
}

func FuzzParsePrivate(f *testing.F) {
	addVectors(f)
	f.Fuzz(func(t *testing.T, s string) {
		k, err := bip32.ParsePrivate(s)
		if nilOnError(t, k == nil, err) == nil && k.Encode() != s {
			t.Errorf("%q encodes to %q", s, k.Encode())
		}
	})
}

func FuzzParsePublic(f *testing.F) {
	addVectors(f)
	f.Fuzz(func(t *testing.T, s string) {
		k, err := bip32.ParsePublic(s)
		if nilOnError(t, k == nil, err) == nil && k.Encode() != s {
			t.Errorf("%q encodes to %q", s, k.Encode())
		}
	})
}

func FuzzParseSerializedPublic(f *testing.F) {
	for _, chain := range readVectors(f).Valid {
		for _, node := range chain.Chain {
			k, err := bip32.ParsePublic(node.Xpub)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(k.Serialize())
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := bip32.ParseSerializedPublic(b)
		if nilOnError(t, k == nil, err) != nil {
			return
		}
		if !bytes.Equal(k.Serialize(), b) {
			t.Errorf("%x serializes to %x", b, k.Serialize())
		}
		again, err := bip32.ParsePublic(k.Encode())
		if err != nil || !again.Equal(k) {
			t.Errorf("%x does not survive its Base58 form: %v", b, err)
		}
	})
}

func addVectors(f *testing.F) {
	v := readVectors(f)
	for _, chain := range v.Valid {
		for _, node := range chain.Chain {
			f.Add(node.Xprv)
			f.Add(node.Xpub)
		}
	}
	for _, invalid := range v.Invalid {
		f.Add(invalid.Key)
	}
}
