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

	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/sqlite"
)

// Files in the data directory.
const (
	databaseFile = "zeropass.db"
	lockFile     = "lock"
)

// data is a data directory that this process alone uses, with the server's keys.
type data struct {
	keys    *server.Keys
	keyMade bool
	store   store.Store
	lock    *os.File
}

// openData opens the data directory and the key file, and makes what is missing.
func openData(ctx context.Context, dir, keyFile string) (_ *data, err error) {
	if err := checkApart(dir, keyFile); err != nil {
		return nil, err
	}
	// Nothing that this program writes is for others to read.
	syscall.Umask(0o077)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	d := &data{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if d.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	database := filepath.Join(dir, databaseFile)
	if d.keys, d.keyMade, err = openKeys(keyFile, database); err != nil {
		return nil, err
	}
	opened, err := sqlite.Open(ctx, database)
	if err != nil {
		return nil, err
	}
	d.store = opened
	return d, nil
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
func openKeys(keyFile, database string) (keys *server.Keys, made bool, err error) {
	keys, err = server.ReadKeys(keyFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return keys, false, err
	}
	if _, err := os.Stat(database); !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return nil, false, err
		}
		return nil, false, fail(exitFailed, "Restore it from its copy. Without it nobody can open the server's shares.", "there are data in %s, but their key file %s is missing", filepath.Dir(database), keyFile)
	}
	if keys, err = server.GenerateKeys(rand.Reader); err != nil {
		return nil, false, err
	}
	return keys, true, server.WriteKeys(keyFile, keys)
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
