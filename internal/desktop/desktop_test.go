package desktop

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"zeropass.dev/zeropass/internal/desktop/desktoptest"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func startBus(t *testing.T) *desktoptest.Bus {
	t.Helper()
	bus, err := desktoptest.StartBus()
	check(t, err)
	t.Cleanup(func() { check(t, bus.Stop()) })
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", bus.Address)
	return bus
}

func startServer(t *testing.T, bus *desktoptest.Bus, capabilities ...string) *desktoptest.Server {
	t.Helper()
	s, err := desktoptest.StartServer(bus.Address, capabilities...)
	check(t, err)
	t.Cleanup(s.Stop)
	return s
}

func connect(t *testing.T) *Notifier {
	t.Helper()
	n, err := Connect(t.Context())
	check(t, err)
	t.Cleanup(n.Disconnect)
	return n
}

// event returns the next event; false if none comes for a while or ever.
func event(n *Notifier, patience time.Duration) (Event, bool) {
	select {
	case e, ok := <-n.Events():
		return e, ok
	case <-time.After(patience):
		return Event{}, false
	}
}

var question = Notification{
	Title: "a <b>title</b> & more", Body: "a <a href=\"http://x\">body</a> & more\x00\xff",
	Actions: []Action{{"yes", "Confirm"}, {"no", "Refuse"}}, Urgent: true, Life: 90 * time.Second,
}

func TestShow(t *testing.T) {
	for _, test := range []struct {
		capabilities []string
		title, body  string
		actions      []string
	}{
		{[]string{"actions", "body", "body-markup"}, "a <b>title</b> & more", "a &lt;a href=\"http://x\"&gt;body&lt;/a&gt; &amp; more\ufffd\ufffd", []string{"yes", "Confirm", "no", "Refuse"}},
		{[]string{"body"}, "a <b>title</b> & more", "a <a href=\"http://x\">body</a> & more\ufffd\ufffd", []string{}},
		{nil, "a <b>title</b> & more: a <a href=\"http://x\">body</a> & more\ufffd\ufffd", "", []string{}},
	} {
		t.Run(strings.Join(test.capabilities, " "), func(t *testing.T) {
			s := startServer(t, startBus(t), test.capabilities...)
			n := connect(t)
			if n.HasActions() != (len(test.actions) > 0) {
				t.Errorf("actions: %v", n.HasActions())
			}
			id, err := n.Show(t.Context(), question, 0)
			check(t, err)
			got := s.Shown()[0]
			if got.ID != id || got.Title != test.title || got.Body != test.body || !slices.Equal(got.Actions, test.actions) {
				t.Errorf("%+v", got)
			}
			if got.App != "ZeroPass" || got.Urgency != 2 || got.Life != 90_000 {
				t.Errorf("%+v", got)
			}
			if again, err := n.Show(t.Context(), Notification{Title: strings.Repeat("ä", maxText)}, id); err != nil || again != id {
				t.Errorf("in its place: %d, %v", again, err)
			}
			if got := s.Shown()[0]; len(got.Title) > maxText+len("…") || got.Urgency != 1 || got.Life != -1 || got.Times != 2 {
				t.Errorf("%+v", got)
			}
			n.Close(t.Context(), id)
			n.Close(t.Context(), id)
			if !s.Shown()[0].Closed {
				t.Error("it was not closed")
			}
		})
	}
}

// Only the notification server says what was clicked: any other program on the bus
// could say it too, and is not believed.
func TestEventsAreTheServers(t *testing.T) {
	bus := startBus(t)
	s := startServer(t, bus, "actions")
	n := connect(t)
	stranger, err := dbus.Connect(bus.Address)
	check(t, err)
	defer func() { _ = stranger.Close() }()
	check(t, stranger.Emit(path, service+".ActionInvoked", uint32(1), "yes"))
	names := n.bus.Names()
	direct := &dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant(names[0]), dbus.FieldPath: dbus.MakeVariant(dbus.ObjectPath(path)),
		dbus.FieldInterface: dbus.MakeVariant(service), dbus.FieldMember: dbus.MakeVariant("ActionInvoked"),
		dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(uint32(0), "")),
	}, Body: []any{uint32(1), "yes"}}
	if call := stranger.Send(direct, nil); call != nil {
		check(t, call.Err)
	}
	check(t, stranger.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err) // what was sent before has been passed on
	if e, ok := event(n, 100*time.Millisecond); ok {
		t.Errorf("a stranger was believed: %+v", e)
	}
	check(t, s.Click(7, "no"))
	for _, want := range []Event{{7, "no"}, {7, ""}} {
		if e, ok := event(n, 10*time.Second); !ok || e != want {
			t.Errorf("%+v, %v, want %+v", e, ok, want)
		}
	}
}

// Another notification server counts from 1 again, so that nothing of the old one
// may be taken for its.
func TestServerEnds(t *testing.T) {
	bus := startBus(t)
	s := startServer(t, bus, "actions")
	n := connect(t)
	s.Stop()
	startServer(t, bus, "actions")
	if e, ok := event(n, 10*time.Second); ok {
		t.Errorf("%+v", e)
	}
	if _, err := n.Show(t.Context(), question, 0); err == nil {
		t.Error("shown by a server that has ended")
	}
	_, err := connect(t).Show(t.Context(), question, 0)
	check(t, err)
}

func TestNoDesktop(t *testing.T) {
	bus := startBus(t)
	runtime := t.TempDir()
	silent, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(runtime, "bus"), Net: "unix"})
	check(t, err)
	defer func() { _ = silent.Close() }()
	for _, test := range []struct{ name, address, runtime, says string }{
		{"no session", "", "", "there is no desktop session"},
		{"a directory without a bus", "", t.TempDir(), "there is no desktop session"},
		{"no bus yet", "autolaunch:", "", "there is no desktop session"},
		{"nobody there", "unix:path=" + runtime + "/none", "", "does not answer"},
		{"not a bus", "", runtime, "does not answer"},
		{"no notification server", bus.Address, "", "org.freedesktop.Notifications"},
	} {
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", test.address)
		t.Setenv("XDG_RUNTIME_DIR", test.runtime)
		ctx, cancel := context.WithCancel(t.Context())
		if test.name == "not a bus" {
			time.AfterFunc(100*time.Millisecond, cancel)
		}
		n, err := Connect(ctx)
		cancel()
		if n != nil || !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, %v", test.name, n, err)
		}
	}
}
