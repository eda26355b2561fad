// Package seed makes, splits and restores the Private Master Seed of an epoch.
//
// [LocalHalf] and the server's half make a [Seed]; [Prepare] turns it into
// everything that starts an epoch and erases it. [Recover] brings it back from
// shares. [Seed.Keys] has the keys below it; [MasterPublicKey] is what devices
// keep of them. A [Generation] is the pair of symmetric keys that devices share.
//
// # Scheme
//
//	local  = HKDF-SHA256(random ‖ mouse movements), 32 bytes (see LocalHalf)
//	seed   = local ‖ server, 64 bytes
//	master = SHA-512(seed) = private key ‖ chain code, 32 bytes each
//
// From the master key BIP32 derives, with an apostrophe for hardened steps:
//
//	m/0'                     root key, signs the device list and recoveries
//	m/1'                     backup branch; its extended public key is the
//	                         master public key
//	m/1'/device/counter      slot key, devices and counters from 1
//	m/1'/0/generation        opens the backup of a generation's metadata key
//
// A device derives the public key of any slot from the master public key alone.
// It can open nothing with it. The hardened steps keep a leaked slot key, even
// beside the master public key, within the branch of its epoch.
//
// The seed is split by SLIP-39, with the extendable flag, iteration exponent 0
// and an empty passphrase, into groups any two of which give it back: group 0 is
// the server (1 of 1), group 1 the devices (1 of 1), group 2 the contacts (k of n,
// 2 ≤ k ≤ n ≤ 16, or 1 of 1), and group 3, where there is one, a printed sheet
// (1 of 1). With the sheet goes a random approval key that nothing else implies.
//
// # Erasing
//
// Every function erases the seed, private keys and shares that it makes on its
// way, also when it fails; [Prepare] erases the seed given to it. What is returned
// has a method Erase for the caller. Copies that hash functions, curve arithmetic
// and the Go runtime leave in memory are out of reach; callers who need that run
// under runtime/secret.
package seed

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Sizes in bytes.
const (
	Size     = 64 // of a seed
	HalfSize = 32 // of each half of it
)

// Errors of this package. They come wrapped with what they are about; test with
// errors.Is. None contains a byte of a secret.
var (
	// ErrStartOver: the seed has no master key, root key or backup branch.
	// Discard both halves and make new ones. It happens once in 2^125 seeds.
	ErrStartOver = errors.New("seed: this seed has no keys: start over with two new halves")

	// ErrErased: the seed or its keys were erased, or never made.
	ErrErased = errors.New("seed: erased")

	// ErrInput: something given is missing, out of range or of the wrong size.
	ErrInput = errors.New("seed: wrong input")

	// ErrSlotKey: a public key is not the one at its place below the master
	// public key.
	ErrSlotKey = errors.New("seed: not the slot key of this place")

	// ErrOpen: a ciphertext does not open with this key in this place.
	ErrOpen = errors.New("seed: does not open: wrong key, another place, or damaged")

	// ErrShare: a share is not the one that the epoch's record names.
	ErrShare = errors.New("seed: not the share of this place in the epoch")
)

// Seed is a Private Master Seed, 64 bytes. Make it with [New] or [Recover] and
// erase it as soon as it has been split. It is not safe for use beside Erase.
type Seed struct {
	// A function, because reflection does not look into it: fmt calls no methods
	// in unexported fields, and its error form for a bad verb follows pointers.
	secret func() *secret
}

type secret struct {
	bytes  [Size]byte
	erased bool
}

// New joins the device's and the server's half, 32 bytes each, which it copies.
// Another length is an error that wraps [ErrInput].
func New(local, server []byte) (*Seed, error) {
	if len(local) != HalfSize || len(server) != HalfSize {
		return nil, fmt.Errorf("%w: halves of %d and %d bytes, want %d each", ErrInput, len(local), len(server), HalfSize)
	}
	var s secret
	copy(s.bytes[:HalfSize], local)
	copy(s.bytes[HalfSize:], server)
	return &Seed{secret: func() *secret { return &s }}, nil
}

// Erase overwrites the seed with zeros. It is of no use afterwards.
func (s *Seed) Erase() {
	if s.erased() {
		return
	}
	hidden := s.secret()
	clear(hidden.bytes[:])
	hidden.erased = true
}

func (s *Seed) erased() bool { return s == nil || s.secret == nil || s.secret().erased }

// redacted stands wherever somebody prints, logs or marshals a secret of this
// package. The methods have value receivers, so that they hold for pointers too.
const redacted = "[secret]"

// String returns "[secret]".
func (s Seed) String() string { return redacted }

// GoString returns "[secret]".
func (s Seed) GoString() string { return redacted }

// Format writes "[secret]" for every verb.
func (s Seed) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[secret]".
func (s Seed) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]".
func (s Seed) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[secret]" in quotes.
func (s Seed) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
