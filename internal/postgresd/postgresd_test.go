package postgresd

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const asVictim = "ZEROPASS_TEST_POSTGRES_VICTIM"

// A test that is killed leaves no server and no files behind.
func TestKilled(t *testing.T) {
	if os.Getenv(asVictim) != "" {
		s, err := Start(t.Context(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("started", s.dir)
		select {}
	}
	victim := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	victim.Env = append(os.Environ(), asVictim+"=1")
	stdout, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	dir, started := strings.CutPrefix(strings.TrimSpace(line), "started ")
	if err := errors.Join(err, victim.Process.Kill()); err != nil || !started {
		t.Fatalf("got %q, %v", line, err)
	}
	_ = victim.Wait() // "signal: killed"
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		// The guard removes the directory when the server has ended.
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still there", dir)
		}
	}
}
