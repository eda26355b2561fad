package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/agent"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/internal/desktop"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/memory"
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
	var notify string
	var quiet bool
	c := &cobra.Command{
		Use:   "watch",
		Short: "Show what happens in your account, as it happens",
		Long: `Show what happens in your account, as it happens: what the server was asked, what
waits for this device to be confirmed, requests for a recovery, and new entries of
the ledger. It goes on until Ctrl-C. With --json each line is one event.

Between events it lets go of the directory, so that other commands work meanwhile.

With --notify the desktop shows what waits and what you ought to look at. Refusing
takes one click there, and so does confirming, where nothing speaks against it.
Titles are shown, on a locked screen too if the desktop does that;
--notify=private leaves them out. With an agent it ends when the agent locks, and
does not keep it from locking.`,
		Example: "zeropass watch\nzeropass watch --notify\nzeropass watch --notify=private --quiet",
		Args:    takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			if quiet && notify == "" {
				return usage("Add --notify.", "--quiet leaves nothing to watch")
			}
			return a.watch(cmd.Context(), notify, quiet)
		}),
	}
	c.Flags().StringVar(&notify, "notify", "", "show it on the desktop too: full, or private, without titles")
	c.Flags().Lookup("notify").NoOptDefVal = notifyFull
	c.Flags().BoolVar(&quiet, "quiet", false, "print nothing, with --notify")
	return c
}

// watching is one run of watch.
type watching struct {
	a      *app
	quiet  bool
	seen   device.Seen
	stream *hints // nil where there is none
	begun  bool
	away   bool          // the server could not be reached last time
	ended  time.Duration // how long it rested when a stream ended last

	notes  *notifier        // nil without notifications
	wanted <-chan os.Signal // a command waits for the directory
	click  *desktop.Event   // to be answered
	expiry time.Time        // of the first question on the screen
	gone   <-chan struct{}  // the agent has locked
}

// watch shows events until ctx ends, or the agent has locked.
func (a *app) watch(ctx context.Context, notify string, quiet bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &watching{a: a, quiet: quiet}
	if notify != "" {
		notes, err := a.newNotifier(ctx, notify)
		if err != nil {
			return err
		}
		w.notes = notes
		defer func() { w.notes.close(context.WithoutCancel(ctx)) }()
		if err := w.joinAgent(cancel); err != nil {
			return err
		}
		wanted, stop := wanted()
		defer stop()
		w.wanted = wanted
	}
	for ctx.Err() == nil {
		pause, err := w.look(ctx)
		if err != nil && ctx.Err() == nil && !w.locked(2*time.Second) {
			return w.failed(ctx, err)
		}
		if err := w.wait(ctx, pause); err != nil {
			return w.failed(ctx, err)
		}
	}
	if w.locked(0) && !quiet {
		a.note("The agent has locked this device.")
	}
	return nil
}

// joinAgent makes this the agent's notifier, if there is an agent.
func (w *watching) joinAgent(cancel context.CancelFunc) error {
	if w.a.passphraseFile != "" {
		return nil
	}
	dir, err := w.a.existingHome()
	if err != nil {
		return err
	}
	client, err := agent.Dial(dir)
	if errors.Is(err, agent.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return agentFailure(err)
	}
	if w.gone, err = client.Notifier(os.Getpid()); err != nil {
		client.Erase()
		return agentFailure(err)
	}
	w.a.background = true
	go func() {
		<-w.gone
		cancel()
	}()
	return nil
}

// locked says whether the agent has locked, or does so within some time: what fails
// because of that may do so before its connections have ended.
func (w *watching) locked(within time.Duration) bool {
	if w.gone == nil {
		return false
	}
	select {
	case <-w.gone:
		return true
	case <-time.After(within):
		return false
	}
}

// failed has the desktop say why nothing is shown there any more: nobody may look
// at where the error is printed.
func (w *watching) failed(ctx context.Context, err error) error {
	if w.notes != nil && !errors.Is(err, device.ErrJoining) && !errors.Is(err, device.ErrRecovering) {
		f := explain(ctx, err)
		w.notes.say(ctx, "ZeroPass shows no more notifications", strings.TrimSpace(sentenceStart(f.text)+". "+sentenceStart(f.hint)))
	}
	return err
}

// look asks what there is and shows it. It returns after how long to look again.
func (w *watching) look(ctx context.Context) (time.Duration, error) {
	if w.notes != nil {
		w.answer(ctx)
	}
	held, release := untilWanted(ctx, w.wanted)
	var next *client.Watching
	var events []device.Event
	err := w.a.with(held, func(d *device.Device) (err error) {
		if events, err = d.News(held, &w.seen); err == nil && w.stream == nil {
			next, err = d.PrepareWatch()
		}
		return err
	})
	gaveWay := held.Err() != nil
	release()
	if w.a.background {
		memory.Scrub() // it lives as long as the agent
	}
	if next != nil {
		w.stream = follow(ctx, next)
	}
	switch {
	case err == nil:
		if !w.begun && !w.a.json && !w.quiet {
			w.a.note("Watching. Ctrl-C ends it.")
		}
		w.begun, w.away = true, false
		return w.show(ctx, events)
	case gaveWay, errors.Is(err, home.ErrBusy):
		return busyPause, nil
	case (errors.Is(err, client.ErrUnreachable) || errors.Is(err, api.ErrUnavailable)) && (w.begun || w.notes != nil): // or it stops, and says so
		if !w.away && !w.quiet {
			w.a.warn("the server cannot be reached; it is asked again from time to time")
		}
		w.away = true
		return busyPause * 10, nil
	}
	return 0, err
}

// answer does what a person clicked, and takes away what is over.
func (w *watching) answer(ctx context.Context) {
	if w.click != nil {
		w.notes.happened(ctx, *w.click, time.Now())
		w.click = nil
	}
	w.expiry = w.notes.expire(ctx, time.Now())
}

// show shows what is new, and returns after how long to look again.
func (w *watching) show(ctx context.Context, events []device.Event) (time.Duration, error) {
	if !w.quiet {
		if err := w.a.showEvents(events); err != nil {
			return 0, err
		}
	}
	if w.notes == nil {
		return watchPoll, nil
	}
	now := time.Now()
	if err := errors.Join(w.notes.tell(ctx, events, now), w.notes.ask(ctx, w.seen.Waiting(), now)); err != nil {
		return busyPause, w.notes.reconnect(ctx)
	}
	w.expiry = w.notes.expire(ctx, now)
	return watchPoll, nil
}

// hints is a stream of hints. hint has room for one.
type hints struct {
	began time.Time
	hint  chan struct{}
	ended chan struct{}
}

// rest returns how long to wait before asking for hints again, when a stream has
// ended that lived so long. One that lived was cut by a restart, perhaps; where none
// does, because something between here and the server lets none through, asking for
// one after the other must not take the place of hints.
func (w *watching) rest(lived time.Duration) time.Duration {
	if lived >= watchPoll {
		w.ended = 0
	}
	w.ended = min(max(busyPause, 2*w.ended), watchPoll)
	return w.ended
}

// follow follows a stream in the background until it ends.
func follow(ctx context.Context, w *client.Watching) *hints {
	l := &hints{began: time.Now(), hint: make(chan struct{}, 1), ended: make(chan struct{})}
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

// wait returns when it is worth asking again: at a hint, at a click, and now and
// then without.
func (w *watching) wait(ctx context.Context, pause time.Duration) error {
	atExpiry := func(d time.Duration) time.Duration {
		if w.expiry.IsZero() {
			return d
		}
		return min(d, max(0, time.Until(w.expiry)))
	}
	timer := time.NewTimer(atExpiry(pause))
	defer timer.Stop()
	var hint, ended chan struct{}
	if w.stream != nil {
		hint, ended = w.stream.hint, w.stream.ended
	}
	var clicks <-chan desktop.Event
	if w.notes != nil {
		clicks = w.notes.desk.Events()
	}
	for {
		select {
		case <-ctx.Done():
		case <-timer.C:
		case e, ok := <-clicks:
			if !ok {
				return w.notes.reconnect(ctx)
			}
			w.click = &e
		case <-hint:
			timer.Reset(watchPause)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		case <-ended:
			timer.Reset(atExpiry(w.rest(time.Since(w.stream.began))))
			w.stream, hint, ended = nil, nil, nil
			continue
		}
		return nil
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
