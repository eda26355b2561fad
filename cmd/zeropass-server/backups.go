package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"filippo.io/age"
)

// A directory of backups has one file for each, whose name says when it was made;
// these names sort by time. Other files there are left alone.
const backupName = "zeropass-20060102T150405Z.age"

// place says which file the backup goes to.
func (o *backupOptions) place(now time.Time) error {
	if (o.output == "") == (o.directory == "") {
		return usage("For instance --output /backup/zeropass.age", "backup needs either --output or --directory")
	}
	if o.keep < 0 || o.keep > 0 && o.directory == "" {
		return usage("Give --directory as well, and a number that is not negative.", "--keep says how many backups are left in --directory")
	}
	if o.directory != "" {
		o.output = filepath.Join(o.directory, now.UTC().Format(backupName))
	}
	return nil
}

// discard deletes the oldest backups of a directory until keep are left, with the one
// that was made just now: a clock that went back makes its name no older.
func discard(dir, made string, keep int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var files []string
	for _, e := range entries {
		at, err := time.Parse(backupName, e.Name())
		if file := filepath.Join(dir, e.Name()); err == nil && at.Format(backupName) == e.Name() && e.Type().IsRegular() && file != made {
			files = append(files, file)
		}
	}
	slices.Sort(files)
	var errs []error
	for _, file := range files[:max(0, len(files)+1-keep)] {
		errs = append(errs, os.Remove(file))
	}
	return errors.Join(errs...)
}

// recipientsIn reads a file as age --recipients-file does: one in each line, with
// comments.
func recipientsIn(file string) ([]age.Recipient, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fail(exitFailed, "Name a file that can be read.", "--recipients-file: %v", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	recipients, err := age.ParseRecipients(f)
	if err != nil {
		return nil, fail(exitFailed, "Write one recipient into each line, age1..., as age-keygen prints it.", "%s: %v", file, err)
	}
	return recipients, nil
}
