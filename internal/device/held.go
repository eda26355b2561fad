package device

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/slip39"
)

// HeldShare is a share that is kept for somebody else. Its words print like any
// text: show them to a person, and log nothing of this.
type HeldShare struct {
	secretive

	Owner         string
	Account       ledger.AccountID
	Epoch         uint64
	Member        uint64
	Quorum        int
	Members       int
	WaitingPeriod time.Duration
	Whole         bool        // both halves are here
	Words         string      // 59 words; empty while they may not be shown
	QR            string      // text of a QR code; likewise
	ShownFrom     time.Time   // when they may be shown, while a recovery is open; else zero
	Head          ledger.Head // newest that the owner has proved
	Newer         uint64      // epoch of a newer whole share for the same account, 0 if this is the newest
}

// askTimeout is how long an operation that works without the server tries to
// reach it nevertheless.
const askTimeout = 10 * time.Second

// Held returns the shares that are kept here for others. It does not need the
// server, and asks it nevertheless whether somebody wants to recover one of the
// accounts: else whoever tricks a contact who has not synced would get the words
// at once. While a recovery of the owner is open, the words are shown only when
// the waiting period of the share's envelope has passed since this device saw the
// request, or its newest veto: somebody who tricks a contact must wait as well.
func (d *Device) Held(ctx context.Context) ([]HeldShare, error) {
	if err := d.readable(); err != nil {
		return nil, err
	}
	all, err := d.home.Held()
	if err != nil {
		return nil, explain(err, "read the shares that are kept here")
	}
	seen, err := d.requestsNow(ctx)
	if err != nil {
		return nil, explain(err, "look for recovery requests")
	}
	var shares []HeldShare
	for _, stored := range all {
		id, err := home.ParseHeldID(stored)
		if err != nil {
			return nil, explain(err, "read a share")
		}
		e, err := recovery.ParseEnvelope(stored.Envelope)
		if err != nil {
			return nil, explain(err, "read a share")
		}
		h := HeldShare{
			Owner: stored.Owner, Account: id.Account, Epoch: id.Epoch, Member: id.Member,
			Quorum: int(e.Quorum), Members: int(e.Members), WaitingPeriod: time.Duration(e.WaitingPeriod) * time.Second,
			Whole: len(stored.Share) > 0,
		}
		if a, err := ledger.ParseAttestation(stored.HeadDevice); err == nil {
			h.Head = a.Head()
		}
		for _, r := range seen {
			if r.parsed.Account() != id.Account || r.over() {
				continue
			}
			if due := recovery.DueAt(e, r.waitFrom()); due.After(h.ShownFrom) {
				h.ShownFrom = due
			}
		}
		if h.Whole && !d.o.Now().Before(h.ShownFrom) {
			share, err := slip39.ParseBinary(stored.Share)
			if err != nil {
				return nil, explain(err, "read a share")
			}
			h.Words, h.QR = share.Mnemonic(), recovery.QRText(share)
			share.Erase()
		}
		shares = append(shares, h)
	}
	newestFirst(shares)
	return shares, ctx.Err()
}

// newestFirst sorts shares by their owners, the newest epoch of each first, and
// marks the ones that a newer whole share takes the place of. They stay: which
// epoch is committed is known to the owner's devices alone.
func newestFirst(shares []HeldShare) {
	slices.SortStableFunc(shares, func(a, b HeldShare) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), bytes.Compare(a.Account[:], b.Account[:]), cmp.Compare(b.Epoch, a.Epoch))
	})
	var newest *HeldShare
	for i := range shares {
		h := &shares[i]
		switch {
		case newest != nil && newest.Account == h.Account:
			h.Newer = newest.Epoch
		case h.Whole:
			newest = h
		}
	}
}

// requestsNow returns the recovery requests that the server shows, or those that
// were seen before if it cannot be asked.
func (d *Device) requestsNow(ctx context.Context) ([]*seenRequest, error) {
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	shown, err := d.client.Recoveries(asking, d.identity())
	if err != nil {
		return d.seenRequests()
	}
	all, _, err := d.noteRequests(shown)
	return all, err
}
