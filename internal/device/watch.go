package device

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
)

// EventKind is what an event is about.
type EventKind string

// Kinds of events.
const (
	EventActivity EventKind = "activity"
	EventPending  EventKind = "pending"  // waits for this device
	EventRecovery EventKind = "recovery" // a request, or what became of it
	EventLedger   EventKind = "ledger"
	EventLimit    EventKind = "limit" // a device has asked as often as it may
	EventNote     EventKind = "note"  // something that a person ought to know
)

// Event is one thing that has happened in the account, in words.
type Event struct {
	Kind  EventKind
	Time  time.Time
	ID    string // of what waits or is asked for, in hexadecimal; the entry's number
	Text  string
	Alarm bool // something that ought to be looked at if it was not you
	Do    string
}

// Seen is what a program has shown already. The zero Seen is that of one that
// begins now: what happened before is not told, what still waits is.
type Seen struct {
	begun    bool
	entries  uint64
	activity uint64
	newest   ledger.Hash // of the activity log's entry with that number
	told     map[string]bool
	waiting  []PendingItem
}

// Waiting returns what waited for this device when it was last asked for news, the
// oldest first: neither what this device asks for itself nor what it has answered.
func (s *Seen) Waiting() []PendingItem { return s.waiting }

// PrepareWatch signs a request for the server's hints, with which a program waits
// while the device is closed.
func (d *Device) PrepareWatch() (*client.Watching, error) {
	w, err := d.client.PrepareWatch(d.identity())
	if err != nil {
		return nil, explain(err, "watch the account")
	}
	return w, nil
}

// News asks the server what there is, and returns what the program has not shown.
// It changes nothing: secrets that were not sent yet, and what contacts wait for,
// are for [Device.Sync]. After an error nothing counts as shown.
func (d *Device) News(ctx context.Context, shown *Seen) ([]Event, error) {
	if err := d.refresh(ctx); err != nil {
		return nil, d.noticeRevoked(err, "bring the ledgers together")
	}
	seen := *shown
	if seen.told = maps.Clone(seen.told); seen.told == nil {
		seen.told = map[string]bool{}
	}
	found := &SyncResult{}
	if err := d.pullActivity(ctx, found); err != nil {
		return nil, d.noticeRevoked(err, "replicate the activity log")
	}
	var events []Event
	for _, news := range []func(context.Context, *Seen, *SyncResult) ([]Event, error){d.newEntries, d.newActivity, d.newPending, d.newRequests} {
		some, err := news(ctx, &seen, found)
		if err != nil {
			return nil, err
		}
		events = append(events, some...)
	}
	seen.begun = true
	for _, note := range found.Notes {
		if seen.first("note " + note) {
			events = append(events, Event{Kind: EventNote, Time: d.o.Now(), Text: note, Alarm: true, Do: "zeropass activity"})
		}
	}
	*shown = seen
	return events, nil
}

// first says whether it is asked for the first time, and remembers.
func (s *Seen) first(what string) bool {
	if s.told[what] {
		return false
	}
	s.told[what] = true
	return true
}

func (d *Device) newEntries(_ context.Context, seen *Seen, _ *SyncResult) ([]Event, error) {
	last := d.home.State().Head().Sequence
	if !seen.begun || seen.entries > last { // it follows another history now
		seen.entries = last
		return nil, nil
	}
	entries, err := d.home.Entries(seen.entries, int(last-seen.entries))
	if err != nil {
		return nil, explain(err, "read the ledger")
	}
	var events []Event
	for _, b := range entries {
		e, err := ledger.ParseEntry(b)
		if err != nil {
			return nil, explain(err, "read the ledger")
		}
		var what []string
		alarm := false
		for _, record := range e.Records() {
			what = append(what, recordWords(record))
			alarm = alarm || e.Author() != d.keys.Device && weighty(record)
		}
		events = append(events, Event{
			Kind: EventLedger, Time: e.Time(), ID: fmt.Sprint(e.Sequence()),
			Text: fmt.Sprintf("device %d %s (entry %d)", e.Author(), strings.Join(what, ", "), e.Sequence()), Alarm: alarm,
		})
	}
	seen.entries = last
	return events, nil
}

// weighty says whether a record changes who takes part, so that its owner ought to
// know of it at once.
func weighty(record *recordv1.Record) bool {
	switch record.Kind.(type) {
	case *recordv1.Record_DeviceAdded, *recordv1.Record_DeviceLocked, *recordv1.Record_DeviceUnlocked, *recordv1.Record_DeviceRevoked,
		*recordv1.Record_ServerKeyChanged, *recordv1.Record_PolicyChanged, *recordv1.Record_Recovered:
		return true
	}
	return false
}

// recordWords says what a record does, as something that a device did.
func recordWords(record *recordv1.Record) string {
	switch r := record.Kind.(type) {
	case *recordv1.Record_Genesis:
		return "made the account"
	case *recordv1.Record_EpochPrepared:
		return "prepared an epoch"
	case *recordv1.Record_ContactBound:
		return fmt.Sprintf("bound member %d of epoch %d", r.ContactBound.Member, r.ContactBound.Epoch)
	case *recordv1.Record_ShareReceipt:
		return "appended a receipt for a share"
	case *recordv1.Record_EpochCommitted:
		return fmt.Sprintf("committed epoch %d", r.EpochCommitted.Epoch)
	case *recordv1.Record_DeviceAdded:
		return "added a device"
	case *recordv1.Record_DeviceLocked:
		return fmt.Sprintf("locked device %d", r.DeviceLocked.Device)
	case *recordv1.Record_DeviceUnlocked:
		return fmt.Sprintf("unlocked device %d", r.DeviceUnlocked.Device)
	case *recordv1.Record_DeviceRevoked:
		return fmt.Sprintf("revoked device %d", r.DeviceRevoked.Device)
	case *recordv1.Record_DeviceRenamed:
		return "changed its name"
	case *recordv1.Record_SlotPut:
		return "stored a secret"
	case *recordv1.Record_SlotDeleted:
		return "deleted a secret"
	case *recordv1.Record_PolicyChanged:
		return "changed the policy"
	case *recordv1.Record_ServerKeyChanged:
		return "accepted new keys of the server"
	case *recordv1.Record_RecoveryVetoed:
		return "vetoed a recovery"
	case *recordv1.Record_Recovered:
		return "recovered the account"
	}
	return "wrote something that this program does not know"
}

func (d *Device) newActivity(ctx context.Context, seen *Seen, _ *SyncResult) ([]Event, error) {
	var last uint64
	var newest ledger.Hash
	if a := d.home.LastActivity(); a != nil {
		last, newest = a.Sequence(), a.Hash()
	}
	if !seen.begun {
		seen.activity, seen.newest = last, newest
		return nil, nil
	}
	if err := d.branchedSince(seen); err != nil {
		return nil, err
	}
	if seen.activity == last {
		return nil, nil
	}
	all, err := d.activityAfter(ctx, seen.activity)
	if err != nil {
		return nil, err
	}
	var events []Event
	for _, e := range all {
		if e.Procedure == "Append" {
			continue // the ledger says more of it
		}
		events = append(events, Event{Kind: EventActivity, Time: e.Time, ID: fmt.Sprint(e.Sequence), Text: e.Text, Alarm: e.Alarm})
	}
	seen.activity, seen.newest = last, newest
	limits, err := d.newLimits(ctx, seen, all)
	return append(events, limits...), err
}

// branchedSince has what is new begin where the activity log branched, if it has
// followed the server since.
func (d *Device) branchedSince(seen *Seen) error {
	if seen.activity == 0 {
		return nil
	}
	here, err := d.home.Activity(seen.activity-1, 1)
	if err != nil {
		return explain(err, "read the activity log")
	}
	if len(here) > 0 && here[0].Hash() == seen.newest {
		return nil
	}
	b, err := d.activityBranch()
	if err != nil {
		return explain(err, "read what is known of the server's activity log")
	}
	seen.activity = min(seen.activity, b.Common)
	return nil
}

func (d *Device) newPending(ctx context.Context, seen *Seen, _ *SyncResult) ([]Event, error) {
	items, err := d.pendingItems(ctx)
	if err != nil {
		return nil, explain(err, "read what waits to be confirmed")
	}
	var events []Event
	seen.waiting = nil
	for _, i := range items {
		if i.Own || i.Done {
			continue
		}
		seen.waiting = append(seen.waiting, i)
		if !seen.first("pending " + i.ID) {
			continue
		}
		e := Event{
			Kind: EventPending, Time: i.Asked, ID: i.ID, Alarm: len(i.Look) > 0,
			Text: fmt.Sprintf("device %d asks to %s", i.Device, strings.Join(i.What, ", ")),
			Do:   "zeropass confirm " + i.ID[:8] + ", or zeropass refuse " + i.ID[:8],
		}
		if len(i.Look) > 0 {
			e.Do = "look twice: " + strings.Join(i.Look, "; ") + ". " + e.Do
		}
		if i.Cannot != "" {
			e.Do = "not for this device: " + i.Cannot
		}
		events = append(events, e)
	}
	return events, nil
}

func (d *Device) newRequests(ctx context.Context, seen *Seen, found *SyncResult) ([]Event, error) {
	all, warnings, err := d.refreshRequests(ctx)
	if err != nil {
		return nil, explain(err, "ask for recovery requests")
	}
	for _, w := range warnings {
		found.note("%s", w)
	}
	described, err := d.describeAll(all)
	if err != nil {
		return nil, err
	}
	var events []Event
	for _, r := range described {
		how := fmt.Sprintf("%d of %d contacts have approved", r.Approvals, r.Quorum)
		switch {
		case r.Over:
			how = "it is over"
		case r.Released:
			how = "the server has given its shares"
		case len(r.Vetoes) > 0:
			how = "it is vetoed; " + how
		}
		if !seen.first(fmt.Sprintf("recovery %v %s", r.ID, how)) || r.Over && !seen.begun {
			continue
		}
		e := Event{Kind: EventRecovery, Time: r.Started, ID: r.ID.String(), Alarm: !r.Over, Do: "zeropass request list"}
		e.Text = fmt.Sprintf("somebody asks to recover the account of %s: %s", r.Owner, how)
		if r.Own && !r.Over {
			e.Text, e.Do = "a new device asks to recover this account: "+how, "zeropass veto, if it is not you"
		}
		events = append(events, e)
	}
	return events, nil
}
