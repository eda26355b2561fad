package load

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// What is measured is there however short that was, and whoever measured runs on where
// it ran before.
func TestMeasureCurve(t *testing.T) {
	c, err := measureCurve()()
	if err != nil || min(c.Sign, c.Verify, c.Seal) <= 0 {
		t.Errorf("%v, %v", c, err)
	}
}

// A thread that has had other processors has its own again.
func TestOnProcessors(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, meanwhile, after unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	one := processors(serverProcessor)
	if err := onProcessors(one, func() error { return unix.SchedGetaffinity(0, &meanwhile) }); err != nil || meanwhile != *one {
		t.Errorf("meanwhile the processors are %v: %v", meanwhile, err)
	}
	if err := unix.SchedGetaffinity(0, &after); err != nil || before != after {
		t.Errorf("the processors are %v, and were %v: %v", after, before, err)
	}
}
