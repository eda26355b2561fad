package device

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
)

// ContactList is who helps this account, and whom it helps.
type ContactList struct {
	Epoch    uint64 // in use
	Prepared uint64 // that is to replace it, 0 if none
	Quorum   int    // of the epoch whose shares are being given out
	Members  int
	Free     int // shares that nobody has been given yet

	Contacts    []Contact           // bound, the epoch in use first
	Invitations []PendingInvitation // that did not lead to a contact yet
	Owners      []KnownOwner        // accounts whose shares are kept here
}

// Contact is somebody who was given a share, or a sheet of paper.
type Contact struct {
	Name       string // that the owner gave, else "paper", or "contact" and the beginning of its account
	Unreadable string // why the name in the ledger is not shown; empty if it is, or there is none
	Paper      bool
	Account    ledger.AccountID // zero for paper
	Devices    int              // that the share was sealed to
	Epoch      uint64
	Member     uint64 // from 1
	Bound      time.Time
	CountsFrom time.Time
	Receipt    bool      // it has proved its share
	ProvedAt   time.Time // when it proved it last, by a nonce of this account or its receipt; zero if never
	ProvedHead uint64    // sequence number of the newest entry that it was shown
	SentAt     time.Time // when the share was sent last from this device, zero if never
}

// PendingInvitation is one that was made on this device.
type PendingInvitation struct {
	Label    string
	Made     time.Time
	Expiry   time.Time
	Answered bool
	Name     string           // of the account that answered
	Account  ledger.AccountID // that answered, zero until then
}

// KnownOwner is an account whose share is kept here, or whose invitation was
// accepted.
type KnownOwner struct {
	Name       string
	Account    ledger.AccountID
	Epochs     []uint64 // of which a whole share is here, ascending; none until it has come
	ProvedAt   time.Time
	ProvedHead uint64
}

// Contacts returns what this device knows of its contacts and of those whose
// contact it is. It does not ask the server: see [Device.Sync].
func (d *Device) Contacts(ctx context.Context) (*ContactList, error) {
	if err := cmp.Or(ctx.Err(), d.readable()); err != nil {
		return nil, explain(err, "list the contacts")
	}
	book, err := d.book()
	if err != nil {
		return nil, explain(err, "read the contacts")
	}
	s := d.home.State()
	target := targetEpoch(s)
	list := &ContactList{Epoch: s.InUse().Number, Quorum: target.Quorum(), Members: len(target.Members)}
	if p := s.Prepared(); p != nil {
		list.Prepared = p.Number
	}
	for _, m := range target.Members {
		if !m.Bound {
			list.Free++
		}
	}
	for _, e := range openEpochs(s) {
		for _, m := range e.Members {
			if !m.Bound {
				continue
			}
			c, err := d.contactOf(s, book, e, m)
			if err != nil {
				return nil, explain(err, "read when shares were proved")
			}
			list.Contacts = append(list.Contacts, c)
		}
	}
	for _, i := range book.Invitations {
		if i.Bound {
			continue
		}
		pending := PendingInvitation{Label: i.Label, Made: i.Made, Expiry: i.Expiry, Name: i.Name}
		if c := i.contact(); c != nil {
			pending.Answered, pending.Account = true, ledger.AccountID(c.Account)
		}
		list.Invitations = append(list.Invitations, pending)
	}
	if list.Owners, err = d.knownOwners(); err != nil {
		return nil, explain(err, "read whose shares are kept here")
	}
	return list, nil
}

func (d *Device) contactOf(s *ledger.State, book *contactBook, e *ledger.Epoch, m ledger.Member) (Contact, error) {
	c := Contact{
		Paper: m.Paper, Epoch: e.Number, Member: m.Number,
		Bound: m.BoundAt.Time, CountsFrom: m.CountsAt, Receipt: m.Receipt, ProvedAt: m.ReceiptAt.Time,
	}
	name, readable := d.boundName(s, m.Binding)
	if c.Name = name; !readable {
		c.Unreadable = unreadableName
	}
	if m.Contact != nil {
		c.Account, c.Devices = ledger.AccountID(m.Contact.Account), len(m.Contact.Devices)
	}
	if sent := book.Sent[fmt.Sprintf("%d/%d", e.Number, m.Number)]; sent != nil {
		c.SentAt = sent.At
	}
	for _, a := range d.home.Proofs() {
		holder := a.Holder()
		if holder.GetKind() != recordv1.Holder_KIND_MEMBER || holder.GetNumber() != m.Number || a.Epoch() != e.Number {
			continue
		}
		at, ours, err := d.provedAt(s, a)
		if err != nil {
			return Contact{}, err
		}
		if ours && at.After(c.ProvedAt) {
			c.ProvedAt, c.ProvedHead = at, a.Head().Sequence
		}
	}
	return c, nil
}

func (d *Device) knownOwners() ([]KnownOwner, error) {
	book, err := d.owners()
	if err != nil {
		return nil, err
	}
	shares, err := d.wholeShares()
	if err != nil {
		return nil, err
	}
	defer eraseHeld(shares)
	var owners []KnownOwner
	for id, known := range book.Owners {
		account, err := ledger.ParseAccountID(id)
		if err != nil {
			return nil, err
		}
		o := KnownOwner{Name: known.Name, Account: account}
		for _, s := range shares {
			if s.id.Account != account {
				continue
			}
			o.Epochs = append(o.Epochs, s.id.Epoch)
			if a, err := ledger.ParseAttestation(s.HeadDevice); err == nil {
				o.ProvedAt, o.ProvedHead = a.Time(), a.Head().Sequence
			}
		}
		owners = append(owners, o)
	}
	slices.SortFunc(owners, func(a, b KnownOwner) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(hex.EncodeToString(a.Account[:]), hex.EncodeToString(b.Account[:])))
	})
	return owners, nil
}
