package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/device"
)

// activityFlags choose lines of the activity log.
type activityFlags struct {
	all    bool
	since  string
	device uint64
	kinds  []string
	slot   string
	export string
}

func activityCommand(a *app) *cobra.Command {
	var f activityFlags
	c := &cobra.Command{
		Use:   "activity",
		Short: "Show what the server was asked about your account",
		Long: `Show the server's activity log, as the last sync left it: every time a secret was
shown, something was written, or a recovery was asked for, by which device, and who
confirmed it. This device checks each signature and confirmation itself. The log is
a chain; the server cannot take anything out of it without being noticed.

Lines with ! ought to be looked at if that was not you. What a server that was
restored from an older copy has lost stays, marked as lost by the server.

--export writes the exact signed entries, one JSON object a line, so that somebody
else can verify them.`,
		Example: `# Who has seen this secret
zeropass activity --kind reveal --slot github.com
# What one device did in the last day
zeropass activity --device 2 --since 24h`,
		Args: takesNothing,
	}
	flags := c.Flags()
	flags.BoolVar(&f.all, "all", false, "show everything, not just the newest 50")
	flags.StringVar(&f.since, "since", "", "only what is newer: 24h, 7d, 2026-11-22 or a time as in RFC 3339")
	flags.Uint64Var(&f.device, "device", 0, "only what this device asked or confirmed")
	flags.StringSliceVar(&f.kinds, "kind", nil, "only these kinds: "+kindNames())
	flags.StringVar(&f.slot, "slot", "", "only what concerns this secret, by its title or id")
	flags.StringVar(&f.export, "export", "", "write the exact entries to this file, or to - for standard output")
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		keep, err := f.filter(time.Now())
		if err != nil {
			return err
		}
		return a.with(cmd.Context(), func(d *device.Device) error {
			entries, err := d.Activity(cmd.Context())
			if err != nil {
				return err
			}
			var item *device.Entry
			if f.slot != "" {
				if item, err = d.Find(f.slot); err != nil {
					return err
				}
			}
			entries = slices.DeleteFunc(entries, func(e device.ActivityEntry) bool {
				return !keep(e) || item != nil && !slices.Contains(e.Slots, item.ID)
			})
			if f.export != "" {
				return a.exportActivity(f.export, entries)
			}
			evidence, err := d.ActivityEvidence()
			if err != nil {
				return err
			}
			branches, err := d.ActivityBranches()
			if err != nil {
				return err
			}
			if branches != "" {
				a.warn("%s", oneLine(branches))
			}
			for _, name := range evidence {
				a.warn("the server has shown another activity log than this one, or a shorter one: it was restored from an older copy, or rewrites the log. What it showed is kept in evidence/%s", oneLine(name))
			}
			return a.show(activityJSON(entries), func() { a.showActivity(entries, f.all) })
		})
	})
	c.AddCommand(followActivityCommand(a))
	return c
}

func followActivityCommand(a *app) *cobra.Command {
	return a.afterRestore(&cobra.Command{
		Use:   "follow-server",
		Short: "Accept that the server was restored and lost the end of its activity log",
		Long: `Whoever runs the server may have restored it from an older copy: then its activity
log lacks what was asked since that copy was made, and goes on otherwise. This
device keeps what it has, says that there are two branches, and takes nothing new.
Ask them. Only if they say so, and you believe it, follow the server: the log goes
on from the last entry that both have. What the server has lost stays on this
device: it happened, and activity and device suspects go on showing it.`,
	}, func(ctx context.Context, d *device.Device) error {
		followed, err := d.FollowActivity(ctx)
		if err != nil {
			return err
		}
		return a.show(followedJSON(followed), func() {
			a.showFollowedActivity(followed)
			a.next("zeropass activity")
		})
	})
}

type followedView struct {
	Common   uint64         `json:"common_sequence"`
	Lost     []activityView `json:"lost_by_server"`
	Sequence uint64         `json:"sequence"`
}

func followedJSON(f *device.FollowedActivity) *followedView {
	if f == nil {
		return nil
	}
	return &followedView{f.Common, activityJSON(f.Lost), f.Sequence}
}

func (a *app) showFollowedActivity(f *device.FollowedActivity) {
	a.say("The activity log follows the server again, from entry %d on.", f.Common+1)
	a.say("")
	a.say("Lost by the server, and kept here:")
	table(a.out, a.width(), activityRows(f.Lost))
}

func kindNames() string {
	var names []string
	for _, k := range device.ActivityKinds {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// filter returns what the flags keep, besides the slot.
func (f *activityFlags) filter(now time.Time) (func(device.ActivityEntry) bool, error) {
	since, err := parseSince(f.since, now)
	if err != nil {
		return nil, err
	}
	for _, k := range f.kinds {
		if !slices.Contains(device.ActivityKinds, device.ActivityKind(k)) {
			return nil, usage("The kinds are "+kindNames()+".", "--kind %s: there is no such kind", k)
		}
	}
	return func(e device.ActivityEntry) bool {
		return !e.Time.Before(since) &&
			(f.device == 0 || e.Device == f.device || slices.Contains(e.Confirmed, f.device)) &&
			(len(f.kinds) == 0 || slices.Contains(f.kinds, string(e.Kind)))
	}, nil
}

// parseSince reads a length of time before now, a day, or a time.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	var days int
	if n, err := fmt.Sscanf(s, "%dd", &days); n == 1 && err == nil && fmt.Sprintf("%dd", days) == s && days >= 0 {
		return now.AddDate(0, 0, -days), nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, s, time.Local); err == nil {
		return t, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	return time.Time{}, usage("For instance 24h, 7d, 2026-11-22 or 2026-11-22T12:00:00Z.", "--since %s: not a time", s)
}

// exportedActivity is one line of an export.
type exportedActivity struct {
	Sequence uint64 `json:"sequence"`
	Time     string `json:"time"`
	Text     string `json:"text"`
	Lost     bool   `json:"lost_by_server,omitempty"`
	Activity string `json:"activity"` // exact bytes of the record Activity, hexadecimal
}

func (a *app) exportActivity(to string, entries []device.ActivityEntry) (err error) {
	var out io.Writer = a.out
	if to != "-" {
		file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fail(exitFailed, "Name a file that is not there yet, in a directory that is.", "--export %s: %s", to, pathCause(err))
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		out = file
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for _, e := range entries {
		line := exportedActivity{e.Sequence, e.Time.UTC().Format(time.RFC3339Nano), e.Text, e.Lost, hex.EncodeToString(e.Exact)}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	if to != "-" {
		a.note("%s written to %s", count(len(entries), "entry"), to)
	}
	return nil
}

type activityView struct {
	Sequence  uint64    `json:"sequence"`
	Time      time.Time `json:"time"`
	Device    uint64    `json:"device,omitempty"`
	Account   string    `json:"account,omitempty"`
	Procedure string    `json:"procedure"`
	Kind      string    `json:"kind"`
	Purpose   string    `json:"purpose,omitempty"`
	Slots     []string  `json:"slots,omitempty"`
	Confirmed []uint64  `json:"confirmed_by,omitempty"`
	Text      string    `json:"text"`
	Alarm     bool      `json:"alarm"`
	Lost      bool      `json:"lost_by_server,omitempty"`
}

func activityJSON(entries []device.ActivityEntry) []activityView {
	views := make([]activityView, 0, len(entries))
	for _, e := range entries {
		v := activityView{e.Sequence, e.Time.UTC(), e.Device, e.Account, e.Procedure, string(e.Kind), e.Purpose, nil, e.Confirmed, e.Text, e.Alarm, e.Lost}
		for _, slot := range e.Slots {
			v.Slots = append(v.Slots, slot.String())
		}
		views = append(views, v)
	}
	return views
}

func (a *app) showActivity(entries []device.ActivityEntry, all bool) {
	const newest = 50
	if len(entries) == 0 {
		a.say("There is no such activity here.")
		a.next("zeropass sync, which fetches the log")
		return
	}
	if skipped := len(entries) - newest; skipped > 0 && !all {
		a.say("(%s before these; --all shows them)", count(skipped, "line"))
		entries = entries[skipped:]
	}
	table(a.out, a.width(), activityRows(entries))
}

func activityRows(entries []device.ActivityEntry) [][]string {
	var rows [][]string
	for _, e := range entries {
		text := oneLine(e.Text)
		if e.Lost {
			text += " (lost by the server)"
		}
		rows = append(rows, []string{mark(e.Alarm) + " " + when(e.Time), text})
	}
	return rows
}

// mark is what a line begins with that ought to be looked at.
func mark(alarm bool) string {
	if alarm {
		return "!"
	}
	return " "
}
