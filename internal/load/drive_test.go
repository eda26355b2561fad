package load

import (
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// Percentiles are by nearest rank: so many percent of the values are not greater.
func TestPercentile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	for _, c := range []struct {
		sorted []time.Duration
		p      float64
		want   time.Duration
	}{
		{nil, 99, 0}, {[]time.Duration{7}, 50, 7}, {[]time.Duration{7}, 99, 7}, {[]time.Duration{1, 2}, 50, 1}, {[]time.Duration{1, 2}, 51, 2},
		{hundred, 50, 50}, {hundred, 95, 95}, {hundred, 99, 99}, {hundred, 99.5, 100}, {hundred, 100, 100}, {hundred, 0, 1},
	} {
		if got := percentile(c.sorted, c.p); got != c.want {
			t.Errorf("p%v of %d values is %d, not %d", c.p, len(c.sorted), got, c.want)
		}
	}
}

func TestResult(t *testing.T) {
	r := &Result{Tasks: 10, Elapsed: 2 * time.Second, CPU: time.Second, Commits: 3, Bytes: 50}
	r.Add(&Result{Tasks: 10, Elapsed: 2 * time.Second, CPU: 3 * time.Second, DatabaseCPU: time.Second, Commits: 1, Bytes: 10})
	if r.PerSecond() != 5 || r.CPUPerTask() != 200*time.Millisecond || r.DatabaseCPUPerTask() != 50*time.Millisecond || r.CommitsPerTask() != 0.2 || r.BytesPerTask() != 3 {
		t.Errorf("%v a second, %v, %v, %v commits, %v bytes", r.PerSecond(), r.CPUPerTask(), r.DatabaseCPUPerTask(), r.CommitsPerTask(), r.BytesPerTask())
	}
	if none := (&Result{Elapsed: time.Second}); none.PerSecond() != 0 || none.CPUPerTask() != 0 || none.CommitsPerTask() != 0 {
		t.Errorf("of nothing there is %+v", none)
	}
}

// The kernel's line of this process has its parent and processor time that grows.
func TestReadStat(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := readStat("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	if before.id != strconv.Itoa(os.Getpid()) || before.parent != strconv.Itoa(os.Getppid()) {
		t.Errorf("process %s of %s, not %d of %d", before.id, before.parent, os.Getpid(), os.Getppid())
	}
	for used := threadTime(); threadTime()-used < 10*clockTick; {
		continue // a system call each time
	}
	after, err := readStat("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	if after.own <= before.own {
		t.Errorf("%v of processor time after %v", after.own, before.own)
	}
}

func TestOperations(t *testing.T) {
	c := Curve{Sign: 1, Verify: 10, Seal: 100}
	if got := c.Of(RevealAlone); got != 121 {
		t.Errorf("a reveal takes %d", got)
	}
	if got := c.Of(RevealConfirmed); got != 164 {
		t.Errorf("a confirmed reveal takes %d", got)
	}
}
