package device

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
)

// ActivityEntry is one thing that was asked of the server, in words.
type ActivityEntry struct {
	Sequence  uint64
	Time      time.Time // of the answer, by the server's clock
	Device    uint64    // that asked; 0 if it is in no ledger of this account
	Account   string    // of another account's device that asked, in hexadecimal; else empty
	Procedure string    // "Reveal", for example
	Kind      ActivityKind
	Purpose   string // of a reveal
	Slots     []ledger.SlotID
	Confirmed []uint64 // devices whose confirmation came with it, each checked by this device's own ledger
	Text      string
	Alarm     bool   // something that ought to be looked at if it was not you
	Lost      bool   // the server, which was restored from an older copy, has it no more
	Exact     []byte // the signed entry, as every copy has it
}

// activityAtOnce is how many entries are read from the disk at once.
const activityAtOnce = 1000

// pullActivity replicates the activity log and checks its chain. A log that does
// not go on from what this device has is evidence against the server.
func (d *Device) pullActivity(ctx context.Context, result *SyncResult) error {
	for {
		last := d.home.LastActivity()
		var after uint64
		if last != nil {
			after = last.Sequence()
		}
		page, err := d.activityPage(ctx, after)
		if err != nil {
			return err
		}
		if page.Sequence < after {
			return d.rewritten(page, fmt.Errorf("it ends with entry %d, and this device has seen entry %d", page.Sequence, after), result)
		}
		var more []*ledger.Activity
		for _, b := range page.Entries {
			a, err := ledger.ParseActivity(b)
			if err != nil {
				return fmt.Errorf("%w: its activity log cannot be read: %w", client.ErrDishonest, err)
			}
			more = append(more, a)
		}
		err = d.home.AppendActivity(more...)
		var rule *ledger.RuleError
		if errors.As(err, &rule) {
			return d.rewritten(page, err, result)
		}
		if err != nil {
			return err
		}
		if page.More && len(more) > 0 {
			continue
		}
		if last = d.home.LastActivity(); last == nil || last.Sequence() != page.Sequence {
			return nil
		}
		if !endsWith(page, last) {
			return d.rewritten(page, errors.New("its newest entry is another one"), result)
		}
		if err := d.findReveals(result); err != nil {
			return err
		}
		return d.closeBranch()
	}
}

// activityPage asks for entries that follow the one with this number.
func (d *Device) activityPage(ctx context.Context, after uint64) (*apiv1.ActivityLogAnswer, error) {
	nonce, err := d.nonce()
	if err != nil {
		return nil, err
	}
	return d.client.ActivityLog(ctx, d.identity(), &apiv1.ActivityLogRequest{After: after, Nonce: nonce})
}

// rewritten keeps what shows that the activity log is not the one that this
// device has, and says so. It does not stop the device: a restored server loses
// the end of its log. But nothing is taken from that log until the owner has
// decided: see [Device.FollowActivity]. A server that shows ever others fills no
// disk.
func (d *Device) rewritten(page *apiv1.ActivityLogAnswer, why error, result *SyncResult) error {
	result.Branches = true
	if err := d.openBranch(page.Sequence); err != nil {
		return err
	}
	b, err := proto.Marshal(page)
	if err != nil {
		return err
	}
	name := fmt.Sprintf(activityEvidenceName+"%d-%s", page.Sequence, hex.EncodeToString(page.Head)[:min(16, 2*len(page.Head))])
	kept, err := d.ActivityEvidence()
	if err != nil {
		return err
	}
	switch _, err := d.home.Evidence(name); {
	case err == nil:
	case len(kept) >= maxActivityEvidence:
		result.note("the server's activity log is not the one that this device has seen (%v); evidence/ has %s of that already; "+followActivityHint, why, count(len(kept), "file"))
		return nil
	default:
		if err := d.home.PutEvidence(name, b); err != nil {
			return err
		}
	}
	result.note("the server's activity log is not the one that this device has seen (%v): the server was restored from an older copy, or rewrites it; what it shows is kept in evidence/%s; "+followActivityHint, why, name)
	return nil
}

// Activity returns the activity log as the last sync left it, from the oldest
// entry on, and in its place by time what a restored server has lost.
func (d *Device) Activity(ctx context.Context) ([]ActivityEntry, error) {
	all, err := d.activityAfter(ctx, 0)
	if err != nil {
		return nil, err
	}
	lost, err := d.lostActivity()
	if len(lost) > 0 {
		all = append(all, lost...)
		byTime(all)
	}
	return all, err
}

func (d *Device) activityAfter(ctx context.Context, after uint64) ([]ActivityEntry, error) {
	if err := d.readable(); err != nil {
		return nil, err
	}
	titles, err := d.titles()
	if err != nil {
		return nil, explain(err, "read the titles")
	}
	var all []ActivityEntry
	for {
		page, err := d.home.Activity(after, activityAtOnce)
		if err != nil {
			return nil, explain(err, "read the activity log")
		}
		if len(page) == 0 {
			return all, ctx.Err()
		}
		for _, a := range page {
			all = append(all, d.tell(a, titles))
			after = a.Sequence()
		}
	}
}

func (d *Device) titles() (map[ledger.SlotID]string, error) {
	entries, err := d.entries()
	if err != nil {
		return nil, err
	}
	titles := map[ledger.SlotID]string{}
	for _, e := range entries {
		titles[e.ID] = describe(e.Metadata)
	}
	return titles, nil
}

// activityEvidenceName begins the names of the evidence that [Device.rewritten] keeps.
const activityEvidenceName = "activity-"

// maxActivityEvidence is how many of these are kept.
const maxActivityEvidence = 16

// ActivityEvidence names what this device keeps of activity logs that were not
// the one that it had seen, and of which the owner has not said that the server
// was restored.
func (d *Device) ActivityEvidence() ([]string, error) {
	names, err := d.activityEvidence()
	if err != nil {
		return nil, explain(err, "read what is kept as evidence")
	}
	b, err := d.activityBranch()
	if err != nil {
		return nil, explain(err, "read what is known of the server's activity log")
	}
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(b.Settled, name) }), nil
}

// activityEvidence names all evidence about activity logs.
func (d *Device) activityEvidence() ([]string, error) {
	names, err := d.home.EvidenceNames()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, activityEvidenceName) }), nil
}
