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
	// shortWaiting is below which a waiting period leaves too little time to veto.
	shortWaiting = 24 * time.Hour
)

// Status is what holds for an account, as this device can prove it.
type Status struct {
	Account ledger.AccountID
	Name    string
	Device  uint64
	Devices int // active ones
	Server  string
	Head    ledger.Head
	Slots   int // live
	Unsent  int // secrets that the server has not accepted; backed up by nobody

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
	Fork        bool    // the server has shown another history
	Revoked     bool    // this device does not belong to the account any more
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
	At      time.Time // by the holder's clock; zero if never
	Head    uint64    // sequence number of the newest entry that it attested
	Current bool      // that is this device's newest
	Stale   bool      // not proved for 90 days
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
	d.proofs(s, book, st)
	d.next(s, st)
	d.judge(s, book, st)
	d.warn(s, st)
	return st, nil
}

func (d *Device) basics(s *ledger.State) (*Status, error) {
	epoch := s.InUse()
	st := &Status{
		Account: d.keys.Account, Name: d.Name(), Device: d.keys.Device, Devices: len(s.ActiveDevices()),
		Server: s.Server().GetUrl(), Head: s.Head(), Slots: len(s.LiveSlots()),
		Epoch: epoch.Number, Committed: epoch.Committed, Quorum: epoch.Quorum(), Members: len(epoch.Members),
		Receipts: epoch.Receipts(), WaitingPeriod: epoch.WaitingPeriod(),
	}
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
func (d *Device) proofs(s *ledger.State, book *contactBook, st *Status) {
	now := d.o.Now()
	head := s.Head()
	for _, own := range s.ActiveDevices() {
		st.Copies = append(st.Copies, d.copyProof(s, own.Number))
	}
	st.Copies = append(st.Copies, d.filled(s, Proof{Kind: "server", Name: "the server"}, func(h *recordv1.Holder) bool {
		return h.GetKind() == recordv1.Holder_KIND_SERVER
	}))
	for _, e := range openEpochs(s) {
		for _, m := range e.Members {
			if !m.Bound {
				continue
			}
			c := d.contactOf(book, e, m)
			p := Proof{Kind: "contact", Number: m.Number, Name: c.Name, Epoch: e.Number, Has: m.Receipt}
			if m.Paper {
				p.Kind = "paper"
			}
			if m.Receipt {
				p.At, p.Head = c.ProvedAt, c.ProvedHead
				p.Current = c.ProvedHead == head.Sequence
				p.Stale = now.Sub(c.ProvedAt) > staleProof
			}
			st.Shares = append(st.Shares, p)
		}
		if e.SheetKey != nil {
			st.Shares = append(st.Shares, d.sheetProof(e))
		}
	}
}

// copyProof is when a device proved its copy of the ledger.
func (d *Device) copyProof(s *ledger.State, number uint64) Proof {
	p := Proof{Kind: "device", Number: number, Name: fmt.Sprintf("device %d", number)}
	if number == d.keys.Device {
		p.Name, p.Has, p.At, p.Head, p.Current = "this device", true, d.o.Now(), s.Head().Sequence, true
		return p
	}
	return d.filled(s, p, func(h *recordv1.Holder) bool {
		return h.GetKind() == recordv1.Holder_KIND_DEVICE && h.GetNumber() == number
	})
}

// filled fills a proof with the newest attestation of its holder.
func (d *Device) filled(s *ledger.State, p Proof, holder func(*recordv1.Holder) bool) Proof {
	all := d.home.Proofs()
	if i := slices.IndexFunc(all, func(a *ledger.Attestation) bool { return holder(a.Holder()) }); i >= 0 {
		a := all[i]
		p.Has, p.At, p.Head, p.Current = true, a.Time(), a.Head().Sequence, a.Head() == s.Head()
	}
	p.Stale = p.Has && d.o.Now().Sub(p.At) > staleProof
	return p
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
		st.Missing = append(st.Missing, "a decision about the other history that the server has shown: run zeropass sync")
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
			missing = append(missing, book.name(m.Contact)+" has not proved their share: they run zeropass sync, then you do")
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
func (d *Device) warn(s *ledger.State, st *Status) {
	warn := func(format string, args ...any) { st.Warnings = append(st.Warnings, fmt.Sprintf(format, args...)) }
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
	}
	if st.Unsent > 0 {
		warn("%s not accepted by the server yet, on this device alone: run zeropass sync", count(st.Unsent, "secret"))
	}
	for _, e := range st.NotBackedUp {
		warn("%s is not backed up: its slot key is wrong; store it again", describe(e.Metadata))
	}
	for _, p := range slices.Concat(st.Copies, st.Shares) {
		if p.Stale {
			warn("%s: not recently proved, last on %s", p.Name, p.At.Local().Format(time.DateOnly))
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
}
