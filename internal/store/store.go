// Package store is what a server keeps, as one interface of domain operations.
//
// Every operation that changes something is one transaction, durable before it
// returns nil. One that concerns an account's ledger names the head that it was
// decided on and is refused with [ErrHeadMoved] if another head stands by then
// (compare-and-swap), so that two servers over one database, or two requests to
// one, never decide on different ledgers. So it is if the operator has locked the
// account by then.
//
// A store knows no keys: shares come to it encrypted, everything else is public
// to the server or sealed by others. It checks no rule of the protocol but those
// that only a transaction can: names, heads, nonces, limits.
package store

import (
	"context"
	"errors"
	"time"

	"zeropass.dev/zeropass/ledger"
)

// Errors of a [Store]. Any other error is the database's, and then the operation
// has not happened, or, if it wraps [ErrFailed] or [ErrUnknown], nobody knows.
var (
	ErrNotFound      = errors.New("store: no such thing")
	ErrAccountExists = errors.New("store: the account exists")
	ErrNameTaken     = errors.New("store: another account has the name")
	ErrRemoved       = errors.New("store: the operator has deleted the account")
	ErrHeadMoved     = errors.New("store: the ledger has another head, or the account is locked")
	ErrReplayed      = errors.New("store: the nonce was spent before")
	ErrFull          = errors.New("store: a limit is reached")
	ErrOpen          = errors.New("store: the device has another open recovery")
	ErrOtherServer   = errors.New("store: the data belong to a server with other keys")
	ErrNewerSchema   = errors.New("store: the data were written by a newer program")
	// ErrFailed: the disk has lost what it was told to keep. What the database
	// believes now need not be what is on the disk, so the store answers nothing
	// more until the program starts again and recovers.
	ErrFailed = errors.New("store: the database failed, and is closed until the server starts again")
	// ErrUnknown: the connection to the database was lost while a transaction was
	// committed, and none came back in time to learn how it ended. What reads and
	// writes later finds out.
	ErrUnknown = errors.New("store: the database went away, and nobody knows whether the change was made")
)

// LimitError says that an account has used up its reveals.
type LimitError struct{ RetryAfter time.Duration }

func (e *LimitError) Error() string { return "store: the account has used up its reveals" }

// Spend is what a request that changes something brings along. Its nonce is spent once
// for its key and its time of expiry, which follows from the time that was signed.
type Spend struct {
	Key     []byte // sign key of who asks, 33 bytes
	Nonce   []byte // 16 bytes
	Expires time.Time
	Now     time.Time
	Log     *Log // nil for what is not logged
	Alarms  []Alarm
	Changes []Change // for followers; see [Store.Follow]
	Origin  *Origin  // nil where the country is not known or does not matter
}

// Log is what the activity log of an account gains.
type Log struct {
	Account ledger.AccountID
	Request []byte   // exact bytes
	Answer  [32]byte // hash
}

// Account is one account.
type Account struct {
	ID     ledger.AccountID
	Name   string
	Head   ledger.Head
	Locked time.Time // when the operator locked it; zero if it is not locked
	Paused time.Time // until when its ledger takes nothing but vetoes
	// Verified is what the server noted beside this head, zero if nothing; see [Append].
	// Whoever writes the database writes that, too: it proves nothing by being there.
	Verified [32]byte
}

// Creation makes an account.
type Creation struct {
	Spend   Spend
	Name    string
	NameKey string // what makes a name unique
	Genesis *ledger.Entry
	// Verified is noted beside the head, in the statement that sets it.
	Verified [32]byte
	Token    *[32]byte // hash of the token that registers it; nil where none is needed
}

// Append adds entries to a ledger, with everything that follows from them.
type Append struct {
	Spend    Spend
	Account  ledger.AccountID
	Head     ledger.Head // that stands before
	Entries  []*ledger.Entry
	Verified [32]byte         // is noted beside the head that stands after, in the statement that sets it
	Shares   []Share          // take the place of those with the same name
	Destroy  []ledger.ShareID // shares that are not needed any more
	Epochs   []uint64         // whose shares are kept; those of all others are destroyed
	Messages []Message        // to accounts, written by the server
	Contacts []ledger.AccountID
	Resume   bool // the account is paused no longer
}

// Share is one server share, encrypted.
type Share struct {
	ledger.ShareID
	Key      string // id of the key that encrypts it
	Sealed   []byte
	Position uint64 // grows with every share that the account gains; the store counts
}

// Answer is an answer that is about to be given, to be logged before.
type Answer struct {
	Spend    Spend
	Account  ledger.AccountID
	Head     ledger.Head
	Reveal   *RevealLimit   // counts one reveal, refused by a *LimitError
	Released *ledger.Hash   // marks this recovery's seed share as released
	Alarms   *AlarmSettings // take the place of the account's
	Kept     *ledger.Hash   // marks this kept request as used; ErrReplayed if it does not wait any more
}

// RevealLimit is how many reveals an account may make. What one device has used
// up it takes from no other.
type RevealLimit struct {
	PerHour, PerDay             uint64
	Device                      uint64 // that asks, from 1 on
	DevicePerHour, DevicePerDay uint64 // failed ones count too; 0 for the account's limits alone
	Failed                      bool   // counts against the device alone
}

// Message is relayed from account to account.
type Message struct {
	ID       uint64            // the store counts
	From     *ledger.AccountID // nil for the server
	FromName string            // the store fills it in
	To       ledger.AccountID
	Kind     int32
	Topic    string // of the kind; what a newer message replaces
	Body     []byte
	Time     time.Time
}

// Sending gives a message to its recipient.
type Sending struct {
	Spend   Spend
	Message Message
	Replace bool // what the sender sent before of this kind and topic to this recipient goes
	PerPair int  // how many messages of this kind may wait between both
	PerBox  int  // how many messages may wait for the recipient
}

// Acknowledgement takes messages out of one device's inbox.
type Acknowledgement struct {
	Spend   Spend
	Account ledger.AccountID
	Device  uint64
	Active  []uint64 // devices that must all acknowledge before a message goes
	IDs     []uint64
}

// Attestation is the newest one that a device left.
type Attestation struct {
	Spend    Spend
	Account  ledger.AccountID
	Device   uint64
	Sequence uint64
	Bytes    []byte // exact bytes
}

// Recovery is one request to recover an account.
type Recovery struct {
	ID       ledger.Hash
	Account  ledger.AccountID
	Request  []byte // exact bytes
	Key      []byte // the new device's sign key
	Started  time.Time
	Sequence uint64 // of the head at its start: a recovery in a later entry ends it
	Source   []byte // stands for the network that it came from
	Released bool
}

// Start asks for a recovery.
type Start struct {
	Spend    Spend
	Head     ledger.Head
	Recovery Recovery
	Over     []ledger.Hash // requests that have ended: they free their device and count no more
	Limit    int           // how many may be open for the account; one more takes the place of another
	Stale    time.Time     // what started earlier and has no approval is forgotten
}

// Approval is one holder's approval of a recovery, with its share.
type Approval struct {
	Spend       Spend
	Account     ledger.AccountID
	Head        ledger.Head
	Recovery    ledger.Hash
	Holder      string // takes the place of the same holder's earlier one
	Approval    []byte // exact bytes
	SealedShare []byte
}

// Activity is the end of an account's activity log.
type Activity struct {
	Sequence uint64
	Hash     ledger.Hash
}

// Store keeps what a server must not lose. It is safe for concurrent use. Its
// methods return when what they did is durable.
type Store interface {
	// Claim remembers a server's keys the first time, and returns ErrOtherServer
	// when the data belong to another.
	Claim(ctx context.Context, keys []byte) error

	// Create returns ErrAccountExists, ErrRemoved, ErrNameTaken, ErrToken or
	// ErrReplayed.
	Create(ctx context.Context, c Creation) error
	// Account returns ErrNotFound.
	Account(ctx context.Context, id ledger.AccountID) (Account, error)
	// Named returns the account with this name key, or ErrNotFound.
	Named(ctx context.Context, nameKey string) (ledger.AccountID, error)
	// Entries returns entries after a sequence number, up to and with another:
	// as many as fill size bytes, and at least one.
	Entries(ctx context.Context, id ledger.AccountID, after, last uint64, size int) ([][]byte, error)
	// Append returns ErrHeadMoved or ErrReplayed.
	Append(ctx context.Context, a Append) error
	// Pause says until when servers let the ledger stand still for a new device. It
	// keeps no server from appending: they ask [Store.Account] before. It does nothing
	// for an account that there is not.
	Pause(ctx context.Context, id ledger.AccountID, until time.Time) error

	// Shares returns those of the named shares that there are.
	Shares(ctx context.Context, id ledger.AccountID, names []ledger.ShareID) ([]Share, error)
	// ShareIDs names all shares of an account.
	ShareIDs(ctx context.Context, id ledger.AccountID) ([]ledger.ShareID, error)
	// SlotShares returns the shares of slots in an epoch after a position, as
	// many as fill size bytes, and whether there are more.
	SlotShares(ctx context.Context, id ledger.AccountID, epoch, after uint64, size int) ([]Share, bool, error)

	// Log returns ErrHeadMoved, ErrReplayed or a *LimitError.
	Log(ctx context.Context, a Answer) error
	// ActivityLog returns entries after a sequence number, as many as fill size
	// bytes, and where the log ends.
	ActivityLog(ctx context.Context, id ledger.AccountID, after uint64, size int) ([][]byte, Activity, error)

	// Attest keeps the attestation unless one of a later head is there. It
	// returns ErrReplayed.
	Attest(ctx context.Context, a Attestation) error
	// Attestations returns the newest of every device, by device number.
	Attestations(ctx context.Context, id ledger.AccountID) ([][]byte, error)

	// Send returns the message's number, ErrNotFound for an unknown recipient,
	// ErrFull or ErrReplayed.
	Send(ctx context.Context, s Sending) (uint64, error)
	// Inbox returns what a device has not acknowledged, after a message number,
	// as much as fills size bytes, and whether there is more.
	Inbox(ctx context.Context, id ledger.AccountID, device, after uint64, size int) ([]Message, bool, error)
	// Acknowledge passes over messages that are not there. It returns ErrReplayed.
	Acknowledge(ctx context.Context, a Acknowledgement) error

	// Start is idempotent for one request. At the limit it forgets, of those
	// without approval that are not released, the oldest from the source that has
	// most of them. It returns ErrHeadMoved, ErrOpen, ErrReplayed, or ErrFull if
	// none may be forgotten.
	Start(ctx context.Context, s Start) error
	// Recovery returns ErrNotFound.
	Recovery(ctx context.Context, id ledger.Hash) (Recovery, error)
	// Recoveries returns an account's requests, the oldest first.
	Recoveries(ctx context.Context, id ledger.AccountID) ([]Recovery, error)
	// Owners returns the accounts that ever bound this one as a contact and that
	// somebody asks to recover.
	Owners(ctx context.Context, contact ledger.AccountID) ([]ledger.AccountID, error)
	// Approve returns ErrHeadMoved or ErrReplayed.
	Approve(ctx context.Context, a Approval) error
	// Approvals returns a request's approvals, by holder.
	Approvals(ctx context.Context, id ledger.Hash) ([]Approval, error)

	Outbox

	Waiting

	Operation

	// Follow returns nil where only one server uses the data: it knows what it
	// changes.
	Follow() Follower

	// Close waits for what runs and closes the store.
	Close() error
}
