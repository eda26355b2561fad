package seed

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"testing"

	"zeropass.dev/zeropass/hpke"
)

// fixed is a source of the same bytes at each run.
func fixed(seed byte) io.Reader { return mathrand.NewChaCha8([32]byte{seed}) }

// failing serves so many reads and then fails.
type failing struct {
	rand  io.Reader
	reads int
}

var errSource = errors.New("source of randomness is broken")

func (f *failing) Read(p []byte) (int, error) {
	if f.reads == 0 {
		return 0, errSource
	}
	f.reads--
	return f.rand.Read(p)
}

// counting counts reads.
type counting struct {
	rand  io.Reader
	reads int
}

func (c *counting) Read(p []byte) (int, error) {
	c.reads++
	return c.rand.Read(p)
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ascending returns the bytes from, from+1, …
func ascending(from, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(from + i)
	}
	return b
}

func privateKey(t testing.TB, fill byte) *hpke.PrivateKey {
	t.Helper()
	key, err := hpke.NewPrivateKey(bytes.Repeat([]byte{fill}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// The results were computed by another program.
func TestLocalHalf(t *testing.T) {
	for _, c := range []struct{ pool, want string }{
		{"", "62f01a18b45352639d04786ef6710f29023eadd39c4a206bb5eaa73a2e68a738"},
		{"mouse", "5c29889916134a4010ecca7f1b6ce2acdaa6401a7b4b1c98fbc242d78e8b22f6"},
	} {
		pool := []byte(c.pool)
		half, err := LocalHalf(bytes.NewReader(ascending(0, 64)), pool)
		if err != nil || !bytes.Equal(half, unhex(t, c.want)) {
			t.Errorf("pool %q: %x, %v, want %s", c.pool, half, err, c.want)
		}
		if string(pool) != c.pool {
			t.Errorf("pool became %q", pool)
		}
	}
}

// Random bytes and pool cannot stand in for each other.
func TestLocalHalfTakesBoth(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range []struct{ random, pool []byte }{
		{ascending(0, 64), nil},
		{ascending(0, 64), []byte{0}},
		{ascending(0, 64), []byte{0, 0}},
		{ascending(1, 64), nil},
		{ascending(0, 64), ascending(0, 64)},
		{make([]byte, 64), ascending(0, 64)},
	} {
		half, err := LocalHalf(bytes.NewReader(c.random), c.pool)
		if err != nil || len(half) != HalfSize || seen[string(half)] {
			t.Errorf("%x, %v", half, err)
		}
		seen[string(half)] = true
	}
}

func TestLocalHalfReportsRand(t *testing.T) {
	for n := range 64 {
		half, err := LocalHalf(bytes.NewReader(make([]byte, n)), ascending(0, 100))
		if half != nil || !(errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
			t.Errorf("%d random bytes: %x, %v", n, half, err)
		}
	}
}

func TestServerHalf(t *testing.T) {
	account, nonce, key := [32]byte{0xac}, [16]byte{0x17}, privateKey(t, 0x21)
	half := ascending(0, HalfSize)
	sealed, err := SealServerHalf(rand.Reader, account, nonce, 7, key.PublicKey(), half)
	if err != nil {
		t.Fatal(err)
	}
	got, err := OpenServerHalf(key, account, nonce, 7, sealed)
	if err != nil || !bytes.Equal(got, half) {
		t.Errorf("%x, %v", got, err)
	}

	for name, open := range map[string]func() ([]byte, error){
		"another key":     func() ([]byte, error) { return OpenServerHalf(privateKey(t, 0x22), account, nonce, 7, sealed) },
		"another account": func() ([]byte, error) { return OpenServerHalf(key, [32]byte{0xad}, nonce, 7, sealed) },
		"another nonce":   func() ([]byte, error) { return OpenServerHalf(key, account, [16]byte{0x18}, 7, sealed) },
		"another device":  func() ([]byte, error) { return OpenServerHalf(key, account, nonce, 8, sealed) },
		"nothing":         func() ([]byte, error) { return OpenServerHalf(key, account, nonce, 7, nil) },
		"a half too short": func() ([]byte, error) {
			short, err := hpke.Seal(rand.Reader, key.PublicKey(), halfContext(account, nonce, 7).Encode(), nil, half[1:])
			if err != nil {
				t.Fatal(err)
			}
			return OpenServerHalf(key, account, nonce, 7, short)
		},
	} {
		if got, err := open(); got != nil || !errors.Is(err, ErrOpen) {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}

	if sealed, err := SealServerHalf(rand.Reader, account, nonce, 7, key.PublicKey(), half[1:]); sealed != nil || !errors.Is(err, ErrInput) {
		t.Errorf("a half of 31 bytes: %x, %v", sealed, err)
	}
	if sealed, err := SealServerHalf(&failing{}, account, nonce, 7, key.PublicKey(), half); sealed != nil || !errors.Is(err, errSource) {
		t.Errorf("%x, %v", sealed, err)
	}
}
