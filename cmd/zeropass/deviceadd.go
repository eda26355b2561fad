package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/device"
)

func deviceAddCommand(a *app) *cobra.Command {
	var server, phrase string
	var cost int
	c := &cobra.Command{
		Use:   "add NAME --server URL",
		Short: "Make this machine a further device of your account",
		Long: `Make this machine a further device of the account NAME. It shows two phrases of
eight words and a QR code. On a device that you have, run zeropass device approve:
it shows the same two phrases. Compare them, and say so on both. Then it waits until
your other devices have confirmed.

If it stops in the middle, run it again: it goes on with the same keys.`,
		Example: "zeropass device add Ada --server https://zeropass.example",
		Args:    takes("NAME, the account's", true),
	}
	flags := c.Flags()
	flags.StringVar(&server, "server", "", "the server's address")
	flags.StringVar(&phrase, "phrase-of-account", "", "the account's eight words as your other device shows them, where there is no terminal to ask on")
	flags.IntVar(&cost, "unlock-cost", 0, "how costly unlocking is, as scrypt's log2 N (default 18)")
	must(c.MarkFlagRequired("server"))
	c.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		dir, err := a.homeDir()
		if err != nil {
			return err
		}
		options := device.JoinOptions{
			Dir: dir, ServerURL: server, Name: strings.Join(args, " "), UnlockCost: cost, AccountPhrase: phrase, Show: a.showJoin,
		}
		if phrase == "" {
			if !a.interactive() {
				return usage("Give the account's eight words with --phrase-of-account; zeropass device list --json shows them on your other device.",
					"the phrases must be compared, and there is no terminal to ask on")
			}
			options.Compare = func(device.DevicePhrases) (bool, error) {
				return a.askYes(ctx, "Does your other device show both phrases, word for word?")
			}
		}
		if err := a.passphrasesForInit(ctx, dir); err != nil {
			return err
		}
		options.Passphrase, options.ConfirmPassphrase = a.passphrase, a.confirmPassphrase
		d, r, err := device.Join(ctx, a.options(ctx), options)
		if err != nil {
			return err
		}
		v := struct {
			Home    string `json:"home"`
			Account string `json:"account"`
			Name    string `json:"name"`
			Device  uint64 `json:"device"`
			Secrets int    `json:"secrets"`
			Unsaid  string `json:"sync_failed,omitempty"`
		}{dir, r.Account.String(), r.Name, r.Device, r.Secrets, r.Unsaid}
		err = a.show(v, func() {
			a.say("This is device %d of %s, with %s.", r.Device, oneLine(r.Name), count(r.Secrets, "secret"))
			if r.Unsaid != "" {
				a.say("Its first sync did not come to an end: %s", oneParagraph(r.Unsaid))
			}
			a.next("zeropass list", "zeropass device rename NAME    what this device is called")
		})
		return errors.Join(err, d.Close())
	})
	return c
}

// showJoin shows what the other device has to know. It is no answer: in JSON it
// goes to standard error.
func (a *app) showJoin(j device.JoinShown) error {
	say := a.say
	if a.json {
		say = a.note
	}
	say("This device asks to be added to %s.", oneLine(j.Name))
	if !a.json {
		say("")
		if err := a.printQR(j.Code); err != nil {
			return err
		}
	}
	say("%s", j.Code)
	say("")
	say("On a device that you have, run: zeropass device approve")
	say("It must show the same two phrases. This device:")
	say("")
	say("  %s", j.Phrases.Device)
	say("")
	say("Your account:")
	say("")
	say("  %s", j.Phrases.Account)
	say("")
	say("It waits until %s.", when(j.Expires))
	return nil
}

func deviceApproveCommand(a *app) *cobra.Command {
	var o device.ApproveDeviceOptions
	c := &cobra.Command{
		Use:   "approve",
		Short: "Add a new device that is in your hands",
		Long: `Add a new device on which zeropass device add is waiting. Both show two phrases of
eight words. Compare them with your own eyes: that is what keeps everybody else, the
server included, from putting a device of theirs into your account.

All your other active devices have to confirm it, with the same phrases: there,
zeropass confirm. If there are none, it takes your confirm passphrase.

On the terminal the phrases are shown and you say whether they match. Elsewhere the
new device's words are given with --phrase.`,
		Example: "zeropass device approve --as phone",
		Args:    takesNothing,
	}
	c.Flags().StringVar(&o.Code, "code", "", "the text of the new device's QR code; otherwise the server says who asks")
	c.Flags().StringVar(&o.Name, "as", "", "what the new device is called")
	c.Flags().StringVar(&o.Phrase, "phrase", "", "the new device's eight words, where there is no terminal to ask on")
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		if o.Phrase == "" {
			if !a.interactive() {
				return usage("Give the new device's eight words with --phrase.", "the phrases must be compared, and there is no terminal to ask on")
			}
			o.Compare = func(j device.JoiningDevice) (bool, error) { return a.compareDevice(ctx, j) }
		}
		return a.with(ctx, func(d *device.Device) error {
			info, err := d.ApproveDevice(ctx, o)
			if err != nil {
				return err
			}
			return a.show(deviceJSON(*info), func() {
				a.say("Device %d (%s) belongs to the account now.", info.Number, oneLine(info.Name))
				a.say("From now on your devices confirm each other's requests: zeropass confirm")
			})
		})
	})
	return c
}

func (a *app) compareDevice(ctx context.Context, j device.JoiningDevice) (bool, error) {
	a.tell("A device asks to be added. Its eight words:")
	a.tell("")
	a.tell("  %s", j.Phrases.Device)
	a.tell("")
	a.tell("And those of your account, which it must show as well:")
	a.tell("")
	a.tell("  %s", j.Phrases.Account)
	a.tell("")
	return a.askYes(ctx, "Is the new device in your hands, and does it show both phrases, word for word?")
}
