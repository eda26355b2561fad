package store

import (
	"context"
	"errors"
	"time"
)

// ErrToken: no token with this hash registers an account now: there is none, it is
// used up, or it has expired.
var ErrToken = errors.New("store: the token registers no account")

// Token registers accounts at a server that takes new ones by token. The store
// knows its hash alone.
type Token struct {
	Hash    [32]byte // SHA-256
	Note    string   // the operator's
	Uses    uint64   // accounts that it may register
	Used    uint64   // that it has registered
	Created time.Time
	Expires time.Time
}

// Backlog is what waits to be delivered.
type Backlog struct {
	Deliveries uint64
	Oldest     time.Time // when the oldest was first due; zero if none waits
}

// Operation is what operators ask for.
type Operation interface {
	// AddToken keeps a new token.
	AddToken(ctx context.Context, t Token) error
	// Tokens returns all tokens, the oldest first.
	Tokens(ctx context.Context) ([]Token, error)
	// RevokeToken forgets a token, or returns ErrNotFound.
	RevokeToken(ctx context.Context, hash [32]byte) error

	// Backlog is cheap: it tells whether the store answers, too.
	Backlog(ctx context.Context) (Backlog, error)
	// CountAccounts takes a while where there are many.
	CountAccounts(ctx context.Context) (uint64, error)
	// Commits returns how many commits have made changes durable since the store was
	// opened. Changes that are made at the same time may share one.
	Commits() uint64
	// Observe has every transaction told from now on: whether it may change
	// something, how long it took, and how it ended. It is for use before anything
	// else.
	Observe(seen func(change bool, took time.Duration, err error))
}
