package load

import (
	"crypto/rand"
	"time"

	"golang.org/x/sys/unix"

	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/signing"
)

// Curve is how long the bare operations on the curve take, in the packages that
// the server uses.
type Curve struct{ Sign, Verify, Seal time.Duration }

// Operations is how many of them something needs on the server.
type Operations struct{ Sign, Verify, Seal int }

// What reveals need on the server. Each request is a signature to verify and an
// answer, or a refusal, to sign. The keys that they name the server has read before.
var (
	// RevealAlone: the request, its confirmation, and the share sealed to the device.
	RevealAlone = Operations{Sign: 1, Verify: 2, Seal: 1}
	// RevealConfirmed: four requests, the other device's confirmation when it comes
	// and when it counts, and the share sealed to the device.
	RevealConfirmed = Operations{Sign: 4, Verify: 6, Seal: 1}
)

// Of returns how long the operations take.
func (c Curve) Of(o Operations) time.Duration {
	return time.Duration(o.Sign)*c.Sign + time.Duration(o.Verify)*c.Verify + time.Duration(o.Seal)*c.Seal
}

// The bare operations are measured while the server works, on its processor: the speed
// of a virtual machine drifts, and its neighbours slow one processor and not another.
// They take it the burst of each operation in every pause, which is a small part.
const (
	bareBurst = time.Millisecond
	barePause = 160 * time.Millisecond
	// bareRow is how many of an operation are done between looks at the clock.
	bareRow = 8
)

// measureCurve starts to measure. What it returns ends that, and is called once.
func measureCurve() (end func() (Curve, error)) {
	type measured struct {
		curve Curve
		err   error
	}
	stop, ended := make(chan struct{}), make(chan measured, 1)
	go func() {
		where := processors(serverProcessor)
		if !Pinned() {
			where = everyProcessor()
		}
		var m measured
		m.err = onProcessors(where, func() (err error) {
			m.curve, err = curveUntil(stop)
			return err
		})
		ended <- m
	}()
	return func() (Curve, error) {
		close(stop)
		m := <-ended
		return m.curve, m.err
	}
}

// curveUntil measures on this thread.
func curveUntil(stop <-chan struct{}) (Curve, error) {
	key, err := signing.GenerateKey(rand.Reader)
	if err != nil {
		return Curve{}, err
	}
	to, err := hpke.GenerateKey(rand.Reader)
	if err != nil {
		return Curve{}, err
	}
	context := signing.NewContext("api-request").Bytes(make([]byte, 200))
	signature, message := key.Sign(context), make([]byte, 200)
	operations := [...]struct {
		do   func()
		took time.Duration
		n    int
	}{
		{do: func() { key.Sign(context) }},
		{do: func() { key.PublicKey().Verify(context, signature) }},
		{do: func() { _, err = hpke.Seal(rand.Reader, to.PublicKey(), nil, nil, message) }},
	}
	for {
		for i := range operations {
			o := &operations[i]
			for begun, until := threadTime(), o.took+bareBurst; o.took < until; {
				for range bareRow {
					o.do()
				}
				now := threadTime()
				o.took, o.n, begun = o.took+now-begun, o.n+bareRow, now
			}
		}
		select {
		case <-stop:
			mean := func(i int) time.Duration { return operations[i].took / time.Duration(operations[i].n) }
			return Curve{Sign: mean(0), Verify: mean(1), Seal: mean(2)}, err
		case <-time.After(barePause):
		}
	}
}

// threadTime is the processor time of this thread.
func threadTime() time.Duration {
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
		panic(err) // Linux has this clock
	}
	return time.Duration(used.Nano())
}
