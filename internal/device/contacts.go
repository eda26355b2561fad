package device

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// Phrases are what both screens show before a contact is bound.
type Phrases struct {
	Contact string // what the contact is called
	Owner   string // eight words, which the contact's screen shows as well
	Theirs  string // eight words, which the contact reads out
}

// ConfirmOptions says which contact, and how its phrase was compared: either
// Phrase has the eight words that the contact read out, or Compare shows both
// phrases and returns whether they are the same on both screens.
type ConfirmOptions struct {
	Contact string // label, name or account of who answered; empty if only one did
	Phrase  string
	Compare func(Phrases) (bool, error)
}

// ConfirmResult is a contact that was bound.
type ConfirmResult struct {
	Name       string
	Account    ledger.AccountID
	Epoch      uint64
	Member     uint64
	CountsFrom time.Time // when the binding counts
	Sent       bool      // its share is on its way; if not, the next Sync sends it
	Again      bool      // it was bound before, and only its trust was renewed
}

// Confirm binds a contact that has answered and whose phrase was compared, with
// the second factor, and sends it its share.
func (d *Device) Confirm(ctx context.Context, c ConfirmOptions) (*ConfirmResult, error) {
	if err := d.writable(); err != nil {
		return nil, err
	}
	if err := d.receive(ctx, &SyncResult{}); err != nil {
		return nil, explain(err, "look for the contact's answer")
	}
	book, err := d.book()
	if err != nil {
		return nil, explain(err, "read the invitations")
	}
	answered, err := book.find(c.Contact)
	if err != nil {
		return nil, err
	}
	contact := answered.contact()
	if err := d.compare8(c, answered, contact); err != nil {
		return nil, err
	}
	result, err := d.bind(ctx, answered.Label, contact)
	if err != nil {
		return nil, explain(err, "bind "+answered.Label)
	}
	delete(book.Replaced, accountOf(contact))
	answered.Bound = true
	if err := d.save(bookFile, book); err != nil {
		return nil, explain(err, "remember "+answered.Label)
	}
	// Whatever keeps the share from leaving now, the contact is bound, and the next
	// Sync sends it.
	if sent, err := d.sendEnvelopes(ctx, &SyncResult{}); err == nil {
		result.Sent = sent > 0
	}
	return result, nil
}

// find returns the answered invitation that a label, name or account names. One
// that was bound is found by its name when no other is: somebody whose device died
// right after it was bound confirms again.
func (b *contactBook) find(query string) (*invitation, error) {
	var found []*invitation
	var bound *invitation
	var names []string
	for _, i := range b.Invitations {
		contact := i.contact()
		if contact == nil {
			continue
		}
		named := strings.EqualFold(query, i.Label) || strings.EqualFold(query, i.Name) ||
			len(query) >= 6 && strings.HasPrefix(hex.EncodeToString(contact.Account), strings.ToLower(query))
		if i.Bound {
			if named {
				bound = i
			}
			continue
		}
		names = append(names, i.Label)
		if query == "" || named {
			found = append(found, i)
		}
	}
	switch {
	case len(found) == 0 && bound != nil:
		return bound, nil
	case len(names) == 0:
		return nil, failure(CodeNotFound, nil, "ask your contact to accept the invitation, then try again", "nobody has answered an invitation yet")
	case len(found) == 0:
		return nil, failure(CodeNotFound, nil, "these have answered: "+strings.Join(names, ", "), "no contact %q has answered", query)
	case len(found) > 1:
		return nil, failure(CodeUsage, nil, "name one of "+strings.Join(names, ", "), "%d contacts have answered", len(found))
	}
	return found[0], nil
}

// compare8 compares the eight words of the contact.
func (d *Device) compare8(c ConfirmOptions, i *invitation, contact *recordv1.Contact) error {
	phrases := Phrases{Contact: i.Label, Owner: d.ownerPhrase(), Theirs: contactPhrase(contact)}
	switch {
	case c.Phrase != "":
		if samePhrase(c.Phrase, phrases.Theirs) {
			return nil
		}
	case c.Compare != nil:
		same, err := c.Compare(phrases)
		if err != nil {
			return explain(err, "compare the phrases")
		}
		if same {
			return nil
		}
	default:
		return failure(CodeUsage, nil, "call your contact and give the eight words that they read out", "the phrase of %s was not compared", i.Label)
	}
	return failure(CodeFailed, ErrPhrase, "call again and compare; if they still differ, somebody stands between you: make a new invitation and hand it over by another way",
		"the words of %s are not those of whoever answered the invitation", i.Label)
}

// bind appends the ContactBound record.
func (d *Device) bind(ctx context.Context, label string, contact *recordv1.Contact) (*ConfirmResult, error) {
	result := &ConfirmResult{Account: ledger.AccountID(contact.Account)}
	var epoch, member uint64
	err := d.append(ctx, func(s *ledger.State) ([]transaction, error) {
		e := targetEpoch(s)
		if m := memberOf(e, contact.Account); m != nil {
			if !proto.Equal(m.Contact, contact) {
				return nil, failure(CodeUsage, nil, "zeropass contact replace makes room for the new keys", "%s is a contact already, with other keys", label)
			}
			epoch, member, result.Again = e.Number, m.Number, true
			return nil, nil
		}
		m, err := freeMember(s)
		if err != nil {
			return nil, err
		}
		epoch, member = e.Number, m.Number
		bound := &recordv1.ContactBound{Epoch: epoch, Member: member, Contact: contact}
		if err := d.nameContact(s, bound, label); err != nil {
			return nil, err
		}
		return []transaction{{records: []proto.Message{bound}}}, nil
	})
	if err != nil {
		return nil, err
	}
	s := d.home.State()
	result.Name, result.Epoch, result.Member = d.contactNames(s).of(contact), epoch, member
	result.CountsFrom = s.CountsAt(epoch, member)
	return result, nil
}

// memberOf returns the member of an epoch that is bound to an account.
func memberOf(e *ledger.Epoch, account []byte) *ledger.Member {
	for i := range e.Members {
		if m := &e.Members[i]; m.Contact != nil && bytes.Equal(m.Contact.Account, account) {
			return m
		}
	}
	return nil
}

// mayReintroduce says whether an invitation makes sense although all members are
// bound: for a contact that holds no share of this epoch yet, because it has to
// learn the keys of a device that recovered the account.
func (d *Device) mayReintroduce(s *ledger.State, label string) bool {
	names := d.contactNames(s)
	for _, m := range targetEpoch(s).Members {
		if m.Contact != nil && !m.Receipt && strings.EqualFold(names.of(m.Contact), label) {
			return true
		}
	}
	return false
}

// resendAfter is how long a share may be on its way before it is sent again.
const resendAfter = 24 * time.Hour

// sendEnvelopes sends the device's half of every bound share that has not been
// sent, or that nobody acknowledged for long, and says how many.
func (d *Device) sendEnvelopes(ctx context.Context, result *SyncResult) (sent int, err error) {
	s := d.home.State()
	book, err := d.book()
	if err != nil {
		return 0, err
	}
	for _, e := range openEpochs(s) {
		for _, m := range e.Members {
			key := fmt.Sprintf("%d/%d", e.Number, m.Number)
			if m.Contact == nil || m.Receipt {
				continue
			}
			if before := book.Sent[key]; before != nil && d.o.Now().Sub(before.At) < resendAfter {
				continue
			}
			body, err := d.envelope(s, e, m)
			if err != nil {
				return sent, err
			}
			if body == nil {
				continue
			}
			taken, err := d.deliver(ctx, ledger.AccountID(m.Contact.Account), apiv1.Message_KIND_SHARE_ENVELOPE, body, result)
			if err != nil {
				return sent, err
			}
			if !taken {
				continue
			}
			sent++
			book.Sent[key] = &sentShare{Contact: hex.EncodeToString(m.Contact.Account), At: d.o.Now()}
			if err := d.save(bookFile, book); err != nil {
				return sent, err
			}
		}
	}
	return sent, nil
}

// envelope is the signed envelope of a member's share with the device's half in
// it. It is nil if no device has the half any more, because the account was
// recovered since.
func (d *Device) envelope(s *ledger.State, e *ledger.Epoch, m ledger.Member) ([]byte, error) {
	waiting := e.Record.Members[m.Number-1].Waiting
	g, err := d.generation(s, waiting.Generation)
	if err != nil || g.DeviceShare == nil {
		return nil, err
	}
	half, err := credential.OpenDeviceHalf(g.DeviceShare, credential.WaitingBinding(d.keys.Account, e.Number, m.Number, e.Author), waiting)
	if err != nil {
		return nil, err
	}
	defer clear(half)
	envelope := &recordv1.ShareEnvelope{
		Account:        d.keys.Account[:],
		Epoch:          e.Number,
		Member:         m.Number,
		Contact:        m.Contact,
		ShareKey:       m.ShareKey.Bytes(),
		RootKey:        e.RootKey.Bytes(),
		Identifier:     e.Record.Identifier,
		Quorum:         e.Record.Quorum,
		Members:        uint64(len(e.Members)),
		WaitingPeriod:  e.Record.WaitingPeriod,
		Device:         d.keys.Device,
		Server:         s.Server(),
		Tag:            waiting.Tag,
		DeviceHalfHash: waiting.DeviceShareHash,
		ServerHalfHash: waiting.ServerShareHash,
		Author:         e.Author,
	}
	for _, own := range s.ActiveDevices() {
		envelope.Devices = append(envelope.Devices, &recordv1.OwnerDevice{Device: own.Number, SignKey: own.Keys.SignKey})
	}
	place := credential.ContactHalf{
		Account: d.keys.Account, Epoch: e.Number, Member: m.Number,
		Contact: [32]byte(m.Contact.Account), Party: credential.Device, Device: d.keys.Device,
	}
	for _, theirs := range m.Contact.Devices {
		to, err := hpke.NewPublicKey(theirs.SealKey)
		if err != nil {
			return nil, err
		}
		sealed, err := place.Seal(d.o.Rand, to, half)
		if err != nil {
			return nil, err
		}
		envelope.Halves = append(envelope.Halves, sealed)
	}
	b, err := canonical.Marshal(envelope)
	if err != nil {
		return nil, err
	}
	list, err := d.recoveredList()
	if err != nil {
		return nil, err
	}
	introductions, err := d.introductions(s)
	if err != nil {
		return nil, err
	}
	signature, err := d.keys.Sign.SignContext(envelopeContext(b))
	if err != nil {
		return nil, err
	}
	return canonical.Marshal(&recordv1.SignedShareEnvelope{Envelope: b, Signature: signature, Recovered: list, Introductions: introductions})
}

func envelopeContext(envelope []byte) *signing.Context {
	return signing.NewContext("share-envelope").Bytes(envelope)
}

// RebindResult is which contacts were taken over into the prepared epoch.
type RebindResult struct {
	Epoch uint64
	Bound []string // names
	Left  []string // paper, which takes a new sheet
}

// Rebind binds the contacts of the epoch in use to the prepared one, with the
// same accounts and keys, which were compared when they were bound first. It
// needs the second factor once.
func (d *Device) Rebind(ctx context.Context) (*RebindResult, error) {
	if err := d.writable(); err != nil {
		return nil, err
	}
	book, err := d.book()
	if err != nil {
		return nil, explain(err, "read the contacts")
	}
	result := &RebindResult{}
	err = d.append(ctx, func(s *ledger.State) ([]transaction, error) {
		next := s.Prepared()
		if next == nil {
			return nil, failure(CodeUsage, nil, "", "no epoch is prepared")
		}
		*result = RebindResult{Epoch: next.Number}
		names := d.contactNames(s)
		records, err := d.rebindAll(s, next.Number, len(next.Members), boundMembers(next), book.Replaced)
		if err != nil {
			return nil, err
		}
		for _, record := range records {
			result.Bound = append(result.Bound, names.of(record.(*recordv1.ContactBound).Contact))
		}
		if len(records) == 0 {
			return nil, nil
		}
		return []transaction{{records: records}}, nil
	})
	if err != nil {
		return nil, explain(err, "bind the contacts again")
	}
	result.Left = d.paperLeft(d.home.State())
	if _, err := d.sendEnvelopes(ctx, &SyncResult{}); err != nil {
		return nil, explain(err, "send the new shares")
	}
	return result, nil
}

// boundMembers says which members of an epoch are taken, and by whom.
func boundMembers(e *ledger.Epoch) map[uint64]*recordv1.Contact {
	taken := map[uint64]*recordv1.Contact{}
	for _, m := range e.Members {
		if m.Bound {
			taken[m.Number] = m.Contact
		}
	}
	return taken
}
