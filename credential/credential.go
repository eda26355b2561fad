// Package credential splits a stored secret into shares of which any two give
// it back, seals each share to the party that keeps it, and puts a secret
// together again with proof that it is the right one.
//
// [NewPut] makes everything that one version of a slot needs; [OpenMetadata]
// reads what an unlocked device shows; [OpenDeviceShare], [OpenServerShare]
// and [OpenBackupShare] open the sealed shares; [OpenSecret] combines two or
// three of them. [NewWaiting] does the same for a contact's share that waits
// for its contact. [Map] does any of this for many slots on all cores.
// [Split] and [Combine] are the scheme by itself, for bytes.
//
// # Scheme
//
// A record of any length is padded ([Pad]), so that its length shows only in
// steps. With k a random key of 32 bytes,
//
//	secret = k ‖ padded record
//	tag    = HMAC-SHA256(k, context ‖ padded record)
//
// and secret is split 2 of 3 by package shamir: x = 1 is the device's share,
// x = 2 the server's, x = 3 the backup. A share is y ‖ x, as many bytes as
// secret and one more. The tag and the SHA-256 of each share are public.
//
// context is the encoding of a [signing.Sealing] with the role "tag" and no
// recipient. It names the account, epoch, slot, version and device of the
// split. Its kind ends with a zero byte, it has the same eight parts each time,
// and each part is preceded by its length, so that no such encoding is the
// beginning of another: context ‖ padded record can be read in one way only.
//
// # What it promises
//
// One share says nothing about the record but its padded length, whatever the
// computing power of its holder. Tag and hashes say nothing either, to whoever
// holds at most one share: each is a function of k or of a share's y bytes over
// k, 32 bytes that nobody has who has one share, so that not even a guess at
// the record can be tested against them.
//
// A record that [Combine] returns is the one that was split, in that place:
// nobody, whoever made the shares, can find two records for one tag. When
// combining fails, the hashes tell whose share is wrong.
//
// # Side channels
//
// Padding, splitting, combining and comparing take time that depends on lengths
// and x coordinates only. Reading the combined record as a message does not: it
// happens on the machine that is to show the secret.
//
// Keys, records and shares that the functions make for themselves are erased.
// Results belong to the caller, who erases byte slices with the builtin clear.
// Strings in messages cannot be erased.
package credential

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
)

// Party is one of the three that keep a share. Its number is the share's x
// coordinate.
type Party byte

// The parties of a split.
const (
	Device Party = 1
	Server Party = 2
	Backup Party = 3
)

// String returns "device", "server" or "backup".
func (p Party) String() string {
	switch p {
	case Device:
		return "device"
	case Server:
		return "server"
	case Backup:
		return "backup"
	default:
		return "party " + strconv.Itoa(int(p))
	}
}

func (p Party) valid() bool { return Device <= p && p <= Backup }

// Errors of this package. They come wrapped with what they are about; test with
// errors.Is. None contains a byte of a secret.
var (
	// ErrTag: the shares are those that the record names, but they do not make
	// the secret that its tag stands for in this place. The record was made
	// wrongly, or it was moved from another account, epoch, slot or version.
	ErrTag = errors.New("credential: shares do not make the secret that the record was made for")

	// ErrShares: the shares given are not two or three of different parties.
	ErrShares = errors.New("credential: not two or three shares of different parties")

	// ErrPadding: bytes are not what Pad returns.
	ErrPadding = errors.New("credential: wrong padding")

	// ErrInput: what is to be stored is incomplete or out of range.
	ErrInput = errors.New("credential: cannot be stored as asked")

	// ErrOpen: a ciphertext does not open with this key in this place.
	ErrOpen = errors.New("credential: does not open: wrong key, another place, or damaged")
)

// WrongShareError names the party whose share is not the one that the record
// names by its hash. Where several shares are wrong, [Combine] returns one
// WrongShareError for each, joined.
type WrongShareError struct{ Party Party }

func (e *WrongShareError) Error() string {
	return fmt.Sprintf("credential: the %s share is not the one that was made for this secret; ask for it again, or use the two other shares", e.Party)
}

// Shares is one split secret: three shares, and what is public about them. It is
// made by [Split]. Erase it after use.
type Shares struct {
	Tag    [32]byte
	Hashes [3][32]byte // SHA-256 of the device's, the server's and the backup share

	// A function, because reflection does not look into it: fmt calls no methods
	// in unexported fields, and its error form for a bad verb follows pointers.
	secret func() [][]byte
}

// Share returns a party's share, y ‖ x. It is not a copy: Erase zeroes it.
func (s *Shares) Share(p Party) []byte {
	if !p.valid() {
		return nil
	}
	return s.secret()[p-1]
}

// Hash returns the SHA-256 of a party's share.
func (s *Shares) Hash(p Party) []byte {
	if !p.valid() {
		return nil
	}
	return s.Hashes[p-1][:]
}

// Erase zeroes the shares.
func (s *Shares) Erase() {
	for _, share := range s.secret() {
		clear(share)
	}
}

// redacted stands wherever somebody prints, logs or marshals shares. The methods
// have value receivers, so that they hold for Shares and *Shares alike.
const redacted = "[secret]"

// String returns "[secret]".
func (s Shares) String() string { return redacted }

// GoString returns "[secret]".
func (s Shares) GoString() string { return redacted }

// Format writes "[secret]" for every verb.
func (s Shares) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[secret]".
func (s Shares) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]".
func (s Shares) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[secret]" in quotes.
func (s Shares) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
