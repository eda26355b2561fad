package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/device"
)

func policyCommand(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "policy",
		Short: "Limit how often secrets may be asked for",
		Long: `The server shows a device only so many secrets in an hour and in a day, so that
whoever takes your device and your passphrases cannot empty it before you see it.`,
	}, policyShowCommand(a), policySetCommand(a))
}

func policyShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show the limits",
		Args:  takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(d *device.Device) error {
				r, err := d.Policy(cmd.Context())
				if err != nil {
					return err
				}
				return a.showPolicy(r)
			})
		}),
	}
}

func policySetCommand(a *app) *cobra.Command {
	var hour, day uint64
	c := &cobra.Command{
		Use:   "set",
		Short: "Change the limits",
		Long: `Change the limits. A lower one counts at once, a higher one when the waiting period
has passed. A limit that is not named stays.`,
		Example: "zeropass policy set --reveals-per-hour 20 --reveals-per-day 100",
		Args:    takesNothing,
	}
	c.Flags().Uint64Var(&hour, "reveals-per-hour", 0, "how many reveals in an hour (default as it is)")
	c.Flags().Uint64Var(&day, "reveals-per-day", 0, "how many reveals in a day (default as it is)")
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		for name, value := range map[string]uint64{"reveals-per-hour": hour, "reveals-per-day": day} {
			if cmd.Flags().Changed(name) && value == 0 {
				return usage("1 is the least.", "--%s is 0: nothing could be shown any more", name)
			}
		}
		if hour == 0 && day == 0 {
			return usage("Name --reveals-per-hour, --reveals-per-day or both.", "no limit is named")
		}
		return a.with(cmd.Context(), func(d *device.Device) error {
			r, err := d.SetPolicy(cmd.Context(), device.Policy{RevealsPerHour: hour, RevealsPerDay: day})
			if err != nil {
				return err
			}
			return a.showPolicy(r)
		})
	})
	return c
}

func (a *app) showPolicy(r *device.PolicyResult) error {
	v := struct {
		Hour       uint64     `json:"reveals_per_hour"`
		Day        uint64     `json:"reveals_per_day"`
		ChosenHour uint64     `json:"chosen_per_hour"`
		ChosenDay  uint64     `json:"chosen_per_day"`
		From       *time.Time `json:"chosen_counts_from,omitempty"`
	}{r.Now.RevealsPerHour, r.Now.RevealsPerDay, r.Chosen.RevealsPerHour, r.Chosen.RevealsPerDay, jsonTime(r.From)}
	return a.show(v, func() {
		a.say("%s.", limits(r.Now))
		if !r.From.IsZero() {
			a.say("From %s on: %s. A higher limit waits for the waiting period.", when(r.From), limits(r.Chosen))
		}
	})
}

func limits(p device.Policy) string {
	return fmt.Sprintf("%s an hour, %d a day", count(int(p.RevealsPerHour), "reveal"), p.RevealsPerDay)
}
