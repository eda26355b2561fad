package main

import (
	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/home"
)

func repairCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "repair",
		Short: "Mend a damaged directory",
		Long: `Cut the growing files of this device's directory, such as its copy of the ledger,
where the damage begins. The damaged files are kept in its folder evidence, and what
was cut off comes back from the server with the next sync.

It needs no passphrase, and does nothing to a directory that is whole. What it cannot
mend, zeropass-recover may still read with the words of your contacts.`,
		Args: takesNothing,
		RunE: a.run(func(*cobra.Command, []string) error {
			dir, err := a.homeDir()
			if err != nil {
				return err
			}
			damage, err := home.Salvage(dir)
			if err != nil {
				return err
			}
			type cut struct {
				File   string `json:"file"`
				Offset int64  `json:"offset"`
				Reason string `json:"reason"`
			}
			cuts := make([]cut, len(damage))
			for i, d := range damage {
				cuts[i] = cut{d.File, d.Offset, d.Reason}
			}
			return a.show(cuts, func() {
				if len(cuts) == 0 {
					a.say("Nothing is damaged in %s.", dir)
					return
				}
				for _, c := range cuts {
					a.say("%s: cut at byte %d, because %s; the damaged file is in evidence.", c.File, c.Offset, c.Reason)
				}
				a.next("zeropass sync        get back what was cut off")
			})
		}),
	}
}
