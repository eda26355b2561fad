package server

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// How many messages may wait.
const (
	messagesPerPair    = 16   // of one kind, from one account to another
	messagesPerAccount = 4096 // for one account
	// Anybody may answer an invitation: that must leave room for those who help in
	// a recovery.
	answersPerAccount = 512
	maxAcknowledged   = 1024 // in one request
)

// sendMessage takes a message for another account.
func (s *Server) sendMessage(ctx context.Context, a *asked, q *apiv1.SendMessageRequest) (*apiv1.SendMessageAnswer, error) {
	acct, _, err := s.foldedDevice(ctx, a)
	if err != nil {
		return nil, err
	}
	m := q.GetMessage()
	limit := api.MessageLimit(m.GetKind())
	switch {
	case limit == 0:
		return nil, api.Refuse(api.ErrMalformed, "no device sends a message of kind %d", m.GetKind())
	case len(m.To) != len(ledger.AccountID{}):
		return nil, api.Refuse(api.ErrMalformed, "the recipient has %d bytes", len(m.To))
	case len(m.Body) == 0 || len(m.Body) > limit:
		return nil, api.Refuse(api.ErrTooLarge, "a message of %d bytes, at most %d are taken", len(m.Body), limit)
	case m.Id != 0 || len(m.From) != 0 || m.Time != 0 || m.FromName != "":
		return nil, api.Refuse(api.ErrMalformed, "the server says number, sender and time of a message")
	}
	to, err := s.foldedAccount(ctx, ledger.AccountID(m.To))
	if errors.Is(err, api.ErrAccountLocked) {
		// That is between its owner and the operator.
		return nil, api.Refuse(api.ErrUnavailable, "the recipient's account takes no messages now")
	}
	if err != nil {
		return nil, err
	}
	if bound, fromOwner := api.Parties(m.Kind); bound {
		owner, contact := to, acct
		if fromOwner {
			owner, contact = acct, to
		}
		if !isContact(owner.state, contact.id) {
			return nil, api.Refuse(api.ErrNotAContact, "the owner's ledger names no such contact")
		}
	}
	if m.Kind == apiv1.Message_KIND_OWNER_HEAD {
		if err := attestedBySender(a, acct.state, m.Body); err != nil {
			return nil, err
		}
	}

	// The log has what was asked, and not the message's number, which the store
	// counts only then.
	answer := &apiv1.SendMessageAnswer{}
	spend, err := a.logged(acct.account, answer)
	if err != nil {
		return nil, err
	}
	spend.Changes = []store.Change{change(acct.id, apiv1.Hint_KIND_ACTIVITY), change(to.id, apiv1.Hint_KIND_INBOX)}
	perBox := messagesPerAccount
	if m.Kind == apiv1.Message_KIND_INVITATION_ANSWER {
		perBox = answersPerAccount
	}
	answer.Id, err = s.store.Send(ctx, store.Sending{
		Spend:   spend,
		Message: store.Message{From: &acct.id, To: to.id, Kind: int32(m.Kind), Topic: topicOf(a, acct, to, m), Body: m.Body, Time: a.now},
		// Only a device's newest head matters, and the newest proof of each share.
		Replace: m.Kind == apiv1.Message_KIND_OWNER_HEAD || m.Kind == apiv1.Message_KIND_CONTACT_ATTESTATION,
		PerPair: messagesPerPair,
		PerBox:  perBox,
	})
	if errors.Is(err, store.ErrFull) {
		return nil, api.Refuse(api.ErrRateLimited, "the recipient's inbox is full")
	}
	if err != nil {
		return nil, err
	}
	s.hint(spend.Changes...)
	return answer, nil
}

// attestedBySender refuses a head that another device attests than the one that
// sends it, which is active. A contact may know that one only by the entry that
// added it, and cannot see that the entry stands in the ledger.
func attestedBySender(a *asked, state *ledger.State, body []byte) error {
	sent := &recordv1.OwnerHead{}
	if err := canonical.Unmarshal(body, sent); err != nil {
		return api.RefuseRule(api.ErrMalformed, err)
	}
	proof, err := ledger.ParseAttestation(sent.GetHead().GetDevice())
	if err != nil {
		return api.RefuseRule(api.ErrMalformed, err)
	}
	if h := proof.Holder(); h.GetKind() != recordv1.Holder_KIND_DEVICE || h.GetNumber() != a.Header.Device || state.CheckAttestation(proof) != nil {
		return api.Refuse(api.ErrMalformed, "device %d sends a head that it did not attest", a.Header.Device)
	}
	return nil
}

// topicOf is what a newer message of the same kind takes the place of: the head of
// the same device, which no other device displaces, and the proof of the same
// share. There are few topics, so that no sender fills what may wait between both.
func topicOf(a *asked, from, to *folded, m *apiv1.Message) string {
	switch m.Kind {
	case apiv1.Message_KIND_OWNER_HEAD:
		return fmt.Sprintf("device/%d", a.Header.Device%messagesPerPair)
	case apiv1.Message_KIND_CONTACT_ATTESTATION:
		proof, err := ledger.ParseAttestation(m.Body)
		if err != nil || !slices.Contains(epochsKept(to.state), proof.Epoch()) {
			return "" // the recipient will find it worth nothing
		}
		e, _ := to.state.Epoch(proof.Epoch())
		member, ok := e.Member(proof.Holder().GetNumber())
		if !ok || member.Contact == nil || string(member.Contact.Account) != string(from.id[:]) {
			return ""
		}
		return fmt.Sprintf("epoch/%d/member/%d", proof.Epoch(), member.Number)
	}
	return ""
}

// isContact says whether the owner's ledger binds the account as a contact, in
// any epoch: former contacts have things to say as well.
func isContact(owner *ledger.State, contact ledger.AccountID) bool {
	for number := uint64(1); number < owner.NextEpoch(); number++ {
		if e, ok := owner.Epoch(number); ok && boundIn(e, contact) {
			return true
		}
	}
	return false
}

// boundIn says whether the epoch binds the account as a contact.
func boundIn(e *ledger.Epoch, contact ledger.AccountID) bool {
	for _, m := range e.Members {
		if m.Contact != nil && string(m.Contact.Account) == string(contact[:]) {
			return true
		}
	}
	return false
}

// inbox gives a device what it has not acknowledged.
func (s *Server) inbox(ctx context.Context, a *asked, q *apiv1.InboxRequest) (*apiv1.InboxAnswer, error) {
	acct, d, err := s.device(ctx, a)
	if err != nil {
		return nil, err
	}
	messages, more, err := s.store.Inbox(ctx, acct.id, d.Number, bounded(q.After), api.PageSize)
	if err != nil {
		return nil, err
	}
	answer := &apiv1.InboxAnswer{More: more}
	for _, m := range messages {
		message := &apiv1.Message{
			Id: m.ID, To: m.To[:], Kind: apiv1.Message_Kind(m.Kind), Body: m.Body, Time: uint64(m.Time.UnixMilli()), FromName: m.FromName,
		}
		if m.From != nil {
			message.From = m.From[:]
		}
		answer.Messages = append(answer.Messages, message)
	}
	return answer, nil
}

// acknowledge takes messages out of a device's inbox.
func (s *Server) acknowledge(ctx context.Context, a *asked, q *apiv1.AcknowledgeRequest) (*apiv1.AcknowledgeAnswer, error) {
	acct, d, err := s.device(ctx, a)
	if err != nil {
		return nil, err
	}
	if len(q.Ids) > maxAcknowledged {
		return nil, api.Refuse(api.ErrTooLarge, "%d messages, at most %d are acknowledged at once", len(q.Ids), maxAcknowledged)
	}
	op := store.Acknowledgement{Spend: a.spend(), Account: acct.id, Device: d.Number}
	for _, id := range q.Ids {
		op.IDs = append(op.IDs, bounded(id))
	}
	for _, active := range acct.now.ActiveDevices() {
		op.Active = append(op.Active, active.Number)
	}
	return &apiv1.AcknowledgeAnswer{}, s.store.Acknowledge(ctx, op)
}
