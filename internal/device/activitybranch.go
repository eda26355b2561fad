package device

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
)

// activityBranch is what the device remembers of an activity log that the server
// has shown, and that is not the one that it has.
type activityBranch struct {
	Open   bool // the server shows another log, and the owner has not decided
	Seen   time.Time
	Ours   uint64 // sequence numbers of the newest entries then
	Theirs uint64

	Common  uint64   // last entry that the branch followed last has in common with what was lost
	Settled []string // evidence of what the owner has decided
}

const activityBranchFile = "activity-branch"

func (d *Device) activityBranch() (activityBranch, error) {
	b, err := load[activityBranch](d, activityBranchFile)
	if err != nil || b == nil {
		return activityBranch{}, err
	}
	return *b, nil
}

const followActivityHint = "if whoever runs the server says that it was restored, run zeropass activity follow-server"

// openBranch remembers that the server shows another activity log.
func (d *Device) openBranch(theirs uint64) error {
	b, err := d.activityBranch()
	if err != nil || b.Open && b.Theirs == theirs {
		return err
	}
	b.Open, b.Seen, b.Ours, b.Theirs = true, d.o.Now(), 0, theirs
	if last := d.home.LastActivity(); last != nil {
		b.Ours = last.Sequence()
	}
	return d.save(activityBranchFile, b)
}

// closeBranch forgets it: the server goes on with the log that is here.
func (d *Device) closeBranch() error {
	b, err := d.activityBranch()
	if err != nil || !b.Open {
		return err
	}
	b.Open = false
	return d.save(activityBranchFile, b)
}

// ActivityBranches says in words that the server shows another activity log than
// the one that is here, and that nobody has decided what that means; empty if it
// does not. It does not ask the server.
func (d *Device) ActivityBranches() (string, error) {
	b, err := d.activityBranch()
	if err != nil {
		return "", explain(err, "read what is known of the server's activity log")
	}
	if !b.Open {
		return "", nil
	}
	return fmt.Sprintf("the activity log has two branches: the server's, with %s on %s, and this device's, with %s; nothing new is taken from the server's. It was restored from an older copy, or rewrites the log: %s",
		entries(int(b.Theirs)), b.Seen.Local().Format(time.DateTime), entries(int(b.Ours)), followActivityHint), nil
}

// FollowedActivity is what became of the activity log when it followed the
// server's branch.
type FollowedActivity struct {
	Common   uint64 // sequence number of the last entry that both had; 0 if none
	Lost     []ActivityEntry
	Sequence uint64 // of the newest entry now
}

// FollowActivity has the activity log of this device go on with the server's
// branch, because the owner says that the server was restored from an older copy.
// What only this device has of it stays, as lost by the server: it happened. It
// can be interrupted and repeated.
func (d *Device) FollowActivity(ctx context.Context) (*FollowedActivity, error) {
	if err := d.readable(); err != nil {
		return nil, err
	}
	followed, err := d.followActivity(ctx)
	if err != nil {
		return nil, explain(err, "take the server's activity log")
	}
	if followed == nil {
		return nil, failure(CodeUsage, nil, "run zeropass sync", "the server's activity log goes on from the one that is here")
	}
	return followed, nil
}

// followActivity follows the server's branch if it shows one, and returns nil if
// it does not.
func (d *Device) followActivity(ctx context.Context) (*FollowedActivity, error) {
	if err := d.pullActivity(ctx, &SyncResult{}); err != nil {
		return nil, err
	}
	b, err := d.activityBranch()
	if err != nil || !b.Open {
		return nil, err
	}
	common, branch, err := d.serverBranch(ctx)
	if err != nil {
		return nil, err
	}
	lost, err := d.activityAfter(ctx, common)
	if err != nil {
		return nil, err
	}
	evidence, err := d.activityEvidence()
	if err != nil {
		return nil, err
	}
	// It stays open until the log has followed, so that an interrupted device does
	// not forget that there are two branches.
	b.Common, b.Settled = common, evidence
	if err := d.save(activityBranchFile, b); err != nil {
		return nil, err
	}
	if err := d.home.BranchActivity(common, branch...); err != nil {
		return nil, err
	}
	// Reveals that the restored server has lost are decided as well.
	if err := d.save(ownRevealsFile, &ownReveals{}); err != nil {
		return nil, err
	}
	followed := &FollowedActivity{Common: common, Lost: markLost(lost)}
	if last := d.home.LastActivity(); last != nil {
		followed.Sequence = last.Sequence()
	}
	return followed, d.closeBranch()
}

// serverBranch reads the server's whole activity log and checks its chain. It
// returns what follows the last entry that is here too.
func (d *Device) serverBranch(ctx context.Context) (common uint64, branch []*ledger.Activity, err error) {
	var last *ledger.Activity
	for {
		var after uint64
		if last != nil {
			after = last.Sequence()
		}
		page, err := d.activityPage(ctx, after)
		if err != nil {
			return 0, nil, err
		}
		for _, b := range page.Entries {
			a, err := ledger.ParseActivity(b)
			if err == nil {
				err = a.Follows(d.keys.Account, last)
			}
			if err != nil {
				return 0, nil, fmt.Errorf("%w: its activity log is no chain: %w", client.ErrDishonest, err)
			}
			same := false
			if len(branch) == 0 {
				if same, err = d.hasActivity(a); err != nil {
					return 0, nil, err
				}
			}
			if last = a; same {
				common = a.Sequence()
			} else {
				branch = append(branch, a)
			}
		}
		if page.More && len(page.Entries) > 0 {
			continue
		}
		if !endsWith(page, last) {
			return 0, nil, fmt.Errorf("%w: its activity log does not end as it says", client.ErrDishonest)
		}
		return common, branch, nil
	}
}

// endsWith says whether an entry is the newest one of the log that the server
// attests, nil of an empty one.
func endsWith(page *apiv1.ActivityLogAnswer, last *ledger.Activity) bool {
	if last == nil {
		return page.Sequence == 0
	}
	hash := last.Hash()
	return page.Sequence == last.Sequence() && string(page.Head) == string(hash[:])
}

func (d *Device) hasActivity(a *ledger.Activity) (bool, error) {
	here, err := d.home.Activity(a.Sequence()-1, 1)
	return len(here) > 0 && here[0].Hash() == a.Hash(), err
}

func markLost(entries []ActivityEntry) []ActivityEntry {
	for i := range entries {
		entries[i].Lost = true
	}
	return entries
}

// lostActivity returns what the server has lost, in words.
func (d *Device) lostActivity() ([]ActivityEntry, error) {
	lost, err := d.home.LostActivity()
	if err != nil || len(lost) == 0 {
		return nil, explain(err, "read the activity that the server has lost")
	}
	titles, err := d.titles()
	if err != nil {
		return nil, explain(err, "read the titles")
	}
	var all []ActivityEntry
	for _, a := range lost {
		all = append(all, d.tell(a, titles))
	}
	return markLost(all), nil
}

// byTime brings what the server has lost and what it has into the order in which
// it happened, by the server's clock.
func byTime(entries []ActivityEntry) {
	slices.SortStableFunc(entries, func(a, b ActivityEntry) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Sequence, b.Sequence))
	})
}
