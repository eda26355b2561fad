package device

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/interchange"
	"zeropass.dev/zeropass/ledger"
)

// Item is what a slot holds: metadata, which an unlocked device shows, and the
// secret, which only a reveal shows. It prints as [secret].
type Item = interchange.Item

// Entry is one line of a list: a slot without its secret.
type Entry struct {
	ID       ledger.SlotID
	Version  uint64
	Metadata *recordv1.SlotMetadata
	Accepted bool      // false while the server has not taken the newest version
	Changed  time.Time // zero if not accepted
}

// AddResult is what became of a new slot or version.
type AddResult struct {
	ID       ledger.SlotID
	Title    string
	Accepted bool  // in the ledger, and so backed up once the account is recoverable
	Cause    error // why it is not accepted yet; nil if it is
}

// Add stores a new secret. It is sealed on the device first, so that it is not
// lost when the server cannot be reached: then the result says so, and the next
// [Device.Sync] sends it. The same secret, added again before it was sent to the
// end, is that one and no second: somebody repeats what was interrupted.
func (d *Device) Add(ctx context.Context, item Item) (*AddResult, error) {
	if err := d.writable(); err != nil {
		return nil, err
	}
	begun, err := d.begun(item)
	if err != nil {
		return nil, explain(err, "read what waits to be sent")
	}
	if begun != nil {
		return d.sendWrite(ctx, *begun, begun.item)
	}
	item = withTimes(item, d.o.Now())
	written, err := d.keepWrites([]Item{item}, nil)
	if err != nil {
		return nil, explain(err, "store "+quoteTitle(item))
	}
	return d.sendWrite(ctx, written[0], item)
}

// Edit stores a later version of a slot. It needs the second factor: while other
// devices are active it waits for one of them. A change that nobody confirms stays
// on this device, and the result says so; [Device.SyncAndWait] asks again.
func (d *Device) Edit(ctx context.Context, id ledger.SlotID, item Item) (*AddResult, error) {
	if err := d.writable(); err != nil {
		return nil, err
	}
	slot, ok := d.home.State().Slot(id)
	if !ok || slot.Deleted {
		return nil, failure(CodeNotFound, nil, "zeropass list shows the ids", "there is no slot %v", id)
	}
	if err := d.readyToConfirm(d.home.State()); err != nil {
		return nil, err
	}
	if item.Metadata != nil {
		item.Metadata = proto.CloneOf(item.Metadata)
		item.Metadata.Revised = d.o.Now().UnixMilli()
	}
	written, err := d.keepWrites([]Item{item}, slot)
	if err != nil {
		return nil, explain(err, "store "+quoteTitle(item))
	}
	return d.sendWrite(ctx, written[0], item)
}

// sendWrite tries to get one kept write accepted.
func (d *Device) sendWrite(ctx context.Context, w write, item Item) (*AddResult, error) {
	result := &AddResult{ID: w.id, Title: item.Metadata.GetTitle(), Accepted: true}
	if err := d.sendPending(ctx, func(other write) bool { return other.id == w.id }); err != nil {
		result.Accepted, result.Cause = false, explain(err, "send "+quoteTitle(item)+" to the server")
		if ctx.Err() != nil {
			return nil, result.Cause
		}
	}
	return result, nil
}

// ImportResult is what became of an import.
type ImportResult struct {
	Added    int
	Skipped  int  // stored before, from the same export
	Accepted bool // all of them
	Cause    error
}

// Import stores many secrets. All are sealed on the device before the first is
// sent, so that an import that is interrupted goes on at the next [Device.Sync].
// Items whose metadata, the other program's id included, stands in the account
// already are passed over: the same export can be imported again.
func (d *Device) Import(ctx context.Context, items []Item) (*ImportResult, error) {
	if err := d.writable(); err != nil {
		return nil, err
	}
	result := &ImportResult{Accepted: true}
	known, err := d.knownSources()
	if err != nil {
		return nil, explain(err, "read what is stored")
	}
	var fresh []Item
	for _, item := range items {
		if id := item.Metadata.GetSourceId(); id != "" && slices.ContainsFunc(known[id], func(m *recordv1.SlotMetadata) bool { return proto.Equal(m, item.Metadata) }) {
			result.Skipped++
			continue
		}
		fresh = append(fresh, item)
	}
	if _, err := d.keepWrites(fresh, nil); err != nil {
		return nil, explain(err, "store the import")
	}
	result.Added = len(fresh)
	if err := d.sendPending(ctx, nobody); err != nil {
		result.Accepted, result.Cause = false, explain(err, "send the import to the server")
		if ctx.Err() != nil {
			return nil, result.Cause
		}
	}
	return result, nil
}

// knownSources returns the metadata of what was imported before, by source id.
func (d *Device) knownSources() (map[string][]*recordv1.SlotMetadata, error) {
	entries, err := d.entries()
	if err != nil {
		return nil, err
	}
	known := map[string][]*recordv1.SlotMetadata{}
	for _, e := range entries {
		if id := e.Metadata.SourceId; id != "" {
			known[id] = append(known[id], e.Metadata)
		}
	}
	return known, nil
}

// Delete ends a slot. Its versions stay in the ledger and open until their epoch
// is replaced. It needs the second factor.
func (d *Device) Delete(ctx context.Context, id ledger.SlotID) error {
	if err := d.writable(); err != nil {
		return err
	}
	if dropped, err := d.dropPending(id); err != nil {
		return explain(err, "delete the slot")
	} else if _, ok := d.home.State().Slot(id); dropped && !ok {
		return nil
	}
	err := d.append(ctx, func(s *ledger.State) ([]transaction, error) {
		slot, ok := s.Slot(id)
		if !ok || slot.Deleted {
			return nil, failure(CodeNotFound, nil, "zeropass list shows the ids", "there is no slot %v", id)
		}
		return []transaction{{records: []proto.Message{&recordv1.SlotDeleted{Slot: id[:]}}}}, nil
	})
	return explain(err, "delete the slot")
}

// List returns the slots that fit the query, all for an empty one, in the order
// of their titles. It does not need the server.
func (d *Device) List(query string) ([]Entry, error) {
	if err := d.readable(); err != nil {
		return nil, err
	}
	entries, err := d.entries()
	if err != nil {
		return nil, explain(err, "read what is stored")
	}
	words := strings.Fields(strings.ToLower(query))
	entries = slices.DeleteFunc(entries, func(e Entry) bool { return !e.fits(words) })
	slices.SortStableFunc(entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.Metadata.Title), strings.ToLower(b.Metadata.Title)),
			cmp.Compare(a.Metadata.UserName, b.Metadata.UserName), slices.Compare(a.ID[:], b.ID[:]))
	})
	return entries, nil
}

// fits says whether every word is somewhere in the metadata, or in the id's
// beginning.
func (e Entry) fits(words []string) bool {
	texts := []string{e.Metadata.Title, e.Metadata.UserName, e.Metadata.Folder}
	for _, u := range e.Metadata.Uris {
		texts = append(texts, u.Uri)
	}
	text := strings.ToLower(strings.Join(texts, "\n"))
	for _, w := range words {
		if !strings.Contains(text, w) && !(len(w) >= 6 && strings.HasPrefix(e.ID.String(), w)) {
			return false
		}
	}
	return true
}

// Find returns the one slot that fits the query: by its id or the first six or
// more digits of it, by its exact title, or by words as in [Device.List].
func (d *Device) Find(query string) (*Entry, error) {
	if strings.TrimSpace(query) == "" {
		return nil, failure(CodeUsage, nil, "zeropass list shows all of them", "no slot was named")
	}
	entries, err := d.List(query)
	if err != nil {
		return nil, err
	}
	switch exact := exactly(entries, query); {
	case len(exact) == 1:
		return &exact[0], nil
	case len(entries) == 1:
		return &entries[0], nil
	case len(entries) == 0:
		return nil, failure(CodeNotFound, nil, "zeropass list shows all of them", "no slot fits %q", query)
	}
	var names []string
	for _, e := range entries[:min(len(entries), 8)] {
		names = append(names, fmt.Sprintf("%s %s", e.ID.String()[:8], describe(e.Metadata)))
	}
	return nil, failure(CodeUsage, nil, "name one by its id: "+strings.Join(names, ", "), "%d slots fit %q", len(entries), query)
}

// exactly returns the entries with exactly this title.
func exactly(entries []Entry, title string) []Entry {
	var exact []Entry
	for _, e := range entries {
		if strings.EqualFold(e.Metadata.Title, strings.TrimSpace(title)) {
			exact = append(exact, e)
		}
	}
	return exact
}

// describe is a slot in one line: title and user name.
func describe(m *recordv1.SlotMetadata) string {
	title := cmp.Or(m.GetTitle(), "(no title)")
	if m.GetUserName() != "" {
		return title + " (" + m.GetUserName() + ")"
	}
	return title
}

func quoteTitle(item Item) string { return fmt.Sprintf("%q", item.Metadata.GetTitle()) }

// entries returns all live slots with their metadata, and the ones that the
// server has not accepted, in no particular order.
func (d *Device) entries() ([]Entry, error) {
	s := d.home.State()
	epoch := s.InUse()
	if epoch == nil {
		return nil, nil
	}
	pending, err := d.pendingWrites()
	if err != nil {
		return nil, err
	}
	waiting := map[ledger.SlotID]*write{}
	for i := range pending {
		waiting[pending[i].id] = &pending[i]
	}
	var entries []Entry
	for _, slot := range s.LiveSlots() {
		if waiting[slot.ID] != nil {
			continue
		}
		m, err := d.metadata(s, slot.Put(epoch.Number))
		if err != nil {
			// One that cannot be read must not hide the others, and can be deleted.
			m = unreadableMetadata(slot.ID)
		}
		entries = append(entries, Entry{ID: slot.ID, Version: slot.Version, Metadata: m, Accepted: true, Changed: slot.Changed.Time})
	}
	for _, w := range pending {
		entries = append(entries, Entry{ID: w.id, Version: w.base + 1, Metadata: w.item.Metadata})
	}
	return entries, nil
}

// unreadableMetadata stands for metadata that does not open.
func unreadableMetadata(id ledger.SlotID) *recordv1.SlotMetadata {
	return &recordv1.SlotMetadata{Kind: recordv1.SlotMetadata_KIND_NOTE, Title: "unreadable " + id.String()[:8]}
}

// withTimes fills in when an item was made and changed, where nobody says.
func withTimes(item Item, now time.Time) Item {
	if item.Metadata == nil {
		return item
	}
	item.Metadata = proto.CloneOf(item.Metadata)
	if item.Metadata.Created == 0 {
		item.Metadata.Created = now.UnixMilli()
	}
	if item.Metadata.Revised == 0 {
		item.Metadata.Revised = item.Metadata.Created
	}
	return item
}

// readable returns an error if there is no account here yet.
func (d *Device) readable() error {
	if d.recovering() && d.home.State() == nil {
		return failure(CodeNotYet, ErrRecovering, "zeropass recover status shows how far it is", "%s waits for its recovery", d.Name())
	}
	if s := d.home.State(); s == nil || s.InUse() == nil {
		return failure(CodeHome, nil, "run zeropass init again with the same directory; it goes on where it stopped", "the account in %s is not finished", d.Dir())
	}
	return nil
}

// writable returns an error if nothing may be written: no account yet, a locked or
// revoked device, or a fork that is not decided.
func (d *Device) writable() error {
	if err := d.readable(); err != nil {
		return err
	}
	if err := d.stopped(); err != nil {
		return err
	}
	if said, err := d.revoked(); err != nil {
		return explain(err, "go on with this device")
	} else if said {
		return d.revokedError(nil)
	}
	if locked, err := load[lockedState](d, lockedFile); err != nil {
		return explain(err, "go on with this device")
	} else if locked != nil {
		return d.lockedError(locked, nil)
	}
	return d.belongs(d.home.State())
}
