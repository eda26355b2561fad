package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/storetest"
)

// asWriter in the environment makes the test binary a program that writes to the
// store that it names, and prints what was acknowledged.
const asWriter = "ZEROPASS_TEST_WRITER"

const writes = 40

// write leaves attestations of devices 1, 2, ..., each a transaction, and says of
// each how it went.
func write(path string) {
	runtime.LockOSThread() // strace counts system calls by thread
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
	for i := 1; i <= writes; i++ {
		err := s.Attest(ctx, store.Attestation{Spend: spend(i), Account: id, Device: uint64(i), Sequence: 1, Bytes: make([]byte, 2000)})
		switch {
		case err == nil:
			fmt.Println("done", i)
		case errors.Is(err, store.ErrFailed):
			fmt.Println("failed", i)
		default:
			fmt.Println("refused", i)
		}
	}
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
			acknowledged, last, troubled := run(t, path, test.inject)
			if !troubled {
				t.Fatal("the injection hit nothing, so this tests nothing")
			}
			if last != test.after {
				t.Errorf("the last write %s, want %s", last, test.after)
			}
			s := open(t, path)
			defer func() { _ = s.Close() }()
			for _, i := range acknowledged {
				var n int
				if err := s.db.read.QueryRow(`SELECT COUNT(*) FROM attestations WHERE device = $1`, i).Scan(&n); err != nil || n != 1 {
					t.Errorf("write %d was acknowledged and is there %d times (%v)", i, n, err)
				}
			}
		})
	}
}

// run runs the writer under strace and returns what it acknowledged, how its last
// write went, and whether any went wrong.
func run(t *testing.T, path, inject string) (acknowledged []int, last string, troubled bool) {
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
	for _, line := range lines {
		var i int
		if _, err := fmt.Sscanf(line, "done %d", &i); err == nil {
			acknowledged = append(acknowledged, i)
			last = "done"
		} else if how, _, ok := strings.Cut(line, " "); ok {
			last, troubled = how, true
		}
	}
	return acknowledged, last, troubled
}
