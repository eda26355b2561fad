package device

import (
	"context"
	"fmt"
	"slices"
	"time"

	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
)

// SuspectWhy says how a device may have come to know a secret. The lower, the
// surer.
type SuspectWhy int

// Reasons to change a password after a device was lost.
const (
	SuspectRevealed SuspectWhy = iota + 1 // the device asked for it, and got it
	SuspectWrote                          // it was typed or imported there
	SuspectOpens                          // it opens it together with the server or a quorum
)

// String returns the reason in words.
func (w SuspectWhy) String() string {
	switch w {
	case SuspectRevealed:
		return "revealed"
	case SuspectWrote:
		return "written"
	case SuspectOpens:
		return "opens"
	}
	return fmt.Sprintf("reason %d", int(w))
}

// Suspect is one secret that a device could have seen.
type Suspect struct {
	Entry
	Why        SuspectWhy
	At         time.Time // when it was last revealed there, or written; zero with SuspectOpens
	StillOpens bool      // the device opens it with a second party, until a new epoch commits
}

// Suspects is what a device could have seen, in the order of danger.
type Suspects struct {
	Device   DeviceInfo
	Secrets  []Suspect
	Held     []string  // owners whose shares are kept here for them, and may be kept there
	Opens    int       // secrets that it opens with a second party
	Until    string    // what ends that, in words; empty if nothing is to end
	Activity time.Time // newest entry of the activity log that this device has
	Notes    []string  // why the activity log may not be the whole one, in words
}

// Suspects lists what a device could have seen: what it revealed, by the activity
// log as this device has replicated and checked it, what was written there, and
// what it opens together with the server or a quorum. An unlocked device has also
// shown all titles, user names and addresses, and what it had not sent yet is
// known to nobody else. It asks the server for the newest of the activity log, and
// does without where there is no answer.
func (d *Device) Suspects(ctx context.Context, number uint64) (*Suspects, error) {
	if err := d.readable(); err != nil {
		return nil, err
	}
	s := d.home.State()
	own, ok := s.Device(number)
	if !ok {
		return nil, failure(CodeNotFound, nil, "zeropass device list shows the devices", "there is no device %d", number)
	}
	result := &Suspects{Device: d.deviceInfo(s, own)}
	replicated := &SyncResult{}
	if err := d.pullActivity(ctx, replicated); err != nil {
		replicated.note("the newest of the activity log is not here: %v", err)
	}
	result.Notes = replicated.Notes
	entries, err := d.entries()
	if err != nil {
		return nil, explain(err, "read the titles")
	}
	revealed, err := d.revealedBy(own, result)
	if err != nil {
		return nil, explain(err, "read the activity log")
	}
	opens := map[ledger.SlotID]bool{}
	for _, slot := range s.OpenedBy(number) {
		opens[slot.ID] = true
	}
	for _, e := range entries {
		if !e.Accepted {
			continue // it never left this device
		}
		if next, ok := suspect(s, own, e, revealed, opens[e.ID]); ok {
			result.Secrets = append(result.Secrets, next)
		}
	}
	slices.SortStableFunc(result.Secrets, func(a, b Suspect) int {
		if a.Why != b.Why {
			return int(a.Why) - int(b.Why)
		}
		return b.At.Compare(a.At)
	})
	result.Opens = len(opens)
	result.Until = untilEpoch(s, own, len(opens))
	if result.Held, err = d.heldOwners(); err != nil {
		return nil, explain(err, "read the shares that are kept here")
	}
	return result, ctx.Err()
}

// suspect says why a device could have seen a secret.
func suspect(s *ledger.State, own *ledger.Device, e Entry, revealed map[ledger.SlotID]time.Time, opens bool) (Suspect, bool) {
	next := Suspect{Entry: e, StillOpens: opens}
	slot, _ := s.Slot(e.ID)
	for _, put := range s.Versions(e.ID) {
		// Older versions are older secrets; rotation writes one again that was revealed.
		if put.Version == slot.Version && put.Device == own.Number {
			next.Why, next.At = SuspectWrote, e.Changed
		}
	}
	if at, ok := revealed[e.ID]; ok {
		next.Why, next.At = SuspectRevealed, at
	}
	if next.Why == 0 && opens {
		next.Why = SuspectOpens
	}
	return next, next.Why != 0
}

// revealedBy returns when a device was last given the server's share of each slot,
// by requests that its own key signed.
func (d *Device) revealedBy(own *ledger.Device, result *Suspects) (map[ledger.SlotID]time.Time, error) {
	revealed := map[ledger.SlotID]time.Time{}
	look := func(a *ledger.Activity) {
		request, body, err := api.ParseLogged(a.Request())
		if err != nil || request.Header.Procedure != apiv1connect.ServerServiceRevealProcedure || !own.SignKey.Equal(request.Key) {
			return
		}
		e := &ActivityEntry{}
		e.reveal(body, nil)
		for _, id := range e.Slots {
			if a.Time().After(revealed[id]) {
				revealed[id] = a.Time()
			}
		}
	}
	lost, err := d.home.LostActivity() // what the server has lost has happened all the same
	if err != nil {
		return nil, err
	}
	for _, a := range lost {
		look(a)
	}
	for after := uint64(0); ; {
		page, err := d.home.Activity(after, activityAtOnce)
		if err != nil || len(page) == 0 {
			return revealed, err
		}
		for _, a := range page {
			after, result.Activity = a.Sequence(), a.Time()
			look(a)
		}
	}
}

// untilEpoch says what ends what a device opens with a second party.
func untilEpoch(s *ledger.State, own *ledger.Device, opens int) string {
	if opens == 0 || own.Status != ledger.Revoked {
		return ""
	}
	if e := s.Prepared(); e != nil && !e.RevokedSince {
		return fmt.Sprintf("until epoch %d commits", e.Number)
	}
	return "until a new epoch commits: run zeropass rotate"
}

func (d *Device) heldOwners() ([]string, error) {
	all, err := d.home.Held()
	if err != nil {
		return nil, err
	}
	var owners []string
	for _, h := range all {
		clear(h.DeviceHalf)
		clear(h.ServerHalf)
		clear(h.Share)
		if !slices.Contains(owners, h.Owner) {
			owners = append(owners, h.Owner)
		}
	}
	return owners, nil
}
