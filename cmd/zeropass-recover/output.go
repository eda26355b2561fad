package main

import (
	"errors"
	"io"
	"io/fs"
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
	// What a killed run left behind is in the clear.
	return interchange.RemoveUnfinished(path)
}

// writeOutput writes the items to a new file, which only its owner may read. It
// is there in full or not at all, and never takes the place of another.
func writeOutput(path, format string, items []interchange.Item) error {
	err := interchange.WriteFile(path, func(w io.Writer) error { return writers[format](w, items) })
	if errors.Is(err, fs.ErrExist) {
		return checkOutput(path)
	}
	return err
}
