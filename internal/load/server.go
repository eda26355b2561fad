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
}

// Pinned says whether there are processors enough to give the server one and its
// load another one.
func Pinned() bool { return runtime.NumCPU() >= 2 }

// Start runs a server program over a database: a PostgreSQL URL, or SQLite in a
// directory below dir if that is empty. Where there are two processors or more the
// server gets the first one for itself, and this process keeps to the second.
func Start(program, dir, database string) (*Server, error) {
	args := []string{"serve", "--json", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--allow-os-entropy", "--key-file=" + filepath.Join(dir, "keys")}
	if database == "" {
		args = append(args, "--data="+filepath.Join(dir, "data"))
	} else {
		args = append(args, "--database="+database)
	}
	s := &Server{cmd: exec.Command(program, args...), ended: make(chan struct{})}
	s.cmd.Stderr = &s.log
	// Ctrl-C is for this process, which ends the server; and it must not stay behind.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		return nil, fmt.Errorf("load: start %s: %w", program, err)
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	var ready struct {
		URL      string `json:"url"`
		AdminURL string `json:"admin_url"`
	}
	if err != nil || json.Unmarshal(line, &ready) != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		return nil, fmt.Errorf("load: the server does not start: %s", bytes.TrimSpace(s.log.Bytes()))
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdout)
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	s.URL, s.admin = ready.URL, ready.AdminURL
	return s, nil
}

// start starts the process on its processor. A thread hands its processors on to
// the process that it starts, and Linux ends that process when the thread ends: so
// this goroutine keeps its thread for good.
func (s *Server) start() error {
	if !Pinned() {
		return s.cmd.Start()
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.SchedSetaffinity(0, processors(0))
		if err == nil {
			s.cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
			err = s.cmd.Start()
		}
		started <- err
		<-s.ended
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

// Pin keeps all threads of this process on the second processor, so that the
// server has the first one for itself.
func Pin() error {
	if !Pinned() {
		return nil
	}
	runtime.GOMAXPROCS(1)
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

// Usage is what the server has used since it started.
type Usage struct {
	CPU     time.Duration // in steps of 10 ms
	Commits float64       // that were made durable
}

// clockTick is Linux's unit of processor time in /proc, on every architecture
// that Go knows.
const clockTick = 10 * time.Millisecond

// Usage reads the server's processor time and its counter of durable commits.
func (s *Server) Usage(ctx context.Context) (Usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return Usage{}, err
	}
	// proc_pid_stat(5): the name in parentheses may hold anything; utime and stime
	// are the 12th and 13th fields after it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return Usage{}, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	if err != nil {
		return Usage{}, err
	}
	metrics, err := s.Metrics(ctx)
	if err != nil {
		return Usage{}, err
	}
	return Usage{CPU: time.Duration(user+system) * clockTick, Commits: metrics[commits]}, nil
}

// commits is the server's counter of durable commits.
const commits = `zeropass_store_transactions_total{kind="change",result="ok"}`

// Metrics returns the server's metrics, by name and labels as they are written.
func (s *Server) Metrics(ctx context.Context) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.admin+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("load: the server's metrics: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	values := map[string]float64{}
	lines := bufio.NewScanner(response.Body)
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
