package main

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"time"

	"zeropass.dev/zeropass/internal/agent"
	"zeropass.dev/zeropass/internal/desktop"
)

// startNotifier starts the process that shows on the desktop what other devices
// ask, unless there is one or there is no desktop. It ends with the agent. That it
// does not start is no reason not to unlock.
func (a *app) startNotifier(ctx context.Context, client *agent.Client, dir, mode string) {
	if s, err := client.Status(); err != nil || s.Notifier != 0 {
		return
	}
	desk, err := desktop.Connect(ctx)
	if err != nil {
		return
	}
	desk.Disconnect()
	path, err := os.Executable()
	if err != nil {
		a.warnNotifier(err.Error())
		return
	}
	process := &exec.Cmd{
		Path: path, Args: []string{os.Args[0], "watch", "--notify=" + mode, "--quiet", "--home", dir}, Env: clobbered(), Dir: "/",
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := process.Start(); err != nil {
		a.warnNotifier(err.Error())
		return
	}
	ended := make(chan struct{})
	go func() {
		_ = process.Wait()
		close(ended)
	}()
	for deadline := time.After(10 * time.Second); ; {
		if s, err := client.Status(); err != nil || s.Notifier != 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ended:
			a.warnNotifier("zeropass watch --notify says why")
			return
		case <-deadline:
			a.warnNotifier("it takes too long")
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (a *app) warnNotifier(why string) {
	a.warn("the desktop will not show what other devices ask: %s", oneLine(why))
}
