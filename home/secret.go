package home

import (
	"crypto/rand"
	"fmt"
	"io"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// deviceSecret is what everything sealed in the directory hangs from.
type deviceSecret struct {
	bytes [secretSize]byte
}

// redacted stands wherever somebody prints, logs or marshals a secret of this
// package.
const redacted = "[secret]"

// Format writes "[secret]" for every verb.
func (deviceSecret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// context is what the files at a path are sealed under and bound to.
func fileContext(path string) *signing.Context {
	return signing.NewContext("home").Text(path)
}

// seal seals what goes into the file at a path.
func (s *deviceSecret) seal(path string, plaintext []byte) ([]byte, error) {
	key, err := aead.DeriveKey(s.bytes[:], fileContext(path))
	if err != nil {
		return nil, err
	}
	defer key.Erase()
	return key.Seal(rand.Reader, fileContext(path), plaintext)
}

// open opens what stands in the file at a path.
func (s *deviceSecret) open(path string, sealed []byte) ([]byte, error) {
	key, err := aead.DeriveKey(s.bytes[:], fileContext(path))
	if err != nil {
		return nil, err
	}
	defer key.Erase()
	plaintext, err := key.Open(fileContext(path), sealed)
	if err != nil {
		return nil, &DamageError{File: path, Reason: "it does not open with this home's passphrase"}
	}
	return plaintext, nil
}

// Keys are a device's keys. Their private keys print as [secret], or are in
// another process. They end with the home that they are from.
type Keys struct {
	Sign    signing.Signer
	Seal    hpke.Opener
	Confirm *signing.PublicKey // Home.ConfirmKey has the private one
	Account ledger.AccountID   // all zero until it is known
	Device  uint64             // number, 0 until it is known
}
