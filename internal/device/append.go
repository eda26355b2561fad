package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
)

// transaction is one entry before it is signed, with the server shares that its
// records name.
type transaction struct {
	records []proto.Message
	shares  []*recordv1.SealedServerShare
}

const (
	proposalLife = 10 * time.Minute
	attempts     = 5 // at a head that keeps moving
)

// errRebuild: something else stands where the journalled entries were to stand.
var errRebuild = errors.New("device: the ledger has moved on")

// drafted is a transaction in bytes, with what its co-signers endorsed. It can
// stand at another head than it was made for.
type drafted struct {
	records  [][]byte
	proposal *recordv1.Proposal // nil where no second factor is needed
	shares   []*recordv1.SealedServerShare
}

// append makes entries on top of the newest state, journals them, sends them, and
// keeps them once the server has them. build is called again if other entries
// came first; an empty result ends it. What somebody endorsed is not built again:
// it goes to the new head as it is, or, if it is about something that has changed,
// it is an error that says so.
func (d *Device) append(ctx context.Context, build func(s *ledger.State) ([]transaction, error)) error {
	var kept []drafted
	for range attempts {
		if err := d.push(ctx); err != nil && !errors.Is(err, errRebuild) {
			return err
		}
		s := d.home.State()
		if err := d.belongs(s); err != nil {
			return err
		}
		if !endorsedByOthers(kept) {
			todo, err := build(s)
			if err != nil || len(todo) == 0 {
				return err
			}
			if kept, err = d.draft(ctx, s, todo); errors.Is(err, errRebuild) {
				continue
			} else if err != nil {
				return err
			}
		}
		// Waiting for others may have brought new entries.
		journal, err := d.sign(d.home.State(), kept)
		if err != nil {
			return staleError(kept, err)
		}
		if err := d.home.PutJournal(journal); err != nil {
			return err
		}
		if err := d.push(ctx); !errors.Is(err, errRebuild) {
			return err
		}
	}
	return failure(CodeFailed, errRebuild, "run the command again", "other devices kept writing to the ledger at the same time")
}

// belongs returns an error if the device may not write any more.
func (d *Device) belongs(s *ledger.State) error {
	own, ok := s.Device(d.keys.Device)
	if !ok || own.Status == ledger.Revoked {
		message := fmt.Sprintf("device %d of %s was revoked", d.keys.Device, d.Name())
		for _, r := range s.Recoveries() {
			if ok && own.Changed.Sequence == r.Sequence {
				message = fmt.Sprintf("%s was recovered by device %d on %s, which revoked this device", d.Name(), r.Device, r.Time.Format(time.DateOnly))
			}
		}
		return &Error{Code: CodeRefused, Message: message, Hint: "use the device that belongs to the account now; secrets that this one has not sent are still in its directory", Err: ErrRevoked}
	}
	if own.Status == ledger.Locked {
		return failure(CodeRefused, api.ErrDeviceLocked, "unlock it from another device", "device %d of %s is locked", d.keys.Device, d.Name())
	}
	return nil
}

// draft writes records down, and gets the second factor for those that need one.
// The others are asked for a proposal that follows the newest entry that all have.
func (d *Device) draft(ctx context.Context, s *ledger.State, todo []transaction) ([]drafted, error) {
	var all []drafted
	for _, t := range todo {
		next := drafted{shares: t.shares}
		var parsed []*recordv1.Record
		for _, kind := range t.records {
			b, err := ledger.NewRecord(kind)
			if err != nil {
				return nil, err
			}
			record, err := ledger.ParseRecord(b)
			if err != nil {
				return nil, err
			}
			next.records, parsed = append(next.records, b), append(parsed, record)
		}
		if s.NeedsSecondFactor(d.keys.Device, parsed) {
			var err error
			if next.proposal, err = d.endorsed(ctx, s, next.records); err != nil {
				return nil, err
			}
		}
		all = append(all, next)
	}
	return all, nil
}

// sign turns what was drafted into entries that follow the state and each other.
// It returns the [ledger.RuleError] of one that may not: a proposal that has
// expired, for one, is never journalled.
func (d *Device) sign(s *ledger.State, todo []drafted) (*home.Append, error) {
	next := s.Clone()
	account := s.Account()
	journal := &home.Append{}
	for _, t := range todo {
		draft := ledger.Draft{
			Account: &account, Previous: next.Head(), Time: d.entryTime(next), Author: d.keys.Device,
			Records: t.records, Proposal: t.proposal,
		}
		entry, err := draft.Sign(d.keys.Sign)
		if err != nil {
			return nil, err
		}
		if err := next.Apply(entry); err != nil {
			return nil, err
		}
		journal.Entries = append(journal.Entries, entry)
		journal.Shares = append(journal.Shares, t.shares...)
	}
	return journal, nil
}

// endorsedByOthers says whether people on other devices have confirmed any of it.
func endorsedByOthers(kept []drafted) bool {
	return slices.ContainsFunc(kept, func(t drafted) bool {
		return slices.ContainsFunc(t.proposal.GetEndorsements(), func(e *recordv1.Endorsement) bool {
			return e.Role != recordv1.Endorsement_ROLE_CONFIRM
		})
	})
}

// staleError explains why what others have confirmed cannot go into the ledger any
// more.
func staleError(kept []drafted, err error) error {
	var rule *ledger.RuleError
	if !endorsedByOthers(kept) || !errors.As(err, &rule) {
		return err
	}
	switch rule.Rule {
	case ledger.RuleProposalStale, ledger.RuleEndorsement, ledger.RuleVersion, ledger.RuleSlotDeleted, ledger.RuleGeneration:
		return changedMeanwhile(err)
	case ledger.RuleProposalExpiry:
		return failure(CodeNotYet, err, "run the command again", "what the other devices confirmed has expired before it reached the ledger; nothing was changed")
	}
	return err
}

// entryTime is now, or the newest entry's time if that is later: clocks differ a
// little, and time never runs backwards in a ledger.
func (d *Device) entryTime(s *ledger.State) time.Time {
	now := d.o.Now()
	if s.Time().After(now) {
		return s.Time()
	}
	return now
}

func changedMeanwhile(err error) error {
	return failure(CodeFailed, errors.Join(ErrStale, err), "look at what has changed, then run the command again",
		"another device changed what this is about while it waited to be confirmed; this did not go into the ledger")
}

// endorsed is a proposal of these records with the second factor: that of the
// other active devices, which are asked and waited for, or this device's confirm
// key while it is alone. A device that is being added endorses in either case.
func (d *Device) endorsed(ctx context.Context, s *ledger.State, records [][]byte) (*recordv1.Proposal, error) {
	alone := len(d.othersActive(s)) == 0
	ask := !alone || addsDevice(records)
	head := s.Head()
	if ask {
		// Who is asked should be asked for what can be.
		if err := d.pull(ctx); err != nil {
			return nil, err
		}
		if d.home.State().Head() != head {
			return nil, errRebuild
		}
	}
	nonce, err := d.nonce()
	if err != nil {
		return nil, err
	}
	p := &recordv1.Proposal{
		Nonce:        nonce,
		BaseSequence: head.Sequence,
		BaseHash:     head.Hash[:],
		Expiry:       uint64(d.entryTime(s).Add(proposalLife).UnixMilli()),
	}
	if !alone {
		return d.propose(ctx, p, records)
	}
	if err := d.confirmsAlready(s); err != nil {
		return nil, err
	}
	key, err := d.confirmKey()
	if err != nil {
		return nil, err
	}
	if ask {
		if p, err = d.propose(ctx, p, records); err != nil {
			return nil, err
		}
	}
	role := recordv1.Endorsement_ROLE_CONFIRM
	p.Endorsements = append(p.Endorsements, &recordv1.Endorsement{
		Role:      role,
		Device:    d.keys.Device,
		Signature: key.Sign(ledger.ProposalContext(s.Account(), p, d.keys.Device, records, role, d.keys.Device)),
	})
	return p, nil
}

// addsDevice says whether one of the records adds a device.
func addsDevice(records [][]byte) bool {
	return slices.ContainsFunc(records, func(b []byte) bool {
		record, err := ledger.ParseRecord(b)
		return err == nil && record.GetDeviceAdded() != nil
	})
}

func (d *Device) nonce() ([]byte, error) {
	nonce := make([]byte, api.NonceSize)
	if _, err := io.ReadFull(d.o.Rand, nonce); err != nil {
		return nil, fmt.Errorf("device: nonce: %w", err)
	}
	return nonce, nil
}

// push sends the journalled append, if there is one, and finds out its fate. It
// returns errRebuild if something else stands at its place.
func (d *Device) push(ctx context.Context) error { return d.pushAgain(ctx, attempts) }

func (d *Device) pushAgain(ctx context.Context, tries int) error {
	if tries == 0 {
		return fmt.Errorf("%w: it keeps refusing an entry for a head that it does not have", client.ErrDishonest)
	}
	journal, err := d.home.Journal()
	if err != nil || journal == nil {
		return err
	}
	request := &apiv1.AppendRequest{Shares: journal.Shares}
	for _, e := range journal.Entries {
		request.Entries = append(request.Entries, e.Bytes())
	}
	who := d.identity()
	who.Device = journal.Entries[0].Author() // of a device that recovers, the number that it will have
	answer, hash, err := d.client.Append(ctx, who, request)
	var refusal *api.Refusal
	switch {
	case err == nil:
		return d.accept(journal, answer, hash)
	case errors.As(err, &refusal) && refusal.Signed && errors.Is(err, api.ErrHeadMoved):
		return d.moved(ctx, journal, tries)
	case errors.As(err, &refusal) && refusal.Signed && errors.Is(err, api.ErrEntryTime):
		// It was journalled too long ago, and does not stand.
		return errors.Join(d.home.RemoveJournal(), errRebuild)
	case errors.As(err, &refusal) && refusal.Signed && final(refusal):
		return errors.Join(err, d.home.RemoveJournal())
	}
	return err
}

// final says whether the server's refusal says anything about the entry. A clock
// that is wrong, or a server that is busy, says nothing.
func final(r *api.Refusal) bool {
	for _, passing := range []error{api.ErrClock, api.ErrReplayed, api.ErrUnavailable, api.ErrRateLimited, api.ErrUnknownAccount, api.ErrDeviceLocked} {
		if errors.Is(r, passing) {
			return false
		}
	}
	return true
}

// accept keeps what the server has taken.
func (d *Device) accept(journal *home.Append, answer *apiv1.AppendAnswer, hash [32]byte) error {
	last := journal.Entries[len(journal.Entries)-1].Head()
	proof, err := d.serverProof(answer.Attestation, api.AppendNonce(hash))
	if err != nil {
		return err
	}
	if head := proof.Head(); head.Sequence < last.Sequence || head.Sequence == last.Sequence && head != last {
		return fmt.Errorf("%w: it says that it appended entry %v, and attests %v", client.ErrDishonest, last, head)
	}
	if err := d.home.AcceptJournal(); err != nil {
		return err
	}
	if err := d.keepProof(proof); err != nil {
		return err
	}
	return d.keepReceipts(answer.Receipts)
}

// moved finds out what stands where the journalled entries were to stand.
func (d *Device) moved(ctx context.Context, journal *home.Append, tries int) error {
	if err := d.pull(ctx); err != nil {
		return err
	}
	s := d.home.State()
	first, last := journal.Entries[0], journal.Entries[len(journal.Entries)-1]
	switch {
	case s.Contains(last.Head()):
		return d.home.AcceptJournal()
	case s.Head().Sequence >= first.Sequence():
		if err := d.home.RemoveJournal(); err != nil {
			return err
		}
		return errRebuild
	}
	// The server was behind and is not any more: pull sent what it lacked.
	return d.pushAgain(ctx, tries-1)
}

// serverProof reads an attestation that the server made just now, for the nonce.
func (d *Device) serverProof(signed, nonce []byte) (*ledger.Attestation, error) {
	a, err := ledger.ParseAttestation(signed)
	if err != nil {
		return nil, fmt.Errorf("%w: its attestation cannot be read: %w", client.ErrDishonest, err)
	}
	switch {
	case a.Account() != d.keys.Account:
		return nil, fmt.Errorf("%w: it attests another account's ledger", client.ErrDishonest)
	case a.Holder().GetKind() != recordv1.Holder_KIND_SERVER || a.Verify(d.server) != nil:
		return nil, fmt.Errorf("%w: it did not sign its attestation", client.ErrDishonest)
	case !a.Answers(nonce):
		return nil, fmt.Errorf("%w: its attestation is an old one", client.ErrDishonest)
	}
	return a, nil
}

// keepProof stores a verified attestation if its head is one of this ledger's.
func (d *Device) keepProof(a *ledger.Attestation) error {
	if !d.home.State().Contains(a.Head()) {
		return nil
	}
	return d.home.PutProof(a)
}
