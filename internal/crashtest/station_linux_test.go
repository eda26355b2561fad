package crashtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// station is one server over one data directory, and the families that write to it
// through all its lives.
type station struct {
	programs
	dir      string // everything of it
	place    string // of data and keys, below dir
	database string // URL of one in PostgreSQL that has the data instead, or empty
	wire     wire
	chance   *rand.Rand
	families []*family // that write
	retired  []*family // that have written enough
	life     *life
	starts   int

	strike  func()        // ends a life; kill, if it is nil
	started time.Duration // how long the last start took
}

// life is the server from a start to an end.
type life struct {
	cmd    *exec.Cmd
	log    bytes.Buffer
	output io.ReadCloser
	ended  chan struct{}
	err    error // how it ended
}

func newStation(p programs, dir string, chance *rand.Rand) *station {
	return &station{programs: p, dir: dir, place: filepath.Join(dir, "server"), chance: chance}
}

// Data and keys are in different directories, so that nobody syncs the one for the
// other.
func (s *station) data() string { return filepath.Join(s.place, "data") }
func (s *station) keys() string { return filepath.Join(s.place, "etc", "keys") }

// prepare makes the directory of the key file, as an operator does.
func (s *station) prepare() error { return os.MkdirAll(filepath.Dir(s.keys()), 0o700) }

// command is one of zeropass-server over the station's data.
func (s *station) command(args ...string) *exec.Cmd {
	if s.database == "" {
		args = append(args, "--data", s.data())
	} else {
		args = append(args, "--database", s.database)
	}
	return exec.Command(filepath.Join(s.programs.dir, "zeropass-server"), append(args, "--key-file", s.keys())...)
}

// begin starts the server, and does not wait for it.
func (s *station) begin() error {
	l := &life{ended: make(chan struct{})}
	// The halves of seeds are not what is tried here: one source is enough.
	l.cmd = s.command("serve", "--json", "--listen", "127.0.0.1:0", "--entropy", "jitter", "--allow-os-entropy")
	l.cmd.Stderr = &l.log
	var err error
	if l.output, err = l.cmd.StdoutPipe(); err != nil {
		return err
	}
	if err := l.cmd.Start(); err != nil {
		return err
	}
	s.life = l
	s.starts++
	return nil
}

// ready waits until the server answers. A *stoppedError says that it ended.
func (s *station) ready(ctx context.Context) error {
	began := time.Now()
	var line struct {
		Ready bool
		URL   string
	}
	text, err := bufio.NewReader(s.life.output).ReadBytes('\n')
	go s.life.wait()
	if err == nil {
		err = json.Unmarshal(text, &line)
	}
	if err != nil || !line.Ready {
		<-s.life.ended
		return &stoppedError{s.life.log.String()}
	}
	s.started = time.Since(began)
	return s.wire.connect(ctx, line.URL)
}

func (l *life) wait() {
	_, _ = io.Copy(io.Discard, l.output)
	l.err = l.cmd.Wait()
	close(l.ended)
}

// kill ends the server as SIGKILL does.
func (s *station) kill() {
	s.wire.dying.Store(true)
	_ = s.life.cmd.Process.Kill()
}

// gone waits until the server has ended.
func (s *station) gone() error {
	select {
	case <-s.life.ended:
		s.wire.disconnect()
		return nil
	case <-time.After(30 * time.Second):
		return errors.New("the server does not end")
	}
}

// prove looks for all that was acknowledged, to families that write.
func (s *station) prove(ctx context.Context, families []*family) error {
	return together(families, func(f *family) error { return f.prove(ctx) })
}

// together does the same for each family at the same time.
func together(families []*family, do func(*family) error) error {
	errs := make([]error, len(families))
	var group sync.WaitGroup
	for i, f := range families {
		group.Go(func() { errs[i] = do(f) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// write has all families write until the server is gone, or until more says no.
func (s *station) write(ctx context.Context, more func() bool) error {
	return together(s.families, func(f *family) error {
		for more() && !f.full() {
			err := f.write(ctx)
			if errors.Is(err, errGone) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("%s writes: %w", f.owner.name, err)
			}
		}
		return nil
	})
}

// renew puts new families in the place of those that have written enough.
func (s *station) renew(count int) error {
	for i, f := range slices.Backward(s.families) {
		if f.full() {
			s.retired = append(s.retired, f)
			s.families = slices.Delete(s.families, i, i+1)
		}
	}
	for len(s.families) < count {
		f, err := newFamily(&s.wire)
		if err != nil {
			return err
		}
		s.families = append(s.families, f)
	}
	return nil
}

// check runs zeropass-server check.
func (s *station) check() error {
	out, err := s.command("check").CombinedOutput()
	if err != nil {
		return fmt.Errorf("zeropass-server check: %w\n%s", err, out)
	}
	return nil
}

// end ends the server, however it is.
func (s *station) end() {
	if s.life == nil || s.life.cmd.ProcessState != nil {
		return
	}
	s.kill()
	<-s.life.ended
	s.wire.disconnect()
}

// kept says where the evidence of a failure is.
func (s *station) kept(err error) error {
	s.end()
	at := keep(s.dir)
	if s.life != nil {
		_ = os.WriteFile(filepath.Join(at, "server log"), s.life.log.Bytes(), 0o600)
	}
	return fmt.Errorf("%w\nEverything is in %s", err, strings.TrimSpace(at))
}
