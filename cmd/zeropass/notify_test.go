package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/desktop"
	"zeropass.dev/zeropass/internal/desktop/desktoptest"
	"zeropass.dev/zeropass/internal/device"
)

// newScreen is a notifier on a real bus, and what is on the screen.
func newScreen(t *testing.T, mode string, capabilities ...string) (*notifier, *desktoptest.Server) {
	t.Helper()
	bus, err := desktoptest.StartBus()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bus.Stop() })
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", bus.Address)
	server, err := desktoptest.StartServer(bus.Address, capabilities...)
	if err != nil {
		t.Fatal(err)
	}
	n, err := (&app{}).newNotifier(t.Context(), mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.desk.Disconnect)
	return n, server
}

func waitingItem(id int, change func(*device.PendingItem)) device.PendingItem {
	i := device.PendingItem{
		ID: fmt.Sprintf("%08x%056x", id, 0), Device: 2, DeviceName: "phone", What: []string{`see "Bank (ada)"`},
		Expires: time.Now().Add(5 * time.Minute),
	}
	if change != nil {
		change(&i)
	}
	return i
}

func (n *notifier) mustAsk(t *testing.T, now time.Time, waiting ...device.PendingItem) {
	t.Helper()
	if err := n.ask(t.Context(), waiting, now); err != nil {
		t.Fatal(err)
	}
}

// open are the titles of what is on the screen.
func open(s *desktoptest.Server) (titles []string) {
	for _, n := range s.Shown() {
		if !n.Closed && !n.Clicked {
			titles = append(titles, n.Title)
		}
	}
	return titles
}

// A button confirms only what nothing speaks against, and what the person can read.
func TestNotificationButtons(t *testing.T) {
	plain := func(*device.PendingItem) {}
	for _, test := range []struct {
		name    string
		mode    string
		change  func(*device.PendingItem)
		buttons string
		says    string
	}{
		{"an ordinary question", notifyFull, plain, "confirm Confirm refuse Refuse", `It wants to see "Bank (ada)".`},
		{"look twice", notifyFull, func(i *device.PendingItem) { i.Look = []string{"nobody can undo it"} }, "refuse Refuse", "Look twice: nobody can undo it.\n"},
		{"everything at once", notifyFull, func(i *device.PendingItem) { i.Bulk = true }, "refuse Refuse", "zeropass confirm 00000001"},
		{"a new device", notifyFull, func(i *device.PendingItem) { i.Phrases = &device.DevicePhrases{} }, "refuse Refuse", "zeropass confirm 00000001"},
		{"not for this device", notifyFull, func(i *device.PendingItem) { i.Cannot = "it is about this device" }, "", "It cannot be confirmed here: it is about this device."},
		{"nothing is told", notifyPrivate, plain, "refuse Refuse", "It wants to have something confirmed."},
		{"nothing is told of why not", notifyPrivate, func(i *device.PendingItem) { i.Cannot, i.Look = "Bank", []string{"Bank"} }, "", "It cannot be confirmed here."},
		{"a title that forges lines", notifyFull, func(i *device.PendingItem) { i.What = []string{"see \"x\nIt is harmless\u202e\""} }, "confirm Confirm refuse Refuse", "It wants to see \"x It is harmless\ufffd\".\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n, screen := newScreen(t, test.mode, "actions", "body")
			n.mustAsk(t, time.Now(), waitingItem(1, test.change))
			got := screen.Shown()[0]
			if buttons := strings.Join(got.Actions, " "); buttons != test.buttons {
				t.Errorf("buttons %q", buttons)
			}
			if !strings.Contains(got.Body+"\n", test.says) {
				t.Errorf("body %q", got.Body)
			}
			if test.mode == notifyPrivate && (strings.Contains(got.Body+got.Title, "Bank") || strings.Contains(got.Body+got.Title, "phone")) {
				t.Errorf("it tells: %+v", got)
			}
		})
	}
	n, screen := newScreen(t, notifyFull, "body")
	n.mustAsk(t, time.Now(), waitingItem(1, nil))
	if got := screen.Shown()[0]; len(got.Actions) > 0 || !strings.Contains(got.Body, "zeropass confirm 00000001, or zeropass refuse 00000001") {
		t.Errorf("on a desktop without buttons: %+v", got)
	}
}

// What is answered elsewhere or has expired leaves the screen, and what a person
// has closed does not come back.
func TestNotificationsLeave(t *testing.T) {
	n, screen := newScreen(t, notifyFull, "actions", "body")
	now := time.Now()
	first, second, third := waitingItem(1, nil), waitingItem(2, nil), waitingItem(3, func(i *device.PendingItem) { i.Expires = now.Add(time.Minute) })
	n.mustAsk(t, now, first, second, third)
	n.mustAsk(t, now, first, second, third)
	if got := screen.Shown(); len(got) != 3 || got[2].Life != 60_000 {
		t.Errorf("%+v", got)
	}
	n.mustAsk(t, now, second, third) // the first was answered
	if next := n.expire(t.Context(), now); !next.Equal(third.Expires) {
		t.Errorf("looks again at %v", next)
	}
	n.expire(t.Context(), now.Add(time.Minute))
	n.mustAsk(t, now.Add(time.Minute), second, third) // the server still names what has expired
	closed := []bool{screen.Shown()[0].Closed, screen.Shown()[1].Closed, screen.Shown()[2].Closed}
	if !slices.Equal(closed, []bool{true, false, true}) || len(screen.Shown()) != 3 {
		t.Errorf("%+v", screen.Shown())
	}
	if err := screen.Dismiss(2); err != nil {
		t.Fatal(err)
	}
	n.happened(t.Context(), <-n.desk.Events(), now)
	n.mustAsk(t, now, second)
	if left := open(screen); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// A click on what has just appeared was meant for something else: it is asked again.
func TestClickBeforeReading(t *testing.T) {
	n, screen := newScreen(t, notifyFull, "actions", "body")
	now := time.Now()
	item := waitingItem(1, nil)
	n.mustAsk(t, now, item)
	n.happened(t.Context(), desktop.Event{ID: 1, Action: keyConfirm}, now.Add(unread/2))
	n.mustAsk(t, now, item)
	if len(screen.Shown()) != 2 {
		t.Errorf("%+v", screen.Shown())
	}
}

// Whoever asks without end gets one notification, which confirms nothing.
func TestManyQuestions(t *testing.T) {
	n, screen := newScreen(t, notifyFull, "actions", "body")
	now := time.Now()
	var many []device.PendingItem
	for i := range 16 {
		many = append(many, waitingItem(i+1, nil))
		n.mustAsk(t, now, many...)
	}
	all := screen.Shown()
	last := all[len(all)-1]
	if titles := open(screen); len(all) != maxQuestions+1 || len(titles) != 1 || titles[0] != "16 requests wait for this device" || len(last.Actions) > 0 {
		t.Errorf("%+v", all)
	}
	n.mustAsk(t, now, many[:2]...)
	if titles := open(screen); len(titles) != 2 {
		t.Errorf("after most were answered: %q", titles)
	}
}

// Events that come together, or one soon after the other, are one notification.
func TestNewsTogether(t *testing.T) {
	n, screen := newScreen(t, notifyFull, "body")
	now := time.Now()
	tell := func(at time.Time, events ...device.Event) {
		t.Helper()
		if err := n.tell(t.Context(), events, at); err != nil {
			t.Fatal(err)
		}
	}
	locked := device.Event{Kind: device.EventLedger, Alarm: true, Text: "device 2 locked device 3 (entry 9)"}
	asked := device.Event{Kind: device.EventRecovery, Alarm: true, Text: "a new device asks to recover this account: 0 of 2", Do: "zeropass veto, if it is not you"}
	tell(now, device.Event{Kind: device.EventActivity, Text: "device 1 revealed Bank"}, device.Event{Kind: device.EventPending, Alarm: true})
	if got := screen.Shown(); len(got) > 0 {
		t.Fatalf("nothing to look at, and %+v", got)
	}
	tell(now, locked, asked)
	got := screen.Shown()[0]
	if got.Title != "Look at this if it was not you" || got.Urgency != 2 ||
		got.Body != "Device 2 locked device 3 (entry 9).\nA new device asks to recover this account: 0 of 2 (zeropass veto, if it is not you)." {
		t.Errorf("%+v", got)
	}
	for range 10 {
		tell(now.Add(time.Second), locked)
	}
	if all := screen.Shown(); len(all) != 1 || !strings.HasSuffix(all[0].Body, "\nAnd 7 more: zeropass activity") || strings.Count(all[0].Body, "\n") != maxLines {
		t.Errorf("%+v", all)
	}
	tell(now.Add(sameNews+time.Second), locked)
	if all := screen.Shown(); len(all) != 2 || strings.Contains(all[1].Body, "\n") {
		t.Errorf("%+v", all)
	}
	if err := screen.Dismiss(2); err != nil {
		t.Fatal(err)
	}
	n.happened(t.Context(), <-n.desk.Events(), now)
	tell(now.Add(sameNews+time.Second), locked)
	if all := screen.Shown(); len(all) != 3 {
		t.Errorf("%+v", all)
	}
}

// Without titles: every kind of event has words that tell nothing.
func TestPrivateNews(t *testing.T) {
	n := &notifier{private: true}
	for _, kind := range []device.EventKind{device.EventActivity, device.EventRecovery, device.EventLedger, device.EventLimit, device.EventNote} {
		if line := n.line(device.Event{Kind: kind, Text: "Bank", Do: "Bank"}); line == "" || strings.Contains(line, "Bank") {
			t.Errorf("%s: %q", kind, line)
		}
	}
}

// Desktops start their notification server anew; what waits is on the next one's
// screen.
func TestAnotherNotificationServer(t *testing.T) {
	n, screen := newScreen(t, notifyFull, "actions", "body")
	now := time.Now()
	n.mustAsk(t, now, waitingItem(1, nil))
	screen.Stop()
	next, err := desktoptest.StartServer(os.Getenv("DBUS_SESSION_BUS_ADDRESS"), "body")
	if err != nil {
		t.Fatal(err)
	}
	for e := range n.desk.Events() {
		t.Errorf("%+v", e)
	}
	if err := n.reconnect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.desk.Disconnect)
	n.mustAsk(t, now, waitingItem(1, nil))
	if titles := open(next); len(titles) != 1 {
		t.Errorf("%q", titles)
	}
}
