package main

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

const rootLong = `ZeroPass keeps your passwords, recovery codes, keys and notes so that you can
never lose them, even after losing every device, and so that nobody else, the
server included, can take them.

Each secret is split: any two of your device, the server and your contacts
together can open it, and none of them alone. Start with "zeropass init", give
shares to people you trust with "zeropass contact invite", and "zeropass status"
tells you whether everything can be recovered.`

const rootExample = `# Try everything on this computer, in under a minute
zeropass demo
# Make an account
zeropass init --server https://zeropass.example --name Ada
# Keep and show a password
zeropass add --title github.com --user ada
zeropass get github.com
# Can everything be recovered?
zeropass status`

// newRoot puts all commands together.
func newRoot(a *app) *cobra.Command {
	cobra.EnableCommandSorting = false // the help shows them in the order of use
	root := group(&cobra.Command{
		Use:     "zeropass",
		Short:   "Keep your secrets so that you can never lose them",
		Long:    rootLong,
		Example: rootExample,
	})
	flags := root.PersistentFlags()
	flags.StringVar(&a.home, "home", "", "this device's directory (ZEROPASS_HOME; otherwise zeropass in the user's data directory)")
	flags.BoolVar(&a.json, "json", false, "print JSON")
	flags.StringVar(&a.passphraseFile, "passphrase-file", "", "read the passphrase from this file instead of asking")
	flags.StringVar(&a.pinFile, "pin-file", "", "read the PIN of this machine's TPM from this file instead of asking")
	flags.StringVar(&a.confirmPassphraseFile, "confirm-passphrase-file", "", "read the confirm passphrase from this file instead of asking")

	root.AddGroup(
		&cobra.Group{ID: "start", Title: "start"},
		&cobra.Group{ID: "secrets", Title: "secrets"},
		&cobra.Group{ID: "contacts", Title: "contacts"},
		&cobra.Group{ID: "recovery", Title: "recovery"},
		&cobra.Group{ID: "proof", Title: "proof"},
		&cobra.Group{ID: "more", Title: "more"},
	)
	root.SetHelpCommandGroupID("more")
	root.SetCompletionCommandGroupID("more")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage(seeHelp(c), "%s", err)
	})
	add := func(groupID string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = groupID
			root.AddCommand(c)
		}
	}
	add("start", demoCommand(a), initCommand(a), statusCommand(a), syncCommand(a))
	add("secrets", addCommand(a), getCommand(a), listCommand(a), editCommand(a), deleteCommand(a), importCommand(a), exportCommand(a), pendingCommand(a), confirmPendingCommand(a), refusePendingCommand(a))
	add("contacts", contactCommand(a), heldCommand(a), requestCommand(a), rotateCommand(a), sheetCommand(a))
	add("recovery", recoverCommand(a), vetoCommand(a))
	add("proof", ledgerCommand(a), activityCommand(a), watchCommand(a), alarmsCommand(a))
	add("more", unlockCommand(a), lockCommand(a), agentCommand(a), repairCommand(a), policyCommand(a), serverCommand(a), deviceCommand(a), passphraseCommand(a), exitCodesTopic(), versionCommand(a))
	return root
}

func seeHelp(c *cobra.Command) string {
	return fmt.Sprintf("Run %s --help to see what it takes.", c.CommandPath())
}

// takes checks how many arguments there are: one, named what, or several words
// that are one argument together.
func takes(what string, words bool) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return usage(seeHelp(c), "%s needs %s", c.CommandPath(), what)
		case len(args) > 1 && !words:
			return usage(seeHelp(c), "%s takes one %s, not %d", c.CommandPath(), what, len(args))
		}
		return nil
	}
}

// takesNothing refuses arguments. What was typed is not repeated: it may be a
// secret that somebody took for one.
func takesNothing(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(seeHelp(c), "%s takes no arguments, only flags", c.CommandPath())
	}
	return nil
}

// group makes a command that only holds others: called alone it prints its help,
// and an unknown word after it is an error with the nearest names.
func group(c *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		hint := fmt.Sprintf("Run %s --help to see what there is.", cmd.CommandPath())
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = fmt.Sprintf("Did you mean %s?", strings.Join(near, " or "))
		}
		return usage(hint, "there is no command %q in %s", args[0], cmd.CommandPath())
	}
	c.SuggestionsMinimumDistance = 2
	c.AddCommand(commands...)
	return c
}

func versionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which version this is",
		Args:  takesNothing,
		RunE: a.run(func(*cobra.Command, []string) error {
			v := struct {
				Version string `json:"version"`
				Go      string `json:"go"`
				System  string `json:"system"`
			}{version(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			return a.show(v, func() { a.say("zeropass %s (%s, %s)", v.Version, v.Go, v.System) })
		}),
	}
}

// version is what the build says: a release's version, or the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// must is for what cannot fail unless a command is put together wrongly.
func must(errs ...error) {
	if err := errors.Join(errs...); err != nil {
		panic(err)
	}
}
