package main

import (
	"context"
	"errors"
	"fmt"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/interchange"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
)

// exitCode is how the program ends. The numbers are those of zeropass and do not
// change.
type exitCode int

const (
	exitDone       exitCode = 0
	exitFailed     exitCode = 1
	exitUsage      exitCode = 2
	exitPassphrase exitCode = 3
	exitNotYet     exitCode = 7
	exitNewer      exitCode = 9
	exitHome       exitCode = 10
)

// failure is an error with its exit code and what to do next.
type failure struct {
	code exitCode
	text string
	hint string
}

func (f *failure) Error() string { return f.text }

func fail(code exitCode, hint, format string, args ...any) error {
	return &failure{code: code, text: fmt.Sprintf(format, args...), hint: hint}
}

// explain finds exit code, text and hint of an error.
func explain(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	if errors.Is(err, context.Canceled) {
		return &failure{exitFailed, "stopped", "Nothing was written."}
	}
	var file *interchange.Error
	if errors.As(err, &file) {
		return &failure{exitFailed, file.Error(), "Try the other format, or --partial."}
	}
	for _, known := range []struct {
		err  error
		code exitCode
		hint string
	}{
		{home.ErrMissing, exitHome, "Name the directory with --home: it is the one with the file passphrase.age in it."},
		{home.ErrPassphrase, exitPassphrase, "Type the passphrase of this directory, not the confirm passphrase. A copy keeps the passphrase that it had when it was made."},
		{ledger.ErrNewer, exitNewer, "Get the newest zeropass-recover."},
		{home.ErrDamaged, exitFailed, "Try another copy of the directory, or another device's."},
		{recovery.ErrDevice, exitFailed, "Use the directory of a device that was part of the account."},
	} {
		if errors.Is(err, known.err) {
			return &failure{known.code, err.Error(), known.hint}
		}
	}
	return &failure{exitFailed, err.Error(), ""}
}
