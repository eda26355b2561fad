package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"zeropass.dev/zeropass/internal/desktop/desktoptest"
)

// desktopKey is where a script's notification server is.
type desktopKey struct{}

type scriptDesktop struct{ server *desktoptest.Server }

const desktopUsage = `usage: desktop start [CAPABILITY...]
desktop shows|closed PATTERN   waits until one that fits is on the screen, or taken away
desktop click LABEL PATTERN    clicks a button of one that fits
desktop lacks LABEL PATTERN    fails if one that fits has that button
desktop empty                  fails if something is on the screen, or ever was`

// cmdDesktop is a session with a notification server. Patterns are about title,
// body and buttons, in lines.
func cmdDesktop(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("%s", desktopUsage)
	}
	running := ts.Value(desktopKey{}).(*scriptDesktop)
	switch {
	case args[0] == "start":
		bus, err := desktoptest.StartBus()
		ts.Check(err)
		ts.Defer(func() { _ = bus.Stop() })
		running.server, err = desktoptest.StartServer(bus.Address, args[1:]...)
		ts.Check(err)
		ts.Setenv("DBUS_SESSION_BUS_ADDRESS", bus.Address)
	case args[0] == "shows" && len(args) == 2:
		awaitShown(ts, running, args[1], false)
	case args[0] == "closed" && len(args) == 2:
		awaitShown(ts, running, args[1], true)
	case args[0] == "click" && len(args) == 3:
		n := awaitShown(ts, running, args[2], false)
		key := n.Key(args[1])
		if key == "" {
			ts.Fatalf("no button %q in %+v", args[1], n)
		}
		time.Sleep(2 * unread)
		ts.Check(running.server.Click(n.ID, key))
	case args[0] == "lacks" && len(args) == 3:
		if n := awaitShown(ts, running, args[2], false); n.Key(args[1]) != "" {
			ts.Fatalf("a button %q in %+v", args[1], n)
		}
	case args[0] == "empty" && len(args) == 1:
		if all := running.server.Shown(); len(all) > 0 {
			ts.Fatalf("on the screen: %+v", all)
		}
	default:
		ts.Fatalf("%s", desktopUsage)
	}
}

// awaitShown returns the oldest notification that fits.
func awaitShown(ts *testscript.TestScript, running *scriptDesktop, pattern string, closed bool) desktoptest.Shown {
	re, err := regexp.Compile("(?m)" + pattern)
	ts.Check(err)
	n, err := running.server.Await(20*time.Second, func(n desktoptest.Shown) bool {
		return n.Closed == closed && !n.Clicked && re.MatchString(n.Title+"\n"+n.Body+"\n"+strings.Join(n.Actions, "\n"))
	})
	ts.Check(err)
	return n
}

// ended PROCESS: waits until no process has this number.
func cmdEnded(ts *testscript.TestScript, neg bool, args []string) {
	var process int
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ended PROCESS")
	}
	_, err := fmt.Sscan(args[0], &process)
	ts.Check(err)
	for deadline := time.Now().Add(20 * time.Second); alive(process); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("process %d goes on", process)
		}
	}
}
