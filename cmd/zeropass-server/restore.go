package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/sqlite"
)

// restoringFile has the data until they are found whole.
const restoringFile = "restoring.db"

type restoreOptions struct {
	data                 dataOptions
	input                string
	identity, passphrase string // files
	nothingSince         bool
	json                 bool
	stdout, stderr       io.Writer
	header               backupHeader
	begunAgain           int // recoveries
}

// restoredLine is what restore --json prints.
type restoredLine struct {
	backupHeader
	BegunAgain int `json:"begun_again"` // recoveries
}

func restoreCommand() *cobra.Command {
	var o restoreOptions
	c := configured(&cobra.Command{
		Use:   "restore --input FILE --data DIR|--database URL --key-file FILE --identity FILE|--passphrase-file FILE",
		Short: "Make a server's data from a backup",
		Long: `Make a server's data from a backup, in a directory or a PostgreSQL database that has
none. The backup is read to its authenticated end and every account is checked, as
zeropass-server check does, before the data are put in place; otherwise nothing is.

What devices wrote after the backup comes back with them: each sends what the server
lacks, shares too, at its next sync. A veto may be among it. So the waiting period of
every recovery that is open and not released begins again, now. Where the server was
stopped before the backup, to move it, nothing can be missing: with --nothing-since
the periods go on.` + settingsUsage,
		Args: noArgs,
	})
	c.RunE = func(c *cobra.Command, _ []string) error {
		o.stdout, o.stderr = c.OutOrStdout(), c.ErrOrStderr()
		if err := o.restore(c.Context()); err != nil {
			return err
		}
		if o.json {
			return json.NewEncoder(o.stdout).Encode(restoredLine{o.header, o.begunAgain})
		}
		_, err := fmt.Fprintf(o.stdout, "restored %d accounts as they were on %s; the waiting period begins again for %d recoveries\n",
			o.header.Accounts, o.header.Time.Format("2006-01-02 15:04:05 UTC"), o.begunAgain)
		return err
	}
	flags := c.Flags()
	o.data.add(flags)
	flags.StringVar(&o.input, "input", "", "the backup")
	flags.StringVar(&o.identity, "identity", "", "file with the age identity that the backup was encrypted to")
	flags.StringVar(&o.passphrase, "passphrase-file", "", "file with the backup's passphrase")
	flags.BoolVar(&o.nothingSince, "nothing-since", false, "the server was stopped before the backup was made, and never ran again: waiting periods of recoveries go on")
	flags.BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func (o *restoreOptions) identities() ([]age.Identity, error) {
	if (o.identity == "") == (o.passphrase == "") {
		return nil, usage("Give the one that fits how the backup was made.", "restore needs either --identity or --passphrase-file")
	}
	if o.passphrase != "" {
		passphrase, err := readPassword(o.passphrase, "the backup's passphrase")
		if err != nil {
			return nil, err
		}
		i, err := age.NewScryptIdentity(passphrase)
		if err != nil {
			return nil, usage("Write it into the file.", "--passphrase-file %s: %v", o.passphrase, err)
		}
		return []age.Identity{i}, nil
	}
	f, err := os.Open(o.identity)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	all, err := age.ParseIdentities(f)
	if err != nil {
		return nil, usage("It is a file that age-keygen made.", "--identity %s: not an identity of age", o.identity)
	}
	return all, nil
}

func (o *restoreOptions) restore(ctx context.Context) error {
	if err := o.data.check("restore"); err != nil {
		return err
	}
	if o.input == "" {
		return usage("For instance --input /backup/zeropass.age", "restore needs --input")
	}
	identities, err := o.identities()
	if err != nil {
		return err
	}
	keys, err := o.data.readKeys("restore")
	if err != nil {
		return err
	}
	f, err := os.Open(o.input)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	plain, err := age.Decrypt(f, identities...)
	if err != nil {
		return fail(exitFailed, "Name the identity or the passphrase that it was encrypted to. Nothing was restored.", "the backup does not open: %v", err)
	}
	r := bufio.NewReader(plain)
	if err := o.readHeader(r, keys); err != nil {
		return err
	}
	syscall.Umask(0o077)
	if o.data.database.url != "" {
		return o.intoDatabase(ctx, r, keys)
	}
	return o.intoDir(ctx, r, keys)
}

// readHeader wants a backup of the server whose keys are there.
func (o *restoreOptions) readHeader(r *bufio.Reader, keys *server.Keys) error {
	line, err := r.ReadSlice('\n')
	if err != nil || json.Unmarshal(line, &o.header) != nil || o.header.Format != backupFormat {
		return fmt.Errorf("%w: it does not start as a backup does", store.ErrCopy)
	}
	if o.header.Keys != "" && o.header.Keys != hex.EncodeToString(keys.Public()) {
		return store.ErrOtherServer
	}
	return nil
}

func (o *restoreOptions) intoDatabase(ctx context.Context, r io.Reader, keys *server.Keys) (err error) {
	s, err := o.data.database.openNew(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return o.fill(ctx, s, r, keys)
}

// intoDir makes the database under another name first.
func (o *restoreOptions) intoDir(ctx context.Context, r io.Reader, keys *server.Keys) (err error) {
	if err := checkApart(o.data.dir, o.data.keyPath()); err != nil {
		return err
	}
	if err := makeDirectory(o.data.dir); err != nil {
		return err
	}
	lock, err := lockDir(o.data.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	restoring := filepath.Join(o.data.dir, restoringFile)
	if err := o.clean(restoring); err != nil {
		return err
	}
	s, err := sqlite.Open(ctx, restoring)
	if err == nil {
		err = errors.Join(o.fill(ctx, s, r, keys), s.Close())
	}
	if err == nil {
		err = wholeFile(restoring)
	}
	if err != nil {
		return errors.Join(err, removeDatabase(restoring))
	}
	if err := os.Rename(restoring, filepath.Join(o.data.dir, databaseFile)); err != nil {
		return err
	}
	return syncDirectory(o.data.dir)
}

// clean wants a directory with nothing but what an earlier restore left that was
// killed.
func (o *restoreOptions) clean(restoring string) error {
	if err := removeDatabase(restoring); err != nil {
		return err
	}
	entries, err := os.ReadDir(o.data.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != lockFile {
			return fail(exitFailed, "A backup is restored into an empty directory. Nothing was changed.", "%s is not empty: there is %s", o.data.dir, e.Name())
		}
	}
	return nil
}

// wholeFile wants a closed database to have everything in its file: SQLite leaves
// some of it in its log if another process has the file open, or the disk failed, and
// that would stay behind.
func wholeFile(file string) error {
	switch log, err := os.Stat(file + "-wal"); {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case log.Size() > 0:
		return fail(exitFailed, "See that no other program opens it, and that the disk is sound, and restore again.", "%s could not be completed", file)
	}
	return nil
}

func removeDatabase(file string) error {
	var errs []error
	for _, end := range []string{"", "-journal", "-wal", "-shm"} {
		if err := os.Remove(file + end); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// fill imports the copy, checks it, and begins waiting periods again, before it is
// committed.
func (o *restoreOptions) fill(ctx context.Context, s store.Maintained, r io.Reader, keys *server.Keys) error {
	return s.Import(ctx, r, func(ctx context.Context, inside store.Maintained) error {
		m := newMeter(o.stderr)
		done, err := server.Check(ctx, inside, keys, func(f server.Finding) {
			m.done()
			_, _ = fmt.Fprintf(o.stderr, "account %v: %s\n", f.Account, f.What)
		}, func(c server.Checked) { m.show("checked %d of %d accounts", c.Accounts, o.header.Accounts) })
		m.done()
		switch {
		case err != nil:
			return err
		case done.Findings > 0:
			return fail(exitFailed, "Nothing was restored. If the key file is the right one, use another backup.", "%d things are wrong in the backup", done.Findings)
		case int64(done.Accounts) != o.header.Accounts:
			return fmt.Errorf("%w: it names %d accounts and has %d", store.ErrCopy, o.header.Accounts, done.Accounts)
		case o.nothingSince:
			return nil
		}
		o.begunAgain = len(done.Waiting)
		return server.BeginAgain(ctx, inside, done.Waiting, time.Now())
	})
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
