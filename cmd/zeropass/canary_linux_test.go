package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stage is a server, what passes between it and its devices, and a place for
// devices.
type stage struct {
	t      *testing.T
	dir    string
	env    []string
	server *server
	url    string // of the recorder before the server

	mu   sync.Mutex
	wire bytes.Buffer
}

func newStage(t *testing.T) *stage {
	t.Helper()
	dir, err := os.MkdirTemp("", "stage") // t.TempDir is too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &stage{t: t, dir: dir}
	for _, d := range []string{"bin", "run", "data"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", s.path("bin"), "zeropass.dev/zeropass/cmd/zeropass-server")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the server: %v\n%s", err, out)
	}
	if s.server, err = startServer(s.path("bin"), s.path("data", "server"), "127.0.0.1:0", ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.server.stop() })
	s.url = s.record(s.server.url)
	s.env = append(os.Environ(), "HOME="+s.path("run"), "XDG_RUNTIME_DIR="+s.path("run"), "ZEROPASS_HOME="+s.path("home"),
		"DBUS_SYSTEM_BUS_ADDRESS=unix:path="+s.path("none"), "DBUS_SESSION_BUS_ADDRESS=unix:path="+s.path("none"), "GOTRACEBACK=crash")
	return s
}

func (s *stage) path(names ...string) string {
	return filepath.Join(append([]string{s.dir}, names...)...)
}

// record keeps everything that passes between devices and the server, and keeps
// both from compressing it.
func (s *stage) record(target string) string {
	address, err := url.Parse(target)
	if err != nil {
		s.t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(address)
			r.Out.Header.Set("Accept-Encoding", "identity")
			r.Out.Body = s.recorded(r.Out.Body)
		},
		ModifyResponse: func(r *http.Response) error {
			r.Body = s.recorded(r.Body)
			return nil
		},
	}
	server := httptest.NewServer(proxy)
	s.t.Cleanup(server.Close)
	return server.URL
}

type recordedBody struct {
	io.ReadCloser
	s *stage
}

func (s *stage) recorded(body io.ReadCloser) io.ReadCloser { return recordedBody{body, s} }

func (b recordedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.s.wire.Write(p[:n])
	return n, err
}

// zeropass is the program, as a process of its own.
func (s *stage) zeropass(args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	return &exec.Cmd{Path: self, Args: append([]string{"zeropass"}, args...), Env: s.env, Dir: s.dir}
}

func (s *stage) run(in string, args ...string) string {
	s.t.Helper()
	cmd := s.zeropass(args...)
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("zeropass %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

// file writes a file with one line and returns its path.
func (s *stage) file(name, line string) string {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(line+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return s.path(name)
}

// forms are the ways in which a secret could stand somewhere.
func forms(secret string) [][]byte {
	all := [][]byte{[]byte(secret), []byte(hex.EncodeToString([]byte(secret)))}
	for cut := range 3 { // of base64 in the middle of something else
		b := []byte(secret)[cut:]
		b = b[:len(b)/3*3]
		all = append(all, []byte(base64.StdEncoding.EncodeToString(b)), []byte(base64.URLEncoding.EncodeToString(b)))
	}
	return all
}

func holds(b []byte, secret string) bool {
	for _, f := range forms(secret) {
		if bytes.Contains(b, f) {
			return true
		}
	}
	return false
}

// everything returns what is on the disk and what was on the wire, by name.
func (s *stage) everything() map[string][]byte {
	s.t.Helper()
	found := map[string][]byte{}
	for _, dir := range []string{"home", "data", "run"} {
		err := filepath.WalkDir(s.path(dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			found[path], err = os.ReadFile(path)
			return err
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found["wire"] = bytes.Clone(s.wire.Bytes())
	return found
}

// A secret that was stored and shown, with an agent, is nowhere but on the screen:
// not on the wire, not in the server's log, database or write-ahead log, and not in
// the device's directory.
func TestCanary(t *testing.T) {
	s := newStage(t)
	canary, title, passphrase, confirm := "canary-"+rand.Text(), "title-"+rand.Text(), rand.Text(), rand.Text()
	first, second := "--passphrase-file="+s.file("pw", passphrase), "--confirm-passphrase-file="+s.file("pw2", confirm)
	s.run("", "init", "--server", s.url, "--name", "known-to-the-server", "--unlock-cost", "2", first, second)
	s.run("", "unlock", first)
	var status agentView
	if err := json.Unmarshal([]byte(s.run("", "agent", "status", "--json")), &status); err != nil || !status.Running {
		t.Fatalf("the agent: %+v, %v", status, err)
	}
	s.run(canary, "add", "--title", title)
	if got := s.run("", "get", title, "--field", "password", second); got != canary+"\n" {
		t.Fatalf("got %q", got)
	}
	s.run("", "lock")
	for deadline := time.Now().Add(10 * time.Second); alive(status.Process); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the agent has locked and goes on running")
		}
	}
	found := s.everything()
	for _, where := range []string{"wire", s.path("data", "server.log")} {
		if len(found[where]) == 0 {
			t.Errorf("nothing was recorded of %s", where)
		}
	}
	if !holds(found["wire"], "known-to-the-server") {
		t.Error("the record of the wire lacks what must be there")
	}
	for where, b := range found {
		for name, secret := range map[string]string{"the secret": canary, "its title": title, "the passphrase": passphrase, "the confirm passphrase": confirm} {
			if holds(b, secret) {
				t.Errorf("%s is in %s", name, where)
			}
		}
	}
}

// alive says whether a process runs: one that has ended may wait for its parent.
func alive(process int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", process))
	return err == nil && !bytes.Contains(b, []byte(") Z "))
}

// A crash of either program leaves no core dump, and its last words have no secret
// in them, whatever GOTRACEBACK asks for.
func TestCrash(t *testing.T) {
	s := newStage(t)
	first, second := "--passphrase-file="+s.file("pw", rand.Text()), "--confirm-passphrase-file="+s.file("pw2", rand.Text())
	s.run("", "init", "--server", s.url, "--name", "Ada", "--unlock-cost", "2", first, second)

	canary := "canary-" + rand.Text()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = r.Close(), w.Close() }()
	var out bytes.Buffer
	cmd := s.zeropass("add", "--title", "t", first)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r, &out, &out
	wantCores(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString(canary); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ)
		if err != nil {
			t.Fatal(err)
		}
		if left == 0 {
			break // it has the secret, and waits for the rest
		}
		if time.Now().After(deadline) {
			t.Fatal("the program does not read its secret")
		}
	}
	crash(t, "zeropass", cmd)
	if holds(out.Bytes(), canary) {
		t.Errorf("the secret is in the last words:\n%s", out.Bytes())
	}
	crash(t, "zeropass-server", s.server.cmd)
	if cores, err := filepath.Glob(s.path("core*")); err != nil || len(cores) > 0 {
		t.Errorf("core dumps %q, %v", cores, err)
	}
}

// wantCores lets programs that this process starts dump core, if they want to.
func wantCores(t *testing.T) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: before.Max, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_CORE, &before) })
}

// crash ends a process the way a broken program ends.
func crash(t *testing.T, name string, cmd *exec.Cmd) {
	t.Helper()
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(limits, []byte("Max core file size        0                    0 ")) {
		t.Errorf("%s may dump core:\n%s", name, limits)
	}
	if err := cmd.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if cmd.ProcessState.Success() || status.CoreDump() {
		t.Errorf("%s ended with %v, core dumped: %v", name, cmd.ProcessState, status.CoreDump())
	}
}
