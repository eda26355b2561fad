package sheet

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Write writes a page into a new file that its owner alone may read. The file is
// there whole or not at all: until then it is path with ".new" behind, in the same
// directory, and nothing is written anywhere else. What a killed run left there
// is removed. It returns an error that wraps fs.ErrExist for a file that is there
// already.
func Write(path string, content []byte) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "write", Path: path, Err: fs.ErrExist}
	}
	unfinished := path + ".new"
	if err := os.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(unfinished) }()
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	// A link, unlike a renaming, takes no other file's place.
	if err := os.Link(unfinished, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(os.Remove(unfinished), dir.Sync(), dir.Close())
}
