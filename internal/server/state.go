package server

import (
	"context"
	"errors"
	"sync"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// maxStates is how many accounts' states are kept in memory.
const maxStates = 1024

// states keeps folded ledgers. A state in it is never changed, so whoever got
// one may read on while the account goes on.
type states struct {
	mu    sync.Mutex
	byID  map[ledger.AccountID]*ledger.State
	whole map[ledger.AccountID]bool // whose shares were all found in the store
}

func (c *states) get(id ledger.AccountID) *ledger.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byID[id]
}

func (c *states) put(state *ledger.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID == nil {
		c.byID, c.whole = map[ledger.AccountID]*ledger.State{}, map[ledger.AccountID]bool{}
	}
	for id := range c.byID {
		if len(c.byID) < maxStates {
			break
		}
		delete(c.byID, id)
		delete(c.whole, id)
	}
	c.byID[state.Account()] = state
}

func (c *states) isWhole(id ledger.AccountID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.whole[id]
}

func (c *states) setWhole(id ledger.AccountID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byID[id]; ok {
		c.whole[id] = true
	}
}

// account is one account as it stands while a request is decided.
type account struct {
	id    ledger.AccountID
	name  string
	state *ledger.State
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
	state := s.states.get(id)
	if state == nil || state.Head() != stored.Head {
		if state, err = s.load(ctx, stored, state); err != nil {
			return nil, err
		}
		s.states.put(state)
	}
	return &account{id: id, name: stored.Name, state: state}, nil
}

// load folds what the store has, on top of an older state if that is a part of
// it.
func (s *Server) load(ctx context.Context, stored store.Account, older *ledger.State) (*ledger.State, error) {
	state := &ledger.State{}
	if older != nil && older.Head().Sequence < stored.Head.Sequence {
		state = older.Clone()
	}
	for state.Head().Sequence < stored.Head.Sequence {
		page, err := s.store.Entries(ctx, stored.ID, state.Head().Sequence, stored.Head.Sequence, api.PageSize)
		if err != nil {
			return nil, err
		}
		entries, err := parseEntries(page)
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 {
			return nil, errors.New("server: the store lacks entries of a ledger")
		}
		if err := state.Extend(entries...); err != nil {
			return nil, errors.Join(errors.New("server: a ledger in the store is damaged"), err)
		}
	}
	if state.Head() != stored.Head {
		return nil, errors.New("server: a ledger in the store does not end where its account says")
	}
	return state, nil
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
		return nil, api.Refuse(api.ErrDeviceLocked, "device %d: unlock it from another device", d.Number)
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
