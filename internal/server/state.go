package server

import (
	"context"
	"errors"
	"sync"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// How much of the accounts is kept in memory: folded ledgers by the bytes of their
// entries, of which they take several times as many; and summaries of all others, which
// are the most where there are many accounts, and what most requests need.
const (
	maxStates    = 32 << 20
	maxSummaries = 256 << 20
)

// states keeps folded ledgers. A state in it is never changed, so whoever got
// one may read on while the account goes on.
type states struct {
	mostFolded, mostSummaries int64

	mu        sync.Mutex
	byID      map[ledger.AccountID]*kept
	folded    int64 // bytes of the entries of all states
	summaries int64 // bytes of all summaries
}

func newStates() *states {
	return &states{mostFolded: maxStates, mostSummaries: maxSummaries, byID: map[ledger.AccountID]*kept{}}
}

// kept is what is known of an account.
type kept struct {
	state   *ledger.State
	summary *ledger.Summary // where there is no state
	name    string          // empty until somebody asked for it
	whole   bool            // all the account's shares were found in the store
}

func (k *kept) now() present {
	if k.state == nil {
		return k.summary
	}
	return k.state
}

func (c *states) get(id ledger.AccountID) *ledger.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.byID[id]; ok {
		return k.state
	}
	return nil
}

// signKey returns the sign key of the device that a header names, if it is in memory.
func (c *states) signKey(h *apiv1.RequestHeader) *signing.PublicKey {
	if len(h.Account) != len(ledger.AccountID{}) {
		return nil
	}
	now := c.last(ledger.AccountID(h.Account))
	if now == nil {
		return nil
	}
	d, ok := now.Device(h.Device)
	if !ok {
		return nil
	}
	return d.SignKey
}

// known returns what an account's ledger says, if its end is known to be this one.
func (c *states) known(id ledger.AccountID, head ledger.Head) present {
	if now := c.last(id); now != nil && now.Head() == head {
		return now
	}
	return nil
}

// last returns what an account's ledger said when it was last seen, or nil.
func (c *states) last(id ledger.AccountID) present {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.byID[id]; ok {
		return k.now()
	}
	return nil
}

// named remembers the account's name.
func (c *states) named(id ledger.AccountID, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.byID[id]; ok {
		k.name = name
	}
}

// recall returns an account as it was last seen, or nil.
func (c *states) recall(id ledger.AccountID) *account {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.byID[id]; ok && k.name != "" {
		return &account{id: id, name: k.name, now: k.now()}
	}
	return nil
}

// put takes an account's state, unless it has that or a newer one. Of the states that
// there is no room for any more it keeps summaries.
func (c *states) put(state *ledger.State) {
	for _, other := range c.replace(state) {
		c.summarize(other, other.Summary())
	}
}

// replace takes the state, and returns those that there is no room for.
func (c *states) replace(state *ledger.State) (surplus []*ledger.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.byID[state.Account()]
	if !ok {
		k = &kept{}
		c.byID[state.Account()] = k
	}
	switch {
	case k.summary != nil:
		c.summaries -= k.summary.Size()
		k.summary = nil
	case k.state == nil:
	case k.state.Head().Sequence >= state.Head().Sequence && k.state.Contains(state.Head()):
		return nil // another request was faster
	default:
		c.folded -= k.state.Size()
	}
	k.state = state
	c.folded += state.Size()
	over := c.folded - c.mostFolded
	for _, other := range c.byID {
		if over <= 0 {
			break
		}
		if other != k && other.state != nil {
			surplus = append(surplus, other.state)
			over -= other.state.Size()
		}
	}
	return surplus
}

// summarize keeps the summary in place of the state, unless the account has another one
// by now.
func (c *states) summarize(state *ledger.State, summary *ledger.Summary) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.byID[state.Account()]
	if !ok || k.state != state {
		return
	}
	k.state, k.summary = nil, summary
	c.folded -= state.Size()
	c.summaries += summary.Size()
	for id, other := range c.byID {
		if c.summaries <= c.mostSummaries {
			break
		}
		if other != k && other.summary != nil {
			c.summaries -= other.summary.Size()
			delete(c.byID, id)
		}
	}
}

func (c *states) isWhole(id ledger.AccountID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.byID[id]
	return ok && k.whole
}

func (c *states) setWhole(id ledger.AccountID, whole bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.byID[id]; ok {
		k.whole = whole
	}
}

// present is what a ledger says now: a [ledger.State] or a [ledger.Summary] of one.
type present interface {
	Account() ledger.AccountID
	Head() ledger.Head
	Time() time.Time
	Policy(now time.Time) *recordv1.Policy
	UsedEpoch() uint64
	WaitingPeriod() time.Duration
	Device(number uint64) (*ledger.Device, bool)
	Devices() []*ledger.Device
	ActiveDevices() []*ledger.Device
	HasVersion(slot ledger.SlotID, version, epoch uint64) bool
}

// account is one account as it stands while a request is decided.
type account struct {
	id     ledger.AccountID
	name   string
	now    present
	paused time.Time     // until when it takes nothing but vetoes; zero where it was recalled
	stored store.Account // likewise
}

// folded is an account with its whole ledger.
type folded struct {
	*account
	state *ledger.State
}

// account returns a snapshot of an account.
func (s *Server) account(ctx context.Context, id ledger.AccountID) (*account, error) {
	stored, err := s.store.Account(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, api.Refuse(api.ErrUnknownAccount, "no account %v", id)
	}
	if err != nil {
		return nil, err
	}
	if !stored.Locked.IsZero() {
		return nil, api.Refuse(api.ErrAccountLocked, "since %s; ask whoever runs the server", stored.Locked.Format("2006-01-02 15:04 UTC"))
	}
	now := s.states.known(id, stored.Head)
	if now == nil {
		state, err := s.load(ctx, stored, s.states.get(id))
		if err != nil {
			return nil, err
		}
		s.states.put(state)
		// Another server took the entries, and may have taken them without shares.
		s.states.setWhole(id, false)
		now = state
	}
	s.states.named(id, stored.Name)
	return &account{id: id, name: stored.Name, now: now, paused: stored.Paused, stored: stored}, nil
}

// fold returns the account with its ledger, which it may have to read.
func (s *Server) fold(ctx context.Context, acct *account) (*folded, error) {
	if state, ok := acct.now.(*ledger.State); ok {
		return &folded{acct, state}, nil
	}
	state := s.states.get(acct.id)
	if state == nil || state.Head() != acct.now.Head() {
		var err error
		if state, err = s.load(ctx, acct.stored, state); err != nil {
			return nil, err
		}
		s.states.put(state)
	}
	return &folded{acct, state}, nil
}

// foldedAccount is account and fold.
func (s *Server) foldedAccount(ctx context.Context, id ledger.AccountID) (*folded, error) {
	acct, err := s.account(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.fold(ctx, acct)
}

// load folds what the store has, on top of an older state if that is a part of
// it. Signatures are verified, page by page, unless they were before: then the whole
// chain must be there first.
func (s *Server) load(ctx context.Context, stored store.Account, older *ledger.State) (*ledger.State, error) {
	state := &ledger.State{}
	if older != nil && older.Head().Sequence < stored.Head.Sequence {
		state = older.Clone()
	}
	verified := s.verified.has(stored)
	var known [][]byte
	for at := state.Head().Sequence; at < stored.Head.Sequence; {
		page, err := s.store.Entries(ctx, stored.ID, at, stored.Head.Sequence, api.PageSize)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return nil, errors.New("server: the store lacks entries of a ledger")
		}
		at += uint64(len(page))
		if verified {
			known = append(known, page...)
		} else if err := extend(state, page); err != nil {
			return nil, damaged(err)
		}
	}
	if verified {
		if err := state.Replay(stored.Head, known...); err != nil {
			return nil, damaged(err)
		}
	}
	if state.Head() != stored.Head {
		return nil, errors.New("server: a ledger in the store does not end where its account says")
	}
	if state.Account() != stored.ID {
		return nil, errors.New("server: a ledger in the store is another account's")
	}
	return state, nil
}

func damaged(err error) error {
	return errors.Join(errors.New("server: a ledger in the store is damaged"), err)
}

func extend(state *ledger.State, page [][]byte) error {
	entries, err := parseEntries(page)
	if err != nil {
		return err
	}
	return state.Extend(entries...)
}

func parseEntries(list [][]byte) ([]*ledger.Entry, error) {
	var entries []*ledger.Entry
	for _, b := range list {
		e, err := ledger.ParseEntry(b)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// asker returns the account that the request names.
func (s *Server) asker(ctx context.Context, a *asked) (*account, error) {
	id, ok := a.Account()
	if !ok {
		return nil, api.Refuse(api.ErrMalformed, "the request names no account")
	}
	return s.account(ctx, id)
}

// device returns the account and the active device that ask.
func (s *Server) device(ctx context.Context, a *asked) (*account, *ledger.Device, error) {
	acct, err := s.asker(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	d, err := activeDevice(a, acct.now)
	if err != nil {
		return nil, nil, err
	}
	return acct, d, nil
}

// foldedAsker is asker and fold.
func (s *Server) foldedAsker(ctx context.Context, a *asked) (*folded, error) {
	acct, err := s.asker(ctx, a)
	if err != nil {
		return nil, err
	}
	return s.fold(ctx, acct)
}

// foldedDevice is device and fold.
func (s *Server) foldedDevice(ctx context.Context, a *asked) (*folded, *ledger.Device, error) {
	acct, d, err := s.device(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	of, err := s.fold(ctx, acct)
	if err != nil {
		return nil, nil, err
	}
	return of, d, nil
}

// recall is [Server.device] for a request that is answered only after a change that
// names the account's head. It need not ask the store: that change is refused where
// the account stands otherwise than it was last seen, whether another server has
// taken entries or the operator has locked the account. Whatever is refused for what
// was recalled is decided once more; see serve.
func (s *Server) recall(ctx context.Context, a *asked) (*account, *ledger.Device, error) {
	id, ok := a.Account()
	if !a.recalls || !ok {
		return s.device(ctx, a)
	}
	acct := s.states.recall(id)
	if acct == nil {
		return s.device(ctx, a)
	}
	a.recalled = true
	d, err := activeDevice(a, acct.now)
	if err != nil {
		return nil, nil, err
	}
	return acct, d, nil
}

// activeDevice returns the device that asks, if it is active.
func activeDevice(a *asked, now present) (*ledger.Device, error) {
	d, ok := now.Device(a.Header.Device)
	if !ok || !d.SignKey.Equal(a.Key) {
		return nil, api.Refuse(api.ErrUnknownDevice, "no device %d with this key", a.Header.Device)
	}
	switch d.Status {
	case ledger.Active:
		return d, nil
	case ledger.Locked:
		return nil, api.Refuse(api.ErrDeviceLocked, "device %d was locked by device %d on %s",
			d.Number, d.ChangedBy, d.Changed.Time.UTC().Format("2006-01-02 15:04:05 UTC"))
	default:
		return nil, api.Refuse(api.ErrDeviceRevoked, "device %d", d.Number)
	}
}

// attestation signs the server's word on a head of the account.
func (s *Server) attestation(a *asked, now present, nonce []byte) ([]byte, error) {
	head, id := now.Head(), now.Account()
	return ledger.NewAttestation(&recordv1.Attestation{
		Account:  id[:],
		Epoch:    now.UsedEpoch(),
		Sequence: head.Sequence,
		Head:     head.Hash[:],
		Time:     uint64(a.now.UnixMilli()),
		Nonce:    nonce,
		Holder:   &recordv1.Holder{Kind: recordv1.Holder_KIND_SERVER},
	}, s.keys.sign)
}
