// Package desktop shows notifications on the desktop of the session in which the
// program runs: the Desktop Notifications Specification 1.2 over D-Bus.
//
// [Connect] finds the notification server, [Notifier.Show] and [Notifier.Close]
// show a notification and take it away, and [Notifier.Events] tells what the
// person did with it. What is shown may stay on a locked screen and in a list of
// old notifications, so nothing secret belongs into it.
package desktop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// Names of the notification server, section 9.
const (
	service = "org.freedesktop.Notifications"
	path    = "/org/freedesktop/Notifications"
)

// answerTime is how long a notification server may take.
const answerTime = 5 * time.Second

// maxText is the size in bytes from which on text is cut, so that no title pushes
// the rest off the screen.
const maxText = 1000

// ErrNone: there is no desktop session, or nothing in it shows notifications.
var ErrNone = errors.New("desktop: nothing here shows notifications")

// Notification is what is shown.
type Notification struct {
	Title   string // one line
	Body    string // plain text; it is never taken for markup
	Actions []Action
	Urgent  bool          // it stays until it is answered or closed
	Life    time.Duration // after which it goes by itself; 0 leaves that to the desktop
}

// Action is a button. None is the default action: a click on the notification
// itself does nothing.
type Action struct {
	Key   string // comes back in the event
	Label string
}

// Event is what happened to a notification.
type Event struct {
	ID     uint32
	Action string // the key of the button; empty when the notification was closed
}

// Notifier is a connection to the session's notification server. Its methods are
// called one after the other.
type Notifier struct {
	bus     *dbus.Conn
	events  chan Event
	signals chan *dbus.Signal
	actions bool
	body    bool
	markup  bool

	mu    sync.Mutex
	owner string // the server's unique name: nobody else is believed
}

// Connect connects to the notification server, starting it if the desktop knows
// how. It returns an error that wraps [ErrNone] where there is none.
func Connect(ctx context.Context) (*Notifier, error) {
	address, ok := sessionBus()
	if !ok {
		return nil, fmt.Errorf("%w: there is no desktop session (D-Bus)", ErrNone)
	}
	bus, err := dial(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("%w: the session's D-Bus does not answer: %v", ErrNone, err)
	}
	n := &Notifier{bus: bus, events: make(chan Event, 64), signals: make(chan *dbus.Signal, 64)}
	if err := n.begin(ctx); err != nil {
		_ = bus.Close()
		return nil, fmt.Errorf("%w: %v", ErrNone, err)
	}
	go n.listen()
	return n, nil
}

// sessionBus returns the address of the session's bus. The D-Bus library would
// start a bus where there is none, and leave it.
func sessionBus() (address string, ok bool) {
	if address := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); address != "" {
		return address, address != "autolaunch:"
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(dir) {
		return "", false
	}
	socket := filepath.Join(dir, "bus")
	if _, err := os.Stat(socket); err != nil {
		return "", false
	}
	return "unix:path=" + dbus.EscapeBusAddressValue(socket), true
}

// dial connects to a bus, and gives up on one that says nothing.
func dial(ctx context.Context, address string) (*dbus.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	patience := time.AfterFunc(answerTime, cancel)
	bus, err := dbus.Connect(address, dbus.WithContext(ctx), dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil || !patience.Stop() {
		cancel()
		return nil, cmp.Or(err, context.DeadlineExceeded)
	}
	context.AfterFunc(bus.Context(), cancel)
	return bus, nil
}

func (n *Notifier) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	n.bus.Signal(n.signals)
	for _, rule := range [][]dbus.MatchOption{
		{dbus.WithMatchInterface(service), dbus.WithMatchSender(service)},
		{dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, service)},
	} {
		if err := n.bus.AddMatchSignalContext(ctx, rule...); err != nil {
			return err
		}
	}
	var capabilities []string
	if err := n.object().CallWithContext(ctx, service+".GetCapabilities", 0).Store(&capabilities); err != nil {
		return err
	}
	n.actions = slices.Contains(capabilities, "actions")
	n.body = slices.Contains(capabilities, "body")
	n.markup = slices.Contains(capabilities, "body-markup")
	var owner string
	if err := n.bus.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetNameOwner", 0, service).Store(&owner); err != nil {
		return err
	}
	n.setOwner(owner)
	return nil
}

func (n *Notifier) object() dbus.BusObject { return n.bus.Object(service, path) }

func (n *Notifier) setOwner(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.owner = name
}

func (n *Notifier) isOwner(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return name != "" && name == n.owner
}

// listen passes on what the notification server says, until the bus ends. Every
// program on the bus can send such a signal straight to this one, so that what
// counts is who sent it.
func (n *Notifier) listen() {
	defer close(n.events)
	for s := range n.signals {
		switch {
		case s.Name == "org.freedesktop.DBus.NameOwnerChanged" && s.Sender == "org.freedesktop.DBus":
			var name, before, after string
			if dbus.Store(s.Body, &name, &before, &after) != nil || name != service || n.isOwner(after) {
				continue
			}
			// The next server counts from 1 again: what is shown by the old one
			// must not be taken for the new one's. Whoever needs notifications
			// connects again.
			_ = n.bus.Close()
		case !n.isOwner(s.Sender):
		case s.Name == service+".ActionInvoked":
			var e Event
			if dbus.Store(s.Body, &e.ID, &e.Action) == nil && e.Action != "" {
				n.events <- e
			}
		case s.Name == service+".NotificationClosed":
			var e Event
			var reason uint32
			if dbus.Store(s.Body, &e.ID, &reason) == nil {
				n.events <- e
			}
		}
	}
}

// Events are what happens to notifications. The channel is closed when the
// connection to the notification server has ended.
func (n *Notifier) Events() <-chan Event { return n.events }

// HasActions says whether notifications can have buttons here.
func (n *Notifier) HasActions() bool { return n.actions }

// Show shows a notification and returns its id. Where replaces is not 0 it takes
// the place of that one.
func (n *Notifier) Show(ctx context.Context, shown Notification, replaces uint32) (id uint32, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	actions := []string{}
	if n.actions {
		for _, a := range shown.Actions {
			actions = append(actions, a.Key, a.Label)
		}
	}
	title, body := cut(shown.Title), cut(shown.Body)
	if !n.body && body != "" {
		title, body = title+": "+body, ""
	}
	if n.markup {
		body = markup.Replace(body)
	}
	hints := map[string]dbus.Variant{"urgency": dbus.MakeVariant(byte(1))}
	if shown.Urgent {
		hints["urgency"] = dbus.MakeVariant(byte(2))
	}
	life := int32(-1)
	if shown.Life > 0 {
		life = int32(min(shown.Life, 24*time.Hour).Milliseconds())
	}
	err = n.object().CallWithContext(ctx, service+".Notify", 0, "ZeroPass", replaces, "dialog-password", title, body, actions, hints, life).Store(&id)
	if err != nil {
		return 0, fmt.Errorf("desktop: show a notification: %w", err)
	}
	return id, nil
}

// Close takes a notification away. One that is gone already is no error.
func (n *Notifier) Close(ctx context.Context, id uint32) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	_ = n.object().CallWithContext(ctx, service+".CloseNotification", 0, id).Err // the specification has servers refuse what is gone
}

// Disconnect ends the connection. What is shown stays.
func (n *Notifier) Disconnect() { _ = n.bus.Close() }

// markup is what a body's text has to be written with where it may be markup,
// section 4.
var markup = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// cut keeps text short, and valid as D-Bus wants it.
func cut(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}
