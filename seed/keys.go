package seed

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"io"
	"log/slog"
	"math"

	"zeropass.dev/zeropass/bip32"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/signing"
)

// The two steps below the master key.
const (
	rootIndex   = bip32.Hardened + 0
	branchIndex = bip32.Hardened + 1
)

// accountDevice is the device number of what belongs to the whole account: the
// keys m/1'/0/generation.
const accountDevice = 0

// Keys are the private keys of an epoch. Erase them after use.
type Keys struct {
	root   *signing.PrivateKey
	branch func() *bip32.PrivateKey // m/1', hidden as in Seed
}

// Keys derives the keys of the epoch. It returns [ErrErased], or an error that
// wraps [ErrStartOver].
func (s *Seed) Keys() (*Keys, error) {
	if s.erased() {
		return nil, ErrErased
	}
	hash := sha512.Sum512(s.secret().bytes[:])
	defer clear(hash[:])
	return newKeys(hash[:])
}

// newKeys derives the keys below private key ‖ chain code.
func newKeys(master []byte) (*Keys, error) {
	m, err := bip32.NewMaster(master)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStartOver, err)
	}
	defer m.Erase()
	root, err := m.Child(rootIndex)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStartOver, err)
	}
	defer root.Erase()
	rootBytes := root.Bytes()
	defer clear(rootBytes)
	signer, err := signing.NewPrivateKey(rootBytes)
	if err != nil {
		return nil, fmt.Errorf("seed: root key: %w", err)
	}
	branch, err := m.Child(branchIndex)
	if err != nil {
		signer.Erase()
		return nil, fmt.Errorf("%w: %w", ErrStartOver, err)
	}
	return &Keys{root: signer, branch: func() *bip32.PrivateKey { return branch }}, nil
}

// Root returns the root key m/0'. It is erased together with k.
func (k *Keys) Root() *signing.PrivateKey { return k.root }

// Master returns the epoch's master public key.
func (k *Keys) Master() *MasterPublicKey {
	return &MasterPublicKey{branch: k.branch().Public()}
}

// SlotKey returns the private key m/1'/device/counter, which opens one backup
// share; with device 0, m/1'/0/generation, which opens the backup of that
// generation's metadata key. The caller erases it.
//
// It returns an error that wraps [ErrInput] for a counter of 0 and for numbers
// from 2^31, bip32.ErrInvalidKey if there is no such key, which happens once in
// 2^127 counters (the next one then takes its place), and bip32.ErrErased.
func (k *Keys) SlotKey(device, counter uint64) (*hpke.PrivateKey, error) {
	path, err := slotPath(device, counter)
	if err != nil {
		return nil, err
	}
	child, err := k.branch().Derive(path...)
	if err != nil {
		return nil, fmt.Errorf("seed: slot key %d of device %d: %w", counter, device, err)
	}
	defer child.Erase()
	b := child.Bytes()
	defer clear(b)
	return hpke.NewPrivateKey(b)
}

// Erase erases all private keys, the one that Root returned included.
func (k *Keys) Erase() {
	k.root.Erase()
	k.branch().Erase()
}

// slotPath returns the path below m/1'.
func slotPath(device, counter uint64) ([]uint32, error) {
	if device > math.MaxInt32 || counter == 0 || counter > math.MaxInt32 {
		return nil, fmt.Errorf("%w: device %d and counter %d, want 0 and 1 to 2^31-1", ErrInput, device, counter)
	}
	return []uint32{uint32(device), uint32(counter)}, nil
}

// String returns "[secret]".
func (k Keys) String() string { return redacted }

// GoString returns "[secret]".
func (k Keys) GoString() string { return redacted }

// Format writes "[secret]" for every verb.
func (k Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[secret]".
func (k Keys) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]".
func (k Keys) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[secret]" in quotes.
func (k Keys) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MasterPublicKey is the extended public key of the backup branch m/1'. It is
// enough to back up and opens nothing, but it is confidential: it links all slot
// keys, and beside one slot's private key it gives those of the whole epoch.
type MasterPublicKey struct {
	branch *bip32.PublicKey
}

// ParseMasterPublicKey reads the 78 bytes of [MasterPublicKey.Bytes]. It returns
// bip32's errors, and one that wraps [ErrInput] for an extended key that does
// not stand at m/1'.
func ParseMasterPublicKey(b []byte) (*MasterPublicKey, error) {
	branch, err := bip32.ParseSerializedPublic(b)
	if err != nil {
		return nil, fmt.Errorf("seed: master public key: %w", err)
	}
	if branch.Depth() != 1 || branch.ChildNumber() != branchIndex {
		return nil, fmt.Errorf("%w: an extended key that is no master public key, which stands at m/1'", ErrInput)
	}
	return &MasterPublicKey{branch: branch}, nil
}

// Bytes returns BIP32's serialization, 78 bytes.
func (m *MasterPublicKey) Bytes() []byte { return m.branch.Serialize() }

// Equal says whether both are the same key.
func (m *MasterPublicKey) Equal(other *MasterPublicKey) bool {
	return other != nil && m.branch.Equal(other.branch)
}

// SlotKey returns the public key of [Keys.SlotKey]. Its errors are the same but
// for bip32.ErrErased.
func (m *MasterPublicKey) SlotKey(device, counter uint64) (*hpke.PublicKey, error) {
	path, err := slotPath(device, counter)
	if err != nil {
		return nil, err
	}
	child, err := m.branch.Derive(path...)
	if err != nil {
		return nil, fmt.Errorf("seed: slot key %d of device %d: %w", counter, device, err)
	}
	return hpke.NewPublicKey(child.Bytes())
}

// CheckSlotKey says whether public, 33 bytes, is the slot key m/1'/device/counter.
// If not, what was sealed to it is not backed up. It returns [ErrSlotKey] or an
// error of [MasterPublicKey.SlotKey].
func (m *MasterPublicKey) CheckSlotKey(device, counter uint64, public []byte) error {
	want, err := m.SlotKey(device, counter)
	if err != nil {
		return err
	}
	if !bytes.Equal(want.Bytes(), public) {
		return fmt.Errorf("%w: device %d, counter %d", ErrSlotKey, device, counter)
	}
	return nil
}

const masterName = "[master public key]"

// String returns "[master public key]". The chain code stays out of logs.
func (m MasterPublicKey) String() string { return masterName }

// Format writes "[master public key]" for every verb.
func (m MasterPublicKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, masterName) }

// LogValue returns "[master public key]".
func (m MasterPublicKey) LogValue() slog.Value { return slog.StringValue(masterName) }
