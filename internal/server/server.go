// Package server is what stands behind the API: the server's part of every
// procedure, over a [store.Store].
//
// A handler reads parse, check, persist, answer. It decides on one snapshot of
// an account, and the store refuses to persist if the account's ledger has moved
// meanwhile; then the handler runs again. Nothing leaves, and nothing is called
// done, before it is durable.
//
// The server keeps one share of each thing and can recover nothing alone. What
// it opens, it opens to compare with the hash that the ledger names and to
// encrypt under its own key.
package server

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/entropy"
	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/memory"
)

// Config is what a server is made of.
type Config struct {
	Store   store.Store
	Keys    *Keys
	Now     func() time.Time
	Rand    io.Reader // a cryptographic generator that is safe for concurrent use
	Entropy *entropy.Service
	Log     *slog.Logger

	Mail    *notify.Mail   // nil where the server sends no mail
	Webhook notify.Webhook // which webhooks may be reached
	Places  *Places        // nil where countries are not known

	Registration Registration // open if zero
	Quota        Quota        // none if zero

	// MovedTo is where the server is now, if it is not here. Then there is no Store,
	// and [Server.MovedHandler] answers.
	MovedTo string

	Observe func(Outcome)       // is told how requests end; may be nil
	Tracing connect.Interceptor // sees procedures and reasons; may be nil
}

// Server answers devices. Make it with [New].
type Server struct {
	store   store.Store
	keys    *Keys
	now     func() time.Time
	rand    io.Reader
	entropy *entropy.Service
	log     *slog.Logger
	mail    *notify.Mail
	webhook notify.Webhook
	places  *Places
	raised  chan struct{} // wakes Deliver

	registration Registration
	quota        Quota
	movedTo      string
	observe      func(Outcome)
	tracing      connect.Interceptor
	draining     atomic.Bool
	underWay     atomic.Int64

	followed  bool // other servers over the same data are
	following following

	states    *states
	hub       hub
	admission *admission
	intake    *intake
	answering *answering
	looks     chan struct{} // bounds how many streams look after their device at a time

	remotes  *remotes
	devices  *devices
	starters *remotes // limits recoveries that are started
	joiners  *remotes // limits devices that ask to be added
	founders *remotes // limits new accounts where everybody may make one
	sources  []byte   // key of what stands for a network in the store
	verified verifiedHeads
	shown    int // bytes of recoveries in one answer
	failed   chan struct{}
	failOnce sync.Once
}

// New makes a server. It returns [store.ErrOtherServer] if the store belongs to
// a server with other keys.
func New(ctx context.Context, c Config) (*Server, error) {
	followed := false
	if c.MovedTo == "" {
		if err := c.Store.Claim(ctx, c.Keys.public()); err != nil {
			return nil, err
		}
		followed = c.Store.Follow() != nil
	}
	sources, err := hkdf.Key(sha256.New, c.Keys.sign.Bytes(), nil, "zeropass recovery sources", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	verified, err := newVerifiedHeads(c.Keys)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	observe := c.Observe
	if observe == nil {
		observe = func(Outcome) {}
	}
	raised := make(chan struct{}, 1)
	return &Server{
		store: storing{c.Store, raised}, keys: c.Keys, now: c.Now, rand: c.Rand, entropy: c.Entropy, log: c.Log,
		mail: c.Mail, webhook: c.Webhook, places: c.Places, raised: raised,
		remotes: newRemotes(remoteRate, remoteBurst), devices: newDevices(), starters: newRemotes(startRate, startBurst),
		joiners: newRemotes(startRate, startBurst), founders: newRemotes(createRate, createBurst), sources: sources, verified: verified, shown: shownRecoveries,
		registration: c.Registration, quota: c.Quota, movedTo: c.MovedTo, observe: observe, tracing: c.Tracing, failed: make(chan struct{}), states: newStates(),
		admission: &admission{bounds: defaultBounds()}, intake: &intake{}, answering: &answering{}, looks: make(chan struct{}, maxLooks),
		followed: followed, following: following{now: make(chan struct{}, 1)},
	}, nil
}

// Failed is closed when the store has failed in a way that only a new start
// mends; see [store.ErrFailed].
func (s *Server) Failed() <-chan struct{} { return s.failed }

// recovered answers for a handler that panicked. What it panicked with may hold
// anything, so only its type and the stack are logged.
func (s *Server) recovered(_ context.Context, spec connect.Spec, _ http.Header, value any) error {
	s.log.Error("a handler panicked", "procedure", spec.Procedure, "type", fmt.Sprintf("%T", value), "stack", memory.Stack())
	return unavailable.Connect(s.keys.sign, nil, s.now())
}

var unavailable = api.Refuse(api.ErrUnavailable, "try again later")

// asked is one request while it is handled.
type asked struct {
	*api.Request
	now    time.Time
	remote string // address that it came from
	// recalls says that the account may be taken as it was last seen, and recalled
	// that it was and that the store has not said yet whether it still stands so.
	recalls, recalled bool
}

// found takes what the store said of a change that names the account's head: unless it
// is that the account does not stand so any more, it stood as it was recalled.
func (a *asked) found(err error) {
	if !errors.Is(err, store.ErrHeadMoved) && !errors.Is(err, store.ErrNotFound) {
		a.recalled = false
	}
}

// attempts is how often a request is decided anew because the ledger moved.
const attempts = 8

// serve is the frame of every signed procedure.
func serve[Q any, PQ interface {
	*Q
	proto.Message
}, A proto.Message](ctx context.Context, s *Server, procedure string, request *connect.Request[apiv1.SignedRequest], handle func(context.Context, *asked, PQ) (A, error)) (*connect.Response[apiv1.SignedAnswer], error) {
	ctx, place, err := s.enter(ctx, procedure, request.Msg, request.Peer().Addr)
	if err != nil {
		return nil, err
	}
	defer place.leave()
	now := s.now()
	r, err := api.ParseRequestOf(procedure, request.Msg, s.states.signKey)
	if err != nil {
		return nil, s.refuse(procedure, nil, now, err)
	}
	answer, err := func() (A, error) {
		var none A
		if err := s.fits(ctx, r, now); err != nil {
			return none, err
		}
		body := PQ(new(Q))
		if err := r.Decode(body); err != nil {
			return none, err
		}
		if err := s.devices.check(r, place.class, time.Now()); err != nil {
			return none, err
		}
		for attempt := range attempts - 1 {
			a := &asked{Request: r, now: now, remote: request.Peer().Addr, recalls: attempt == 0}
			answer, err := handle(ctx, a, body)
			if !a.recalled && !errors.Is(err, store.ErrHeadMoved) {
				return answer, err
			}
		}
		return handle(ctx, &asked{Request: r, now: now, remote: request.Peer().Addr}, body)
	}()
	if err != nil {
		return nil, s.refuse(procedure, r, now, err)
	}
	body, err := canonical.Marshal(answer)
	if err != nil {
		return nil, s.refuse(procedure, r, now, err)
	}
	signed, err := api.Answer(s.keys.sign, r, body, now)
	if err != nil {
		return nil, s.refuse(procedure, r, now, err)
	}
	return connect.NewResponse(signed), nil
}

// refuse turns a handler's error into the answer's. What is no refusal is
// logged, and the device learns only that the server cannot do it now.
func (s *Server) refuse(procedure string, r *api.Request, now time.Time, err error) error {
	var refusal *api.Refusal
	var limit *store.LimitError
	switch {
	case errors.As(err, &refusal):
	case errors.Is(err, store.ErrReplayed):
		refusal = api.Refuse(api.ErrReplayed, "ask again with a new request")
	case errors.As(err, &limit):
		refusal = api.Refuse(api.ErrRateLimited, "the account's policy allows no more reveals for now")
		refusal.RetryAfter = limit.RetryAfter
	case errors.Is(err, context.Canceled):
		refusal = unavailable // whoever asked has gone
	default:
		s.log.Error("a request failed", "procedure", procedure, "error", err)
		refusal = unavailable
		if errors.Is(err, store.ErrFailed) {
			s.failOnce.Do(func() { close(s.failed) })
		}
	}
	s.log.Debug("refused", "procedure", procedure, "reason", refusal.Reason.Error())
	return refusal.Connect(s.keys.sign, r, now)
}

// nonceLife is how long a nonce is remembered: longer than a request with it
// would be taken, whatever small steps the clock makes.
const nonceLife = 3 * api.MaxClockSkew

// spend returns what the store needs of a request that changes something and is
// not logged.
func (a *asked) spend() store.Spend {
	return store.Spend{Key: a.Key.Bytes(), Nonce: a.Header.Nonce, Now: a.now, Expires: a.Time.Add(nonceLife)}
}

// logged returns what the store needs of a request that an account's activity
// log keeps, with the answer that will be given.
func (a *asked) logged(acct *account, answer proto.Message) (store.Spend, error) {
	body, err := canonical.Marshal(answer)
	if err != nil {
		return store.Spend{}, err
	}
	defer clear(body)
	request, err := api.LoggedRequest(a.Request)
	if err != nil {
		return store.Spend{}, err
	}
	spend := a.spend()
	spend.Log = &store.Log{Account: acct.id, Request: request, Answer: sha256.Sum256(body)}
	return spend, nil
}

// nonce checks a nonce in a body.
func nonce(b []byte) error {
	if len(b) != api.NonceSize {
		return api.Refuse(api.ErrMalformed, "a nonce of %d bytes instead of %d", len(b), api.NonceSize)
	}
	return nil
}
