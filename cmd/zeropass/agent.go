package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/agent"
	"zeropass.dev/zeropass/memory"
)

const unlockLong = `Ask for the passphrase once. Until it locks, commands open this device without it.

An agent, a process in the background, keeps this device's keys in memory that is
not swapped out and not dumped, signs and opens for other commands, and gives no
key away. It locks after some time without a command, when the machine goes to
sleep, when the desktop session is locked, and with "zeropass lock".

What needs the second factor still needs it: the confirm passphrase, or another
device. While this device is unlocked, every program that you run can list titles
and user names.`

func unlockCommand(a *app) *cobra.Command {
	var o unlockOptions
	c := &cobra.Command{
		Use:     "unlock",
		Short:   "Open this device for some time, with an agent",
		Long:    unlockLong,
		Example: "zeropass unlock\nzeropass unlock --idle 1h --no-notify",
		Args:    takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.unlockDevice(cmd.Context(), o)
		}),
	}
	o.flags(c)
	return c
}

// unlockOptions are what unlock and agent take.
type unlockOptions struct {
	idle     time.Duration
	notify   string
	noNotify bool
}

func (o *unlockOptions) flags(c *cobra.Command) {
	c.Flags().DurationVar(&o.idle, "idle", agent.DefaultIdle, "lock after this time without a command")
	c.Flags().StringVar(&o.notify, "notify", notifyFull, "what the desktop shows of questions: full, or private, without titles")
	c.Flags().BoolVar(&o.noNotify, "no-notify", false, "show no questions on the desktop")
}

func agentCommand(a *app) *cobra.Command {
	var o unlockOptions
	var foreground, secretOnStdin bool
	c := &cobra.Command{
		Use:   "agent",
		Short: "Keep this device unlocked, or say whether it is",
		Long: `Keep this device unlocked, as "zeropass unlock" does; with --foreground in this
process, for a supervisor that starts it.`,
		Example: "zeropass agent status\nzeropass agent --foreground --passphrase-file FILE",
		Args:    takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			switch {
			case secretOnStdin:
				return a.serveAgent(cmd.Context(), o.idle, foreground)
			case foreground:
				return a.becomeAgent(cmd.Context(), o.idle)
			}
			return a.unlockDevice(cmd.Context(), o)
		}),
	}
	o.flags(c)
	c.Flags().BoolVar(&foreground, "foreground", false, "run in this process")
	c.Flags().BoolVar(&secretOnStdin, "secret-on-stdin", false, "")
	must(c.Flags().MarkHidden("secret-on-stdin"))
	c.AddCommand(agentStatusCommand(a))
	return c
}

type agentView struct {
	Running      bool       `json:"running"`
	Until        *time.Time `json:"until,omitempty"`
	IdleSeconds  int        `json:"idle_seconds,omitempty"`
	Process      int        `json:"process,omitempty"`
	MemoryLocked *bool      `json:"memory_locked,omitempty"`
	Notifier     int        `json:"notifier,omitempty"`
}

func agentStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say whether this device is unlocked, and until when",
		Args:  takesNothing,
		RunE: a.run(func(*cobra.Command, []string) error {
			dir, err := a.existingHome()
			if err != nil {
				return err
			}
			client, err := agent.Dial(dir)
			if errors.Is(err, agent.ErrNotRunning) {
				return a.show(agentView{}, func() { a.say("This device is locked.") })
			}
			if err != nil {
				return agentFailure(err)
			}
			defer client.Erase()
			return a.showAgent(client)
		}),
	}
}

func (a *app) showAgent(client *agent.Client) error {
	s, err := client.Status()
	if err != nil {
		return agentFailure(err)
	}
	view := agentView{true, jsonTime(s.Until), int(s.Idle / time.Second), s.Process, &s.MemoryLocked, s.Notifier}
	return a.show(view, func() {
		a.say("This device is unlocked until %s, and for %s after each command.", when(s.Until), duration(s.Idle))
		if s.Notifier != 0 {
			a.say("What other devices ask is shown on the desktop.")
		}
		if !s.MemoryLocked {
			a.warn("the system does not let the agent keep its memory out of swap; see ulimit -l")
		}
	})
}

// unlockDevice starts the agent in the background.
func (a *app) unlockDevice(ctx context.Context, o unlockOptions) error {
	if o.notify != notifyFull && o.notify != notifyPrivate {
		return usage("To show nothing there is --no-notify.", "notifications are %s or %s, not %q", notifyFull, notifyPrivate, o.notify)
	}
	dir, err := a.existingHome()
	if err != nil {
		return err
	}
	client, err := agent.Dial(dir)
	if errors.Is(err, agent.ErrNotRunning) {
		if err = a.startAgent(ctx, dir, o.idle); err != nil {
			return err
		}
		client, err = agent.Dial(dir)
	}
	if err != nil {
		return agentFailure(err)
	}
	defer client.Erase()
	if !o.noNotify {
		a.startNotifier(ctx, client, dir, o.notify)
	}
	return a.showAgent(client)
}

// deviceSecret opens this device and returns its secret, which the caller erases.
func (a *app) deviceSecret(ctx context.Context, dir string, idle time.Duration) ([]byte, error) {
	if idle < time.Second {
		return nil, usage("15m is a good choice.", "an agent that locks after %s is of no use", idle)
	}
	h, err := a.openHome(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = h.Close() }()
	if a.passphraseFile == "" && home.HasKeystore(dir) {
		err = a.unlockHome(ctx, h)
	} else {
		err = a.unlockWithPassphrase(ctx, h)
	}
	if err != nil {
		return nil, err
	}
	return h.DeviceSecret()
}

// agentProcess is this program once more, as an agent that reads the secret from
// its standard input, where no other process sees it.
func agentProcess(dir string, idle time.Duration, more ...string) (path string, args, env []string, err error) {
	if path, err = os.Executable(); err != nil {
		return "", nil, nil, err
	}
	args = append([]string{os.Args[0], "agent", "--secret-on-stdin", "--home", dir, "--idle", idle.String()}, more...)
	return path, args, clobbered(), nil
}

// clobbered is the environment of a process that lives long: what the garbage
// collector frees there is overwritten.
func clobbered() (env []string) {
	debug := memory.Clobber
	if old := os.Getenv("GODEBUG"); old != "" {
		debug = old + "," + debug
	}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "GODEBUG=") {
			env = append(env, e)
		}
	}
	return append(env, "GODEBUG="+debug)
}

// secretPipe returns the end of a pipe from which the secret can be read once.
func secretPipe(secret []byte) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Close() }()
	if _, err := w.Write(secret); err != nil { // a pipe holds more than this
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

// startAgent starts an agent of its own session and waits until it answers.
func (a *app) startAgent(ctx context.Context, dir string, idle time.Duration) error {
	secret, err := a.deviceSecret(ctx, dir, idle)
	if err != nil {
		return err
	}
	defer clear(secret)
	path, args, env, err := agentProcess(dir, idle)
	if err != nil {
		return err
	}
	in, err := secretPipe(secret)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	process := &exec.Cmd{
		Path: path, Args: args, Env: env, Dir: "/", Stdin: in, Stdout: theirs, Stderr: theirs,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = process.Start()
	_ = theirs.Close()
	if err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != agentReady {
		_ = process.Wait()
		text := strings.TrimPrefix(strings.TrimSpace(line), "error: ")
		if text == "" {
			text = "it ended without saying why"
		}
		return fail(exitFailed, "Run zeropass unlock again. Every command works with the passphrase too.", "the agent did not start: %s", oneLine(text))
	}
	return process.Process.Release()
}

// becomeAgent makes an agent of this process. A fresh start of the program leaves
// nothing of the passphrase in its memory.
func (a *app) becomeAgent(ctx context.Context, idle time.Duration) error {
	dir, err := a.existingHome()
	if err != nil {
		return err
	}
	if client, err := agent.Dial(dir); err == nil {
		client.Erase()
		return agentFailure(agent.ErrRunning)
	}
	secret, err := a.deviceSecret(ctx, dir, idle)
	if err != nil {
		return err
	}
	defer clear(secret)
	path, args, env, err := agentProcess(dir, idle, "--foreground")
	if err != nil {
		return err
	}
	in, err := secretPipe(secret)
	if err != nil {
		return err
	}
	clear(secret)
	a.erase()
	if err := dup(in, os.Stdin); err != nil {
		return err
	}
	return fmt.Errorf("start the agent: %w", syscall.Exec(path, args, env))
}

// agentReady is what an agent says once it answers.
const agentReady = "unlocked\n"

// serveAgent is the agent.
func (a *app) serveAgent(ctx context.Context, idle time.Duration, foreground bool) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	dir, err := a.homeDir()
	if err != nil {
		return err
	}
	l, err := agent.Listen(dir)
	if err != nil {
		return agentFailure(err)
	}
	defer func() { _ = l.Close() }()
	kept, err := agent.New(dir, a.in, idle)
	if err != nil {
		return agentFailure(err)
	}
	defer kept.Lock()
	_ = a.in.Close()
	if bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx)); err != nil {
		a.warnForeground(foreground, err)
	} else {
		defer func() { _ = bus.Close() }()
		if err := kept.LockOnSuspend(ctx, bus); err != nil {
			a.warnForeground(foreground, err)
		}
	}
	fmt.Fprint(a.out, agentReady)
	if !foreground {
		if err := a.detach(); err != nil {
			return err
		}
	}
	return kept.Serve(ctx, l)
}

func (a *app) warnForeground(foreground bool, err error) {
	if foreground {
		a.warn("nobody tells the agent before the machine goes to sleep; it locks when it wakes up: %v", err)
	}
}

// detach lets go of what the starting command reads and writes.
func (a *app) detach() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }()
	return errors.Join(dup(null, a.out), dup(null, a.err))
}

// agentFailure says what is wrong with an agent.
func agentFailure(err error) error {
	const again = "Run zeropass lock, then zeropass unlock."
	switch {
	case errors.Is(err, agent.ErrOtherHome):
		return fail(exitHome, again, "the agent was unlocked for another account that was in this directory")
	case errors.Is(err, agent.ErrVersion):
		return fail(exitHome, again, "the agent is of another version of zeropass")
	case errors.Is(err, agent.ErrNotifying):
		return fail(exitFailed, "Run zeropass watch without --notify.", "another process shows notifications already: zeropass agent status")
	case errors.Is(err, agent.ErrRunning):
		return fail(exitHome, "Run zeropass agent status.", "an agent is running for this directory already")
	case errors.Is(err, home.ErrLocked):
		return fail(exitFailed, "Run zeropass unlock.", "the agent has just locked this device")
	case errors.Is(err, agent.ErrPeer):
		return fail(exitHome, "Somebody else made it. Set XDG_RUNTIME_DIR to a directory of yours.", "%s", strings.TrimPrefix(err.Error(), "agent: "))
	}
	return err
}
