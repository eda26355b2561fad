package agent

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"zeropass.dev/zeropass/home"
)

// startBus runs a bus of its own and returns a function that connects to it.
func startBus(t *testing.T) func() *dbus.Conn {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Fatalf("%v: run make test, which installs it", err)
	}
	cmd := exec.Command("dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1", "--address=unix:dir="+t.TempDir())
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	check(t, err)
	return func() *dbus.Conn {
		bus, err := dbus.Connect(strings.TrimSpace(address))
		check(t, err)
		t.Cleanup(func() { _ = bus.Close() })
		return bus
	}
}

// logind is as much of systemd-logind as an agent talks to, on a real bus.
type logind struct {
	bus       *dbus.Conn
	inhibitor chan *os.File // the end that reads: it ends when the delay does
	asked     [4]string
}

const mySession = dbus.ObjectPath(loginPath + "/session/_31")

func (l *logind) Inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	l.asked = [4]string{what, who, why, mode}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	fd := dbus.UnixFD(w.Fd())
	time.AfterFunc(100*time.Millisecond, func() { _ = w.Close() }) // once it is sent
	l.inhibitor <- r
	return fd, nil
}

func (l *logind) GetSession(id string) (dbus.ObjectPath, *dbus.Error) {
	if id != "1" {
		return "", dbus.NewError("org.freedesktop.login1.NoSuchSession", nil)
	}
	return mySession, nil
}

func startLogind(t *testing.T, bus *dbus.Conn) *logind {
	t.Helper()
	l := &logind{bus: bus, inhibitor: make(chan *os.File, 1)}
	check(t, bus.Export(l, loginPath, loginManager))
	reply, err := bus.RequestName(login, dbus.NameFlagDoNotQueue)
	if err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("own %s: %v, %v", login, reply, err)
	}
	return l
}

func TestLocksOnSuspend(t *testing.T) {
	for _, test := range []struct {
		name  string
		path  dbus.ObjectPath
		what  string
		body  []any
		locks bool
	}{
		{"the machine goes to sleep", loginPath, loginManager + ".PrepareForSleep", []any{true}, true},
		{"the machine wakes up", loginPath, loginManager + ".PrepareForSleep", []any{false}, false},
		{"the session is locked", mySession, loginSession + ".Lock", nil, true},
		{"the session is unlocked", mySession, loginSession + ".Unlock", nil, false},
		{"another session is locked", loginPath + "/session/_32", loginSession + ".Lock", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("XDG_SESSION_ID", "1")
			connect := startBus(t)
			l := startLogind(t, connect())
			h := newHome(t)
			a, ended := start(t, h, time.Minute)
			check(t, a.LockOnSuspend(t.Context(), connect()))
			inhibitor := <-l.inhibitor
			defer func() { _ = inhibitor.Close() }()
			if want := [4]string{"sleep", "ZeroPass", "Locks this device", "delay"}; l.asked != want {
				t.Errorf("asked for the inhibitor %q", l.asked)
			}
			check(t, l.bus.Emit(test.path, test.what, test.body...))
			if !test.locks {
				_, err := dial(t, h).Keys()
				check(t, err)
				select {
				case <-ended:
					t.Error("it has locked")
				case <-time.After(200 * time.Millisecond):
				}
				return
			}
			// The machine may sleep when the inhibitor ends, so there must be no secret then.
			_, _ = inhibitor.Read(make([]byte, 1))
			if err := a.with(func(*home.SecretKeys) error { return nil }); err == nil {
				t.Error("the machine sleeps, and the secret is there")
			}
			check(t, <-ended)
		})
	}
}

// Others on the bus cannot lock it, and without logind it says so.
func TestSuspendIsLogindsToSay(t *testing.T) {
	connect := startBus(t)
	h := newHome(t)
	a, ended := start(t, h, time.Minute)
	if err := a.LockOnSuspend(t.Context(), connect()); err == nil {
		t.Error("no logind, and no error")
	}
	startLogind(t, connect())
	check(t, a.LockOnSuspend(t.Context(), connect()))
	check(t, connect().Emit(loginPath, loginManager+".PrepareForSleep", true))
	select {
	case <-ended:
		t.Error("somebody else has locked it")
	case <-time.After(200 * time.Millisecond):
	}
}
