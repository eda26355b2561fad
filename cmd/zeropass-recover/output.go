package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"zeropass.dev/zeropass/interchange"
)

const (
	formatBitwarden = "bitwarden-json"
	formatText      = "text"
)

var writers = map[string]func(io.Writer, []interchange.Item) error{
	formatBitwarden: interchange.WriteBitwarden,
	formatText:      interchange.WriteText,
}

// checkOutput refuses an output before anybody types sixty words for it.
func checkOutput(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fail(exitFailed, "Name another file with --output, or move this one away.", "%s exists already, and is not overwritten", path)
	}
	info, err := os.Stat(filepath.Dir(path))
	if err != nil || !info.IsDir() {
		return fail(exitFailed, "Make the directory first, or name another file with --output.", "there is no directory for %s", path)
	}
	return nil
}

// writeOutput writes the items to a new file, which only its owner may read. It
// is there in full or not at all, and never takes the place of another.
func writeOutput(path, format string, items []interchange.Item) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".zeropass-recover-*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		err = errors.Join(err, os.Remove(f.Name())) // the output is a second name of it
	}()
	if err := writers[format](f, items); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return publish(f.Name(), path)
}

// publish gives a finished file a second name, unless something has it.
func publish(from, to string) error {
	err := os.Link(from, to)
	if errors.Is(err, os.ErrExist) {
		return checkOutput(to)
	}
	if err != nil {
		// A file system without hard links: copy, refusing what exists.
		if err := copyNew(from, to); err != nil {
			return err
		}
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return dir.Sync()
}

func copyNew(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		err = errors.Join(err, os.Remove(to))
	}
	return err
}
