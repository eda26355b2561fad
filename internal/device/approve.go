package device

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/slip39"
)

// approvalLife is how long an approval is valid once it has left.
const approvalLife = 30 * 24 * time.Hour

// Requests returns the recovery requests for this account and for those whose
// shares are kept here, from the first that this device saw on. This device's own
// waiting period starts when it sees a request, here or in [Device.Sync].
func (d *Device) Requests(ctx context.Context) ([]RecoveryRequest, error) {
	if err := d.writable(); err != nil {
		return nil, err
	}
	all, _, err := d.refreshRequests(ctx)
	if err != nil {
		return nil, explain(err, "ask for recovery requests")
	}
	return d.describeAll(all)
}

func (d *Device) describeAll(all []*seenRequest) ([]RecoveryRequest, error) {
	shares, err := d.wholeShares()
	if err != nil {
		return nil, explain(err, "read the shares that are kept for others")
	}
	defer eraseHeld(shares)
	var described []RecoveryRequest
	for _, r := range all {
		described = append(described, d.describe(r, shares))
	}
	return described, nil
}

// ApproveOptions says which request, and how the new device's phrase was
// compared: either Phrase has the eight words that the person read out, or
// Compare shows the request and returns whether they are the same.
type ApproveOptions struct {
	Request string // first digits of its id; empty if there is one alone
	Phrase  string
	Compare func(RecoveryRequest) (bool, error)
	Wait    bool // until approval and share have left
}

// ApproveResult is an approval that was made.
type ApproveResult struct {
	Request RecoveryRequest
	Sent    bool      // approval and share have left
	Due     time.Time // from when they may leave, at the first Approve or Sync
}

// Approve approves a recovery for an account whose share is kept here, once the
// person was spoken to and the new device's phrase compared. What was decided is
// stored; approval and share leave when this device's own waiting period for the
// share is over, which counts from when it first saw the request or its newest
// veto. A veto until then voids the approval, and the person is to be asked again.
func (d *Device) Approve(ctx context.Context, a ApproveOptions) (*ApproveResult, error) {
	if err := d.writable(); err != nil {
		return nil, err
	}
	all, _, err := d.refreshRequests(ctx)
	if err != nil {
		return nil, explain(err, "ask for recovery requests")
	}
	r, err := pickSpoken(all, a.Request, a.Phrase)
	if err != nil {
		return nil, err
	}
	shares, err := d.wholeShares(r.parsed.Account())
	if err != nil {
		return nil, explain(err, "read the share")
	}
	defer eraseHeld(shares)
	described := d.describe(r, shares)
	switch {
	case described.Own:
		return nil, failure(CodeUsage, nil, "if you did not ask for it, run zeropass veto "+described.ID.String()[:8],
			"this request is for your own account: your contacts approve it")
	case described.Cannot != "":
		return nil, failure(CodeFailed, nil, "others among the contacts can approve", "%s cannot be helped from here: %s", described.Owner, described.Cannot)
	}
	if r.Decision != Sent && r.Decision != Approved {
		if err := comparePhrase(a, described); err != nil {
			return nil, err
		}
		r.decide(Approved, d.o.Now())
		if err := d.saveRequest(r); err != nil {
			return nil, explain(err, "keep the approval")
		}
	}
	if a.Wait {
		return d.approveAndWait(ctx, r, shares)
	}
	return d.leave(ctx, r, shares)
}

// comparePhrase compares the eight words of the new device.
func comparePhrase(a ApproveOptions, described RecoveryRequest) error {
	same := false
	switch {
	case a.Phrase != "":
		same = samePhrase(a.Phrase, described.Phrase)
	case a.Compare != nil:
		var err error
		if same, err = a.Compare(described); err != nil {
			return explain(err, "compare the phrases")
		}
	default:
		return failure(CodeUsage, nil, "call "+described.Owner+" and give the eight words that the new device shows", "the new device's words were not compared")
	}
	if same {
		return nil
	}
	return failure(CodeFailed, ErrPhrase, "speak with "+described.Owner+" again; if the words still differ, somebody else asks: run zeropass request deny "+described.ID.String()[:8],
		"the words of %s are not those of the device that asks", described.Owner)
}

// leave sends approval and share if they are due.
func (d *Device) leave(ctx context.Context, r *seenRequest, shares []*heldShare) (*ApproveResult, error) {
	result := &ApproveResult{Request: d.describe(r, shares)}
	result.Due = result.Request.Due
	if r.Decision == Approved && !d.o.Now().Before(result.Due) {
		share, _ := shareFor(r, shares)
		err := d.sendApproval(ctx, r, share)
		if late := result.Due.Add(api.MaxClockSkew); errors.Is(err, api.ErrApprovalRefused) && d.o.Now().Before(late) {
			// By the server's clock it may not be due yet.
			result.Due = late
			return result, nil
		}
		if err != nil {
			return nil, explain(err, "send the approval")
		}
		result.Request = d.describe(r, shares)
	}
	result.Sent = r.Decision == Sent
	return result, nil
}

// askAgain is how often a device that waits looks for a veto.
const askAgain = 30 * time.Second

// waitShown waits until the approval is due, but not longer than askAgain, and
// shows every second how far it is.
func (d *Device) waitShown(ctx context.Context, from time.Time, r *ApproveResult) error {
	for left := min(r.Due.Sub(d.o.Now()), askAgain); left > 0; left -= time.Second {
		d.o.Progress(Progress{
			Step:  "seconds until the share of " + r.Request.Owner + " leaves",
			Done:  int(d.o.Now().Sub(from).Seconds()),
			Total: int(r.Due.Sub(from).Seconds()),
		})
		if err := d.pause(ctx, min(left, time.Second)); err != nil {
			return err
		}
	}
	return nil
}

// approveAndWait waits until the approval is due, looks for vetoes meanwhile, and
// sends it.
func (d *Device) approveAndWait(ctx context.Context, r *seenRequest, shares []*heldShare) (*ApproveResult, error) {
	for {
		result, err := d.leave(ctx, r, shares)
		switch {
		case errors.Is(err, client.ErrUnreachable) && ctx.Err() == nil:
			err = d.pause(ctx, askAgain)
		case err != nil || result.Sent:
			return result, err
		default:
			err = d.waitShown(ctx, r.waitFrom(), result)
		}
		if err != nil {
			return nil, failure(CodeNotYet, err, "run it again, or zeropass sync after that time", "stopped waiting; the approval is kept and has not left")
		}
		if r, err = d.lookAgain(ctx, r); err != nil {
			return nil, err
		}
	}
}

// pause sleeps a little; a wait is never shorter than the time in which clocks
// tick.
func (d *Device) pause(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(max(wait, 10*time.Millisecond))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// lookAgain asks the server what has become of a request that was approved here.
func (d *Device) lookAgain(ctx context.Context, r *seenRequest) (*seenRequest, error) {
	all, _, err := d.refreshRequests(ctx)
	if errors.Is(err, client.ErrUnreachable) && ctx.Err() == nil {
		return r, nil
	}
	if err != nil {
		return nil, explain(err, "look for vetoes")
	}
	i := slices.IndexFunc(all, func(other *seenRequest) bool { return other.parsed.ID() == r.parsed.ID() })
	if i < 0 || all[i].Over {
		return nil, failure(CodeRefused, api.ErrRecoveryOver, "", "the recovery of %s is over", r.Name)
	}
	if all[i].Decision != Approved && all[i].Decision != Sent {
		return nil, failure(CodeNotYet, api.ErrVetoed, "speak with "+r.Name+" again, and approve again only if they say that the veto is not theirs",
			"a device of %s vetoed the recovery while this one was waiting: nothing has left", r.Name)
	}
	return all[i], nil
}

// sendApproval signs the approval with the share's key, naming the newest head
// that is held, and gives it to the server with the share, sealed to the new
// device. Sending again does no harm.
func (d *Device) sendApproval(ctx context.Context, r *seenRequest, share *heldShare) error {
	if share == nil {
		return fmt.Errorf("device: the share is not here any more")
	}
	now := d.o.Now()
	terms := recovery.Terms{NotBefore: recovery.DueAt(share.envelope, r.waitFrom()), Expiry: now.Add(approvalLife)}
	for _, v := range r.Vetoes {
		terms.Vetoes = append(terms.Vetoes, v.Entry)
	}
	approval, err := recovery.Approve(share.StoredShare, r.parsed, terms)
	if err != nil {
		return err
	}
	opened, err := slip39.ParseBinary(share.Share)
	if err != nil {
		return err
	}
	defer opened.Erase()
	sealed, err := recovery.SealShare(d.o.Rand, opened, share.id.Epoch, r.parsed)
	if err != nil {
		return err
	}
	shown, err := d.client.Approve(ctx, d.identity(), &apiv1.ApproveRequest{Approval: approval.Bytes(), SealedShare: sealed})
	if err != nil {
		return err
	}
	if r.Decision != Sent {
		r.decide(Sent, now)
	}
	if shown != nil {
		r.Approvals, r.Quorum, r.Counted = shown.GetApprovals(), shown.GetQuorum(), shown.GetApproved()
	}
	return d.saveRequest(r)
}

// watchRequests notes recovery requests and sends the approvals that are due. An
// approval that the server does not count any more, because it was restored from
// an older copy for one, is sent again.
func (d *Device) watchRequests(ctx context.Context, result *SyncResult) error {
	all, warnings, err := d.refreshRequests(ctx)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		result.note("%s", w)
	}
	shares, err := d.wholeShares()
	if err != nil {
		return err
	}
	defer eraseHeld(shares)
	for _, r := range all {
		described := d.describe(r, shares)
		if described.Over {
			continue
		}
		if err := d.sendDue(ctx, r, described, shares); err != nil {
			var refusal *api.Refusal
			if !errors.As(err, &refusal) {
				return err
			}
			result.note("the approval for %s was not taken: %v", described.Owner, err)
		}
		result.Requests = append(result.Requests, d.describe(r, shares))
	}
	return nil
}

func (d *Device) sendDue(ctx context.Context, r *seenRequest, described RecoveryRequest, shares []*heldShare) error {
	if described.Own || described.Cannot != "" || r.Decision != Approved && r.Decision != Sent || d.o.Now().Before(described.Due) {
		return nil
	}
	share, _ := shareFor(r, shares)
	if r.Decision == Sent && slices.Contains(r.Counted, share.id.Member) {
		return nil
	}
	return d.sendApproval(ctx, r, share)
}

// Deny notes on this device that a request is not to be helped: nothing leaves,
// until it is approved after all.
func (d *Device) Deny(ctx context.Context, request string) error {
	if err := d.writable(); err != nil {
		return err
	}
	all, _, err := d.refreshRequests(ctx)
	if errors.Is(err, client.ErrUnreachable) {
		all, err = d.seenRequests()
	}
	if err != nil {
		return explain(err, "ask for recovery requests")
	}
	r, err := pick(all, request, func(r *seenRequest) bool { return !r.Over })
	if err != nil {
		return err
	}
	id := r.parsed.ID().String()[:8]
	switch {
	case r.parsed.Account() == d.keys.Account:
		return failure(CodeUsage, nil, "run zeropass veto "+id, "this request is for your own account, and nobody waits for your approval")
	case r.Decision == Sent:
		return failure(CodeRefused, nil, "tell "+r.Name+": one of their devices can veto it with zeropass veto "+id, "approval and share have left already")
	}
	r.decide(Denied, d.o.Now())
	return explain(d.saveRequest(r), "keep the decision")
}

// Veto voids all approvals of a request to recover this account so far. Only new
// ones, by contacts who were shown the veto, and a new waiting period go on after
// it. Each device vetoes a request once, and repeating it does nothing. A request
// that the server hides can be vetoed by its whole id.
func (d *Device) Veto(ctx context.Context, request string) error {
	if err := d.writable(); err != nil {
		return err
	}
	id, err := d.ownRequest(ctx, request)
	if err != nil {
		return err
	}
	err = d.append(ctx, func(s *ledger.State) ([]transaction, error) {
		if r, ok := s.Recovered(id); ok {
			return nil, failure(CodeRefused, api.ErrRecoveryOver, "", "this request recovered the account on %s", r.Time.Format(time.DateOnly))
		}
		if slices.ContainsFunc(s.Vetoes(id), func(v ledger.Veto) bool { return v.Device == d.keys.Device }) {
			return nil, nil
		}
		return []transaction{{records: []proto.Message{&recordv1.RecoveryVetoed{Request: id[:]}}}}, nil
	})
	return explain(err, "veto the recovery")
}

// ownRequest finds a request for this account.
func (d *Device) ownRequest(ctx context.Context, query string) (ledger.Hash, error) {
	if id, ok := parseRequestID(query); ok {
		return id, nil
	}
	all, _, err := d.refreshRequests(ctx)
	if err != nil {
		return ledger.Hash{}, explain(err, "ask for recovery requests")
	}
	r, err := pick(all, query, func(r *seenRequest) bool { return !r.Over && r.parsed.Account() == d.keys.Account })
	if err != nil {
		return ledger.Hash{}, err
	}
	return r.parsed.ID(), nil
}
