package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/desktop"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/memory"
)

// How notifications show what happens.
const (
	notifyFull    = "full"
	notifyPrivate = "private" // without titles and names
)

const (
	// maxQuestions is how many requests are shown one by one. More become one
	// notification: who is asked without end says yes in the end.
	maxQuestions = 3
	// maxLines is how many events one notification tells.
	maxLines = 5
	// sameNews is for how long further events go into the same notification.
	sameNews = time.Minute
	// unread is how soon a click is no answer: nobody has read what it was about.
	unread = 500 * time.Millisecond
	// answerPatience is for how long an answer waits for the directory.
	answerPatience = 10 * time.Second
)

// Keys of buttons.
const (
	keyConfirm = "confirm"
	keyRefuse  = "refuse"
)

// notifier shows on the desktop what waits for this device, and takes answers.
type notifier struct {
	a       *app
	desk    *desktop.Notifier
	private bool

	questions map[string]*question // by the id of what waits
	many      uint32               // the one notification for many questions; 0 for none
	manyCount int
	news      uint32 // the newest notification of events; 0 where a new one is due
	newsBegan time.Time
	newsLines []string
}

// question is one notification about what waits.
type question struct {
	item  device.PendingItem
	id    uint32 // 0 once it is off the screen
	shown time.Time
}

// newNotifier connects to the desktop.
func (a *app) newNotifier(ctx context.Context, mode string) (*notifier, error) {
	if mode != notifyFull && mode != notifyPrivate {
		return nil, usage("--notify shows everything but secrets; --notify=private leaves titles and names out.", "notifications are %s or %s, not %q", notifyFull, notifyPrivate, mode)
	}
	desk, err := desktop.Connect(context.WithoutCancel(ctx)) // what ends takes away what it shows
	if err != nil {
		return nil, fail(exitFailed, "Without --notify, zeropass watch prints what waits.", "no notifications can be shown: %s", strings.TrimPrefix(err.Error(), desktop.ErrNone.Error()+": "))
	}
	return &notifier{a: a, desk: desk, private: mode == notifyPrivate, questions: map[string]*question{}}, nil
}

// reconnect finds the notification server again, with nothing shown. Desktops start
// theirs anew now and then.
func (n *notifier) reconnect(ctx context.Context) error {
	n.desk.Disconnect()
	n.questions, n.many, n.news = map[string]*question{}, 0, 0
	var err error
	for range 10 {
		var desk *desktop.Notifier
		if desk, err = desktop.Connect(context.WithoutCancel(ctx)); err == nil {
			n.desk = desk
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return fail(exitFailed, "", "the desktop session has ended: %v", err)
}

// close takes questions off the screen: whoever unlocks this device sees them
// again. What was warned of stays.
func (n *notifier) close(ctx context.Context) {
	for _, q := range n.questions {
		n.takeAway(ctx, q)
	}
	n.closeMany(ctx)
	n.desk.Disconnect()
}

func (n *notifier) takeAway(ctx context.Context, q *question) {
	if q.id != 0 {
		n.desk.Close(ctx, q.id)
		q.id = 0
	}
}

func (n *notifier) closeMany(ctx context.Context) {
	if n.many != 0 {
		n.desk.Close(ctx, n.many)
	}
	n.many, n.manyCount = 0, 0
}

// expire takes away what waits no more by the clock, and returns when to look
// again, zero if there is no need to.
func (n *notifier) expire(ctx context.Context, now time.Time) (next time.Time) {
	for id, q := range n.questions {
		if !now.Before(q.item.Expires) {
			n.takeAway(ctx, q)
			delete(n.questions, id)
		} else if next.IsZero() || q.item.Expires.Before(next) {
			next = q.item.Expires
		}
	}
	return next
}

// ask brings the screen in line with what waits.
func (n *notifier) ask(ctx context.Context, waiting []device.PendingItem, now time.Time) error {
	waiting = slices.DeleteFunc(slices.Clone(waiting), func(i device.PendingItem) bool { return !now.Before(i.Expires) })
	for id, q := range n.questions {
		if !slices.ContainsFunc(waiting, func(i device.PendingItem) bool { return i.ID == id }) {
			n.takeAway(ctx, q)
			delete(n.questions, id)
		}
	}
	if len(waiting) > maxQuestions {
		return n.askMany(ctx, waiting, now)
	}
	n.closeMany(ctx)
	for _, item := range waiting {
		if n.questions[item.ID] != nil {
			continue
		}
		id, err := n.desk.Show(ctx, n.words(item, now), 0)
		if err != nil {
			return err
		}
		n.questions[item.ID] = &question{item: item, id: id, shown: now}
	}
	return nil
}

// askMany shows one notification for all, with no way to answer from it.
func (n *notifier) askMany(ctx context.Context, waiting []device.PendingItem, now time.Time) error {
	for _, q := range n.questions {
		n.takeAway(ctx, q)
	}
	clear(n.questions)
	if n.manyCount == len(waiting) {
		return nil
	}
	var life time.Duration
	for _, i := range waiting {
		life = max(life, i.Expires.Sub(now))
	}
	id, err := n.desk.Show(ctx, desktop.Notification{
		Title: count(len(waiting), "request") + " wait for this device", Urgent: true, Life: life,
		Body: "If you did not ask for that much, somebody else does: refuse it, and lock the device that asks.\nOn a terminal: zeropass pending",
	}, n.many)
	if err != nil {
		return err
	}
	n.many, n.manyCount = id, len(waiting)
	return nil
}

// mayClick says whether a click is enough to confirm something: nothing speaks
// against it, and the person sees what it is.
func (n *notifier) mayClick(i device.PendingItem) bool {
	return n.desk.HasActions() && !n.private && i.Cannot == "" && len(i.Look) == 0 && !i.Bulk && i.Phrases == nil
}

// words shows what waits.
func (n *notifier) words(i device.PendingItem, now time.Time) desktop.Notification {
	who, what, look := device.WaitingDevice{Number: i.Device, Name: i.DeviceName}.String(), strings.Join(i.What, "; "), strings.Join(i.Look, "; ")
	if n.private {
		who, what, look = device.WaitingDevice{Number: i.Device}.String(), "have something confirmed", ""
	}
	shown := desktop.Notification{Title: sentenceStart(oneLine(who)) + " asks this device", Urgent: true, Life: i.Expires.Sub(now)}
	lines := []string{"It wants to " + strings.TrimSuffix(oneLine(what), ".") + "."}
	if look != "" {
		lines = append(lines, "Look twice: "+strings.TrimSuffix(oneLine(look), ".")+".")
	}
	lines = append(lines, "It waits until "+i.Expires.Local().Format("15:04:05")+".")
	id := i.ID[:8]
	switch {
	case i.Cannot != "" && n.private:
		lines = append(lines, "It cannot be confirmed here.")
	case i.Cannot != "":
		lines = append(lines, "It cannot be confirmed here: "+strings.TrimSuffix(oneLine(i.Cannot), ".")+".")
	case n.mayClick(i):
		lines = append(lines, "Confirm only what you asked for yourself, now, on that device.")
		shown.Actions = []desktop.Action{{Key: keyConfirm, Label: "Confirm"}, {Key: keyRefuse, Label: "Refuse"}}
	default:
		lines = append(lines, "On a terminal: zeropass confirm "+id+", or zeropass refuse "+id)
		shown.Actions = []desktop.Action{{Key: keyRefuse, Label: "Refuse"}}
	}
	shown.Body = strings.Join(lines, "\n")
	return shown
}

// tell shows events that ought to be looked at. Further ones within a minute go into
// the same notification.
func (n *notifier) tell(ctx context.Context, events []device.Event, now time.Time) error {
	var lines []string
	urgent := false
	for _, e := range events {
		if !e.Alarm || e.Kind == device.EventPending {
			continue
		}
		lines = append(lines, n.line(e))
		urgent = urgent || e.Kind == device.EventRecovery || e.Kind == device.EventNote || e.Kind == device.EventLimit
	}
	if len(lines) == 0 {
		return nil
	}
	if n.news == 0 || now.Sub(n.newsBegan) > sameNews {
		n.news, n.newsBegan, n.newsLines = 0, now, nil
	}
	n.newsLines = append(n.newsLines, lines...)
	shown := n.newsLines
	if more := len(shown) - maxLines; more > 0 {
		shown = append(slices.Clone(shown[more:]), fmt.Sprintf("And %d more: zeropass activity", more))
	}
	id, err := n.desk.Show(ctx, desktop.Notification{Title: "Look at this if it was not you", Body: strings.Join(shown, "\n"), Urgent: urgent}, n.news)
	n.news = id
	return err
}

func (n *notifier) line(e device.Event) string {
	if n.private {
		return map[device.EventKind]string{
			device.EventActivity: "The server was asked for something: zeropass activity",
			device.EventRecovery: "A recovery was asked for: zeropass request list",
			device.EventLedger:   "Something has changed in the account: zeropass device list",
			device.EventLimit:    "A limit is reached: zeropass activity",
			device.EventNote:     "Something is not as it should be: zeropass status",
		}[e.Kind]
	}
	line := sentenceStart(strings.TrimSuffix(oneLine(e.Text), "."))
	if e.Do != "" {
		line += " (" + oneLine(e.Do) + ")"
	}
	return line + "."
}

// say shows one sentence that nobody has to answer.
func (n *notifier) say(ctx context.Context, title, body string) {
	_, _ = n.desk.Show(ctx, desktop.Notification{Title: title, Body: oneLine(body)}, 0) // if it fails, so does what is shown next
}

// happened takes what a person did with a notification.
func (n *notifier) happened(ctx context.Context, e desktop.Event, now time.Time) {
	switch e.ID {
	case n.many:
		n.many = 0 // it comes again when more wait
		return
	case n.news:
		n.news = 0
		return
	}
	for id, q := range n.questions {
		if q.id == 0 || q.id != e.ID {
			continue
		}
		q.id = 0 // a click closes it; one that was closed does not come again
		switch {
		case e.Action == "":
		case now.Sub(q.shown) < unread:
			delete(n.questions, id)
		case e.Action == keyConfirm && n.mayClick(q.item), e.Action == keyRefuse && q.item.Cannot == "":
			if !n.answer(ctx, q, e.Action == keyConfirm) {
				delete(n.questions, id)
			}
		}
	}
}

// errChanged: what waits under an id is no more what was shown.
var errChanged = errors.New("it is not what was shown any more")

// answer confirms or refuses exactly what was shown. It returns false if the
// question is to be asked again.
func (n *notifier) answer(ctx context.Context, q *question, confirm bool) bool {
	defer memory.Scrub()
	var err error
	for deadline := time.Now().Add(answerPatience); ; {
		err = n.a.with(ctx, func(d *device.Device) error { return n.answerNow(ctx, d, q, confirm) })
		if !errors.Is(err, home.ErrBusy) || time.Now().After(deadline) {
			break
		}
		select {
		case <-ctx.Done():
			return true
		case <-time.After(busyPause / 10):
		}
	}
	switch {
	case ctx.Err() != nil, err == nil && confirm:
		return true
	case err == nil:
		n.say(ctx, "Refused", "If it was not you who asked: zeropass device lock "+strconv.FormatUint(q.item.Device, 10))
		return true
	case errors.Is(err, errChanged):
		return false
	}
	failed := explain(ctx, err)
	doing := "refused"
	if confirm {
		doing = "confirmed"
	}
	n.say(ctx, "It was not "+doing, strings.TrimSpace(sentenceStart(failed.text)+". "+sentenceStart(failed.hint)))
	return !errors.Is(err, home.ErrBusy)
}

func (n *notifier) answerNow(ctx context.Context, d *device.Device, q *question, confirm bool) error {
	if !confirm {
		_, err := d.RefusePending(ctx, q.item.ID)
		return err
	}
	items, err := d.Pending(ctx)
	if err != nil {
		return err
	}
	item, err := device.PickPending(items, q.item.ID)
	if err != nil {
		return err
	}
	if !n.mayClick(*item) || !slices.Equal(item.What, q.item.What) || item.DeviceName != q.item.DeviceName {
		return errChanged
	}
	_, err = d.ConfirmPending(ctx, q.item.ID)
	return err
}
