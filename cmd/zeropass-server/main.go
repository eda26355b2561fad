// Command zeropass-server keeps one share of each of its accounts' secrets,
// referees their ledgers and relays between them. It can open nothing alone.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/store/postgres"
	"zeropass.dev/zeropass/internal/store/sqlite"
	"zeropass.dev/zeropass/memory"
)

func main() {
	defer memory.OnPanic(os.Stderr, int(exitFailed))
	if err := memory.Harden(); err != nil {
		fmt.Fprintf(os.Stderr, "warning: %v\n", err)
	}
	os.Exit(int(run(os.Args[1:], os.Stdout, os.Stderr)))
}

// run is the program. A signal stops it cleanly; a second one stops it at once.
func run(args []string, stdout, stderr io.Writer) exitCode {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt, syscall.SIGTERM) })

	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return report(stderr, root.ExecuteContext(ctx))
}

const rootLong = `zeropass-server keeps one share of each of its accounts' secrets, referees their
ledgers and relays between them. It can open nothing alone, and its data are
worth nothing without its key file.

Every command ends with one of these codes:

   0  done
   1  something failed
   2  the command was not understood: a wrong flag or argument
   9  the data were written by a newer program
  10  the data directory is in use by another process

Errors go to standard error as "error:", with "hint:" saying what to do next.`

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "zeropass-server",
		Short:         "The server of ZeroPass",
		Long:          rootLong,
		Example:       "  zeropass-server serve --data /var/lib/zeropass --listen 127.0.0.1:8440 --key-file /etc/zeropass/server-keys",
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("Run zeropass-server --help to see what there is.", "there is no command %q", args[0])
			}
			return c.Help()
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage(fmt.Sprintf("Run %s --help to see what it takes.", c.CommandPath()), "%s", err)
	})
	root.AddCommand(serveCommand(), configCommand(), tokenCommand(), entropyCommand(), versionCommand())
	root.AddCommand(backupCommand(), restoreCommand(), checkCommand(), keysCommand(), accountCommand(), migrateCommand())
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which version this is, and which schemas it brings data to",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "zeropass-server %s\nschema %d in PostgreSQL, %d in a data directory\n", programVersion(), postgres.Schema(), sqlite.Schema())
			return err
		},
	}
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(fmt.Sprintf("Run %s --help to see what it takes.", c.CommandPath()), "%s takes no argument, and got %q", c.CommandPath(), args[0])
	}
	return nil
}
