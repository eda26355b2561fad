package device

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
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
	Purpose   string    // of a reveal
	Slots     []ledger.SlotID
	Text      string
	Alarm     bool // something that ought to be looked at if it was not you
}

const activityPage = 1000

// pullActivity replicates the activity log and checks its chain. A log that does
// not go on from what this device has is evidence against the server.
func (d *Device) pullActivity(ctx context.Context, result *SyncResult) error {
	for {
		last := d.home.LastActivity()
		var after uint64
		if last != nil {
			after = last.Sequence()
		}
		nonce, err := d.nonce()
		if err != nil {
			return err
		}
		page, err := d.client.ActivityLog(ctx, d.identity(), &apiv1.ActivityLogRequest{After: after, Nonce: nonce})
		if err != nil {
			return err
		}
		if page.Sequence < after {
			result.note("the server's activity log ends with entry %d; this device has seen entry %d: the server was restored from an older copy, or hides something", page.Sequence, after)
			return nil
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
		if last = d.home.LastActivity(); last != nil && last.Sequence() == page.Sequence {
			if hash := last.Hash(); string(hash[:]) != string(page.Head) {
				return d.rewritten(page, errors.New("its newest entry is another one"), result)
			}
		}
		return nil
	}
}

// rewritten keeps what shows that the activity log is not the one that this
// device has, and says so. It does not stop the device: a restored server loses
// the end of its log.
func (d *Device) rewritten(page *apiv1.ActivityLogAnswer, why error, result *SyncResult) error {
	b, err := proto.Marshal(page)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("activity-%d-%s", page.Sequence, hex.EncodeToString(page.Head)[:min(16, 2*len(page.Head))])
	if err := d.home.PutEvidence(name, b); err != nil {
		return err
	}
	result.note("the server's activity log is not the one that this device has seen (%v): the server was restored from an older copy, or rewrites it; what it shows is kept in evidence/%s", why, name)
	return nil
}

// Activity returns the activity log as the last sync left it, from the oldest
// entry on.
func (d *Device) Activity(ctx context.Context) ([]ActivityEntry, error) {
	if err := d.readable(); err != nil {
		return nil, err
	}
	titles, err := d.titles()
	if err != nil {
		return nil, explain(err, "read the titles")
	}
	var all []ActivityEntry
	for after := uint64(0); ; {
		page, err := d.home.Activity(after, activityPage)
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

// tell puts an entry of the activity log into words.
func (d *Device) tell(a *ledger.Activity, titles map[ledger.SlotID]string) ActivityEntry {
	e := ActivityEntry{Sequence: a.Sequence(), Time: a.Time()}
	request, body, err := api.ParseLogged(a.Request())
	if err != nil {
		e.Text, e.Alarm = fmt.Sprintf("an entry that nobody signed: %v", err), true
		return e
	}
	who := "a device that is in no ledger"
	switch account, ok := request.Account(); {
	case ok && account != d.keys.Account:
		e.Account = account.String()
		who = "contact " + e.Account[:8]
	case request.Header.Device != 0:
		e.Device = request.Header.Device
		who = fmt.Sprintf("device %d", e.Device)
	}
	known := d.askedByUs(e, request)
	switch e.Procedure = procedureName(request.Header.Procedure); request.Header.Procedure {
	case apiv1connect.ServerServiceRevealProcedure:
		e.Text = who + " " + e.reveal(body, titles)
		e.Alarm = e.Purpose != api.PurposeGet
	case apiv1connect.ServerServiceCreateAccountProcedure:
		e.Text = who + " made the account"
	case apiv1connect.ServerServiceAppendProcedure:
		e.Text = who + " wrote to the ledger"
	case apiv1connect.ServerServiceSeedHalfProcedure:
		e.Text = who + " took the server's half of a new seed"
	case apiv1connect.ServerServicePaperHalfProcedure:
		e.Text = who + " took the server's half of a share for paper"
	case apiv1connect.ServerServiceStartRecoveryProcedure:
		e.Text, e.Alarm = "a new device asked to recover the account", true
	case apiv1connect.ServerServiceApproveProcedure:
		e.Text, e.Alarm = who+" approved a recovery", true
	case apiv1connect.ServerServiceReleaseProcedure:
		e.Text, e.Alarm = "the server's shares were released to a new device", true
	default:
		e.Text = who + " asked for " + e.Procedure
	}
	if !known {
		e.Text, e.Alarm = e.Text+"; this device does not know the key that signed it", true
	}
	return e
}

// askedByUs says whether a request that names a device of this account was signed
// with that device's key. Others are not for this ledger to know.
func (d *Device) askedByUs(e ActivityEntry, request *api.Request) bool {
	if e.Device == 0 {
		return true
	}
	own, ok := d.home.State().Device(e.Device)
	return ok && own.SignKey.Equal(request.Key)
}

func (e *ActivityEntry) reveal(body []byte, titles map[ledger.SlotID]string) string {
	asked := &apiv1.RevealRequest{}
	if err := proto.Unmarshal(body, asked); err != nil {
		return "revealed something that cannot be read"
	}
	e.Purpose = asked.Purpose
	for _, s := range asked.Slots {
		if len(s.Slot) == len(ledger.SlotID{}) {
			e.Slots = append(e.Slots, ledger.SlotID(s.Slot))
		}
	}
	if len(e.Slots) == 1 {
		return "revealed " + cmp.Or(titles[e.Slots[0]], e.Slots[0].String())
	}
	return fmt.Sprintf("revealed %d secrets at once (%s)", len(e.Slots), asked.Purpose)
}

// procedureName is the last part of a procedure's path.
func procedureName(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[i+1:]
		}
	}
	return path
}
