package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/ledger"
)

func deviceCommand(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "device",
		Short: "Add devices, lock lost ones, look after this one",
		Long: `An account has as many devices as you like. Each has keys of its own and a copy of
the ledger. As soon as there are two, each is the second factor of the other: what
one asks for, another one confirms.

A new device takes three steps:

  1. there    zeropass device add NAME --server URL    shows eight words twice
  2. here     zeropass device approve                  shows the same words
  3. both     compare them, and say yes

A lost device: zeropass device lock N at once, then revoke it, and rotate.`,
	}, deviceListCommand(a), deviceAddCommand(a), deviceApproveCommand(a), deviceRenameCommand(a),
		deviceLockCommand(a), deviceUnlockCommand(a), deviceRevokeCommand(a), deviceSuspectsCommand(a), keystoreCommand(a))
}

type deviceView struct {
	Number    uint64     `json:"number"`
	Name      string     `json:"name"`
	This      bool       `json:"this"`
	Status    string     `json:"status"`
	Added     *time.Time `json:"added,omitempty"`
	Changed   *time.Time `json:"changed,omitempty"`
	ChangedBy uint64     `json:"changed_by"`
	Proof     proofView  `json:"proof"`
	Locked    bool       `json:"server_says_locked,omitempty"`
	Confirms  *time.Time `json:"this_device_confirms_from,omitempty"`
	Opens     int        `json:"still_opens"`
}

func deviceJSON(d device.DeviceInfo) deviceView {
	return deviceView{
		d.Number, d.Name, d.This, d.Status.String(), jsonTime(d.Added), jsonTime(d.Changed), d.ChangedBy,
		proofsJSON([]device.Proof{d.Proof})[0], d.SaidLocked, jsonTime(d.Confirms), d.Opens,
	}
}

type joiningView struct {
	Request string     `json:"request"`
	Phrase  string     `json:"phrase"`
	Asked   *time.Time `json:"asked,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
}

type devicesView struct {
	Devices       []deviceView  `json:"devices"`
	Joining       []joiningView `json:"joining"`
	AccountPhrase string        `json:"account_phrase"`
}

func deviceListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the devices, and those that ask to be added",
		Long: `List the devices that the account has and had, when each proved its copy of the
ledger, what a revoked one still opens, and the devices that ask to be added.`,
		Args: takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return a.with(ctx, func(d *device.Device) error {
				all, err := d.Devices(ctx)
				if err != nil {
					return err
				}
				// The list itself needs no server.
				joining, err := d.JoiningDevices(ctx)
				if err != nil {
					a.warn("which devices ask to be added is not known: %s", oneParagraph(err.Error()))
				}
				v := devicesView{Devices: []deviceView{}, Joining: []joiningView{}, AccountPhrase: d.AccountPhrase()}
				for _, info := range all {
					v.Devices = append(v.Devices, deviceJSON(info))
				}
				for _, j := range joining {
					v.Joining = append(v.Joining, joiningView{j.Request.String(), j.Phrases.Device, jsonTime(j.Asked), jsonTime(j.Expires)})
				}
				return a.show(v, func() { a.showDevices(all, joining) })
			})
		}),
	}
}

func (a *app) showDevices(all []device.DeviceInfo, joining []device.JoiningDevice) {
	now := time.Now()
	rows := [][]string{{"N", "NAME", "STATUS", "ADDED", "LEDGER LAST PROVED"}}
	for _, info := range all {
		name := oneLine(info.Name)
		if info.This {
			name += " (this device)"
		}
		proved := "-"
		if info.Status == ledger.Active {
			proved = "never"
			if info.Proof.Has {
				proved = ago(now, info.Proof.At)
			}
		}
		status := info.Status.String()
		if info.SaidLocked {
			status = "locked, says the server"
		}
		rows = append(rows, []string{strconv.FormatUint(info.Number, 10), name, status, ago(now, info.Added), proved})
	}
	table(a.out, a.width(), rows)
	for _, info := range all {
		switch {
		case info.Status == ledger.Locked:
			a.say("")
			a.say("Device %d was locked by device %d %s.", info.Number, info.ChangedBy, ago(now, info.Changed))
			a.say("If it is in your hands: zeropass device unlock %d; if it is lost: zeropass device revoke %d.", info.Number, info.Number)
		case info.Opens > 0:
			a.say("")
			a.say("Device %d still opens %s together with the server or with enough of your contacts,", info.Number, count(info.Opens, "secret"))
			a.say("until a new epoch commits: zeropass rotate. What it could have seen: zeropass device suspects %d", info.Number)
		}
	}
	if len(joining) > 0 {
		a.say("")
		a.say("These devices ask to be added:")
		for _, j := range joining {
			a.say("  %s   asked %s", j.Phrases.Device, ago(now, j.Asked))
		}
		a.next("zeropass device approve, if one of them is in your hands")
	}
}

// deviceNumber reads the N of a command.
func deviceNumber(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 0 {
		return 0, usage("zeropass device list shows the numbers.", "%q is no number of a device", text)
	}
	return n, nil
}

func deviceRenameCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rename [N] NAME",
		Short: "Give a device another name",
		Long: `Give this device another name, or with its number another device; that one another
device has to confirm. The server does not see names.`,
		Example: "zeropass device rename laptop\nzeropass device rename 2 phone",
		Args:    takes("NAME", true),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return a.with(ctx, func(d *device.Device) error {
				number := uint64(0)
				if n, err := strconv.ParseUint(args[0], 10, 31); err == nil && len(args) > 1 {
					number, args = n, args[1:]
				}
				if number == 0 {
					all, err := d.Devices(ctx)
					if err != nil {
						return err
					}
					for _, info := range all {
						if info.This {
							number = info.Number
						}
					}
				}
				info, err := d.RenameDevice(ctx, number, strings.Join(args, " "))
				if err != nil {
					return err
				}
				return a.show(deviceJSON(*info), func() { a.say("Device %d is called %s.", info.Number, oneLine(info.Name)) })
			})
		}),
	}
}

// deviceChange makes a command that does one thing to a device.
func deviceChange(a *app, c *cobra.Command, do func(context.Context, *device.Device, uint64) error) *cobra.Command {
	c.Args = takes("N, the number of a device", false)
	c.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		number, err := deviceNumber(args[0])
		if err != nil {
			return err
		}
		return a.with(cmd.Context(), func(d *device.Device) error { return do(cmd.Context(), d, number) })
	})
	return c
}

func deviceLockCommand(a *app) *cobra.Command {
	return deviceChange(a, &cobra.Command{
		Use:   "lock N",
		Short: "Lock another device at once",
		Long: `Lock another device, for one that is lost or that somebody else holds. It needs no
second factor and counts at once: the server answers that device nothing any more.

If this device is then the only active one, it confirms by itself what needs a
second factor only when the waiting period has passed: else a thief could lock your
other devices and have their way. A recovery by your contacts waits for no lock.`,
		Example: "zeropass device lock 2",
	}, func(ctx context.Context, d *device.Device, number uint64) error {
		info, err := d.LockDevice(ctx, number)
		if err != nil {
			return err
		}
		return a.show(deviceJSON(*info), func() {
			a.say("Device %d (%s) is locked.", info.Number, oneLine(info.Name))
			if info.Confirms.After(time.Now()) {
				a.say("This device is the only active one now. It confirms by itself from %s on: until", when(info.Confirms))
				a.say("then it shows no passwords and changes none. A recovery by your contacts does not wait for it.")
			}
			a.next(
				fmt.Sprintf("zeropass device revoke %d      if it is lost for good", number),
				fmt.Sprintf("zeropass device unlock %d      when it is back in your hands", number),
				fmt.Sprintf("zeropass device suspects %d    which passwords it could have seen", number),
			)
		})
	})
}

func deviceUnlockCommand(a *app) *cobra.Command {
	return deviceChange(a, &cobra.Command{
		Use:     "unlock N",
		Short:   "Unlock a device that is in your hands",
		Long:    "Unlock a device that is back in your hands. It needs the second factor.",
		Example: "zeropass device unlock 2",
	}, func(ctx context.Context, d *device.Device, number uint64) error {
		info, err := d.UnlockDevice(ctx, number)
		if err != nil {
			return err
		}
		return a.show(deviceJSON(*info), func() {
			a.say("Device %d (%s) is active.", info.Number, oneLine(info.Name))
			a.next("there: zeropass sync")
		})
	})
}

func deviceRevokeCommand(a *app) *cobra.Command {
	var yes bool
	c := deviceChange(a, &cobra.Command{
		Use:   "revoke N",
		Short: "Take a device out of the account for good",
		Long: `Take a device out of the account for good. It needs the second factor. What is
written from then on, that device never opens.

What it had it still opens together with the server, or with enough of your
contacts, until a new epoch commits: so run zeropass rotate. The list says which
passwords it could have seen, and those are worth changing.`,
		Example: "zeropass device revoke 2",
	}, func(ctx context.Context, d *device.Device, number uint64) error {
		if err := a.confirmStep(ctx, yes, fmt.Sprintf("Revoke device %d for good?", number)); err != nil {
			return err
		}
		if _, err := d.RevokeDevice(ctx, number); err != nil {
			return err
		}
		s, err := d.Suspects(ctx, number)
		if err != nil {
			return err
		}
		return a.show(suspectsJSON(s), func() {
			a.say("Device %d is revoked.", number)
			a.showSuspects(s)
			a.next("zeropass rotate, and zeropass sync when your contacts have synced", "change the passwords that it could have seen, from the top of the list on")
		})
	})
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}
