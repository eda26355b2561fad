package main

import (
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"zeropass.dev/zeropass/internal/demo"
)

func demoCommand(a *app) *cobra.Command {
	var o demo.Options
	c := &cobra.Command{
		Use:   "demo",
		Short: "See the whole story on this computer, in under a minute",
		Long: `Run a server, an owner and three contacts on this computer, for real: secrets are
kept, everything is lost and comes back, with the server and without it, and then an
adversary tries what can be opened with what. It touches nothing outside of its own
directory, which is removed at the end unless --dir names one.

It ends with 0 only if everything came back as it was, and nothing opened that must
not.`,
		Example: `zeropass demo
zeropass demo --import bitwarden_export.json --dir /tmp/zeropass-demo`,
		Args: takesNothing,
	}
	flags := c.Flags()
	flags.StringVar(&o.Import, "import", "", "use the items of this Bitwarden .json export")
	flags.IntVar(&o.Slots, "slots", 0, "how many secrets the owner has, if nothing is imported (default 12)")
	flags.StringVar(&o.Dir, "dir", "", "keep everything in this directory, to look around in")
	c.MarkFlagsMutuallyExclusive("import", "slots")
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		if o.Slots < 0 {
			return usage("Give a number of secrets, 12 for one.", "there cannot be %d secrets", o.Slots)
		}
		to := a.out
		if a.json {
			to = a.err // the report alone is the answer
		}
		o.Out, o.Terminal = to, term.IsTerminal(int(to.Fd()))
		report, err := demo.Run(cmd.Context(), o)
		if a.json && report != nil {
			if err := a.printJSON(report); err != nil {
				return err
			}
		}
		return err
	})
	return c
}
