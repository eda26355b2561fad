package agent

import (
	"context"
	"fmt"
	"os"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// Names of systemd-logind, org.freedesktop.login1(5).
const (
	login        = "org.freedesktop.login1"
	loginPath    = "/org/freedesktop/login1"
	loginManager = login + ".Manager"
	loginSession = login + ".Session"
)

// LockOnSuspend locks the agent before the machine sleeps, and when the desktop
// session is locked, as logind tells on the system's bus. Until ctx is done it
// holds a delay inhibitor, so that the machine waits until the secret is erased.
// It returns an error if there is no logind; then the agent still notices,
// after the sleep, that the clock has moved on.
func (a *Agent) LockOnSuspend(ctx context.Context, bus *dbus.Conn) error {
	inhibitor, err := inhibit(ctx, bus)
	if err != nil {
		return fmt.Errorf("agent: watch for suspend: %w", err)
	}
	rules := [][]dbus.MatchOption{{dbus.WithMatchInterface(loginManager), dbus.WithMatchMember("PrepareForSleep")}}
	if session, err := ownSession(ctx, bus); err == nil {
		rules = append(rules, []dbus.MatchOption{
			dbus.WithMatchInterface(loginSession), dbus.WithMatchMember("Lock"), dbus.WithMatchObjectPath(session),
		})
	}
	for _, rule := range rules {
		if err := bus.AddMatchSignalContext(ctx, append(rule, dbus.WithMatchSender(login))...); err != nil {
			_ = inhibitor.Close()
			return fmt.Errorf("agent: watch for suspend: %w", err)
		}
	}
	signals := make(chan *dbus.Signal, 16)
	bus.Signal(signals)
	go func() {
		defer func() { _ = inhibitor.Close() }()
		defer bus.RemoveSignal(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-a.locked:
				return
			case s, ok := <-signals:
				if !ok {
					return // the bus has ended
				}
				if mustLock(s) {
					a.Lock()
					return
				}
			}
		}
	}()
	return nil
}

// mustLock says whether a signal says that the machine goes to sleep, not that it
// wakes up, or that the screen is locked.
func mustLock(s *dbus.Signal) bool {
	switch s.Name {
	case loginManager + ".PrepareForSleep":
		sleeps, ok := true, false
		if len(s.Body) == 1 {
			sleeps, ok = s.Body[0].(bool)
		}
		return sleeps || !ok
	case loginSession + ".Lock":
		return true
	}
	return false
}

// inhibit makes the machine's sleep wait until the file is closed.
func inhibit(ctx context.Context, bus *dbus.Conn) (*os.File, error) {
	var fd dbus.UnixFD
	call := bus.Object(login, loginPath).CallWithContext(ctx, loginManager+".Inhibit", 0,
		"sleep", "ZeroPass", "Locks this device", "delay")
	if err := call.Store(&fd); err != nil {
		return nil, err
	}
	unix.CloseOnExec(int(fd))
	return os.NewFile(uintptr(fd), "inhibitor"), nil
}

// ownSession returns the login session of this process, or the one that it was
// started from.
func ownSession(ctx context.Context, bus *dbus.Conn) (dbus.ObjectPath, error) {
	call, which := loginManager+".GetSessionByPID", any(uint32(os.Getpid()))
	if id := os.Getenv("XDG_SESSION_ID"); id != "" {
		call, which = loginManager+".GetSession", id
	}
	var path dbus.ObjectPath
	err := bus.Object(login, loginPath).CallWithContext(ctx, call, 0, which).Store(&path)
	return path, err
}
