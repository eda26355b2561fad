package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// systemd tells the service manager how the server is; sd_notify(3). Without
// NOTIFY_SOCKET it does nothing.
type systemd struct {
	socket string
	log    *slog.Logger
}

func newSystemd(log *slog.Logger) *systemd {
	socket := os.Getenv("NOTIFY_SOCKET")
	if name, ok := strings.CutPrefix(socket, "@"); ok {
		socket = "\x00" + name // in the abstract namespace
	}
	return &systemd{socket: socket, log: log}
}

// say sends one state, READY=1 for one.
func (s *systemd) say(state string) {
	if s.socket == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.socket, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(state))
		_ = conn.Close() // it was sent, or that failed
	}
	if err != nil {
		s.log.Warn("the service manager could not be told", "state", state, "error", err)
	}
}

// watchdog says that the server is alive, as often as the service manager wants,
// until ctx ends. alive returns once the server is.
func (s *systemd) watchdog(ctx context.Context, alive func()) {
	microseconds, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if pid := os.Getenv("WATCHDOG_PID"); s.socket == "" || err != nil || microseconds < 2 || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return
	}
	again := time.NewTicker(time.Duration(microseconds) * time.Microsecond / 2)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
			alive()
			s.say("WATCHDOG=1")
		}
	}
}
