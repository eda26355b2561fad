package device

import (
	"context"
	"errors"
	"fmt"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/slip39"
)

// AddSheet approves with the words of the printed sheet, typed here on the new
// device: that is worth a quorum. Its share stays here, sealed, until the recovery
// is finished.
func (d *Device) AddSheet(ctx context.Context, words string) (*RecoveryResult, error) {
	state, request, err := d.ownRecovery()
	if err != nil {
		return nil, err
	}
	typed, err := recovery.ParseSheet(words)
	if err != nil {
		return nil, notASheet(words, err)
	}
	defer typed.Erase()
	shown, terms, err := d.approvalTerms(ctx, request)
	if err != nil {
		return nil, err
	}
	approval, err := recovery.ApproveWithSheet(typed.Key, shown.GetEpoch(), request, terms)
	if err != nil {
		return nil, explain(err, "approve with these words")
	}
	// Kept first: the server must not count an approval whose share is lost.
	before := state.Sheet
	defer clear(before)
	if state.Sheet, err = typed.Share.MarshalBinary(); err != nil {
		return nil, explain(err, "keep the share of the sheet")
	}
	defer clear(state.Sheet)
	if err := d.save(recoveryFile, state); err != nil {
		return nil, explain(err, "keep the share of the sheet")
	}
	_, err = d.client.Approve(ctx, d.newcomer(), &apiv1.ApproveRequest{Approval: approval.Bytes()})
	if signed(err) && errors.Is(err, api.ErrApprovalRefused) {
		state.Sheet = before
		if failed := d.save(recoveryFile, state); failed != nil {
			return nil, explain(failed, "forget the share of the sheet")
		}
		return nil, failure(CodeRefused, err, fmt.Sprintf("look at the sheet: it must name the account id %s and epoch %d", d.keys.Account, shown.GetEpoch()),
			"this is not the printed sheet of %s in epoch %d", d.Name(), shown.GetEpoch())
	}
	if err != nil {
		return nil, explain(err, "approve with these words")
	}
	return d.RecoverStatus(ctx)
}

// notASheet says what was typed instead of a sheet.
func notASheet(words string, err error) error {
	if share, other := recovery.ParseShare(words); other == nil {
		defer share.Erase()
		if share.GroupIndex() == seed.GroupSheet {
			return failure(CodeUsage, err, "type the words on grey as well, 60 to 92", "these are the words of the sheet's share alone")
		}
		return failure(CodeUsage, err, "zeropass recover paper takes it", "these are the words of a share on paper, not of a printed sheet")
	}
	return &Error{Code: CodeUsage, Message: err.Error(), Hint: "look at the sheet again", Err: err}
}

// typedSheet returns the share of the sheet that was typed here for the request.
func (d *Device) typedSheet(request *ledger.RecoveryRequest) (*slip39.Share, error) {
	state, own, err := d.ownRecovery()
	if err != nil {
		return nil, err
	}
	defer clear(state.Sheet)
	if len(state.Sheet) == 0 || own.ID() != request.ID() {
		return nil, failure(CodeNotYet, nil, "zeropass recover sheet takes its words", "the printed sheet was not typed on this device")
	}
	return slip39.ParseBinary(state.Sheet)
}
