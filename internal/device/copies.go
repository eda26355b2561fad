package device

import (
	"context"
	"errors"
	"fmt"
	"time"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
)

// attest proves this device's copy, and takes the proofs of the server and of
// other devices. Where server and device agree, the contacts get the head.
func (d *Device) attest(ctx context.Context, result *SyncResult) error {
	nonce, err := d.nonce()
	if err != nil {
		return err
	}
	own, err := d.ownAttestation(nonce)
	if err != nil {
		return err
	}
	if nonce, err = d.nonce(); err != nil {
		return err
	}
	answer, err := d.client.Attest(ctx, d.identity(), &apiv1.AttestRequest{Attestation: own, Nonce: nonce})
	if err != nil {
		return err
	}
	proof, err := d.serverProof(answer.Attestation, nonce)
	if err != nil {
		return err
	}
	s := d.home.State()
	if head := proof.Head(); head.Sequence <= s.Head().Sequence && !s.Contains(head) {
		return d.forked(proof, nil)
	}
	if err := d.keepProof(proof); err != nil {
		return err
	}
	if err := d.takeCopies(ctx, answer.Attestations, result); err != nil {
		return err
	}
	if s = d.home.State(); proof.Head() != s.Head() {
		return nil // another device wrote meanwhile; the next sync proves that
	}
	return d.proveToContacts(ctx, s, answer.Attestation, result)
}

// ownAttestation is this device's attestation of its head.
func (d *Device) ownAttestation(nonce []byte) ([]byte, error) {
	s := d.home.State()
	head := s.Head()
	return ledger.NewAttestation(&recordv1.Attestation{
		Account:  d.keys.Account[:],
		Epoch:    s.InUse().Number,
		Sequence: head.Sequence,
		Head:     head.Hash[:],
		Time:     uint64(d.o.Now().UnixMilli()),
		Nonce:    nonce,
		Holder:   &recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: d.keys.Device},
	}, d.keys.Sign)
}

// proveToContacts sends the head that this device and the server both attest to
// everybody who keeps a share, each with the nonce for its own proof, and with what
// leads to this device, where the contact got its envelope before it was added.
func (d *Device) proveToContacts(ctx context.Context, s *ledger.State, server []byte, result *SyncResult) error {
	g, err := d.generation(s, s.Generation())
	if err != nil {
		return err
	}
	introductions, err := d.introductions(s)
	if err != nil {
		return err
	}
	sent := map[string]bool{}
	for _, e := range openEpochs(s) {
		for _, m := range e.Members {
			account := string(m.Contact.GetAccount())
			if !m.Receipt || m.Contact == nil || sent[account] {
				continue
			}
			sent[account] = true
			contact := ledger.AccountID(m.Contact.Account)
			own, err := d.ownAttestation(contactNonce(g, s.Account(), contact, s.Head(), dayOf(d.o.Now())))
			if err != nil {
				return err
			}
			body, err := canonical.Marshal(&recordv1.OwnerHead{
				Head: &recordv1.ProvedHead{Device: own, Server: server}, Introductions: introductions,
			})
			if err != nil {
				return err
			}
			if _, err := d.deliver(ctx, contact, apiv1.Message_KIND_OWNER_HEAD, body, result); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeCopies takes the attestations of the account's devices that the server
// passes on. One that is ahead was left by a device that wrote since, or the
// server keeps entries from this device: asking it once more tells.
func (d *Device) takeCopies(ctx context.Context, list [][]byte, result *SyncResult) error {
	var ahead []*ledger.Attestation
	for _, b := range list {
		a, err := ledger.ParseAttestation(b)
		if err != nil {
			return fmt.Errorf("%w: it shows a device's attestation that cannot be read: %w", client.ErrDishonest, err)
		}
		if a.Account() != d.keys.Account || a.Holder().GetKind() != recordv1.Holder_KIND_DEVICE || a.Holder().GetNumber() == d.keys.Device {
			continue
		}
		if known, err := d.takeCopy(a, result); err != nil {
			return err
		} else if !known {
			ahead = append(ahead, a)
		}
	}
	if len(ahead) == 0 {
		return nil
	}
	if err := d.pull(ctx); err != nil {
		return err
	}
	for _, a := range ahead {
		known, err := d.takeCopy(a, result)
		if err != nil {
			return err
		}
		if known {
			continue
		}
		number := a.Holder().GetNumber()
		if _, ok := d.home.State().Device(number); !ok {
			result.note("the server shows a proof by device %d, which this ledger does not have: it may withhold entries; compare with zeropass ledger head on that device", number)
			continue
		}
		return d.stopAt(a)
	}
	return nil
}

// takeCopy takes one device's proof of its copy, and says whether this device's
// own ledger tells what it is worth. Another history is evidence, and stops.
func (d *Device) takeCopy(a *ledger.Attestation, result *SyncResult) (known bool, err error) {
	s := d.home.State()
	number := a.Holder().GetNumber()
	other, ok := s.Device(number)
	switch {
	case !ok:
		return false, nil
	case s.CheckAttestation(a) != nil:
		return false, fmt.Errorf("%w: it shows an attestation by device %d that device %d did not sign", client.ErrDishonest, number, number)
	case other.Status != ledger.Active:
		return true, nil // whoever has it now may say anything
	case !s.Contains(a.Head()) && a.Head().Sequence <= s.Head().Sequence:
		return true, d.stopAt(a)
	case !s.Contains(a.Head()):
		return false, nil
	case a.Time().After(d.o.Now().Add(api.MaxClockSkew)):
		// It would count as recent for as long as its clock is ahead.
		result.note("device %d dates its proof %s, in the future: set its clock", number, a.Time().Local().Format(time.DateTime))
		return true, nil
	}
	return true, d.keepCopy(a)
}

// keepCopy keeps another device's proof of this history, and forgets what it
// proved of another one before.
func (d *Device) keepCopy(a *ledger.Attestation) error {
	f, err := load[fork](d, forkFile)
	if err != nil {
		return err
	}
	if f != nil && f.Device == a.Holder().GetNumber() {
		before, err := ledger.ParseAttestation(f.Proof)
		if err != nil {
			return err
		}
		if a.Time().After(before.Time()) {
			if err := d.clearFork(); err != nil {
				return err
			}
		}
	}
	return d.home.PutProof(a)
}

// stopAt keeps a device's attestation of what this device's ledger does not have,
// as evidence, and stops: two histories, or entries that the server withholds.
func (d *Device) stopAt(a *ledger.Attestation) error {
	theirs, ours := a.Head(), d.Head()
	f := fork{
		Seen: d.o.Now(), Ours: ours.Sequence, Theirs: theirs.Sequence,
		Device: a.Holder().GetNumber(), Proof: a.Bytes(), Withheld: theirs.Sequence > ours.Sequence,
	}
	f.Evidence = fmt.Sprintf("device-%d-fork-%d-%x", f.Device, theirs.Sequence, theirs.Hash[:8])
	if f.Withheld {
		f.Evidence = fmt.Sprintf("device-%d-withheld-%d-%x", f.Device, theirs.Sequence, theirs.Hash[:8])
	}
	if err := d.home.PutEvidence(f.Evidence, a.Bytes()); err != nil {
		return err
	}
	if err := d.save(forkFile, f); err != nil {
		return err
	}
	return forkError(&f)
}

// compareAgain asks whether what another device proved still stands against this
// device's history, where that has stopped it: the server may show the entries
// now, the other device may have followed the server, or belong to the account no
// more. It writes nothing.
func (d *Device) compareAgain(ctx context.Context, result *SyncResult) error {
	f, err := load[fork](d, forkFile)
	if err != nil || f == nil || f.Device == 0 {
		return err
	}
	if err := d.pull(ctx); err != nil {
		return err
	}
	if err := d.settleFork(f); err != nil && !errors.Is(err, ErrFork) {
		return err
	}
	if f, err = load[fork](d, forkFile); err != nil || f == nil || f.Device == 0 {
		return err
	}
	if err := d.attest(ctx, result); err != nil {
		return err
	}
	return d.stopped()
}

// settleFork decides a fork that another device proved by this device's ledger as
// it is now.
func (d *Device) settleFork(f *fork) error {
	a, err := ledger.ParseAttestation(f.Proof)
	if err != nil {
		return err
	}
	s := d.home.State()
	other, ok := s.Device(f.Device)
	switch {
	case s.Contains(a.Head()):
		return errors.Join(d.clearFork(), d.home.PutProof(a))
	case !ok || other.Status != ledger.Active:
		return d.clearFork()
	case f.Withheld && a.Head().Sequence <= s.Head().Sequence:
		return d.stopAt(a)
	}
	return nil
}
