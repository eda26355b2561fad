package store

import (
	"context"
	"math"

	"zeropass.dev/zeropass/ledger"
)

// Change says that an account has something new, which its devices may want to
// ask for.
type Change struct {
	Account ledger.AccountID
	Kinds   uint64 // of what, a bit for each; servers give them their meaning
}

// AllKinds is a change of every kind.
const AllKinds = math.MaxInt64

// Follower learns what has changed, whichever server over the same data changed
// it. It is for one goroutine.
type Follower interface {
	// Next returns what was committed since it last did, the first time since the
	// follower was made, and perhaps some of what was committed before. all says
	// that this is not known any more: then everything may have changed. After an
	// error nothing is lost: the next call returns it.
	Next(ctx context.Context) (changes []Change, all bool, err error)
	Close() error
}
