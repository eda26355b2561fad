package device

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
)

// SyncResult is what a sync did and found.
type SyncResult struct {
	Entries     int               // that came from elsewhere or were accepted now
	Head        ledger.Head       // of device and server
	Sent        int               // secrets that the server has accepted now
	Unconfirmed int               // changes that another device must confirm: see [Device.SyncAndWait]
	Answers     []string          // invitations that were answered: confirm them
	Receipts    []string          // contacts that proved their shares
	Held        []string          // owners whose shares became whole here
	Committed   []uint64          // epochs that can be recovered from now on
	Approvals   []string          // owners for whom an approval left
	Requests    []RecoveryRequest // open recoveries of this account and of those whose shares are here
	Notes       []string          // what a person ought to know, in words
	Branches    bool              // the server's activity log is not the one that this device has: see [Device.FollowActivity]
}

func (r *SyncResult) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(r.Notes, text) {
		r.Notes = append(r.Notes, text)
	}
}

// Sync brings device and server together: entries in both directions, secrets
// that were not sent, messages, receipts, attestations, approvals whose time has
// come, and the activity log. What it does is safe to do again. It waits for
// nobody: what another device must confirm stays, and the result says so.
func (d *Device) Sync(ctx context.Context) (*SyncResult, error) { return d.sync(ctx, nobody) }

// SyncAndWait is Sync, and asks other devices to confirm the changes that are kept
// here, waiting for them.
func (d *Device) SyncAndWait(ctx context.Context) (*SyncResult, error) { return d.sync(ctx, everybody) }

func (d *Device) sync(ctx context.Context, wait func(write) bool) (*SyncResult, error) {
	if d.recovering() {
		return nil, failure(CodeNotYet, ErrRecovering, "zeropass recover status shows how far it is; zeropass recover finish ends it", "%s waits for its recovery", d.Name())
	}
	if err := d.readable(); err != nil {
		return nil, err
	}
	result := &SyncResult{}
	before := d.Head().Sequence
	pending, err := d.pendingWrites()
	if err != nil {
		return nil, explain(err, "read what was not sent yet")
	}
	if err := d.compareAgain(ctx, result); err != nil {
		return nil, d.noticeRevoked(err, "compare with the other device again")
	}
	for _, step := range []struct {
		doing string
		do    func(context.Context, *SyncResult) error
	}{
		{"send what was under way", func(ctx context.Context, _ *SyncResult) error { return ignoreRebuild(d.push(ctx)) }},
		{"bring the ledgers together", func(ctx context.Context, _ *SyncResult) error { return d.pull(ctx) }},
		{"go on with this device", func(context.Context, *SyncResult) error { return d.belongs(d.home.State()) }},
		{"open what is sealed to this device", d.noteUnopened},
		{"compare with what other devices have shown", func(context.Context, *SyncResult) error { return d.settleShown() }},
		{"take the server's receipt", func(ctx context.Context, _ *SyncResult) error { return d.serverReceipts(ctx) }},
		{"deal with messages", d.receive},
		{"keep the shares of others as slots too", func(context.Context, *SyncResult) error { return d.keepSlots() }},
		{"send the secrets that were not sent", func(ctx context.Context, r *SyncResult) error { return d.sendKept(ctx, r, wait) }},
		{"send shares to contacts", func(ctx context.Context, r *SyncResult) error { _, err := d.sendEnvelopes(ctx, r); return err }},
		{"commit the epoch", func(ctx context.Context, r *SyncResult) (err error) { r.Committed, err = d.commit(ctx); return err }},
		{"keep the server's sealed shares", func(ctx context.Context, _ *SyncResult) error { return d.takeSealed(ctx) }},
		{"forget what has ended", func(context.Context, *SyncResult) error { return d.home.PruneServerShares() }},
		{"prove the ledger", d.attest},
		{"forget shares that have a successor", func(_ context.Context, r *SyncResult) error { return d.forgetHeld(r) }},
		{"prove the shares that are held here", d.attestHeld},
		{"look for recoveries", d.watchRequests},
		{"replicate the activity log", d.pullActivity},
	} {
		if err := step.do(ctx, result); err != nil {
			return nil, d.noticeRevoked(err, step.doing)
		}
	}
	for _, word := range []string{revokedFile, lockedFile} {
		if err := d.home.RemovePrivate(word); err != nil {
			return nil, explain(err, "go on with this device")
		}
	}
	result.Head = d.Head()
	result.Entries = int(result.Head.Sequence - before)
	left, err := d.pendingWrites()
	if err != nil {
		return nil, explain(err, "read what was not sent yet")
	}
	result.Sent = max(0, len(pending)-len(left))
	return result, nil
}

// revokedFile remembers that the server has signed that this device is revoked. A
// revoked device is not shown the entry that says so.
const revokedFile = "revoked"

// noticeRevoked explains an error, and remembers when it means that this device
// is locked, or does not belong to the account any more.
func (d *Device) noticeRevoked(err error, doing string) error {
	if signed(err) && errors.Is(err, api.ErrDeviceLocked) {
		return explain(d.noticeLocked(err), doing)
	}
	if !signed(err) || !errors.Is(err, api.ErrDeviceRevoked) {
		return explain(err, doing)
	}
	if err := d.save(revokedFile, d.o.Now()); err != nil {
		return explain(err, doing)
	}
	return d.revokedError(err)
}

func (d *Device) revokedError(cause error) error {
	return failure(CodeRefused, errors.Join(ErrRevoked, cause),
		"another device recovered the account or revoked this one: use that one; if it was not you, tell your contacts now. Secrets that this device has not sent are still in its directory",
		"the server says that device %d no longer belongs to %s", d.keys.Device, d.Name())
}

// revoked says whether the server has signed that this device is revoked.
func (d *Device) revoked() (bool, error) {
	said, err := load[time.Time](d, revokedFile)
	return said != nil, err
}

func ignoreRebuild(err error) error {
	if errors.Is(err, errRebuild) {
		return nil
	}
	return err
}
