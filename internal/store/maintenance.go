package store

import (
	"context"
	"errors"
	"io"
	"time"

	"zeropass.dev/zeropass/ledger"
)

// Errors of [Maintenance].
var (
	// ErrNotEmpty: a store takes a copy only while it has nothing itself.
	ErrNotEmpty = errors.New("store: there are data already")
	// ErrNoData: it has no schema, so no server has ever used it.
	ErrNoData = errors.New("store: there are no data of a server")
	// ErrOlderSchema: the data were written by an older program, and nobody has
	// brought them up to date.
	ErrOlderSchema = errors.New("store: the data were written by an older program")
	// ErrCopy: what should be a copy of a store is none, or is damaged.
	ErrCopy = errors.New("store: not a whole copy of a store")
)

// Usage is what an account takes.
type Usage struct {
	EntryBytes int64 // of its ledger
	Shares     int64
	ShareBytes int64
	Activities int64
	Waiting    int64 // messages in its inbox
	Recoveries int64 // requests to recover it
}

// EncryptedKind says what is encrypted.
type EncryptedKind int

// Everything that a store has under a key.
const (
	EncryptedShare         EncryptedKind = iota + 1
	EncryptedRequest                     // that waits for another device
	EncryptedAlarmSettings               // the secret of a webhook
	EncryptedDelivery                    // a copy of it, with an alarm that waits
)

// Encrypted is one thing that stands encrypted under a key.
type Encrypted struct {
	Kind     EncryptedKind
	Account  ledger.AccountID
	Share    ledger.ShareID // of EncryptedShare
	Request  ledger.Hash    // of EncryptedRequest
	Delivery uint64         // of EncryptedDelivery
	Key      string         // id of the key
	Sealed   []byte
}

// Reencryption is the same thing under another key.
type Reencryption struct {
	Encrypted // as it stands
	NewKey    string
	NewSealed []byte
}

// Copy says what a copy of a store has in it.
type Copy struct {
	Keys     []byte // as claimed, nil if no server did
	Accounts int64
}

// Maintenance is what the operator's commands need, some of them while servers run.
type Maintenance interface {
	// Owner returns the keys that were claimed, nil where none were.
	Owner(ctx context.Context) ([]byte, error)

	// Accounts returns accounts in the order of their ids, at most so many, that
	// come after one.
	Accounts(ctx context.Context, after ledger.AccountID, most int) ([]Account, error)
	// Usage returns zeros for an account that there is not.
	Usage(ctx context.Context, id ledger.AccountID) (Usage, error)

	// Lock makes servers refuse everything that concerns the account, Unlock lets
	// them go on. Both return ErrNotFound.
	Lock(ctx context.Context, id ledger.AccountID, at time.Time) error
	Unlock(ctx context.Context, id ledger.AccountID) error
	// Remove destroys everything of the account, and all messages from it. Its id
	// stays, so that its devices cannot create it again. It returns ErrNotFound.
	Remove(ctx context.Context, id ledger.AccountID, at time.Time) error
	Removed(ctx context.Context, id ledger.AccountID) (bool, error)
	// BeginAgain lets a recovery wait as if it had been started then, unless it was
	// started later. It returns ErrNotFound.
	BeginAgain(ctx context.Context, recovery ledger.Hash, then time.Time) error

	// Encrypted returns what an account has under other keys than this one, at most
	// so many of each kind.
	Encrypted(ctx context.Context, id ledger.AccountID, except string, most int) ([]Encrypted, error)
	// EncryptedBeside returns everything of an account that is encrypted beside its
	// shares, under any key.
	EncryptedBeside(ctx context.Context, id ledger.AccountID) ([]Encrypted, error)
	// Reencrypt puts things of one account under other keys, and returns how many:
	// what was changed or destroyed meanwhile stays as it is.
	Reencrypt(ctx context.Context, id ledger.AccountID, things []Reencryption) (int, error)
	// KeyUse returns how many things stand under each key.
	KeyUse(ctx context.Context) (map[string]int64, error)

	// View gives f the data as they are at one moment, to read, while others write.
	View(ctx context.Context, f func(context.Context, Maintained) error) error
	// Export writes one state of everything, however long that takes, while others
	// write. begin is called before the first byte.
	Export(ctx context.Context, w io.Writer, begin func(Copy) error) error
	// Import fills an empty store from a copy, in one transaction. check sees the
	// store as it would be, and can change or refuse it. It returns ErrNotEmpty or
	// ErrCopy.
	Import(ctx context.Context, r io.Reader, check func(context.Context, Maintained) error) error
}

// Maintained is a store that an operator's commands work on.
type Maintained interface {
	Store
	Maintenance
}
