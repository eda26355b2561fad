package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/device"
)

func rotateCommand(a *app) *cobra.Command {
	var contacts quorum
	var waiting period
	var printed, without bool
	c := &cobra.Command{
		Use:   "rotate",
		Short: "Make new keys and split everything again",
		Long: `Make a new Private Master Seed and a new epoch with it: every secret is split again,
and the same contacts get new shares. What leaked of the old epoch, a share or a
half, is worth nothing once the new one is committed.

Until enough contacts have proved their new shares, and you run zeropass sync, the
old epoch protects as before, and what you write goes to both. A smaller quorum or a
shorter waiting period waits for the old waiting period: nobody who holds this
device can take your protection away before you see it.

With --printed the epoch has a sheet as well, which is worth a quorum of contacts:
"zeropass sheet print" prints it. Every epoch after it has a new one, until
--no-printed. An epoch with a sheet waits for the old waiting period, too.

If it stops in the middle, run it again: it goes on where it stopped. Run with other
choices than before, it prepares another epoch and gives up the prepared one.`,
		Example: `zeropass rotate
zeropass rotate --contacts 3-of-5 --waiting-period 7d`,
		Args: takesNothing,
	}
	c.Flags().Var(&contacts, "contacts", "how many of how many contacts bring everything back (default as it is)")
	c.Flags().Var(&waiting, "waiting-period", "how long a recovery waits, so that you can object; 72h, 3d (default as it is)")
	c.Flags().BoolVar(&printed, "printed", false, "with a printed sheet that is worth a quorum (default as it is)")
	c.Flags().BoolVar(&without, "no-printed", false, "without a printed sheet")
	c.MarkFlagsMutuallyExclusive("printed", "no-printed")
	for _, name := range []string{"contacts", "waiting-period"} {
		c.Flags().Lookup(name).DefValue = ""
	}
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		if waiting != 0 && time.Duration(waiting) < soonWait {
			a.warn("with a waiting period of %s there is little time to object to a stranger's recovery; the usual one is 3 days.", duration(time.Duration(waiting)))
		}
		return a.with(ctx, func(d *device.Device) error {
			options := device.RotateOptions{Quorum: contacts.k, Members: contacts.n, WaitingPeriod: time.Duration(waiting)}
			if printed || without {
				options.Printed = &printed
			}
			r, err := d.Rotate(ctx, options)
			if err != nil {
				return err
			}
			return a.show(rotationJSON(r), func() {
				a.showRotation(r)
				a.next(afterRotation(r)...)
			})
		})
	})
	return c
}

type rotationView struct {
	Epoch         uint64     `json:"epoch"`
	OldEpoch      uint64     `json:"old_epoch"`
	Again         bool       `json:"again"`
	Quorum        int        `json:"quorum"`
	Contacts      int        `json:"contacts"`
	WaitingPeriod int64      `json:"waiting_period_seconds"`
	Split         int        `json:"secrets_split"`
	Lost          []string   `json:"not_opened,omitempty"`
	Bound         []string   `json:"bound"`
	Left          []string   `json:"left,omitempty"`
	Free          int        `json:"free"`
	Sheet         bool       `json:"sheet_to_print"`
	CommitFrom    *time.Time `json:"commits_from,omitempty"`
}

func rotationJSON(r *device.RotateResult) rotationView {
	v := rotationView{
		Epoch: r.Epoch, OldEpoch: r.OldEpoch, Again: r.Again, Quorum: r.Quorum, Contacts: r.Members,
		WaitingPeriod: int64(r.WaitingPeriod / time.Second), Split: r.Split, Bound: append([]string{}, r.Bound...),
		Left: r.Left, Free: r.Free, Sheet: r.Sheet, CommitFrom: jsonTime(r.CommitFrom),
	}
	for _, l := range r.Lost {
		v.Lost = append(v.Lost, l.Slot.String())
	}
	return v
}

func (a *app) showRotation(r *device.RotateResult) {
	a.say("Epoch %d is prepared: %d of %s, after %s.", r.Epoch, r.Quorum, count(r.Members, "contact"), duration(r.WaitingPeriod))
	if r.Split > 0 {
		a.say("%s split again.", count(r.Split, "secret"))
	}
	for _, l := range r.Lost {
		title := oneLine(l.Title)
		if title == "" {
			title = l.Slot.String()[:8]
		}
		a.warn("%s does not open, and keeps the new epoch from taking over: store it again, or run: %s", title, deleteLost([]device.LostItem{l}))
	}
	for _, name := range r.Bound {
		a.say("%s gets a share of it.", oneLine(name))
	}
	for _, name := range r.Left {
		a.say("Not in it: %s.", oneLine(name))
	}
	if r.Free > 0 {
		a.say("%s for nobody yet.", count(r.Free, "share"))
	}
	a.say("Epoch %d protects until then, and what you write goes to both.", r.OldEpoch)
	if r.CommitFrom.After(time.Now()) {
		a.say("It takes over on %s at the earliest: what weakens your protection waits for the old waiting period.", when(r.CommitFrom))
	}
}

// afterRotation is what there is still to do.
func afterRotation(r *device.RotateResult) []string {
	var todo []string
	if r.Sheet {
		todo = append(todo, "zeropass sheet print --pdf sheet.pdf, then zeropass sheet confirm")
	}
	if r.Free > 0 {
		todo = append(todo, "zeropass contact invite NAME, or zeropass contact paper print")
	}
	if len(r.Bound) > 0 {
		var names []string
		for _, name := range r.Bound {
			names = append(names, oneLine(name))
		}
		todo = append(todo, "ask "+strings.Join(names, ", ")+" to run: zeropass sync")
	}
	return append(todo, "then run it yourself; zeropass status shows when the new epoch protects")
}

func replaceCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "replace NAME",
		Short: "Take a contact's part away, for somebody else",
		Long: `Prepare a new epoch without one contact. The others keep their part, and the freed
share is for a new invitation: of another person, or of the same one with a new
device.

Until the new epoch is committed the old share counts as before. A contact who is
new makes it wait for the waiting period.`,
		Example: "zeropass contact replace Ann",
		Args:    takes("NAME", true),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return a.with(ctx, func(d *device.Device) error {
				r, err := d.Replace(ctx, strings.Join(args, " "))
				if err != nil {
					return err
				}
				v := struct {
					Name    string `json:"name"`
					Account string `json:"account"`
					rotationView
					Until string `json:"until_committed"`
					After string `json:"after_commit,omitempty"`
				}{r.Name, r.Account.String(), rotationJSON(&r.RotateResult), r.Until, r.After}
				return a.show(v, func() {
					a.showRotation(&r.RotateResult)
					a.section("What "+oneLine(r.Name)+" can still do", nonEmpty(r.Until, r.After))
					a.next(afterRotation(&r.RotateResult)...)
				})
			})
		}),
	}
}

func nonEmpty(lines ...string) []string {
	var some []string
	for _, line := range lines {
		if line != "" {
			some = append(some, line)
		}
	}
	return some
}
