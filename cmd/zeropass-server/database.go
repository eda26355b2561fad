package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"zeropass.dev/zeropass/internal/store/postgres"
)

// databaseOptions are the flags that name a PostgreSQL database.
type databaseOptions struct {
	url, passwordFile string
}

// databaseCredential is the name of systemd's credential with the database's
// password.
const databaseCredential = "database-password"

func (o *databaseOptions) add(flags *pflag.FlagSet) {
	flags.StringVar(&o.url, "database", "", "PostgreSQL database instead of a data directory, postgres://zeropass@database.example/zeropass for one, without a password")
	flags.StringVar(&o.passwordFile, "database-password-file", "",
		"file with the password there; without it systemd's credential "+databaseCredential+", or PGPASSWORD, PGPASSFILE or ~/.pgpass")
}

func (o *databaseOptions) open(ctx context.Context) (*postgres.Store, error) {
	c := postgres.Config{URL: o.url}
	if file := secretFile(o.passwordFile, databaseCredential); file != "" {
		password, err := readPassword(file, "the database's password")
		if err != nil {
			return nil, err
		}
		c.Password = password
	}
	return postgres.Open(ctx, c)
}

// secretFile returns the file that a flag names, else systemd's credential, else
// nothing.
func secretFile(flag, credential string) string {
	if directory := os.Getenv("CREDENTIALS_DIRECTORY"); flag == "" && directory != "" {
		file := filepath.Join(directory, credential)
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	return flag
}

// maxPassword is how much of a password file is read.
const maxPassword = 4 << 10

func readPassword(file, what string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fail(exitFailed, "Name a file that the server can read.", "%s: %v", what, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	b, err := io.ReadAll(io.LimitReader(f, maxPassword))
	if err != nil {
		return "", fail(exitFailed, "Name a file that the server can read.", "%s: %v", what, err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
