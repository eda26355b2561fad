package home

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// The test program is its own victim: run again with one of these, it is a
// process that uses a home and can be killed.
const (
	lifeVariable = "ZEROPASS_TEST_LIFE" // live in this directory
	holdVariable = "ZEROPASS_TEST_HOLD" // hold the lock of this directory
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(lifeVariable); dir != "" {
		runtime.LockOSThread() // strace counts system calls by thread
		if err := live(dir, true); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(holdVariable); dir != "" {
		hold(dir)
	}
	os.Exit(m.Run())
}

// openFree is Open, but waits a moment for a lock: a process that a parallel test
// is starting has this one's open files from its fork to its exec.
func openFree(dir string) (*Home, error) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		h, err := Open(dir)
		if !errors.Is(err, ErrBusy) || time.Now().After(deadline) {
			return h, err
		}
	}
}

// live does everything that a device does with its home, each step only if it
// is not done, as a program does that may have been interrupted. With retry, a
// step that could not write is tried once more in the same process: the disk
// was full and is not any longer.
func live(dir string, retry bool) (err error) {
	h, err := openFree(dir)
	for i := 0; err != nil && i < 4; i++ {
		switch {
		case errors.Is(err, ErrMissing):
			h, err = Create(dir, testCreation())
		case retry && errors.Is(err, ErrWrite):
			h, err = Open(dir)
		}
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	if h.Unlock([]byte("new passphrase")) != nil {
		err := h.Unlock(testPassphrase)
		if err != nil && retry && errors.Is(err, ErrWrite) {
			err = h.Unlock(testPassphrase)
		}
		if err != nil {
			return err
		}
	}
	for _, step := range steps {
		err := step(h)
		if retry && errors.Is(err, ErrWrite) {
			err = step(h)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// steps are idempotent.
var steps = []func(h *Home) error{
	func(h *Home) error { // open the account
		journal, err := h.Journal()
		if err != nil || h.State() != nil || journal != nil {
			return err
		}
		keys, err := h.Keys()
		if err != nil {
			return err
		}
		first, err := genesis(keys)
		if err != nil {
			return err
		}
		return h.PutJournal(&Append{Entries: []*ledger.Entry{first}})
	},
	(*Home).AcceptJournal,
	func(h *Home) error { return h.SetIdentity(h.State().Account(), 1) },
	func(h *Home) error { return h.PutPending("secret", []byte("not accepted yet")) },
	func(h *Home) error { // the first epoch
		journal, err := h.Journal()
		if err != nil || h.State().InUse() != nil || journal != nil {
			return err
		}
		keys, err := h.Keys()
		if err != nil {
			return err
		}
		entry, err := epochEntry(h.State(), keys)
		if err != nil {
			return err
		}
		shares := []*recordv1.SealedServerShare{serverShare(1, 100), serverShare(2, 100)}
		return h.PutJournal(&Append{Entries: []*ledger.Entry{entry}, Shares: shares, Note: []byte("epoch")})
	},
	(*Home).AcceptJournal,
	func(h *Home) error { return appendUpTo(h, 4) },
	func(h *Home) error { return appendUpTo(h, 4+maxSyncedFrames+2) }, // in one go
	func(h *Home) error { return h.RemovePending("secret") },
	func(h *Home) error { return h.PutPrivate("name", []byte("one")) },
	func(h *Home) error { return h.PutPrivate("name", []byte("two")) },
	func(h *Home) error { return h.SetServerURL(movedURL) },
	func(h *Home) error { return h.PutHeld(storedShare(1, "share")) },
	func(h *Home) error {
		if h.LastActivity() != nil {
			return nil
		}
		a, err := ledger.NewActivity(h.State().Account(), ledger.ActivityEnd{}, testTime, []byte("request"), [32]byte{})
		if err != nil {
			return err
		}
		return h.AppendActivity(a)
	},
	func(h *Home) error { // follow another branch of the activity log
		if lost, err := h.LostActivity(); err != nil || len(lost) > 0 {
			return err
		}
		a, err := ledger.NewActivity(h.State().Account(), ledger.ActivityEnd{}, testTime, []byte("another request"), [32]byte{})
		if err != nil {
			return err
		}
		return h.BranchActivity(0, a)
	},
	func(h *Home) error { // follow another branch
		if h.State().Head().Sequence == 3 {
			return nil
		}
		keys, err := h.Keys()
		if err != nil {
			return err
		}
		confirm, err := h.ConfirmKey(testConfirm)
		if err != nil {
			return err
		}
		stem, err := h.Entries(0, 2)
		if err != nil {
			return err
		}
		branch, err := parseEntries(stem)
		if err != nil {
			return err
		}
		state, err := ledger.Fold(branch...)
		if err != nil {
			return err
		}
		other, err := policyEntries(state, keys, confirm, 1, 9)
		if err != nil {
			return err
		}
		return h.ReplaceLedger(append(branch, other...)...)
	},
	func(h *Home) error { return h.ChangePassphrase([]byte("new passphrase"), 1) },
}

const movedURL = "https://new.example"

// appendUpTo appends entries until there are n, unless the last step was reached.
func appendUpTo(h *Home, n uint64) error {
	names, err := h.EvidenceNames()
	if err != nil || len(names) > 0 || h.State().Head().Sequence >= n {
		return err
	}
	keys, err := h.Keys()
	if err != nil {
		return err
	}
	var confirm *signing.PrivateKey
	if confirm, err = h.ConfirmKey(testConfirm); err != nil {
		return err
	}
	entries, err := policyEntries(h.State(), keys, confirm, int(n-h.State().Head().Sequence), 0)
	if err != nil {
		return err
	}
	return h.Append(entries...)
}

// checkLife says what is wrong with a home at the end of its life.
func checkLife(dir string) error {
	h, err := openFree(dir)
	if err != nil {
		return err
	}
	defer func() { _ = h.Close() }()
	if err := h.Unlock([]byte("new passphrase")); err != nil {
		return err
	}
	keys, err := h.Keys()
	if err != nil {
		return err
	}
	if keys.Account != h.State().Account() || keys.Device != 1 {
		return errors.New("no identity")
	}
	if c := h.Config(); c.Url != movedURL || !proto.Equal(c.Server, testCreation().Config.Server) {
		return fmt.Errorf("the server is at %q, pinned as %v", c.Url, c.Server)
	}
	d, _ := h.State().Device(1)
	if !d.SignKey.Equal(keys.Sign.PublicKey()) {
		return errors.New("the ledger has other keys")
	}
	text, err := h.Private("name")
	if err != nil || string(text) != "two" {
		return fmt.Errorf("private: %q, %v", text, err)
	}
	pending, err := h.PendingNames()
	if err != nil || len(pending) > 0 {
		return fmt.Errorf("pending: %q, %v", pending, err)
	}
	journal, err := h.Journal()
	if err != nil || journal != nil {
		return fmt.Errorf("journal: %v, %v", journal, err)
	}
	held, err := h.Held()
	if err != nil || len(held) != 1 {
		return fmt.Errorf("held: %d, %v", len(held), err)
	}
	if h.LastActivity() == nil || h.State().Head().Sequence != 3 || len(h.share) != 2 || len(h.Repairs()) > 0 {
		return fmt.Errorf("head %v, %d shares, repairs %v", h.State().Head(), len(h.share), h.Repairs())
	}
	lost, err := h.LostActivity()
	if err != nil || len(lost) != 1 || string(lost[0].Request()) != "request" || string(h.LastActivity().Request()) != "another request" {
		return fmt.Errorf("lost activity: %d, %v", len(lost), err)
	}
	evidence, err := h.EvidenceNames()
	if err != nil || len(evidence) == 0 {
		return fmt.Errorf("evidence %q, %v", evidence, err)
	}
	return noUnfinished(filepath.Dir(dir))
}

// noUnfinished returns an error if a temporary file or directory is left.
func noUnfinished(root string) error {
	return filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err == nil && strings.Contains(path[len(root):], unfinished) {
			err = fmt.Errorf("left behind: %s", path)
		}
		return err
	})
}

// inject runs a life under strace, which does something to the nth of the
// syscalls. It says whether there were that many.
func inject(dir, syscalls, what string, n int) (hit bool, err error) {
	trace := dir + ".trace"
	cmd := exec.Command("strace", "-f", "-qq", "-o", trace, "-e", "trace="+syscalls,
		"-e", fmt.Sprintf("inject=%s:%s:when=%d", syscalls, what, n), os.Args[0])
	cmd.Env = append(os.Environ(), lifeVariable+"="+dir, "GOMAXPROCS=1")
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return false, errors.New("strace is missing: run make test, which installs it")
	}
	log, readErr := os.ReadFile(trace)
	if readErr != nil {
		return false, fmt.Errorf("strace: %v: %s", err, out)
	}
	hit = bytes.Contains(log, []byte("INJECTED")) || bytes.Contains(log, []byte("killed by SIGKILL"))
	if err != nil && !hit {
		return false, fmt.Errorf("%v: %s", err, out)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 3 && !strings.Contains(string(out), ErrWrite.Error()) {
		return hit, fmt.Errorf("the program failed otherwise: %s", out)
	}
	return hit, os.Remove(trace)
}

// afterInjection opens the home, lives on in it, and checks the result.
func afterInjection(dir string) error {
	if err := live(dir, false); err != nil {
		return fmt.Errorf("cannot go on: %w", err)
	}
	return checkLife(dir)
}

func testInjection(t *testing.T, syscalls, what string, least int) {
	t.Parallel()
	root := t.TempDir()
	hits := 0
	for start := 1; ; start += 4 {
		var group errgroup.Group
		done := make([]bool, 4)
		for i := range done {
			group.Go(func() error {
				parent := filepath.Join(root, fmt.Sprint(start+i))
				if err := os.Mkdir(parent, 0o700); err != nil {
					return err
				}
				dir := filepath.Join(parent, "home")
				hit, err := inject(dir, syscalls, what, start+i)
				done[i] = !hit
				if err == nil {
					err = afterInjection(dir)
				}
				if err != nil {
					return fmt.Errorf("%s %s at %d: %w", what, syscalls, start+i, err)
				}
				return os.RemoveAll(parent)
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		if i := slices.Index(done, true); i >= 0 {
			hits = start + i - 1
			break
		}
	}
	if hits < least {
		t.Errorf("only %d injections, want at least %d: does the injection still work?", hits, least)
	}
}

// Killed before it makes anything durable, before it puts anything in place and
// before it removes anything, a device goes on as if nothing had happened.
func TestKilled(t *testing.T) {
	for syscalls, least := range map[string]int{"fsync": 40, "/^rename": 12, "unlinkat": 3, "pwrite64": 5} {
		t.Run(syscalls, func(t *testing.T) { testInjection(t, syscalls, "signal=SIGKILL", least) })
	}
}

// A full disk changes nothing, and the same process goes on when there is space.
func TestDiskFull(t *testing.T) {
	for syscalls, least := range map[string]int{"write": 20, "pwrite64": 5} {
		t.Run(syscalls, func(t *testing.T) { testInjection(t, syscalls, "error=ENOSPC", least) })
	}
}

// A disk that fails to make something durable may have it or not.
func TestDiskFails(t *testing.T) {
	testInjection(t, "fsync", "error=EIO", 40)
}

// hold opens a home, says so, and keeps it until its input ends.
func hold(dir string) {
	h, err := Open(dir)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("held")
	_, _ = os.Stdin.Read(make([]byte, 1))
	if err := h.Close(); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

func TestLockBetweenProcesses(t *testing.T) {
	h := create(t)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdVariable+"="+h.Dir())
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 100)
	n, err := stdout.Read(line)
	if err != nil || string(line[:n]) != "held\n" {
		t.Fatalf("%q, %v", line[:n], err)
	}
	_, err = Open(h.Dir())
	if want := regexp.MustCompile(fmt.Sprintf("number %d:", cmd.Process.Pid)); !errors.Is(err, ErrBusy) || !want.MatchString(err.Error()) {
		t.Errorf("got %v", err)
	}
	if _, err := Salvage(h.Dir()); !errors.Is(err, ErrBusy) {
		t.Errorf("salvage: %v", err)
	}
	if readOnly, err := OpenReadOnly(h.Dir()); err != nil {
		t.Errorf("read only: %v", err)
	} else if err := readOnly.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Kill(); err != nil { // the lock must go with the process
		t.Fatal(err)
	}
	_ = stdin.Close()
	_ = cmd.Wait()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		again, err := Open(h.Dir())
		if err == nil {
			if err := again.Close(); err != nil {
				t.Error(err)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
