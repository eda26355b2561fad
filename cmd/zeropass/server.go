package main

import (
	"time"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/device"
)

func serverCommand(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "server",
		Short: "Show the server, or go on with it at another address",
		Long: `A device knows its server by the server's keys; the address is only where it finds
it. When the server moves, the old address says so as long as its operator keeps it
up, and this device goes on at the new one by itself, if the same keys answer there.
Where nobody answers at the old address any more, give it the new one.`,
	}, serverShowCommand(a), serverMoveCommand(a))
}

// moveView is how the server came to its address.
type moveView struct {
	From      string    `json:"from"`
	At        time.Time `json:"at"`
	Announced bool      `json:"announced"`
}

func moveJSON(m *device.Move) *moveView {
	if m == nil {
		return nil
	}
	return &moveView{m.From, m.At, m.Announced}
}

func serverShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show where the server is, and the fingerprint of its keys",
		Long: `Show where the server is, where it was before, and the fingerprint of its keys, which
zeropass-server prints when it starts. It does not ask the server.`,
		Args: takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(d *device.Device) error {
				s, err := d.Server()
				if err != nil {
					return err
				}
				return a.showServer(s)
			})
		}),
	}
}

func serverMoveCommand(a *app) *cobra.Command {
	var restored bool
	c := &cobra.Command{
		Use:   "move ADDRESS",
		Short: "Go on with the server at another address",
		Long: `Go on with the same server at another address. What answers there must prove the
server's keys, and have the ledger of this account. If it does not, nothing is
changed. The old address is not needed.

--restored is for a server whose data were restored from a copy that is older than
this account or this device, or that went on otherwise: its keys alone count then,
and zeropass sync brings back what it lacks, or says that there are two histories.`,
		Example: "zeropass server move https://zeropass.example",
		Args:    takes("address", false),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(d *device.Device) error {
				stop := a.working("asking what answers there")
				s, err := d.MoveServer(cmd.Context(), args[0], restored)
				stop()
				if err != nil {
					return err
				}
				return a.showServer(s)
			})
		}),
	}
	c.Flags().BoolVar(&restored, "restored", false, "the server was restored from an older copy: its keys alone are to be the same")
	return c
}

func (a *app) showServer(s *device.ServerResult) error {
	v := struct {
		URL         string    `json:"url"`
		Named       string    `json:"address_in_ledger"`
		Fingerprint string    `json:"fingerprint"`
		SignKey     string    `json:"sign_key"`
		Moved       *moveView `json:"moved,omitempty"`
	}{s.URL, s.Named, s.Fingerprint, s.SignKey, moveJSON(s.Moved)}
	return a.show(v, func() {
		a.say("The server is at %s, key fingerprint %s", oneLine(s.URL), s.Fingerprint)
		if s.Moved != nil {
			a.say("%s", movedText(s.Moved))
		}
	})
}

// movedText says where the server was before.
func movedText(m *device.Move) string {
	how := "as you said"
	if m.Announced {
		how = "as it said itself"
	}
	return "It was at " + oneLine(m.From) + " until " + when(m.At) + ", " + how + "."
}

// moved says that the server has moved while a command asked it.
func (a *app) moved(m device.Move) {
	a.clearProgress()
	a.warn("the server has moved from %s to %s, and has proved its keys there: this device goes there from now on", oneLine(m.From), oneLine(m.To))
}
