// Package ledger decides what may stand in an account's ledger.
//
// A ledger is a chain of signed entries; each [Entry] is one transaction of one
// or more records. [ParseEntry] reads an entry from its exact bytes, and a
// [Draft] makes one. The state of an account is a pure fold over its ledger:
// [Fold] starts it, and [State.Apply] is the one function that decides whether
// an entry may follow. Server and devices run the same function. It needs no
// key that decrypts: what is sealed in a record stays closed, and whether it
// opens to what it ought to is for those who can open it.
//
// What may not follow is refused with a [*RuleError] that names a [Rule]. What
// this program is too old to judge is refused with [ErrNewer].
//
// The package also has the signed statements that stand beside a ledger and
// refer to it: attestations of a head, recovery requests and their approvals,
// and the server's activity log.
//
// # Time
//
// An entry's time is never earlier than its predecessor's, and every rule about
// time compares entries' times alone. That a time is the true one is the
// server's to check, which refuses an entry that is off by more than two
// minutes; so the rules about time hold against a thief and not against the
// server.
//
// # What is handed out
//
// Messages, devices, epochs and slots that a State or an Entry hands out are
// shared with it. Do not change them. The State does not change them either:
// what was handed out shows the state as it was then.
package ledger

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"zeropass.dev/zeropass/signing"
)

// Sizes in bytes.
const (
	// MaxEntrySize is the greatest size of a signed entry.
	MaxEntrySize = 32 << 20

	hashSize   = 32
	idSize     = 16 // slots and nonces
	maxURL     = 2048
	masterSize = 78 // BIP32's serialization of an extended key
)

// Limits of numbers.
const (
	maxQuorum  = 16
	maxWaiting = 365 * 24 * 60 * 60 // seconds
	maxIndex   = 1<<31 - 1          // BIP32: the greatest index of a child that is not hardened
	maxTime    = 253402300799999    // milliseconds: the end of the year 9999
)

// Hash is a SHA-256 of a [signing.Context].
type Hash [32]byte

// String returns the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// AccountID names an account: it is the hash of its ledger's first entry.
type AccountID [32]byte

// String returns the id in hexadecimal.
func (a AccountID) String() string { return hex.EncodeToString(a[:]) }

// ParseAccountID reads what [AccountID.String] wrote: 64 hexadecimal digits.
func ParseAccountID(s string) (AccountID, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != hashSize {
		return AccountID{}, errors.New("ledger: an account id has 64 hexadecimal digits")
	}
	return AccountID(b), nil
}

// SlotID names a slot. It is random.
type SlotID [16]byte

// String returns the id in hexadecimal.
func (id SlotID) String() string { return hex.EncodeToString(id[:]) }

func (id SlotID) compare(other SlotID) int { return bytes.Compare(id[:], other[:]) }

// Head names a ledger's newest entry, and by it all entries up to it. The zero
// Head is that of a ledger without entries.
type Head struct {
	Sequence uint64
	Hash     Hash
}

// String returns the sequence number and the first 8 digits of the hash.
func (h Head) String() string { return fmt.Sprintf("%d (%x)", h.Sequence, h.Hash[:4]) }

// Event is when something happened, by the ledger's count and by its time.
type Event struct {
	Sequence uint64
	Time     time.Time
}

func hashOf(c *signing.Context) Hash { return Hash(c.Hash()) }

// timeOf returns the time of milliseconds since 1970 as records hold them.
func timeOf(milliseconds uint64) time.Time { return time.UnixMilli(int64(milliseconds)).UTC() }
