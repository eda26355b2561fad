package aead

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"testing"

	"pgregory.net/rapid"

	"zeropass.dev/zeropass/signing"
)

// sequence returns n bytes that count up from first.
func sequence(first, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(first + i)
	}
	return b
}

func newKey(t testing.TB, b []byte) *Key {
	t.Helper()
	key, err := NewKey(b)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func testContext() *signing.Context {
	return signing.NewContext("share-key").Bytes(bytes.Repeat([]byte{0x11}, 32)).Uint(1).Uint(2)
}

// The ciphertext was computed by another implementation of AES-256-GCM.
func TestSealGolden(t *testing.T) {
	key := newKey(t, sequence(0, 32))
	nonce := sequence(100, 12)
	sealed, err := key.Seal(bytes.NewReader(nonce), testContext(), []byte("attack at dawn"))
	if err != nil {
		t.Fatal(err)
	}
	want := append(nonce, unhex(t, "296faa071a8276ff4a423b89ad0bda5617d90ef64a3d63b0a7cd57e00018")...)
	if !bytes.Equal(sealed, want) {
		t.Errorf("got  %x\nwant %x", sealed, want)
	}
	plaintext, err := key.Open(testContext(), want)
	if err != nil {
		t.Fatal(err)
	}
	if string(plaintext) != "attack at dawn" {
		t.Errorf("opens to %q", plaintext)
	}
}

// The key was computed by another implementation of RFC 5869.
func TestDeriveKey(t *testing.T) {
	key, err := DeriveKey(sequence(0, 32), testContext())
	if err != nil {
		t.Fatal(err)
	}
	if want := unhex(t, "2718044b2817c8d0004345ba34c3075a533c35153760dceaf9096c4a489f0db1"); !bytes.Equal(key.Bytes(), want) {
		t.Errorf("got %x, want %x", key.Bytes(), want)
	}
	other, err := DeriveKey(sequence(0, 32), testContext().Uint(3))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(other.Bytes(), key.Bytes()) {
		t.Error("another context derives the same key")
	}
	if key, err := DeriveKey(sequence(0, 15), testContext()); key != nil || err == nil {
		t.Errorf("a secret of 15 bytes: got %v, %v", key, err)
	}
}

func TestNewKey(t *testing.T) {
	for _, n := range []int{0, 16, 24, 31, 33, 64} {
		if key, err := NewKey(make([]byte, n)); key != nil || err == nil {
			t.Errorf("%d bytes: got %v, %v", n, key, err)
		}
	}
	b := sequence(0, KeySize)
	key := newKey(t, b)
	clear(b)
	clear(key.Bytes())
	if !bytes.Equal(key.Bytes(), sequence(0, KeySize)) {
		t.Error("the key shares its bytes with others")
	}
}

func TestGenerateKey(t *testing.T) {
	key, err := GenerateKey(bytes.NewReader(sequence(7, 40)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(key.Bytes(), sequence(7, 32)) {
		t.Errorf("got %x, want the first 32 bytes of the source", key.Bytes())
	}
	key, err = GenerateKey(bytes.NewReader(sequence(7, 31)))
	if key != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("31 bytes of randomness: got %v, %v", key, err)
	}
}

func TestSealWithoutRandomness(t *testing.T) {
	sealed, err := newKey(t, sequence(0, 32)).Seal(bytes.NewReader(sequence(0, 11)), testContext(), nil)
	if sealed != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %x, %v", sealed, err)
	}
}

func TestRoundTrip(t *testing.T) {
	key := newKey(t, sequence(0, 32))
	rapid.Check(t, func(t *rapid.T) {
		plaintext := rapid.SliceOf(rapid.Byte()).Draw(t, "plaintext")
		part := rapid.SliceOf(rapid.Byte()).Draw(t, "part")
		sealed, err := key.Seal(rand.Reader, signing.NewContext("test").Bytes(part), plaintext)
		if err != nil {
			t.Fatal(err)
		}
		if len(sealed) != Overhead+len(plaintext) {
			t.Fatalf("%d bytes are sealed into %d", len(plaintext), len(sealed))
		}
		opened, err := key.Open(signing.NewContext("test").Bytes(part), sealed)
		if err != nil || opened == nil || !bytes.Equal(opened, plaintext) {
			t.Fatalf("%x opens to %x, %v", plaintext, opened, err)
		}
	})
}

func TestNoncesDiffer(t *testing.T) {
	key := newKey(t, sequence(0, 32))
	seen := map[string]bool{}
	for range 100 {
		sealed, err := key.Seal(rand.Reader, testContext(), nil)
		if err != nil {
			t.Fatal(err)
		}
		nonce := string(sealed[:nonceSize])
		if seen[nonce] {
			t.Fatalf("nonce %x twice", nonce)
		}
		seen[nonce] = true
	}
}

func TestOpenRefuses(t *testing.T) {
	key := newKey(t, sequence(0, 32))
	sealed, err := key.Seal(rand.Reader, testContext(), []byte("attack"))
	if err != nil {
		t.Fatal(err)
	}
	refused := func(name string, k *Key, c *signing.Context, sealed []byte) {
		t.Helper()
		plaintext, err := k.Open(c, sealed)
		if plaintext != nil || err != ErrOpen {
			t.Errorf("%s: got %q, %v, want nil and ErrOpen itself", name, plaintext, err)
		}
	}
	refused("another key", newKey(t, sequence(1, 32)), testContext(), sealed)
	refused("another part", key, testContext().Uint(1), sealed)
	refused("another kind", key, signing.NewContext("test"), sealed)
	refused("one byte more", key, testContext(), append(bytes.Clone(sealed), 0))
	for n := range len(sealed) {
		refused("truncated", key, testContext(), sealed[:n])
	}
	for bit := range 8 * len(sealed) {
		flipped := bytes.Clone(sealed)
		flipped[bit/8] ^= 1 << (bit % 8)
		refused("flipped bit", key, testContext(), flipped)
	}
}

func TestErase(t *testing.T) {
	key := newKey(t, bytes.Repeat([]byte{0xab}, 32))
	held := key.secret()
	key.Erase()
	key.Erase()
	if held.bytes != [KeySize]byte{} {
		t.Error("the key's bytes are still in memory")
	}
	for name, use := range map[string]func(){
		"Bytes": func() { key.Bytes() },
		"Seal":  func() { _, _ = key.Seal(rand.Reader, testContext(), nil) },
		"Open":  func() { _, _ = key.Open(testContext(), make([]byte, Overhead)) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s of an erased key does not panic", name)
				}
			}()
			use()
		}()
	}
}

func FuzzOpen(f *testing.F) {
	key := newKey(f, sequence(0, 32))
	sealed, err := key.Seal(bytes.NewReader(sequence(0, 12)), testContext(), []byte("attack"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:Overhead])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		plaintext, err := key.Open(testContext(), b)
		if bytes.Equal(b, sealed) {
			if err != nil {
				t.Error(err)
			}
		} else if plaintext != nil || err != ErrOpen {
			t.Errorf("%x opens to %x, %v", b, plaintext, err)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	key := newKey(b, sequence(0, 32))
	c, plaintext := testContext(), make([]byte, 256)
	b.SetBytes(256)
	for b.Loop() {
		if _, err := key.Seal(rand.Reader, c, plaintext); err != nil {
			b.Fatal(err)
		}
	}
}
