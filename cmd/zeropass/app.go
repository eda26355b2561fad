package main

import (
	"bytes"
	"cmp"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// app is what all commands share: where they read and write, and the flags that
// every command has.
type app struct {
	in, out, err *os.File

	home                  string
	json                  bool
	passphraseFile        string
	confirmPassphraseFile string
	pinFile               string

	background bool // nobody sits at it: it works through the agent alone, and does not keep it from locking

	passphrase        []byte // once known
	confirmPassphrase []byte
	pin               []byte
	guesses           []string // what a stranger tries first as a passphrase
	failed            error    // of the command that ran

	step  string    // of the progress that is on the screen
	drawn time.Time // when
}

func (a *app) erase() {
	clear(a.passphrase)
	clear(a.confirmPassphrase)
	clear(a.pin)
}

// run wraps what a command does. Its error stays in the app, so that what
// fang.Execute returns is about the command line alone.
func (a *app) run(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.failed = f(cmd, args)
		return nil
	}
}

// homeDir is where this device's directory is: --home, ZEROPASS_HOME, or
// zeropass in the user's data directory by the XDG Base Directory Specification.
func (a *app) homeDir() (string, error) {
	if dir := cmp.Or(a.home, os.Getenv("ZEROPASS_HOME")); dir != "" {
		return filepath.Abs(dir)
	}
	// A relative XDG_DATA_HOME is invalid and to be ignored.
	if data := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "zeropass"), nil
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return "", usage("Say where with --home DIR or ZEROPASS_HOME.", "no home directory is known for this user")
	}
	return filepath.Join(user, ".local", "share", "zeropass"), nil
}

// checkFiles refuses passphrase files that are one and the same: whoever saw
// one would have both factors.
func (a *app) checkFiles() error {
	if a.passphraseFile == "" || a.confirmPassphraseFile == "" {
		return nil
	}
	first, errFirst := os.Stat(a.passphraseFile)
	second, errSecond := os.Stat(a.confirmPassphraseFile)
	if a.passphraseFile == a.confirmPassphraseFile || errFirst == nil && errSecond == nil && os.SameFile(first, second) {
		return usage(hintTwoPassphrases, "--passphrase-file and --confirm-passphrase-file are the same file")
	}
	return nil
}

const hintTwoPassphrases = "The confirm passphrase is the second factor: choose another one, and keep it apart from the first."

// sameSecret reports whether both passphrases are known and equal. Both are the
// user's own, so the comparison need not be constant time.
func (a *app) sameSecret() bool {
	return len(a.passphrase) > 0 && bytes.Equal(a.passphrase, a.confirmPassphrase)
}
