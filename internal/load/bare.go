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
type Curve struct{ Parse, Sign, Verify, Seal time.Duration }

// Operations is how many of them something needs on the server.
type Operations struct{ Parse, Sign, Verify, Seal int }

// What reveals need on the server. Each request names a key, whose point is to be
// computed from 33 bytes, and is a signature to verify and an answer, or a refusal, to
// sign.
var (
	// RevealAlone: the request, its confirmation, and the share sealed to the device.
	RevealAlone = Operations{Parse: 1, Sign: 1, Verify: 2, Seal: 1}
	// RevealConfirmed: four requests, the other device's confirmation when it comes
	// and when it counts, and the share sealed to the device.
	RevealConfirmed = Operations{Parse: 4, Sign: 4, Verify: 6, Seal: 1}
)

// Of returns how long the operations take.
func (c Curve) Of(o Operations) time.Duration {
	return time.Duration(o.Parse)*c.Parse + time.Duration(o.Sign)*c.Sign + time.Duration(o.Verify)*c.Verify + time.Duration(o.Seal)*c.Seal
}

// Mean is the mean of two measurements.
func (c Curve) Mean(other Curve) Curve {
	return Curve{
		Parse: (c.Parse + other.Parse) / 2, Sign: (c.Sign + other.Sign) / 2,
		Verify: (c.Verify + other.Verify) / 2, Seal: (c.Seal + other.Seal) / 2,
	}
}

// MeasureCurve measures each operation for a while, one after the other on the
// server's processor: neighbours of a virtual machine may make another one slower.
func MeasureCurve(each time.Duration) (c Curve, err error) {
	where := processors(serverProcessor)
	if !Pinned() {
		where = everyProcessor()
	}
	err = onProcessors(where, func() (err error) {
		c, err = measureCurve(each)
		return err
	})
	return c, err
}

func measureCurve(each time.Duration) (Curve, error) {
	key, err := signing.GenerateKey(rand.Reader)
	if err != nil {
		return Curve{}, err
	}
	to, err := hpke.GenerateKey(rand.Reader)
	if err != nil {
		return Curve{}, err
	}
	context := signing.NewContext("api-request").Bytes(make([]byte, 200))
	signature, encoded := key.Sign(context), key.PublicKey().Bytes()
	message := make([]byte, 200)
	return Curve{
		Parse:  timed(each, func() { _, err = signing.NewPublicKey(encoded) }),
		Sign:   timed(each, func() { key.Sign(context) }),
		Verify: timed(each, func() { key.PublicKey().Verify(context, signature) }),
		Seal:   timed(each, func() { _, err = hpke.Seal(rand.Reader, to.PublicKey(), nil, nil, message) }),
	}, err
}

// timed repeats something for a while on this thread, and returns how much processor
// time one takes, whatever else the machine does.
func timed(limit time.Duration, do func()) time.Duration {
	used, begun, n := threadTime(), time.Now(), 0
	for time.Since(begun) < limit {
		do()
		n++
	}
	return (threadTime() - used) / time.Duration(max(n, 1))
}

// threadTime is the processor time of this thread.
func threadTime() time.Duration {
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
		panic(err) // Linux has this clock
	}
	return time.Duration(used.Nano())
}
