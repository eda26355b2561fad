package store

import (
	"context"
	"errors"
	"time"

	"zeropass.dev/zeropass/ledger"
)

// Why a kept request takes no reply any more.
var (
	ErrKeptUsed    = errors.New("store: the request was answered")
	ErrKeptRefused = errors.New("store: a device has refused the request")
	ErrKeptExpired = errors.New("store: the request has expired")
	ErrKeptReplied = errors.New("store: the device has replied before")
)

// KeptState says what became of a kept request. One that waits and has expired
// waits for nothing any more.
type KeptState int

// States of a kept request; all but the first are final.
const (
	KeptWaiting KeptState = iota + 1
	KeptUsed
	KeptRefused
)

// Kept is a request that waits for the second factor of other devices.
type Kept struct {
	ID        ledger.Hash // hash of the request's header
	Account   ledger.AccountID
	Device    uint64 // that asks
	Adds      []byte // sign key of the device that it would add, or nil
	Key       string // id of the key that encrypts the request
	Request   []byte // exact bytes of the SignedRequest, encrypted, until the request is over
	Received  time.Time
	Expires   time.Time
	State     KeptState
	RefusedBy uint64 // device, 0 for the one that would be added
	Replies   []Reply
}

// Reply is a device's confirmation or endorsement.
type Reply struct {
	Device uint64 // 0 for the one that would be added
	Bytes  []byte
}

// Keeping makes a request wait.
type Keeping struct {
	Spend     Spend // its nonce is not spent yet
	Head      ledger.Head
	Kept      Kept
	Reveal    *RevealLimit // as in Answer
	PerDevice int          // how many may wait that one device asked
	PerAll    int          // how many may wait in the account
	Bytes     int          // how large they may be together
}

// Replying adds a device's reply to a kept request.
type Replying struct {
	Spend   Spend
	Account ledger.AccountID
	Head    ledger.Head
	ID      ledger.Hash
	Reply   Reply
	Refuse  bool // for good; the reply has no bytes
}

// Join is a device that asks to be added to an account.
type Join struct {
	ID       ledger.Hash
	Account  ledger.AccountID
	Key      []byte // its sign key
	Request  []byte // exact bytes
	Received time.Time
	Expires  time.Time
	Source   []byte // as in Recovery
}

// Joining asks to be added.
type Joining struct {
	Spend Spend
	Head  ledger.Head
	Join  Join
	Limit int // how many may ask at a time; one more takes the place of another
}

// keptTime is how long it is known what became of a request that waited.
const keptTime = 24 * time.Hour

// Forgotten returns when a request must have expired to be forgotten now.
func Forgotten(now time.Time) time.Time { return now.Add(-keptTime) }

// Waiting keeps what waits for devices of an account: requests for the second
// factor, and devices that ask to be added.
type Waiting interface {
	// Keep is idempotent for one request: it returns the request as it is kept
	// already, and counts nothing again. It returns ErrHeadMoved, ErrReplayed for a
	// spent nonce, ErrFull or a *LimitError.
	Keep(ctx context.Context, k Keeping) (Kept, error)
	// Kept returns ErrNotFound.
	Kept(ctx context.Context, id ledger.Hash) (Kept, error)
	// Waiting returns what waits in an account, the oldest first.
	Waiting(ctx context.Context, id ledger.AccountID, now time.Time) ([]Kept, error)
	// Reply returns ErrHeadMoved, ErrReplayed, ErrNotFound, or why the request
	// takes no reply.
	Reply(ctx context.Context, r Replying) error
	// EraseKept destroys the requests that have expired, of all accounts, and
	// forgets those that expired a day ago. It writes nothing where there are none.
	EraseKept(ctx context.Context, now time.Time) error

	// Join takes the place of what the same key asked before. At the limit it
	// forgets the oldest from the source that has most of them. It returns
	// ErrHeadMoved or ErrReplayed.
	Join(ctx context.Context, j Joining) error
	// Joins returns who asks to be added to an account, the oldest first.
	Joins(ctx context.Context, id ledger.AccountID, now time.Time) ([]Join, error)
}
