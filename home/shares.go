package home

import (
	"fmt"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
)

func (h *Home) loadServerShares() error {
	h.share = make(map[ledger.ShareID]int)
	n := 0
	var err error
	h.shares, err = h.openLog(serverSharesFile, func(b []byte) error {
		_, id, err := parseServerShare(b)
		if err != nil {
			return err
		}
		h.share[id] = n
		n++
		return nil
	})
	return err
}

func parseServerShare(b []byte) (*recordv1.SealedServerShare, ledger.ShareID, error) {
	s := new(recordv1.SealedServerShare)
	if err := canonical.Unmarshal(b, s); err != nil {
		return nil, ledger.ShareID{}, err
	}
	id, err := ledger.SealedShareID(s)
	if err != nil {
		return nil, ledger.ShareID{}, err
	}
	return s, id, nil
}

// PutServerShares stores server shares as they were sealed to the server, each
// in the place of an earlier one of the same id.
func (h *Home) PutServerShares(shares ...*recordv1.SealedServerShare) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.putServerShares(shares)
}

func (h *Home) putServerShares(shares []*recordv1.SealedServerShare) error {
	if err := h.writable(); err != nil {
		return err
	}
	var payloads [][]byte
	var ids []ledger.ShareID
	for _, s := range shares {
		id, err := ledger.SealedShareID(s)
		if err != nil {
			return fmt.Errorf("home: server share: %w", err)
		}
		b, err := canonical.Marshal(s)
		if err != nil {
			return fmt.Errorf("home: server share: %w", err)
		}
		if i, ok := h.share[id]; ok {
			if old, err := h.shares.read(i); err == nil && string(old) == string(b) {
				continue
			}
		}
		payloads, ids = append(payloads, b), append(ids, id)
	}
	first := h.shares.len()
	if len(payloads) == 0 {
		return nil
	}
	if err := h.shares.append(payloads...); err != nil {
		return err
	}
	for i, id := range ids {
		h.share[id] = first + i
	}
	return nil
}

// HasServerShare says whether there is a server share, without reading it.
func (h *Home) HasServerShare(id ledger.ShareID) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	_, ok := h.share[id]
	return ok
}

// ServerShare returns a server share as it was sealed to the server, or
// ErrNotFound. What the server must hold, ledger.State.RequiredShares says.
func (h *Home) ServerShare(id ledger.ShareID) (*recordv1.SealedServerShare, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return nil, ErrClosed
	}
	i, ok := h.share[id]
	if !ok {
		return nil, fmt.Errorf("%w: a server share of epoch %d", ErrNotFound, id.Epoch)
	}
	b, err := h.shares.read(i)
	if err != nil {
		return nil, err
	}
	s, _, err := parseServerShare(b)
	return s, err
}

// PruneServerShares forgets the shares that the server need not hold any more,
// once they are most of the file. It does nothing while an append is under way,
// whose shares the ledger does not name yet.
func (h *Home) PruneServerShares() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writable(); err != nil {
		return err
	}
	if h.state == nil || h.hasJournal() {
		return nil
	}
	var kept [][]byte
	index := make(map[ledger.ShareID]int)
	for _, required := range h.state.RequiredShares() {
		i, ok := h.share[required.ShareID]
		if !ok {
			continue
		}
		b, err := h.shares.read(i)
		if err != nil {
			return err
		}
		index[required.ShareID] = len(kept)
		kept = append(kept, b)
	}
	if 2*len(kept) > h.shares.len() {
		return nil
	}
	if err := h.shares.rewrite(kept); err != nil {
		return err
	}
	h.share = index
	return nil
}
