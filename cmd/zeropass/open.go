package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/agent"
	"zeropass.dev/zeropass/internal/device"
)

// open opens and unlocks this device, with its agent, with what keeps its secret on
// this machine, or with its passphrase, which is asked for once; the confirm key's when an
// operation first needs the second factor.
func (a *app) open(ctx context.Context) (*device.Device, error) {
	if err := a.checkFiles(); err != nil {
		return nil, err
	}
	dir, err := a.existingHome()
	if err != nil {
		return nil, err
	}
	return whenFree(ctx, a, dir, func() (*device.Device, error) { return a.openNow(ctx, dir) })
}

func (a *app) openNow(ctx context.Context, dir string) (*device.Device, error) {
	if a.background {
		return a.openInBackground(ctx, dir)
	}
	if a.passphraseFile == "" {
		if d, err := a.openWithAgent(ctx, dir); d != nil || err != nil {
			return d, err
		}
		if home.HasKeystore(dir) {
			return a.openWithKeystore(ctx, dir)
		}
	}
	passphrase, err := a.knownPassphrase(ctx)
	if err != nil {
		return nil, err
	}
	stop := a.working("unlocking")
	d, err := device.Open(ctx, dir, passphrase, a.options(ctx))
	stop()
	return d, err
}

// openWithAgent opens this device with its agent; nil if none holds its keys.
func (a *app) openWithAgent(ctx context.Context, dir string) (*device.Device, error) {
	client, err := agent.Dial(dir)
	if errors.Is(err, agent.ErrNotRunning) {
		return nil, nil
	}
	if err != nil {
		a.warn("%s", oneLine(err.Error()))
		return nil, nil
	}
	d, err := device.OpenWith(ctx, dir, func(h *home.Home) error { return h.UnlockWith(client) }, a.options(ctx))
	if err != nil {
		client.Erase()
		if errors.Is(err, home.ErrLocked) {
			return nil, nil // it has just locked
		}
		return nil, agentFailure(err)
	}
	return d, nil
}

// openInBackground opens this device with its agent, and with nothing else.
func (a *app) openInBackground(ctx context.Context, dir string) (*device.Device, error) {
	client, err := agent.Dial(dir)
	if err != nil {
		return nil, agentFailure(err)
	}
	if err := client.Background(); err != nil {
		client.Erase()
		return nil, agentFailure(err)
	}
	d, err := device.OpenWith(ctx, dir, func(h *home.Home) error { return h.UnlockWith(client) }, a.options(ctx))
	if err != nil {
		client.Erase()
		return nil, agentFailure(err)
	}
	return d, nil
}

// existingHome is homeDir where there is one: nobody should type a passphrase to
// learn that there is nothing to open.
func (a *app) existingHome() (string, error) {
	dir, err := a.homeDir()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, "config")); errors.Is(err, fs.ErrNotExist) {
		return "", fail(exitHome, "Make an account with zeropass init, or name another directory with --home.", "there is no account in %s", dir)
	}
	return dir, nil
}

// with opens this device, lets f work with it and closes it.
func (a *app) with(ctx context.Context, f func(*device.Device) error) error {
	d, err := a.open(ctx)
	if err != nil {
		return err
	}
	err = f(d)
	a.clearProgress()
	if closed := d.Close(); err == nil {
		err = closed
	}
	return err
}

// options are what every operation works with.
func (a *app) options(ctx context.Context) device.Options {
	return device.Options{
		Progress: a.progress,
		Waiting:  a.waiting,
		Moved:    a.moved,
		ConfirmPassphrase: func() ([]byte, error) {
			a.clearProgress()
			if a.confirmPassphraseFile == "" && a.interactive() {
				a.tell("This needs your second factor.")
			}
			passphrase, err := a.knownConfirmPassphrase(ctx)
			return bytes.Clone(passphrase), err // the device erases it
		},
	}
}

// progress shows how far long work has come, in one line that is overwritten.
// Only a terminal gets it.
func (a *app) progress(p device.Progress) {
	if !term.IsTerminal(int(a.err.Fd())) {
		return
	}
	// Drawing costs more than the work on a small step.
	now := time.Now()
	if p.Step == a.step && p.Done != p.Total && now.Sub(a.drawn) < 50*time.Millisecond {
		return
	}
	a.step, a.drawn = p.Step, now
	line := sentenceStart(oneLine(p.Step)) + " …"
	if p.Total > 0 {
		line = fmt.Sprintf("%s %d of %d  %s", drawBar(float64(p.Done)/float64(p.Total), 20), p.Done, p.Total, sentenceStart(oneLine(p.Step)))
	}
	// A line that wraps cannot be drawn over.
	if width, _, err := term.GetSize(int(a.err.Fd())); err == nil && width > 1 {
		line = runewidth.Truncate(line, width-1, "…")
	}
	fmt.Fprint(a.err, "\r\x1b[K"+line)
}

// working shows one step that has no measure; the function that it returns takes
// it away.
func (a *app) working(step string) func() {
	a.progress(device.Progress{Step: step})
	return a.clearProgress
}

func (a *app) clearProgress() {
	if a.step != "" {
		a.step = ""
		fmt.Fprint(a.err, "\r\x1b[K")
	}
}
