package device

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"slices"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
)

// A contact's proof that it still has its share says when it was made, by the
// contact's own clock. What shows that it was not made ahead, before the share was
// deleted, is its nonce: it stands in the head that the owner's device sends, and
// nobody can tell it before that day who has no metadata key. Every device of the
// owner computes it anew, so that nothing about it needs to be stored or shared.

const (
	day = 24 * time.Hour
	// nonceDays is how far back a device looks for the day on which a nonce was given
	// out. Proofs that are older are not recent, whatever they say.
	nonceDays = 120
)

// dayOf numbers the days of UTC from 1970 on.
func dayOf(t time.Time) int64 { return t.Unix() / int64(day/time.Second) }

func startOf(number int64) time.Time { return time.Unix(number*int64(day/time.Second), 0) }

// contactNonce is the nonce that a contact gets with a head on one day.
func contactNonce(g *seed.Generation, account, contact ledger.AccountID, head ledger.Head, number int64) []byte {
	c := signing.NewContext("contact-nonce").Bytes(account[:]).Bytes(contact[:]).Bytes(head.Hash[:]).Uint(uint64(number))
	mac := hmac.New(sha256.New, g.Metadata.Bytes())
	mac.Write(c.Encode())
	return mac.Sum(nil)[:api.NonceSize]
}

// provedAt returns when a contact proved its share, as the nonce shows it: on the
// day on which the nonce was given out, or later. It is the contact's own time
// where that lies within the day, and the end of the day where it is later. ok is
// false for a nonce that no device of this account gave out; it proves nothing.
func (d *Device) provedAt(s *ledger.State, a *ledger.Attestation) (at time.Time, ok bool, err error) {
	e, known := s.Epoch(a.Epoch())
	if !known || a.Holder().GetKind() != recordv1.Holder_KIND_MEMBER {
		return time.Time{}, false, nil
	}
	m, known := e.Member(a.Holder().GetNumber())
	if !known || m.Contact == nil {
		return time.Time{}, false, nil
	}
	now := d.o.Now()
	if now.Sub(a.Time()) > nonceDays*day {
		return a.Time(), true, nil // a lie that makes a proof older helps nobody
	}
	given, ok, err := d.givenOut(s, ledger.AccountID(m.Contact.Account), a, dayOf(now))
	if err != nil || !ok {
		return time.Time{}, false, err
	}
	at = a.Time()
	if start := startOf(given); at.Before(start) {
		at = start
	} else if end := startOf(given + 1); at.After(end) {
		at = end
	}
	if at.After(now) {
		at = now
	}
	return at, true, nil
}

// givenOut finds the day on which the nonce of a contact's attestation was given
// out, the newest first. A device whose clock is a little ahead may have begun
// tomorrow.
func (d *Device) givenOut(s *ledger.State, contact ledger.AccountID, a *ledger.Attestation, today int64) (int64, bool, error) {
	var generations []*seed.Generation
	for number := uint64(1); number <= s.Generation(); number++ {
		if _, _, _, sealed := s.GenerationKeys(number, d.keys.Device); !sealed {
			break // this device was locked or revoked before
		}
		g, err := d.generation(s, number)
		if err != nil {
			return 0, false, err
		}
		generations = append(generations, g)
	}
	ends := generationEnds(s)
	for number := today + 1; number >= today-nonceDays; number-- {
		for i, g := range slices.Backward(generations) {
			// A revoked device knows the keys of its time. It does not give out nonces of
			// later days.
			if i < len(ends) && number > dayOf(ends[i]) {
				break
			}
			if a.Answers(contactNonce(g, s.Account(), contact, a.Head(), number)) {
				return number, true, nil
			}
		}
	}
	return 0, false, nil
}

// generationEnds returns when each key generation but the one in use got its
// successor, in their order: with each device that was revoked by another, and with
// each recovery, which revokes all at once.
func generationEnds(s *ledger.State) []time.Time {
	var events []ledger.Event
	recovered := map[uint64]bool{}
	for _, r := range s.Recoveries() {
		recovered[r.Sequence] = true
		events = append(events, ledger.Event{Sequence: r.Sequence, Time: r.Time})
	}
	for _, own := range s.Devices() {
		if own.Status == ledger.Revoked && !recovered[own.Changed.Sequence] {
			events = append(events, own.Changed)
		}
	}
	slices.SortFunc(events, func(a, b ledger.Event) int { return cmp.Compare(a.Sequence, b.Sequence) })
	ends := make([]time.Time, len(events))
	for i, e := range events {
		ends[i] = e.Time
	}
	return ends
}
