package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/storetest"
)

// asWriter in the environment makes the test binary a program that writes to the
// store that it names, and prints what was acknowledged.
const (
	asWriter = "ZEROPASS_TEST_WRITER"
	together = "ZEROPASS_TEST_WRITE_TOGETHER" // makes it write many at the same time
)

const (
	writes  = 40
	writers = 16 // each that many, together
)

// write leaves attestations of devices 1, 2, ..., each a change, and says of each how
// it went.
func write(path string) {
	many := os.Getenv(together) != ""
	if !many {
		runtime.LockOSThread() // strace counts system calls by thread
	}
	ctx := context.Background()
	s, err := Open(ctx, path)
	if err != nil {
		fmt.Println("open:", err)
		return
	}
	entry, _ := storetest.Genesis()
	id, _ := entry.Account()
	spend := func(i int) store.Spend {
		return store.Spend{Key: []byte("key"), Nonce: fmt.Appendf(nil, "%d", i), Now: time.Unix(1, 0), Expires: time.Unix(1e6, 0)}
	}
	if err := s.Create(ctx, store.Creation{Spend: spend(0), Name: "ada", NameKey: "ada", Genesis: entry}); err != nil {
		fmt.Println("create:", err)
		return
	}
	fmt.Println("ready")
	var failed atomic.Bool
	attest := func(i int) {
		late := failed.Load()
		err := s.Attest(ctx, store.Attestation{Spend: spend(i), Account: id, Device: uint64(i), Sequence: 1, Bytes: make([]byte, 2000)})
		switch {
		case err == nil && late:
			fmt.Println("late", i) // done, after a failure
		case err == nil:
			fmt.Println("done", i)
		case errors.Is(err, store.ErrFailed):
			failed.Store(true)
			fmt.Println("failed", i)
		default:
			fmt.Println("refused", i)
		}
	}
	first, last := 1, writes
	var group sync.WaitGroup
	for range writers {
		from, to := first, last
		all := func() {
			for i := from; i <= to; i++ {
				attest(i)
			}
		}
		if !many {
			all()
			break
		}
		group.Go(all)
		first, last = first+writes, last+writes
	}
	group.Wait()
	_ = s.Close() // fails where the disk has
}

// TestDisk makes the disk full for a while, or makes it fail once, in the middle
// of writing. What was acknowledged is there afterwards. A full disk passes; a
// failed one ends everything until the next start.
func TestDisk(t *testing.T) {
	for _, test := range []struct {
		inject string
		after  string // how the writes after the first trouble go
	}{
		{"pwrite64:error=ENOSPC:when=300..310", "done"},
		{"pwrite64:error=EIO:when=300", "failed"},
		{"fsync,fdatasync:error=EIO:when=30", "failed"},
	} {
		t.Run(strings.ReplaceAll(test.inject, ":", " "), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "server.db")
			acknowledged, last, ways := run(t, path, test.inject)
			if len(ways) == 1 {
				t.Fatal("the injection hit nothing, so this tests nothing")
			}
			if last != test.after {
				t.Errorf("the last write %s, want %s", last, test.after)
			}
			s := open(t, path)
			defer func() { _ = s.Close() }()
			wantWrites(t, s, acknowledged)
		})
	}
}

func wantWrites(t *testing.T, s *Store, acknowledged []int) {
	t.Helper()
	for _, i := range acknowledged {
		var n int
		if err := ask(t, s.db.read, `SELECT COUNT(*) FROM attestations WHERE device = $1`, i).Scan(&n); err != nil || n != 1 {
			t.Errorf("write %d was acknowledged and is there %d times (%v)", i, n, err)
		}
	}
}

// TestDiskTogether makes the disk fail while many write: what one commit was to make
// durable fails together, and everything afterwards.
func TestDiskTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.db")
	t.Setenv(together, "1")
	// The tables are there before it counts.
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	acknowledged, _, ways := run(t, path, "fsync,fdatasync:error=EIO:when=8+") // of each thread
	if ways["done"] == 0 || ways["failed"] == 0 || len(ways) != 2 {
		t.Fatalf("writes went %v, want some done, and then all others failed", ways)
	}
	s := open(t, path)
	defer func() { _ = s.Close() }()
	wantWrites(t, s, acknowledged)
}

// TestKilledTogether kills a program in which many write. What it has acknowledged
// is there.
func TestKilledTogether(t *testing.T) {
	for _, after := range []int{1, 60, 200} {
		path := filepath.Join(t.TempDir(), "server.db")
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), asWriter+"="+path, together+"=1")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var acknowledged []int
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var i int
			if _, err := fmt.Sscanf(lines.Text(), "done %d", &i); err == nil {
				acknowledged = append(acknowledged, i)
			}
			if len(acknowledged) == after {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil || len(acknowledged) < after {
			t.Fatalf("it ended with %v after %d writes, and was to be killed after %d", err, len(acknowledged), after)
		}
		s := open(t, path)
		wantWrites(t, s, acknowledged)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// run runs the writer under strace and returns what it acknowledged, how its last
// write went, and how many went which way.
func run(t *testing.T, path, inject string) (acknowledged []int, last string, ways map[string]int) {
	t.Helper()
	cmd := exec.Command("strace", "-f", "-qq", "-o", os.DevNull, "-e", "trace="+strings.SplitN(inject, ":", 2)[0], "-e", "inject="+inject, os.Args[0])
	cmd.Env = append(os.Environ(), asWriter+"="+path)
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatal("strace is missing: run make test, which installs it")
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if !slices.Contains(lines, "ready") {
		t.Fatalf("the injection came too early:\n%s", out)
	}
	ways = map[string]int{}
	for _, line := range lines {
		var i int
		if n, _ := fmt.Sscanf(line, "%s %d", &last, &i); n != 2 {
			continue // what it says besides
		}
		if ways[last]++; last == "done" {
			acknowledged = append(acknowledged, i)
		}
	}
	return acknowledged, last, ways
}
