package main

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/spf13/cobra"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/internal/device"
)

const (
	// watchPoll is how often watch asks where the server gives no hints, and how
	// long it waits before it asks for hints again.
	watchPoll = 30 * time.Second
	// watchPause lets what belongs together come together.
	watchPause = 200 * time.Millisecond
	// busyPause is how soon it looks again after another zeropass, or a server that
	// could not be reached.
	busyPause = time.Second
)

func watchCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "watch",
		Short: "Show what happens in your account, as it happens",
		Long: `Show what happens in your account, as it happens: what the server was asked, what
waits for this device to be confirmed, requests for a recovery, and new entries of
the ledger. It goes on until Ctrl-C. With --json each line is one event.

Between events it lets go of the directory, so that other commands work meanwhile.`,
		Args: takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error { return a.watch(cmd.Context()) }),
	}
}

// watching is one run of watch.
type watching struct {
	seen   device.Seen
	stream *hints // nil where there is none
	begun  bool
	away   bool // the server could not be reached last time
}

// hints is a stream of hints. hint has room for one.
type hints struct {
	hint  chan struct{}
	ended chan struct{}
}

// watch shows events until ctx ends.
func (a *app) watch(ctx context.Context) error {
	streams, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &watching{}
	for ctx.Err() == nil {
		var next *client.Watching
		var events []device.Event
		err := a.with(ctx, func(d *device.Device) (err error) {
			if events, err = d.News(ctx, &w.seen); err == nil && w.stream == nil {
				next, err = d.PrepareWatch()
			}
			return err
		})
		pause := watchPoll
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, home.ErrBusy):
			pause = busyPause
		case errors.Is(err, client.ErrUnreachable) && w.begun:
			if !w.away {
				a.warn("the server cannot be reached; it is asked again from time to time")
			}
			w.away, pause = true, busyPause*10
		case err != nil:
			return err
		default:
			if !w.begun && !a.json {
				a.note("Watching. Ctrl-C ends it.")
			}
			w.begun, w.away = true, false
			if err := a.showEvents(events); err != nil {
				return err
			}
		}
		if next != nil {
			w.stream = follow(streams, next)
		}
		w.wait(ctx, pause)
	}
	return nil
}

// follow follows a stream in the background until it ends.
func follow(ctx context.Context, w *client.Watching) *hints {
	l := &hints{hint: make(chan struct{}, 1), ended: make(chan struct{})}
	// What happened before the stream began gave no hint: the first one counts,
	// whatever it says.
	begins := true
	go func() {
		defer close(l.ended)
		_ = w.Listen(ctx, func(kind apiv1.Hint_Kind) { // how it ended shows when the server is asked next
			if kind == apiv1.Hint_KIND_UNSPECIFIED && !begins {
				return
			}
			begins = false
			select {
			case l.hint <- struct{}{}:
			default:
			}
		})
	}()
	return l
}

// wait returns when it is worth asking again: at a hint, and now and then without.
func (w *watching) wait(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	var hint, ended chan struct{}
	if w.stream != nil {
		hint, ended = w.stream.hint, w.stream.ended
	}
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-hint:
		rest := time.NewTimer(watchPause)
		defer rest.Stop()
		select {
		case <-rest.C:
		case <-ctx.Done():
		}
	case <-ended:
		w.stream = nil
		again := time.NewTimer(busyPause)
		defer again.Stop()
		select {
		case <-again.C:
		case <-ctx.Done():
		}
	}
}

type eventView struct {
	Kind  string    `json:"kind"`
	Time  time.Time `json:"time"`
	ID    string    `json:"id,omitempty"`
	Text  string    `json:"text"`
	Alarm bool      `json:"alarm"`
	Do    string    `json:"do,omitempty"`
}

// showEvents prints events, in JSON one a line.
func (a *app) showEvents(events []device.Event) error {
	for _, e := range events {
		if a.json {
			encoder := json.NewEncoder(a.out)
			encoder.SetEscapeHTML(false)
			if err := encoder.Encode(eventView{string(e.Kind), e.Time.UTC(), e.ID, e.Text, e.Alarm, e.Do}); err != nil {
				return err
			}
			continue
		}
		a.say("%s %s  %s", mark(e.Alarm), when(e.Time), oneLine(e.Text))
		if e.Do != "" {
			a.say("    %s", oneLine(e.Do))
		}
	}
	return nil
}
