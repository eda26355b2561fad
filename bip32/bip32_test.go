package bip32_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
	"zeropass.dev/zeropass/bip32"
)

// The order of the curve, and its predecessor (SEC 2, version 2.0, section
// 2.4.1).
const (
	order         = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
	orderMinusOne = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140"
	zero          = "0000000000000000000000000000000000000000000000000000000000000000"
	one           = "0000000000000000000000000000000000000000000000000000000000000001"
	allOnes       = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
)

func testMaster(t testing.TB) *bip32.PrivateKey {
	t.Helper()
	i := sha512.Sum512([]byte("a tree for tests"))
	k, err := bip32.NewMaster(i[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestNewMaster(t *testing.T) {
	for _, tt := range []struct {
		name, i string
		err     error
	}{
		{"1", one + allOnes, nil},
		{"n-1", orderMinusOne + zero, nil},
		{"0", zero + allOnes, bip32.ErrInvalidKey},
		{"n", order + allOnes, bip32.ErrInvalidKey},
		{"2^256-1", allOnes + zero, bip32.ErrInvalidKey},
		{"empty", "", bip32.ErrLength},
		{"63 bytes", (one + one)[:126], bip32.ErrLength},
		{"65 bytes", one + one + "00", bip32.ErrLength},
	} {
		i, err := hex.DecodeString(tt.i)
		if err != nil {
			t.Fatal(err)
		}
		k, err := bip32.NewMaster(i)
		if !errors.Is(nilOnError(t, k == nil, err), tt.err) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.err)
		}
		if err != nil {
			continue
		}
		if got := append(k.Bytes(), k.ChainCode()...); !bytes.Equal(got, i) {
			t.Errorf("%s: got %x", tt.name, got)
		}
		if k.Depth() != 0 || k.ChildNumber() != 0 || k.ParentFingerprint() != [4]byte{} {
			t.Errorf("%s: master has a parent", tt.name)
		}
		clear(i) // the key does not keep it
		if bytes.Equal(k.ChainCode(), i[32:]) && tt.i[64:] != zero {
			t.Errorf("%s: the master key keeps its input", tt.name)
		}
	}
}

func TestNewBitcoinMasterLength(t *testing.T) {
	for length := range 130 {
		k, err := bip32.NewBitcoinMaster(make([]byte, length))
		if ok := length >= 16 && length <= 64; ok != (err == nil) {
			t.Errorf("%d bytes: %v", length, err)
		}
		if err := nilOnError(t, k == nil, err); err != nil && !errors.Is(err, bip32.ErrLength) {
			t.Errorf("%d bytes: %v", length, err)
		}
	}
}

// Public then child equals child then public, along random paths.
func TestPublicCommutesWithDerive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		i := rapid.SliceOfN(rapid.Byte(), 64, 64).Draw(t, "i")
		above := rapid.SliceOfN(rapid.Uint32(), 0, 3).Draw(t, "above")
		below := rapid.SliceOfN(rapid.Uint32Max(bip32.Hardened-1), 0, 3).Draw(t, "below")

		i[0] &= 0x7f // IL below the order,
		i[31] |= 1   // and not 0
		master, err := bip32.NewMaster(i)
		if err != nil {
			t.Fatal(err)
		}
		branch, err := master.Derive(above...)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := branch.Derive(below...)
		if err != nil {
			t.Fatal(err)
		}
		public, err := branch.Public().Derive(below...)
		if err != nil {
			t.Fatal(err)
		}
		if !leaf.Public().Equal(public) {
			t.Fatalf("private first: %x\npublic first:  %x", leaf.Public().Serialize(), public.Serialize())
		}
		whole, err := master.Derive(append(above, below...)...)
		if err != nil {
			t.Fatal(err)
		}
		if whole.Encode() != leaf.Encode() {
			t.Fatal("a path in two parts leads elsewhere than the path in one")
		}
	})
}

func TestPublicKeyHasNoHardenedChildren(t *testing.T) {
	public := testMaster(t).Public()
	for _, index := range []uint32{bip32.Hardened, bip32.Hardened + 1, 1<<32 - 1} {
		k, err := public.Child(index)
		if !errors.Is(nilOnError(t, k == nil, err), bip32.ErrHardened) {
			t.Errorf("child %d: %v", index, err)
		}
		k, err = public.Derive(0, index)
		if !errors.Is(nilOnError(t, k == nil, err), bip32.ErrHardened) {
			t.Errorf("path 0/%d: %v", index, err)
		}
	}
	if _, err := public.Child(bip32.Hardened - 1); err != nil {
		t.Error(err)
	}
}

func TestDepthEnds(t *testing.T) {
	path := make([]uint32, 255)
	private, err := testMaster(t).Derive(path...)
	if err != nil {
		t.Fatal(err)
	}
	public, err := testMaster(t).Public().Derive(path...)
	if err != nil {
		t.Fatal(err)
	}
	if private.Depth() != 255 || !private.Public().Equal(public) {
		t.Error("the last keys differ")
	}
	parsed, err := bip32.ParsePrivate(private.Encode())
	if err != nil {
		t.Fatal(err)
	}
	for _, index := range []uint32{0, bip32.Hardened} {
		k, err := parsed.Child(index)
		if !errors.Is(nilOnError(t, k == nil, err), bip32.ErrDepth) {
			t.Errorf("child %d of depth 255: %v", index, err)
		}
	}
	k, err := public.Child(0)
	if !errors.Is(nilOnError(t, k == nil, err), bip32.ErrDepth) {
		t.Errorf("public child of depth 255: %v", err)
	}
}

func TestErase(t *testing.T) {
	k := testMaster(t)
	public := k.Public()
	want := public.Encode()
	same, err := k.Derive()
	if err != nil {
		t.Fatal(err)
	}
	scalar := k.Bytes()
	clear(scalar)
	clear(k.ChainCode())
	if same.Encode() != k.Encode() {
		t.Fatal("clearing what Bytes and ChainCode return changed the key")
	}

	k.Erase()
	if public.Encode() != want || same.Public().Encode() != want {
		t.Error("Erase reached another key")
	}
	if !reflect.DeepEqual(*k, bip32.PrivateKey{}) {
		t.Error("Erase left something behind")
	}
	for name, call := range map[string]func() (*bip32.PrivateKey, error){
		"Child":       func() (*bip32.PrivateKey, error) { return k.Child(0) },
		"Derive":      func() (*bip32.PrivateKey, error) { return k.Derive(0) },
		"Derive of 0": func() (*bip32.PrivateKey, error) { return k.Derive() },
	} {
		if child, err := call(); !errors.Is(nilOnError(t, child == nil, err), bip32.ErrErased) {
			t.Errorf("%s of an erased key: %v", name, err)
		}
	}
	for name, call := range map[string]func(){
		"Bytes":     func() { k.Bytes() },
		"ChainCode": func() { k.ChainCode() },
		"Encode":    func() { k.Encode() },
		"Public":    func() { k.Public() },
	} {
		if !panics(call) {
			t.Errorf("%s of an erased key does not panic", name)
		}
	}
}

func panics(call func()) (did bool) {
	defer func() { did = recover() != nil }()
	call()
	return false
}

func TestEqual(t *testing.T) {
	k := testMaster(t).Public()
	child, err := k.Child(7)
	if err != nil {
		t.Fatal(err)
	}
	for offset := range 78 {
		b := child.Serialize()
		b[offset] ^= 1
		other, err := bip32.ParseSerializedPublic(b)
		if err != nil {
			continue // not a key at all
		}
		if other.Equal(child) || child.Equal(other) {
			t.Errorf("equal although byte %d differs", offset)
		}
	}
	if k.Equal(child) || k.Equal(nil) || !child.Equal(child) {
		t.Error("Equal is wrong")
	}
}

// Nothing that prints values prints keys.
func TestRedaction(t *testing.T) {
	k := testMaster(t)
	public := k.Public()
	secrets := []string{
		k.Encode(), public.Encode(),
		hex.EncodeToString(k.Bytes()), hex.EncodeToString(k.ChainCode()),
		fmt.Sprint(k.Bytes()), fmt.Sprint(k.ChainCode()),
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("", "k", k, "v", *k, "p", public, "q", *public)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("", "k", k, "v", *k)
	printed := log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, v := range []any{k, *k} {
			out := fmt.Sprintf(verb, v)
			if out != "[secret]" {
				t.Errorf("%s prints %q", verb, out)
			}
		}
		printed += fmt.Sprintf(verb+verb, public, *public)
	}
	b, err := json.Marshal(map[string]any{"k": k, "v": *k, "p": public})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte(`"k":"[secret]"`)) || !bytes.Contains(b, []byte(`"v":"[secret]"`)) {
		t.Errorf("JSON: %s", b)
	}
	text, err := k.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	printed += string(b) + string(text) + k.String() + k.GoString() + public.String()
	for _, secret := range secrets {
		if strings.Contains(printed, secret) {
			t.Errorf("printed: %s", secret)
		}
	}
}
