package device

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/signing"
)

// Decision is what was decided on this device about a recovery request.
type Decision string

// Decisions. A veto turns an approval back into Undecided.
const (
	Undecided Decision = "undecided"
	Approved  Decision = "approved" // and waits until it is due
	Sent      Decision = "sent"     // approval and share have left
	Denied    Decision = "denied"   // nothing leaves
)

// SpeakFirst is what a contact must read before anything else about a request.
const SpeakFirst = "Speak with the person first, by voice or face to face, and let them read the eight words of their new device to you. " +
	"A message is not enough: whoever you approve gets everything, together with others who approve. If you cannot reach the person, do not approve."

// SeenVeto is a veto of a request as this device was shown it.
type SeenVeto struct {
	Entry    ledger.Hash // of the ledger's entry
	Device   uint64      // of the account, that vetoed
	Verified bool        // its signature is that of a device that is known here
	Seen     time.Time   // by this device, for the first time
}

// RecoveryRequest is what a new device asks for, as it is known on this one.
type RecoveryRequest struct {
	ID      ledger.Hash
	Account ledger.AccountID
	Owner   string // what the account is called here
	Own     bool   // it is this device's account; else one whose share is kept here
	Phrase  string // eight words of the new device, which its screen shows as well

	Asked     time.Time // by the new device's clock
	FirstSeen time.Time // by this device
	Started   time.Time // by the server
	Ends      time.Time // of the waiting period, by the server
	Due       time.Time // of this device's own wait for the share that it holds; zero if Own
	Approvals int       // that count, by the server
	Quorum    int
	Sheet     bool // the printed sheet has approved it, which is enough
	Vetoes    []SeenVeto

	Decision Decision
	Decided  time.Time // zero while undecided
	Voided   bool      // it was approved here, and vetoed since
	Released bool      // the server has given its shares to the new device
	Over     bool      // the account was recovered, or nobody asks any more
	Cannot   string    // why this device cannot approve; empty if it can, or if Own
}

// seenRequest is what a device keeps of a request. Its own waiting period counts
// from here, whatever the server says later.
type seenRequest struct {
	Request   []byte // exact bytes of the SignedRecoveryRequest
	Name      string // of the account, by the server
	FirstSeen time.Time
	Vetoes    []SeenVeto // in ledger order

	Decision Decision
	Decided  time.Time
	Voided   bool

	Started, Ends  time.Time // what follows is the server's word
	Epoch          uint64    // in use
	Quorum         uint64
	Counted        []uint64 // members whose approvals count
	Approvals      uint64
	Sheet          bool
	Released, Over bool

	parsed *ledger.RecoveryRequest
	stored []byte // as it stands in the file
}

const (
	requestFile = "request-" // and the id in hexadecimal
	// maxRequests is how many open requests a device follows for an account. Anybody can make
	// them, and each takes a file; a server admits fewer for one account.
	maxRequests = 1024
	// forgetAfter is when a request that has ended is forgotten.
	forgetAfter = 30 * 24 * time.Hour
)

// over says whether nothing can come of the request any more.
func (r *seenRequest) over() bool { return r.Over }

// waitFrom returns from when this device's own waiting period counts: it first
// saw the request, or the newest veto.
func (r *seenRequest) waitFrom() time.Time {
	from := r.FirstSeen
	for _, v := range r.Vetoes {
		if v.Seen.After(from) {
			from = v.Seen
		}
	}
	return from
}

// decide notes a decision.
func (r *seenRequest) decide(what Decision, at time.Time) {
	r.Decision, r.Decided, r.Voided = what, at, false
}

// recoveryPhrase is the safety phrase of the new device that asks.
func recoveryPhrase(r *recordv1.RecoveryRequest) string {
	return safetyPhrase(ledger.AccountID(r.Account), purposeRecovery, r.SignKey, r.SealKey, r.ConfirmKey)
}

// seenRequests returns the requests that the device has seen, from the first on.
func (d *Device) seenRequests() ([]*seenRequest, error) {
	names, err := d.home.PrivateNames()
	if err != nil {
		return nil, err
	}
	var all []*seenRequest
	for _, name := range names {
		if !strings.HasPrefix(name, requestFile) {
			continue
		}
		r, err := load[seenRequest](d, name)
		if err != nil {
			return nil, err
		}
		if r.parsed, err = ledger.ParseRecoveryRequest(r.Request); err != nil {
			return nil, fmt.Errorf("device: private/%s: %w", name, err)
		}
		if r.stored, err = json.Marshal(r); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *seenRequest) int {
		return cmp.Or(a.FirstSeen.Compare(b.FirstSeen), bytes.Compare(a.Request, b.Request))
	})
	return all, nil
}

// saveRequest stores what is known of a request, if that has changed.
func (d *Device) saveRequest(r *seenRequest) error {
	b, err := json.Marshal(r)
	if err != nil || bytes.Equal(b, r.stored) {
		return err
	}
	if err := d.home.PutPrivate(requestFile+r.parsed.ID().String(), b); err != nil {
		return err
	}
	r.stored = b
	return nil
}

// refreshRequests asks the server which recoveries concern this account and what
// it keeps shares of, and notes what is new before anybody sees it. The warnings
// are about what the server shows and cannot be.
func (d *Device) refreshRequests(ctx context.Context) (all []*seenRequest, warnings []string, err error) {
	shown, err := d.client.Recoveries(ctx, d.identity())
	if err != nil {
		return nil, nil, err
	}
	return d.noteRequests(shown)
}

// noteRequests notes what the server shows.
func (d *Device) noteRequests(shown []*apiv1.Recovery) (all []*seenRequest, warnings []string, err error) {
	if all, err = d.seenRequests(); err != nil {
		return nil, nil, err
	}
	shares, err := d.wholeShares()
	if err != nil {
		return nil, nil, err
	}
	defer eraseHeld(shares)
	listed := map[ledger.Hash]bool{}
	for _, s := range shown {
		request, err := ledger.ParseRecoveryRequest(s.GetRequest())
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("the server shows a recovery request that is none: %v", err))
			continue
		}
		listed[request.ID()] = true
		i := slices.IndexFunc(all, func(r *seenRequest) bool { return r.parsed.ID() == request.ID() })
		if i < 0 {
			if concerned, why := d.concerned(request, shares); !concerned {
				warnings = append(warnings, why...)
				continue
			}
			if openRequests(all, request.Account()) >= maxRequests {
				warnings = append(warnings, "there are more recovery requests than this device can follow")
				continue
			}
			all, i = append(all, &seenRequest{Request: request.Bytes(), FirstSeen: d.o.Now(), Decision: Undecided, parsed: request}), len(all)
		}
		more, err := d.note(all[i], s, shares)
		if err != nil {
			return nil, nil, err
		}
		warnings = append(warnings, more...)
	}
	all, err = d.forgetRequests(all, listed)
	return all, warnings, err
}

func openRequests(all []*seenRequest, account ledger.AccountID) (open int) {
	for _, r := range all {
		if !r.over() && r.parsed.Account() == account {
			open++
		}
	}
	return open
}

// concerned says whether a request is for this account, or for one whose share is
// kept here, and whether it can be one.
func (d *Device) concerned(request *ledger.RecoveryRequest, shares []*heldShare) (bool, []string) {
	if request.Account() == d.keys.Account {
		if err := d.home.State().CheckRequest(request); err != nil {
			return false, []string{fmt.Sprintf("the server shows a request to recover this account that cannot be: %v", err)}
		}
		return true, nil
	}
	for _, s := range slices.Backward(shares) { // the newest epoch's envelope knows most
		if s.id.Account != request.Account() {
			continue
		}
		if err := recovery.CheckRequest(s.envelope, request); err != nil {
			return false, []string{fmt.Sprintf("the server shows a request to recover %s that cannot be: %v", s.Owner, err)}
		}
		return true, nil
	}
	return false, nil
}

// note takes over what the server says of a request, and stores it. A veto that
// was not seen before voids what was approved, and the wait starts again.
func (d *Device) note(r *seenRequest, shown *apiv1.Recovery, shares []*heldShare) (warnings []string, err error) {
	vetoes, warnings := d.vetoes(r, shown.GetVetoes(), shares)
	if len(vetoes) > len(r.Vetoes) && (r.Decision == Approved || r.Decision == Sent) {
		r.decide(Undecided, time.Time{})
		r.Voided = true
	}
	r.Vetoes = vetoes
	r.Name = shown.GetName()
	r.Started, r.Ends = millis(shown.GetStarted()), millis(shown.GetEnds())
	r.Epoch, r.Quorum = shown.GetEpoch(), shown.GetQuorum()
	r.Approvals, r.Counted, r.Sheet = shown.GetApprovals(), shown.GetApproved(), shown.GetSheetApproved()
	r.Released, r.Over = shown.GetReleased(), shown.GetOver()
	return warnings, d.saveRequest(r)
}

func millis(ms uint64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}

// vetoes returns the vetoes of a request, those that were seen before included.
// For this account they are those of its ledger; for another they are what the
// server shows, each an entry that is signed.
func (d *Device) vetoes(r *seenRequest, shown [][]byte, shares []*heldShare) (all []SeenVeto, warnings []string) {
	if r.parsed.Account() == d.keys.Account {
		for _, v := range d.home.State().Vetoes(r.parsed.ID()) {
			all = append(all, SeenVeto{Entry: v.Entry, Device: v.Device, Verified: true, Seen: v.Time})
		}
		return all, nil
	}
	all = r.Vetoes
	sequence := map[ledger.Hash]uint64{}
	for _, b := range shown {
		entry, verified, err := parseVeto(b, r.parsed, shares)
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("the server shows a veto of a request to recover %s that is none: %v", r.Name, err))
			continue
		}
		sequence[entry.Hash()] = entry.Sequence()
		if !slices.ContainsFunc(all, func(v SeenVeto) bool { return v.Entry == entry.Hash() }) {
			all = append(slices.Clip(all), SeenVeto{Entry: entry.Hash(), Device: entry.Author(), Verified: verified, Seen: d.o.Now()})
		}
	}
	// In ledger order. One that the server does not show any more keeps its place.
	slices.SortStableFunc(all, func(a, b SeenVeto) int {
		x, y := sequence[a.Entry], sequence[b.Entry]
		if x == 0 || y == 0 {
			return 0
		}
		return cmp.Compare(x, y)
	})
	return all, warnings
}

// parseVeto reads an entry that vetoes the request, and says whether one of the
// owner's devices that the envelopes name signed it. A device that is not known
// here may be a later one: its veto counts too, for it can only hold things up.
// A known device's veto with another's signature is none.
func parseVeto(b []byte, request *ledger.RecoveryRequest, shares []*heldShare) (entry *ledger.Entry, verified bool, err error) {
	if entry, err = ledger.ParseEntry(b); err != nil {
		return nil, false, err
	}
	id := request.ID()
	account, ok := entry.Account()
	if !ok || account != request.Account() || !slices.ContainsFunc(entry.Records(), func(r *recordv1.Record) bool {
		return bytes.Equal(r.GetRecoveryVetoed().GetRequest(), id[:])
	}) {
		return nil, false, fmt.Errorf("the entry vetoes something else")
	}
	signed := &recordv1.SignedEntry{}
	if err := canonical.Unmarshal(b, signed); err != nil {
		return nil, false, err
	}
	known := false
	for _, s := range shares {
		if s.id.Account != account {
			continue
		}
		for _, own := range s.envelope.Devices {
			key, err := signing.NewPublicKey(own.SignKey)
			if err != nil || own.Device != entry.Author() {
				continue
			}
			known = true
			verified = verified || key.Verify(signing.NewContext("entry").Bytes(signed.Entry), signed.Signature)
		}
	}
	if known && !verified {
		return nil, false, fmt.Errorf("device %d did not sign it", entry.Author())
	}
	return entry, verified, nil
}

// forgetRequests notes what has ended, because the server does not show it any
// more, and removes what ended long ago. A server that shows a request again
// gains nothing: when it was seen first is known.
func (d *Device) forgetRequests(all []*seenRequest, listed map[ledger.Hash]bool) ([]*seenRequest, error) {
	var kept []*seenRequest
	for _, r := range all {
		r.Over = r.Over || !listed[r.parsed.ID()]
		if !r.Over || d.o.Now().Sub(r.waitFrom()) < forgetAfter {
			if err := d.saveRequest(r); err != nil {
				return nil, err
			}
			kept = append(kept, r)
			continue
		}
		if err := d.home.RemovePrivate(requestFile + r.parsed.ID().String()); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// describe is a request for people.
func (d *Device) describe(r *seenRequest, shares []*heldShare) RecoveryRequest {
	described := RecoveryRequest{
		ID:      r.parsed.ID(),
		Account: r.parsed.Account(),
		Owner:   r.Name,
		Own:     r.parsed.Account() == d.keys.Account,
		Phrase:  recoveryPhrase(r.parsed.Message()),
		Asked:   r.parsed.Time(), FirstSeen: r.FirstSeen, Started: r.Started, Ends: r.Ends,
		Approvals: int(r.Approvals), Quorum: int(r.Quorum), Sheet: r.Sheet, Vetoes: r.Vetoes,
		Decision: r.Decision, Decided: r.Decided, Voided: r.Voided, Released: r.Released, Over: r.Over,
	}
	if described.Own {
		described.Owner = d.Name()
		return described
	}
	share, newest := shareFor(r, shares)
	switch {
	case share != nil:
		described.Owner = share.Owner
		described.Due = recovery.DueAt(share.envelope, r.waitFrom())
	case newest != nil:
		described.Owner = newest.Owner
		described.Cannot = fmt.Sprintf("the share that is kept here is of epoch %d, in use is epoch %d", newest.id.Epoch, r.Epoch)
	default:
		described.Cannot = "no share of this account is kept here any more"
	}
	return described
}

// shareFor returns the share of the epoch that is to be recovered, nil if it is
// not held here, and the newest of the account that is.
func shareFor(r *seenRequest, shares []*heldShare) (share, newest *heldShare) {
	for _, s := range shares {
		if s.id.Account != r.parsed.Account() {
			continue
		}
		newest = s
		if s.id.Epoch == r.Epoch {
			share = s
		}
	}
	return share, newest
}

// pick returns the request that the first digits of an id name, or the only one.
func pick(all []*seenRequest, query string, fits func(*seenRequest) bool) (*seenRequest, error) {
	query = strings.ToLower(strings.TrimSpace(query))
	var found []*seenRequest
	var ids []string
	for _, r := range all {
		if !fits(r) {
			continue
		}
		id := r.parsed.ID().String()
		ids = append(ids, id[:8])
		if strings.HasPrefix(id, query) {
			found = append(found, r)
		}
	}
	const hint = "zeropass request list shows them"
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(ids) == 0:
		return nil, failure(CodeNotFound, nil, hint, "there is no such recovery request")
	case len(found) == 0:
		return nil, failure(CodeNotFound, nil, "these are open: "+strings.Join(ids, ", "), "there is no recovery request %s", query)
	}
	return nil, failure(CodeUsage, nil, "name one of "+strings.Join(ids, ", "), "%d recovery requests fit %q", len(found), query)
}

// pickSpoken returns the open request that the digits name, and where several
// fit, the one with the words that the person read out: strangers may have asked
// too, any number of times, and who was spoken to is told from them by the words.
func pickSpoken(all []*seenRequest, query, phrase string) (*seenRequest, error) {
	open := func(r *seenRequest) bool { return !r.Over }
	r, err := pick(all, query, open)
	var failed *Error
	if phrase == "" || !errors.As(err, &failed) || failed.Code != CodeUsage {
		return r, err
	}
	spoken := func(r *seenRequest) bool {
		return open(r) && samePhrase(phrase, recoveryPhrase(r.parsed.Message()))
	}
	if !slices.ContainsFunc(all, spoken) {
		return nil, failure(CodeFailed, ErrPhrase, "speak with the person again; zeropass request list shows who asks", "these are the words of no device that asks")
	}
	return pick(all, query, spoken)
}

// parseRequestID reads a whole id.
func parseRequestID(s string) (ledger.Hash, bool) {
	b, err := hex.DecodeString(strings.TrimSpace(s))
	if err != nil || len(b) != len(ledger.Hash{}) {
		return ledger.Hash{}, false
	}
	return ledger.Hash(b), true
}
