package hpke

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"gitlab.com/yawning/secp256k1-voi"
)

var (
	fieldPrime, _ = new(big.Int).SetString("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f", 16)
	groupOrder, _ = new(big.Int).SetString("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16)
)

// The generator G (SEC 2 v2.0 §2.4.1).
const (
	generatorX = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
	generatorY = "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func number(n *big.Int, add int64) []byte {
	return new(big.Int).Add(n, big.NewInt(add)).FillBytes(make([]byte, 32))
}

func TestNewPrivateKey(t *testing.T) {
	for name, c := range map[string]struct {
		in []byte
		ok bool
	}{
		"1":                {number(new(big.Int), 1), true},
		"n-1":              {number(groupOrder, -1), true},
		"0":                {make([]byte, 32), false},
		"n":                {number(groupOrder, 0), false},
		"n+1":              {number(groupOrder, 1), false},
		"2^256-1":          {bytes.Repeat([]byte{0xff}, 32), false},
		"nil":              {nil, false},
		"31 bytes":         {bytes.Repeat([]byte{1}, 31), false},
		"33 bytes":         {bytes.Repeat([]byte{1}, 33), false},
		"33 bytes, zero 1": {append([]byte{0}, bytes.Repeat([]byte{1}, 32)...), false},
	} {
		key, err := NewPrivateKey(c.in)
		switch {
		case c.ok && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.ok:
			equal(t, name, key.Bytes(), c.in)
		case !errors.Is(err, ErrPrivateKey) || key != nil:
			t.Errorf("%s: key %v, error %v", name, key, err)
		}
	}
}

func TestKeysAtTheGroupsEnds(t *testing.T) {
	one, err := NewPrivateKey(number(new(big.Int), 1))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "1·G", one.PublicKey().Bytes(), unhex(t, "02"+generatorX))
	last, err := NewPrivateKey(number(groupOrder, -1))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "(n-1)·G", last.PublicKey().Bytes(), unhex(t, "03"+generatorX))
	if one.PublicKey().Equal(last.PublicKey()) {
		t.Error("a point equals its negation")
	}
}

func TestNewPublicKey(t *testing.T) {
	p := hex.EncodeToString(fieldPrime.Bytes())
	// 1 + p < 2^256 is the x-coordinate 1, which is on the curve, written too large.
	onePlusP := hex.EncodeToString(number(fieldPrime, 1))
	one := hex.EncodeToString(number(new(big.Int), 1))
	zero := strings.Repeat("00", 32)
	for name, c := range map[string]struct {
		in string
		ok bool
	}{
		"compressed even":            {"02" + generatorX, true},
		"compressed odd":             {"03" + generatorX, true},
		"uncompressed":               {"04" + generatorX + generatorY, true},
		"x = 1":                      {"02" + one, true},
		"x = 1 + p":                  {"02" + onePlusP, false},
		"x = p":                      {"02" + p, false},
		"x = 0, no point":            {"02" + zero, false},
		"x = 5, no point":            {"02" + hex.EncodeToString(number(new(big.Int), 5)), false},
		"(0, 0)":                     {"04" + zero + zero, false},
		"y of another point":         {"04" + generatorX + one, false},
		"y = p":                      {"04" + generatorX + p, false},
		"hybrid even":                {"06" + generatorX + generatorY, false},
		"hybrid odd":                 {"07" + generatorX + generatorY, false},
		"x alone":                    {generatorX, false},
		"compressed with prefix 04":  {"04" + generatorX, false},
		"compressed with prefix 00":  {"00" + generatorX, false},
		"uncompressed, prefix 02":    {"02" + generatorX + generatorY, false},
		"uncompressed, no prefix":    {generatorX + generatorY, false},
		"uncompressed, one too many": {"04" + generatorX + generatorY + "00", false},
		"compressed, one too few":    {"02" + generatorX[:62], false},
		"identity":                   {"00", false},
		"identity, 33 bytes":         {"00" + zero, false},
		"identity, 65 bytes":         {"00" + zero + zero, false},
		"nothing":                    {"", false},
	} {
		key, err := NewPublicKey(unhex(t, c.in))
		switch {
		case c.ok && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.ok && len(c.in) == 2*compressedSize:
			equal(t, name, key.Bytes(), unhex(t, c.in))
		case c.ok:
			equal(t, name, key.encoded[:], unhex(t, c.in))
		case !errors.Is(err, ErrPublicKey) || key != nil:
			t.Errorf("%s: key %v, error %v", name, key, err)
		}
	}
}

// No encoding that NewPublicKey reads is the identity's, and no scalar in range
// gives it; should either change, the last check holds.
func TestIdentityIsNoPublicKey(t *testing.T) {
	if key, err := newPublicKey(secp256k1.NewIdentityPoint()); !errors.Is(err, ErrPublicKey) || key != nil {
		t.Errorf("key %v, error %v", key, err)
	}
}

func TestPublicKeyEqual(t *testing.T) {
	a, b := newKey(t).PublicKey(), newKey(t).PublicKey()
	compressed, err := NewPublicKey(a.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	uncompressed, err := NewPublicKey(a.encoded[:])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		x, y *PublicKey
		want bool
	}{{a, a, true}, {a, compressed, true}, {compressed, uncompressed, true}, {a, b, false}, {a, nil, false}, {a, &PublicKey{}, false}} {
		if c.x.Equal(c.y) != c.want {
			t.Errorf("Equal(%v, %v) is not %v", c.x, c.y, c.want)
		}
	}
}

func TestDeriveKeyPair(t *testing.T) {
	for n := range privateKeySize {
		key, err := DeriveKeyPair(make([]byte, n))
		if !errors.Is(err, ErrPrivateKey) || key != nil {
			t.Errorf("%d bytes: key %v, error %v", n, key, err)
		}
	}
	ikm := bytes.Repeat([]byte{7}, 64)
	long, err := DeriveKeyPair(ikm)
	if err != nil {
		t.Fatal(err)
	}
	short, err := DeriveKeyPair(ikm[:32])
	if err != nil {
		t.Fatal(err)
	}
	if long.PublicKey().Equal(short.PublicKey()) {
		t.Error("only the first 32 bytes of the key material count")
	}
	equal(t, "key material", ikm, bytes.Repeat([]byte{7}, 64))
}

func TestGenerateKey(t *testing.T) {
	ikm := bytes.Repeat([]byte{7}, 32)
	derived, err := DeriveKeyPair(ikm)
	if err != nil {
		t.Fatal(err)
	}
	source := bytes.NewReader(append(bytes.Clone(ikm), 8))
	generated, err := GenerateKey(source)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "generated key", generated.Bytes(), derived.Bytes())
	if source.Len() != 1 {
		t.Errorf("%d bytes are left instead of 1", source.Len())
	}
	key, err := GenerateKey(bytes.NewReader(ikm[:31]))
	if !errors.Is(err, io.ErrUnexpectedEOF) || key != nil {
		t.Errorf("31 bytes: key %v, error %v", key, err)
	}
}

func TestKeyCopiesItsBytes(t *testing.T) {
	in := number(new(big.Int), 1234)
	key, err := NewPrivateKey(in)
	if err != nil {
		t.Fatal(err)
	}
	clear(in)
	clear(key.Bytes())
	clear(key.PublicKey().Bytes())
	equal(t, "private key", key.Bytes(), number(new(big.Int), 1234))
	again, err := NewPrivateKey(key.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "public key", key.PublicKey().Bytes(), again.PublicKey().Bytes())
}

func TestErase(t *testing.T) {
	key := newKey(t)
	duplicate := *key
	public := key.PublicKey()
	sealed := seal(t, public, nil, nil, []byte("plaintext"))
	key.Erase()
	for name, k := range map[string]*PrivateKey{"key": key, "copy": &duplicate} {
		equal(t, name, k.Bytes(), make([]byte, 32))
		refused(t, name, k, nil, nil, sealed)
		if !k.PublicKey().Equal(public) {
			t.Errorf("%s: another public key", name)
		}
	}
	if _, err := diffieHellman(key, public); !errors.Is(err, ErrPrivateKey) {
		t.Errorf("Diffie-Hellman with 0: error %v instead of ErrPrivateKey", err)
	}
	new(PrivateKey).Erase()
}

// A private key shows nothing of itself: neither its bytes, in any notation, nor
// those of the structs that hold it.
func TestPrivateKeyIsSilent(t *testing.T) {
	key := newKey(t)
	holder := struct {
		Pointer *PrivateKey
		Value   PrivateKey
	}{key, *key}
	var shown []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		shown = append(shown, fmt.Sprintf(verb, key), fmt.Sprintf(verb, *key), fmt.Sprintf(verb, holder.Value))
	}
	shown = append(shown, key.String(), key.GoString(), fmt.Sprint(key), fmt.Errorf("%w: %v", io.EOF, key).Error()[len("EOF: "):])
	text, err := key.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	shown = append(shown, string(text), key.LogValue().String())
	for _, s := range shown {
		if s != "[secret]" {
			t.Errorf("a private key shows as %q", s)
		}
	}
	encoded, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"Pointer":"[secret]","Value":"[secret]"}`; string(encoded) != want {
		t.Errorf("JSON is %s instead of %s", encoded, want)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("made", "key", key, "value", *key)
	slog.New(slog.NewTextHandler(&log, nil)).Info("made", "key", key, "value", *key)
	if n := strings.Count(log.String(), "[secret]"); n != 4 {
		t.Errorf("the log says [secret] %d times instead of 4: %s", n, log.String())
	}
}

func TestErrorsHoldNoKey(t *testing.T) {
	in := bytes.Repeat([]byte{0xff}, 32)
	if _, err := NewPrivateKey(in); strings.Contains(err.Error(), "ff") || strings.Contains(err.Error(), "255") {
		t.Errorf("the error shows the key: %v", err)
	}
	secret := make([]byte, 31)
	rand.Read(secret)
	if _, err := DeriveKeyPair(secret); strings.Contains(err.Error(), hex.EncodeToString(secret)) {
		t.Errorf("the error shows the key material: %v", err)
	}
}
