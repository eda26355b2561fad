package load

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMean(t *testing.T) {
	c := Curve{Parse: 1, Sign: 20, Verify: 300, Seal: 4000}.Mean(Curve{Parse: 3, Sign: 40, Verify: 500, Seal: 6000})
	if want := (Curve{Parse: 2, Sign: 30, Verify: 400, Seal: 5000}); c != want {
		t.Errorf("the mean is %v, not %v", c, want)
	}
}

// What is measured is there, and whoever measured runs on where it ran before.
func TestMeasureCurve(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	c, err := MeasureCurve(5 * time.Millisecond)
	if err != nil || min(c.Parse, c.Sign, c.Verify, c.Seal) <= 0 {
		t.Errorf("%v, %v", c, err)
	}
	if err := unix.SchedGetaffinity(0, &after); err != nil || before != after {
		t.Errorf("the processors are %v, and were %v: %v", after, before, err)
	}
}
