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

// maxStates bounds the states that are kept in memory, by the bytes of their
// entries.
const maxStates = 256 << 20

// states keeps folded ledgers. A state in it is never changed, so whoever got
// one may read on while the account goes on.
type states struct {
	mu   sync.Mutex
	byID map[ledger.AccountID]*kept
	size int
}

type kept struct {
	state *ledger.State
	name  string // of the account, empty until somebody asked for it
	size  int
	whole bool // all the account's shares were found in the store
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
	state := c.get(ledger.AccountID(h.Account))
	if state == nil {
		return nil
	}
	d, ok := state.Device(h.Device)
	if !ok {
		return nil
	}
	return d.SignKey
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
		return &account{id: id, name: k.name, state: k.state}
	}
	return nil
}

// put takes a state that has grown by entries of this size.
func (c *states) put(state *ledger.State, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID == nil {
		c.byID = map[ledger.AccountID]*kept{}
	}
	k, ok := c.byID[state.Account()]
	switch {
	case !ok:
		k = &kept{}
		c.byID[state.Account()] = k
	case k.state.Head().Sequence >= state.Head().Sequence && k.state.Contains(state.Head()):
		return // another request was faster
	}
	k.state = state
	k.size += size
	c.size += size
	for id, other := range c.byID {
		if c.size <= maxStates {
			break
		}
		if other != k {
			c.size -= other.size
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

func sizeOfEntries(entries []*ledger.Entry) int {
	size := 0
	for _, e := range entries {
		size += len(e.Bytes())
	}
	return size
}

// account is one account as it stands while a request is decided.
type account struct {
	id     ledger.AccountID
	name   string
	state  *ledger.State
	paused time.Time // until when it takes nothing but vetoes
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
		size := 0
		if state, size, err = s.load(ctx, stored, state); err != nil {
			return nil, err
		}
		s.states.put(state, size)
		// Another server took the entries, and may have taken them without shares.
		s.states.setWhole(id, false)
	}
	s.states.named(id, stored.Name)
	return &account{id: id, name: stored.Name, state: state, paused: stored.Paused}, nil
}

// load folds what the store has, on top of an older state if that is a part of
// it. It returns how many bytes of entries it folded. Signatures are verified, page by
// page, unless they were before: then the whole chain must be there first.
func (s *Server) load(ctx context.Context, stored store.Account, older *ledger.State) (state *ledger.State, size int, err error) {
	state = &ledger.State{}
	if older != nil && older.Head().Sequence < stored.Head.Sequence {
		state = older.Clone()
	}
	verified := s.verified.has(stored)
	var known [][]byte
	for at := state.Head().Sequence; at < stored.Head.Sequence; {
		page, err := s.store.Entries(ctx, stored.ID, at, stored.Head.Sequence, api.PageSize)
		if err != nil {
			return nil, 0, err
		}
		if len(page) == 0 {
			return nil, 0, errors.New("server: the store lacks entries of a ledger")
		}
		at += uint64(len(page))
		for _, b := range page {
			size += len(b)
		}
		if verified {
			known = append(known, page...)
		} else if err := extend(state, page); err != nil {
			return nil, 0, damaged(err)
		}
	}
	if verified {
		if err := state.Replay(stored.Head, known...); err != nil {
			return nil, 0, damaged(err)
		}
	}
	if state.Head() != stored.Head {
		return nil, 0, errors.New("server: a ledger in the store does not end where its account says")
	}
	if state.Account() != stored.ID {
		return nil, 0, errors.New("server: a ledger in the store is another account's")
	}
	return state, size, nil
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
	d, err := activeDevice(a, acct.state)
	if err != nil {
		return nil, nil, err
	}
	return acct, d, nil
}

// activeDevice returns the device that asks, if it is active in the state.
func activeDevice(a *asked, state *ledger.State) (*ledger.Device, error) {
	d, ok := state.Device(a.Header.Device)
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
