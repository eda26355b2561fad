package main

import (
	"encoding/base64"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/device"
)

func alarmsCommand(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "alarms",
		Short: "Choose where the server sends alarms",
		Long: `The server tells all your devices at once when something happens that could be a
theft. It can send a mail or call a webhook as well, so that you learn of it without
a device at hand. A server that is against you can keep an alarm back; what your
devices show is checked.`,
	}, alarmsShowCommand(a), alarmsSetCommand(a), alarmsTestCommand(a))
}

type alarmsView struct {
	Mail        string `json:"mail,omitempty"`
	Webhook     string `json:"webhook,omitempty"`
	Secret      string `json:"webhook_secret,omitempty"`
	Undelivered int    `json:"undelivered"`
}

func alarmsShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show where alarms go",
		Args:  takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(d *device.Device) error {
				got, err := d.Alarms(cmd.Context())
				if err != nil {
					return err
				}
				return a.showAlarms(got, nil)
			})
		}),
	}
}

func alarmsSetCommand(a *app) *cobra.Command {
	var mail, webhook string
	c := &cobra.Command{
		Use:   "set [--mail ADDRESS|off] [--webhook URL|off]",
		Short: "Change where alarms go",
		Long: `Change where alarms go. It needs your second factor, and the old address is told.
What is not given stays as it is.

A new webhook gets a secret, which is shown once: its receiver verifies calls with
it, as in Standard Webhooks.`,
		Example: `zeropass alarms set --mail ada@example.org
zeropass alarms set --mail off --webhook https://example.org/hook`,
		Args: takesNothing,
	}
	c.Flags().StringVar(&mail, "mail", "", "address for mail, or off")
	c.Flags().StringVar(&webhook, "webhook", "", "URL that is called, or off")
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		if mail == "" && webhook == "" {
			return usage("Give --mail, --webhook or both; off ends one.", "there is nothing to set")
		}
		ctx := cmd.Context()
		return a.with(ctx, func(d *device.Device) error {
			to, err := d.Alarms(ctx)
			if err != nil {
				return err
			}
			change(&to.Mail, mail)
			change(&to.Webhook, webhook)
			secret, err := d.SetAlarms(ctx, *to)
			if err != nil {
				return err
			}
			defer clear(secret)
			got, err := d.Alarms(ctx)
			if err != nil {
				return err
			}
			return a.showAlarms(got, secret)
		})
	})
	return c
}

// change sets a setting to what a flag says.
func change(setting *string, flag string) {
	switch flag {
	case "":
	case "off":
		*setting = ""
	default:
		*setting = flag
	}
}

func alarmsTestCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "test",
		Short: "Have the server send an alarm to try it out",
		Args:  takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(d *device.Device) error {
				got, err := d.Alarms(cmd.Context())
				if err != nil {
					return err
				}
				if got.Mail == "" && got.Webhook == "" {
					return fail(exitNotYet, "zeropass alarms set --mail ADDRESS", "alarms go nowhere but to the devices")
				}
				if got, err = d.TestAlarms(cmd.Context()); err != nil {
					return err
				}
				if !a.json {
					a.note("The server sends it now. It takes three tests an hour.")
				}
				return a.showAlarms(got, nil)
			})
		}),
	}
}

func (a *app) showAlarms(to *device.Alarms, secret []byte) error {
	v := alarmsView{Mail: to.Mail, Webhook: to.Webhook, Undelivered: to.Undelivered}
	if len(secret) > 0 {
		v.Secret = "whsec_" + base64.StdEncoding.EncodeToString(secret)
	}
	return a.show(v, func() {
		if v.Mail == "" && v.Webhook == "" {
			a.say("Alarms go to your devices alone.")
			a.next("zeropass alarms set --mail ADDRESS")
			return
		}
		a.say("Alarms go to your devices and to:")
		if v.Mail != "" {
			a.say("  mail     %s", oneLine(v.Mail))
		}
		if v.Webhook != "" {
			a.say("  webhook  %s", oneLine(v.Webhook))
		}
		if v.Secret != "" {
			a.say("  secret   %s", v.Secret)
			a.say("           for the webhook's receiver; it is not shown again")
		}
		if v.Undelivered > 0 {
			a.say("%s not delivered yet; the server tries for three days.", count(v.Undelivered, "alarm"))
		}
	})
}
