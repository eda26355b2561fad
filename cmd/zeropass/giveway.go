package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/agent"
)

const (
	// givesWay is how soon the notifier lets go of the directory for a command that a
	// person waits for. It has work of its own to break off.
	givesWay = 10 * time.Second
	// unnamed is for how long a process can have the directory without its number
	// standing there.
	unnamed = 200 * time.Millisecond
)

// whenFree opens something in the directory. The notifier, which nobody sits at,
// never keeps a command out: it is told to let go. Any other process is not
// waited for.
func whenFree[T any](ctx context.Context, a *app, dir string, open func() (T, error)) (T, error) {
	began := time.Now()
	for others := began; ; { // since when somebody else than the notifier has it
		opened, err := open()
		if !errors.Is(err, home.ErrBusy) || a.background || time.Since(began) > givesWay {
			return opened, err
		}
		runs, holds := tellNotifier(dir)
		if holds {
			others = time.Now()
		}
		if !runs || time.Since(others) > unnamed {
			return opened, err
		}
		select {
		case <-ctx.Done():
			return opened, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// openHome opens the directory without unlocking it.
func (a *app) openHome(ctx context.Context, dir string) (*home.Home, error) {
	return whenFree(ctx, a, dir, func() (*home.Home, error) { return home.Open(dir) })
}

// tellNotifier says whether there is a notifier, and tells it to let go of the
// directory if it has that. The agent names the notifier, so that no signal reaches
// a process that has taken the number of one that is gone.
func tellNotifier(dir string) (runs, holds bool) {
	client, err := agent.Dial(dir)
	if err != nil {
		return false, false
	}
	defer client.Erase()
	s, err := client.Status()
	if err != nil || s.Notifier == 0 {
		return false, false
	}
	if s.Notifier != home.Holder(dir) {
		return true, false
	}
	return true, syscall.Kill(s.Notifier, syscall.SIGUSR1) == nil
}

// wanted is where the notifier hears that a command waits for the directory.
func wanted() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	return c, func() { signal.Stop(c) }
}

// untilWanted is ctx until a command waits for the directory.
func untilWanted(ctx context.Context, wanted <-chan os.Signal) (context.Context, context.CancelFunc) {
	held, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-wanted:
			cancel()
		case <-held.Done():
		}
	}()
	return held, cancel
}
