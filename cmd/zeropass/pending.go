package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/device"
)

func pendingCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "pending",
		Short: "List what waits for the second factor",
		Long: `List what other devices of this account ask this one to confirm, and what this
one waits for itself. The words come from the signed request and from this device's
own ledger; the server chooses none of them.`,
		Args: takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(d *device.Device) error {
				items, err := d.Pending(cmd.Context())
				if err != nil {
					return err
				}
				return a.show(pendingJSON(items), func() { a.showPending(items) })
			})
		}),
	}
}

type pendingView struct {
	ID         string     `json:"id"`
	Device     uint64     `json:"device"`
	DeviceName string     `json:"device_name,omitempty"`
	Own        bool       `json:"own"`
	What       []string   `json:"what"`
	Look       []string   `json:"look_twice,omitempty"`
	Bulk       bool       `json:"bulk"`
	Asked      *time.Time `json:"asked,omitempty"`
	Expires    *time.Time `json:"expires,omitempty"`
	Answered   []uint64   `json:"answered_by,omitempty"`
	Dishonest  bool       `json:"dishonest,omitempty"`
	Cannot     string     `json:"cannot,omitempty"`
	Account    string     `json:"account_phrase,omitempty"`
	NewDevice  string     `json:"device_phrase,omitempty"`
}

func pendingItemJSON(i device.PendingItem) pendingView {
	v := pendingView{
		ID: i.ID, Device: i.Device, DeviceName: i.DeviceName, Own: i.Own, What: i.What, Look: i.Look, Bulk: i.Bulk,
		Asked: jsonTime(i.Asked), Expires: jsonTime(i.Expires), Answered: i.Answered, Dishonest: i.Dishonest, Cannot: i.Cannot,
	}
	if i.Phrases != nil {
		v.Account, v.NewDevice = i.Phrases.Account, i.Phrases.Device
	}
	return v
}

func pendingJSON(items []device.PendingItem) []pendingView {
	views := make([]pendingView, 0, len(items))
	for _, i := range items {
		views = append(views, pendingItemJSON(i))
	}
	return views
}

func (a *app) showPending(items []device.PendingItem) {
	if len(items) == 0 {
		a.say("Nothing waits to be confirmed.")
		return
	}
	for n, i := range items {
		if n > 0 {
			a.say("")
		}
		if i.Dishonest {
			a.warn("%s: the server shows a request that was changed, or that nobody signed: it may be dishonest", i.ID[:8])
		}
		for _, line := range pendingLines(i) {
			a.say("%s", line)
		}
	}
}

// pendingLines says what is asked, and what can be done about it.
func pendingLines(i device.PendingItem) []string {
	who := oneLine(device.WaitingDevice{Number: i.Device, Name: i.DeviceName}.String())
	switch {
	case i.Own:
		who = "this device"
	case i.Device == 0:
		who = "an unknown device"
	}
	id := i.ID[:8]
	lines := []string{id + ": " + who + " wants to"}
	for _, what := range i.What {
		lines = append(lines, "  "+oneLine(what))
	}
	for _, look := range i.Look {
		lines = append(lines, "  Look twice: "+oneLine(look)+".")
	}
	lines = append(lines, "  Asked "+ago(time.Now(), i.Asked)+"; it waits until "+when(i.Expires)+".")
	switch {
	case i.Own:
		lines = append(lines, "  Confirm it on another device. To withdraw it: zeropass refuse "+id)
	case i.Cannot != "":
		lines = append(lines, "  It cannot be confirmed here: "+strings.TrimSuffix(oneLine(i.Cannot), ".")+".")
	default:
		lines = append(lines, "  To confirm: zeropass confirm "+id+"     To refuse: zeropass refuse "+id)
	}
	return lines
}

const wholeID = 64 // hexadecimal digits

func confirmPendingCommand(a *app) *cobra.Command {
	var yes bool
	var phrase string
	c := &cobra.Command{
		Use:   "confirm [ID]",
		Short: "Confirm what another device of this account asks for",
		Long: `Be the second factor of another device: what it asks for is shown, and happens when
you say yes. Say yes only to what you asked for yourself, now, on that device. With
one request waiting no ID is needed.

A new device is added only when both its phrases are the same on its screen. Where
there is no terminal, --phrase gives the eight words of the new device.`,
		Example: "zeropass confirm\nzeropass confirm 3fa1b2c4",
		Args:    optional("ID"),
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().StringVar(&phrase, "phrase", "", "the eight words of the new device, as its screen shows them")
	c.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		// Two requests whose ids begin the same take a device no time to make.
		if yes && len(args) > 0 && len(args[0]) < wholeID {
			return usage("Give all of the ID, as zeropass pending --json shows it, or leave --yes out and look at what it asks for.",
				"the beginning of an ID is not enough with --yes: another request can begin the same")
		}
		return a.with(ctx, func(d *device.Device) error {
			item, err := a.pickPending(ctx, d, args)
			if err != nil {
				return err
			}
			if item.Cannot == "" {
				if err := a.agree(ctx, item, yes, phrase); err != nil {
					return err
				}
			}
			if item, err = d.ConfirmPending(ctx, item.ID); err != nil {
				return err
			}
			return a.show(pendingItemJSON(*item), func() { a.say("Confirmed.") })
		})
	})
	return c
}

// pickPending returns what is to be answered, exactly as it will be shown.
func (a *app) pickPending(ctx context.Context, d *device.Device, args []string) (*device.PendingItem, error) {
	items, err := d.Pending(ctx)
	if err != nil {
		return nil, err
	}
	return device.PickPending(items, strings.Join(args, ""))
}

// agree shows an item and asks whether it is to be confirmed.
func (a *app) agree(ctx context.Context, item *device.PendingItem, yes bool, phrase string) error {
	if item.Phrases != nil && phrase != "" {
		if !strings.EqualFold(strings.Join(strings.Fields(phrase), " "), item.Phrases.Device) {
			return fail(exitFailed, "Somebody may stand between the new device and this one. Refuse it: zeropass refuse "+item.ID[:8]+".", "the words are not those of the device that is to be added")
		}
		return nil
	}
	if item.Phrases != nil && !a.interactive() {
		return usage("Give the eight words that the new device shows with --phrase.", "the phrases must be compared, and there is no terminal to ask on")
	}
	if yes && item.Phrases == nil {
		return nil
	}
	if a.interactive() {
		for _, line := range pendingLines(*item)[:1+len(item.What)+len(item.Look)] {
			a.tell("%s", line)
		}
	}
	if item.Phrases != nil {
		a.tell("")
		a.tell("The new device must show the very same words:")
		a.tell("  the account  %s", item.Phrases.Account)
		a.tell("  the device   %s", item.Phrases.Device)
		return a.confirmStep(ctx, false, "Are both the same on the new device's screen?")
	}
	return a.confirmStep(ctx, false, "Did you ask for this, and is it to happen?")
}

func refusePendingCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "refuse [ID]",
		Short: "Refuse what another device asks for, or withdraw what this one asks for",
		Long: `Refuse for good what another device of this account asks for, or withdraw what this
device asks for. If it was not you who asked, somebody has that device: lock it.`,
		Example: "zeropass refuse 3fa1b2c4",
		Args:    optional("ID"),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return a.with(ctx, func(d *device.Device) error {
				item, err := a.pickPending(ctx, d, args)
				if err != nil {
					return err
				}
				if item, err = d.RefusePending(ctx, item.ID); err != nil {
					return err
				}
				return a.show(pendingItemJSON(*item), func() {
					if item.Own {
						a.say("Withdrawn.")
						return
					}
					a.say("Refused.")
					a.next("if it was not you who asked: zeropass device lock " + strconv.FormatUint(item.Device, 10))
				})
			})
		}),
	}
}

// waiting says once what a command waits for, wherever the errors go: a script that
// hangs should say why.
func (a *app) waiting(w device.Waiting) {
	until := when(w.Expires)
	var names []string
	or := " or "
	for _, d := range w.Devices {
		if d.Number == 0 {
			or = " and " // every device confirms a new one
			continue
		}
		names = append(names, oneLine(d.String()))
	}
	if len(names) == 0 {
		a.note("Waiting until %s for the new device, which goes on by itself once the words were compared there", until)
		return
	}
	id := ""
	if w.Requests == 1 {
		id = " " + w.ID[:8]
	}
	a.note("Waiting until %s for %s to confirm; there: zeropass confirm%s (Ctrl-C here withdraws)", until, strings.Join(names, or), id)
}
