package home

import (
	"errors"
	"fmt"
	"io"
	"os"

	"zeropass.dev/zeropass/ledger"
)

func (h *Home) loadActivity() error {
	var err error
	h.acts, err = h.openLog(activityFile, func(b []byte) error {
		a, err := ledger.ParseActivity(b)
		if err == nil {
			err = a.Follows(a.Account(), h.lastAct)
		}
		if err != nil {
			return err
		}
		h.lastAct = a
		return nil
	})
	return err
}

// LastActivity returns the newest entry of the activity log that the device
// has, nil if it has none.
func (h *Home) LastActivity() *ledger.Activity {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.lastAct
}

// AppendActivity stores entries of the activity log that follow those it has.
// One that does not is the ledger's error, and a sign that the server hides or
// rewrites something.
func (h *Home) AppendActivity(activities ...*ledger.Activity) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writable(); err != nil {
		return err
	}
	last := h.lastAct
	var payloads [][]byte
	for _, a := range activities {
		if err := a.Follows(ledger.AccountID(h.config.GetAccount()), last); err != nil {
			return err
		}
		payloads, last = append(payloads, a.Bytes()), a
	}
	if len(payloads) == 0 {
		return nil
	}
	if err := h.acts.append(payloads...); err != nil {
		return err
	}
	h.lastAct = last
	return nil
}

// Activity returns at most limit entries of the activity log that follow the
// one with this sequence number; 0 is before the first.
func (h *Home) Activity(after uint64, limit int) ([]*ledger.Activity, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return nil, ErrClosed
	}
	var activities []*ledger.Activity
	for i := after; i < uint64(h.acts.len()) && len(activities) < limit; i++ {
		a, err := h.activity(i + 1)
		if err != nil {
			return nil, err
		}
		activities = append(activities, a)
	}
	return activities, nil
}

// loadLost reads what the server has lost. Homes begin without the file.
func (h *Home) loadLost() error {
	h.hasLost = map[ledger.Hash]bool{}
	if _, err := os.Stat(h.path(lostFile)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var err error
	h.lost, err = h.openLog(lostFile, func(b []byte) error {
		a, err := ledger.ParseActivity(b)
		if err == nil {
			h.hasLost[a.Hash()] = true
		}
		return err
	})
	return err
}

// BranchActivity has the activity log go on with other entries after the one with
// the number common, because the server lost those that the device has there. They
// stay, in [Home.LostActivity]. It can be repeated: a crash meanwhile leaves the
// log as it was, or as it will be. Errors are those of AppendActivity.
func (h *Home) BranchActivity(common uint64, branch ...*ledger.Activity) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writable(); err != nil {
		return err
	}
	if common > uint64(h.acts.len()) {
		return fmt.Errorf("%w: the log branches at entry %d, and ends with %d", ErrGap, common, h.acts.len())
	}
	var last *ledger.Activity
	if common > 0 {
		var err error
		if last, err = h.activity(common); err != nil {
			return err
		}
	}
	var payloads [][]byte
	for _, a := range branch {
		if err := a.Follows(ledger.AccountID(h.config.GetAccount()), last); err != nil {
			return err
		}
		payloads, last = append(payloads, a.Bytes()), a
	}
	// First what would be lost is safe, then the log lets go of it.
	if err := h.keepLost(common); err != nil {
		return err
	}
	end := h.acts.end
	if common < uint64(h.acts.len()) {
		end = h.acts.offsets[common]
	}
	err := h.acts.replace(func(w io.Writer) error {
		_, err := io.Copy(w, io.NewSectionReader(h.acts.file, 0, end))
		return err
	}, h.acts.offsets[:common], end, payloads)
	if err != nil {
		return err
	}
	h.lastAct = last
	return nil
}

// keepLost stores the entries after common among the lost ones.
func (h *Home) keepLost(common uint64) error {
	var payloads [][]byte
	var hashes []ledger.Hash
	for sequence := common + 1; sequence <= uint64(h.acts.len()); sequence++ {
		a, err := h.activity(sequence)
		if err != nil {
			return err
		}
		if !h.hasLost[a.Hash()] {
			payloads, hashes = append(payloads, a.Bytes()), append(hashes, a.Hash())
		}
	}
	if len(payloads) == 0 {
		return nil
	}
	if h.lost == nil {
		if err := writeFile(h.path(lostFile), []byte(magic(lostFile))); err != nil {
			return err
		}
		if err := h.loadLost(); err != nil {
			return err
		}
	}
	if err := h.lost.append(payloads...); err != nil {
		return err
	}
	for _, hash := range hashes {
		h.hasLost[hash] = true
	}
	return nil
}

// LostActivity returns the entries of the activity log that the server has lost,
// in the order in which that was found out. One that has come back is none.
func (h *Home) LostActivity() ([]*ledger.Activity, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return nil, ErrClosed
	}
	var lost []*ledger.Activity
	for i := range h.lost.len() {
		b, err := h.lost.read(i)
		if err != nil {
			return nil, err
		}
		a, err := ledger.ParseActivity(b)
		if err != nil {
			return nil, err
		}
		if a.Sequence() <= uint64(h.acts.len()) {
			here, err := h.activity(a.Sequence())
			if err != nil {
				return nil, err
			}
			if here.Hash() == a.Hash() {
				continue
			}
		}
		lost = append(lost, a)
	}
	return lost, nil
}

// activity returns the entry of the log with this number.
func (h *Home) activity(sequence uint64) (*ledger.Activity, error) {
	b, err := h.acts.read(int(sequence - 1))
	if err != nil {
		return nil, err
	}
	return ledger.ParseActivity(b)
}
