package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// talk CODE FILE COMMAND...: runs the command on a terminal of its own and talks
// to it as the file says, line by line:
//
//	see TEXT    wait until this is shown
//	type TEXT   type it and press Enter
//	hide TEXT   likewise, once the terminal does not show what is typed
//	key TEXT    type it without Enter; Go's escapes
//
// What was shown becomes the standard output. The command must end with the code.
func cmdTalk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: talk CODE FILE COMMAND...")
	}
	person, program, err := openPTY()
	ts.Check(err)
	defer person.Close()
	defer program.Close()
	path, err := exec.LookPath(filepath.Join(firstWith(ts.Getenv("PATH"), args[2]), args[2]))
	ts.Check(err)
	cmd := exec.Command(path, args[3:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "ZEROPASS_HOME", "ZEROPASS_TPM"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	cmd.Env = append(cmd.Env, "TERM=xterm-256color")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ts.Check(cmd.Start())
	defer func() { _ = cmd.Process.Kill() }()

	screen := watch(person)
	for _, line := range strings.Split(strings.TrimRight(ts.ReadFile(args[1]), "\n"), "\n") {
		if err := screen.follow(line, program); err != nil {
			ts.Fatalf("%s: %v\n%s", line, err, screen.text())
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-time.After(20 * time.Second):
		ts.Fatalf("still running after 20 seconds:\n%s", screen.text())
	}
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	}
	time.Sleep(20 * time.Millisecond) // what is on its way to the screen
	fmt.Fprint(ts.Stdout(), screen.text())
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, not %s", got, args[0])
	}
}

// firstWith returns the directory of a PATH that has the program.
func firstWith(path, program string) string {
	for _, dir := range filepath.SplitList(path) {
		if _, err := os.Stat(filepath.Join(dir, program)); err == nil {
			return dir
		}
	}
	return ""
}

// openPTY returns the two ends of a new terminal of 100 by 40 characters: what a
// person sees and types on, and what the program has.
func openPTY() (person, program *os.File, err error) {
	if person, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.IoctlSetWinsize(int(person.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 100}); err != nil {
		return nil, nil, err
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	return person, program, err
}

// screen is what a terminal has shown.
type screen struct {
	person *os.File
	mu     sync.Mutex
	shown  bytes.Buffer
	seen   int // how far see has looked
}

func watch(person *os.File) *screen {
	s := &screen{person: person}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := person.Read(b)
			s.mu.Lock()
			s.shown.Write(b[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return s
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.ReplaceAll(s.shown.String(), "\r\n", "\n")
}

// sees says whether the text has been shown since the last that was seen.
func (s *screen) sees(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := bytes.Index(s.shown.Bytes()[s.seen:], []byte(text))
	if at >= 0 {
		s.seen += at + len(text)
	}
	return at >= 0
}

func (s *screen) follow(line string, program *os.File) error {
	verb, text, _ := strings.Cut(line, " ")
	switch verb {
	case "see":
		return within(10*time.Second, func() bool { return s.sees(text) })
	case "hide":
		if err := within(10*time.Second, func() bool {
			state, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
			return err == nil && state.Lflag&unix.ECHO == 0
		}); err != nil {
			return err
		}
		text += "\n"
	case "type":
		text += "\n"
	case "key":
		var err error
		if text, err = strconv.Unquote(`"` + text + `"`); err != nil {
			return err
		}
	default:
		return errors.New("nothing to do")
	}
	_, err := s.person.WriteString(text)
	return err
}

func within(patience time.Duration, done func() bool) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if done() {
			return nil
		}
	}
	return fmt.Errorf("nothing of the kind within %v", patience)
}
