// Package desktoptest runs a D-Bus of its own and a notification server on it that
// keeps what it is told to show, and clicks where a test says.
package desktoptest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	service = "org.freedesktop.Notifications"
	path    = "/org/freedesktop/Notifications"
)

// Bus is a running session bus.
type Bus struct {
	Address string // for DBUS_SESSION_BUS_ADDRESS

	dir string
	cmd *exec.Cmd
}

// StartBus starts a bus with nobody on it.
func StartBus() (*Bus, error) {
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		return nil, fmt.Errorf("%w: run make test, which installs it", err)
	}
	dir, err := os.MkdirTemp("", "bus") // a test's own directory is too long a path for a socket
	if err != nil {
		return nil, err
	}
	b := &Bus{dir: dir, cmd: exec.Command("dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1", "--address=unix:dir="+dir)}
	out, err := b.cmd.StdoutPipe()
	if err == nil {
		err = b.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(err, b.Stop())
	}
	b.Address = strings.TrimSpace(address)
	return b, nil
}

// Stop ends the bus.
func (b *Bus) Stop() error {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	return os.RemoveAll(b.dir)
}

// Shown is a notification.
type Shown struct {
	ID      uint32
	App     string
	Title   string
	Body    string
	Actions []string // key, label, key, label ...
	Urgency byte
	Life    int32 // milliseconds; -1 is the server's choice
	Closed  bool  // by the program
	Clicked bool  // or dismissed by the person
	Times   int   // it was shown, in place of itself
}

// Key returns the key of the button with this label, or nothing.
func (s Shown) Key(label string) string {
	for i := 0; i+1 < len(s.Actions); i += 2 {
		if s.Actions[i+1] == label {
			return s.Actions[i]
		}
	}
	return ""
}

// Server is a notification server.
type Server struct {
	bus *dbus.Conn

	mu    sync.Mutex
	shown []Shown
}

// StartServer starts a notification server with these capabilities.
func StartServer(address string, capabilities ...string) (*Server, error) {
	bus, err := dbus.Connect(address)
	if err != nil {
		return nil, err
	}
	s := &Server{bus: bus}
	err = bus.ExportMethodTable(map[string]any{
		"GetCapabilities":   func() ([]string, *dbus.Error) { return capabilities, nil },
		"Notify":            s.notify,
		"CloseNotification": s.closed,
	}, path, service)
	if err == nil {
		var reply dbus.RequestNameReply
		reply, err = bus.RequestName(service, dbus.NameFlagDoNotQueue)
		if err == nil && reply != dbus.RequestNameReplyPrimaryOwner {
			err = fmt.Errorf("%s is taken", service)
		}
	}
	if err != nil {
		return nil, errors.Join(err, bus.Close())
	}
	return s, nil
}

// Stop takes the server off the bus.
func (s *Server) Stop() { _ = s.bus.Close() }

func (s *Server) notify(app string, replaces uint32, _, title, body string, actions []string, hints map[string]dbus.Variant, life int32) (uint32, *dbus.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	urgency, _ := hints["urgency"].Value().(byte)
	n := Shown{App: app, Title: title, Body: body, Actions: actions, Urgency: urgency, Life: life, Times: 1}
	if i := int(replaces) - 1; i >= 0 && i < len(s.shown) {
		n.ID, n.Times = replaces, s.shown[i].Times+1
		s.shown[i] = n
		return replaces, nil
	}
	n.ID = uint32(len(s.shown) + 1)
	s.shown = append(s.shown, n)
	return n.ID, nil
}

func (s *Server) closed(id uint32) *dbus.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := int(id) - 1; i >= 0 && i < len(s.shown) && !s.shown[i].Closed {
		s.shown[i].Closed = true
		return nil
	}
	return dbus.MakeFailedError(errors.New("it is gone"))
}

// Shown returns all notifications that ever were shown.
func (s *Server) Shown() []Shown {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.shown)
}

// Await returns the first notification that fits, once there is one.
func (s *Server) Await(patience time.Duration, fits func(Shown) bool) (Shown, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		all := s.Shown()
		if i := slices.IndexFunc(all, fits); i >= 0 {
			return all[i], nil
		}
		if time.Now().After(deadline) {
			return Shown{}, fmt.Errorf("no such notification in %s; there are %+v", patience, all)
		}
	}
}

// Click presses a button; desktops then close the notification.
func (s *Server) Click(id uint32, key string) error {
	return errors.Join(s.bus.Emit(path, service+".ActionInvoked", id, key), s.Dismiss(id))
}

// Dismiss has the person close a notification.
func (s *Server) Dismiss(id uint32) error {
	s.mu.Lock()
	if i := int(id) - 1; i >= 0 && i < len(s.shown) {
		s.shown[i].Clicked = true
	}
	s.mu.Unlock()
	return s.bus.Emit(path, service+".NotificationClosed", id, uint32(2))
}
