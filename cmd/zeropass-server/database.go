package main

import (
	"context"

	"github.com/spf13/pflag"

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
	password, err := o.password.read()
	if err != nil {
		return err
	}
	return postgres.Config{URL: o.url, Password: password}.Check()
}

func (o *databaseOptions) open(ctx context.Context) (*postgres.Store, error) {
	password, err := o.password.read()
	if err != nil {
		return nil, err
	}
	return postgres.Open(ctx, postgres.Config{URL: o.url, Password: password})
}
