package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/device"
)

func deviceSuspectsCommand(a *app) *cobra.Command {
	return deviceChange(a, &cobra.Command{
		Use:   "suspects N",
		Short: "Say which passwords a device could have seen",
		Long: `Say which passwords a device could have seen, in the order of danger: what it
revealed, by the activity log that this device has checked; what was written there;
and what it opens together with the server or with enough of your contacts.`,
		Example: "zeropass device suspects 2",
	}, func(ctx context.Context, d *device.Device, number uint64) error {
		s, err := d.Suspects(ctx, number)
		if err != nil {
			return err
		}
		return a.show(suspectsJSON(s), func() { a.showSuspects(s) })
	})
}

type suspectView struct {
	ID         string     `json:"id"`
	Title      string     `json:"title"`
	User       string     `json:"user"`
	Why        string     `json:"why"`
	At         *time.Time `json:"at,omitempty"`
	StillOpens bool       `json:"still_opens"`
}

type suspectsView struct {
	Device   deviceView    `json:"device"`
	Secrets  []suspectView `json:"secrets"`
	Held     []string      `json:"held"`
	Opens    int           `json:"still_opens"`
	Until    string        `json:"until,omitempty"`
	Activity *time.Time    `json:"activity_up_to,omitempty"`
	Notes    []string      `json:"notes"`
}

func suspectsJSON(s *device.Suspects) suspectsView {
	v := suspectsView{
		Device: deviceJSON(s.Device), Secrets: []suspectView{}, Held: append([]string{}, s.Held...),
		Opens: s.Opens, Until: s.Until, Activity: jsonTime(s.Activity), Notes: append([]string{}, s.Notes...),
	}
	for _, e := range s.Secrets {
		v.Secrets = append(v.Secrets, suspectView{
			e.ID.String(), e.Metadata.GetTitle(), e.Metadata.GetUserName(), e.Why.String(), jsonTime(e.At), e.StillOpens,
		})
	}
	return v
}

// showSuspects lists what a device could have seen, the surest first.
func (a *app) showSuspects(s *device.Suspects) {
	now := time.Now()
	for _, group := range []struct {
		why     device.SuspectWhy
		heading string
	}{
		{device.SuspectRevealed, "It has shown these passwords: change them first"},
		{device.SuspectWrote, "These were written there"},
		{device.SuspectOpens, "These it opens together with the server or with enough of your contacts"},
	} {
		var points []string
		for _, e := range s.Secrets {
			if e.Why != group.why {
				continue
			}
			point := oneLine(e.Metadata.GetTitle())
			if user := e.Metadata.GetUserName(); user != "" {
				point += ", " + oneLine(user)
			}
			if !e.At.IsZero() {
				point += ", " + ago(now, e.At)
			}
			points = append(points, point)
		}
		a.section(group.heading, points)
	}
	a.section("Shares that you keep for others may be there too; tell them", s.Held)
	a.section("Look at this", s.Notes)
	a.say("")
	a.paragraph("Whoever opened that device saw all titles, user names and addresses, and what it had not sent to the server.")
	if s.Until != "" {
		a.say("It still opens %s with a second party, %s.", count(s.Opens, "secret"), s.Until)
	}
}
