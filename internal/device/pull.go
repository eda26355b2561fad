package device

import (
	"context"
	"errors"
	"fmt"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
)

// pull brings the device's copy of the ledger and the server's together: it folds
// the entries that the server has more, sends those that it has less, and stops
// at a fork.
func (d *Device) pull(ctx context.Context) error {
	var missing []*recordv1.SealedServerShare
	for {
		head := d.home.State().Head()
		nonce, err := d.nonce()
		if err != nil {
			return err
		}
		page, err := d.client.Entries(ctx, d.identity(), &apiv1.EntriesRequest{After: head.Sequence, Nonce: nonce})
		if errors.Is(err, api.ErrUnknownAccount) && signed(err) {
			return d.resend(ctx, ledger.Head{})
		}
		if errors.Is(err, api.ErrUnknownDevice) && signed(err) && d.keys.Device != 0 {
			// The server was restored from a copy that is older than this device.
			return d.introduce(ctx, err)
		}
		if err != nil {
			return err
		}
		proof, err := d.serverProof(page.Attestation, nonce)
		if err != nil {
			return err
		}
		if behind, err := d.compare(proof, page); err != nil {
			return err
		} else if behind && d.keys.Device == 0 {
			return nil // the recovery starts again from what the server has
		} else if behind {
			return d.resend(ctx, proof.Head())
		}
		if err := d.keepProof(proof); err != nil {
			return err
		}
		missing = page.Missing
		if !page.More {
			break
		}
	}
	if err := d.clearServerFork(); err != nil {
		return err
	}
	if d.keys.Device == 0 {
		return nil // a device that recovers has nothing to mend with
	}
	return d.sendShares(ctx, missing)
}

// signed says whether an error is a refusal that the server signed.
func signed(err error) bool {
	var refusal *api.Refusal
	return errors.As(err, &refusal) && refusal.Signed
}

// compare folds a page of entries and compares heads. It says whether the
// server's copy is a prefix of the device's.
func (d *Device) compare(proof *ledger.Attestation, page *apiv1.EntriesAnswer) (behind bool, err error) {
	s := d.home.State()
	theirs := proof.Head()
	if theirs.Sequence < s.Head().Sequence {
		if !s.Contains(theirs) {
			return false, d.forked(proof, nil)
		}
		return true, nil
	}
	if theirs.Sequence == s.Head().Sequence && theirs != s.Head() {
		return false, d.forked(proof, nil)
	}
	if len(page.Entries) == 0 && (page.More || theirs != s.Head()) {
		return false, fmt.Errorf("%w: it attests entry %d and shows none after %d", client.ErrDishonest, theirs.Sequence, s.Head().Sequence)
	}
	entries, err := parseShown(page.Entries)
	if err != nil {
		return false, err
	}
	err = d.home.Append(entries...)
	var rule *ledger.RuleError
	switch {
	case errors.Is(err, home.ErrFork):
		return false, d.forked(proof, page.Entries)
	case errors.Is(err, home.ErrGap), errors.Is(err, home.ErrAccount), errors.As(err, &rule):
		return false, fmt.Errorf("%w: it shows an entry that may not follow: %w", client.ErrDishonest, err)
	case err != nil:
		return false, err
	}
	if !page.More && !d.home.State().Contains(theirs) {
		return false, fmt.Errorf("%w: the entries that it shows do not lead to the head that it attests", client.ErrDishonest)
	}
	return false, nil
}

// readLedger reads the server's whole ledger and folds it apart from anything that
// is stored.
func (d *Device) readLedger(ctx context.Context, who api.Identity) (*ledger.State, []*ledger.Entry, error) {
	var all []*ledger.Entry
	state := &ledger.State{}
	for {
		nonce, err := d.nonce()
		if err != nil {
			return nil, nil, err
		}
		page, err := d.client.Entries(ctx, who, &apiv1.EntriesRequest{After: state.Head().Sequence, Nonce: nonce})
		if err != nil {
			return nil, nil, err
		}
		proof, err := d.serverProof(page.Attestation, nonce)
		if err != nil {
			return nil, nil, err
		}
		entries, err := parseShown(page.Entries)
		if err != nil {
			return nil, nil, err
		}
		if err := state.Extend(entries...); err != nil {
			return nil, nil, fmt.Errorf("%w: it shows a ledger that is none: %w", client.ErrDishonest, err)
		}
		all = append(all, entries...)
		if page.More && len(entries) > 0 {
			continue
		}
		if state.Account() != d.keys.Account || state.Head() != proof.Head() {
			return nil, nil, fmt.Errorf("%w: the ledger that it shows is not the one that it attests", client.ErrDishonest)
		}
		return state, all, nil
	}
}

// parseShown reads entries that the server shows.
func parseShown(list [][]byte) ([]*ledger.Entry, error) {
	var entries []*ledger.Entry
	for _, b := range list {
		e, err := ledger.ParseEntry(b)
		if errors.Is(err, ledger.ErrNewer) {
			return nil, err
		}
		if err != nil {
			return nil, fmt.Errorf("%w: it shows an entry that is none: %w", client.ErrDishonest, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// resendBytes is how full one append that mends the server gets.
const resendBytes = api.MaxBody - ledger.MaxEntrySize/2

// resend gives a server that is behind, restored from an older copy for one, the
// entries that it lacks and everything that was ever sealed to it and still
// counts. Its own newest attestation excuses the entries' age.
func (d *Device) resend(ctx context.Context, from ledger.Head) error {
	proof := d.newestServerProof()
	after := from.Sequence
	if after == 0 {
		if err := d.recreate(ctx, proof); err != nil {
			return err
		}
		after = 1
	}
	for {
		request := &apiv1.AppendRequest{Attestation: proof}
		size := 0
		for size < resendBytes {
			b, err := d.home.Entries(after, 1)
			if err != nil {
				return err
			}
			if len(b) == 0 {
				break
			}
			if len(request.Entries) > 0 && size+len(b[0]) > api.MaxBody-api.PageSize {
				break
			}
			e, err := ledger.ParseEntry(b[0])
			if err != nil {
				return err
			}
			shares, err := d.sealedShares(e.ServerShares())
			if err != nil {
				return err
			}
			request.Entries = append(request.Entries, b[0])
			request.Shares = append(request.Shares, shares...)
			size += len(b[0]) + sizeOf(shares)
			after++
		}
		if len(request.Entries) == 0 {
			break
		}
		if err := d.appendAgain(ctx, request); err != nil {
			return err
		}
	}
	shares, err := d.sealedShares(d.home.State().RequiredShares())
	if err != nil {
		return err
	}
	return d.sendShares(ctx, shares)
}

// introduce sends what a server lacks that does not know this device any more. It
// does not say to a stranger how far its ledger goes, so the first append has as
// many entries as it takes up to the one that added the device, and those that
// stand already do no harm. unknown is the server's refusal.
func (d *Device) introduce(ctx context.Context, unknown error) error {
	own, ok := d.home.State().Device(d.keys.Device)
	if !ok {
		return unknown
	}
	after, size := own.Added.Sequence, 0
	for after > 1 {
		b, err := d.home.Entries(after-1, 1)
		if err != nil {
			return err
		}
		if size += len(b[0]); size > resendBytes/2 && after < own.Added.Sequence {
			break
		}
		after--
	}
	return d.resend(ctx, ledger.Head{Sequence: after})
}

// recreate sends Genesis again to a server that does not know the account any
// more.
func (d *Device) recreate(ctx context.Context, proof []byte) error {
	genesis, err := d.home.Entries(0, 1)
	if err != nil {
		return err
	}
	who := d.identity()
	who.Account, who.Device = nil, 0
	_, _, err = d.client.CreateAccount(ctx, who, &apiv1.CreateAccountRequest{Name: d.Name(), Entry: genesis[0], Attestation: proof})
	return err
}

func (d *Device) appendAgain(ctx context.Context, request *apiv1.AppendRequest) error {
	answer, hash, err := d.client.Append(ctx, d.identity(), request)
	if err != nil {
		return err
	}
	proof, err := d.serverProof(answer.Attestation, api.AppendNonce(hash))
	if err != nil {
		return err
	}
	if err := d.keepProof(proof); err != nil {
		return err
	}
	return d.keepReceipts(answer.Receipts)
}

// newestServerProof returns the server's newest attestation that the device has.
func (d *Device) newestServerProof() []byte {
	for _, a := range d.home.Proofs() {
		if a.Holder().GetKind() == recordv1.Holder_KIND_SERVER {
			return a.Bytes()
		}
	}
	return nil
}

// sealedShares returns those of the server shares that the device still has.
func (d *Device) sealedShares(named []ledger.ServerShare) ([]*recordv1.SealedServerShare, error) {
	var shares []*recordv1.SealedServerShare
	for _, n := range named {
		s, err := d.home.ServerShare(n.ShareID)
		if errors.Is(err, home.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		shares = append(shares, s)
	}
	return shares, nil
}

func sizeOf(shares []*recordv1.SealedServerShare) int {
	size := 0
	for _, s := range shares {
		size += len(s.Sealed) + 64
	}
	return size
}

// sendShares sends the sealed forms of server shares that the server lacks, a few
// megabytes at a time. The names come from the server or from the ledger.
func (d *Device) sendShares(ctx context.Context, lacking []*recordv1.SealedServerShare) error {
	var batch []*recordv1.SealedServerShare
	size := 0
	send := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := d.appendAgain(ctx, &apiv1.AppendRequest{Shares: batch})
		batch, size = nil, 0
		return err
	}
	for _, l := range lacking {
		id, err := ledger.SealedShareID(l)
		if err != nil {
			return fmt.Errorf("%w: it asks for a share that cannot be: %w", client.ErrDishonest, err)
		}
		s, err := d.home.ServerShare(id)
		if errors.Is(err, home.ErrNotFound) {
			continue // Status says what nobody can send any more.
		}
		if err != nil {
			return err
		}
		batch, size = append(batch, s), size+len(s.Sealed)+64
		if size > api.PageSize {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return send()
}
