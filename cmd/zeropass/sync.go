package main

import (
	"slices"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/device"
)

func syncCommand(a *app) *cobra.Command {
	var wait bool
	c := &cobra.Command{
		Use:   "sync",
		Short: "Bring this device and the server together",
		Long: `Send what waits here, get what is new, prove this device's copy and the shares that
it keeps for others, and see whether anybody asks for a recovery. It is safe to run
at any time, and to run again when it was interrupted.

Changes that another device must confirm stay here: --wait asks for them and waits.

It ends with 6 while the server shows another activity log than the one that this
device has seen: everything else is done all the same.`,
		Args: takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(d *device.Device) error {
				sync := d.Sync
				if wait {
					sync = d.SyncAndWait
				}
				r, err := sync(cmd.Context())
				if err != nil {
					return err
				}
				v := struct {
					Sequence  uint64        `json:"sequence"`
					Head      string        `json:"head"`
					Entries   int           `json:"entries"`
					Sent      int           `json:"secrets_sent"`
					Waiting   int           `json:"changes_unconfirmed,omitempty"`
					Answers   []string      `json:"invitations_answered,omitempty"`
					Receipts  []string      `json:"shares_proved,omitempty"`
					Held      []string      `json:"shares_received,omitempty"`
					Committed []uint64      `json:"epochs_committed,omitempty"`
					Approvals []string      `json:"approvals_sent,omitempty"`
					Requests  []requestView `json:"requests"`
					Notes     []string      `json:"notes,omitempty"`
				}{
					r.Head.Sequence, r.Head.Hash.String(), r.Entries, r.Sent, r.Unconfirmed, r.Answers, r.Receipts, r.Held,
					r.Committed, r.Approvals, requestsJSON(openRequests(r.Requests)), r.Notes,
				}
				if err := a.show(v, func() { a.showSync(r) }); err != nil {
					return err
				}
				for _, note := range r.Notes {
					a.warn("%s", oneLine(note))
				}
				if r.Branches {
					return answered(exitDishonest)
				}
				if wait && r.Unconfirmed > 0 {
					return answered(exitNotYet)
				}
				return nil
			})
		}),
	}
	c.Flags().BoolVar(&wait, "wait", false, "ask other devices to confirm the changes that are kept here, and wait for them")
	return c
}

func openRequests(all []device.RecoveryRequest) []device.RecoveryRequest {
	return slices.DeleteFunc(slices.Clone(all), func(r device.RecoveryRequest) bool { return r.Over })
}

func (a *app) showSync(r *device.SyncResult) {
	a.say("This device and the server hold the same ledger (%s).", count(int(r.Head.Sequence), "entry"))
	if r.Sent > 0 {
		a.say("%s sent that had been waiting here.", count(r.Sent, "secret"))
	}
	for _, owner := range r.Held {
		a.say("You now keep a share for %s.", oneLine(owner))
	}
	for _, name := range r.Receipts {
		a.say("%s has proved their share.", oneLine(name))
	}
	for _, epoch := range r.Committed {
		a.say("Epoch %d is committed: from now on everything can be recovered with it.", epoch)
	}
	for _, owner := range r.Approvals {
		a.say("Your approval and your share for %s have left.", oneLine(owner))
	}
	if open := openRequests(r.Requests); len(open) > 0 {
		a.say("")
		a.showRequests(open)
	}
	var todo []string
	for _, name := range r.Answers {
		todo = append(todo, "call "+oneLine(name)+" and run: zeropass contact confirm "+shellQuote(name))
	}
	if len(r.Committed) > 0 {
		todo = append(todo, "zeropass status, which says what is survived now")
	}
	a.next(todo...)
}
