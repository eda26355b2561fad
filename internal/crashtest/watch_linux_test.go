package crashtest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A watch holds a process at each change that it makes below a directory, and may
// let it go on, kill it there, or tell it that the disk is full. The kernel asks:
// seccomp_unotify(2).
//
// strace does the same from outside, as in home's tests, but counts system calls
// by thread. A Go program that waits for a server goes on in another thread at
// each answer, so that no number of strace's would name every moment. These count
// for the whole process, and for the files that matter alone: what it writes to
// the network and to its output is left alone.
type watch struct {
	root string

	mu    sync.Mutex
	harm  harm
	at    int   // the number of the change, from 1; 0 only counts
	seen  tally // changes since it was armed, by what could be done to them
	done  int   // changes that were harmed
	first change
}

// harm is what is done to a process.
type harm int

const (
	killed harm = iota // before the change is made
	torn               // killed when half of a write has reached the disk
	full               // from this write on nothing fits; half of the first still does
)

func (h harm) String() string {
	return [...]string{"killed", "killed half-way in a write", "on a full disk"}[h]
}

// change is one system call that changes the disk.
type change struct {
	call *call
	path string
}

func (c change) String() string {
	if c.call == nil {
		return "nothing"
	}
	return c.call.name + " " + c.path
}

// call is a system call that changes the disk. Arguments are counted from 0; -1
// is none.
type call struct {
	name      string
	number    uint32
	fd        int  // argument that is an open file
	dir, path int  // arguments that name a file
	room      bool // takes room on the disk
}

// calls returns all that the programs use. Those that name no directory exist on
// older machines alone.
func calls() []*call {
	all := []*call{
		{name: "write", number: unix.SYS_WRITE, fd: 0, path: -1, room: true},
		{name: "pwrite", number: unix.SYS_PWRITE64, fd: 0, path: -1, room: true},
		{name: "copy_file_range", number: unix.SYS_COPY_FILE_RANGE, fd: 2, path: -1, room: true},
		{name: "ftruncate", number: unix.SYS_FTRUNCATE, fd: 0, path: -1},
		{name: "fsync", number: unix.SYS_FSYNC, fd: 0, path: -1},
		{name: "fdatasync", number: unix.SYS_FDATASYNC, fd: 0, path: -1},
		{name: "renameat", number: unix.SYS_RENAMEAT, fd: -1, dir: 0, path: 1},
		{name: "renameat2", number: unix.SYS_RENAMEAT2, fd: -1, dir: 0, path: 1},
		{name: "linkat", number: unix.SYS_LINKAT, fd: -1, dir: 2, path: 3, room: true},
		{name: "unlinkat", number: unix.SYS_UNLINKAT, fd: -1, dir: 0, path: 1},
		{name: "mkdirat", number: unix.SYS_MKDIRAT, fd: -1, dir: 0, path: 1, room: true},
	}
	if runtime.GOARCH == "amd64" {
		all = append(all,
			&call{name: "rename", number: 82, fd: -1, dir: -1, path: 0},
			&call{name: "mkdir", number: 83, fd: -1, dir: -1, path: 0, room: true},
			&call{name: "unlink", number: 87, fd: -1, dir: -1, path: 0})
	}
	return all
}

// watchedVariable in the environment makes the test program one that becomes the
// program in its arguments, watched.
const watchedVariable = "ZEROPASS_TEST_WATCHED"

// becomeWatched asks the kernel to ask about this thread's changes, sends what it
// asks through to file 3, and becomes the program.
func becomeWatched() error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	const loadNumber = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	filter := []unix.SockFilter{{Code: loadNumber, K: 0}}
	for _, c := range calls() {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: c.number, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// The last flag keeps signals of the Go runtime from making a call twice.
	listener, _, failed := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&program)))
	if failed != 0 {
		return fmt.Errorf("seccomp_unotify: %w", failed)
	}
	if err := unix.Sendmsg(3, []byte{0}, unix.UnixRights(int(listener)), nil, 0); err != nil {
		return err
	}
	for _, fd := range []int{3, int(listener)} {
		unix.CloseOnExec(fd)
	}
	if err := os.Unsetenv(watchedVariable); err != nil {
		return err
	}
	return syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
}

// start starts the command under the watch.
func (w *watch) start(cmd *exec.Cmd) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "watch"), os.NewFile(uintptr(pair[1]), "watched")
	defer ours.Close()
	self, err := os.Executable()
	if err != nil {
		return errors.Join(err, theirs.Close())
	}
	cmd.Args = append([]string{self, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = self
	cmd.Env = append(cmd.Environ(), watchedVariable+"=1")
	cmd.ExtraFiles = []*os.File{theirs}
	err = cmd.Start()
	if err := errors.Join(err, theirs.Close()); err != nil {
		return err
	}
	listener, err := receiveFile(ours)
	if err != nil {
		return fmt.Errorf("the kernel does not let a test watch a program; it takes Linux 5.19 and seccomp_unotify: %w", errors.Join(err, cmd.Wait()))
	}
	go func() {
		w.answer(listener)
		_ = unix.Close(listener)
	}()
	return nil
}

// receiveFile receives an open file.
func receiveFile(from *os.File) (int, error) {
	conn, err := net.FileConn(from)
	if err != nil {
		return -1, err
	}
	defer conn.Close()
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.(*net.UnixConn).ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err == nil && len(messages) == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return -1, err
	}
	files, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(files[0])
	return files[0], nil
}

// question and reply are struct seccomp_notif and seccomp_notif_resp.
type question struct {
	id     uint64
	pid    uint32 // the thread's
	flags  uint32
	number int32
	arch   uint32
	ip     uint64
	args   [6]uint64
}

type reply struct {
	id    uint64
	value int64
	err   int32
	flags uint32
}

// answer answers the kernel's questions until nobody is left to be asked about.
func (w *watch) answer(listener int) {
	for {
		ready := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(ready, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if ready[0].Revents&unix.POLLIN == 0 {
			if ready[0].Revents != 0 {
				return // all are gone
			}
			continue
		}
		var q question
		if _, _, err := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&q))); err != 0 {
			continue // it was killed while it asked
		}
		r := w.decide(&q)
		if r == nil {
			continue
		}
		r.id = q.id
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(r)))
	}
}

// decide returns the answer to a question, nil for none: the process is dead.
func (w *watch) decide(q *question) *reply {
	proceed := &reply{flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	c, ok := w.describe(q)
	if !ok {
		return proceed
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[killed]++
	if c.call.room {
		w.seen[torn]++
		w.seen[full]++
	}
	if w.at == 0 || w.seen[w.harm] < w.at || w.harm != killed && !c.call.room || w.harm != full && w.done > 0 {
		return proceed
	}
	process, ok := processOf(q.pid)
	if !ok {
		return nil
	}
	w.done++
	if w.done == 1 {
		w.first = c
	}
	written := 0
	if w.harm == torn || w.harm == full && w.done == 1 {
		written = writeHalf(process, c.call, q)
	}
	switch {
	case w.harm != full:
		_ = unix.Kill(process, unix.SIGKILL)
		return nil
	case written > 0:
		return &reply{value: int64(written)}
	}
	return &reply{err: -int32(unix.ENOSPC)}
}

// describe returns the change that is asked about, if it is below the root.
func (w *watch) describe(q *question) (change, bool) {
	for _, c := range calls() {
		if c.number != uint32(q.number) {
			continue
		}
		var path string
		if c.fd >= 0 {
			path = linkOf(q.pid, fmt.Sprintf("fd/%d", int32(q.args[c.fd])))
		} else {
			path = stringAt(q.pid, q.args[c.path])
			if !filepath.IsAbs(path) {
				base := "cwd"
				if c.dir >= 0 && int32(q.args[c.dir]) != unix.AT_FDCWD {
					base = fmt.Sprintf("fd/%d", int32(q.args[c.dir]))
				}
				path = filepath.Join(linkOf(q.pid, base), path)
			}
		}
		inside, ok := strings.CutPrefix(path, w.root)
		return change{c, strings.TrimPrefix(inside, "/")}, ok
	}
	return change{}, false
}

// processOf returns the process that a thread belongs to: the one that was started,
// or one that it started.
func processOf(thread uint32) (pid int, ok bool) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	_, after, _ := strings.Cut(string(status), "\nTgid:")
	line, _, _ := strings.Cut(after, "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	return pid, err == nil && pid > 1
}

func linkOf(pid uint32, name string) string {
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, name))
	return path
}

// stringAt reads a C string from a process.
func stringAt(pid uint32, address uint64) string {
	b := readMemory(int(pid), address, unix.PathMax)
	text, _, _ := strings.Cut(string(b), "\x00")
	return text
}

// readMemory reads at most n bytes, less where the memory ends.
func readMemory(pid int, address uint64, n int) []byte {
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, n)
	got, _ := f.ReadAt(b, int64(address))
	return b[:got]
}

// writeHalf does half of a write in the process's place, through its open file,
// and returns how many bytes that are.
func writeHalf(pid int, c *call, q *question) int {
	if c.number != unix.SYS_WRITE && c.number != unix.SYS_PWRITE64 {
		return 0
	}
	half := readMemory(pid, q.args[1], int(q.args[2]))
	half = half[:len(half)/2]
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(process)
	file, err := unix.PidfdGetfd(process, int(q.args[0]), 0)
	if err != nil {
		return 0
	}
	defer unix.Close(file)
	var n int
	if c.number == unix.SYS_WRITE {
		n, _ = unix.Write(file, half)
	} else {
		n, _ = unix.Pwrite(file, half, int64(q.args[3]))
	}
	return n
}

// arm sets what is to happen at the nth change from now on; 0 is nothing.
func (w *watch) arm(h harm, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.harm, w.at, w.seen, w.done, w.first = h, n, tally{}, 0, change{}
}

// room makes room again on a full disk. What was seen is not forgotten.
func (w *watch) room() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = 0
}

// outcome says how many changes there were since the watch was armed, and whether
// one was harmed, which first.
func (w *watch) outcome() (seen tally, hit bool, first change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen, w.done > 0, w.first
}
