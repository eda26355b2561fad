package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/sqlite"
)

// Files in the data directory.
const (
	databaseFile = "zeropass.db"
	lockFile     = "lock"
)

// data are a server's data, with its keys: in a directory that this process alone
// uses, or in a PostgreSQL database that several share.
type data struct {
	keys    *server.Keys
	keyMade bool
	store   store.Store
	lock    *os.File
}

// dataOptions are the flags that say where data and keys are.
type dataOptions struct {
	dir, keyFile string
	database     databaseOptions
}

func (o *dataOptions) add(flags *pflag.FlagSet) {
	flags.StringVar(&o.dir, "data", "", "the server's data directory, made if it is missing")
	o.database.add(flags)
	flags.StringVar(&o.keyFile, "key-file", "", "the server's private keys, outside of the data directory; without it systemd's credential "+keyCredential)
}

// keyCredential is the key file as a credential of systemd's.
const keyCredential = "server-keys"

// keyPath returns the key file that was named, else the credential, else nothing.
func (o *dataOptions) keyPath() string {
	if o.keyFile != "" {
		return o.keyFile
	}
	return credentialFile(keyCredential)
}

// check wants one place for the data.
func (o *dataOptions) check(command string) error {
	switch {
	case o.dir == "" && o.database.url == "":
		return usage("For instance --data /var/lib/zeropass, or --database postgres://zeropass@database.example/zeropass for several servers.",
			"%s needs --data or --database", command)
	case o.dir != "" && o.database.url != "":
		return usage("Give the one that has the data.", "--data and --database are two places for the same data")
	}
	return nil
}

// open opens the data and the key file, and makes what is missing.
func (o *dataOptions) open(ctx context.Context) (_ *data, err error) {
	d := &data{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	// Nothing that this program writes is for others to read.
	syscall.Umask(0o077)
	if o.database.url != "" {
		return d, o.openDatabase(ctx, d)
	}
	return d, o.openDir(ctx, d)
}

func (o *dataOptions) openDir(ctx context.Context, d *data) error {
	if err := checkApart(o.dir, o.keyPath()); err != nil {
		return err
	}
	if err := makeDirectory(o.dir); err != nil {
		return err
	}
	var err error
	if d.lock, err = lockDir(o.dir); err != nil {
		return err
	}
	file := filepath.Join(o.dir, databaseFile)
	_, statErr := os.Stat(file)
	if statErr != nil && !errors.Is(statErr, fs.ErrNotExist) {
		return statErr
	}
	if d.keys, d.keyMade, err = openKeys(o.keyPath(), o.dir, statErr == nil); err != nil {
		return err
	}
	opened, err := sqlite.Open(ctx, file)
	if err != nil {
		return err
	}
	d.store = opened
	return nil
}

func (o *dataOptions) openDatabase(ctx context.Context, d *data) error {
	opened, err := o.database.open(ctx)
	if err != nil {
		return err
	}
	d.store = opened
	claimed, err := opened.Claimed(ctx)
	if err != nil {
		return err
	}
	d.keys, d.keyMade, err = openKeys(o.keyPath(), "the database", claimed)
	return err
}

// makeDirectory makes a directory with its parents where they are missing. What is
// synced in a directory is lost with it if its own name is not durable, so the names
// are synced too; that of one that was there as well, since its maker may have been
// stopped before.
func makeDirectory(dir string) error {
	parents := []string{filepath.Dir(filepath.Clean(dir))}
	for {
		last := parents[len(parents)-1]
		if _, err := os.Stat(last); !errors.Is(err, fs.ErrNotExist) || filepath.Dir(last) == last {
			break
		}
		parents = append(parents, filepath.Dir(last))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, parent := range parents {
		// Where this program may not look, it has made nothing.
		if err := syncDirectory(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

// close closes what is open.
func (d *data) close() error {
	var errs []error
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(errs...)
}

// lockDir takes the directory for this process. The lock ends with it, however
// it ends.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		err = fail(exitBusy, "Stop the other process first. One data directory has one server.", "%s is in use by another process", dir)
	case err != nil:
		err = &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// openKeys reads the key file, or makes it for a server that has no data yet.
func openKeys(keyFile, place string, hasData bool) (keys *server.Keys, made bool, err error) {
	keys, err = readKeyFile(keyFile)
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		return keys, false, err
	case hasData:
		return nil, false, fail(exitFailed, "Restore it from its copy. Without it nobody can open the server's shares.", "there are data in %s, but their key file %s is missing", place, keyFile)
	case isCredential(keyFile):
		return nil, false, fail(exitFailed, "Make a key file with zeropass-server keys create, and name it in the unit with LoadCredential=.", "the credential %s is missing", keyFile)
	}
	if err := createKeys(keyFile); err != nil {
		return nil, false, err
	}
	// Keys that were read follow changes of their file.
	keys, err = server.ReadKeys(keyFile)
	return keys, true, err
}

func createKeys(keyFile string) error {
	keys, err := server.GenerateKeys(rand.Reader)
	if err != nil {
		return err
	}
	return server.WriteKeys(keyFile, keys)
}

func readKeyFile(keyFile string) (*server.Keys, error) {
	if isCredential(keyFile) {
		return server.ReadCredential(keyFile)
	}
	return server.ReadKeys(keyFile)
}

// checkApart refuses a key file in the data directory, by whatever way: a copy or
// a backup of the directory would then be all that a thief needs.
func checkApart(dir, keyFile string) error {
	realDir, err := resolve(dir)
	if err != nil {
		return err
	}
	realFile, err := resolve(keyFile)
	if err != nil {
		return err
	}
	parent, err := resolve(filepath.Dir(keyFile))
	if err != nil {
		return err
	}
	for _, place := range []string{realFile, filepath.Join(parent, filepath.Base(keyFile))} {
		within, err := filepath.Rel(realDir, place)
		if err != nil {
			return err
		}
		if within != ".." && !strings.HasPrefix(within, ".."+string(filepath.Separator)) {
			return usage("Keep the key file elsewhere, and its copy away from copies of the data.", "the key file %s lies in the data directory %s", keyFile, dir)
		}
	}
	return nil
}

// resolve returns the absolute path without symbolic links. What does not exist
// yet stays as it is named.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return real, err
	}
	if target, err := os.Readlink(path); err == nil {
		// A link to what does not exist yet.
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		return resolve(target)
	}
	parent, err := resolve(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	return filepath.Join(parent, filepath.Base(path)), nil
}
