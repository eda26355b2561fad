package device

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
)

// RotateOptions says what the next epoch is to be like. What is zero stays as it
// is, in the epoch that is prepared already if there is one.
type RotateOptions struct {
	Quorum, Members int
	WaitingPeriod   time.Duration
	Printed         *bool // with a printed sheet, or without one
}

// RotateResult is an epoch that is to take the place of the one in use. Until it
// is committed, at a [Device.Sync], the one in use protects, and what is written
// goes to both.
type RotateResult struct {
	Epoch         uint64
	OldEpoch      uint64
	Again         bool // it was prepared before, and this run went on with it
	Quorum        int
	Members       int
	WaitingPeriod time.Duration
	Split         int        // secrets that this run split in the new epoch
	Lost          []LostItem // that do not open: they keep it from being committed until they are deleted
	Bound         []string   // contacts that get a share
	Left          []string   // contacts until now that get none, and paper, which takes a new sheet
	Free          int        // shares that nobody has been given yet
	Sheet         bool       // it has a printed sheet, whose words were not typed back
	CommitFrom    time.Time  // earliest, where the old waiting period must pass; else zero
}

// Rotate prepares an epoch with a new Private Master Seed, splits every secret
// there and gives the same contacts their new shares. It needs the second factor.
// If it dies anywhere, it goes on when it is run again; so it does while the epoch
// that it would prepare is prepared already.
func (d *Device) Rotate(ctx context.Context, r RotateOptions) (*RotateResult, error) {
	if err := d.refresh(ctx); err != nil {
		return nil, explain(err, "bring the ledgers together")
	}
	book, err := d.book()
	if err != nil {
		return nil, explain(err, "read the contacts")
	}
	p := planOf(targetEpoch(d.home.State()), book)
	if r.Quorum != 0 || r.Members != 0 {
		p.quorum, p.members = r.Quorum, r.Members
	}
	p.waiting = cmp.Or(r.WaitingPeriod, p.waiting)
	if r.Printed != nil {
		p.sheet = *r.Printed
	}
	if err := cmp.Or(checkQuorum(p.quorum, p.members), checkWaitingPeriod(p.waiting)); err != nil {
		return nil, err
	}
	return d.rotate(ctx, p, book)
}

// refresh makes sure that this device may write and knows the newest entries.
func (d *Device) refresh(ctx context.Context) error {
	if err := d.writable(); err != nil {
		return err
	}
	if err := ignoreRebuild(d.push(ctx)); err != nil {
		return err
	}
	if err := d.pull(ctx); err != nil {
		return err
	}
	return d.belongs(d.home.State())
}

func (d *Device) rotate(ctx context.Context, p plan, book *contactBook) (*RotateResult, error) {
	s := d.home.State()
	had, names := contactsToKeep(s), d.contactNames(s)
	var err error
	if p.giveUp, err = d.lostSheet(s); err != nil {
		return nil, explain(err, "read the sheet")
	}
	result := &RotateResult{Again: p.fits(s.Prepared())}
	if result.Split, result.Lost, err = d.nextEpoch(ctx, p); err != nil {
		return nil, explain(err, "prepare the next epoch")
	}
	if err := d.handOut(ctx); err != nil {
		return nil, explain(err, "send the new shares")
	}
	s = d.home.State()
	old, e := s.InUse(), s.Prepared()
	result.Epoch, result.OldEpoch = e.Number, old.Number
	result.Quorum, result.Members, result.WaitingPeriod = e.Quorum(), len(e.Members), e.WaitingPeriod()
	result.Sheet = e.SheetKey != nil && !e.SheetReceipt
	for _, m := range e.Members {
		switch {
		case m.Contact != nil:
			result.Bound = append(result.Bound, names.of(m.Contact))
		case !m.Bound:
			result.Free++
		}
	}
	for _, c := range had {
		if memberOf(e, c.Account) == nil {
			result.Left = append(result.Left, names.of(c))
		}
	}
	result.Left = append(result.Left, d.paperLeft(s)...)
	if from, err := s.CommitFrom(e.Number); err == nil && from.After(d.o.Now()) {
		result.CommitFrom = from
	}
	return result, nil
}

// plan is what an epoch is prepared with.
type plan struct {
	quorum, members int
	waiting         time.Duration
	sheet           bool
	giveUp          uint64          // a prepared epoch whose sheet nobody can print
	without         map[string]bool // accounts that get no share, in hexadecimal
}

// planOf plans an epoch like another one, without the contacts that were
// replaced.
func planOf(e *ledger.Epoch, book *contactBook) plan {
	return plan{quorum: e.Quorum(), members: len(e.Members), waiting: e.WaitingPeriod(), sheet: e.SheetKey != nil, without: book.Replaced}
}

// fits says whether a prepared epoch, nil if there is none, is the planned one.
func (p plan) fits(e *ledger.Epoch) bool {
	if e == nil || e.RevokedSince || e.Number == p.giveUp || e.Quorum() != p.quorum || len(e.Members) != p.members || e.WaitingPeriod() != p.waiting || (e.SheetKey != nil) != p.sheet {
		return false
	}
	for _, m := range e.Members {
		if p.without[accountOf(m.Contact)] {
			return false
		}
	}
	return true
}

// nextEpoch is what a rotation and the end of a recovery have in common: it
// prepares the planned epoch, unless that was done, and splits there what is not
// split yet. The device asks the server for its shares, as for any reveal: what a
// recovery opened went to the owner and was not kept.
func (d *Device) nextEpoch(ctx context.Context, p plan) (splits int, lost []LostItem, err error) {
	if !p.fits(d.home.State().Prepared()) {
		if err := d.prepare(ctx, p); err != nil {
			return 0, nil, err
		}
	}
	return d.stage(ctx)
}

// prepare prepares an epoch and binds the contacts to it, in one entry: there is
// no epoch whose contacts somebody would have to remember.
func (d *Device) prepare(ctx context.Context, p plan) error {
	d.o.Progress(Progress{Step: "preparing the next epoch"})
	return d.append(ctx, func(s *ledger.State) ([]transaction, error) {
		if p.fits(s.Prepared()) {
			return nil, nil
		}
		generations, err := d.allGenerations(s)
		if err != nil {
			return nil, err
		}
		made, err := d.prepareEpoch(ctx, s, epochOptions{
			quorum: p.quorum, members: p.members, waiting: p.waiting, sheet: p.sheet, generations: generations,
		})
		if err != nil {
			return nil, err
		}
		t := transaction{records: []proto.Message{made.record}, shares: made.shares}
		bound, err := d.rebindAll(s, made.record.Epoch, p.members, nil, p.without)
		if err != nil {
			return nil, err
		}
		t.records = append(t.records, bound...)
		return []transaction{t}, nil
	})
}

// stage splits the live slots in the prepared epoch that are not split there yet,
// as many in an entry as its size allows: what is in the ledger is done. All are
// asked for before the first is split, so that another device confirms it once. It
// returns how many, and those that do not open; they keep the epoch from being
// committed until they are deleted.
func (d *Device) stage(ctx context.Context) (splits int, lost []LostItem, err error) {
	s := d.home.State()
	next := s.Prepared()
	batches := unsplit(s, next.Number)
	if len(batches) == 0 {
		return 0, nil, nil
	}
	var requests [][]ledger.SlotID
	for _, ids := range batches {
		requests = slices.AppendSeq(requests, slices.Chunk(ids, revealBatch))
	}
	answers, err := d.askReveal(ctx, api.PurposeRotation, requests...)
	if err != nil {
		return 0, nil, err
	}
	for i, ids := range batches {
		d.o.Progress(Progress{Step: "splitting in the next epoch", Done: i, Total: len(batches)})
		n := (len(ids) + revealBatch - 1) / revealBatch
		opened, unopened, err := d.openAll(ctx, answers[:n], next.Number)
		answers = answers[n:]
		if err != nil {
			return splits, lost, err
		}
		lost = append(lost, unopened...)
		if err := d.append(ctx, func(s *ledger.State) ([]transaction, error) {
			return d.stageBatch(ctx, s, opened)
		}); err != nil {
			return splits, lost, err
		}
		splits += len(opened)
	}
	return splits, lost, nil
}

// unsplit returns the live slots that are not split in the prepared epoch, in
// batches that fit into an entry each, by the size of their records in the epoch
// in use.
func unsplit(s *ledger.State, epoch uint64) [][]ledger.SlotID {
	var batches [][]ledger.SlotID
	size := 0
	for _, slot := range s.LiveSlots() {
		if slot.Put(epoch) != nil {
			continue
		}
		n := proto.Size(slot.Put(s.InUse().Number))
		if size += n; len(batches) == 0 || size > ledger.MaxEntrySize/4 {
			batches, size = append(batches, nil), n
		}
		last := &batches[len(batches)-1]
		*last = append(*last, slot.ID)
	}
	return batches
}

// openAll opens slots, which may be split in an epoch, and lists what does not open.
func (d *Device) openAll(ctx context.Context, answers []*revealedBatch, epoch uint64) (opened []split, lost []LostItem, err error) {
	for _, b := range answers {
		all, err := d.openReveal(ctx, b)
		if err != nil {
			return nil, nil, err
		}
		for i, slot := range b.slots {
			if err := all[i].err; err != nil {
				l := LostItem{Slot: slot.ID, Err: err}
				if m, err := d.metadata(b.state, slot.Put(b.epoch)); err == nil {
					l.Title = m.Title
				}
				lost = append(lost, l)
				continue
			}
			opened = append(opened, split{id: slot.ID, version: slot.Version, epoch: epoch, item: all[i].item})
		}
	}
	return opened, lost, nil
}

// stageBatch splits what nobody has split, changed or deleted since it was
// revealed.
func (d *Device) stageBatch(ctx context.Context, s *ledger.State, opened []split) ([]transaction, error) {
	var left []split
	for _, o := range opened {
		if e := s.Prepared(); e == nil || e.Number != o.epoch {
			return nil, failure(CodeFailed, nil, "run the command again", "epoch %d was given up while secrets were being split in it", o.epoch)
		}
		if slot, ok := s.Slot(o.id); ok && slot.Live() && slot.Version == o.version && slot.Put(o.epoch) == nil {
			left = append(left, o)
		}
	}
	if len(left) == 0 {
		return nil, nil
	}
	t, err := d.splitAll(ctx, s, left)
	if err != nil {
		return nil, err
	}
	return []transaction{*t}, nil
}

// handOut takes the server's receipt for its new share, and sends the contacts
// theirs.
func (d *Device) handOut(ctx context.Context) error {
	if err := d.serverReceipts(ctx); err != nil {
		return err
	}
	_, err := d.sendEnvelopes(ctx, &SyncResult{})
	return err
}

// rebindAll gives the contacts of the epoch in use, and those that were bound to
// the prepared one since, the members of a new epoch that are not taken. Who is in
// both keeps the keys of the prepared one. Their names are sealed anew; a name that
// does not open is not taken over.
func (d *Device) rebindAll(s *ledger.State, epoch uint64, members int, taken map[uint64]*recordv1.Contact, without map[string]bool) ([]proto.Message, error) {
	has := map[string]bool{}
	for _, c := range taken {
		has[accountOf(c)] = true
	}
	var records []proto.Message
	names := d.contactNames(s)
	next := uint64(1)
	for _, c := range contactsToKeep(s) {
		account := accountOf(c)
		if has[account] || without[account] {
			continue
		}
		for _, full := taken[next]; full; _, full = taken[next] {
			next++
		}
		if next > uint64(members) {
			break
		}
		bound := &recordv1.ContactBound{Epoch: epoch, Member: next, Contact: c}
		if err := d.nameContact(s, bound, names[account]); err != nil {
			return nil, err
		}
		records = append(records, bound)
		next++
	}
	return records, nil
}

// paperLeft lists the papers of the epoch in use, which a new epoch never takes
// over.
func (d *Device) paperLeft(s *ledger.State) []string {
	var left []string
	for _, m := range s.InUse().Members {
		if !m.Paper {
			continue
		}
		text := fmt.Sprintf("paper, member %d", m.Number)
		if name, err := d.givenName(s, m.Binding); err == nil && name != "" {
			text += fmt.Sprintf(" (%s)", name)
		}
		left = append(left, text)
	}
	return left
}

// contactsToKeep returns the contacts of the open epochs, each once, with its
// newest keys.
func contactsToKeep(s *ledger.State) []*recordv1.Contact {
	var contacts []*recordv1.Contact
	at := map[string]int{}
	for _, e := range openEpochs(s) {
		for _, m := range e.Members {
			if m.Contact == nil {
				continue
			}
			account := accountOf(m.Contact)
			if i, known := at[account]; known {
				contacts[i] = m.Contact
				continue
			}
			at[account] = len(contacts)
			contacts = append(contacts, m.Contact)
		}
	}
	return contacts
}
