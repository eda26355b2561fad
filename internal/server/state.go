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
// entries, of which they take several times as many, and of the accounts whose ledgers
// have no room there, which are the most where there are many, what reveals need.
const (
	maxStates    = 64 << 20
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

// kept is what is known of an account. It has a state or a summary of it, or both.
type kept struct {
	state   *ledger.State
	summary *ledger.Summary
	name    string // empty until somebody asked for it
	whole   bool   // all the account's shares were found in the store
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
	devices := c.roster(ledger.AccountID(h.Account))
	if devices == nil {
		return nil
	}
	d, ok := devices.Device(h.Device)
	if !ok {
		return nil
	}
	return d.SignKey
}

func (c *states) roster(id ledger.AccountID) roster {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.byID[id]
	switch {
	case !ok:
		return nil
	case k.summary != nil:
		return k.summary
	}
	return k.state
}

// named remembers the account's name.
func (c *states) named(id ledger.AccountID, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.byID[id]; ok {
		k.name = name
	}
}

// recall returns an account as it was last seen, without its state, or nil.
func (c *states) recall(id ledger.AccountID) *account {
	c.mu.Lock()
	k, ok := c.byID[id]
	if !ok || k.name == "" {
		c.mu.Unlock()
		return nil
	}
	acct, state := &account{id: id, name: k.name, summary: k.summary}, k.state
	c.mu.Unlock()
	if acct.summary == nil {
		acct.summary = state.Summary()
		c.summarized(state, acct.summary, false)
	}
	return acct
}

// put takes an account's state, unless it has that or a newer one. Others give way to
// it, of which summaries are kept.
func (c *states) put(state *ledger.State) {
	for _, other := range c.replace(state) {
		c.summarized(other, other.Summary(), true)
	}
}

// replace takes the state, and returns those that there is no room for and that have no
// summary yet.
func (c *states) replace(state *ledger.State) (surplus []*ledger.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.byID[state.Account()]
	if !ok {
		k = &kept{}
		c.byID[state.Account()] = k
	}
	if k.state != nil {
		if k.state.Head().Sequence >= state.Head().Sequence && k.state.Contains(state.Head()) {
			return nil // another request was faster
		}
		c.folded -= k.state.Size()
	}
	k.state = state
	c.folded += state.Size()
	if k.summary != nil && k.summary.Head() != state.Head() {
		c.summaries -= k.summary.Size()
		k.summary = nil
	}
	over := c.folded - c.mostFolded
	for _, other := range c.byID {
		if over <= 0 {
			break
		}
		if other == k || other.state == nil {
			continue
		}
		over -= other.state.Size()
		if other.summary == nil {
			surplus = append(surplus, other.state)
		} else {
			c.unfold(other)
		}
	}
	return surplus
}

// summarized keeps the summary of a state, beside it or in its place, unless the account
// has another state by now.
func (c *states) summarized(state *ledger.State, summary *ledger.Summary, instead bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.byID[state.Account()]
	if !ok || k.state != state {
		return
	}
	if k.summary == nil {
		k.summary = summary
		c.summaries += summary.Size()
	}
	if instead {
		c.unfold(k)
	}
	for id, other := range c.byID {
		if c.summaries <= c.mostSummaries {
			break
		}
		if other == k || other.summary == nil {
			continue
		}
		c.summaries -= other.summary.Size()
		if other.summary = nil; other.state == nil {
			delete(c.byID, id)
		}
	}
}

// unfold lets go of a state of which there is a summary.
func (c *states) unfold(k *kept) {
	c.folded -= k.state.Size()
	k.state = nil
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

// account is one account as it stands while a request is decided.
type account struct {
	id      ledger.AccountID
	name    string
	state   *ledger.State // nil where it was recalled
	paused  time.Time     // until when it takes nothing but vetoes; zero where it was recalled
	summary *ledger.Summary
}

// now is what the account's ledger says now, as far as reveals need it.
func (a *account) now() *ledger.Summary {
	if a.summary == nil {
		a.summary = a.state.Summary()
	}
	return a.summary
}

func (a *account) head() ledger.Head {
	if a.state == nil {
		return a.summary.Head()
	}
	return a.state.Head()
}

// roster is the devices of a ledger: a [ledger.State] or a summary of it.
type roster interface {
	Device(number uint64) (*ledger.Device, bool)
	ActiveDevices() []*ledger.Device
}

// account returns a snapshot of an account, whose state must not be changed.
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
	state := s.states.get(id)
	if state == nil || state.Head() != stored.Head {
		if state, err = s.load(ctx, stored, state); err != nil {
			return nil, err
		}
		s.states.put(state)
		// Another server took the entries, and may have taken them without shares.
		s.states.setWhole(id, false)
	}
	s.states.named(id, stored.Name)
	return &account{id: id, name: stored.Name, state: state, paused: stored.Paused}, nil
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
	d, err := activeDevice(a, acct.state)
	if err != nil {
		return nil, nil, err
	}
	return acct, d, nil
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
	d, err := activeDevice(a, acct.summary)
	if err != nil {
		return nil, nil, err
	}
	return acct, d, nil
}

// activeDevice returns the device that asks, if it is active.
func activeDevice(a *asked, of roster) (*ledger.Device, error) {
	d, ok := of.Device(a.Header.Device)
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
func (s *Server) attestation(a *asked, state *ledger.State, nonce []byte) ([]byte, error) {
	head := state.Head()
	var epoch uint64
	if e := state.InUse(); e != nil {
		epoch = e.Number
	}
	id := state.Account()
	return ledger.NewAttestation(&recordv1.Attestation{
		Account:  id[:],
		Epoch:    epoch,
		Sequence: head.Sequence,
		Head:     head.Hash[:],
		Time:     uint64(a.now.UnixMilli()),
		Nonce:    nonce,
		Holder:   &recordv1.Holder{Kind: recordv1.Holder_KIND_SERVER},
	}, s.keys.sign)
}
