package crashtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// programs are the real ones, built once.
type programs struct{ dir string }

func (p programs) build(flags ...string) error {
	args := append([]string{"build", "-o", p.dir + "/"}, flags...)
	build := exec.Command("go", append(args, "zeropass.dev/zeropass/cmd/zeropass", "zeropass.dev/zeropass/cmd/zeropass-server")...)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	return nil
}

// site is one server and the devices that it knows, with all that they keep in one
// directory, so that a copy of it is another world.
//
// device/ has every device's home, server/ the server's data, and beside them are
// the passphrases and what the people of the story tell each other.
type site struct {
	programs
	dir     string
	address string // the same for all copies: it is written into the homes
	server  *process
	hook    *hook                      // hears the alarms of the site and all its copies
	heard   int64                      // how many had come before
	company *company                   // what other devices do meanwhile, nil if nothing
	command atomic.Pointer[os.Process] // the newest that was started
}

const (
	passphrase        = "four words for tests"
	confirmPassphrase = "four other words too"
)

// newSite makes an empty site in a directory that exists. Its server has a loopback
// address of its own, where nothing else comes between two of its lives.
func newSite(p programs, dir string) (*site, error) {
	host := net.IPv4(127, 64+rand.N[byte](64), rand.N[byte](255), 1+rand.N[byte](250))
	listener, err := net.Listen("tcp", net.JoinHostPort(host.String(), "0"))
	if err != nil {
		return nil, err
	}
	s := &site{programs: p, dir: dir, address: listener.Addr().String(), hook: newHook()}
	if err := s.hook.writeCertificate(s.path("hook.pem")); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"pw": passphrase, "pw2": confirmPassphrase} {
		if err := os.WriteFile(s.path(name), []byte(text+"\n"), 0o600); err != nil {
			return nil, err
		}
	}
	return s, errors.Join(listener.Close(), os.MkdirAll(s.path("device", "run"), 0o700), os.Mkdir(s.path("server"), 0o700))
}

func (s *site) path(name ...string) string {
	return filepath.Join(s.dir, filepath.Join(name...))
}

// copyTo copies all that is on the disk; modes matter to the programs.
func (s *site) copyTo(dir string) (*site, error) {
	copied := &site{programs: s.programs, dir: dir, address: s.address, hook: s.hook}
	return copied, filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(path, s.dir))
		if info.Mode()&fs.ModeSocket != 0 {
			return nil // nobody listens there any more
		}
		if d.IsDir() {
			return os.Mkdir(to, info.Mode().Perm())
		}
		b, err := os.ReadFile(path)
		return errors.Join(err, os.WriteFile(to, b, info.Mode().Perm()))
	})
}

// process is a server that runs.
type process struct {
	cmd    *exec.Cmd
	log    *bytes.Buffer
	exited chan error
}

// start starts the server, under the watch if there is one.
func (s *site) start(w *watch) error {
	cmd := exec.Command(filepath.Join(s.programs.dir, "zeropass-server"),
		"serve", "--json", "--data", s.path("server", "data"), "--key-file", s.path("server", "keys"), "--listen", s.address, "--webhook-private")
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+s.path("hook.pem"))
	p := &process{cmd: cmd, log: &bytes.Buffer{}, exited: make(chan error, 1)}
	cmd.Stderr = p.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := start(cmd, w); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	go func() {
		_, _ = io.Copy(io.Discard, out)
		p.exited <- cmd.Wait()
	}()
	var ready struct{ Ready bool }
	if err == nil {
		err = json.Unmarshal([]byte(line), &ready)
	}
	if err != nil || !ready.Ready {
		<-p.exited
		return &stoppedError{p.log.String()}
	}
	s.server = p
	return nil
}

// start starts a program, under the watch if there is one.
func start(cmd *exec.Cmd, w *watch) error {
	if w == nil {
		return cmd.Start()
	}
	return w.start(cmd)
}

// runs says whether the server still runs.
func (s *site) runs() bool {
	if s.server == nil {
		return false
	}
	select {
	case err := <-s.server.exited:
		s.server.exited <- err
		return false
	default:
		return true
	}
}

// stoppedError says that the server did not come up.
type stoppedError struct{ log string }

func (e *stoppedError) Error() string { return "the server did not start:\n" + e.log }

// stop ends the server as a system does, or with SIGKILL.
func (s *site) stop(signal syscall.Signal) error {
	p := s.server
	if p == nil {
		return nil
	}
	s.server = nil
	_ = p.cmd.Process.Signal(signal)
	select {
	case err := <-p.exited:
		if signal == syscall.SIGKILL {
			return nil
		}
		return err
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		return errors.New("the server does not stop")
	}
}

// leave ends all that runs, whatever it does.
func (s *site) leave() {
	s.company.kill()
	s.company = nil
	_ = s.stop(syscall.SIGKILL)
	s.killAgents()
}

// command is what somebody types, on one of the devices.
type command struct {
	who      string
	args     []string
	unlocked bool // by the agent
}

func (c command) String() string { return c.who + ": zeropass " + strings.Join(c.args, " ") }

// result is what came of it.
type result struct {
	command
	code           int // -1 when it was killed
	stdout, stderr string
}

// run runs a command to its end, under the watch if there is one. What it prints
// must do for a person, whatever happened.
func (s *site) run(w *watch, c command) (result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := s.runUntil(ctx, w, c)
	if err == nil && ctx.Err() != nil {
		err = r.failed("it still runs after a minute")
	}
	return r, err
}

// runUntil runs a command to its end, or stops it as Ctrl-C does.
func (s *site) runUntil(ctx context.Context, w *watch, c command) (result, error) {
	c, err := s.fill(c)
	if err != nil {
		return result{}, err
	}
	args := append(slices.Clone(c.args), "--home", s.path("device", c.who), "--confirm-passphrase-file", s.path("pw2"))
	if !c.unlocked {
		args = append(args, "--passphrase-file", s.path("pw"))
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.programs.dir, "zeropass"), args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+s.path("device", "run"), "DBUS_SESSION_BUS_ADDRESS=", "DBUS_SYSTEM_BUS_ADDRESS=unix:path="+s.path("none"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := start(cmd, w); err != nil {
		return result{}, err
	}
	s.command.Store(cmd.Process)
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) && ctx.Err() == nil {
		return result{}, err
	}
	r := result{c, cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	return r, r.check()
}

// check says what nobody should get to see.
func (r *result) check() error {
	both := r.stdout + r.stderr
	for _, word := range []string{"panic:", "goroutine ", "fatal error:", "runtime error", passphrase, confirmPassphrase} {
		if strings.Contains(both, word) {
			return r.failed("it prints %q", word)
		}
	}
	for _, i := range everything {
		if strings.Contains(both, i.password) && r.args[0] != "get" {
			return r.failed("it prints the password of %s", i.title)
		}
	}
	quiet := r.code <= 0 || r.code == notYet && strings.Contains(strings.Join(r.args, " "), "status")
	if !quiet && !(strings.Contains(r.stderr, "error: ") && strings.Contains(r.stderr, "hint: ")) {
		return r.failed("it ends with %d, and does not say what to do", r.code)
	}
	return nil
}

func (r *result) failed(format string, args ...any) error {
	return fmt.Errorf("%v: %s\n%s%s", r.command, fmt.Sprintf(format, args...), r.stdout, r.stderr)
}

// notYet is the exit code of what is not recoverable, or waits.
const notYet = 7

// want runs a command that must end with a code.
func (s *site) want(code int, who string, args ...string) (result, error) {
	r, err := s.run(nil, command{who: who, args: args})
	if err == nil && r.code != code {
		err = r.failed("it ends with %d, not %d", r.code, code)
	}
	return r, err
}

// do runs commands that must succeed, each a device's name and what it is given.
func (s *site) do(commands ...command) error {
	for _, c := range commands {
		r, err := s.run(nil, c)
		if err == nil && r.code != 0 {
			err = r.failed("it ends with %d", r.code)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ask runs a command that must succeed, and reads the JSON that it prints.
func (s *site) ask(answer any, who string, args ...string) error {
	r, err := s.want(0, who, append(args, "--json")...)
	if err == nil {
		err = json.Unmarshal([]byte(r.stdout), answer)
	}
	return err
}
