package main

import (
	"time"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/device"
)

func ledgerCommand(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "ledger",
		Short: "Check your account's ledger",
		Long: `The ledger is the signed history of your account, to which entries are only ever
appended. Every device holds the same copy, and so does the server.`,
	}, verifyCommand(a), followCommand(a))
}

func verifyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Verify everything anew, from the first entry on",
		Long: `Read the whole ledger from the disk and verify every signature and every rule
anew, check that every secret is backed up under the right key and that this device
can open its shares, and compare with the server where it can be reached.`,
		Args: takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(d *device.Device) error {
				r, err := d.VerifyLedger(cmd.Context())
				if err != nil {
					return err
				}
				if err := a.show(verifyJSON(r), func() { a.showVerified(r) }); err != nil {
					return err
				}
				switch {
				case r.OK():
					return nil
				case r.ServerAsked && !r.ServerAgrees:
					return answered(exitDishonest)
				}
				return answered(exitFailed)
			})
		}),
	}
}

type verifyView struct {
	OK           bool        `json:"ok"`
	Entries      int         `json:"entries"`
	Head         string      `json:"head"`
	Slots        int         `json:"slots"`
	WrongKeys    []entryView `json:"wrong_slot_keys"`
	Unreadable   []string    `json:"unreadable"`
	ServerAsked  bool        `json:"server_asked"`
	ServerAgrees bool        `json:"server_agrees"`
	ServerSays   string      `json:"server_says,omitempty"`
	Copies       []proofView `json:"copies"`
}

func verifyJSON(r *device.VerifyResult) verifyView {
	v := verifyView{
		OK: r.OK(), Entries: r.Entries, Head: r.Head.Hash.String(), Slots: r.Slots, WrongKeys: []entryView{},
		Unreadable: append([]string{}, r.Unreadable...), ServerAsked: r.ServerAsked, ServerAgrees: r.ServerAgrees,
		ServerSays: r.ServerSays, Copies: proofsJSON(r.Copies),
	}
	for i := range r.WrongKeys {
		v.WrongKeys = append(v.WrongKeys, entryJSON(&r.WrongKeys[i]))
	}
	return v
}

func (a *app) showVerified(r *device.VerifyResult) {
	if r.OK() {
		a.say("Everything is right: %s and %s verified.", count(r.Entries, "entry"), count(r.Slots, "secret"))
	} else {
		a.say("SOMETHING IS WRONG. %s and %s were checked.", count(r.Entries, "entry"), count(r.Slots, "secret"))
	}
	a.say("  head   %s", r.Head.Hash)
	switch {
	case !r.ServerAsked:
		a.say("  The server could not be asked: %s", oneLine(r.ServerSays))
	case r.ServerAgrees:
		a.say("  The server attests the same history.")
	default:
		a.say("  The server does not agree: %s", oneLine(r.ServerSays))
	}
	for _, e := range r.WrongKeys {
		a.say("  Not backed up, because its key is wrong: %s (%s). Store it again.", oneLine(e.Metadata.GetTitle()), shortID(e.ID))
	}
	for _, text := range r.Unreadable {
		a.say("  Does not open on this device: %s", oneLine(text))
	}
}

func followCommand(a *app) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "follow-server",
		Short: "Accept, after a fork, that the server was restored",
		Long: `After a fork this device stops: the server shows another history than the one it
holds. Whoever runs the server may have restored it from an older copy and gone on
from there. Ask them. Only if they say so, and you believe it, follow the server:
this device takes over its history, appends again what it had stored itself, and
lists what else is lost. Both histories are kept as evidence.`,
		Args: takesNothing,
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		return a.with(ctx, func(d *device.Device) error {
			if err := a.confirmStep(ctx, yes, "Has whoever runs the server said that it was restored from an older copy?"); err != nil {
				return err
			}
			r, err := d.FollowServer(ctx)
			if err != nil {
				return err
			}
			return a.showFollowed(r)
		})
	})
	return c
}

func activityCommand(a *app) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "activity",
		Short: "Show what the server was asked about your account",
		Long: `Show the server's activity log, as the last sync left it: every time a secret was
shown, something was written, or a recovery was asked for, and by which device. The
log is a chain; the server cannot take anything out of it without being noticed.

Lines with ! ought to be looked at if that was not you.`,
		Args: takesNothing,
	}
	c.Flags().BoolVar(&all, "all", false, "show everything, not just the newest 50")
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		return a.with(cmd.Context(), func(d *device.Device) error {
			entries, err := d.Activity(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(activityJSON(entries), func() { a.showActivity(entries, all) })
		})
	})
	return c
}

type activityView struct {
	Sequence  uint64    `json:"sequence"`
	Time      time.Time `json:"time"`
	Device    uint64    `json:"device,omitempty"`
	Account   string    `json:"account,omitempty"`
	Procedure string    `json:"procedure"`
	Purpose   string    `json:"purpose,omitempty"`
	Slots     []string  `json:"slots,omitempty"`
	Text      string    `json:"text"`
	Alarm     bool      `json:"alarm"`
}

func activityJSON(entries []device.ActivityEntry) []activityView {
	views := make([]activityView, 0, len(entries))
	for _, e := range entries {
		v := activityView{e.Sequence, e.Time.UTC(), e.Device, e.Account, e.Procedure, e.Purpose, nil, e.Text, e.Alarm}
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
		a.say("Nothing has come from the server yet.")
		a.next("zeropass sync, which fetches the log")
		return
	}
	if skipped := len(entries) - newest; skipped > 0 && !all {
		a.say("(%s before these; --all shows them)", count(skipped, "line"))
		entries = entries[skipped:]
	}
	var rows [][]string
	for _, e := range entries {
		mark := " "
		if e.Alarm {
			mark = "!"
		}
		rows = append(rows, []string{mark + " " + when(e.Time), oneLine(e.Text)})
	}
	table(a.out, a.width(), rows)
}

func (a *app) showFollowed(r *device.FollowResult) error {
	v := struct {
		Common   uint64   `json:"common_sequence"`
		Again    int      `json:"appended_again"`
		Rest     []string `json:"not_appended"`
		Sequence uint64   `json:"sequence"`
		Head     string   `json:"head"`
	}{r.Common, r.Again, append([]string{}, r.Rest...), r.Head.Sequence, r.Head.Hash.String()}
	return a.show(v, func() {
		a.say("This device follows the server again, from entry %d on.", r.Common+1)
		if r.Again > 0 {
			a.say("%s stored again that the server had lost.", count(r.Again, "secret"))
		}
		a.section("Not stored again, look at it", r.Rest)
		a.next("zeropass sync, then zeropass status")
	})
}
