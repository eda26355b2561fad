package device

import (
	"context"
	"fmt"
	"time"

	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
)

// counted are the procedures that count against the policy's limits.
var counted = map[string]bool{
	procedureName(apiv1connect.ServerServiceRevealProcedure):    true,
	procedureName(apiv1connect.ServerServiceProposeProcedure):   true,
	procedureName(apiv1connect.ServerServiceSetAlarmsProcedure): true,
}

// newLimits says which of the devices that have asked for something now have asked
// as often as they may, and whether all together have. The server refuses what comes
// after that, and keeps no record of it in the activity log; so this counts what
// stands there.
func (d *Device) newLimits(ctx context.Context, seen *Seen, news []ActivityEntry) ([]Event, error) {
	asked := map[uint64]bool{}
	for _, e := range news {
		if counted[e.Procedure] && e.Device != 0 {
			asked[e.Device] = true
		}
	}
	if len(asked) == 0 {
		return nil, nil
	}
	now := d.o.Now()
	s := d.home.State()
	policy := limitsOf(s.Policy(now))
	var events []Event
	for _, limit := range []struct {
		most uint64
		span time.Duration
		word string
	}{{policy.RevealsPerHour, time.Hour, "an hour"}, {policy.RevealsPerDay, 24 * time.Hour, "a day"}} {
		times, err := d.askedSince(ctx, now.Add(-limit.span))
		if err != nil {
			return nil, err
		}
		tell := func(device uint64, most uint64, who, do string) {
			// It is told again when it is so in another hour, or on another day.
			if uint64(times[device]) < most || !seen.first(fmt.Sprintf("limit %d %s %d", device, limit.word, now.UnixNano()/int64(limit.span))) {
				return
			}
			events = append(events, Event{
				Kind: EventLimit, Time: now, ID: fmt.Sprint(device), Alarm: true, Do: do,
				Text: fmt.Sprintf("%s asked %s in %s, which is all that is allowed", who, count(times[device], "time"), limit.word),
			})
		}
		others := len(s.ActiveDevices()) > 1
		for device := range asked {
			most := limit.most
			if others {
				most = api.DevicePart(most)
			}
			tell(device, most, fmt.Sprintf("device %d has", device), fmt.Sprintf("if it was not you: zeropass device lock %d", device))
		}
		if others {
			tell(0, limit.most, "all devices together have", "if it was not you: zeropass activity, and zeropass device lock")
		}
	}
	return events, nil
}

// askedSince returns how many requests that count each device has made since a time,
// and under 0 all together, by the activity log as this device has it. A request that
// waited stands there twice and counts once.
func (d *Device) askedSince(ctx context.Context, since time.Time) (map[uint64]int, error) {
	times := map[uint64]int{}
	last := d.home.LastActivity()
	if last == nil {
		return times, nil
	}
	seen := map[[32]byte]bool{}
	for end := last.Sequence(); end > 0; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		begin := end - min(end, activityAtOnce)
		page, err := d.home.Activity(begin, int(end-begin))
		if err != nil {
			return nil, explain(err, "read the activity log")
		}
		for _, a := range page {
			if !a.Time().After(since) {
				continue
			}
			request, _, err := api.ParseLogged(a.Request())
			if err != nil || !counted[procedureName(request.Header.Procedure)] || seen[request.Hash] {
				continue
			}
			if account, ok := request.Account(); ok && account == d.keys.Account {
				seen[request.Hash] = true
				times[request.Header.Device]++
				times[0]++
			}
		}
		if len(page) == 0 || !page[0].Time().After(since) {
			break
		}
		end = begin
	}
	return times, nil
}
