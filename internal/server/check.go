package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// Finding is one thing that is wrong in a store.
type Finding struct {
	Account ledger.AccountID
	What    string
}

// Checked is what a check has looked at.
type Checked struct {
	Accounts   int
	Entries    int
	Shares     int
	Activities int
	Findings   int
	Waiting    []ledger.Hash // recoveries that are open and not released
}

// Check reads a whole store, also while servers write to it, and reports whatever
// is not as it must be: each account's ledger is folded by the ledger's rules and
// must end where its account says, its activity log must be a chain, and the shares
// that the ledger requires must be there, open with the keys, and have the hashes
// that it names. progress, if it is not nil, is called after each account. The error
// is the store's.
func Check(ctx context.Context, s store.Maintained, keys *Keys, report func(Finding), progress func(Checked)) (Checked, error) {
	c := &checker{store: s, keys: keys, report: report}
	err := eachAccount(ctx, s, func(a store.Account) error {
		if err := c.account(ctx, a.ID); err != nil {
			return err
		}
		c.done.Accounts++
		if progress != nil {
			progress(c.done)
		}
		return nil
	})
	return c.done, err
}

// BeginAgain begins the waiting periods of recoveries now, after a restore. A veto
// that the copy lacks comes back with a device of the owner, who needs as much time
// for that as for a veto.
func BeginAgain(ctx context.Context, s store.Maintained, recoveries []ledger.Hash, now time.Time) error {
	for _, id := range recoveries {
		if err := s.BeginAgain(ctx, id, now); err != nil {
			return err
		}
	}
	return nil
}

type checker struct {
	store  store.Maintained
	keys   *Keys
	report func(Finding)
	done   Checked
}

// account checks one account as it is at one moment.
func (c *checker) account(ctx context.Context, id ledger.AccountID) error {
	return c.store.View(ctx, func(ctx context.Context, s store.Maintained) error {
		a, err := s.Account(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil // it was deleted
		}
		if err != nil {
			return err
		}
		one := &accountChecker{checker: c, store: s, id: id}
		if err := one.all(ctx, a); err != nil {
			return err
		}
		c.done.Entries += one.done.Entries
		c.done.Shares += one.done.Shares
		c.done.Activities += one.done.Activities
		c.done.Findings += len(one.found)
		c.done.Waiting = append(c.done.Waiting, one.done.Waiting...)
		for _, what := range one.found {
			c.report(Finding{id, what})
		}
		return nil
	})
}

type accountChecker struct {
	*checker
	store store.Maintained // at that moment
	id    ledger.AccountID
	found []string
	done  Checked
	named map[ledger.ShareID]ledger.ServerShare // by any entry
}

func (c *accountChecker) wrong(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

func (c *accountChecker) all(ctx context.Context, a store.Account) error {
	state, err := c.ledger(ctx, a)
	if err != nil {
		return err
	}
	if err := c.activities(ctx); err != nil {
		return err
	}
	if state == nil {
		return nil // what its shares should be nobody knows
	}
	if key, err := nameKey(a.Name); err != nil {
		c.wrong("its name is none: %v", err)
	} else if named, err := c.store.Named(ctx, key); err != nil || named != a.ID {
		c.wrong("it is not found by its name")
	}
	if string(state.Server().GetSignKey()) != string(c.keys.SignKey().Bytes()) || string(state.Server().GetSealKey()) != string(c.keys.SealKey().Bytes()) {
		c.wrong("its ledger names another server's keys")
	}
	if err := c.attestations(ctx, state); err != nil {
		return err
	}
	if err := c.encrypted(ctx); err != nil {
		return err
	}
	if err := c.recoveries(ctx, state); err != nil {
		return err
	}
	return c.shares(ctx, state)
}

// ledger folds the ledger. It returns nil for one that does not fold.
func (c *accountChecker) ledger(ctx context.Context, a store.Account) (*ledger.State, error) {
	state := &ledger.State{}
	c.named = map[ledger.ShareID]ledger.ServerShare{}
	for sequence := uint64(0); sequence < a.Head.Sequence; {
		page, err := c.store.Entries(ctx, c.id, sequence, a.Head.Sequence, api.PageSize)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			c.wrong("its ledger lacks entry %d", sequence+1)
			return nil, nil
		}
		for _, b := range page {
			sequence++
			e, err := ledger.ParseEntry(b)
			if err == nil {
				err = state.Extend(e)
			}
			if err != nil {
				c.wrong("entry %d: %v", sequence, err)
				return nil, nil
			}
			for _, share := range e.ServerShares() {
				c.named[share.ShareID] = share
			}
			c.done.Entries++
		}
	}
	if state.Head() != a.Head {
		c.wrong("its ledger ends with %v, and the account says %v", state.Head(), a.Head)
	}
	if state.Account() != c.id {
		c.wrong("its ledger is that of account %v", state.Account())
	}
	return state, nil
}

func (c *accountChecker) activities(ctx context.Context) error {
	var previous *ledger.Activity
	for {
		var sequence uint64
		if previous != nil {
			sequence = previous.Sequence()
		}
		page, end, err := c.store.ActivityLog(ctx, c.id, sequence, api.PageSize)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			if sequence != end.Sequence {
				c.wrong("its activity log lacks entry %d", sequence+1)
			}
			return nil
		}
		for _, b := range page {
			a, err := ledger.ParseActivity(b)
			if err == nil {
				err = a.Follows(c.id, previous)
			}
			if err != nil {
				c.wrong("entry %d of its activity log: %v", sequence+1, err)
				return nil
			}
			previous = a
			sequence++
			c.done.Activities++
		}
	}
}

func (c *accountChecker) attestations(ctx context.Context, state *ledger.State) error {
	all, err := c.store.Attestations(ctx, c.id)
	if err != nil {
		return err
	}
	for _, b := range all {
		a, err := ledger.ParseAttestation(b)
		switch {
		case err != nil:
			c.wrong("an attestation: %v", err)
		case a.Account() != c.id || a.Head().Sequence <= state.Head().Sequence && !state.Contains(a.Head()):
			c.wrong("device %d attests another ledger", a.Holder().GetNumber())
		}
	}
	return nil
}

func (c *accountChecker) recoveries(ctx context.Context, state *ledger.State) error {
	all, err := c.store.Recoveries(ctx, c.id)
	for _, r := range all {
		if !r.Released && !isOver(state, r) {
			c.done.Waiting = append(c.done.Waiting, r.ID)
		}
	}
	return err
}

// encrypted opens what stands encrypted and is no share.
func (c *accountChecker) encrypted(ctx context.Context) error {
	things, err := c.store.EncryptedBeside(ctx, c.id)
	if err != nil {
		return err
	}
	for _, e := range things {
		plain, err := openEncrypted(c.keys, e)
		if err != nil {
			c.wrong("%v", err)
		}
		clear(plain)
	}
	return nil
}

// sharesAtOnce is how many shares are read at a time: one may have megabytes.
const sharesAtOnce = 8

func (c *accountChecker) shares(ctx context.Context, state *ledger.State) error {
	have, err := c.store.ShareIDs(ctx, c.id)
	if err != nil {
		return err
	}
	missing := map[ledger.ShareID]bool{}
	for _, share := range state.RequiredShares() {
		missing[share.ShareID] = true
	}
	for len(have) > 0 {
		some := have[:min(len(have), sharesAtOnce)]
		have = have[len(some):]
		stored, err := c.store.Shares(ctx, c.id, some)
		if err != nil {
			return err
		}
		for _, share := range stored {
			delete(missing, share.ShareID)
			c.share(share)
		}
	}
	for _, share := range state.RequiredShares() {
		if missing[share.ShareID] {
			c.wrong("%s is missing", shareName(share.ShareID))
		}
	}
	return nil
}

// share opens one share and compares it with the ledger's hash.
func (c *accountChecker) share(share store.Share) {
	c.done.Shares++
	want, ok := c.named[share.ShareID]
	if !ok {
		c.wrong("%s is in no entry of the ledger", shareName(share.ShareID))
		return
	}
	plain, err := openEncrypted(c.keys, store.Encrypted{
		Kind: store.EncryptedShare, Account: c.id, Share: share.ShareID, Key: share.Key, Sealed: share.Sealed,
	})
	if err != nil {
		c.wrong("%v", err)
		return
	}
	defer clear(plain)
	if hash := sha256.Sum256(plain); !bytes.Equal(hash[:], want.Hash[:]) {
		c.wrong("%s has another hash than the ledger's", shareName(share.ShareID))
	}
}
