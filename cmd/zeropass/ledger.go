package main

import (
	"context"
	"errors"
	"fmt"
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
	}, verifyCommand(a), headCommand(a), compareCommand(a), followCommand(a))
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
				case r.Stop != "" || r.ServerAsked && !r.ServerAgrees:
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
	Stop         string      `json:"stopped,omitempty"`
}

func verifyJSON(r *device.VerifyResult) verifyView {
	v := verifyView{
		OK: r.OK(), Entries: r.Entries, Head: r.Head.Hash.String(), Slots: r.Slots, WrongKeys: []entryView{},
		Unreadable: append([]string{}, r.Unreadable...), ServerAsked: r.ServerAsked, ServerAgrees: r.ServerAgrees,
		ServerSays: r.ServerSays, Copies: proofsJSON(r.Copies), Stop: r.Stop,
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
	if r.Stop != "" {
		a.say("  %s", sentence(oneLine(r.Stop)))
	}
	for _, e := range r.WrongKeys {
		a.say("  Not backed up, because its key is wrong: %s (%s). Store it again.", oneLine(e.Metadata.GetTitle()), shortID(e.ID))
	}
	for _, text := range r.Unreadable {
		a.say("  Does not open on this device: %s", oneLine(text))
	}
}

func headCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "head",
		Short: "Show this device's head, signed, for another of your devices",
		Long: `Show the newest entry of this device's ledger, signed, as one line and as a QR code.
Give it to another of your devices, by any way, and run there:

  zeropass ledger compare TEXT

It works without the server, and finds out whether the server has shown the two
devices different histories. Nothing in it is secret.`,
		Example: "zeropass ledger head\nzeropass ledger head --json",
		Args:    takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(d *device.Device) error {
				h, err := d.HeadText(cmd.Context())
				if err != nil {
					return err
				}
				return a.showHead(h)
			})
		}),
	}
}

func (a *app) showHead(h *device.HeadText) error {
	v := struct {
		Text     string    `json:"text"`
		QR       string    `json:"qr"`
		Device   uint64    `json:"device"`
		Sequence uint64    `json:"sequence"`
		Head     string    `json:"head"`
		Time     time.Time `json:"time"`
	}{h.Text, h.QR, h.Device, h.Head.Sequence, h.Head.Hash.String(), h.Time.UTC()}
	var err error
	return errors.Join(a.show(v, func() {
		a.say("%s", h.Text)
		a.say("")
		err = a.printQR(h.QR)
		a.say("")
		a.say("Device %d, entry %d (%s).", h.Device, h.Head.Sequence, h.Head.Hash)
		a.next("zeropass ledger compare, with this line, on another of your devices")
	}), err)
}

func compareCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "compare TEXT|-",
		Short: "Compare this device's ledger with another device's head",
		Long: `Compare this device's ledger with the head that "zeropass ledger head" showed on
another of your devices; - reads it from standard input. It works without the
server.

It ends with 0 when both have the same history, as far as the other device's
reaches; with 7 when the other device is ahead: then compare the other way round,
or sync and compare again; and with 6 when there are two histories. Then this
device keeps the proof and stops: it writes nothing more until that is decided.`,
		Example: "zeropass ledger compare zeropass-head-1:bjqk...\nzeropass ledger compare - < head.txt",
		Args:    takes("TEXT", false),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			text := args[0]
			if text == "-" {
				b, err := a.readInput(ctx)
				if err != nil {
					return err
				}
				text = string(b)
			}
			return a.with(ctx, func(d *device.Device) error {
				c, err := d.CompareHead(ctx, text)
				if err != nil {
					return err
				}
				if c.Match == device.HeadForks {
					return errors.Join(a.show(comparisonJSON(c), func() {}), c.Stop)
				}
				if err := a.show(comparisonJSON(c), func() { a.showComparison(c) }); err != nil {
					return err
				}
				if c.Match == device.HeadIsNew {
					return answered(exitNotYet)
				}
				return nil
			})
		}),
	}
}

type comparisonView struct {
	Match    string    `json:"match"`
	Device   uint64    `json:"device"`
	Sequence uint64    `json:"sequence"`
	Head     string    `json:"head"`
	Time     time.Time `json:"time"`
	Own      uint64    `json:"own_sequence"`
	OwnHead  string    `json:"own_head"`
}

func comparisonJSON(c *device.Comparison) comparisonView {
	return comparisonView{
		string(c.Match), c.Device, c.Theirs.Sequence, c.Theirs.Hash.String(), c.Time.UTC(), c.Own.Sequence, c.Own.Hash.String(),
	}
}

func (a *app) showComparison(c *device.Comparison) {
	signed := fmt.Sprintf("on %s, by its clock", when(c.Time))
	switch c.Match {
	case device.SameHead:
		a.say("The same. Device %d and this one both have %s, to the last byte (signed %s).", c.Device, count(int(c.Own.Sequence), "entry"), signed)
	case device.HeadIsOld:
		a.say("The same history. Device %d had %s of it (signed %s); this device has %d.",
			c.Device, count(int(c.Theirs.Sequence), "entry"), signed, c.Own.Sequence)
		a.next(fmt.Sprintf("zeropass sync on device %d", c.Device))
	case device.HeadIsNew:
		a.say("NOT DECIDED. Device %d has %s (signed %s), this device has %d.", c.Device, count(int(c.Theirs.Sequence), "entry"), signed, c.Own.Sequence)
		a.next(fmt.Sprintf("zeropass ledger head here, and compare its line on device %d", c.Device), "or zeropass sync here, then compare again")
	}
}

func followCommand(a *app) *cobra.Command {
	return a.afterRestore(&cobra.Command{
		Use:   "follow-server",
		Short: "Accept, after a fork, that the server was restored",
		Long: `After a fork this device stops: the server shows another history than the one it
holds. Whoever runs the server may have restored it from an older copy and gone on
from there. Ask them. Only if they say so, and you believe it, follow the server:
this device takes over its history, appends again what it had stored itself, and
lists what else is lost. Both histories are kept as evidence. The activity log
follows the server too, as with "zeropass activity follow-server".`,
	}, func(ctx context.Context, d *device.Device) error {
		r, err := d.FollowServer(ctx)
		if err != nil {
			return err
		}
		return a.showFollowed(r)
	})
}

// afterRestore completes a command that follows a server: the owner says first that
// it was restored.
func (a *app) afterRestore(c *cobra.Command, follow func(context.Context, *device.Device) error) *cobra.Command {
	var yes bool
	c.Args = takesNothing
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		return a.with(ctx, func(d *device.Device) error {
			if err := a.confirmStep(ctx, yes, "Has whoever runs the server said that it was restored from an older copy?"); err != nil {
				return err
			}
			return follow(ctx, d)
		})
	})
	return c
}

func (a *app) showFollowed(r *device.FollowResult) error {
	v := struct {
		Common   uint64        `json:"common_sequence"`
		Again    int           `json:"appended_again"`
		Rest     []string      `json:"not_appended"`
		Sequence uint64        `json:"sequence"`
		Head     string        `json:"head"`
		Activity *followedView `json:"activity,omitempty"`
	}{r.Common, r.Again, append([]string{}, r.Rest...), r.Head.Sequence, r.Head.Hash.String(), followedJSON(r.Activity)}
	return a.show(v, func() {
		a.say("This device follows the server again, from entry %d on.", r.Common+1)
		if r.Again > 0 {
			a.say("%s stored again that the server had lost.", count(r.Again, "secret"))
		}
		a.section("Not stored again, look at it", r.Rest)
		if r.Activity != nil {
			a.say("")
			a.showFollowedActivity(r.Activity)
		}
		a.next("zeropass sync, then zeropass status")
	})
}
