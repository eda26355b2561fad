package device

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
)

// Messages come from other accounts, through the server. None is believed for
// having arrived: each is sealed or signed by whoever wrote it. One that was
// dealt with, or can never be, is acknowledged and gone; one that waits for
// something else stays in the inbox.

// errLater: a message can be dealt with only when something else is here.
var errLater = errors.New("device: the message waits for another one")

// errWorthless: a message that says nothing, now or later.
var errWorthless = errors.New("device: a worthless message")

// receive deals with everything in the inbox. What goes into the ledger is there
// before its message is acknowledged.
func (d *Device) receive(ctx context.Context, result *SyncResult) error {
	var after uint64
	waiting := map[string]uint64{} // the newest envelope that waits, by its sender
	for {
		page, err := d.client.Inbox(ctx, d.identity(), &apiv1.InboxRequest{After: after})
		if err != nil {
			return err
		}
		var done []uint64
		// Halves last: they wait for their envelopes.
		for _, halves := range []bool{false, true} {
			for _, m := range page.Messages {
				if halves != (m.Kind == apiv1.Message_KIND_SERVER_HALF) {
					continue
				}
				err := d.deal(ctx, m, result)
				switch {
				case errors.Is(err, errLater) && m.Kind == apiv1.Message_KIND_SHARE_ENVELOPE:
					// One waits for a device to be introduced. If all did, a stolen device
					// could fill the box, and what the owner sends later had no room.
					if older, ok := waiting[string(m.From)]; ok {
						done = append(done, older)
					}
					waiting[string(m.From)] = m.Id
				case errors.Is(err, errLater):
				case err == nil:
					done = append(done, m.Id)
				case errors.Is(err, errWorthless):
					done = append(done, m.Id)
					result.note("a message from %s was worth nothing: %v", senderOf(m), err)
				default:
					return err
				}
			}
		}
		if err := d.appendReceipts(ctx); err != nil {
			return err
		}
		if len(done) > 0 {
			if err := d.client.Acknowledge(ctx, d.identity(), done); err != nil {
				return err
			}
		}
		if !page.More || len(page.Messages) == 0 {
			return nil
		}
		after = page.Messages[len(page.Messages)-1].Id
	}
}

func senderOf(m *apiv1.Message) string {
	switch {
	case len(m.From) == 0:
		return "the server"
	case m.FromName != "":
		return m.FromName
	}
	return hex.EncodeToString(m.From)
}

func (d *Device) deal(ctx context.Context, m *apiv1.Message, result *SyncResult) error {
	switch m.Kind {
	case apiv1.Message_KIND_INVITATION_ANSWER:
		return d.takeAnswer(m, result)
	case apiv1.Message_KIND_SHARE_RECEIPT:
		return d.takeReceipt(m, result)
	case apiv1.Message_KIND_CONTACT_ATTESTATION:
		return d.takeAttestation(m)
	case apiv1.Message_KIND_SHARE_ENVELOPE:
		return d.takeEnvelope(ctx, m, result)
	case apiv1.Message_KIND_SERVER_HALF:
		return d.takeServerHalf(ctx, m, result)
	case apiv1.Message_KIND_OWNER_HEAD:
		return d.takeOwnerHead(ctx, m, result)
	}
	return fmt.Errorf("%w: of the unknown kind %d", errWorthless, m.Kind)
}

// takeAnswer keeps what a contact answered, for the owner to confirm.
func (d *Device) takeAnswer(m *apiv1.Message, result *SyncResult) error {
	book, err := d.book()
	if err != nil {
		return err
	}
	i, err := book.takeAnswer(d.keys.Account, m.Body, d.o.Now())
	if err != nil {
		return err
	}
	if i == nil {
		return fmt.Errorf("%w: it answers no invitation that is open here", errWorthless)
	}
	if err := d.save(bookFile, book); err != nil {
		return err
	}
	if i.Answer == nil {
		result.note("%s has answered an invitation that had expired: run zeropass contact invite again", i.Label)
		return nil
	}
	result.Answers = append(result.Answers, i.Label)
	return nil
}

// takeReceipt keeps a contact's receipt for the ledger.
func (d *Device) takeReceipt(m *apiv1.Message, result *SyncResult) error {
	r := &recordv1.ShareReceipt{}
	if err := canonical.Unmarshal(m.Body, r); err != nil {
		return fmt.Errorf("%w: %w", errWorthless, err)
	}
	s := d.home.State()
	if e, ok := s.Epoch(r.Epoch); ok {
		if member, ok := e.Member(r.Holder.GetNumber()); ok && member.Receipt {
			return nil // sent twice
		}
	}
	if !d.keepReceipt(s, r) {
		return fmt.Errorf("%w: %w", errWorthless, s.CheckReceipt(r))
	}
	e, _ := s.Epoch(r.Epoch)
	member, _ := e.Member(r.Holder.Number)
	name, _ := d.boundName(s, member.Binding)
	result.Receipts = append(result.Receipts, name)
	return nil
}

// takeAttestation keeps a contact's proof that it still has its share.
func (d *Device) takeAttestation(m *apiv1.Message) error {
	a, err := ledger.ParseAttestation(m.Body)
	if err != nil {
		return fmt.Errorf("%w: %w", errWorthless, err)
	}
	s := d.home.State()
	if a.Holder().GetKind() != recordv1.Holder_KIND_MEMBER {
		return fmt.Errorf("%w: an attestation by no contact", errWorthless)
	}
	if err := s.CheckAttestation(a); err != nil {
		return fmt.Errorf("%w: %w", errWorthless, err)
	}
	if !s.Contains(a.Head()) {
		return fmt.Errorf("%w: it attests a head that this ledger does not have", errWorthless)
	}
	if a.Time().After(d.o.Now().Add(api.MaxClockSkew)) {
		// It would count as recent for as long as its clock is ahead.
		return fmt.Errorf("%w: it is dated %s, in the future", errWorthless, a.Time().Format(time.RFC3339))
	}
	_, ours, err := d.provedAt(s, a)
	if err != nil {
		return err
	}
	if !ours {
		// It may have been made at any time, before the share was deleted for one.
		return fmt.Errorf("%w: its nonce is none that this account gave out", errWorthless)
	}
	return d.home.PutProof(a)
}
