package home

import (
	"crypto/rand"
	"fmt"
	"io"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
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

// Keys are a device's keys. Its private keys print as [secret]. They are erased
// when the home is closed.
type Keys struct {
	Sign    *signing.PrivateKey
	Seal    *hpke.PrivateKey
	Confirm *signing.PublicKey // Home.ConfirmKey has the private one
	Account ledger.AccountID   // all zero until it is known
	Device  uint64             // number, 0 until it is known
}

func (k *Keys) erase() {
	k.Sign.Erase()
	k.Seal.Erase()
}

func (k *Keys) marshal() ([]byte, error) {
	m := &recordv1.HomeKeys{SignKey: k.Sign.Bytes(), SealKey: k.Seal.Bytes(), Device: k.Device}
	defer clear(m.SignKey)
	defer clear(m.SealKey)
	if k.Account != (ledger.AccountID{}) {
		m.Account = k.Account[:]
	}
	return canonical.Marshal(m)
}

func parseKeys(b, confirm []byte) (*Keys, error) {
	var m recordv1.HomeKeys
	if err := canonical.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	defer clear(m.SignKey)
	defer clear(m.SealKey)
	k := &Keys{Device: m.Device}
	if n := len(m.Account); n != 0 && n != len(k.Account) {
		return nil, fmt.Errorf("an account id of %d bytes", n)
	}
	copy(k.Account[:], m.Account)
	var err error
	if k.Confirm, err = signing.NewPublicKey(confirm); err != nil {
		return nil, err
	}
	if k.Sign, err = signing.NewPrivateKey(m.SignKey); err != nil {
		return nil, err
	}
	if k.Seal, err = hpke.NewPrivateKey(m.SealKey); err != nil {
		k.Sign.Erase()
		return nil, err
	}
	return k, nil
}

// sealKeys returns the file "keys".
func (s *deviceSecret) sealKeys(k *Keys) ([]byte, error) {
	b, err := k.marshal()
	if err != nil {
		return nil, fmt.Errorf("home: keys: %w", err)
	}
	defer clear(b)
	return s.seal(keysFile, b)
}
