package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Server is zeropass-server, running in a process of its own.
type Server struct {
	URL   string
	admin string
	cmd   *exec.Cmd
	log   bytes.Buffer
	ended chan struct{} // closed when the process has ended

	postgres *Postgres // nil over SQLite
	file     string    // SQLite's
}

// serverProcessor is the one that the server has to itself.
const serverProcessor = 0

// Pinned says whether there are processors enough to give the server one and its
// load another one.
func Pinned() bool { return runtime.NumCPU() >= 2 }

// Start runs a server program with its files below dir, over SQLite there or, if
// that is not nil, over PostgreSQL. Where there are two processors or more the
// server gets the first one for itself, and this process keeps to the second.
func Start(program, dir string, database *Postgres) (*Server, error) {
	args := []string{"serve", "--json", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--allow-os-entropy", "--key-file=" + filepath.Join(dir, "keys")}
	if database == nil {
		args = append(args, "--data="+filepath.Join(dir, "data"))
	} else {
		args = append(args, "--database="+database.URL())
	}
	s := &Server{cmd: exec.Command(program, args...), ended: make(chan struct{}), postgres: database, file: filepath.Join(dir, "data", "zeropass.db")}
	s.cmd.Stderr = &s.log
	// Ctrl-C is for this process, which ends the server; and it must not stay behind.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var on *unix.CPUSet
	if Pinned() {
		on = processors(serverProcessor)
	}
	if err := startKept(s.cmd, s.ended, on); err != nil {
		return nil, fmt.Errorf("load: start %s: %w", program, err)
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	var ready struct {
		URL      string `json:"url"`
		AdminURL string `json:"admin_url"`
	}
	if err != nil || json.Unmarshal(line, &ready) != nil {
		_ = s.cmd.Process.Kill()
		<-s.ended
		return nil, fmt.Errorf("load: the server does not start: %s", bytes.TrimSpace(s.log.Bytes()))
	}
	s.URL, s.admin = ready.URL, ready.AdminURL
	return s, nil
}

// startKept starts a process that ends when this one does, on these processors
// unless there are none. A thread hands its processors on to the process that it
// starts, and Linux ends that process when the thread ends: so a goroutine keeps
// its thread until the process has ended, when it closes ended.
func startKept(cmd *exec.Cmd, ended chan struct{}, on *unix.CPUSet) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread's processors are its own
		defer close(ended)
		if on != nil {
			if err := unix.SchedSetaffinity(0, on); err != nil {
				started <- err
				return
			}
		}
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		_ = cmd.Wait() // who stops it looks how it ended
	}()
	return <-started
}

func processors(list ...int) *unix.CPUSet {
	set := &unix.CPUSet{}
	for _, cpu := range list {
		set.Set(cpu)
	}
	return set
}

// everyProcessor is all of them: Linux leaves out what there is not.
func everyProcessor() *unix.CPUSet {
	set := &unix.CPUSet{}
	set.Fill()
	return set
}

// onProcessors does something on one thread, which has these processors meanwhile, and hands
// them on to the processes that it starts.
func onProcessors(set *unix.CPUSet, do func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var own unix.CPUSet
	if err := errors.Join(unix.SchedGetaffinity(0, &own), unix.SchedSetaffinity(0, set)); err != nil {
		return fmt.Errorf("load: change processors: %w", err)
	}
	return errors.Join(do(), unix.SchedSetaffinity(0, &own))
}

// Pin keeps all threads of this process on the second processor, so that the
// server has the first one for itself.
func Pin() error {
	if !Pinned() {
		return nil
	}
	runtime.GOMAXPROCS(2) // one of them for what is measured on the server's
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, task := range tasks {
		id, err := strconv.Atoi(task.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, processors(1)); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("load: keep to one processor: %w", err)
		}
	}
	return nil
}

// Stop ends the server as a system does, and returns its log if that fails.
func (s *Server) Stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(30 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
	if !s.cmd.ProcessState.Success() {
		return fmt.Errorf("load: the server ended with %v: %s", s.cmd.ProcessState, bytes.TrimSpace(s.log.Bytes()))
	}
	return nil
}

// warm reads SQLite's file, so that its pages are in memory. Where memory is shared with
// other machines, a system may drop what nobody has read for half a minute, and what is
// measured would be its disk.
func (s *Server) warm() error {
	if s.postgres != nil {
		return nil // which keeps its pages itself
	}
	f, err := os.Open(s.file)
	if err != nil {
		return fmt.Errorf("load: read the database: %w", err)
	}
	_, err = io.Copy(io.Discard, f)
	return errors.Join(err, f.Close())
}

// Usage is what a server has used since it started.
type Usage struct {
	CPU      time.Duration // of zeropass-server, in steps of 10 ms
	Database time.Duration // of PostgreSQL, likewise; SQLite's is the server's
	Commits  float64       // durable ones: how often the database's log was synced
	Bytes    int64         // of the database
}

// commits is the server's counter of durable commits.
const commits = `zeropass_store_commits_total`

// Usage reads the server's processor time and the counters of durable commits.
func (s *Server) Usage(ctx context.Context) (u Usage, err error) {
	if s.postgres != nil {
		if u, err = s.postgres.usage(ctx); err != nil {
			return u, err
		}
	} else {
		metrics, err := s.metrics(ctx)
		if err != nil {
			return u, err
		}
		n, ok := metrics[commits]
		if !ok {
			return u, fmt.Errorf("load: the server has no metric %s", commits)
		}
		u.Commits = n
	}
	stat, err := readStat(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return u, err
	}
	u.CPU = stat.own
	u.Bytes, err = s.DataBytes(ctx)
	return u, err
}

// errConflict is what ask returns where the server does the same for another one.
var errConflict = errors.New("load: another one asks for the same")

// Profile writes where the server's processor time goes for some seconds, as go tool
// pprof reads it. It waits for the end of one that nobody waits for any more.
func (s *Server) Profile(ctx context.Context, to io.Writer, seconds int) error {
	body, err := s.ask(ctx, fmt.Sprintf("/profile?seconds=%d", seconds))
	for errors.Is(err, errConflict) && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
		body, err = s.ask(ctx, fmt.Sprintf("/profile?seconds=%d", seconds))
	}
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	_, err = io.Copy(to, body)
	return err
}

// ask asks where operators do.
func (s *Server) ask(ctx context.Context, path string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.admin+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.Join(errors.New(response.Status), response.Body.Close())
		if response.StatusCode == http.StatusConflict {
			err = errors.Join(errConflict, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("load: %s of the server: %w", path, err)
	}
	return response.Body, nil
}

// metrics reads the page of metrics.
func (s *Server) metrics(ctx context.Context) (map[string]float64, error) {
	body, err := s.ask(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	values := map[string]float64{}
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			values[name] = v
		}
	}
	return values, lines.Err()
}
