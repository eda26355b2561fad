package home

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

const (
	dirMode  = 0o700
	fileMode = 0o600
	// unfinished ends the name of a file that is being written. It becomes what
	// it is by being renamed, and is removed at the next start if it was not.
	unfinished = ".new"
)

// writeFile puts a file in place: after a crash at any moment there is either
// what was there before or all of the new content.
func writeFile(path string, content ...[]byte) (err error) {
	f, err := createUnfinished(path)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	for _, b := range content {
		if _, err := f.Write(b); err != nil {
			return writeError(err)
		}
	}
	return finish(f, path)
}

func createUnfinished(path string) (*os.File, error) {
	f, err := os.OpenFile(path+unfinished, os.O_RDWR|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, fileMode)
	if err != nil {
		return nil, writeError(err)
	}
	return f, nil
}

// finish makes an unfinished file durable and gives it its name. It closes f
// unless it returns an error.
func finish(f *os.File, path string) error {
	if err := f.Sync(); err != nil {
		return writeError(err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return writeError(err)
	}
	if err := f.Close(); err != nil {
		return writeError(err)
	}
	return syncDir(filepath.Dir(path))
}

// removeFile removes a file for good. One that is not there is no error.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return writeError(err)
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return writeError(err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil {
		return writeError(err)
	}
	return nil
}

func writeError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: the disk is full: free some space and try again: %w", ErrWrite, err)
	}
	return fmt.Errorf("%w: %w", ErrWrite, err)
}

// removeUnfinished removes what a crash left half written in a directory.
func removeUnfinished(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*"+unfinished))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			return writeError(err)
		}
	}
	return nil
}

// readLimited reads a file of at most limit bytes, so that a foreign file in
// its place does not fill the memory.
func readLimited(path, name string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%w: the file %s", ErrNotFound, name)
		}
		return nil, fmt.Errorf("home: read %s: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("home: read %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, &DamageError{File: name, Reason: fmt.Sprintf("it is longer than %d bytes", limit)}
	}
	return b, nil
}
