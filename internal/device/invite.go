package device

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// invitePrefix starts the text of an invitation: unpadded base64url (RFC 4648
// section 5) of a canonical Invitation follows.
const invitePrefix = "zeropass-invite-1:"

const inviteSecretSize = 16

// invitationLife is how long an invitation can be answered: one that is found
// later, in an old mail or chat, is worth nothing.
const invitationLife = 7 * 24 * time.Hour

// InviteResult is an invitation for one person.
type InviteResult struct {
	secretive

	Label  string
	Text   string // for that person alone, by a way that the server does not see
	Phrase string // the owner's safety phrase
	Expiry time.Time
}

// Invite makes an invitation for a contact. It does not need the server. The text
// goes to that person and to nobody else: whoever has it can answer as them,
// until their phrase is compared.
func (d *Device) Invite(ctx context.Context, label string) (*InviteResult, error) {
	if err := d.writable(); err != nil {
		return nil, err
	}
	label = strings.TrimSpace(label)
	if label == "" {
		return nil, failure(CodeUsage, nil, "say for whom it is", "an invitation needs a name")
	}
	if err := checkContactName(label); err != nil {
		return nil, err
	}
	s := d.home.State()
	if _, err := freeMember(s); err != nil && !d.mayReintroduce(s, label) {
		return nil, err
	}
	book, err := d.book()
	if err != nil {
		return nil, explain(err, "make an invitation")
	}
	secret := make([]byte, inviteSecretSize)
	if _, err := io.ReadFull(d.o.Rand, secret); err != nil {
		return nil, explain(err, "make an invitation")
	}
	made := d.o.Now()
	expiry := made.Add(invitationLife).Truncate(time.Millisecond)
	b, err := canonical.Marshal(&recordv1.Invitation{
		Account: d.keys.Account[:],
		Server:  d.where(),
		Secret:  secret,
		Name:    d.Name(),
		SignKey: d.keys.Sign.PublicKey().Bytes(),
		Expiry:  uint64(expiry.UnixMilli()),
	})
	if err != nil {
		return nil, explain(err, "make an invitation")
	}
	defer clear(b)
	book.Invitations = append(book.Invitations, &invitation{Label: label, Secret: secret, Made: made, Expiry: expiry})
	if err := d.save(bookFile, book); err != nil {
		return nil, explain(err, "remember the invitation")
	}
	return &InviteResult{Label: label, Text: invitePrefix + base64.RawURLEncoding.EncodeToString(b), Phrase: d.ownerPhrase(), Expiry: expiry}, nil
}

// freeMember returns a member of the prepared epoch, or else of the one in use,
// that has no contact yet.
func freeMember(s *ledger.State) (*ledger.Member, error) {
	e := targetEpoch(s)
	for i := range e.Members {
		if !e.Members[i].Bound {
			return &e.Members[i], nil
		}
	}
	return nil, failure(CodeUsage, nil, "zeropass contact replace frees one", "all %d shares have their contacts", len(e.Members))
}

// targetEpoch is the one whose shares are to be given to contacts.
func targetEpoch(s *ledger.State) *ledger.Epoch {
	if e := s.Prepared(); e != nil {
		return e
	}
	return s.InUse()
}

// ownerPhrase is the safety phrase of this account for its contacts.
func (d *Device) ownerPhrase() string {
	return safetyPhrase(d.keys.Account, purposeOwner, d.keys.Sign.PublicKey().Bytes())
}

// contactPhrase is the safety phrase of a contact for the owner.
func contactPhrase(c *recordv1.Contact) string {
	var keys [][]byte
	for _, device := range c.Devices {
		keys = append(keys, device.SignKey, device.SealKey)
	}
	return safetyPhrase(ledger.AccountID(c.Account), purposeContact, keys...)
}

// self is this account as a contact of others.
func (d *Device) self() *recordv1.Contact {
	c := &recordv1.Contact{Account: d.keys.Account[:]}
	for _, own := range d.home.State().ActiveDevices() {
		c.Devices = append(c.Devices, &recordv1.ContactDevice{SignKey: own.Keys.SignKey, SealKey: own.Keys.SealKey})
	}
	return c
}

// parseInvitation reads the text of an invitation.
func parseInvitation(text string) (*recordv1.Invitation, error) {
	encoded, ok := strings.CutPrefix(strings.Join(strings.Fields(text), ""), invitePrefix)
	if !ok {
		return nil, failure(CodeUsage, ErrInvitation, "paste all of it; it starts with "+invitePrefix, "this is not an invitation")
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	i := &recordv1.Invitation{}
	if err == nil {
		err = canonical.Unmarshal(b, i)
	}
	clear(b)
	if err != nil || len(i.Account) != 32 || len(i.Secret) != inviteSecretSize || i.Server == nil || i.Expiry == 0 || i.Expiry > math.MaxInt64 {
		return nil, failure(CodeUsage, ErrInvitation, "paste all of it, or ask for another one", "the invitation is cut short or mistyped")
	}
	if _, err := signing.NewPublicKey(i.SignKey); err != nil {
		return nil, failure(CodeUsage, ErrInvitation, "ask for another one", "the invitation names no key")
	}
	return i, nil
}

// AcceptResult is what a contact's screen shows after accepting.
type AcceptResult struct {
	Owner       string // the inviting account's name
	Account     ledger.AccountID
	OwnerPhrase string // what the owner's screen calls the owner's phrase
	OwnPhrase   string // to be read to the owner
}

// Accept answers an invitation: this account becomes a contact of the inviting
// one as soon as its owner has compared the phrases.
func (d *Device) Accept(ctx context.Context, text string) (*AcceptResult, error) {
	if err := d.writable(); err != nil {
		return nil, err
	}
	i, err := parseInvitation(text)
	if err != nil {
		return nil, err
	}
	defer clear(i.Secret)
	if expiry := time.UnixMilli(int64(i.Expiry)); !d.o.Now().Before(expiry) {
		return nil, failure(CodeUsage, ErrInvitation, "ask "+i.Name+" for a new one; if that is wrong, set this computer's clock", "the invitation of %s expired on %s", i.Name, expiry.UTC().Format(time.DateOnly))
	}
	owner := ledger.AccountID(i.Account)
	if owner == d.keys.Account {
		return nil, failure(CodeUsage, ErrInvitation, "give it to somebody else", "this is an invitation by this very account")
	}
	if pinned := d.pinned(); !bytes.Equal(i.Server.SignKey, pinned.SignKey) || !bytes.Equal(i.Server.SealKey, pinned.SealKey) {
		return nil, failure(CodeUsage, ErrInvitation, "make an account at "+i.Server.Url, "%s is at another server, %s", i.Name, i.Server.Url)
	}
	self := d.self()
	sealed, err := sealAnswer(d.o.Rand, i, &recordv1.InvitationAnswer{Contact: self, Name: d.Name()})
	if err != nil {
		return nil, explain(err, "accept the invitation")
	}
	// The owner's key is pinned before anything leaves: what comes back is
	// believed only if that key signed it.
	if err := d.trustOwner(owner, i.Name, i.SignKey); err != nil {
		return nil, explain(err, "remember "+i.Name)
	}
	if err := d.sendMessage(ctx, owner, apiv1.Message_KIND_INVITATION_ANSWER, sealed); err != nil {
		return nil, explain(err, "answer "+i.Name)
	}
	return &AcceptResult{
		Owner:       i.Name,
		Account:     owner,
		OwnerPhrase: safetyPhrase(owner, purposeOwner, i.SignKey),
		OwnPhrase:   contactPhrase(self),
	}, nil
}

func (d *Device) sendMessage(ctx context.Context, to ledger.AccountID, kind apiv1.Message_Kind, body []byte) error {
	return d.client.SendMessage(ctx, d.identity(), &apiv1.Message{To: to[:], Kind: kind, Body: body})
}

// deliver sends a message, and notes it when the server does not take it: what one
// person cannot get must not keep everything else from going on.
func (d *Device) deliver(ctx context.Context, to ledger.AccountID, kind apiv1.Message_Kind, body []byte, result *SyncResult) (bool, error) {
	err := d.sendMessage(ctx, to, kind, body)
	if signed(err) {
		result.note("the server does not take a message to account %v: %v", to.String()[:8], err)
		return false, nil
	}
	return err == nil, err
}

// answerKey is the key that an invitation's secret gives, and the context that
// the answer is sealed under. Whoever gives an invitation a later expiry, in
// milliseconds, gets another key.
func answerKey(secret []byte, owner ledger.AccountID, expiry uint64) (*aead.Key, *signing.Context, error) {
	key, err := aead.DeriveKey(secret, signing.NewContext("invitation").Bytes(owner[:]).Uint(expiry))
	if err != nil {
		return nil, nil, err
	}
	return key, signing.Sealing{Kind: "invitation-answer", Account: owner[:], Role: "contact"}.Context(), nil
}

func sealAnswer(rand io.Reader, i *recordv1.Invitation, answer *recordv1.InvitationAnswer) ([]byte, error) {
	key, context, err := answerKey(i.Secret, ledger.AccountID(i.Account), i.Expiry)
	if err != nil {
		return nil, err
	}
	defer key.Erase()
	b, err := canonical.Marshal(answer)
	if err != nil {
		return nil, err
	}
	return key.Seal(rand, context, b)
}

func openAnswer(i *invitation, owner ledger.AccountID, sealed []byte) (*recordv1.InvitationAnswer, error) {
	key, context, err := answerKey(i.Secret, owner, uint64(i.Expiry.UnixMilli()))
	if err != nil {
		return nil, err
	}
	defer key.Erase()
	b, err := key.Open(context, sealed)
	if err != nil {
		return nil, err
	}
	answer := &recordv1.InvitationAnswer{}
	if err := canonical.Unmarshal(b, answer); err != nil {
		return nil, err
	}
	if len(answer.GetContact().GetAccount()) != 32 || len(answer.Contact.Devices) == 0 {
		return nil, fmt.Errorf("%w: the answer names no account", ErrInvitation)
	}
	return answer, nil
}

// contactBook is what an owner's device remembers of its contacts beside the
// ledger, which has their names.
type contactBook struct {
	Invitations []*invitation
	Sent        map[string]*sentShare // envelopes, by epoch and member
	Replaced    map[string]bool       // accounts that get no share of new epochs, in hexadecimal
}

// accountOf is the account of a contact as the book names it; empty for nil.
func accountOf(c *recordv1.Contact) string { return hex.EncodeToString(c.GetAccount()) }

// invitation is one that was made here. Its secret is erased once its answer was
// taken: it is used once.
type invitation struct {
	Label  string
	Secret []byte `json:",omitempty"`
	Made   time.Time
	Expiry time.Time
	Answer []byte `json:",omitempty"` // canonical Contact
	Name   string `json:",omitempty"` // of the account that answered
	Bound  bool   `json:",omitempty"`
}

type sentShare struct {
	Contact string // account in hexadecimal
	At      time.Time
}

const bookFile = "contacts"

func (d *Device) book() (*contactBook, error) {
	book, err := load[contactBook](d, bookFile)
	if err != nil {
		return nil, err
	}
	if book == nil {
		book = &contactBook{}
	}
	if book.Sent == nil {
		book.Sent = map[string]*sentShare{}
	}
	if book.Replaced == nil {
		book.Replaced = map[string]bool{}
	}
	return book, nil
}

// contact returns who answered the invitation, nil if nobody has.
func (i *invitation) contact() *recordv1.Contact {
	c := &recordv1.Contact{}
	if i.Answer == nil || canonical.Unmarshal(i.Answer, c) != nil {
		return nil
	}
	return c
}

// takeAnswer opens an answer with the invitation that it is for, and says
// whether there is one. An answer that comes after the expiry spends the
// invitation and is not kept.
func (b *contactBook) takeAnswer(owner ledger.AccountID, sealed []byte, now time.Time) (*invitation, error) {
	for _, i := range b.Invitations {
		if len(i.Secret) == 0 {
			continue
		}
		answer, err := openAnswer(i, owner, sealed)
		if err != nil {
			continue
		}
		clear(i.Secret)
		i.Secret = nil
		if !now.Before(i.Expiry) {
			return i, nil
		}
		if i.Answer, err = canonical.Marshal(answer.Contact); err != nil {
			return nil, err
		}
		i.Name = answer.Name
		return i, nil
	}
	return nil, nil
}
