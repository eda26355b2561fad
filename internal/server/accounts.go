package server

import (
	"context"
	"errors"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// createAccount takes Genesis.
func (s *Server) createAccount(ctx context.Context, a *asked, q *apiv1.CreateAccountRequest) (*apiv1.CreateAccountAnswer, error) {
	key, err := nameKey(q.Name)
	if err != nil {
		return nil, err
	}
	genesis, err := ledger.ParseEntry(q.Entry)
	if err != nil {
		return nil, api.RefuseRule(api.ErrEntryRefused, err)
	}
	state, err := ledger.Fold(genesis)
	if err != nil {
		return nil, api.RefuseRule(api.ErrEntryRefused, err)
	}
	excused, err := s.excused(state.Account(), q.Attestation, func(ledger.Head) uint64 {
		// The account's id is the hash of Genesis: whatever head of it this server
		// attested, Genesis stood here.
		return genesis.Sequence()
	})
	if err != nil {
		return nil, err
	}
	// After a restore device 1 may be long gone, and another brings Genesis.
	if d, ok := state.Device(1); excused == 0 && (!ok || !d.SignKey.Equal(a.Key)) {
		return nil, api.Refuse(api.ErrUnknownDevice, "the request is not signed by the device that Genesis names")
	}
	if existing, err := s.existing(ctx, state.Account(), key); err != nil || existing != nil {
		return s.created(a, existing, err)
	}
	if err := s.isOwn(state.Server()); err != nil {
		return nil, err
	}
	if err := checkTime(a, genesis, excused); err != nil {
		return nil, err
	}
	var token *[32]byte
	if excused == 0 {
		if token, err = s.register(a, q.Token); err != nil {
			return nil, err
		}
	}

	answer, err := s.created(a, state, nil)
	if err != nil {
		return nil, err
	}
	spend, err := a.logged(&account{id: state.Account()}, answer)
	if err != nil {
		return nil, err
	}
	spend.Origin = s.origin(a, &account{id: state.Account(), name: q.Name}, true)
	err = s.store.Create(ctx, store.Creation{Spend: spend, Name: q.Name, NameKey: key, Genesis: genesis, Verified: s.verified.note(state.Account(), state.Head()), Token: token})
	switch {
	case errors.Is(err, store.ErrAccountExists):
		return nil, store.ErrHeadMoved // it was created just now: look again
	case errors.Is(err, store.ErrRemoved):
		return nil, api.Refuse(api.ErrAccountDeleted, "its secrets are no longer here; what the devices have stays on them")
	case errors.Is(err, store.ErrNameTaken):
		return nil, api.Refuse(api.ErrNameTaken, "choose another name")
	case errors.Is(err, store.ErrToken):
		return nil, api.Refuse(api.ErrRegistrationClosed, "the token is not known, is used up or has expired; ask whoever runs the server for a new one")
	case err != nil:
		return nil, err
	}
	s.states.put(state)
	return answer, nil
}

// existing returns the state of an account that has been created before, nil if
// it has not been.
func (s *Server) existing(ctx context.Context, id ledger.AccountID, key string) (*ledger.State, error) {
	acct, err := s.account(ctx, id)
	if errors.Is(err, api.ErrUnknownAccount) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if have, err := nameKey(acct.name); err != nil || have != key {
		return nil, api.Refuse(api.ErrAccountExists, "under another name")
	}
	existing, err := s.fold(ctx, acct)
	if err != nil {
		return nil, err
	}
	return existing.state, nil
}

func (s *Server) created(a *asked, state *ledger.State, err error) (*apiv1.CreateAccountAnswer, error) {
	if err != nil {
		return nil, err
	}
	attestation, err := s.attestation(a, state, api.AppendNonce(a.Hash))
	if err != nil {
		return nil, err
	}
	return &apiv1.CreateAccountAnswer{Attestation: attestation}, nil
}

// NameKey returns what the store finds an account's name by, or why it is none.
func NameKey(name string) (string, error) { return nameKey(name) }

// nameKey checks an account's name and returns what makes it unique.
func nameKey(name string) (string, error) {
	bad := func(why string) (string, error) {
		return "", api.Refuse(api.ErrMalformed, "the account's name %s", why)
	}
	switch {
	case name == "":
		return bad("is empty")
	case len(name) > api.MaxName:
		return bad("is too long")
	case !utf8.ValidString(name), !norm.NFC.IsNormalString(name), strings.TrimSpace(name) != name:
		return bad("is not in normal form, or starts or ends with a space")
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return bad("has a character that cannot be printed")
		}
	}
	return norm.NFKC.String(strings.ToLower(norm.NFKC.String(name))), nil
}

// isOwn refuses to serve an account that names another server.
func (s *Server) isOwn(server *recordv1.Server) error {
	if string(server.GetSignKey()) != string(s.keys.SignKey().Bytes()) || string(server.GetSealKey()) != string(s.keys.SealKey().Bytes()) {
		return api.Refuse(api.ErrWrongServer, "the ledger names another server's keys")
	}
	return nil
}

// entries gives the ledger to a device of the account, and to a new device once
// its recovery may be released.
func (s *Server) entries(ctx context.Context, a *asked, q *apiv1.EntriesRequest) (*apiv1.EntriesAnswer, error) {
	if err := nonce(q.Nonce); err != nil {
		return nil, err
	}
	acct, err := s.asker(ctx, a)
	if err != nil {
		return nil, err
	}
	recovering := a.Header.Device == 0
	if recovering {
		if err := s.mayReadLedger(ctx, a, acct); err != nil {
			return nil, err
		}
	} else if _, err := activeDevice(a, acct.now); err != nil {
		return nil, err
	}

	last := acct.now.Head().Sequence
	answer := &apiv1.EntriesAnswer{}
	if answer.Entries, err = s.store.Entries(ctx, acct.id, bounded(q.After), last, api.PageSize); err != nil {
		return nil, err
	}
	answer.More = bounded(q.After)+uint64(len(answer.Entries)) < last
	if answer.Attestation, err = s.attestation(a, acct.now, q.Nonce); err != nil {
		return nil, err
	}
	if !answer.More && !recovering {
		if answer.Missing, err = s.missing(ctx, acct); err != nil {
			return nil, err
		}
	}
	return answer, nil
}

// bounded keeps a position from the wire within what databases can compare.
func bounded(n uint64) uint64 { return min(n, math.MaxInt64) }

// missing names the shares that the server ought to have and lacks. It looks
// once: nothing takes a share away that is needed, but a store may have been
// restored without it.
func (s *Server) missing(ctx context.Context, acct *account) ([]*recordv1.SealedServerShare, error) {
	if s.states.isWhole(acct.id) {
		return nil, nil
	}
	of, err := s.fold(ctx, acct)
	if err != nil {
		return nil, err
	}
	lacking, err := s.lacking(ctx, acct.id, of.state)
	if err != nil {
		return nil, err
	}
	var missing []*recordv1.SealedServerShare
	for _, share := range of.state.RequiredShares() {
		if _, ok := lacking[share.ShareID]; !ok {
			continue
		}
		missing = append(missing, namedShare(share.ShareID))
	}
	if len(missing) == 0 {
		s.states.setWhole(acct.id, true)
	}
	return missing, nil
}

// attest keeps a device's attestation and gives those of all.
func (s *Server) attest(ctx context.Context, a *asked, q *apiv1.AttestRequest) (*apiv1.AttestAnswer, error) {
	if err := nonce(q.Nonce); err != nil {
		return nil, err
	}
	acct, d, err := s.device(ctx, a)
	if err != nil {
		return nil, err
	}
	if len(q.Attestation) > 0 {
		if err := s.keepAttestation(ctx, a, acct, d, q.Attestation); err != nil {
			return nil, err
		}
	}
	answer := &apiv1.AttestAnswer{}
	if answer.Attestation, err = s.attestation(a, acct.now, q.Nonce); err != nil {
		return nil, err
	}
	if answer.Attestations, err = s.store.Attestations(ctx, acct.id); err != nil {
		return nil, err
	}
	return answer, nil
}

func (s *Server) keepAttestation(ctx context.Context, a *asked, acct *account, d *ledger.Device, b []byte) error {
	attestation, err := ledger.ParseAttestation(b)
	if err != nil {
		return api.RefuseRule(api.ErrMalformed, err)
	}
	holder := attestation.Holder()
	if holder.Kind != recordv1.Holder_KIND_DEVICE || holder.Number != d.Number {
		return api.Refuse(api.ErrMalformed, "a device attests for itself")
	}
	if attestation.Account() != acct.id {
		return api.Refuse(api.ErrBadSignature, "the attestation is of another account")
	}
	if err := attestation.Verify(d.SignKey); err != nil {
		return api.RefuseRule(api.ErrBadSignature, err)
	}
	if attestation.Head() != acct.now.Head() { // few are of an older one
		of, err := s.fold(ctx, acct)
		if err != nil {
			return err
		}
		if !of.state.Contains(attestation.Head()) {
			return s.moved(a, of.state)
		}
	}
	return s.store.Attest(ctx, store.Attestation{
		Spend: a.spend(), Account: acct.id, Device: d.Number, Sequence: attestation.Head().Sequence, Bytes: b,
	})
}

// activityLog gives the account's activity log to its devices.
func (s *Server) activityLog(ctx context.Context, a *asked, q *apiv1.ActivityLogRequest) (*apiv1.ActivityLogAnswer, error) {
	if err := nonce(q.Nonce); err != nil {
		return nil, err
	}
	acct, _, err := s.device(ctx, a)
	if err != nil {
		return nil, err
	}
	entries, end, err := s.store.ActivityLog(ctx, acct.id, bounded(q.After), api.PageSize)
	if err != nil {
		return nil, err
	}
	answer := &apiv1.ActivityLogAnswer{Entries: entries, Sequence: end.Sequence}
	if end.Sequence > 0 {
		answer.Head = end.Hash[:]
	}
	answer.More = bounded(q.After)+uint64(len(entries)) < end.Sequence
	return answer, nil
}
