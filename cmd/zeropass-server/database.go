package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/pflag"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/postgres"
)

// databaseOptions are the flags that name a PostgreSQL database.
type databaseOptions struct {
	url      string
	password secret
}

const databaseFlag = "database"

func (o *databaseOptions) add(flags *pflag.FlagSet) {
	flags.StringVar(&o.url, databaseFlag, "", "PostgreSQL database instead of a data directory, postgres://zeropass@database.example/zeropass for one, without a password")
	o.password.add(flags, "database-password", "the database's password", ", or PGPASSWORD, PGPASSFILE or ~/.pgpass")
}

// check finds what is wrong without the database.
func (o *databaseOptions) check() error {
	if o.url == "" {
		return nil
	}
	c, err := o.config()
	if err != nil {
		return err
	}
	return c.Check()
}

// open connects to the database and brings its schema up to date.
func (o *databaseOptions) open(ctx context.Context) (*postgres.Store, error) {
	c, err := o.config()
	if err != nil {
		return nil, err
	}
	return postgres.Open(ctx, c)
}

// openBeside connects to a database that servers may be using.
func (o *databaseOptions) openBeside(ctx context.Context, whole bool) (*postgres.Store, error) {
	c, err := o.config()
	if err != nil {
		return nil, err
	}
	return postgres.OpenBeside(ctx, c, whole)
}

// openNew opens a database for data that come from elsewhere. One that has a schema
// may be what servers use, and keeps it.
func (o *databaseOptions) openNew(ctx context.Context) (*postgres.Store, error) {
	s, err := o.openBeside(ctx, true)
	if errors.Is(err, store.ErrNoData) {
		return o.open(ctx)
	}
	return s, err
}

// warn says in the log what an operator may not mean.
func (o *databaseOptions) warn(log *slog.Logger) error {
	if o.url == "" {
		return nil
	}
	c, err := o.config()
	if err != nil {
		return err
	}
	exposed, err := c.Exposed()
	if exposed {
		log.Warn("the connection to the database proves nothing and may be read on the way, its password too: let the URL say sslmode=verify-full")
	}
	return err
}

func (o *databaseOptions) config() (postgres.Config, error) {
	password, err := o.password.read()
	return postgres.Config{URL: o.url, Password: password}, err
}
