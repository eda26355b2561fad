package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/store/sqlite"
)

func migrateCommand() *cobra.Command {
	var o dataOptions
	c := configured(&cobra.Command{
		Use:   "migrate --data DIR|--database URL",
		Short: "Bring the schema of the data up to date",
		Long: `Bring the schema of the data up to date, as serve does when it starts. A data
directory must not be in use. Servers over PostgreSQL whose schema is the one before go
on over the new one, and may be started; older programs are refused. What the new schema
has stays when servers of the version before take over again.` + settingsUsage,
		Args: noArgs,
	})
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := o.migrate(c); err != nil {
			return err
		}
		_, err := fmt.Fprintln(c.OutOrStdout(), "the schema is up to date")
		return err
	}
	o.add(c.Flags())
	return c
}

func (o *dataOptions) migrate(c *cobra.Command) (err error) {
	if err := o.check("migrate"); err != nil {
		return err
	}
	syscall.Umask(0o077)
	if o.database.url != "" {
		s, err := o.database.open(c.Context())
		if err != nil {
			return err
		}
		return s.Close()
	}
	file := filepath.Join(o.dir, databaseFile)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return fail(exitFailed, "Name the data directory that zeropass-server serve works in.", "there are no data of a server in %s", o.dir)
	}
	lock, err := lockDir(o.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	s, err := sqlite.Open(c.Context(), file)
	if err != nil {
		return err
	}
	return s.Close()
}
