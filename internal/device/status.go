package device

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
)

const (
	// staleProof is how long ago a proof may be before status says so.
	staleProof = 90 * 24 * time.Hour
	// lateCopy is how long after an entry another device may prove a copy without it:
	// clocks differ, and a sync takes its time.
	lateCopy = time.Hour
	// shortWaiting is below which a waiting period leaves too little time to veto.
	shortWaiting = 24 * time.Hour
)

// Status is what holds for an account, as this device can prove it.
type Status struct {
	Account ledger.AccountID
	Name    string
	Device  uint64
	Devices int    // active ones
	Server  string // where it is reached
	Head    ledger.Head
	Slots   int // live
	Unsent  int // secrets that the server has not accepted; backed up by nobody

	ServerMoved *Move // how it came there; nil if it never moved

	Recoverable bool
	Verdict     string   // one sentence
	Missing     []string // until it is recoverable
	Survives    []string // losses after which everything comes back
	Fatal       []string // losses after which it does not
	Warnings    []string

	Epoch         uint64 // in use
	Committed     bool
	Quorum        int
	Members       int
	Receipts      int // contacts that have proved their shares
	WaitingPeriod time.Duration
	Next          *NextEpoch // that is prepared, nil if none

	Copies      []Proof // of the ledger: devices and server
	Shares      []Proof // of the backup key: contacts
	NotBackedUp []Entry // slots with a wrong slot key: contacts cannot open them
	Fork        bool    // the server has shown, or another device proved, another history
	Revoked     bool    // this device does not belong to the account any more

	ActivityBranches bool // the server shows another activity log than this device's
}

// NextEpoch is an epoch that is prepared beside the one in use.
type NextEpoch struct {
	Epoch      uint64
	Quorum     int
	Receipts   int
	Unsplit    int       // live slots that are not in it yet
	CommitFrom time.Time // earliest, where weakening makes it wait; else zero
	Missing    []string
}

// Proof is when a party proved what it holds, the last time that this device
// heard of it.
type Proof struct {
	Kind    string // "device", "server", "contact", "paper" or "sheet"
	Number  uint64 // of device or member
	Name    string
	Epoch   uint64    // of a share
	Has     bool      // it has proved it ever
	At      time.Time // by the holder's clock, a contact's not after the day of its nonce; zero if never
	Head    uint64    // sequence number of the newest entry that it attested
	Current bool      // that is this device's newest
	Stale   bool      // not proved for 90 days
	Fork    bool      // it has shown another history, or entries that the server withholds
	Receipt bool      // a contact's: proved by its receipt in the ledger, and not since
	Lags    int       // entries that it did not have
	Since   time.Time // when the first of them was made; zero if it lags by none, or nobody knows
}

// Status says whether the account comes back, what is missing, which losses are
// survived, and when each copy and each share was last proved. It does not ask
// the server: see [Device.Sync].
func (d *Device) Status(ctx context.Context) (*Status, error) {
	if err := d.readable(); err != nil {
		return nil, err
	}
	s := d.home.State()
	st, err := d.basics(s)
	if err != nil {
		return nil, explain(err, "read what is stored")
	}
	if st.NotBackedUp, err = d.wrongSlotKeys(ctx, s); err != nil {
		return nil, explain(err, "check the slot keys")
	}
	book, err := d.book()
	if err != nil {
		return nil, explain(err, "read the contacts")
	}
	if err := d.proofs(s, book, st); err != nil {
		return nil, explain(err, "read when copies and shares were proved")
	}
	d.next(s, st)
	d.judge(s, book, st)
	if err := d.warn(s, st); err != nil {
		return nil, explain(err, "read what other devices showed")
	}
	return st, nil
}

func (d *Device) basics(s *ledger.State) (*Status, error) {
	epoch := s.InUse()
	st := &Status{
		Account: d.keys.Account, Name: d.Name(), Device: d.keys.Device, Devices: len(s.ActiveDevices()),
		Server: d.where().Url, Head: s.Head(), Slots: len(s.LiveSlots()),
		Epoch: epoch.Number, Committed: epoch.Committed, Quorum: epoch.Quorum(), Members: len(epoch.Members),
		Receipts: epoch.Receipts(), WaitingPeriod: epoch.WaitingPeriod(),
	}
	move, err := d.lastMove()
	if err != nil {
		return nil, err
	}
	st.ServerMoved = move
	pending, err := d.pendingWrites()
	if err != nil {
		return nil, err
	}
	st.Unsent = len(pending)
	f, err := load[fork](d, forkFile)
	if err != nil {
		return nil, err
	}
	st.Fork = f != nil
	own, ok := s.Device(d.keys.Device)
	said, err := d.revoked()
	if err != nil {
		return nil, err
	}
	st.Revoked = !ok || own.Status == ledger.Revoked || said
	return st, nil
}

// proofs lists who proved what.
func (d *Device) proofs(s *ledger.State, book *contactBook, st *Status) error {
	for _, own := range s.ActiveDevices() {
		st.Copies = append(st.Copies, d.copyProof(s, own.Number))
	}
	server := Proof{Kind: "server", Name: "the server"}
	d.fill(s, &server, recordv1.Holder_KIND_SERVER)
	st.Copies = append(st.Copies, server)
	if f, err := load[fork](d, forkFile); err != nil {
		return err
	} else if f != nil {
		for i := range st.Copies {
			st.Copies[i].Fork = st.Copies[i].Number == f.Device // 0 is the server
		}
	}
	for _, e := range openEpochs(s) {
		for _, m := range e.Members {
			if !m.Bound {
				continue
			}
			p, err := d.shareProof(s, book, e, m)
			if err != nil {
				return err
			}
			st.Shares = append(st.Shares, p)
		}
		if e.SheetKey != nil {
			st.Shares = append(st.Shares, d.sheetProof(e))
		}
	}
	return nil
}

// copyProof is when a device proved its copy of the ledger. One that never did is
// late as well, some time after it was added.
func (d *Device) copyProof(s *ledger.State, number uint64) Proof {
	p := Proof{Kind: "device", Number: number, Name: fmt.Sprintf("device %d", number)}
	if number == d.keys.Device {
		p.Name, p.Has, p.At, p.Head, p.Current = "this device", true, d.o.Now(), s.Head().Sequence, true
		return p
	}
	d.fill(s, &p, recordv1.Holder_KIND_DEVICE)
	if own, ok := s.Device(number); ok && !p.Has {
		p.Stale = d.o.Now().Sub(own.Added.Time) > staleProof
	}
	return p
}

// fill fills in the newest proof of a copy of the ledger.
func (d *Device) fill(s *ledger.State, p *Proof, kind recordv1.Holder_Kind) {
	all := d.home.Proofs()
	i := slices.IndexFunc(all, func(a *ledger.Attestation) bool {
		return a.Holder().GetKind() == kind && a.Holder().GetNumber() == p.Number && s.Contains(a.Head())
	})
	if i < 0 {
		return
	}
	a := all[i]
	p.Has, p.At, p.Head, p.Current = true, a.Time(), a.Head().Sequence, a.Head() == s.Head()
	p.Stale = d.o.Now().Sub(p.At) > staleProof
	d.lag(s, p)
}

// lag says by how much a proof is behind this device's copy.
func (d *Device) lag(s *ledger.State, p *Proof) {
	if p.Lags = int(s.Head().Sequence - p.Head); p.Lags == 0 {
		return
	}
	next, err := d.home.Entries(p.Head, 1)
	if err != nil || len(next) == 0 {
		return // since when, the next check of the directory can say
	}
	if e, err := ledger.ParseEntry(next[0]); err == nil {
		p.Since = e.Time()
	}
}

// shareProof is the newest proof of a contact's share.
func (d *Device) shareProof(s *ledger.State, book *contactBook, e *ledger.Epoch, m ledger.Member) (Proof, error) {
	c, err := d.contactOf(s, book, e, m)
	if err != nil {
		return Proof{}, err
	}
	p := Proof{Kind: "contact", Number: m.Number, Name: c.Name, Epoch: e.Number, Has: m.Receipt}
	if m.Paper {
		p.Kind = "paper"
	}
	if !m.Receipt {
		return p, nil
	}
	p.At, p.Head = c.ProvedAt, c.ProvedHead
	p.Current = c.ProvedHead == s.Head().Sequence
	p.Stale = d.o.Now().Sub(c.ProvedAt) > staleProof
	if p.Receipt = c.ProvedHead == 0; !p.Receipt {
		d.lag(s, &p)
	}
	return p, nil
}

// next describes the epoch that is prepared.
func (d *Device) next(s *ledger.State, st *Status) {
	e := s.Prepared()
	if e == nil {
		return
	}
	n := &NextEpoch{Epoch: e.Number, Quorum: e.Quorum(), Receipts: e.Receipts()}
	for _, slot := range s.LiveSlots() {
		if slot.Put(e.Number) == nil {
			n.Unsplit++
		}
	}
	if from, err := s.CommitFrom(e.Number); err == nil && from.After(d.o.Now()) {
		n.CommitFrom = from
	}
	if !e.ServerReceipt {
		n.Missing = append(n.Missing, "the server's receipt")
	}
	if lack := n.Quorum - n.Receipts; lack > 0 {
		n.Missing = append(n.Missing, "the new shares of "+count(lack, "contact"))
	}
	if n.Unsplit > 0 {
		n.Missing = append(n.Missing, "the new shares of "+count(n.Unsplit, "secret")+" (zeropass rotate goes on with them)")
	}
	if e.RevokedSince {
		n.Missing = append(n.Missing, "another epoch, because a device was revoked since this one was prepared")
	}
	if !n.CommitFrom.IsZero() {
		n.Missing = append(n.Missing, "the old waiting period, until "+n.CommitFrom.Local().Format(time.DateTime))
	}
	st.Next = n
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// judge says whether the account comes back, and after what.
func (d *Device) judge(s *ledger.State, book *contactBook, st *Status) {
	epoch := s.InUse()
	st.Recoverable = epoch.Committed && !st.Revoked && !st.Fork
	if !epoch.Committed {
		if lack := st.Quorum - st.Receipts; lack > 0 {
			st.Missing = append(st.Missing, d.lackingContacts(epoch, book, lack)...)
		}
		if !epoch.ServerReceipt {
			st.Missing = append(st.Missing, "the server's receipt for its share: run zeropass sync")
		}
		if len(st.Missing) == 0 {
			st.Missing = append(st.Missing, "the commit of the epoch: run zeropass sync")
		}
	}
	if st.Fork {
		st.Missing = append(st.Missing, "a decision about the other history of the account: zeropass sync says what to do")
	}
	if st.Revoked {
		st.Missing = append(st.Missing, "a device that belongs to the account: this one was revoked")
	}
	if !st.Recoverable {
		st.Verdict = "NOT RECOVERABLE: if this device is lost now, its secrets are lost"
		if epoch.Committed {
			st.Verdict = "NOT RECOVERABLE as far as this device can prove"
		}
		st.Fatal = []string{"the loss of this device"}
		return
	}
	st.Verdict = fmt.Sprintf("recoverable: %d of %s and the server bring everything back", st.Quorum, count(st.Members, "contact"))
	if epoch.SheetReceipt {
		st.Verdict = fmt.Sprintf("recoverable: %d of %s, or the printed sheet, and the server bring everything back", st.Quorum, count(st.Members, "contact"))
		st.Survives = append(st.Survives, "the loss of all your devices and contacts: the printed sheet approves like a quorum")
	}
	st.Survives = append(st.Survives,
		fmt.Sprintf("the loss of all your devices: %s approve, and after %s the server gives its shares", count(st.Quorum, "contact"), inWords(st.WaitingPeriod)),
		fmt.Sprintf("the loss of the server: a device's directory, its passphrase and the words of %s", count(st.Quorum, "contact")))
	if spare := st.Receipts - st.Quorum; spare > 0 {
		st.Survives = append(st.Survives, "besides, the loss of "+count(spare, "share")+" by contacts")
	} else {
		st.Fatal = append(st.Fatal, "all devices together with any one contact's share: no more contacts hold one than are needed")
	}
	st.Fatal = append(st.Fatal, "all devices and the server at once")
	if st.Unsent > 0 {
		st.Fatal = append(st.Fatal, "this device, for "+count(st.Unsent, "secret")+" that the server has not accepted")
	}
	if n := len(st.NotBackedUp); n > 0 {
		st.Fatal = append(st.Fatal, "all devices, for "+count(n, "secret")+" with a wrong slot key")
	}
}

// lackingContacts says what the contacts have still to do, and the owner.
func (d *Device) lackingContacts(e *ledger.Epoch, book *contactBook, lack int) []string {
	var missing []string
	var bound, answered int
	for _, m := range e.Members {
		switch {
		case m.Bound && !m.Receipt && m.Paper:
			missing = append(missing, fmt.Sprintf("the words of paper %d, typed back", m.Number))
			bound++
		case m.Bound && !m.Receipt:
			name, _ := d.boundName(d.home.State(), m.Binding)
			missing = append(missing, name+" has not proved their share: they run zeropass sync, then you do")
			bound++
		}
	}
	for _, i := range book.Invitations {
		if !i.Bound && i.Answer != nil {
			missing = append(missing, i.Label+" has answered: compare phrases and run zeropass contact confirm")
			answered++
		}
	}
	if more := lack - bound - answered; more > 0 {
		missing = append(missing, count(more, "more contact")+": zeropass contact invite")
	}
	return missing
}

// inWords is a duration as people say it.
func inWords(d time.Duration) string {
	switch {
	case d >= 48*time.Hour && d%(24*time.Hour) == 0:
		return count(int(d/(24*time.Hour)), "day")
	case d >= time.Hour && d%time.Hour == 0:
		return count(int(d/time.Hour), "hour")
	case d >= time.Minute && d%time.Minute == 0:
		return count(int(d/time.Minute), "minute")
	}
	return count(int(d/time.Second), "second")
}

// warn lists what a person ought to look at.
func (d *Device) warn(s *ledger.State, st *Status) error {
	warn := func(format string, args ...any) { st.Warnings = append(st.Warnings, fmt.Sprintf(format, args...)) }
	f, err := load[fork](d, forkFile)
	if err != nil {
		return err
	}
	if f != nil {
		warn("%s", forkError(f).Error())
	}
	own, err := d.ownReveals()
	if err != nil {
		return err
	}
	if text := own.missing(); text != "" {
		warn("%s", text)
	}
	branches, err := d.ActivityBranches()
	if err != nil {
		return err
	}
	if st.ActivityBranches = branches != ""; st.ActivityBranches {
		warn("%s", branches)
	}
	shown, err := d.shown()
	if err != nil {
		return err
	}
	for _, a := range shown {
		warn("device %d has shown %s, which the server has not: it was restored from an older copy, or withholds them; run zeropass sync there, then here",
			a.Holder().GetNumber(), entryRange(s.Head().Sequence+1, a.Head().Sequence))
	}
	if st.WaitingPeriod < shortWaiting {
		warn("the waiting period is %s: under 24 hours there is hardly time to notice a recovery that is not yours", inWords(st.WaitingPeriod))
	}
	if st.Next != nil && st.Committed {
		warn("epoch %d still protects; epoch %d takes its place when it has %s", st.Epoch, st.Next.Epoch, strings.Join(append(st.Next.Missing, "the commit at the next sync"), ", "))
	}
	for _, e := range openEpochs(s) {
		if e.SheetKey != nil && !e.SheetReceipt {
			warn("the sheet of epoch %d was not typed back, and device %d keeps it until then: zeropass sheet print, then zeropass sheet confirm", e.Number, e.Author)
		}
		for _, m := range e.Members {
			if !m.Bound {
				continue
			}
			if name, readable := d.boundName(s, m.Binding); !readable {
				warn("%s, member %d of epoch %d: %s", name, m.Number, e.Number, unreadableName)
			}
		}
	}
	if st.Unsent > 0 {
		warn("%s not accepted by the server yet, on this device alone: run zeropass sync", count(st.Unsent, "secret"))
	}
	for _, e := range st.NotBackedUp {
		warn("%s is not backed up: its slot key is wrong; store it again", describe(e.Metadata))
	}
	for _, p := range slices.Concat(st.Copies, st.Shares) {
		switch {
		case p.Stale && !p.Has:
			warn("%s: has never proved its copy; look at it: zeropass sync there, or zeropass ledger head", p.Name)
		case p.Stale:
			warn("%s: not recently proved, last on %s", p.Name, p.At.Local().Format(time.DateOnly))
		case p.Kind == "device" && p.Lags > 0 && !p.Since.IsZero() && p.At.Sub(p.Since) > lateCopy:
			warn("%s lags: on %s it did not have entry %d of %s; run zeropass sync there, and if that does not help, the server keeps entries from it",
				p.Name, p.At.Local().Format(time.DateTime), p.Head+1, p.Since.Local().Format(time.DateTime))
		case p.Kind == "server" && p.Lags > 0:
			warn("the server lags by %s: run zeropass sync, which gives them back", entries(p.Lags))
		}
	}
	if !s.Committed() && st.Slots > 0 {
		warn("%s stored, and nobody but this device and the server together can open them", count(st.Slots, "secret"))
	}
	for _, own := range s.Devices() {
		if n := len(s.OpenedBy(own.Number)); own.Status == ledger.Revoked && n > 0 {
			warn("device %d, which was revoked, still opens %s together with the server or a quorum, %s", own.Number, count(n, "secret"), untilEpoch(s, own, n))
		}
		if own.Status == ledger.Locked {
			warn("device %d was locked by device %d on %s", own.Number, own.ChangedBy, own.Changed.Time.Local().Format(time.DateTime))
		}
	}
	if locked, err := load[lockedState](d, lockedFile); err == nil && locked != nil {
		warn("this device is locked; the server says: %s", locked.Text)
	}
	if s.InUse().RevokedSince {
		warn("a device was revoked since epoch %d was prepared: a new epoch ends what it could still do", st.Epoch)
	}
	if names, err := d.home.EvidenceNames(); err == nil && len(names) > 0 {
		warn("evidence of broken rules or of damage is kept in %s/evidence: %s", d.Dir(), strings.Join(names, ", "))
	}
	for _, r := range d.home.Repairs() {
		warn("the end of the file %s was incomplete and was cut off (%d bytes)", r.File, r.Bytes)
	}
	return nil
}

func entries(n int) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}
