package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

const (
	maxPassphrase = 1024     // bytes
	maxInput      = 64 << 20 // bytes; an import is the largest
)

// interactive tells whether there is a person to ask. Standard input may be a
// pipe with the secret, and standard error may be a log, but not both.
func (a *app) interactive() bool {
	return term.IsTerminal(int(a.in.Fd())) || term.IsTerminal(int(a.err.Fd()))
}

// tty opens the terminal itself, whatever is redirected.
func (a *app) tty() (*os.File, error) {
	a.clearProgress()
	if !a.interactive() {
		return nil, errNoTerminal
	}
	return os.OpenFile("/dev/tty", os.O_RDWR, 0)
}

// tell prints one line that belongs to a question, where the question is asked.
func (a *app) tell(format string, args ...any) {
	tty, err := a.tty()
	if err != nil {
		a.note(format, args...)
		return
	}
	fmt.Fprintf(tty, format+"\n", args...)
	_ = tty.Close()
}

var errNoTerminal = errors.New("there is no terminal to ask on")

// ask prints a question on the terminal and reads one line. With hidden the
// line is not shown.
func (a *app) ask(ctx context.Context, question string, hidden bool) ([]byte, error) {
	tty, err := a.tty()
	if err != nil {
		return nil, err
	}
	defer tty.Close()
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	type answer struct {
		line []byte
		err  error
	}
	read := make(chan answer, 1)
	fmt.Fprint(tty, question)
	go func() {
		var r answer
		if hidden {
			r.line, r.err = term.ReadPassword(fd)
			fmt.Fprintln(tty)
		} else {
			r.line, r.err = bufio.NewReader(io.LimitReader(tty, maxInput)).ReadBytes('\n')
			r.line = bytes.TrimRight(r.line, "\r\n")
			if errors.Is(r.err, io.EOF) && len(r.line) > 0 {
				r.err = nil
			}
		}
		read <- r
	}()
	select {
	case <-ctx.Done():
		// The reader cannot be interrupted; the terminal must show again what is
		// typed when the program ends.
		_ = term.Restore(fd, before)
		fmt.Fprintln(tty)
		return nil, ctx.Err()
	case r := <-read:
		if errors.Is(r.err, io.EOF) {
			return nil, fail(exitFailed, "", "nothing was typed")
		}
		return r.line, r.err
	}
}

// askYes asks a question until the answer is a clear yes or no: a slip of the
// finger is neither.
func (a *app) askYes(ctx context.Context, question string) (bool, error) {
	for {
		line, err := a.ask(ctx, question+" [yes/no] ", false)
		if err != nil {
			return false, err
		}
		switch strings.ToLower(strings.TrimSpace(string(line))) {
		case "y", "yes":
			return true, nil
		case "n", "no":
			return false, nil
		}
		a.tell("Please type yes or no.")
	}
}

// readPassphraseFile reads a passphrase: one line, with or without its end.
func (a *app) readPassphraseFile(path, flag string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fail(exitFailed, "Give "+flag+" a file that holds the passphrase in one line.", "%s cannot be read: %s", flag, pathCause(err))
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		a.warn("other users of this machine may read %s; run: chmod 600 %s", path, shellQuote(path))
	}
	line, err := readAll(f, maxPassphrase)
	if err != nil {
		return nil, fail(exitFailed, "Give "+flag+" a file that holds the passphrase in one line.", "%s cannot be read: %s", flag, pathCause(err))
	}
	line = trimLine(line)
	switch {
	case len(line) == 0:
		return nil, fail(exitFailed, "Put the passphrase into the file, in one line.", "%s: the file %s is empty", flag, path)
	case bytes.ContainsAny(line, "\r\n"):
		clear(line)
		return nil, fail(exitFailed, "Put the passphrase into the file, in one line.", "%s: the file %s has more than one line", flag, path)
	}
	return line, nil
}

// knownPassphrase gets the passphrase of a home that is there.
func (a *app) knownPassphrase(ctx context.Context) ([]byte, error) {
	return a.passphraseFor(ctx, &a.passphrase, a.passphraseFile, "--passphrase-file", "Passphrase: ")
}

// knownConfirmPassphrase gets the confirm key's passphrase; device asks for it
// when an operation needs the second factor.
func (a *app) knownConfirmPassphrase(ctx context.Context) ([]byte, error) {
	return a.passphraseFor(ctx, &a.confirmPassphrase, a.confirmPassphraseFile, "--confirm-passphrase-file", "Confirm passphrase: ")
}

func (a *app) passphraseFor(ctx context.Context, known *[]byte, file, flag, question string) ([]byte, error) {
	if *known != nil {
		return *known, nil
	}
	var line []byte
	var err error
	if file != "" {
		line, err = a.readPassphraseFile(file, flag)
	} else {
		line, err = a.ask(ctx, question, true)
		if errors.Is(err, errNoTerminal) {
			err = usage("Give it with "+flag+" FILE.", "the %s is needed, and there is no terminal to ask on", strings.ToLower(strings.TrimSuffix(question, ": ")))
		}
	}
	if err != nil {
		return nil, err
	}
	if len(line) == 0 {
		return nil, fail(exitPassphrase, "", "no passphrase was given")
	}
	*known = line
	return line, nil
}

// newPassphrases gets the two passphrases of a home that is about to be made.
func (a *app) newPassphrases(ctx context.Context) error {
	if err := a.checkFiles(); err != nil {
		return err
	}
	if a.passphraseFile == "" && a.interactive() {
		a.tell("Choose a passphrase for this device. It opens ZeroPass, and it protects")
		a.tell("the files if somebody copies them.")
	}
	first, err := a.choosePassphrase(ctx, a.passphraseFile, "--passphrase-file", "Passphrase")
	if err != nil {
		return err
	}
	a.passphrase = first
	if a.confirmPassphraseFile == "" && a.interactive() {
		a.tell("")
		a.tell("Choose a second, different one: the confirm passphrase. Showing a secret")
		a.tell("takes both, so nobody who sees you type the first can read anything.")
	}
	for {
		second, err := a.choosePassphrase(ctx, a.confirmPassphraseFile, "--confirm-passphrase-file", "Confirm passphrase")
		if err != nil {
			return err
		}
		a.confirmPassphrase = second
		if !a.sameSecret() {
			return nil
		}
		if a.confirmPassphraseFile != "" {
			return usage(hintTwoPassphrases, "the passphrase and the confirm passphrase are the same")
		}
		a.tell("That is the same as the passphrase. It must be another one.")
	}
}

// chooseFor reads a new passphrase from its file, or twice from the terminal.
func (a *app) chooseFor(ctx context.Context, file, flag, what string) ([]byte, error) {
	if file != "" {
		return a.readPassphraseFile(file, flag)
	}
	for {
		first, err := a.ask(ctx, what+": ", true)
		if errors.Is(err, errNoTerminal) {
			return nil, usage("Give it with "+flag+" FILE.", "a %s must be chosen, and there is no terminal to ask on", strings.ToLower(what))
		} else if err != nil {
			return nil, err
		}
		if len(first) == 0 {
			a.tell("It cannot be empty.")
			continue
		}
		again, err := a.ask(ctx, what+", again: ", true)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(first, again) {
			clear(again)
			return first, nil
		}
		clear(first)
		clear(again)
		a.tell("The two were different. Try again.")
	}
}

// secretInput reads a secret: from the file, from standard input when that is
// no terminal, or from the terminal. One line end at its end is not part of it.
func (a *app) secretInput(ctx context.Context, file, what string, hidden bool) ([]byte, error) {
	var text []byte
	var err error
	switch {
	case file != "":
		text, err = readFile(file)
	case !term.IsTerminal(int(a.in.Fd())):
		text, err = a.readInput(ctx)
	default:
		text, err = a.ask(ctx, what+": ", hidden)
	}
	if err != nil {
		return nil, err
	}
	text = trimLine(text)
	if !utf8.Valid(text) {
		clear(text)
		return nil, fail(exitFailed, "Only text can be kept.", "the %s is not UTF-8 text", strings.ToLower(what))
	}
	return text, nil
}

// readInput reads standard input to its end. A signal ends the wait for it.
func (a *app) readInput(ctx context.Context) ([]byte, error) {
	type answer struct {
		text []byte
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		text, err := readAll(a.in, maxInput)
		read <- answer{text, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-read:
		if r.err != nil {
			return nil, fail(exitFailed, "", "standard input cannot be read: %s", pathCause(r.err))
		}
		return r.text, nil
	}
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fail(exitFailed, "", "%s cannot be read: %s", path, pathCause(err))
	}
	defer f.Close()
	text, err := readAll(f, maxInput)
	if err != nil {
		return nil, fail(exitFailed, "", "%s cannot be read: %s", path, pathCause(err))
	}
	return text, nil
}

func readAll(r io.Reader, most int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(text)) > most {
		clear(text)
		return nil, fmt.Errorf("more than %d bytes", most)
	}
	return text, err
}

// trimLine takes one line end away.
func trimLine(text []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
}
