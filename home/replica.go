package home

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"

	"zeropass.dev/zeropass/ledger"
)

// loadLedger reads the replica and folds it.
func (h *Home) loadLedger() error {
	var payloads [][]byte
	var err error
	h.entries, err = h.openLog(ledgerFile, func(b []byte) error {
		payloads = append(payloads, b)
		return nil
	})
	if err != nil {
		return err
	}
	entries, err := parseEntries(payloads)
	if err == nil && len(entries) > 0 {
		h.state, err = ledger.Fold(entries...)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ledger.ErrNewer):
		return fmt.Errorf("home: the ledger %w", err)
	case h.tolerant:
		return h.foldWhatStands(payloads)
	}
	return &DamageError{File: ledgerFile, Reason: fmt.Sprintf("its frames are intact, but they are no ledger: %v", err)}
}

// foldWhatStands folds as many entries as can be, one by one.
func (h *Home) foldWhatStands(payloads [][]byte) error {
	state := new(ledger.State)
	for i, b := range payloads {
		entry, err := ledger.ParseEntry(b)
		if err == nil {
			err = state.Apply(entry)
		}
		if err != nil {
			h.damage = append(h.damage, &DamageError{File: ledgerFile, Offset: h.entries.offsets[i], Reason: err.Error()})
			h.entries.offsets, h.entries.end = h.entries.offsets[:i], h.entries.offsets[i]
			break
		}
		h.state = state
	}
	return nil
}

// parseEntries parses entries on all cores. The error is that of the first
// entry that has one, in their order.
func parseEntries(payloads [][]byte) ([]*ledger.Entry, error) {
	entries := make([]*ledger.Entry, len(payloads))
	errs := make([]error, len(payloads))
	var group errgroup.Group
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		group.Go(func() error {
			for i := w; i < len(payloads); i += workers {
				entries[i], errs[i] = ledger.ParseEntry(payloads[i])
			}
			return nil
		})
	}
	_ = group.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
	}
	return entries, nil
}

// State returns the fold of the replica, nil before Genesis. It is never
// changed: after an append, State returns another one.
func (h *Home) State() *ledger.State {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.state
}

// Entries returns the exact bytes of at most limit entries that follow the one
// with this sequence number; 0 is before Genesis.
func (h *Home) Entries(after uint64, limit int) ([][]byte, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return nil, ErrClosed
	}
	var entries [][]byte
	for i := after; i < uint64(h.entries.len()) && len(entries) < limit; i++ {
		b, err := h.entries.read(int(i))
		if err != nil {
			return nil, err
		}
		entries = append(entries, b)
	}
	return entries, nil
}

// Append folds entries and stores them: all of them, or none if it returns an
// error; after a crash meanwhile, the first ones or none. Entries that the
// replica has already are passed over, so that an append can be repeated.
//
// It returns ErrFork for an entry that is not the replica's at its place, ErrGap
// if entries are missing in between, ErrAccount for a ledger that is not this
// device's, the ledger's errors for an entry that may not follow, or ErrWrite.
func (h *Home) Append(entries ...*ledger.Entry) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.append(entries)
}

func (h *Home) append(entries []*ledger.Entry) error {
	if err := h.writable(); err != nil {
		return err
	}
	fresh, err := h.fresh(entries)
	if err != nil || len(fresh) == 0 {
		return err
	}
	state := new(ledger.State)
	if h.state != nil {
		state = h.state.Clone()
	}
	if err := state.Extend(fresh...); err != nil {
		return err
	}
	if err := h.checkAccount(state.Account()); err != nil {
		return err
	}
	if err := h.entries.append(entryBytes(fresh)...); err != nil {
		return err
	}
	h.state = state
	return nil
}

// fresh returns the entries that the replica has not got.
func (h *Home) fresh(entries []*ledger.Entry) ([]*ledger.Entry, error) {
	var head ledger.Head
	if h.state != nil {
		head = h.state.Head()
	}
	for i, e := range entries {
		if e.Sequence() > head.Sequence {
			if e.Sequence() != head.Sequence+1 {
				return nil, fmt.Errorf("%w: entry %d, after entry %d", ErrGap, e.Sequence(), head.Sequence)
			}
			if head.Sequence > 0 && e.Previous() != head.Hash {
				return nil, fmt.Errorf("%w: entry %d follows another entry %d", ErrFork, e.Sequence(), head.Sequence)
			}
			return entries[i:], nil
		}
		if !h.state.Contains(e.Head()) {
			return nil, fmt.Errorf("%w: entry %d", ErrFork, e.Sequence())
		}
	}
	return nil, nil
}

// checkAccount refuses a ledger that is not this device's. Before SetIdentity
// any is accepted: it is the caller who compared its id.
func (h *Home) checkAccount(account ledger.AccountID) error {
	if id := h.config.GetAccount(); len(id) > 0 && string(id) != string(account[:]) {
		return fmt.Errorf("%w: a ledger of %v, here is %x", ErrAccount, account, id)
	}
	if h.keys != nil && h.keys.Account != (ledger.AccountID{}) && h.keys.Account != account {
		return fmt.Errorf("%w: a ledger of %v, here is %v", ErrAccount, account, h.keys.Account)
	}
	return nil
}

// ReplaceLedger puts another ledger of the same account, from Genesis on, in the
// place of the replica, after a fork that the owner has decided. The old one
// stays as evidence. Errors are those of Append.
func (h *Home) ReplaceLedger(entries ...*ledger.Entry) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writable(); err != nil {
		return err
	}
	state, err := ledger.Fold(entries...)
	if err != nil {
		return err
	}
	if err := h.checkAccount(state.Account()); err != nil {
		return err
	}
	if h.state != nil {
		head := h.state.Head()
		if err := h.keepCopy(ledgerFile, fmt.Sprintf("ledger-%d-%x", head.Sequence, head.Hash[:8])); err != nil {
			return err
		}
	}
	if err := h.entries.rewrite(entryBytes(entries)); err != nil {
		return err
	}
	h.state = state
	return nil
}

func entryBytes(entries []*ledger.Entry) [][]byte {
	b := make([][]byte, len(entries))
	for i, e := range entries {
		b[i] = e.Bytes()
	}
	return b
}

// keepCopy copies a file into the evidence.
func (h *Home) keepCopy(name, evidence string) error {
	f, err := os.Open(h.path(name))
	if err != nil {
		return fmt.Errorf("home: read %s: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	to := h.path(filepath.Join(evidenceDir, evidence))
	copied, err := createUnfinished(to)
	if err != nil {
		return err
	}
	if _, err = io.Copy(copied, f); err != nil {
		err = writeError(err)
	} else {
		err = finish(copied, to)
	}
	if err != nil {
		_ = copied.Close()
		_ = os.Remove(copied.Name())
	}
	return err
}
