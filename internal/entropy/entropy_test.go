package entropy

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"
)

func TestPoolMixesEverything(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	fill := func(change func(i int, x, y *int, at *time.Time)) []byte {
		var p Pool
		for i := range 10 {
			x, y, at := i, 2*i, start.Add(time.Duration(i)*time.Millisecond)
			if change != nil {
				change(i, &x, &y, &at)
			}
			p.Add(x, y, at)
		}
		return p.Bytes()
	}
	base := fill(nil)
	if len(base) != PoolSize || !bytes.Equal(base, fill(nil)) {
		t.Fatal("the pool is not a function of its movements")
	}
	for i := range 10 {
		for name, change := range map[string]func(int, *int, *int, *time.Time){
			"x":    func(j int, x, _ *int, _ *time.Time) { *x += b2i(i == j) },
			"y":    func(j int, _, y *int, _ *time.Time) { *y += b2i(i == j) },
			"time": func(j int, _, _ *int, at *time.Time) { *at = at.Add(time.Duration(b2i(i == j))) },
		} {
			if bytes.Equal(base, fill(change)) {
				t.Errorf("%s of movement %d does not reach the pool", name, i)
			}
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestPoolCountsMovements(t *testing.T) {
	var p Pool
	if p.Bytes() != nil || p.Progress() != 0 {
		t.Error("an empty pool holds something")
	}
	now := time.Unix(0, 0)
	p.Add(1, 1, now)
	p.Add(1, 1, now)
	if p.Events() != 1 {
		t.Errorf("%d movements, 1 was one", p.Events())
	}
	for i := range 2 * Target {
		p.Add(i, i, now)
	}
	if p.Progress() != 1 {
		t.Errorf("progress %v of a full pool", p.Progress())
	}
	if s := fmt.Sprintf("%v %+v %#v %s %x", &p, &p, &p, &p, &p); strings.ReplaceAll(s, "[secret]", "") != "    " {
		t.Errorf("the pool prints as %q", s)
	}
	p.Erase()
	if p.Bytes() != nil || p.Events() != 0 {
		t.Error("something is left after Erase")
	}
}

func TestServerHalf(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	random := make([]byte, drawSize)
	_, _ = rand.Read(random)
	zeros := filepath.Join(dir, "zeros")
	short := filepath.Join(dir, "short")
	blocked := filepath.Join(dir, "blocked")
	for path, b := range map[string][]byte{good: random, zeros: make([]byte, drawSize), short: random[:10]} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(blocked, 0o600); err != nil {
		t.Fatal(err)
	}
	system := bytes.Repeat([]byte{7}, drawSize)
	halves := map[string]bool{}
	for _, c := range []struct {
		path    string
		sources []string
	}{
		{good, []string{"os", "hwrng"}},
		{filepath.Join(dir, "missing"), []string{"os"}},
		{zeros, []string{"os"}},
		{short, []string{"os"}},
		{blocked, []string{"os"}},
	} {
		half, sources, err := ServerHalf(bytes.NewReader(system), c.path)
		if err != nil || len(half) != halfSize || !slices.Equal(sources, c.sources) {
			t.Errorf("%s: %d bytes from %v, %v", filepath.Base(c.path), len(half), sources, err)
		}
		halves[string(half)] = true
	}
	if len(halves) != 2 {
		t.Errorf("%d different halves; with and without the hardware generator would be 2", len(halves))
	}
	broken := errors.New("broken")
	if half, _, err := ServerHalf(iotest.ErrReader(broken), good); half != nil || !errors.Is(err, broken) {
		t.Errorf("without the operating system's generator: %v", err)
	}
}
