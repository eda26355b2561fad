package interchange

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// unfinished ends the name of a file that is being written, where the system
// cannot write one that has no name yet.
const unfinished = ".zeropass-unfinished"

// ErrDiffers is returned by [KeepFile] for a file that holds something else.
var ErrDiffers = errors.New("interchange: the file holds something else")

// WriteFile writes a new file, with mode 0600: what it is to hold is in the
// clear. It is there whole and durable, or not at all, and never takes the place
// of another: then the error is [fs.ErrExist].
//
// On Linux the file has no name until it is whole, so that a process that is
// killed leaves nothing behind. Where that cannot be done it is called
// path.zeropass-unfinished until then, which the next call, or
// [RemoveUnfinished], takes away.
func WriteFile(path string, write func(io.Writer) error) error {
	if err := RemoveUnfinished(path); err != nil {
		return err
	}
	f, err := createUnnamed(filepath.Dir(path))
	if err != nil {
		return writeNamed(path, write, giveName)
	}
	err = errors.Join(write(f), f.Sync())
	if err == nil {
		err = nameUnnamed(f, path)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return syncFile(filepath.Dir(path))
}

// ReplaceFile is WriteFile for a path that the caller has written before: a file
// that is there stays until the new one takes its place.
func ReplaceFile(path string, write func(io.Writer) error) error {
	if err := RemoveUnfinished(path); err != nil {
		return err
	}
	return writeNamed(path, write, os.Rename)
}

// RemoveUnfinished takes away what a call of [WriteFile] or [ReplaceFile] for
// this path left behind when its process was killed.
func RemoveUnfinished(path string) error {
	if err := os.Remove(path + unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// KeepFile returns nil if there is a file at path that holds exactly what write
// writes, and makes it durable. It needs memory for a few kilobytes of it.
// Otherwise the error is [fs.ErrNotExist] or [ErrDiffers].
func KeepFile(path string, write func(io.Writer) error) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return ErrDiffers
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	c := &comparison{want: bufio.NewReader(f)}
	if err := write(c); err != nil {
		return err
	}
	if _, err := c.want.ReadByte(); err == nil {
		return ErrDiffers
	} else if err != io.EOF {
		return err
	}
	return errors.Join(f.Sync(), syncFile(filepath.Dir(path)))
}

// comparison fails with [ErrDiffers] as soon as something is written to it that
// is not what comes next.
type comparison struct{ want *bufio.Reader }

func (c *comparison) Write(b []byte) (int, error) {
	var part [4096]byte
	for rest := b; len(rest) > 0; {
		n, err := io.ReadFull(c.want, part[:min(len(rest), len(part))])
		if err == io.EOF || err == io.ErrUnexpectedEOF || err == nil && !bytes.Equal(part[:n], rest[:n]) {
			err = ErrDiffers
		}
		if err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(b), nil
}

// writeNamed writes the file under its unfinished name and then lets publish
// give it its own.
func writeNamed(path string, write func(io.Writer) error, publish func(from, to string) error) error {
	f, err := os.OpenFile(path+unfinished, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Sync(), f.Close())
	if err == nil {
		err = publish(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, RemoveUnfinished(path))
	}
	return syncFile(filepath.Dir(path))
}

// giveName gives a finished file its name, unless something has that.
func giveName(from, to string) error {
	err := os.Link(from, to)
	switch {
	case err == nil:
		return os.Remove(from)
	case errors.Is(err, fs.ErrExist):
		return err
	}
	// A file system without hard links. Nobody but this user writes into a
	// directory for secrets, so that to does not come into being in between.
	if _, err := os.Lstat(to); err == nil {
		return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
	}
	return os.Rename(from, to)
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
