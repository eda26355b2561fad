package device

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/slip39"
)

// released is everything that a recovery works with.
type released struct {
	state     *ledger.State
	entries   []*ledger.Entry
	approvals []*ledger.Approval
	sealed    map[ledger.Hash][]byte // shares, by their approval's bytes
	server    *recovery.Released
	shares    []*slip39.Share // the server's and the contacts'
}

func (r *released) erase() {
	r.server.Erase()
	for _, share := range r.shares {
		share.Erase()
	}
}

// takeRelease takes the ledger, the approvals and the shares.
func (d *Device) takeRelease(ctx context.Context, request *ledger.RecoveryRequest) (*released, error) {
	r := &released{server: recovery.NewReleased(), sealed: map[ledger.Hash][]byte{}}
	shown, err := d.client.RecoveryStatus(ctx, d.newcomer(), &apiv1.RecoveryStatusRequest{Request: idOf(request)})
	if err != nil {
		return nil, err
	}
	if err := d.takePages(ctx, request, shown.GetEpoch(), r); err != nil {
		r.erase()
		return nil, err
	}
	// The ledger after the shares: what it has more than they, the server still has.
	if r.state, r.entries, err = d.readLedger(ctx, d.newcomer()); err != nil {
		r.erase()
		return nil, err
	}
	if e := r.state.InUse(); e == nil || e.Number != shown.GetEpoch() {
		r.erase()
		return nil, fmt.Errorf("%w: it released shares of epoch %d, which is not the one in use", client.ErrDishonest, shown.GetEpoch())
	}
	return r, nil
}

func (d *Device) takePages(ctx context.Context, request *ledger.RecoveryRequest, epoch uint64, r *released) error {
	place := api.ReleasePlace{Account: d.keys.Account, Epoch: epoch, Recovery: request.ID()}
	for {
		page, err := d.client.Release(ctx, d.newcomer(), &apiv1.ReleaseRequest{Request: idOf(request), After: place.After})
		if err != nil {
			return err
		}
		opened, err := api.OpenRelease(d.keys.Seal, place, page.Sealed)
		if err != nil {
			return err
		}
		err = r.add(place.After == 0, page, opened)
		clear(opened.SeedShare)
		eraseRevealed(opened.Shares)
		if err != nil {
			return err
		}
		if !page.More {
			return nil
		}
		if page.Last <= place.After {
			return fmt.Errorf("%w: its pages do not go on", client.ErrDishonest)
		}
		place.After = page.Last
	}
}

func (r *released) add(first bool, page *apiv1.ReleaseAnswer, opened *apiv1.ReleasedShares) error {
	if first {
		share, err := slip39.ParseBinary(opened.SeedShare)
		if err != nil {
			return fmt.Errorf("%w: its share of the seed is none: %w", client.ErrDishonest, err)
		}
		r.shares = append(r.shares, share)
		for _, given := range page.Approvals {
			approval, err := ledger.ParseApproval(given.Approval)
			if err != nil {
				return fmt.Errorf("%w: it gives an approval that is none: %w", client.ErrDishonest, err)
			}
			r.approvals = append(r.approvals, approval)
			r.sealed[approvalHash(approval)] = given.SealedShare
		}
	}
	for _, s := range opened.Shares {
		slot := s.GetSlot()
		if len(slot.GetSlot()) != len(ledger.SlotID{}) {
			return fmt.Errorf("%w: it gives a share of no slot", client.ErrDishonest)
		}
		r.server.Add(slot.Epoch, ledger.SlotID(slot.Slot), slot.Version, s.Share)
	}
	return nil
}

// checkHeads keeps the approvals that count and stops at a ledger that lacks what
// they prove, unless the owner insists.
func (r *released) checkHeads(request *ledger.RecoveryRequest, insist bool, result *FinishResult) error {
	heads, err := recovery.CheckHeads(r.state, request, r.approvals)
	result.Discarded, result.Gap = nil, nil
	for _, d := range heads.Discarded {
		result.Discarded = append(result.Discarded, fmt.Sprintf("of %s: %s", holderInWords(d.Approval), d.Reason))
	}
	for _, m := range heads.Missing {
		result.Gap = append(result.Gap, m.String())
	}
	r.approvals = heads.Kept
	var missing *recovery.MissingHeadError
	if errors.As(err, &missing) && !insist {
		return &Error{
			Code:    CodeDishonest,
			Message: fmt.Sprintf("the server does not show the whole ledger: it ends with entry %d, but %s", missing.Shown.Sequence, strings.Join(result.Gap, "; ")),
			Hint:    "ask whoever runs the server for the rest; if it is lost for good, recover finish --insist goes on without what came later",
			Err:     errors.Join(ErrMissingHead, err),
		}
	}
	if err != nil && missing == nil {
		return err
	}
	return nil
}

// openShares opens the contacts' shares. One that does not open costs its
// approval.
func (r *released) openShares(d *Device, request *ledger.RecoveryRequest, result *FinishResult) error {
	var kept []*ledger.Approval
	sheet := false
	for _, approval := range r.approvals {
		share, err := r.openOne(d, request, approval)
		if errors.Is(err, home.ErrLocked) {
			return err
		}
		if err != nil {
			result.Discarded = append(result.Discarded, fmt.Sprintf("of %s: %v", holderInWords(approval), err))
			continue
		}
		sheet = sheet || ofSheet(approval)
		kept = append(kept, approval)
		r.shares = append(r.shares, share)
	}
	r.approvals = kept
	if quorum := r.state.InUse().Quorum(); !sheet && len(kept) < quorum {
		return failure(CodeNotYet, api.ErrNotEnoughApprovals, "ask the other contacts to approve, then run the command again",
			"only %d of the %d approvals needed can be used: %s", len(kept), quorum, strings.Join(result.Discarded, "; "))
	}
	return nil
}

// openOne opens the share that goes with an approval: it came sealed, or, of the
// sheet, it was typed here.
func (r *released) openOne(d *Device, request *ledger.RecoveryRequest, approval *ledger.Approval) (*slip39.Share, error) {
	if ofSheet(approval) {
		return d.typedSheet(request)
	}
	return recovery.OpenShare(d.keys.Seal, request, approval, r.sealed[approvalHash(approval)])
}

func ofSheet(a *ledger.Approval) bool { return a.Holder().GetKind() == recordv1.Holder_KIND_SHEET }

func holderInWords(a *ledger.Approval) string {
	if ofSheet(a) {
		return "the printed sheet"
	}
	return fmt.Sprintf("member %d", a.Holder().GetNumber())
}

func approvalHash(a *ledger.Approval) ledger.Hash { return sha256.Sum256(a.Bytes()) }
