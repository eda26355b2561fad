package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// What may wait for other devices at a time. A person who is asked without end
// says yes in the end, so there is room for a day's work and no more; and what
// waits in one account fits into one answer to Pending.
const (
	waitingOfAccount = 64
	waitingOfDevice  = 16
	waitingBytes     = api.MaxBody
)

// mayWait says whether requests of a procedure are kept until other devices have
// confirmed them.
func mayWait(procedure string) bool {
	switch procedure {
	case apiv1connect.ServerServiceRevealProcedure, apiv1connect.ServerServiceProposeProcedure, apiv1connect.ServerServiceSetAlarmsProcedure:
		return true
	}
	return false
}

// fits is [api.Request.Fits], at the time when the request came first.
func (s *Server) fits(ctx context.Context, r *api.Request, now time.Time) error {
	err := r.Fits(s.keys.SignKey(), now)
	if !errors.Is(err, api.ErrClock) || !mayWait(r.Header.Procedure) {
		return err
	}
	k, findErr := s.store.Kept(ctx, r.Hash)
	if errors.Is(findErr, store.ErrNotFound) {
		return err
	}
	if findErr != nil {
		return findErr
	}
	return r.Fits(s.keys.SignKey(), k.Received)
}

// kept returns the request as it is kept, or nil if it came for the first time.
// It refuses what other devices have refused, and what has expired.
func (s *Server) kept(ctx context.Context, a *asked) (*store.Kept, error) {
	k, err := s.store.Kept(ctx, a.Hash)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if k.State == store.KeptRefused {
		refusal := api.Refuse(api.ErrConfirmationRefused, "device %d refused it", k.RefusedBy)
		if k.RefusedBy == k.Device {
			refusal.Message = "the device that asked withdrew it"
		}
		refusal.Devices = []uint64{k.RefusedBy}
		return nil, refusal
	}
	if !k.Expires.After(a.now) {
		if err := s.store.EraseKept(ctx, a.now); err != nil {
			return nil, err
		}
		return nil, api.Refuse(api.ErrConfirmationExpired, "ask again")
	}
	return &k, nil
}

// confirmed wants the second factor of the whole request: that of another active
// device, for which the request is kept and refused until it comes again, or of
// an asking device that is alone, whose confirm key came along. It returns what
// the record of the answer says of it; the request has its confirmations then.
//
// Everything that may be wrong with a request is to be checked before: a person
// should be asked for nothing that is refused afterwards.
func (s *Server) confirmed(ctx context.Context, a *asked, acct *account, d *ledger.Device) (store.Answer, error) {
	others := othersOf(acct.now, d.Number)
	alone := len(others) == 0
	var k *store.Kept
	// What comes with the confirmation of a device that is alone waits for nobody. If it
	// did before, while there were others, it may be asked anew all the same, and its
	// nonce sees to it that it is answered once.
	if !alone || len(a.Confirmations()) == 0 {
		var err error
		if k, err = s.kept(ctx, a); err != nil {
			return store.Answer{}, err
		}
	}
	// What waited was counted when it came.
	op := store.Answer{Reveal: revealLimit(a, acct.now, alone)}
	if k != nil {
		if k.State == store.KeptUsed {
			return store.Answer{}, api.Refuse(api.ErrReplayed, "it was answered: ask again with a new request")
		}
		op = store.Answer{Kept: &k.ID}
		if len(a.Confirmations()) == 0 {
			confirmations, err := confirmationsOf(acct.now, k)
			if err != nil {
				return store.Answer{}, err
			}
			a.Request = a.With(confirmations)
		}
	}
	if len(a.Confirmations()) == 0 && !alone {
		return store.Answer{}, s.keep(ctx, a, acct, d, k, others, nil)
	}
	if err := secondFactor(a, acct.now, d, alone); err != nil {
		return store.Answer{}, s.unconfirmed(ctx, a, acct, err)
	}
	return op, nil
}

// isAlone says whether one device alone is active.
func isAlone(now present) bool { return len(now.ActiveDevices()) == 1 }

// othersOf returns the active devices besides one.
func othersOf(now present, device uint64) []uint64 {
	var others []uint64
	for _, d := range now.ActiveDevices() {
		if d.Number != device {
			others = append(others, d.Number)
		}
	}
	return others
}

// confirmationsOf returns the confirmations of devices that are still active.
func confirmationsOf(now present, k *store.Kept) ([]*apiv1.Confirmation, error) {
	var confirmations []*apiv1.Confirmation
	for _, reply := range k.Replies {
		if d, ok := now.Device(reply.Device); !ok || d.Status != ledger.Active {
			continue
		}
		c := &apiv1.Confirmation{}
		if err := canonical.Unmarshal(reply.Bytes, c); err != nil {
			return nil, err
		}
		confirmations = append(confirmations, c)
	}
	return confirmations[:min(len(confirmations), api.MaxConfirmations)], nil
}

// keep makes the request wait for these devices, unless it does so already, and
// returns the refusal that says so. adds is the sign key of the device that the
// request would add.
func (s *Server) keep(ctx context.Context, a *asked, acct *account, d *ledger.Device, k *store.Kept, devices []uint64, adds []byte) error {
	if k != nil {
		return waits(k, devices)
	}
	fresh := &store.Kept{
		ID: a.Hash, Account: acct.id, Device: d.Number, Adds: adds,
		Received: a.now, Expires: a.now.Add(api.PendingLife),
	}
	message := a.Message()
	if err := s.encryptKept(fresh, &apiv1.SignedRequest{Header: message.Header, Signature: message.Signature, Body: message.Body}); err != nil {
		return err
	}
	refusal := waits(fresh, devices)
	// The activity log has the question as well: one that nobody answers would
	// leave no trace.
	spend, err := a.logged(acct, refusal.Details())
	if err != nil {
		return err
	}
	spend.Changes = []store.Change{change(acct.id, apiv1.Hint_KIND_PENDING, apiv1.Hint_KIND_ACTIVITY)}
	_, err = s.store.Keep(ctx, store.Keeping{
		Spend: spend, Head: acct.now.Head(), Kept: *fresh, Reveal: revealLimit(a, acct.now, isAlone(acct.now)),
		PerAll: waitingOfAccount, PerDevice: waitingOfDevice, Bytes: waitingBytes,
	})
	a.found(err)
	if errors.Is(err, store.ErrFull) {
		refusal := api.Refuse(api.ErrRateLimited, "too much waits for confirmation already: answer or withdraw some")
		refusal.RetryAfter = api.PendingLife
		return refusal
	}
	if err != nil {
		s.usedUp(ctx, a, acct, err)
		return err
	}
	s.hint(spend.Changes...)
	return refusal
}

// encryptKept encrypts a request for the store: that of SetAlarms has the secret
// of a webhook in it.
func (s *Server) encryptKept(k *store.Kept, message *apiv1.SignedRequest) error {
	plain, err := canonical.Marshal(message)
	if err != nil {
		return err
	}
	defer clear(plain)
	with := s.keys.ring.first()
	k.Key = with.id
	k.Request, err = with.key.Seal(s.rand, keptContext(k), plain)
	return err
}

// decryptKept reads a request that waits.
func (s *Server) decryptKept(k *store.Kept) (*apiv1.SignedRequest, error) {
	key, err := s.keys.ring.key(k.Key)
	if err != nil {
		return nil, err
	}
	plain, err := key.Open(keptContext(k), k.Request)
	if err != nil {
		return nil, fmt.Errorf("server: a request that waits, in the store: %w", err)
	}
	defer clear(plain)
	message := &apiv1.SignedRequest{}
	if err := canonical.Unmarshal(plain, message); err != nil {
		return nil, err
	}
	return message, nil
}

// keptContext binds an encrypted request to its place in the store.
func keptContext(k *store.Kept) *signing.Context {
	return signing.NewContext("stored-request").Bytes(k.Account[:]).Bytes(k.ID[:]).Text(k.Key)
}

// waits is the refusal of a request that waits for these devices.
func waits(k *store.Kept, devices []uint64) *api.Refusal {
	refusal := api.Refuse(api.ErrConfirmationPending, "confirm it on another device, then send the same request again")
	refusal.Expires, refusal.Devices = k.Expires, devices
	return refusal
}

// pending lists what waits in the account. A device that is in no ledger sees
// what would add it.
func (s *Server) pending(ctx context.Context, a *asked, _ *apiv1.PendingRequest) (*apiv1.PendingAnswer, error) {
	acct, err := s.asker(ctx, a)
	if err != nil {
		return nil, err
	}
	if a.Header.Device != 0 {
		if _, err := activeDevice(a, acct.now); err != nil {
			return nil, err
		}
	}
	if err := s.store.EraseKept(ctx, a.now); err != nil {
		return nil, err
	}
	all, err := s.store.Waiting(ctx, acct.id, a.now)
	if err != nil {
		return nil, err
	}
	answer := &apiv1.PendingAnswer{}
	for _, k := range all {
		if !mayReply(a, &k) || !isActive(acct.now, k.Device) {
			continue
		}
		request, err := s.decryptKept(&k)
		if err != nil {
			return nil, err
		}
		w := &apiv1.Waiting{Request: request, Received: uint64(k.Received.UnixMilli()), Expires: uint64(k.Expires.UnixMilli())}
		for _, reply := range k.Replies {
			w.Answered = append(w.Answered, reply.Device)
		}
		answer.Waiting = append(answer.Waiting, w)
	}
	return answer, nil
}

// mayReply says whether a request concerns the asker, whom the caller knows for a
// device of the account if it has a number.
func mayReply(a *asked, k *store.Kept) bool {
	return a.Header.Device != 0 || len(k.Adds) > 0 && string(k.Adds) == string(a.Key.Bytes())
}

func isActive(now present, device uint64) bool {
	d, ok := now.Device(device)
	return ok && d.Status == ledger.Active
}

// confirm takes a device's answer to a request that waits.
func (s *Server) confirm(ctx context.Context, a *asked, q *apiv1.ConfirmRequest) (*apiv1.ConfirmAnswer, error) {
	if len(q.Id) != len(ledger.Hash{}) || len(slices.DeleteFunc([]bool{q.Confirmation != nil, q.Endorsement != nil, q.Refuse}, func(is bool) bool { return !is })) != 1 {
		return nil, api.Refuse(api.ErrMalformed, "one confirmation, endorsement or refusal of one request")
	}
	acct, err := s.asker(ctx, a)
	if err != nil {
		return nil, err
	}
	if a.Header.Device != 0 {
		if _, err := activeDevice(a, acct.now); err != nil {
			return nil, err
		}
	}
	k, err := s.store.Kept(ctx, ledger.Hash(q.Id))
	if errors.Is(err, store.ErrNotFound) || err == nil && (k.Account != acct.id || !mayReply(a, &k)) {
		return nil, api.Refuse(api.ErrUnknownPending, "it may have been answered")
	}
	if err != nil {
		return nil, err
	}
	op := store.Replying{
		Account: acct.id, Head: acct.now.Head(), ID: k.ID, Refuse: q.Refuse,
		Reply: store.Reply{Device: a.Header.Device},
	}
	if err := takesReply(a, acct.now, &k); err != nil {
		return nil, err
	}
	message, err := s.decryptKept(&k)
	if err != nil {
		return nil, err
	}
	if op.Reply.Bytes, err = s.checkReply(ctx, acct, a, q, &k, message); err != nil {
		return nil, err
	}
	answer := &apiv1.ConfirmAnswer{}
	if op.Spend, err = a.logged(acct, answer); err != nil {
		return nil, err
	}
	if q.Refuse && a.Header.Device != k.Device {
		about := notify.Data{Device: k.Device, Subject: a.Header.Device}
		op.Spend.Alarms = []store.Alarm{s.alarm(a, acct, notify.ConfirmationRefused, about)}
	}
	op.Spend.Changes = []store.Change{change(acct.id, apiv1.Hint_KIND_PENDING, apiv1.Hint_KIND_ACTIVITY)}
	if err := s.store.Reply(ctx, op); err != nil {
		return nil, replyRefused(err, &k)
	}
	s.hint(op.Spend.Changes...)
	return answer, nil
}

// takesReply refuses a reply to what is over. The store looks again.
func takesReply(a *asked, now present, k *store.Kept) error {
	switch {
	case k.State == store.KeptUsed:
		return replyRefused(store.ErrKeptUsed, k)
	case k.State == store.KeptRefused:
		return replyRefused(store.ErrKeptRefused, k)
	case !k.Expires.After(a.now):
		return replyRefused(store.ErrKeptExpired, k)
	case !isActive(now, k.Device):
		return api.Refuse(api.ErrUnknownPending, "device %d, which asked, is not active any more", k.Device)
	}
	return nil
}

// replyRefused says why a request takes no reply.
func replyRefused(err error, k *store.Kept) error {
	switch {
	case errors.Is(err, store.ErrKeptUsed):
		return api.Refuse(api.ErrUnknownPending, "it was answered already")
	case errors.Is(err, store.ErrKeptRefused):
		refusal := api.Refuse(api.ErrConfirmationRefused, "nothing waits any more")
		if k.State == store.KeptRefused {
			refusal.Devices = []uint64{k.RefusedBy}
		}
		return refusal
	case errors.Is(err, store.ErrKeptExpired):
		return api.Refuse(api.ErrConfirmationExpired, "have it asked again")
	case errors.Is(err, store.ErrKeptReplied):
		return api.Refuse(api.ErrReplayed, "this device has confirmed it before")
	case errors.Is(err, store.ErrNotFound):
		return api.Refuse(api.ErrUnknownPending, "it may have been answered")
	}
	return err
}

// checkReply returns the bytes of a reply that counts, none of a refusal. Whom a
// proposal is about neither endorses nor refuses it: or a thief's device would
// stand in the way of its own revocation.
func (s *Server) checkReply(ctx context.Context, acct *account, a *asked, q *apiv1.ConfirmRequest, k *store.Kept, message *apiv1.SignedRequest) ([]byte, error) {
	h := &apiv1.RequestHeader{}
	if err := canonical.Unmarshal(message.Header, h); err != nil {
		return nil, err
	}
	r, err := api.ParseRequest(h.Procedure, message)
	if err != nil {
		return nil, err
	}
	var p *ledger.Proposal
	if h.Procedure == apiv1connect.ServerServiceProposeProcedure {
		if p, err = proposalOf(r); err != nil {
			return nil, err
		}
		if a.Header.Device != 0 && p.IsSubject(a.Header.Device) && a.Header.Device != k.Device {
			return nil, api.Refuse(api.ErrConfirmationWrong, "it is about this device: another one must answer")
		}
	}
	switch {
	case q.Refuse:
		return nil, nil
	case a.Header.Device == k.Device:
		return nil, api.Refuse(api.ErrConfirmationWrong, "the device that asks can only withdraw")
	case q.Endorsement != nil && p != nil:
		if fresh := a.Header.Device == 0; fresh != (q.Endorsement.Role == recordv1.Endorsement_ROLE_NEW_DEVICE) || !fresh && q.Endorsement.Device != a.Header.Device {
			return nil, api.Refuse(api.ErrConfirmationWrong, "a device endorses for itself, and as a new one only while it is")
		}
		owner, err := s.fold(ctx, acct)
		if err != nil {
			return nil, err
		}
		if err := owner.state.CheckEndorsement(p, k.Device, q.Endorsement); err != nil {
			return nil, api.RefuseRule(api.ErrConfirmationWrong, err)
		}
		return canonical.Marshal(q.Endorsement)
	case q.Confirmation != nil && p == nil:
		if q.Confirmation.Device != a.Header.Device || q.Confirmation.Key != apiv1.Confirmation_KEY_SIGN {
			return nil, api.Refuse(api.ErrConfirmationWrong, "a device confirms for itself, with its sign key")
		}
		if !r.Confirmed(q.Confirmation, a.Key) {
			return nil, api.Refuse(api.ErrConfirmationWrong, "the signature is not device %d's over this request", a.Header.Device)
		}
		return canonical.Marshal(q.Confirmation)
	}
	return nil, api.Refuse(api.ErrConfirmationWrong, "a proposal is endorsed, everything else confirmed")
}
